//! From profiles to the rows of a row group: sorted samples, summed where equal, and the frames that are new.

use std::collections::HashMap;
use std::sync::Arc;

use parquet::data_type::FixedLenByteArray;

use crate::hash::{HashedMap, HashedSet};
use crate::labels::Series;
use crate::pprof::{NONE, Sample};
use crate::push::PushedProfile;
use crate::samples::{RowGroup, SpanColumns};
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

/// A row before it is sorted. Rows come in the order of their slices, which is that of (series, time).
#[derive(Clone, Copy)]
struct Row {
    stack: u32,
    slice: u32,
    span: u32,
    value: i64,
}

/// Sorts the samples of the slices by (stack, series, time): one hash look-up a row, then a counting sort.
pub fn row_group<'a>(slices: &[Slice<'a>], new: &mut NewStacks<'a, '_, '_>) -> RowGroup {
    let mut group = RowGroup::default();
    let mut numbers: HashedMap<u32> = HashedMap::default();
    let (mut stacks, mut counts): (Vec<i64>, Vec<usize>) = (Vec::new(), Vec::new());
    let mut rows = Vec::new();
    let mut spans = Spans::default();
    for (slice, number) in slices.iter().zip(0u32..) {
        for (sample, value) in slice.samples() {
            let stack = *numbers.entry(sample.stack).or_insert_with(|| {
                new.see(slice.pushed, sample);
                stacks.push(sample.stack);
                counts.push(0);
                (stacks.len() - 1) as u32
            });
            if let Some(count) = counts.get_mut(stack as usize) {
                *count += 1;
            }
            rows.push(Row { stack, slice: number, span: spans.number(slice, sample), value });
        }
    }
    group.spans = spans.columns;
    let rows = counting_sort(&rows, &stacks, &counts);
    emit(&mut group, slices, &stacks, rows);
    if let Some(first) = slices.first() {
        group.parts.push((first.series.service.clone(), first.series.profile_type.clone(), group.rows()));
    }
    group
}

fn counting_sort(rows: &[Row], stacks: &[i64], counts: &[usize]) -> Vec<Row> {
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
    let mut sorted = vec![Row { stack: 0, slice: 0, span: NONE, value: 0 }; rows.len()];
    for row in rows {
        if let Some(place) = starts.get_mut(row.stack as usize) {
            if let Some(target) = sorted.get_mut(*place) {
                *target = *row;
            }
            *place += 1;
        }
    }
    sorted
}

/// Fills the columns; rows of one profile with the same stack and span are summed.
fn emit(group: &mut RowGroup, slices: &[Slice<'_>], stacks: &[i64], mut rows: Vec<Row>) {
    for equal in rows.chunk_by_mut(|a, b| a.stack == b.stack && a.slice == b.slice) {
        if equal.len() > 1 {
            equal.sort_unstable_by_key(|row| row.span);
        }
    }
    let ids: Vec<FixedLenByteArray> =
        slices.iter().map(|slice| FixedLenByteArray::from(slice.pushed.key.profile_id.to_vec())).collect();
    let same = |a: &Row, b: &Row| a.stack == b.stack && a.slice == b.slice && a.span == b.span;
    for equal in rows.chunk_by(same) {
        let Some(row) = equal.first() else { continue };
        let number = row.slice as usize;
        let (Some(slice), Some(id), Some(&stack)) =
            (slices.get(number), ids.get(number), stacks.get(row.stack as usize))
        else {
            continue;
        };
        group.series.push(slice.series.fingerprint);
        group.profile_id.push(id.clone());
        group.time_ns.push(slice.pushed.profile.time_ns);
        group.stack.push(stack);
        group.value.push(equal.iter().fold(0, |sum: i64, row| sum.saturating_add(row.value)));
        group.span.push((row.span != NONE).then_some(row.span));
    }
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
