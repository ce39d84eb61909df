//! All callers and all callees of one function: two trees that begin with it.

use std::collections::HashMap;

use crate::flamebearer::{OTHER, put_json_integer, put_json_string};
use crate::prune;
use crate::tree::Tree;
use crate::wire::{put_bytes, put_integer};

/// A place in one half; the first is the function itself.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Index into the tree's strings.
    name: u32,
    parent: u32,
    total: i64,
    own: i64,
}

/// One half: places in the order of their making, so that a place stands after its parent.
#[derive(Default)]
struct Half {
    places: Vec<Place>,
    numbers: HashMap<(u32, u32), u32>,
}

/// A half as it is written.
struct Written {
    name: usize,
    total: i64,
    own: i64,
    /// Stands for places that were left out.
    is_folded: bool,
    children: Vec<Written>,
}

/// Both halves, ready to be written.
pub struct Sandwich<'a> {
    names: Vec<&'a str>,
    callers: Written,
    callees: Written,
    /// Of the samples that the function stands in, each counted once.
    total: i64,
    own: i64,
}

impl Half {
    fn new(name: u32) -> Self {
        Self { places: vec![Place { name, ..Place::default() }], numbers: HashMap::new() }
    }

    /// Adds to the place that `name` has below `parent`.
    fn add(&mut self, parent: u32, name: u32, total: i64, own: i64) -> u32 {
        let next = self.places.len() as u32;
        let number = *self.numbers.entry((parent, name)).or_insert(next);
        if number == next {
            self.places.push(Place { name, parent, total: 0, own: 0 });
        }
        self.put(number, total, own);
        number
    }

    fn put(&mut self, number: u32, total: i64, own: i64) {
        if let Some(place) = self.places.get_mut(number as usize) {
            place.total = place.total.saturating_add(total);
            place.own = place.own.saturating_add(own);
        }
    }

    /// Folds what does not fit, and nests the rest; siblings with the largest total first.
    fn write<'a>(&self, tree: &'a Tree, max_nodes: usize, names: &mut Names<'a>) -> Written {
        // Callers' totals are not smaller than their callees', and stand before them, as `largest` needs it.
        let totals: Vec<i64> = self.places.iter().map(|place| place.total).collect();
        let keep = prune::largest(&totals, max_nodes);
        let mut written: Vec<Option<Written>> = Vec::with_capacity(self.places.len());
        let mut folded = vec![0i64; self.places.len()];
        for (place, &kept) in self.places.iter().zip(&keep) {
            if !kept && let Some(sum) = folded.get_mut(place.parent as usize) {
                *sum = sum.saturating_add(place.total);
            }
            written.push(kept.then(|| Written {
                name: names.number(tree.strings.get(place.name as usize).map_or("", |name| name)),
                total: place.total,
                own: place.own,
                is_folded: false,
                children: Vec::new(),
            }));
        }
        // From the end: a place is whole when its parent takes it.
        for number in (0..self.places.len()).rev() {
            let Some(mut done) = written.get_mut(number).and_then(Option::take) else { continue };
            done.children.sort_by(|a, b| b.total.cmp(&a.total).then(a.name.cmp(&b.name)));
            if let Some(&total) = folded.get(number).filter(|&&total| total != 0) {
                let name = names.number(OTHER);
                done.children.push(Written { name, total, own: total, is_folded: true, children: Vec::new() });
            }
            let parent = self.places.get(number).map_or(0, |place| place.parent as usize);
            if number == 0 {
                return done;
            }
            if let Some(Some(above)) = written.get_mut(parent) {
                above.children.push(done);
            }
        }
        Written { name: 0, total: 0, own: 0, is_folded: false, children: Vec::new() }
    }
}

#[derive(Default)]
struct Names<'a> {
    list: Vec<&'a str>,
    numbers: HashMap<&'a str, usize>,
}

impl<'a> Names<'a> {
    fn number(&mut self, name: &'a str) -> usize {
        *self.numbers.entry(name).or_insert_with(|| {
            self.list.push(name);
            self.list.len() - 1
        })
    }
}

impl<'a> Sandwich<'a> {
    /// Looks at every place where the function stands; each half has at most `max_nodes` places, 0 for all.
    pub fn new(tree: &'a Tree, function: &'a str, max_nodes: usize) -> Self {
        let mut names = Names::default();
        names.number(function);
        let Ok(name) = tree.strings.binary_search_by(|known| (**known).cmp(function)) else {
            let nothing = || Written { name: 0, total: 0, own: 0, is_folded: false, children: Vec::new() };
            return Self { names: names.list, callers: nothing(), callees: nothing(), total: 0, own: 0 };
        };
        let name = name as u32;
        let (mut upper, mut lower) = (Half::new(name), Half::new(name));
        let (mut total, mut own) = (0i64, 0i64);
        for frame in (1..tree.names.len() as u32).filter(|&frame| tree.names.get(frame as usize) == Some(&name)) {
            let frame_total = tree.total_of(frame);
            own = own.saturating_add(tree.self_of(frame));
            if !above(tree, frame).any(|caller| tree.names.get(caller as usize) == Some(&name)) {
                total = total.saturating_add(frame_total);
            }
            add_callers(tree, frame, frame_total, &mut upper);
            add_callees(tree, frame, &mut lower);
        }
        let (callers, below) = (upper.write(tree, max_nodes, &mut names), lower.write(tree, max_nodes, &mut names));
        Self { names: names.list, callers, callees: below, total, own }
    }

