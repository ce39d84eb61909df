//! Two binary trees in preorder. Each frame is: length of the name, name, own count, number of children; all numbers
//! are varints. In a `tree` a name is a function; in a `trie` it is a piece of a folded stack, to be put behind that of
//! its parent.

use bytes::Bytes;

use super::{Counted, Request};
use crate::error::DecodeError;
use crate::intake::Intake;
use crate::limits::{Limits, MAX_FRAMES_PER_PROFILE};
use crate::wire::varint;

struct Entry<'a> {
    name: &'a [u8],
    count: u64,
    children: u64,
}

fn next_entry<'a>(rest: &mut &'a [u8]) -> Result<Entry<'a>, DecodeError> {
    let mut read = || {
        let length = usize::try_from(varint(rest).ok()?).ok()?;
        let (name, tail) = rest.split_at_checked(length)?;
        *rest = tail;
        Some(Entry { name, count: varint(rest).ok()?, children: varint(rest).ok()? })
    };
    read().ok_or_else(|| DecodeError::invalid("the tree breaks off in the middle; send it whole"))
}

pub(super) fn tree(intake: &mut Intake<'_>, request: &Request<'_>, body: &Bytes) -> Result<(), DecodeError> {
    let limits = intake.limits;
    let mut profile = Counted::new(request, limits)?;
    // Of each open frame: whether it has a name, and how many children are still to come.
    let mut open: Vec<(bool, u64)> = Vec::new();
    let mut stack = Vec::new();
    let mut rest = body.as_ref();
    while !rest.is_empty() {
        let entry = next_entry(&mut rest)?;
        if !entry.name.is_empty() {
            stack.push(profile.builder.named(entry.name));
        }
        if entry.count > 0 {
            profile.add(&stack, entry.count)?;
        }
        open.push((!entry.name.is_empty(), entry.children));
        while let Some((named, 0)) = open.last().copied() {
            open.pop();
            if named {
                stack.pop();
            }
            if let Some((_, left)) = open.last_mut() {
                *left -= 1;
            }
        }
        if open.is_empty() {
            break;
        }
    }
    check_end(open.is_empty(), rest)?;
    profile.finish(intake)
}

pub(super) fn trie(intake: &mut Intake<'_>, request: &Request<'_>, body: &Bytes) -> Result<(), DecodeError> {
    let limits = intake.limits;
    let mut profile = Counted::new(request, limits)?;
    let mut open: Vec<(usize, u64)> = Vec::new();
    let (mut text, mut stack, mut work) = (Vec::new(), Vec::new(), 0);
    let mut rest = body.as_ref();
    while !rest.is_empty() {
        let entry = next_entry(&mut rest)?;
        open.push((text.len(), entry.children));
        text.extend_from_slice(entry.name);
        if entry.count > 0 {
            work += text.len();
            check_work(work, limits)?;
            profile.builder.folded(&text, &mut stack);
            profile.add(&stack, entry.count)?;
        }
        while let Some((length, 0)) = open.last().copied() {
            open.pop();
            text.truncate(length);
            if let Some((_, left)) = open.last_mut() {
                *left -= 1;
            }
        }
        if open.is_empty() {
            break;
        }
    }
    check_end(open.is_empty(), rest)?;
    profile.finish(intake)
}

/// A chain of pieces unfolds into a text of quadratic length: what is walked over is bounded.
fn check_work(bytes: usize, limits: &Limits) -> Result<(), DecodeError> {
    if bytes > limits.max_request_bytes.max(MAX_FRAMES_PER_PROFILE) {
        return Err(DecodeError::exhausted(format!(
            "the trie unfolds into more than {} bytes of stacks; upload more often",
            limits.max_request_bytes
        )));
    }
    Ok(())
}

fn check_end(whole: bool, rest: &[u8]) -> Result<(), DecodeError> {
    if !whole {
        return Err(DecodeError::invalid("the tree ends before its last child; send it whole"));
    }
    if !rest.is_empty() {
        return Err(DecodeError::invalid(format!("{} bytes follow the end of the tree; send one tree", rest.len())));
    }
    Ok(())
}
