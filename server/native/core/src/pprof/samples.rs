//! The samples of a pprof: values, stack hashes, label sets and spans.

use std::collections::HashMap;

use super::tables::Ids;
use super::{Failure, NONE, Profile, Sample, Span, each_field, unknown_id};
use crate::error::DecodeError;
use crate::limits::{Limits, MAX_FRAMES_PER_PROFILE};
use crate::wire::Fields;

/// What a sample's label is to us.
#[derive(Clone, Copy)]
enum Key {
    SpanId,
    ChildSpanId,
    TraceId,
    SpanName,
    Label,
}

/// Second pass over the samples: one growing state, reused buffers.
struct SampleReader<'p> {
    locations: &'p Ids,
    limits: &'p Limits,
    keys: HashMap<u32, Key>,
    sets: HashMap<Vec<(u32, u32)>, u32>,
    labels: Vec<(u32, u32)>,
    frames: usize,
}

impl Profile {
    pub(super) fn read_samples(
        &mut self,
        messages: &[&[u8]],
        locations: &Ids,
        limits: &Limits,
    ) -> Result<(), DecodeError> {
        self.samples.reserve_exact(messages.len());
        self.values.reserve_exact(messages.len().saturating_mul(self.sample_types.len()).min(1 << 20));
        let mut reader = SampleReader {
            locations,
            limits,
            keys: HashMap::new(),
            sets: HashMap::new(),
            labels: Vec::new(),
            frames: 0,
        };
        for (index, message) in messages.iter().enumerate() {
            reader.read(self, message, index)?;
        }
        if self.label_sets.len() > 1 {
            self.samples.sort_by_key(|sample| sample.label_set);
        }
        Ok(())
    }
}

