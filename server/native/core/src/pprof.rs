//! The pprof parser: two passes over the bytes, no copies of strings, every reference checked.
//! Source: protocol/proto/google/v1/profile.proto; hostile input is expected.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;

use crate::error::DecodeError;
use crate::hash;
use crate::labels::ValueType;
use crate::limits::{Limits, MAX_FRAMES_PER_PROFILE};
use crate::wire::{Fields, Value, WireError};

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
pub struct Span {
    pub span_id: i64,
    pub child_span_id: i64,
    pub trace_id: u128,
    /// String index; 0 is absent.
    pub name: u32,
}

impl Default for ValueType {
    fn default() -> Self {
        Self { name: String::new(), unit: String::new() }
    }
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
pub fn parse(bytes: Bytes, now_ns: i64, limits: &Limits) -> Result<Profile, DecodeError> {
    let mut sections = Sections::default();
    sections.collect(&bytes, limits).map_err(|error| match error {
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

/// First pass: where the parts of the profile lie; strings come after the samples that use them.
#[derive(Default)]
struct Sections<'a> {
    sample_types: Vec<&'a [u8]>,
    samples: Vec<&'a [u8]>,
    mappings: Vec<&'a [u8]>,
    locations: Vec<&'a [u8]>,
    functions: Vec<&'a [u8]>,
    strings: Vec<(u32, u32)>,
    time_nanos: i64,
    period_type: &'a [u8],
}

impl<'a> Sections<'a> {
    fn collect(&mut self, bytes: &'a [u8], limits: &Limits) -> Result<(), Failure> {
        let mut fields = Fields::new(bytes);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => self.sample_types.push(value.bytes(number)?),
                2 => self.samples.push(value.bytes(number)?),
                3 => self.mappings.push(value.bytes(number)?),
                4 => self.locations.push(value.bytes(number)?),
                5 => self.functions.push(value.bytes(number)?),
                6 => {
                    let string = value.bytes(number)?;
                    let start = string.as_ptr().addr() - bytes.as_ptr().addr();
                    self.strings.push((start as u32, string.len() as u32));
                }
                9 => self.time_nanos = value.integer(number)? as i64,
                11 => self.period_type = value.bytes(number)?,
                _ => {}
            }
        }
        if self.samples.len() > limits.max_samples {
            return Err(Failure::Refused(DecodeError::invalid(format!(
                "the pprof has {} samples, the limit is {}; upload more often or merge equal stacks",
                self.samples.len(),
                limits.max_samples
            ))));
        }
        Ok(())
    }
}

/// From the ids of messages to their indices; ids usually are 1, 2, 3, ...
struct Ids {
    count: u64,
    sparse: Option<HashMap<u64, u32>>,
}

impl Ids {
    fn of(kind: &str, ids: &[u64]) -> Result<Self, DecodeError> {
        let count = ids.len() as u64;
        if ids.iter().zip(1u64..).all(|(&id, expected)| id == expected) {
            return Ok(Self { count, sparse: None });
        }
        let mut sparse = HashMap::with_capacity(ids.len());
        for (&id, index) in ids.iter().zip(0u32..) {
            if id == 0 {
                return Err(DecodeError::invalid(format!("{kind}[{index}].id is 0; ids of a pprof start at 1")));
            }
            if sparse.insert(id, index).is_some() {
                return Err(DecodeError::invalid(format!(
                    "{kind}[{index}].id {id} is there twice; ids must be unique"
                )));
            }
        }
        Ok(Self { count, sparse: Some(sparse) })
    }

    #[inline]
    fn index(&self, id: u64) -> Option<u32> {
        match &self.sparse {
            None => (id.wrapping_sub(1) < self.count).then(|| (id - 1) as u32),
            Some(sparse) => sparse.get(&id).copied(),
        }
    }
}

impl Profile {
    fn check_string(&self, index: u64, place: impl Fn() -> String) -> Result<u32, DecodeError> {
        if index == 0 || index < self.strings.len() as u64 {
            return Ok(index as u32);
        }
        Err(DecodeError::invalid(format!(
            "{} is string {}, but string_table has {}; encode the pprof again",
            place(),
            index as i64,
            self.strings.len()
        )))
    }

