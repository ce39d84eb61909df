//! The flame graph in columns of 32-bit numbers, for pages that draw from typed arrays.
//! Layout: docs/reference/flame-columns.md.

use crate::diff::Diff;
use crate::flamebearer::{Flamebearer, put_json_string};

/// What the first bytes of a flame graph in columns are.
pub const MAGIC: &[u8; 8] = b"FWFLAME1";

/// Says what the numbers are.
pub struct Legend<'a> {
    /// Unit of the values.
    pub unit: &'a str,
    /// Frames that the tree has, folded ones too.
    pub frames: usize,
}

/// A flame graph ready to be written: names, levels, and how many numbers each frame has.
struct Graph<'a> {
    names: &'a [&'a str],
    levels: &'a [Vec<i64>],
    width: usize,
    totals: Vec<(&'static str, i64)>,
}

/// Encodes one flame graph.
pub fn flame(graph: &Flamebearer<'_>, legend: &Legend<'_>) -> Vec<u8> {
    let totals = vec![("total", graph.total()), ("maxSelf", graph.max_self())];
    encode(&Graph { names: graph.names(), levels: graph.levels(), width: 4, totals }, legend)
}

/// Encodes two flame graphs over one another.
pub fn diff(diff: &Diff<'_>, legend: &Legend<'_>) -> Vec<u8> {
    let (left, right) = diff.totals();
    let totals = vec![("leftTotal", left), ("rightTotal", right), ("maxSelf", diff.max_self())];
    encode(&Graph { names: diff.names(), levels: diff.levels(), width: 7, totals }, legend)
}

fn encode(graph: &Graph<'_>, legend: &Legend<'_>) -> Vec<u8> {
    let frames: usize = graph.levels.iter().map(|level| level.len() / graph.width).sum();
    let values = || graph.levels.iter().flatten().copied();
    let divisor = divisor(graph).max(1);
    // Without a common divisor that brings every value below 2^32, values go in two halves.
    let largest = (0..graph.width - 1).flat_map(|column| column_of(graph, column)).max().unwrap_or(0);
    let wide = u32::try_from(largest / divisor).is_err();
    let divisor = if wide { 1 } else { divisor };
    let header = header(graph, legend, frames, divisor, wide);
    let mut out = Vec::with_capacity(16 + header.len() + frames * graph.width * if wide { 8 } else { 4 });
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&(header.len() as u32).to_le_bytes());
    out.extend_from_slice(&header);
    // Columns of numbers lie at multiples of four.
    out.resize(out.len().next_multiple_of(4), b' ');
    debug_assert!(values().all(|value| value >= 0));
    for column in 0..graph.width - 1 {
        for value in column_of(graph, column) {
            let value = (value / divisor) as u64;
            out.extend_from_slice(&(value as u32).to_le_bytes());
            if wide {
                out.extend_from_slice(&((value >> 32) as u32).to_le_bytes());
            }
        }
    }
    for name in column_of(graph, graph.width - 1) {
        out.extend_from_slice(&(name as u32).to_le_bytes());
    }
    out
}

fn header(graph: &Graph<'_>, legend: &Legend<'_>, frames: usize, divisor: i64, wide: bool) -> Vec<u8> {
    let mut out =
        format!("{{\"frames\":{frames},\"allFrames\":{},\"divisor\":\"{divisor}\"", legend.frames).into_bytes();
    out.extend_from_slice(if wide { b",\"words\":2" } else { b",\"words\":1" });
    out.extend_from_slice(b",\"unit\":");
    put_json_string(&mut out, legend.unit);
    for (name, total) in &graph.totals {
        out.extend_from_slice(format!(",\"{name}\":\"{total}\"").as_bytes());
    }
    out.extend_from_slice(b",\"columns\":");
    out.extend_from_slice(if graph.width == 4 {
        b"[\"offset\",\"total\",\"self\",\"name\"]".as_slice()
    } else {
        b"[\"leftOffset\",\"leftTotal\",\"leftSelf\",\"rightOffset\",\"rightTotal\",\"rightSelf\",\"name\"]"
    });
    out.extend_from_slice(b",\"levels\":[");
    for (index, level) in graph.levels.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        out.extend_from_slice(format!("{comma}{}", level.len() / graph.width).as_bytes());
    }
    out.extend_from_slice(b"],\"names\":[");
    for (index, name) in graph.names.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        put_json_string(&mut out, name);
    }
    out.extend_from_slice(b"]}");
    out
}

fn column_of<'a>(graph: &'a Graph<'_>, column: usize) -> impl Iterator<Item = i64> + 'a {
    let width = graph.width;
    graph.levels.iter().flat_map(move |level| level.iter().skip(column).step_by(width).copied())
}

/// The greatest number that divides every value.
fn divisor(graph: &Graph<'_>) -> i64 {
    let mut common = 0i64;
    for value in (0..graph.width - 1).flat_map(|column| column_of(graph, column)) {
        let (mut a, mut b) = (common, value);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        common = a;
        if common == 1 {
            break;
        }
    }
    common.abs()
}
