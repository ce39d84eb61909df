//! The tables that all profiles of a request share, and attributes.

use super::{corrupt, each_field};
use crate::error::DecodeError;
use crate::wire::{Fields, Value};

/// Entries of one table. An empty entry has two bytes on the wire and sixteen here.
const MAX_ENTRIES: usize = 1 << 20;

/// The tables; entries are messages as they came, read when they are used.
#[derive(Debug, Default)]
pub(super) struct Dictionary<'a> {
    mappings: Vec<&'a [u8]>,
    locations: Vec<&'a [u8]>,
    functions: Vec<&'a [u8]>,
    links: Vec<&'a [u8]>,
    strings: Vec<&'a [u8]>,
    pub(super) attributes: Vec<&'a [u8]>,
    pub(super) stacks: Vec<&'a [u8]>,
}

/// What an attribute can become a label from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plain<'a> {
    Text(&'a [u8]),
    Bool(bool),
    Integer(i64),
    /// A fraction, bytes, a list or a map.
    Other,
}

/// A binary that frames lie in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mapping<'a> {
    pub(super) start: u64,
    pub(super) limit: u64,
    pub(super) offset: u64,
    pub(super) filename: &'a [u8],
    pub(super) build_id: &'a [u8],
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Function<'a> {
    pub(super) name: &'a [u8],
    pub(super) system_name: &'a [u8],
    pub(super) filename: &'a [u8],
    pub(super) start_line: i64,
}

impl<'a> Dictionary<'a> {
    pub(super) fn read(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut tables: [Vec<&'a [u8]>; 7] = Default::default();
        let mut full = false;
        each_field(message, "dictionary", |number, value| {
            if let Some(table) = tables.get_mut(number as usize - 1) {
                table.push(value.bytes(number)?);
                full |= table.len() > MAX_ENTRIES;
            }
            Ok(())
        })?;
        if full {
            return Err(DecodeError::exhausted(format!(
                "a table of the dictionary has more than {MAX_ENTRIES} entries; send fewer profiles in a request"
            )));
        }
        let [mappings, locations, functions, links, strings, attributes, stacks] = tables;
        Ok(Self { mappings, locations, functions, links, strings, attributes, stacks })
    }

    pub(super) fn string(&self, index: u64) -> Result<&'a [u8], DecodeError> {
        if index == 0 && self.strings.is_empty() {
            return Ok(&[]);
        }
        at(&self.strings, index, "string_table")
    }

