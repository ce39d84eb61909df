//! Writes a pprof: the stack traces of a query with all that their senders said of each frame.
//! Source: protocol/proto/google/v1/profile.proto.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use bytes::Bytes;

use crate::full_symbols::{FullFrame, FullSymbols};
use crate::tree::SYMBOLS_MISSING;
use crate::wire::{put_bytes, put_integer, put_varint};

/// What a pprof says beside its samples.
#[derive(Clone, Copy, Default)]
pub struct PprofHeader<'a> {
    /// Of the only sample type.
    pub sample_type: (&'a str, &'a str),
    /// Of the period, type and unit.
    pub period_type: (&'a str, &'a str),
    /// When the range begins.
    pub time_ns: i64,
    /// How long it is.
    pub duration_ns: i64,
    /// Locations of a stack trace to keep, counted from the leaf; 0 keeps all.
    pub keep_locations: usize,
    /// Add up stack traces that differ only in the line that the leaf was at.
    pub aggregate_callees: bool,
    /// The services that the samples are of; empty where that is not known.
    pub services: &'a [String],
}

/// Numbers things from 1, in the order of their first use.
struct Numbers<K> {
    numbers: HashMap<K, u64>,
    order: Vec<K>,
}

impl<K: Clone + Eq + Hash> Numbers<K> {
    fn new() -> Self {
        Self { numbers: HashMap::new(), order: Vec::new() }
    }

    fn of(&mut self, key: K) -> u64 {
        let next = self.order.len() as u64 + 1;
        let order = &mut self.order;
        *self.numbers.entry(key).or_insert_with_key(|key| {
            order.push(key.clone());
            next
        })
    }

    fn numbered(&self) -> impl Iterator<Item = (i64, &K)> {
        (1..).zip(&self.order)
    }
}

/// Name, system name, file name, first line.
type Function = (u32, u32, u32, i64);
/// File name, build id.
type Mapping = (u32, u32);

#[derive(Clone, PartialEq, Eq, Hash)]
struct Location {
    mapping: u64,
    address: i64,
    /// (function, line), innermost first.
    lines: Vec<(u64, i64)>,
}

struct Export<'a> {
    symbols: &'a FullSymbols,
    missing: Function,
    functions: Numbers<Function>,
    mappings: Numbers<Mapping>,
    locations: Numbers<Location>,
}

/// Encodes sums by stack.
pub fn write(mut symbols: FullSymbols, sums: impl Iterator<Item = (i64, i64)>, header: &PprofHeader<'_>) -> Vec<u8> {
    let missing = symbols.strings.number(Bytes::from_static(SYMBOLS_MISSING.as_bytes()));
    let type_names = [header.sample_type, header.period_type]
        .map(|(kind, unit)| [kind, unit].map(|text| symbols.strings.number(Bytes::copy_from_slice(text.as_bytes()))));
    let mut export = Export {
        symbols: &symbols,
        missing: (missing, missing, 0, 0),
        functions: Numbers::new(),
        mappings: Numbers::new(),
        locations: Numbers::new(),
    };
    // Sorted by locations, so that equal answers are equal bytes.
    let mut samples: BTreeMap<Vec<u64>, i64> = BTreeMap::new();
    let mut by_stack: Vec<(i64, i64)> = sums.collect();
    by_stack.sort_unstable();
    for (stack, value) in by_stack {
        let sum = samples.entry(export.stack(stack, header)).or_default();
        *sum = sum.saturating_add(value);
    }
    let mut out = Vec::new();
    let [sample_type, period_type] = type_names;
    put_type(&mut out, 1, sample_type);
    let mut message = Vec::new();
    for (locations, value) in samples {
        message.clear();
        put_packed(&mut message, 1, &locations);
        put_packed(&mut message, 2, &[value as u64]);
        put_bytes(&mut out, 2, &message);
    }
    export.put_tables(&mut out);
    for text in symbols.strings.texts() {
        put_bytes(&mut out, 6, text);
    }
    put_integer(&mut out, 9, header.time_ns);
    put_integer(&mut out, 10, header.duration_ns);
    put_type(&mut out, 11, period_type);
    out
}

