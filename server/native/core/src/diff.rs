//! Two call trees laid over one another, as a querier.v1.FlameGraphDiff: rows of seven numbers per frame.
//! Source: protocol/proto/querier/v1/querier.proto.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::columns::{self, Legend};
use crate::flamebearer::{OTHER, ROOT_NAME, put_graph_json, put_graph_proto, put_json_integer};
use crate::prune;
use crate::tree::Tree;
use crate::wire::put_integer;

/// A frame of either tree or of both.
#[derive(Clone, Copy)]
struct Pair {
    left: Option<u32>,
    right: Option<u32>,
}

/// Two numbers, of the left tree and of the right one.
#[derive(Clone, Copy, Default)]
struct Both {
    left: i64,
    right: i64,
}

impl Both {
    fn add(&mut self, other: Self) {
        self.left = self.left.saturating_add(other.left);
        self.right = self.right.saturating_add(other.right);
    }

    fn sum(self) -> i64 {
        self.left.saturating_add(self.right)
    }
}

/// A frame of the row in work.
struct Bar {
    /// None is folded frames.
    frame: Option<usize>,
    start: Both,
    total: Both,
}

/// A diff flame graph ready to be written.
pub struct Diff<'a> {
    left: &'a Tree,
    right: &'a Tree,
    /// Breadth first, siblings by name.
    pairs: Vec<Pair>,
    /// First callee of each pair, and one more.
    first_children: Vec<usize>,
    names: Vec<&'a str>,
    levels: Vec<Vec<i64>>,
    max_self: i64,
}

impl<'a> Diff<'a> {
    /// Lays the trees over one another; frames that do not fit are folded by the sum of both totals. 0 keeps all.
    pub fn new(left: &'a Tree, right: &'a Tree, max_nodes: usize) -> Self {
        let mut diff = Self {
            left,
            right,
            pairs: Vec::new(),
            first_children: Vec::new(),
            names: Vec::new(),
            levels: Vec::new(),
            max_self: 0,
        };
        diff.merge();
        diff.lay_out(max_nodes);
        diff
    }

    pub(crate) fn names(&self) -> &[&'a str] {
        &self.names
    }

    pub(crate) fn levels(&self) -> &[Vec<i64>] {
        &self.levels
    }

    pub(crate) fn totals(&self) -> (i64, i64) {
        (self.left.total(), self.right.total())
    }

    pub(crate) fn max_self(&self) -> i64 {
        self.max_self
    }

    /// Frames of both trees, folded ones too.
    pub(crate) fn frames(&self) -> usize {
        self.pairs.len()
    }

    /// As columns, for `unit`.
    pub fn columns(&self, unit: &str) -> Vec<u8> {
        columns::diff(self, &Legend { unit, frames: self.frames() })
    }

    /// As JSON of protobuf.
    pub fn json(&self) -> Vec<u8> {
        let (left, right) = (self.left.total(), self.right.total());
        let mut out = put_graph_json(&self.names, &self.levels, left.saturating_add(right), self.max_self);
        out.extend_from_slice(b",\"leftTicks\":");
        put_json_integer(&mut out, left);
        out.extend_from_slice(b",\"rightTicks\":");
        put_json_integer(&mut out, right);
        out.push(b'}');
        out
    }

    /// Binary protobuf.
    pub fn proto(&self) -> Vec<u8> {
        let (left, right) = (self.left.total(), self.right.total());
        let mut out = put_graph_proto(&self.names, &self.levels, left.saturating_add(right), self.max_self);
        put_integer(&mut out, 5, left);
        put_integer(&mut out, 6, right);
        out
    }

