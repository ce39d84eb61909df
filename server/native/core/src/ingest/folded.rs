//! Folded stacks, root first: `groups` has a count at the end of each line, `lines` has one line per sample.

use bytes::Bytes;

use super::{Counted, Request};
use crate::error::DecodeError;
use crate::intake::Intake;

pub(super) fn groups(intake: &mut Intake<'_>, request: &Request<'_>, body: &Bytes) -> Result<(), DecodeError> {
    read(intake, request, body, |line, number| {
        let split = line.iter().rposition(|&byte| byte == b' ').and_then(|place| line.split_at_checked(place));
        let (stack, count) = split.unwrap_or((&[], line));
        let count = std::str::from_utf8(count).ok().and_then(|text| text.trim().parse::<u64>().ok());
        count.map(|count| (stack, count)).ok_or_else(|| {
            let shown: String = String::from_utf8_lossy(line).chars().take(60).collect();
            DecodeError::invalid(format!(
                "line {number} {shown:?} does not end with a space and a whole number; write \"main;work 7\", or name \
                 the body's format in the query (format=pprof, lines, tree, trie, speedscope)"
            ))
        })
    })
}

pub(super) fn lines(intake: &mut Intake<'_>, request: &Request<'_>, body: &Bytes) -> Result<(), DecodeError> {
    read(intake, request, body, |line, _| Ok((line, 1)))
}

fn read<'a>(
    intake: &mut Intake<'_>,
    request: &Request<'_>,
    body: &'a Bytes,
    mut split: impl FnMut(&'a [u8], usize) -> Result<(&'a [u8], u64), DecodeError>,
) -> Result<(), DecodeError> {
    let limits = intake.limits;
    let mut profile = Counted::new(request, limits)?;
    let mut stack = Vec::new();
    for (line, number) in body.split(|&byte| byte == b'\n').zip(1..) {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let (folded, count) = split(line, number)?;
        profile.builder.folded(folded, &mut stack);
        profile.add(&stack, count)?;
    }
    profile.finish(intake)
}