impl SampleReader<'_> {
    fn read(&mut self, profile: &mut Profile, message: &[u8], index: usize) -> Result<(), DecodeError> {
        let place = || format!("sample[{index}]");
        let (first_reference, first_value) = (profile.references.len(), profile.values.len());
        let mut span = Span::default();
        let mut label_count = 0;
        self.labels.clear();
        each_field(message, place, |number, value| match number {
            1 => value.integers(number, |id| match self.locations.index(id) {
                Some(location) => {
                    profile.references.push(location);
                    Ok(())
                }
                None => Err(Failure::Refused(unknown_id(&place(), "location_id", id, "location"))),
            }),
            2 => value.integers(number, |value| {
                profile.values.push(value as i64);
                Ok(())
            }),
            3 => {
                label_count += 1;
                self.read_label(profile, value.bytes(number)?, &mut span, &place)
            }
            _ => Ok(()),
        })?;
        if label_count > self.limits.max_sample_labels {
            return Err(DecodeError::invalid(format!(
                "{} has {label_count} labels, the limit is {}; send fewer",
                place(),
                self.limits.max_sample_labels
            )));
        }
        let values = profile.values.get(first_value..).unwrap_or_default();
        if values.len() != profile.sample_types.len() {
            return Err(DecodeError::invalid(format!(
                "{} has {} values for {} sample types; send one value per type",
                place(),
                values.len(),
                profile.sample_types.len()
            )));
        }
        if values.iter().any(|&value| value < 0) || values.iter().all(|&value| value == 0) {
            profile.values.truncate(first_value);
            profile.references.truncate(first_reference);
            profile.dropped_samples += 1;
            return Ok(());
        }
        self.finish(profile, first_reference, span)
    }

    fn finish(&mut self, profile: &mut Profile, first_reference: usize, span: Span) -> Result<(), DecodeError> {
        let mut sample = Sample {
            stack: 0,
            first_reference: first_reference as u32,
            references: (profile.references.len() - first_reference) as u32,
            first_value: (profile.values.len() - profile.sample_types.len()) as u32,
            label_set: self.label_set(profile),
            span: NONE,
        };
        let (mut leaf, mut depth) = (0, 0);
        profile.walk_stack(&sample, |_, own, _| {
            leaf = own;
            depth += 1;
        });
        sample.stack = leaf as i64;
        self.frames += depth;
        if self.frames > MAX_FRAMES_PER_PROFILE {
            return Err(DecodeError::exhausted(format!(
                "the pprof unfolds into more than {MAX_FRAMES_PER_PROFILE} frames; upload more often or cut the stacks"
            )));
        }
        if depth == profile.max_stack_depth && profile.is_deeper(&sample) {
            profile.truncated_stacks += 1;
        }
        if span != Span::default() {
            if profile.spans.last() != Some(&span) {
                profile.spans.push(span);
            }
            sample.span = (profile.spans.len() - 1) as u32;
        }
        profile.samples.push(sample);
        Ok(())
    }

    fn label_set(&mut self, profile: &mut Profile) -> u32 {
        if let Some(last) = profile.samples.last()
            && profile.label_sets.get(last.label_set as usize) == Some(&self.labels)
        {
            return last.label_set;
        }
        if let Some(&known) = self.sets.get(&self.labels) {
            return known;
        }
        let number = profile.label_sets.len() as u32;
        profile.label_sets.push(self.labels.clone());
        self.sets.insert(self.labels.clone(), number);
        number
    }

    fn read_label(
        &mut self,
        profile: &Profile,
        message: &[u8],
        span: &mut Span,
        place: &dyn Fn() -> String,
    ) -> Result<(), Failure> {
        let (mut key, mut text) = (0, 0);
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => key = value.integer(number)?,
                2 => text = value.integer(number)?,
                _ => {}
            }
        }
        let check = |index, part: &str| {
            profile.check_string(index, || format!("{}.label.{part}", place())).map_err(Failure::Refused)
        };
        let (key, text) = (check(key, "key")?, check(text, "str")?);
        let value = profile.string_bytes(text);
        if value.is_empty() || profile.string_bytes(key).is_empty() {
            return Ok(()); // numeric labels are not stored
        }
        match *self.keys.entry(key).or_insert_with(|| Key::of(profile.string_bytes(key))) {
            Key::SpanId if span.span_id == 0 => span.span_id = hex(value, 16) as i64,
            Key::ChildSpanId if span.child_span_id == 0 => span.child_span_id = hex(value, 16) as i64,
            Key::TraceId if span.trace_id == 0 => span.trace_id = hex(value, 32),
            Key::SpanName if span.name == 0 => span.name = text,
            Key::Label if !self.labels.iter().any(|(taken, _)| *taken == key) => self.labels.push((key, text)),
            _ => {}
        }
        Ok(())
    }
}

impl Profile {
    /// Whether a stack has more frames than the limit lets `walk_stack` show.
    fn is_deeper(&self, sample: &Sample) -> bool {
        let range = sample.first_reference as usize..(sample.first_reference + sample.references) as usize;
        let locations = self.references.get(range).unwrap_or_default().iter();
        let frames =
            locations.filter_map(|&location| self.locations.get(location as usize)).map(|(a, b)| (b - a) as usize);
        frames.sum::<usize>() > self.max_stack_depth
    }
}

impl Key {
    fn of(name: &[u8]) -> Self {
        match name {
            b"span_id" | b"profile_id" => Self::SpanId,
            b"child_span_id" => Self::ChildSpanId,
            b"trace_id" => Self::TraceId,
            b"span_name" => Self::SpanName,
            _ => Self::Label,
        }
    }
}

/// The number that exactly `digits` hex digits spell, 0 where the text is anything else.
fn hex(text: &[u8], digits: usize) -> u128 {
    if text.len() != digits {
        return 0;
    }
    text.iter()
        .try_fold(0u128, |number, &digit| char::from(digit).to_digit(16).map(|value| number << 4 | u128::from(value)))
        .unwrap_or(0)
}
