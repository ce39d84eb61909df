//! The call tree as a file of speedscope: one sampled profile, one sample for each stack trace with a value of its own.
//! Source: the file format's schema, speedscope.app/file-format-schema.json.

use crate::flamebearer::put_json_string;
use crate::tree::Tree;

/// Writes the tree; `unit` is a sample type's, `name` what the profile shall be called.
pub fn speedscope(tree: &Tree, unit: &str, name: &str) -> Vec<u8> {
    let unit = match unit {
        "nanoseconds" | "microseconds" | "milliseconds" | "seconds" | "bytes" => unit,
        _ => "none",
    };
    let mut out =
        br#"{"$schema":"https://www.speedscope.app/file-format-schema.json","exporter":"flamewire","name":"#.to_vec();
    put_json_string(&mut out, name);
    out.extend_from_slice(b",\"activeProfileIndex\":0,\"shared\":{\"frames\":[");
    for (number, function) in tree.strings.iter().enumerate() {
        out.extend_from_slice(if number > 0 { b",{\"name\":" } else { b"{\"name\":" });
        put_json_string(&mut out, function);
        out.push(b'}');
    }
    out.extend_from_slice(b"]},\"profiles\":[{\"type\":\"sampled\",\"name\":");
    put_json_string(&mut out, name);
    let end = tree.total();
    out.extend_from_slice(format!(",\"unit\":\"{unit}\",\"startValue\":0,\"endValue\":{end},\"samples\":[").as_bytes());
    let mut weights = Vec::new();
    let mut path: Vec<u32> = Vec::new();
    let mut pending: Vec<(u32, usize)> = tree.children(0).rev().map(|frame| (frame, 0)).collect();
    while let Some((frame, depth)) = pending.pop() {
        path.truncate(depth);
        path.push(tree.names.get(frame as usize).copied().unwrap_or(0));
        let own = tree.self_of(frame);
        if own != 0 {
            if !weights.is_empty() {
                out.push(b',');
            }
            weights.push(own);
            out.push(b'[');
            for (index, number) in path.iter().enumerate() {
                let comma = if index > 0 { "," } else { "" };
                out.extend_from_slice(format!("{comma}{number}").as_bytes());
            }
            out.push(b']');
        }
        pending.extend(tree.children(frame).rev().map(|child| (child, depth + 1)));
    }
    out.extend_from_slice(b"],\"weights\":[");
    for (index, weight) in weights.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        out.extend_from_slice(format!("{comma}{weight}").as_bytes());
    }
    out.extend_from_slice(b"]}]}");
    out
}
