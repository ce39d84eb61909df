//! querier.v1.FlameGraph: rows of quadruples (x offset from the end of the previous frame, total, self, name).
//! Source: protocol/proto/querier/v1/querier.proto.

use crate::prune;
use crate::tree::Tree;
use crate::wire::{put_bytes, put_integer, put_varint};

pub const ROOT_NAME: &str = "total";
pub const OTHER: &str = "other";

/// A flame graph ready to be written.
pub struct Flamebearer<'a> {
    names: Vec<&'a str>,
    /// Four numbers per frame.
    levels: Vec<Vec<i64>>,
    total: i64,
    max_self: i64,
}

/// A frame of the row in work.
#[derive(Clone, Copy)]
struct Bar {
    /// None is folded frames.
    frame: Option<u32>,
    start: i64,
    total: i64,
}

impl<'a> Flamebearer<'a> {
    /// Lays the tree out; frames that do not fit are folded, see `prune::largest`. 0 keeps all.
    pub fn new(tree: &'a Tree, max_nodes: usize) -> Self {
        let keep = prune::largest(&tree.totals, max_nodes);
        let mut graph = Self { names: Vec::new(), levels: Vec::new(), total: tree.total(), max_self: 0 };
        let mut numbers = NameNumbers { by_string: vec![None; tree.strings.len()], other: None };
        let mut row = vec![Bar { frame: Some(0), start: 0, total: tree.total() }];
        while !row.is_empty() {
            let mut next = Vec::new();
            let mut level = Vec::with_capacity(row.len() * 4);
            let mut end = 0i64;
            for bar in &row {
                let own =
                    bar.frame.map_or(Some(bar.total), |frame| tree.selfs.get(frame as usize).copied()).unwrap_or(0);
                let name = numbers.number(&mut graph.names, tree, bar.frame);
                level.extend([bar.start.saturating_sub(end), bar.total, own, name]);
                end = bar.start.saturating_add(bar.total);
                graph.max_self = graph.max_self.max(own);
                if let Some(frame) = bar.frame {
                    lay_out_children(tree, &keep, frame, bar.start, &mut next);
                }
            }
            graph.levels.push(level);
            row = next;
        }
        graph
    }

    pub fn names(&self) -> &[&'a str] {
        &self.names
    }

    pub fn levels(&self) -> &[Vec<i64>] {
        &self.levels
    }

    pub fn total(&self) -> i64 {
        self.total
    }

    pub fn max_self(&self) -> i64 {
        self.max_self
    }

    /// As JSON of protobuf: 64-bit integers are strings.
    pub fn json(&self) -> Vec<u8> {
        let mut out = put_graph_json(&self.names, &self.levels, self.total, self.max_self);
        out.push(b'}');
        out
    }

    /// Binary protobuf.
    pub fn proto(&self) -> Vec<u8> {
        put_graph_proto(&self.names, &self.levels, self.total, self.max_self)
    }
}

/// Writes the fields that both kinds of flame graph have, the closing brace left out.
pub fn put_graph_json(names: &[&str], levels: &[Vec<i64>], total: i64, max_self: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(levels.iter().map(|level| level.len() * 8).sum::<usize>() + 4096);
    out.extend_from_slice(b"{\"names\":[");
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        put_json_string(&mut out, name);
    }
    out.extend_from_slice(b"],\"levels\":[");
    for (index, level) in levels.iter().enumerate() {
        out.extend_from_slice(if index > 0 { b",{\"values\":[" } else { b"{\"values\":[" });
        for (place, &value) in level.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            put_json_integer(&mut out, value);
        }
        out.extend_from_slice(b"]}");
    }
    out.extend_from_slice(b"],\"total\":");
    put_json_integer(&mut out, total);
    out.extend_from_slice(b",\"maxSelf\":");
    put_json_integer(&mut out, max_self);
    out
}

/// Writes the fields 1 to 4 that both kinds of flame graph have.
pub fn put_graph_proto(names: &[&str], levels: &[Vec<i64>], total: i64, max_self: i64) -> Vec<u8> {
    let mut out = Vec::new();
    for name in names {
        put_bytes(&mut out, 1, name.as_bytes());
    }
    let (mut packed, mut message) = (Vec::new(), Vec::new());
    for level in levels {
        packed.clear();
        message.clear();
        for &value in level {
            put_varint(&mut packed, value as u64);
        }
        put_bytes(&mut message, 1, &packed);
        put_bytes(&mut out, 2, &message);
    }
    put_integer(&mut out, 3, total);
    put_integer(&mut out, 4, max_self);
    out
}

/// Appends the callees of a frame to the next row: kept ones and, in its place by name, what is folded.
fn lay_out_children(tree: &Tree, keep: &[bool], frame: u32, start: i64, row: &mut Vec<Bar>) {
    let total = |child: u32| tree.totals.get(child as usize).copied().unwrap_or(0);
    let kept = |child: u32| keep.get(child as usize) == Some(&true);
    let mut folded: i64 =
        tree.children(frame).filter(|&child| !kept(child)).fold(0, |sum, child| sum.saturating_add(total(child)));
    let mut start = start;
    let mut push = |frame: Option<u32>, total: i64| {
        row.push(Bar { frame, start, total });
        start = start.saturating_add(total);
    };
    for child in tree.children(frame).filter(|&child| kept(child)) {
        if folded > 0 && tree.name(child) > OTHER {
            push(None, std::mem::take(&mut folded));
        }
        push(Some(child), total(child));
    }
    if folded > 0 {
        push(None, folded);
    }
}

/// Numbers names by their first use.
struct NameNumbers {
    by_string: Vec<Option<i64>>,
    other: Option<i64>,
}

impl NameNumbers {
    fn number<'a>(&mut self, names: &mut Vec<&'a str>, tree: &'a Tree, frame: Option<u32>) -> i64 {
        let next = names.len() as i64;
        let (name, slot) = match frame {
            Some(0) => {
                names.push(ROOT_NAME);
                return next;
            }
            Some(frame) => {
                let string = tree.names.get(frame as usize).copied().unwrap_or(0) as usize;
                (tree.name(frame), self.by_string.get_mut(string))
            }
            None => (OTHER, Some(&mut self.other)),
        };
        let Some(slot) = slot else { return 0 };
        *slot.get_or_insert_with(|| {
            names.push(name);
            next
        })
    }
}

pub fn put_json_integer(out: &mut Vec<u8>, value: i64) {
    let mut digits = [0u8; 20];
    let mut rest = value.unsigned_abs();
    let mut used = 0;
    for digit in &mut digits {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    out.push(b'"');
    if value < 0 {
        out.push(b'-');
    }
    out.extend(digits.iter().take(used).rev());
    out.push(b'"');
}

pub fn put_json_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