impl Export<'_> {
    /// The locations of a stack, leaf first.
    fn stack(&mut self, stack: i64, header: &PprofHeader<'_>) -> Vec<u64> {
        let Some(frames) = self.frames(stack) else {
            let function = self.functions.of(self.missing);
            return vec![self.locations.of(Location { mapping: 0, address: 0, lines: vec![(function, 0)] })];
        };
        let mut locations = Vec::new();
        let keep = if header.keep_locations == 0 { usize::MAX } else { header.keep_locations };
        for frames in frames.chunk_by(|inner, _| inner.inlined).take(keep) {
            let mut location = self.location(frames);
            if header.aggregate_callees && locations.is_empty() {
                location.address = 0;
                if let Some((_, line)) = location.lines.first_mut() {
                    *line = 0;
                }
            }
            locations.push(self.locations.of(location));
        }
        locations
    }

    /// The frames of a stack, leaf first; None where one is not known.
    fn frames(&self, stack: i64) -> Option<Vec<FullFrame>> {
        let mut frames = Vec::new();
        let mut node = stack;
        while node != 0 {
            let frame = self.symbols.frames.get(&node)?;
            // A cycle can only stand in a damaged file: no path is longer than the table.
            if frames.len() > self.symbols.frames.len() {
                return None;
            }
            frames.push(*frame);
            node = frame.parent;
        }
        Some(frames)
    }

    fn location(&mut self, frames: &[FullFrame]) -> Location {
        let mut location = Location { mapping: 0, address: 0, lines: Vec::new() };
        for frame in frames {
            if frame.function != 0 {
                let function = (frame.function, frame.system_name, frame.filename, frame.start_line);
                location.lines.push((self.functions.of(function), frame.line));
            }
            if frame.address != 0 {
                location.address = frame.address;
            }
            if frame.mapping != 0 || frame.build_id != 0 {
                location.mapping = self.mappings.of((frame.mapping, frame.build_id));
            }
        }
        location
    }

    fn put_tables(&self, out: &mut Vec<u8>) {
        let mut message = Vec::new();
        for (id, &(filename, build_id)) in self.mappings.numbered() {
            message.clear();
            put_integer(&mut message, 1, id);
            put_integer(&mut message, 5, i64::from(filename));
            put_integer(&mut message, 6, i64::from(build_id));
            put_bytes(out, 3, &message);
        }
        let mut line = Vec::new();
        for (id, location) in self.locations.numbered() {
            message.clear();
            put_integer(&mut message, 1, id);
            put_integer(&mut message, 2, location.mapping as i64);
            put_integer(&mut message, 3, location.address);
            for &(function, number) in &location.lines {
                line.clear();
                put_integer(&mut line, 1, function as i64);
                put_integer(&mut line, 2, number);
                put_bytes(&mut message, 4, &line);
            }
            put_bytes(out, 4, &message);
        }
        for (id, &(name, system_name, filename, start_line)) in self.functions.numbered() {
            message.clear();
            put_integer(&mut message, 1, id);
            put_integer(&mut message, 2, i64::from(name));
            put_integer(&mut message, 3, i64::from(system_name));
            put_integer(&mut message, 4, i64::from(filename));
            put_integer(&mut message, 5, start_line);
            put_bytes(out, 5, &message);
        }
    }
}

fn put_type(out: &mut Vec<u8>, number: u32, [kind, unit]: [u32; 2]) {
    let mut message = Vec::new();
    put_integer(&mut message, 1, i64::from(kind));
    put_integer(&mut message, 2, i64::from(unit));
    put_bytes(out, number, &message);
}

fn put_packed(out: &mut Vec<u8>, number: u32, values: &[u64]) {
    let mut packed = Vec::new();
    for &value in values {
        put_varint(&mut packed, value);
    }
    if !packed.is_empty() {
        put_bytes(out, number, &packed);
    }
}
