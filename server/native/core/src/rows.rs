//! From profiles to the rows of a row group: sorted samples, summed where equal, and the frames that are new.

use std::collections::HashMap;
use std::sync::Arc;

use crate::hash::{HashedMap, HashedSet};
use crate::labels::Series;
use crate::pprof::{NONE, Sample};
use crate::push::PushedProfile;
use crate::samples::{Origin, Row, RowGroup, SpanColumns};
use crate::symbols::NewFrame;

/// The samples of one profile that belong to one series.
pub struct Slice<'a> {
    pub series: &'a Arc<Series>,
    pub pushed: &'a PushedProfile,
    label_set: u32,
    sample_type: usize,
}

impl Slice<'_> {
    /// What slices are sorted by.
    pub fn order(&self) -> (&str, &str, i64, i64, [u8; 16]) {
        let series = self.series;
        (
            &series.service,
            &series.profile_type,
            series.fingerprint,
            self.pushed.profile.time_ns,
            self.pushed.key.profile_id,
        )
    }

    fn origin(&self) -> Origin {
        Origin {
            series: self.series.fingerprint,
            time_ns: self.pushed.profile.time_ns,
            profile_id: self.pushed.key.profile_id,
        }
    }

    /// Its samples with their values, those of value 0 left out.
    fn samples(&self) -> impl Iterator<Item = (&Sample, i64)> {
        let profile = &self.pushed.profile;
        let samples = profile.samples_of(self.label_set).iter();
        samples.map(|sample| (sample, profile.value(sample, self.sample_type))).filter(|&(_, value)| value != 0)
    }
}

/// The slices of a profile that have samples.
pub fn slices(pushed: &PushedProfile) -> impl Iterator<Item = Slice<'_>> {
    let types = pushed.profile.sample_types.len().max(1);
    let used = (pushed.series.iter().enumerate()).map(move |(index, series)| Slice {
        series,
        pushed,
        label_set: (index / types) as u32,
        sample_type: index % types,
    });
    used.filter(|slice| slice.samples().next().is_some())
}

/// Collects the frames of stacks that are neither durable nor in this block yet.
pub struct NewStacks<'a, 'k, 'f> {
    pub service: &'a str,
    pub durable: Option<&'k HashedSet>,
    pub fresh: HashedSet,
    pub frames: &'f mut Vec<NewFrame<'a>>,
}

impl<'a> NewStacks<'a, '_, '_> {
    fn is_known(&self, node: i64) -> bool {
        self.durable.is_some_and(|set| set.contains(&node)) || self.fresh.contains(&node)
    }

    fn see(&mut self, pushed: &'a PushedProfile, sample: &Sample) {
        if sample.stack == 0 || self.is_known(sample.stack) {
            return;
        }
        pushed.profile.walk_stack(sample, |parent, own, frame| {
            let node = own as i64;
            if !self.is_known(node) {
                self.fresh.insert(node);
                let profile = &pushed.profile;
                self.frames.push(NewFrame { service: self.service, node, parent: parent as i64, profile, frame });
            }
        });
    }
}

/// Sorts the samples of the slices by (stack, series, time): one hash look-up a row, then a counting sort of rows that
/// come in the order of their slices, which is that of (series, time).
pub fn row_group<'a>(slices: &[Slice<'a>], new: &mut NewStacks<'a, '_, '_>) -> RowGroup {
    let mut group = RowGroup::default();
    let mut numbers: HashedMap<u32> = HashedMap::default();
    let (mut stacks, mut counts): (Vec<i64>, Vec<usize>) = (Vec::new(), Vec::new());
    let (mut rows, mut numbered) = (Vec::new(), Vec::new());
    let mut spans = Spans::default();
    for (slice, number) in slices.iter().zip(0u32..) {
        for (sample, value) in slice.samples() {
            let number_of_stack = *numbers.entry(sample.stack).or_insert_with(|| {
                new.see(slice.pushed, sample);
                stacks.push(sample.stack);
                counts.push(0);
                (stacks.len() - 1) as u32
            });
            if let Some(count) = counts.get_mut(number_of_stack as usize) {
                *count += 1;
            }
            numbered.push(number_of_stack);
            rows.push(Row { stack: sample.stack, value, origin: number, span: spans.number(slice, sample) });
        }
    }
    group.spans = spans.columns;
    group.rows = sum_equal(counting_sort(&rows, &numbered, &stacks, &counts));
    group.origins = slices.iter().map(Slice::origin).collect();
    if let Some(first) = slices.first() {
        group.parts.push((first.series.service.clone(), first.series.profile_type.clone(), group.rows.len()));
    }
    group
}

/// Sorts rows by their stack; `numbered` has each row's index into `stacks` and `counts`.
fn counting_sort(rows: &[Row], numbered: &[u32], stacks: &[i64], counts: &[usize]) -> Vec<Row> {
    let mut order: Vec<usize> = (0..stacks.len()).collect();
    order.sort_unstable_by_key(|&number| stacks.get(number));
    let mut starts = vec![0; stacks.len()];
    let mut total = 0;
    for number in order {
        if let (Some(start), Some(count)) = (starts.get_mut(number), counts.get(number)) {
            *start = total;
            total += count;
        }
    }
    let mut sorted = vec![Row { stack: 0, value: 0, origin: 0, span: NONE }; rows.len()];
    for (row, &number) in rows.iter().zip(numbered) {
        if let Some(place) = starts.get_mut(number as usize) {
            if let Some(target) = sorted.get_mut(*place) {
                *target = *row;
            }
            *place += 1;
        }
    }
    sorted
}

/// Sums the rows of one profile that have the same stack and span.
fn sum_equal(mut rows: Vec<Row>) -> Vec<Row> {
    for equal in rows.chunk_by_mut(|a, b| a.stack == b.stack && a.origin == b.origin) {
        if equal.len() > 1 {
            equal.sort_unstable_by_key(|row| row.span);
        }
    }
    rows.dedup_by(|next, kept| {
        let same = (next.stack, next.origin, next.span) == (kept.stack, kept.origin, kept.span);
        if same {
            kept.value = kept.value.saturating_add(next.value);
        }
        same
    });
    rows
}

/// The distinct spans of a row group.
#[derive(Default)]
struct Spans {
    columns: Vec<SpanColumns>,
    numbers: HashMap<SpanColumns, u32>,
    last: Option<(*const PushedProfile, u32, u32)>,
}

impl Spans {
    fn number(&mut self, slice: &Slice<'_>, sample: &Sample) -> u32 {
        let profile = &slice.pushed.profile;
        let Some(span) = profile.spans.get(sample.span as usize) else { return NONE };
        let place = std::ptr::from_ref(slice.pushed);
        if let Some((profile, span, number)) = self.last
            && (profile, span) == (place, sample.span)
        {
            return number;
        }
        let columns = SpanColumns {
            span_id: span.span_id,
            child_span_id: span.child_span_id,
            trace_id: span.trace_id,
            name: if span.name == 0 { String::new() } else { profile.string(span.name).into_owned() },
        };
        let number = *self.numbers.entry(columns).or_insert_with_key(|columns| {
            self.columns.push(columns.clone());
            (self.columns.len() - 1) as u32
        });
        self.last = Some((place, sample.span, number));
        number
    }
}
