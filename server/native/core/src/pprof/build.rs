//! A writer of pprofs: what other formats are turned into, so that one parser validates everything.
//! Equal samples are summed; what a profile can unfold into is bounded while it is built.

use std::collections::HashMap;

use bytes::Bytes;

use crate::error::DecodeError;
use crate::limits::{Limits, MAX_FRAMES_PER_PROFILE};
use crate::wire::{put_bytes, put_integer, put_varint};

/// Frames of all stacks that are handed to a builder, equal ones included: bounds its work.
const MAX_WALKED: usize = 4 * MAX_FRAMES_PER_PROFILE;

/// A value type: (name, unit).
pub type Type<'a> = (&'a str, &'a str);

/// A profile under construction. Ids are 1, 2, 3, ... in the order of their first use.
pub struct Builder<'a> {
    limits: &'a Limits,
    head: Vec<u8>,
    tables: Vec<u8>,
    strings: HashMap<Vec<u8>, u64>,
    string_bytes: Vec<u8>,
    functions: HashMap<[u64; 4], u64>,
    locations: HashMap<Vec<u64>, u64>,
    mappings: HashMap<[u64; 5], u64>,
    named: HashMap<Vec<u8>, u64>,
    samples: HashMap<(Vec<u64>, Labels), usize>,
    values: Vec<Vec<i64>>,
    references: usize,
    walked: usize,
}

/// Labels of a sample as string indices: (key, value).
type Labels = Vec<(u64, u64)>;

impl<'a> Builder<'a> {
    pub fn new(limits: &'a Limits, types: &[Type<'_>], period: Option<(Type<'_>, i64)>, time_ns: i64) -> Self {
        let mut builder = Self {
            limits,
            head: Vec::new(),
            tables: Vec::new(),
            strings: HashMap::new(),
            string_bytes: Vec::new(),
            functions: HashMap::new(),
            locations: HashMap::new(),
            mappings: HashMap::new(),
            named: HashMap::new(),
            samples: HashMap::new(),
            values: Vec::new(),
            references: 0,
            walked: 0,
        };
        builder.string(b"");
        for kind in types {
            let message = builder.value_type(*kind);
            put_bytes(&mut builder.head, 1, &message);
        }
        if let Some((kind, period)) = period {
            let message = builder.value_type(kind);
            put_bytes(&mut builder.head, 11, &message);
            put_integer(&mut builder.head, 12, period);
        }
        put_integer(&mut builder.head, 9, time_ns);
        builder
    }

    fn value_type(&mut self, (name, unit): Type<'_>) -> Vec<u8> {
        let mut message = Vec::new();
        put_integer(&mut message, 1, self.string(name.as_bytes()) as i64);
        put_integer(&mut message, 2, self.string(unit.as_bytes()) as i64);
        message
    }

    /// The index of a string.
    pub fn string(&mut self, text: &[u8]) -> u64 {
        if let Some(&known) = self.strings.get(text) {
            return known;
        }
        let index = self.strings.len() as u64;
        self.strings.insert(text.to_vec(), index);
        put_bytes(&mut self.string_bytes, 6, text);
        index
    }

    /// The id of a function.
    pub fn function(&mut self, name: &[u8], system_name: &[u8], filename: &[u8], start_line: i64) -> u64 {
        let key = [self.string(name), self.string(system_name), self.string(filename), start_line as u64];
        let id = self.functions.len() as u64 + 1;
        *self.functions.entry(key).or_insert_with(|| {
            let mut message = Vec::new();
            for (field, value) in (1..).zip([id, key[0], key[1], key[2], key[3]]) {
                put_integer(&mut message, field, value as i64);
            }
            put_bytes(&mut self.tables, 5, &message);
            id
        })
    }

    /// The id of a mapping.
    pub fn mapping(&mut self, start: u64, limit: u64, offset: u64, filename: &[u8], build_id: &[u8]) -> u64 {
        let key = [start, limit, offset, self.string(filename), self.string(build_id)];
        let id = self.mappings.len() as u64 + 1;
        *self.mappings.entry(key).or_insert_with(|| {
            let mut message = Vec::new();
            for (field, value) in (1..).zip([id, key[0], key[1], key[2], key[3], key[4]]) {
                put_integer(&mut message, field, value as i64);
            }
            put_bytes(&mut self.tables, 3, &message);
            id
        })
    }

