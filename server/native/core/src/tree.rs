//! A call tree of function names with values: the answer to a query.

use std::sync::Arc;

use crate::columns::{self, Legend};
use crate::diff::Diff;
use crate::flamebearer::Flamebearer;
use crate::names::{NameTree, ROOT};
use crate::read::Sums;
use crate::sandwich::Sandwich;
use crate::{speedscope, svg};

/// The frame that holds the value of stacks that no symbol file has.
pub const SYMBOLS_MISSING: &str = "(symbols missing)";

/// Frames in breadth-first order, siblings sorted by name; frame 0 is the root.
pub struct Tree {
    /// Caller of each frame; the root is its own.
    pub(crate) parents: Vec<u32>,
    /// Index into `strings`, which is sorted; the root's means nothing.
    pub(crate) names: Vec<u32>,
    pub(crate) strings: Vec<Arc<str>>,
    pub(crate) selfs: Vec<i64>,
    pub(crate) totals: Vec<i64>,
    /// Stored samples of each frame and all that it calls.
    pub(crate) counts: Vec<i64>,
    /// First callee of each frame, and one more: callees of a frame stand together.
    first_children: Vec<u32>,
    missing_stacks: usize,
}

/// What a tree says of one function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionTotals {
    /// Its name.
    pub name: Arc<str>,
    /// Value of the samples that it is the leaf of.
    pub own: i64,
    /// Value of the samples that it stands in; once, however often it stands there.
    pub total: i64,
    /// How many stored samples it stands in.
    pub samples: i64,
}

impl Tree {
    /// Makes the tree of all places that have a value.
    pub(crate) fn new(names: &NameTree, sums: &Sums) -> Self {
        let (missing_rows, missing_value) = (sums.missing_rows, sums.missing_value);
        let Cut { mut parents, mut numbers, mut strings, mut selfs, mut counts } = Cut::new(names, sums);
        if missing_rows > 0 {
            parents.push(ROOT);
            numbers.push(strings.len() as u32);
            selfs.push(missing_value);
            counts.push(missing_rows);
            strings.push(Arc::from(SYMBOLS_MISSING));
        }
        let mut totals = selfs.clone();
        sum_subtrees(&parents, &mut totals);
        sum_subtrees(&parents, &mut counts);
        let kept: Vec<usize> =
            (1..parents.len()).filter(|&place| totals.get(place).is_some_and(|&total| total != 0)).collect();
        let ranks = sort_strings(&mut strings, kept.iter().filter_map(|&place| numbers.get(place).copied()));
        let places = Places {
            parents: &parents,
            names: &numbers,
            ranks: &ranks,
            selfs: &selfs,
            totals: &totals,
            counts: &counts,
        };
        places.breadth_first(&kept, strings, usize::try_from(missing_rows).unwrap_or(0))
    }

