//! Which version's layout the samples of a request are in. The versions gave the same field numbers to other fields
//! without a new package name, so that only the wire types and what they can mean tell.

use super::dictionary::Dictionary;
use super::{Scoped, each_field};
use crate::error::DecodeError;
use crate::wire::{Value, WireError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// 1.7: a range of the profile's locations, value, attributes, link, timestamps.
    Ranges,
    /// 1.8 and 1.9: stack, values, attributes, link, timestamps.
    ValuesSecond,
    /// 1.10 and 1.11: stack, attributes, link, values, timestamps.
    ValuesFourth,
}

/// A sample, in any layout.
#[derive(Debug, Default)]
pub(super) struct Sample {
    /// Index of a stack; before 1.8 the first of its locations.
    pub(super) stack: u64,
    /// How many locations, before 1.8.
    pub(super) length: u64,
    pub(super) values: Vec<i64>,
    pub(super) attributes: Vec<u64>,
    pub(super) link: u64,
    pub(super) timestamps: usize,
    pub(super) first_timestamp_ns: u64,
}

impl Sample {
    pub(super) fn read(&mut self, message: &[u8], layout: Layout) -> Result<(), DecodeError> {
        self.values.clear();
        self.attributes.clear();
        (self.stack, self.length, self.link, self.timestamps, self.first_timestamp_ns) = (0, 0, 0, 0, u64::MAX);
        // In the order of the newest layout: stack, attributes, link, values, timestamps; 0 is the length of a range.
        let order: &[u32] = match layout {
            Layout::Ranges => &[1, 0, 4, 2, 3, 5],
            Layout::ValuesSecond => &[1, 4, 2, 3, 5],
            Layout::ValuesFourth => &[1, 2, 3, 4, 5],
        };
        each_field(message, "a sample", |number, value| {
            match order.get(number as usize - 1).copied() {
                Some(1) => self.stack = value.integer(number)?,
                Some(0) => self.length = value.integer(number)?,
                Some(2) => value.append_integers(number, &mut self.attributes)?,
                Some(3) => self.link = value.integer(number)?,
                Some(4) => value.integers(number, |value| {
                    self.values.push(value as i64);
                    Ok::<(), WireError>(())
                })?,
                Some(_) => self.read_times(number, value)?,
                None => {}
            }
            Ok(())
        })
    }

    fn read_times(&mut self, number: u32, value: Value<'_>) -> Result<(), WireError> {
        let mut add = |time| {
            self.timestamps += 1;
            self.first_timestamp_ns = self.first_timestamp_ns.min(time);
        };
        match value {
            Value::Fixed64(time) => add(time),
            Value::Bytes(packed) if number == 5 => {
                let (times, rest) = packed.as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(WireError::Truncated);
                }
                for time in times {
                    add(u64::from_le_bytes(*time));
                }
            }
            other => other.integers(number, |time| {
                add(time);
                Ok::<(), WireError>(())
            })?,
        }
        Ok(())
    }
}

/// What the samples of a request tell of their layout.
#[derive(Debug, Default)]
struct Evidence {
    /// Whether some sample is of 1.7, of 1.8 or 1.9, of 1.10 or newer.
    found: [bool; 3],
    /// Some samples have neither field 3 nor 4. Whether their field 2 can be attributes, or values:
    undecided: bool,
    cannot_be_attributes: bool,
    cannot_be_values: bool,
}

pub(super) fn of_request(
    profiles: &[Scoped<'_>],
    dictionary: &Dictionary<'_>,
    is_json: bool,
) -> Result<Layout, DecodeError> {
    if is_json {
        return Ok(Layout::ValuesFourth); // made so from the names of the fields
    }
    let mut evidence = Evidence::default();
    for scoped in profiles {
        evidence.read_profile(scoped.profile, dictionary)?;
    }
    let found = evidence.found;
    if found.iter().filter(|&&found| found).count() > 1 {
        return Err(DecodeError::invalid(
            "the samples of the request are in different layouts of OTLP profiles (of 1.7, 1.8 or 1.9, and 1.10 or newer); \
             send those of one version in a request",
        ));
    }
    Ok(match found {
        [true, ..] => Layout::Ranges,
        [_, true, _] => Layout::ValuesSecond,
        [.., true] => Layout::ValuesFourth,
        // Field 2 alone: indices that the table does not have are values, and so are those without times.
        _ if evidence.undecided && evidence.cannot_be_attributes && evidence.cannot_be_values => {
            return Err(DecodeError::invalid(
                "the samples of the request fit no layout of OTLP profiles from 1.7 to 1.11: they have neither values nor \
                 timestamps that belong together; update the sender",
            ));
        }
        _ if evidence.undecided && evidence.cannot_be_attributes => Layout::ValuesSecond,
        _ => Layout::ValuesFourth,
    })
}

impl Evidence {
    fn read_profile(&mut self, message: &[u8], dictionary: &Dictionary<'_>) -> Result<(), DecodeError> {
        let mut samples = Vec::new();
        let mut locations = false;
        each_field(message, "a profile", |number, value| {
            match (number, value) {
                (2, value) => samples.push(value.bytes(number)?),
                (3, Value::Bytes(_)) => locations = true,
                _ => {}
            }
            Ok(())
        })?;
        if locations || (dictionary.stacks.is_empty() && !samples.is_empty()) {
            self.found[0] = true;
            return Ok(());
        }
        for sample in samples {
            self.read_sample(sample, dictionary.attributes.len() as u64)?;
        }
        Ok(())
    }

    fn read_sample(&mut self, message: &[u8], attributes: u64) -> Result<(), DecodeError> {
        let (mut decided, mut second, mut in_range, mut times) = (false, 0usize, true, 0usize);
        each_field(message, "a sample", |number, value| {
            match (number, value) {
                (2, value) => value.integers(number, |index| {
                    second += 1;
                    in_range &= index < attributes;
                    Ok::<(), WireError>(())
                })?,
                (3, Value::Bytes(_)) | (4, Value::Varint(_)) => (self.found[1], decided) = (true, true),
                (3, Value::Varint(_)) | (4, Value::Bytes(_)) => (self.found[2], decided) = (true, true),
                (5, Value::Bytes(packed)) => times += packed.len() / 8,
                (5, Value::Fixed64(_)) => times += 1,
                _ => {}
            }
            Ok(())
        })?;
        if !decided && second > 0 {
            self.undecided = true;
            self.cannot_be_attributes |= !in_range || times == 0;
            self.cannot_be_values |= times != 0 && times != second;
        }
        Ok(())
    }
}