    /// The id of a location. Lines are (function id, line), innermost first.
    pub fn location(&mut self, mapping: u64, address: u64, lines: &[(u64, i64)]) -> u64 {
        let mut key = vec![mapping, address];
        key.extend(lines.iter().flat_map(|&(function, line)| [function, line as u64]));
        let id = self.locations.len() as u64 + 1;
        *self.locations.entry(key).or_insert_with(|| {
            let mut message = Vec::new();
            put_integer(&mut message, 1, id as i64);
            put_integer(&mut message, 2, mapping as i64);
            put_integer(&mut message, 3, address as i64);
            for &(function, line) in lines {
                let mut part = Vec::new();
                put_integer(&mut part, 1, function as i64);
                put_integer(&mut part, 2, line);
                put_bytes(&mut message, 4, &part);
            }
            put_bytes(&mut self.tables, 4, &message);
            id
        })
    }

    /// The id of a location that is nothing but a name.
    pub fn named(&mut self, name: &[u8]) -> u64 {
        if let Some(&known) = self.named.get(name) {
            return known;
        }
        let function = self.function(name, b"", b"", 0);
        let id = self.location(0, 0, &[(function, 0)]);
        self.named.insert(name.to_vec(), id);
        id
    }

    /// Reads a folded stack (root first) into location ids, no more of them than a sample keeps.
    pub fn folded(&mut self, stack: &[u8], ids: &mut Vec<u64>) {
        ids.clear();
        let names = stack.split(|&byte| byte == b';').filter(|name| !name.is_empty());
        for name in names.take(self.limits.max_stack_depth + 1) {
            ids.push(self.named(name));
        }
    }

    /// Adds a sample of location ids, root first. A stack keeps one frame more than the limit lets the parser keep,
    /// so that the parser counts it as cut.
    pub fn sample(&mut self, stack: &[u64], values: &[i64], labels: Labels) -> Result<(), DecodeError> {
        let kept = stack.get(..stack.len().min(self.limits.max_stack_depth + 1)).unwrap_or_default();
        self.walked += kept.len();
        if self.walked > MAX_WALKED {
            return Err(DecodeError::exhausted("the profile has too many deep stacks; upload more often"));
        }
        let key = (kept.to_vec(), labels);
        if let Some(sums) = self.samples.get(&key).and_then(|&place| self.values.get_mut(place)) {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum = sum.saturating_add(*value);
            }
            return Ok(());
        }
        self.references += kept.len();
        if self.references > MAX_FRAMES_PER_PROFILE {
            return Err(DecodeError::exhausted(format!(
                "the profile unfolds into more than {MAX_FRAMES_PER_PROFILE} frames; upload more often or cut the stacks"
            )));
        }
        if self.values.len() == self.limits.max_samples {
            return Err(DecodeError::invalid(format!(
                "the profile has more than {} different stacks, the limit; upload more often",
                self.limits.max_samples
            )));
        }
        self.samples.insert(key, self.values.len());
        self.values.push(values.to_vec());
        Ok(())
    }

    /// The pprof, with a time that was not known at the start.
    pub fn finish_at(mut self, time_ns: i64) -> Bytes {
        // The last of a scalar field's values counts.
        put_integer(&mut self.head, 9, time_ns);
        self.finish()
    }

    /// The pprof, uncompressed.
    pub fn finish(mut self) -> Bytes {
        let mut samples: Vec<_> = self.samples.into_iter().collect();
        samples.sort_unstable_by_key(|&(_, place)| place);
        for (((stack, labels), _), values) in samples.iter().zip(&self.values) {
            let (mut message, mut packed) = (Vec::new(), Vec::new());
            for &id in stack.iter().rev() {
                put_varint(&mut packed, id);
            }
            put_bytes(&mut message, 1, &packed);
            packed.clear();
            for &value in values {
                put_varint(&mut packed, value as u64);
            }
            put_bytes(&mut message, 2, &packed);
            for &(key, value) in labels {
                packed.clear();
                put_integer(&mut packed, 1, key as i64);
                put_integer(&mut packed, 2, value as i64);
                put_bytes(&mut message, 3, &packed);
            }
            put_bytes(&mut self.head, 2, &message);
        }
        self.head.append(&mut self.tables);
        self.head.append(&mut self.string_bytes);
        Bytes::from(self.head)
    }
}