    /// As JSON of protobuf.
    pub fn json(&self) -> Vec<u8> {
        let mut out = b"{\"names\":[".to_vec();
        for (index, name) in self.names.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            put_json_string(&mut out, name);
        }
        out.extend_from_slice(b"],\"callers\":");
        self.callers.put_json(&mut out);
        out.extend_from_slice(b",\"callees\":");
        self.callees.put_json(&mut out);
        out.extend_from_slice(b",\"total\":");
        put_json_integer(&mut out, self.total);
        out.extend_from_slice(b",\"self\":");
        put_json_integer(&mut out, self.own);
        out.push(b'}');
        out
    }

    /// Binary protobuf.
    pub fn proto(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for name in &self.names {
            put_bytes(&mut out, 1, name.as_bytes());
        }
        put_bytes(&mut out, 2, &self.callers.proto());
        put_bytes(&mut out, 3, &self.callees.proto());
        put_integer(&mut out, 4, self.total);
        put_integer(&mut out, 5, self.own);
        out
    }
}

/// The callers of a frame, nearest first, without the root.
fn above(tree: &Tree, frame: u32) -> impl Iterator<Item = u32> {
    let parent = |frame: u32| tree.parents.get(frame as usize).copied().filter(|&caller| caller != 0);
    std::iter::successors(parent(frame), move |&caller| parent(caller))
}

/// The path to the root, from the function up; its end is where the value is the place's own.
fn add_callers(tree: &Tree, frame: u32, value: i64, half: &mut Half) {
    half.put(0, value, 0);
    let mut place = 0;
    for caller in above(tree, frame) {
        let name = tree.names.get(caller as usize).copied().unwrap_or(0);
        place = half.add(place, name, value, 0);
    }
    half.put(place, 0, value);
}

/// All that the frame calls.
fn add_callees(tree: &Tree, frame: u32, half: &mut Half) {
    half.put(0, tree.total_of(frame), tree.self_of(frame));
    let mut pending: Vec<(u32, u32)> = tree.children(frame).map(|callee| (callee, 0)).collect();
    while let Some((callee, parent)) = pending.pop() {
        let name = tree.names.get(callee as usize).copied().unwrap_or(0);
        let place = half.add(parent, name, tree.total_of(callee), tree.self_of(callee));
        pending.extend(tree.children(callee).map(|next| (next, place)));
    }
}

impl Written {
    // With a stack of its own: nesting is as deep as stack traces are.
    fn put_json(&self, out: &mut Vec<u8>) {
        enum Step<'a> {
            Open(&'a Written, bool),
            Close,
        }
        let mut pending = vec![Step::Open(self, false)];
        while let Some(step) = pending.pop() {
            let (node, has_sibling) = match step {
                Step::Close => {
                    out.extend_from_slice(b"]}");
                    continue;
                }
                Step::Open(node, has_sibling) => (node, has_sibling),
            };
            if has_sibling {
                out.push(b',');
            }
            out.extend_from_slice(format!("{{\"nameIndex\":{},\"total\":", node.name).as_bytes());
            put_json_integer(out, node.total);
            out.extend_from_slice(b",\"self\":");
            put_json_integer(out, node.own);
            if node.is_folded {
                out.extend_from_slice(b",\"truncated\":true");
            }
            out.extend_from_slice(b",\"children\":[");
            pending.push(Step::Close);
            let children = node.children.iter().enumerate().rev();
            pending.extend(children.map(|(index, child)| Step::Open(child, index > 0)));
        }
    }

    fn proto(&self) -> Vec<u8> {
        // Children first: a list of (node, what its finished children are), deepest last.
        let mut order: Vec<(&Self, Option<usize>)> = vec![(self, None)];
        let mut at = 0;
        while let Some(&(node, _)) = order.get(at) {
            order.extend(node.children.iter().map(|child| (child, Some(at))));
            at += 1;
        }
        let mut done: Vec<Vec<Vec<u8>>> = vec![Vec::new(); order.len()];
        for number in (0..order.len()).rev() {
            let Some(&(node, parent)) = order.get(number) else { continue };
            let children = done.get_mut(number).map(std::mem::take).unwrap_or_default();
            let mut out = Vec::new();
            put_integer(&mut out, 1, node.name as i64);
            put_integer(&mut out, 2, node.total);
            put_integer(&mut out, 3, node.own);
            put_integer(&mut out, 4, i64::from(node.is_folded));
            for child in children.iter().rev() {
                put_bytes(&mut out, 5, child);
            }
            let Some(parent) = parent else { return out };
            if let Some(siblings) = done.get_mut(parent) {
                siblings.push(out);
            }
        }
        Vec::new()
    }
}

impl Drop for Written {
    /// Takes a deep tree down without recursion.
    fn drop(&mut self) {
        let mut pending = std::mem::take(&mut self.children);
        while let Some(mut node) = pending.pop() {
            pending.append(&mut node.children);
        }
    }
}
