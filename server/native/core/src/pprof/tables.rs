//! The tables of a pprof: sample types, mappings, functions, locations, and the hashes of frames.

use std::collections::HashMap;

use super::{Failure, Frame, Function, Mapping, NONE, Profile, each_field, unknown_id};
use crate::error::DecodeError;
use crate::hash;
use crate::labels::ValueType;
use crate::limits::Limits;
use crate::wire::Fields;

/// First pass: where the parts of the profile lie; strings come after the samples that use them.
#[derive(Default)]
pub(super) struct Sections<'a> {
    pub(super) sample_types: Vec<&'a [u8]>,
    pub(super) samples: Vec<&'a [u8]>,
    pub(super) mappings: Vec<&'a [u8]>,
    pub(super) locations: Vec<&'a [u8]>,
    pub(super) functions: Vec<&'a [u8]>,
    pub(super) strings: Vec<(u32, u32)>,
    pub(super) time_nanos: i64,
    pub(super) period_type: &'a [u8],
}

impl<'a> Sections<'a> {
    pub(super) fn collect(&mut self, bytes: &'a [u8], limits: &Limits) -> Result<(), Failure> {
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
pub(super) struct Ids {
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
    pub(super) fn index(&self, id: u64) -> Option<u32> {
        match &self.sparse {
            None => (id.wrapping_sub(1) < self.count).then(|| (id - 1) as u32),
            Some(sparse) => sparse.get(&id).copied(),
        }
    }
}

impl Profile {
    pub(super) fn check_string(&self, index: u64, place: impl Fn() -> String) -> Result<u32, DecodeError> {
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

    pub(super) fn read_types(&mut self, sections: &Sections<'_>) -> Result<(), DecodeError> {
        if self.strings.first().is_some_and(|&(_, length)| length > 0) {
            return Err(DecodeError::invalid("string_table[0] is not empty; encode the pprof again"));
        }
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

    pub(super) fn read_mappings(&mut self, messages: &[&[u8]]) -> Result<Ids, DecodeError> {
        let mut ids = Vec::with_capacity(messages.len());
        for (index, message) in messages.iter().enumerate() {
            let place = || format!("mapping[{index}]");
            let mut raw = [0u64; 7];
            each_field(message, place, |number, value| {
                if let Some(slot) = raw.get_mut(number as usize) {
                    *slot = value.integer(number)?;
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

    pub(super) fn read_functions(&mut self, messages: &[&[u8]]) -> Result<Ids, DecodeError> {
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

    pub(super) fn read_locations(
        &mut self,
        messages: &[&[u8]],
        mappings: &Ids,
        functions: &Ids,
    ) -> Result<Ids, DecodeError> {
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

    pub(super) fn hash_frames(&mut self) {
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
