//! Selectors on whole stack traces: the call site that they begin with, the functions that stand in them or do not.

use crate::names::NameTree;

/// Conditions that one selector may have; each is a bit.
pub const MAX_INCLUDES: usize = 64;

/// Which stack traces a query takes; the default takes all.
#[derive(Clone, Copy, Default)]
pub struct StackSelector<'a> {
    /// Names of the first frames, root first.
    pub call_site: &'a [String],
    /// Conditions that all must hold: a frame has one of these names. At most `MAX_INCLUDES`.
    pub include: &'a [Vec<String>],
    /// No frame may have one of these names.
    pub exclude: &'a [String],
}

/// What is known of a stack when its last frame is this place.
#[derive(Clone, Copy)]
struct State {
    /// Frames of the call site that the stack begins with; None where it has left that path.
    site: Option<usize>,
    /// One bit per condition that holds.
    included: u64,
    excluded: bool,
}

impl StackSelector<'_> {
    /// Says for each place of the tree whether the stack that ends there is taken: one pass, callers first.
    pub(crate) fn accepted(&self, names: &NameTree) -> Vec<bool> {
        let site: Vec<Option<u32>> = self.call_site.iter().map(|name| names.number_of(name)).collect();
        let mut bits = vec![0u64; names.strings.len()];
        for (condition, any_of) in self.include.iter().take(MAX_INCLUDES).enumerate() {
            for number in any_of.iter().filter_map(|name| names.number_of(name)) {
                if let Some(of_name) = bits.get_mut(number as usize) {
                    *of_name |= 1 << condition;
                }
            }
        }
        let mut banned = vec![false; names.strings.len()];
        for number in self.exclude.iter().filter_map(|name| names.number_of(name)) {
            if let Some(flag) = banned.get_mut(number as usize) {
                *flag = true;
            }
        }
        let wanted = u64::MAX.checked_shr((MAX_INCLUDES - self.include.len().min(MAX_INCLUDES)) as u32).unwrap_or(0);
        let mut states = Vec::with_capacity(names.parents.len());
        for (place, (&parent, &name)) in names.parents.iter().zip(&names.names).enumerate() {
            let start = State { site: Some(0), included: 0, excluded: false };
            if place == 0 {
                states.push(start);
                continue;
            }
            let caller = states.get(parent as usize).copied().unwrap_or(start);
            let number = name as usize;
            states.push(State {
                site: caller.site.and_then(|matched| match site.get(matched) {
                    None => Some(matched),
                    Some(&next) => (next == Some(name)).then_some(matched + 1),
                }),
                included: caller.included | bits.get(number).copied().unwrap_or(0),
                excluded: caller.excluded || banned.get(number) == Some(&true),
            });
        }
        let taken = |state: State| state.site == Some(site.len()) && state.included == wanted && !state.excluded;
        states.into_iter().map(taken).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::symbols::NamedFrame;

    /// main(1) -> a(2) -> b(3), main -> b(4).
    fn tree() -> NameTree {
        let frame =
            |node, parent, name: &'static str| NamedFrame { node, parent, name: Bytes::from_static(name.as_bytes()) };
        let mut tree = NameTree::new();
        tree.load("a", vec![frame(1, 0, "main"), frame(2, 1, "a"), frame(3, 2, "b"), frame(4, 1, "b")]);
        tree
    }

    fn taken(selector: &StackSelector<'_>) -> Vec<i64> {
        let (tree, mut taken) = (tree(), Vec::new());
        let accepted = selector.accepted(&tree);
        taken.extend((0..=4).filter(|&stack| accepted[tree.place(stack).unwrap() as usize]));
        taken
    }

    fn texts(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn the_default_takes_every_stack() {
        assert_eq!(taken(&StackSelector::default()), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_call_site_is_the_beginning_of_a_stack() {
        let call = |names: &[&str]| taken(&StackSelector { call_site: &texts(names), ..StackSelector::default() });
        assert_eq!(call(&["main"]), [1, 2, 3, 4]);
        assert_eq!(call(&["main", "a"]), [2, 3]);
        assert_eq!(call(&["a"]), [0; 0]);
        assert_eq!(call(&["unheard of"]), [0; 0]);
    }

    #[test]
    fn every_condition_must_hold_and_no_excluded_frame_stand() {
        let filter = |include: &[&[&str]], exclude: &[&str]| {
            let include: Vec<Vec<String>> = include.iter().map(|names| texts(names)).collect();
            taken(&StackSelector { include: &include, exclude: &texts(exclude), ..StackSelector::default() })
        };
        assert_eq!(filter(&[&["a"]], &[]), [2, 3]);
        assert_eq!(filter(&[&["a"], &["b"]], &[]), [3]);
        assert_eq!(filter(&[&["a", "b"]], &[]), [2, 3, 4]);
        assert_eq!(filter(&[], &["a"]), [0, 1, 4]);
        assert_eq!(filter(&[&["b"]], &["a"]), [4]);
        assert_eq!(filter(&[&[]], &[]), [0; 0]);
        assert_eq!(filter(&vec![["main"].as_slice(); MAX_INCLUDES], &[]), [1, 2, 3, 4]);
    }
}