    /// Adds trees up, frame by frame: those of several tenants, whose name trees differ.
    pub fn merged<'a>(trees: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut names = NameTree::new();
        let mut sums = Sums::new(1);
        let mut missing_stacks = 0;
        for tree in trees {
            missing_stacks += tree.missing_stacks;
            let mut places = Vec::with_capacity(tree.totals.len());
            for frame in 0..tree.totals.len() as u32 {
                let caller = tree.parents.get(frame as usize).and_then(|&caller| places.get(caller as usize)).copied();
                let place = caller.map_or(ROOT, |caller| names.place_below(caller, tree.name(frame)));
                places.push(place);
                sums.values.resize(names.parents.len(), 0);
                sums.counts.resize(names.parents.len(), 0);
                let counts = |frame: u32| tree.counts.get(frame as usize).copied().unwrap_or(0);
                let own_count = counts(frame) - tree.children(frame).map(counts).sum::<i64>();
                let slots = sums.values.get_mut(place as usize).zip(sums.counts.get_mut(place as usize));
                if let Some((value, count)) = slots {
                    if *count == 0 {
                        sums.touched.push(place);
                    }
                    *value = value.saturating_add(tree.self_of(frame));
                    *count += own_count;
                }
            }
        }
        Self { missing_stacks, ..Self::new(&names, &sums) }
    }

    /// Sum of all values.
    pub fn total(&self) -> i64 {
        self.totals.first().copied().unwrap_or(0)
    }

    /// Rows whose stack no symbol file has.
    pub fn missing_stacks(&self) -> usize {
        self.missing_stacks
    }

    /// `querier.v1.FlameGraph` in JSON; 0 keeps every frame.
    pub fn flamegraph_json(&self, max_nodes: usize) -> Vec<u8> {
        Flamebearer::new(self, max_nodes).json()
    }

    /// `querier.v1.FlameGraph` in protobuf; 0 keeps every frame.
    pub fn flamegraph_proto(&self, max_nodes: usize) -> Vec<u8> {
        Flamebearer::new(self, max_nodes).proto()
    }

    /// The flame graph in columns, see columns.rs; 0 keeps every frame.
    pub fn columns(&self, unit: &str, max_nodes: usize) -> Vec<u8> {
        columns::flame(&Flamebearer::new(self, max_nodes), &Legend { unit, frames: self.totals.len() })
    }

    /// The flame graph as a picture; 0 draws every frame that can be seen.
    pub fn svg(&self, title: &str, unit: &str, max_nodes: usize) -> String {
        svg::svg(&Flamebearer::new(self, max_nodes), title, unit)
    }

    /// A file of speedscope, with every frame.
    pub fn speedscope(&self, unit: &str, name: &str) -> Vec<u8> {
        speedscope::speedscope(self, unit, name)
    }

    /// Callers and callees of a function, at most `max_nodes` of each: `querier.v1.SandwichReport`; 0 keeps all.
    pub fn sandwich<'a>(&'a self, function: &'a str, max_nodes: usize) -> Sandwich<'a> {
        Sandwich::new(self, function, max_nodes)
    }

    /// How many frames there are, the root too.
    pub fn frames(&self) -> usize {
        self.totals.len()
    }

    /// Stored samples of all frames.
    pub fn samples(&self) -> i64 {
        self.counts.first().copied().unwrap_or(0)
    }

    /// Each function, largest self first.
    pub fn functions(&self) -> Vec<FunctionTotals> {
        let mut functions: Vec<FunctionTotals> =
            (self.strings.iter().cloned()).map(|name| FunctionTotals { name, own: 0, total: 0, samples: 0 }).collect();
        let mut active = vec![0u32; self.strings.len()];
        // Depth first; a frame is left after all of its callees.
        let mut pending: Vec<(u32, bool)> = self.children(0).map(|frame| (frame, false)).collect();
        while let Some((frame, leave)) = pending.pop() {
            let name = self.names.get(frame as usize).copied().unwrap_or(0) as usize;
            let Some(depth) = active.get_mut(name) else { continue };
            if leave {
                *depth -= 1;
                continue;
            }
            *depth += 1;
            if let Some(function) = functions.get_mut(name) {
                function.own = function.own.saturating_add(self.self_of(frame));
                if *depth == 1 {
                    function.total = function.total.saturating_add(self.total_of(frame));
                    function.samples += self.counts.get(frame as usize).copied().unwrap_or(0);
                }
            }
            pending.push((frame, true));
            pending.extend(self.children(frame).map(|child| (child, false)));
        }
        functions.sort_by(|a, b| (b.own, b.total, &a.name).cmp(&(a.own, a.total, &b.name)));
        functions
    }

    /// Both trees' frames side by side: `querier.v1.FlameGraphDiff`, this tree on the left; 0 keeps every frame.
    pub fn diff<'a>(&'a self, right: &'a Self, max_nodes: usize) -> Diff<'a> {
        Diff::new(self, right, max_nodes)
    }

    pub(crate) fn total_of(&self, frame: u32) -> i64 {
        self.totals.get(frame as usize).copied().unwrap_or(0)
    }

    pub(crate) fn self_of(&self, frame: u32) -> i64 {
        self.selfs.get(frame as usize).copied().unwrap_or(0)
    }

    /// The name of a frame; the root's means nothing.
    pub(crate) fn name(&self, frame: u32) -> &str {
        let string = self.names.get(frame as usize).and_then(|&name| self.strings.get(name as usize));
        string.map_or("", |name| name)
    }

    /// Callees of a frame, sorted by name.
    pub(crate) fn children(&self, frame: u32) -> std::ops::Range<u32> {
        let at = |index: usize| self.first_children.get(index).copied().unwrap_or(0);
        at(frame as usize)..at(frame as usize + 1)
    }
}

/// What of a name tree has values, and the way to it, numbered anew in the same order: a query of one service costs
/// what that service has, however many others the tenant has.
struct Cut {
    parents: Vec<u32>,
    numbers: Vec<u32>,
    strings: Vec<Arc<str>>,
    selfs: Vec<i64>,
    counts: Vec<i64>,
}

impl Cut {
    fn new(names: &NameTree, sums: &Sums) -> Self {
        const BITS: usize = u64::BITS as usize;
        let mut used = vec![0u64; names.parents.len() / BITS + 1];
        let mut mark = |place: u32| {
            let (word, bit) = (place as usize / BITS, 1u64 << (place as usize % BITS));
            used.get_mut(word).is_some_and(|word| {
                let is_new = *word & bit == 0;
                *word |= bit;
                is_new
            })
        };
        mark(ROOT);
        for &touched in &sums.touched {
            let mut place = touched;
            while mark(place) {
                place = names.parents.get(place as usize).copied().unwrap_or(ROOT);
            }
        }
        let size: usize = used.iter().map(|word| word.count_ones() as usize).sum();
        let mut cut = Self {
            parents: Vec::with_capacity(size),
            numbers: Vec::with_capacity(size),
            strings: Vec::new(),
            selfs: Vec::with_capacity(size),
            counts: Vec::with_capacity(size),
        };
        // Zeroed memory that is not touched costs nothing.
        let mut places = vec![0u32; names.parents.len()];
        let mut strings = vec![0u32; names.strings.len()];
        for (word, &bits) in used.iter().enumerate() {
            let mut bits = bits;
            while bits != 0 {
                let place = word * BITS + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let at = |values: &[u32], index: usize| values.get(index).copied().unwrap_or(0);
                let number = at(&names.names, place) as usize;
                if at(&strings, number) == 0
                    && let Some(text) = names.strings.get(number)
                {
                    cut.strings.push(text.clone());
                    if let Some(slot) = strings.get_mut(number) {
                        *slot = cut.strings.len() as u32;
                    }
                }
                if let Some(slot) = places.get_mut(place) {
                    *slot = cut.parents.len() as u32;
                }
                cut.parents.push(at(&places, at(&names.parents, place) as usize));
                cut.numbers.push(at(&strings, number).saturating_sub(1));
                cut.selfs.push(sums.values.get(place).copied().unwrap_or(0));
                cut.counts.push(sums.counts.get(place).copied().unwrap_or(0));
            }
        }
        cut
    }
}