    pub(super) fn stack(&self, index: u64) -> Result<&'a [u8], DecodeError> {
        if index == 0 && self.stacks.is_empty() {
            return Ok(&[]);
        }
        at(&self.stacks, index, "stack_table")
    }

    pub(super) fn location(&self, index: u64) -> Result<&'a [u8], DecodeError> {
        at(&self.locations, index, "location_table")
    }

    /// The ids of a link: (trace, span); empty where they are zero or of another length.
    pub(super) fn link(&self, index: u64) -> Result<(&'a [u8], &'a [u8]), DecodeError> {
        let (mut trace, mut span): (&[u8], &[u8]) = (&[], &[]);
        each_field(at(&self.links, index, "link_table")?, "a link", |number, value| {
            match number {
                1 => trace = value.bytes(number)?,
                2 => span = value.bytes(number)?,
                _ => {}
            }
            Ok(())
        })?;
        let known = |id: &'a [u8], length| {
            if id.len() == length && id.iter().any(|&byte| byte != 0) { id } else { &[] }
        };
        Ok((known(trace, 16), known(span, 8)))
    }

    /// Key and value of an entry of the attribute table. Its key is a string index, before 1.8 the string.
    pub(super) fn attribute(&self, index: u64) -> Result<(&'a [u8], Plain<'a>), DecodeError> {
        self.key_value(at(&self.attributes, index, "attribute_table")?)
    }

    /// Key and value of a message that is either a `KeyValue` or a `KeyValueAndUnit`.
    pub(super) fn key_value(&self, message: &'a [u8]) -> Result<(&'a [u8], Plain<'a>), DecodeError> {
        let (mut key, mut key_index, mut value): (&[u8], u64, &[u8]) = (&[], 0, &[]);
        each_field(message, "an attribute", |number, part| {
            match (number, part) {
                (1, Value::Bytes(bytes)) => key = bytes,
                (2, part) => value = part.bytes(number)?,
                // Of a KeyValue (1.10) its key's index, of a KeyValueAndUnit its unit's, which is not wanted.
                (1, part) => key_index = part.integer(number)?,
                (3, part) if key.is_empty() && key_index == 0 => key_index = part.integer(number)?,
                _ => {}
            }
            Ok(())
        })?;
        if key.is_empty() && key_index != 0 {
            key = self.string(key_index)?;
        }
        Ok((key, self.plain(value)?))
    }

    fn plain(&self, message: &'a [u8]) -> Result<Plain<'a>, DecodeError> {
        let (mut plain, mut index) = (Plain::Other, None);
        each_field(message, "a value", |number, value| {
            match number {
                1 => plain = Plain::Text(value.bytes(number)?),
                2 => plain = Plain::Bool(value.integer(number)? != 0),
                3 => plain = Plain::Integer(value.integer(number)? as i64),
                8 => index = Some(value.integer(number)?),
                _ => {}
            }
            Ok(())
        })?;
        index.map_or(Ok(plain), |index| self.string(index).map(Plain::Text))
    }

    /// The texts of the attributes that a message names; keys decide which are read.
    pub(super) fn texts(&self, indices: &[u64], mut each: impl FnMut(&'a [u8], &'a [u8])) -> Result<(), DecodeError> {
        for &index in indices {
            if let (key, Plain::Text(value)) = self.attribute(index)? {
                each(key, value);
            }
        }
        Ok(())
    }

    pub(super) fn function(&self, index: u64) -> Result<Function<'a>, DecodeError> {
        let mut raw = [0u64; 5];
        each_field(at(&self.functions, index, "function_table")?, "a function", |number, value| {
            if let Some(slot) = raw.get_mut(number as usize) {
                *slot = value.integer(number)?;
            }
            Ok(())
        })?;
        let [_, name, system_name, filename, start_line] = raw;
        Ok(Function {
            name: self.string(name)?,
            system_name: self.string(system_name)?,
            filename: self.string(filename)?,
            start_line: start_line as i64,
        })
    }

    pub(super) fn mapping(&self, index: u64) -> Result<Mapping<'a>, DecodeError> {
        let (mut raw, mut attributes) = ([0u64; 5], Vec::new());
        each_field(at(&self.mappings, index, "mapping_table")?, "a mapping", |number, value| match number {
            1..=4 => {
                if let Some(slot) = raw.get_mut(number as usize) {
                    *slot = value.integer(number)?;
                }
                Ok(())
            }
            5 => value.append_integers(number, &mut attributes),
            _ => Ok(()),
        })?;
        let [_, start, limit, offset, filename] = raw;
        let mut build_id: (u8, &[u8]) = (u8::MAX, &[]);
        self.texts(&attributes, |key, value| {
            let rank = match key {
                b"process.executable.build_id.gnu" => 0,
                b"process.executable.build_id.go" => 1,
                b"process.executable.build_id.htlhash" => 2,
                _ => return,
            };
            if rank < build_id.0 && !value.is_empty() {
                build_id = (rank, value);
            }
        })?;
        Ok(Mapping { start, limit, offset, filename: self.string(filename)?, build_id: build_id.1 })
    }
}

fn at<'a>(table: &[&'a [u8]], index: u64, name: &str) -> Result<&'a [u8], DecodeError> {
    usize::try_from(index).ok().and_then(|index| table.get(index)).copied().ok_or_else(|| {
        DecodeError::invalid(format!(
            "{name}[{}] is referred to, but the dictionary has {}; the sender's layout of OTLP profiles may be another than \
             1.7 to 1.11",
            index as i64,
            table.len()
        ))
    })
}

/// The repeated `KeyValue` of a resource (field 1) or scope (field 3).
pub(super) fn attributes_in(message: &[u8], field: u32) -> Result<Vec<&[u8]>, DecodeError> {
    let mut found = Vec::new();
    let mut fields = Fields::new(message);
    let wrong = |wire| corrupt("the attributes", wire);
    while let Some((number, value)) = fields.next().map_err(wrong)? {
        if number == field {
            found.push(value.bytes(number).map_err(wrong)?);
        }
    }
    Ok(found)
}
