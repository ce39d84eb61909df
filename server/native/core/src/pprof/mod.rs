//! The pprof parser: two passes over the bytes, no copies of strings, every reference checked.
//! Source: protocol/proto/google/v1/profile.proto; hostile input is expected.

pub mod build;
mod samples;
mod tables;

use std::borrow::Cow;

use bytes::Bytes;

use crate::error::DecodeError;
use crate::hash;
use crate::labels::ValueType;
use crate::limits::Limits;
use crate::wire::{Fields, Value, WireError};
use tables::Sections;

/// "None" among indices.
pub const NONE: u32 = u32::MAX;

/// A profile whose references are all known to be good.
#[derive(Debug, Default)]
pub struct Profile {
    bytes: Bytes,
    strings: Vec<(u32, u32)>,
    pub functions: Vec<Function>,
    pub mappings: Vec<Mapping>,
    pub frames: Vec<Frame>,
    frame_hashes: Vec<u64>,
    /// Ranges of `frames`, innermost first.
    locations: Vec<(u32, u32)>,
    /// Location indices of all samples, leaf first.
    references: Vec<u32>,
    /// Sorted by label set.
    pub samples: Vec<Sample>,
    /// `sample_types.len()` values per sample.
    values: Vec<i64>,
    pub spans: Vec<Span>,
    /// Distinct sets of sample labels (key, value: string indices); samples name theirs by index.
    pub label_sets: Vec<Vec<(u32, u32)>>,
    pub sample_types: Vec<ValueType>,
    pub period_type: ValueType,
    pub time_ns: i64,
    pub dropped_samples: usize,
    pub truncated_stacks: usize,
    max_stack_depth: usize,
    max_string_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
pub struct Function {
    pub name: u32,
    pub system_name: u32,
    pub filename: u32,
    pub start_line: i64,
}

#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    start: u64,
    limit: u64,
    offset: u64,
    pub filename: u32,
    pub build_id: u32,
}

/// One line of one location.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Index of a function, or NONE.
    pub function: u32,
    /// Index of a mapping, or NONE.
    pub mapping: u32,
    pub line: i64,
    /// Address in the mapped file; 0 where the frame has a function.
    pub address: u64,
    pub inlined: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Hash of the stack trace; 0 where it is empty.
    pub stack: i64,
    first_reference: u32,
    references: u32,
    first_value: u32,
    pub label_set: u32,
    /// Index of a span, or NONE.
    pub span: u32,
}

/// The span columns of a sample; 0 and NONE mean absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_field_names)] // as the columns are called
pub struct Span {
    pub span_id: i64,
    pub child_span_id: i64,
    pub trace_id: u128,
    /// String index; 0 is absent.
    pub name: u32,
}

impl Profile {
    /// The bytes of a string, its tail where it is longer than the limit.
    pub fn string_bytes(&self, index: u32) -> &[u8] {
        let Some(&(start, length)) = self.strings.get(index as usize) else { return &[] };
        let (start, length) = (start as usize, length as usize);
        let cut = length.saturating_sub(self.max_string_bytes);
        self.bytes.get(start + cut..start + length).unwrap_or_default()
    }

    /// A string; bytes that are not UTF-8 are replaced.
    pub fn string(&self, index: u32) -> Cow<'_, str> {
        String::from_utf8_lossy(self.string_bytes(index))
    }

    /// The samples of one label set.
    pub fn samples_of(&self, label_set: u32) -> &[Sample] {
        let start = self.samples.partition_point(|sample| sample.label_set < label_set);
        let rest = self.samples.get(start..).unwrap_or_default();
        rest.get(..rest.partition_point(|sample| sample.label_set == label_set)).unwrap_or_default()
    }

    /// A sample's value of one of the sample types.
    pub fn value(&self, sample: &Sample, sample_type: usize) -> i64 {
        self.values.get(sample.first_value as usize + sample_type).copied().unwrap_or(0)
    }

    /// Calls `each` with (parent hash, own hash, frame index) of every frame of a sample's stack, root first.
    pub fn walk_stack(&self, sample: &Sample, mut each: impl FnMut(u64, u64, u32)) {
        let range = sample.first_reference as usize..(sample.first_reference + sample.references) as usize;
        let mut parent = 0;
        let mut depth = 0;
        for &location in self.references.get(range).unwrap_or_default().iter().rev() {
            let Some(&(start, end)) = self.locations.get(location as usize) else { return };
            for frame in (start..end).rev() {
                if depth == self.max_stack_depth {
                    return;
                }
                let Some(&frame_hash) = self.frame_hashes.get(frame as usize) else { return };
                let own = hash::stack(parent, frame_hash);
                each(parent, own, frame);
                parent = own;
                depth += 1;
            }
        }
    }
}

/// Parses an uncompressed pprof. `now_ns` stands in for a time of 0.
pub fn parse(bytes: &Bytes, now_ns: i64, limits: &Limits) -> Result<Profile, DecodeError> {
    let mut sections = Sections::default();
    sections.collect(bytes, limits).map_err(|error| match error {
        Failure::Wire(wire) => corrupt("the pprof", wire),
        Failure::Refused(refusal) => refusal,
    })?;
    let mut profile = Profile {
        strings: std::mem::take(&mut sections.strings),
        time_ns: if sections.time_nanos == 0 { now_ns } else { sections.time_nanos },
        max_stack_depth: limits.max_stack_depth,
        max_string_bytes: limits.max_string_bytes,
        bytes: bytes.clone(),
        ..Profile::default()
    };
    profile.read_types(&sections)?;
    let mappings = profile.read_mappings(&sections.mappings)?;
    let functions = profile.read_functions(&sections.functions)?;
    let locations = profile.read_locations(&sections.locations, &mappings, &functions)?;
    profile.hash_frames();
    profile.read_samples(&sections.samples, &locations, limits)?;
    Ok(profile)
}

fn corrupt(place: &str, wire: WireError) -> DecodeError {
    DecodeError::invalid(format!("{place} is corrupt: {wire}; encode it again (pprof, uncompressed or gzip)"))
}

enum Failure {
    Wire(WireError),
    Refused(DecodeError),
}

impl From<WireError> for Failure {
    fn from(wire: WireError) -> Self {
        Self::Wire(wire)
    }
}

fn each_field<'a>(
    message: &'a [u8],
    place: impl Fn() -> String,
    mut each: impl FnMut(u32, Value<'a>) -> Result<(), Failure>,
) -> Result<(), DecodeError> {
    let mut run = || {
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            each(number, value)?;
        }
        Ok(())
    };
    run().map_err(|failure| match failure {
        Failure::Wire(wire) => corrupt(&place(), wire),
        Failure::Refused(refusal) => refusal,
    })
}

fn unknown_id(place: &str, field: &str, id: u64, kind: &str) -> DecodeError {
    DecodeError::invalid(format!("{place}.{field} {id} names no {kind} of the pprof; encode it again"))
}