/// Adds to each place what its callees have: callers have smaller places, so one pass from the end does.
fn sum_subtrees(parents: &[u32], values: &mut [i64]) {
    for (place, &parent) in parents.iter().enumerate().skip(1).rev() {
        let value = values.get(place).copied().unwrap_or(0);
        if let Some(above) = values.get_mut(parent as usize) {
            *above = above.saturating_add(value);
        }
    }
}

/// Reduces `strings` to the used ones, sorted; returns the new number of each old one.
fn sort_strings(strings: &mut Vec<Arc<str>>, used: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut is_used = vec![false; strings.len()];
    for number in used {
        if let Some(flag) = is_used.get_mut(number as usize) {
            *flag = true;
        }
    }
    let mut order: Vec<(Arc<str>, usize)> = (std::mem::take(strings).into_iter().zip(0..))
        .filter(|&(_, number)| is_used.get(number) == Some(&true))
        .collect();
    order.sort_unstable();
    let mut ranks = vec![0; is_used.len()];
    for (text, number) in order {
        // "(symbols missing)" may also be the name of a real function: both are one name then.
        if strings.last() != Some(&text) {
            strings.push(text);
        }
        if let Some(slot) = ranks.get_mut(number) {
            *slot = (strings.len() - 1) as u32;
        }
    }
    ranks
}

/// The tree in the order of the name tree.
struct Places<'a> {
    parents: &'a [u32],
    names: &'a [u32],
    ranks: &'a [u32],
    selfs: &'a [i64],
    totals: &'a [i64],
    counts: &'a [i64],
}

impl Places<'_> {
    fn rank(&self, place: usize) -> u32 {
        let number = self.names.get(place).copied().unwrap_or(0);
        self.ranks.get(number as usize).copied().unwrap_or(0)
    }

    /// Renumbers the kept places breadth first, siblings by name.
    fn breadth_first(&self, kept: &[usize], strings: Vec<Arc<str>>, missing_stacks: usize) -> Tree {
        // Callees by caller: a counting sort on the caller.
        let mut starts = vec![0u32; self.parents.len() + 1];
        let parent = |place: usize| self.parents.get(place).copied().unwrap_or(ROOT) as usize;
        for &place in kept {
            if let Some(count) = starts.get_mut(parent(place) + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut next = starts.clone();
        let mut callees = vec![0usize; kept.len()];
        for &place in kept {
            if let Some(slot) = next.get_mut(parent(place)) {
                if let Some(target) = callees.get_mut(*slot as usize) {
                    *target = place;
                }
                *slot += 1;
            }
        }
        let size = kept.len() + 1;
        let mut tree = Tree {
            parents: Vec::with_capacity(size),
            names: Vec::with_capacity(size),
            strings,
            selfs: Vec::with_capacity(size),
            totals: Vec::with_capacity(size),
            counts: Vec::with_capacity(size),
            first_children: Vec::with_capacity(size + 1),
            missing_stacks,
        };
        let mut queue: Vec<usize> = Vec::with_capacity(size);
        queue.push(ROOT as usize);
        tree.parents.push(0);
        let mut frame = 0;
        while let Some(&place) = queue.get(frame) {
            tree.names.push(self.rank(place));
            tree.selfs.push(self.selfs.get(place).copied().unwrap_or(0));
            tree.totals.push(self.totals.get(place).copied().unwrap_or(0));
            tree.counts.push(self.counts.get(place).copied().unwrap_or(0));
            tree.first_children.push(queue.len() as u32);
            let range =
                starts.get(place).copied().unwrap_or(0) as usize..starts.get(place + 1).copied().unwrap_or(0) as usize;
            if let Some(own) = callees.get_mut(range) {
                own.sort_unstable_by_key(|&callee| self.rank(callee));
                queue.extend_from_slice(own);
                tree.parents.resize(queue.len(), frame as u32);
            }
            frame += 1;
        }
        tree.first_children.push(queue.len() as u32);
        tree
    }
}
