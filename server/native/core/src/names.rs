//! The name tree of a tenant: every stack ever loaded, as a place in one tree of function names.
//!
//! Frames that differ only in line, file or address share a place, so a query needs no hashing per frame: stack hash
//! -> place, then sums over dense arrays. Callers have smaller places than their callees.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::hash::{HashedMap, HashedSet, mix};
use crate::symbols::NamedFrame;

/// The place of the root.
pub const ROOT: u32 = 0;

pub struct NameTree {
    /// Caller of each place.
    pub parents: Vec<u32>,
    /// Index into `strings` of each place.
    pub names: Vec<u32>,
    pub strings: Vec<Arc<str>>,
    string_numbers: HashMap<Bytes, u32>,
    children: HashedMap<u32>,
    places: HashedMap<u32>,
    /// Frames whose caller is not loaded yet (it stands in another file), by the caller's hash.
    waiting: HashedMap<Vec<(i64, u32)>>,
    files: HashSet<String>,
}

impl NameTree {
    pub fn new() -> Self {
        Self {
            parents: vec![ROOT],
            names: vec![0],
            strings: vec![Arc::from("total")],
            string_numbers: HashMap::new(),
            children: HashedMap::default(),
            places: HashedMap::default(),
            waiting: HashedMap::default(),
            files: HashSet::new(),
        }
    }

    /// Number of stacks held.
    pub fn stacks(&self) -> usize {
        self.places.len()
    }

    pub fn has_file(&self, path: &str) -> bool {
        self.files.contains(path)
    }

    /// The place of a stack; 0 is the empty stack, at the root.
    #[inline]
    pub fn place(&self, stack: i64) -> Option<u32> {
        if stack == 0 { Some(ROOT) } else { self.places.get(&stack).copied() }
    }

    /// The number of a name in `strings`.
    pub fn number_of(&self, name: &str) -> Option<u32> {
        self.string_numbers.get(name.as_bytes()).copied()
    }

    /// The stacks whose place is wanted; the empty stack has the root's.
    pub fn stacks_at(&self, wanted: impl Fn(u32) -> bool) -> HashedSet {
        let mut stacks: HashedSet =
            self.places.iter().filter(|&(_, &place)| wanted(place)).map(|(&stack, _)| stack).collect();
        if wanted(ROOT) {
            stacks.insert(0);
        }
        stacks
    }

    /// Adds the frames of a symbols file; a file that is loaded already changes nothing.
    pub fn load(&mut self, path: &str, frames: Vec<NamedFrame>) {
        if !self.files.insert(path.to_owned()) {
            return;
        }
        for frame in frames {
            if self.places.contains_key(&frame.node) {
                continue;
            }
            let name = self.string_number(frame.name);
            match self.place(frame.parent) {
                Some(parent) => self.add(frame.node, parent, name),
                None => self.waiting.entry(frame.parent).or_default().push((frame.node, name)),
            }
        }
    }

    /// Adds a frame and all that waited for it.
    fn add(&mut self, node: i64, parent: u32, name: u32) {
        let mut ready = vec![(node, parent, name)];
        while let Some((node, parent, name)) = ready.pop() {
            let place = self.child(parent, name);
            self.places.insert(node, place);
            if self.waiting.is_empty() {
                continue;
            }
            let callees = self.waiting.remove(&node).unwrap_or_default();
            ready.extend(callees.into_iter().map(|(callee, name)| (callee, place, name)));
        }
    }

    /// The place of a name below another place.
    pub fn place_below(&mut self, parent: u32, name: &str) -> u32 {
        let number = self.string_number(Bytes::copy_from_slice(name.as_bytes()));
        self.child(parent, number)
    }

    fn child(&mut self, parent: u32, name: u32) -> u32 {
        // Both numbers are ours and dense, so the pair is a key; mixing only spreads it.
        let key = mix(0, u64::from(parent) << 32 | u64::from(name)) as i64;
        let mut key = key;
        loop {
            let next = self.parents.len() as u32;
            let place = *self.children.entry(key).or_insert(next);
            if place == next {
                self.parents.push(parent);
                self.names.push(name);
                return place;
            }
            let is_same =
                self.parents.get(place as usize) == Some(&parent) && self.names.get(place as usize) == Some(&name);
            if is_same {
                return place;
            }
            key = key.wrapping_add(1);
        }
    }

    fn string_number(&mut self, name: Bytes) -> u32 {
        if let Some(&number) = self.string_numbers.get(&name) {
            return number;
        }
        let number = self.strings.len() as u32;
        self.strings.push(Arc::from(String::from_utf8_lossy(&name).as_ref()));
        self.string_numbers.insert(name, number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(node: i64, parent: i64, name: &'static str) -> NamedFrame {
        NamedFrame { node, parent, name: Bytes::from_static(name.as_bytes()) }
    }

    #[test]
    fn stacks_that_differ_in_lines_only_share_a_place() {
        let mut tree = NameTree::new();
        tree.load("a", vec![frame(1, 0, "main"), frame(2, 1, "work"), frame(3, 1, "work")]);
        assert_eq!(tree.place(2), tree.place(3));
        assert_eq!(tree.parents.len(), 3);
    }

    #[test]
    fn a_frame_waits_for_its_caller_in_another_file() {
        let mut tree = NameTree::new();
        tree.load("late", vec![frame(3, 2, "leaf"), frame(2, 1, "middle")]);
        assert_eq!(tree.place(3), None);
        tree.load("early", vec![frame(1, 0, "main")]);
        let leaf = tree.place(3).unwrap();
        let path: Vec<&str> = std::iter::successors(Some(leaf), |&place| Some(tree.parents[place as usize]))
            .take_while(|&place| place != ROOT)
            .map(|place| tree.strings[tree.names[place as usize] as usize].as_ref())
            .collect();
        assert_eq!(path, ["leaf", "middle", "main"]);
        assert!((1..tree.parents.len()).all(|place| (tree.parents[place] as usize) < place));
    }

    #[test]
    fn a_file_counts_once() {
        let mut tree = NameTree::new();
        tree.load("a", vec![frame(1, 0, "main")]);
        tree.load("a", vec![frame(2, 0, "other")]);
        assert_eq!(tree.place(2), None);
    }
}