    fn read_types(&mut self, sections: &Sections<'_>) -> Result<(), DecodeError> {
        let types = sections.sample_types.iter().enumerate();
        self.sample_types = types
            .map(|(index, message)| self.read_type(message, &format!("sample_type[{index}]")))
            .collect::<Result<_, _>>()?;
        self.period_type = self.read_type(sections.period_type, "period_type")?;
        if self.sample_types.is_empty() && !sections.samples.is_empty() {
            return Err(DecodeError::invalid("sample_type is missing; say what the samples' values are"));
        }
        for (index, sample_type) in self.sample_types.iter().enumerate() {
            if self.sample_types.iter().take(index).any(|other| other == sample_type) {
                return Err(DecodeError::invalid(format!(
                    "sample_type[{index}] ({}, {}) is there twice; send each type once",
                    sample_type.name, sample_type.unit
                )));
            }
        }
        Ok(())
    }

    fn read_type(&self, message: &[u8], place: &str) -> Result<ValueType, DecodeError> {
        let (mut name, mut unit) = (0, 0);
        each_field(
            message,
            || place.to_owned(),
            |number, value| {
                match number {
                    1 => name = value.integer(number)?,
                    2 => unit = value.integer(number)?,
                    _ => {}
                }
                Ok(())
            },
        )?;
        let text = |index, part| {
            let text = self.string(self.check_string(index, || format!("{place}.{part}"))?).into_owned();
            if text.contains(':') {
                return Err(DecodeError::invalid(format!("{place}.{part} {text:?} contains ':'; remove it")));
            }
            Ok(text)
        };
        Ok(ValueType { name: text(name, "type")?, unit: text(unit, "unit")? })
    }

    fn read_mappings(&mut self, messages: &[&[u8]]) -> Result<Ids, DecodeError> {
        let mut ids = Vec::with_capacity(messages.len());
        for (index, message) in messages.iter().enumerate() {
            let place = || format!("mapping[{index}]");
            let mut raw = [0u64; 7];
            each_field(message, place, |number, value| {
                if let Some(slot @ 1..=6) = Some(number as usize) {
                    if let Some(target) = raw.get_mut(slot) {
                        *target = value.integer(number)?;
                    }
                }
                Ok(())
            })?;
            let [_, id, start, limit, offset, filename, build_id] = raw;
            ids.push(id);
            self.mappings.push(Mapping {
                start,
                limit,
                offset,
                filename: self.check_string(filename, || place() + ".filename")?,
                build_id: self.check_string(build_id, || place() + ".build_id")?,
            });
        }
        Ids::of("mapping", &ids)
    }

    fn read_functions(&mut self, messages: &[&[u8]]) -> Result<Ids, DecodeError> {
        let mut ids = Vec::with_capacity(messages.len());
        self.functions.reserve_exact(messages.len());
        for (index, message) in messages.iter().enumerate() {
            let place = || format!("function[{index}]");
            let (mut id, mut name, mut system_name, mut filename, mut start_line) = (0, 0, 0, 0, 0);
            each_field(message, place, |number, value| {
                match number {
                    1 => id = value.integer(number)?,
                    2 => name = value.integer(number)?,
                    3 => system_name = value.integer(number)?,
                    4 => filename = value.integer(number)?,
                    5 => start_line = value.integer(number)? as i64,
                    _ => {}
                }
                Ok(())
            })?;
            ids.push(id);
            self.functions.push(Function {
                name: self.check_string(name, || place() + ".name")?,
                system_name: self.check_string(system_name, || place() + ".system_name")?,
                filename: self.check_string(filename, || place() + ".filename")?,
                start_line,
            });
        }
        Ids::of("function", &ids)
    }