    fn merge(&mut self) {
        self.pairs.push(Pair { left: Some(0), right: Some(0) });
        let mut at = 0;
        while let Some(&pair) = self.pairs.get(at) {
            self.first_children.push(self.pairs.len());
            let mut left = pair.left.map_or(0..0, |frame| self.left.children(frame)).peekable();
            let mut right = pair.right.map_or(0..0, |frame| self.right.children(frame)).peekable();
            loop {
                let order = match (left.peek(), right.peek()) {
                    (None, None) => break,
                    (Some(_), None) => Ordering::Less,
                    (None, Some(_)) => Ordering::Greater,
                    (Some(&one), Some(&other)) => self.left.name(one).cmp(self.right.name(other)),
                };
                let next = Pair {
                    left: if order.is_le() { left.next() } else { None },
                    right: if order.is_ge() { right.next() } else { None },
                };
                self.pairs.push(next);
            }
            at += 1;
        }
        self.first_children.push(self.pairs.len());
    }

    fn total(&self, pair: Pair) -> Both {
        let of = |tree: &Tree, frame: Option<u32>| {
            frame.and_then(|frame| tree.totals.get(frame as usize)).copied().unwrap_or(0)
        };
        Both { left: of(self.left, pair.left), right: of(self.right, pair.right) }
    }

    fn own(&self, pair: Pair) -> Both {
        let of = |tree: &Tree, frame: Option<u32>| {
            frame.and_then(|frame| tree.selfs.get(frame as usize)).copied().unwrap_or(0)
        };
        Both { left: of(self.left, pair.left), right: of(self.right, pair.right) }
    }

    fn name(&self, pair: Pair) -> &'a str {
        match (pair.left, pair.right) {
            (Some(0), _) => ROOT_NAME,
            (Some(frame), _) => self.left.name(frame),
            (None, Some(frame)) => self.right.name(frame),
            (None, None) => OTHER,
        }
    }

    fn lay_out(&mut self, max_nodes: usize) {
        let totals: Vec<i64> = self.pairs.iter().map(|&pair| self.total(pair).sum()).collect();
        let keep = prune::largest(&totals, max_nodes);
        let mut numbers: HashMap<&'a str, i64> = HashMap::new();
        let root = Both { left: self.left.total(), right: self.right.total() };
        let mut row = vec![Bar { frame: Some(0), start: Both::default(), total: root }];
        while !row.is_empty() {
            let (mut next, mut level) = (Vec::new(), Vec::with_capacity(row.len() * 7));
            let mut end = Both::default();
            for bar in &row {
                let pair = bar.frame.and_then(|frame| self.pairs.get(frame)).copied();
                let own = pair.map_or(bar.total, |pair| self.own(pair));
                let text = pair.map_or(OTHER, |pair| self.name(pair));
                let number = *numbers.entry(text).or_insert_with(|| {
                    self.names.push(text);
                    self.names.len() as i64 - 1
                });
                level.extend([bar.start.left.saturating_sub(end.left), bar.total.left, own.left]);
                level.extend([bar.start.right.saturating_sub(end.right), bar.total.right, own.right, number]);
                end = bar.start;
                end.add(bar.total);
                self.max_self = self.max_self.max(own.left).max(own.right);
                if let Some(frame) = bar.frame {
                    self.lay_out_children(&keep, frame, bar.start, &mut next);
                }
            }
            self.levels.push(level);
            row = next;
        }
    }

    /// Appends the callees of a frame to the next row: kept ones and, in its place by name, what is folded.
    fn lay_out_children(&self, keep: &[bool], frame: usize, start: Both, row: &mut Vec<Bar>) {
        let at = |index: usize| self.first_children.get(index).copied().unwrap_or(0);
        let children = || (at(frame)..at(frame + 1)).filter_map(|child| Some((child, *self.pairs.get(child)?)));
        let kept = |child: usize| keep.get(child) == Some(&true);
        let mut folded = Both::default();
        for (_, pair) in children().filter(|&(child, _)| !kept(child)) {
            folded.add(self.total(pair));
        }
        let mut start = start;
        let mut push = |frame: Option<usize>, total: Both| {
            row.push(Bar { frame, start, total });
            start.add(total);
        };
        for (child, pair) in children().filter(|&(child, _)| kept(child)) {
            if folded.sum() > 0 && self.name(pair) > OTHER {
                push(None, std::mem::take(&mut folded));
            }
            push(Some(child), self.total(pair));
        }
        if folded.sum() > 0 {
            push(None, folded);
        }
    }
}
