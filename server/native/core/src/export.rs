//! Other forms of a call tree: Pyroscope's tree, a Graphviz graph of functions, folded stacks.

use std::collections::HashMap;
use std::fmt::Write;

use crate::flamebearer::OTHER;
use crate::prune;
use crate::tree::Tree;
use crate::wire::put_varint;

/// Encodes the tree as querier.v1 sends `tree`: depth first, each frame its name, self value and number of callees,
/// texts with their length before them, all numbers varints; the root has no name. An empty tree is no bytes.
pub fn tree_bytes(tree: &Tree, max_nodes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    if tree.totals.len() < 2 && tree.total() == 0 {
        return out;
    }
    let keep = prune::largest(&tree.totals, max_nodes);
    let kept = |frame: u32| keep.get(frame as usize) == Some(&true);
    // None with a value is folded frames.
    let mut pending: Vec<(Option<u32>, i64)> = vec![(Some(0), 0)];
    while let Some((frame, folded)) = pending.pop() {
        let Some(frame) = frame else {
            put_frame(&mut out, OTHER, folded, 0);
            continue;
        };
        let folded: i64 = tree
            .children(frame)
            .filter(|&child| !kept(child))
            .fold(0, |sum, child| sum.saturating_add(tree.total_of(child)));
        let callees = tree.children(frame).filter(|&child| kept(child)).count() + usize::from(folded > 0);
        let name = if frame == 0 { "" } else { tree.name(frame) };
        put_frame(&mut out, name, tree.self_of(frame), callees);
        if folded > 0 {
            pending.push((None, folded));
        }
        pending.extend(tree.children(frame).rev().filter(|&child| kept(child)).map(|child| (Some(child), 0)));
    }
    out
}

fn put_frame(out: &mut Vec<u8>, name: &str, own: i64, callees: usize) {
    put_varint(out, name.len() as u64);
    out.extend_from_slice(name.as_bytes());
    put_varint(out, own as u64);
    put_varint(out, callees as u64);
}

/// Encodes the functions with the largest totals, and the calls between them, for Graphviz.
#[allow(clippy::cast_precision_loss)] // shares of two digits
pub fn dot(tree: &Tree, unit: &str, max_functions: usize) -> String {
    let mut functions = tree.functions();
    functions.sort_by(|a, b| (b.total, b.own, &a.name).cmp(&(a.total, a.own, &b.name)));
    if max_functions > 0 {
        functions.truncate(max_functions);
    }
    let numbers: HashMap<&str, usize> =
        functions.iter().zip(1..).map(|(function, number)| (&*function.name, number)).collect();
    let mut calls: HashMap<(usize, usize), i64> = HashMap::new();
    for frame in 1..tree.totals.len() as u32 {
        let caller = tree.parents.get(frame as usize).copied().unwrap_or(0);
        let ends = (caller != 0).then(|| numbers.get(tree.name(caller))).flatten().zip(numbers.get(tree.name(frame)));
        if let Some((&from, &to)) = ends {
            let sum = calls.entry((from, to)).or_default();
            *sum = sum.saturating_add(tree.total_of(frame));
        }
    }
    let whole = tree.total();
    let share = |value: i64| if whole == 0 { 0.0 } else { value as f64 * 100.0 / whole as f64 };
    let mut out = String::from("digraph profile {\nnode [shape=box fontname=\"sans-serif\"];\n");
    // Writing to a String cannot fail.
    let _ = writeln!(out, "label=\"{} {}\";", whole, escaped(unit));
    for (function, number) in functions.iter().zip(1..) {
        let (own, total) = (function.own, function.total);
        let _ = writeln!(
            out,
            "N{number} [label=\"{}\\n{own} ({:.2}%)\\nof {total} ({:.2}%)\"];",
            escaped(&function.name),
            share(own),
            share(total)
        );
    }
    let mut calls: Vec<((usize, usize), i64)> = calls.into_iter().collect();
    calls.sort_unstable();
    for ((from, to), value) in calls {
        let _ = writeln!(out, "N{from} -> N{to} [label=\"{value}\" penwidth={:.2}];", 1.0 + share(value) / 20.0);
    }
    out.push_str("}\n");
    out
}

/// Encodes one line per stack that has a value of its own: names root first, joined by semicolons, and the value.
pub fn folded(tree: &Tree) -> Vec<u8> {
    let mut out = Vec::new();
    let mut path: Vec<u32> = Vec::new();
    let mut pending: Vec<(u32, usize)> = tree.children(0).rev().map(|frame| (frame, 0)).collect();
    while let Some((frame, depth)) = pending.pop() {
        path.truncate(depth);
        path.push(frame);
        let own = tree.self_of(frame);
        if own != 0 {
            for (index, &part) in path.iter().enumerate() {
                if index > 0 {
                    out.push(b';');
                }
                // What separates frames and lines cannot stand in a name.
                out.extend(tree.name(part).bytes().map(|byte| match byte {
                    b';' => b':',
                    b'\n' | b'\r' => b' ',
                    other => other,
                }));
            }
            out.extend_from_slice(format!(" {own}\n").as_bytes());
        }
        pending.extend(tree.children(frame).rev().map(|child| (child, depth + 1)));
    }
    out
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " ")
}