    fn read_locations(&mut self, messages: &[&[u8]], mappings: &Ids, functions: &Ids) -> Result<Ids, DecodeError> {
        let mut ids = Vec::with_capacity(messages.len());
        self.locations.reserve_exact(messages.len());
        self.frames.reserve(messages.len());
        for (index, message) in messages.iter().enumerate() {
            let place = || format!("location[{index}]");
            let (mut id, mut mapping_id, mut address) = (0, 0, 0);
            let first = self.frames.len();
            let frames = &mut self.frames;
            each_field(message, place, |number, value| {
                match number {
                    1 => id = value.integer(number)?,
                    2 => mapping_id = value.integer(number)?,
                    3 => address = value.integer(number)?,
                    4 => {
                        let line = frames.len() - first;
                        let line_place = || format!("location[{index}].line[{line}]");
                        frames.push(read_line(value.bytes(number)?, functions, line_place)?);
                    }
                    _ => {}
                }
                Ok(())
            })?;
            let mapping = match mapping_id {
                0 => NONE,
                id => mappings.index(id).ok_or_else(|| unknown_id(&place(), "mapping_id", id, "mapping"))?,
            };
            if frames.len() == first {
                frames.push(Frame { function: NONE, mapping, line: 0, address: 0, inlined: false });
            }
            let file_address = self.mappings.get(mapping as usize).map_or(address, |mapping| mapping.to_file(address));
            let own = frames.get_mut(first..).unwrap_or_default();
            let outermost = own.len() - 1;
            for (position, frame) in own.iter_mut().enumerate() {
                frame.mapping = mapping;
                frame.inlined = position < outermost;
                // The address of a frame with a function differs in every process and would keep equal stacks apart.
                frame.address = if frame.function == NONE { file_address } else { 0 };
            }
            ids.push(id);
            self.locations.push((first as u32, self.frames.len() as u32));
        }
        Ids::of("location", &ids)
    }

    fn hash_frames(&mut self) {
        let mut string_hashes = vec![0u64; self.strings.len()];
        let mut hash_string = |index: u32| match string_hashes.get_mut(index as usize) {
            Some(hash) => {
                if *hash == 0 {
                    *hash = hash::of_bytes(self.string_bytes(index)) | 1;
                }
                *hash
            }
            None => hash::of_bytes(b"") | 1,
        };
        let functions: Vec<u64> = (self.functions.iter())
            .map(|function| {
                let strings = [function.name, function.system_name, function.filename];
                strings
                    .into_iter()
                    .fold(function.start_line as u64, |hash, string| hash::mix(hash, hash_string(string)))
            })
            .collect();
        let mappings: Vec<u64> = (self.mappings.iter())
            .map(|mapping| hash::mix(hash_string(mapping.filename), hash_string(mapping.build_id)))
            .collect();
        let get = |hashes: &[u64], index: u32| hashes.get(index as usize).copied().unwrap_or(0);
        let frames = self.frames.iter().map(|frame| {
            let place = hash::mix(get(&mappings, frame.mapping), frame.address);
            let line = hash::mix(frame.line as u64, u64::from(frame.inlined));
            hash::mix(hash::mix(get(&functions, frame.function), place), line)
        });
        self.frame_hashes = frames.collect();
    }
}

impl Mapping {
    /// From an address of the process to one of the file, which is the same in every process.
    fn to_file(self, address: u64) -> u64 {
        if (self.start..self.limit).contains(&address) {
            (address - self.start).wrapping_add(self.offset)
        } else {
            address
        }
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

fn read_line(message: &[u8], functions: &Ids, place: impl Fn() -> String) -> Result<Frame, Failure> {
    let (mut function_id, mut line) = (0, 0);
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => function_id = value.integer(number)?,
            2 => line = value.integer(number)? as i64,
            _ => {}
        }
    }
    let function = match function_id {
        0 => NONE,
        id => {
            functions.index(id).ok_or_else(|| Failure::Refused(unknown_id(&place(), "function_id", id, "function")))?
        }
    };
    Ok(Frame { function, mapping: NONE, line, address: 0, inlined: false })
}

fn unknown_id(place: &str, field: &str, id: u64, kind: &str) -> DecodeError {
    DecodeError::invalid(format!("{place}.{field} {id} names no {kind} of the pprof; encode it again"))
}

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
    fn read_samples(&mut self, messages: &[&[u8]], locations: &Ids, limits: &Limits) -> Result<(), DecodeError> {
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
        if let Some(last) = profile.samples.last() {
            if profile.label_sets.get(last.label_set as usize) == Some(&self.labels) {
                return last.label_set;
            }
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
