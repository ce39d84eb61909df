//! Which frames of a tree fit a limit.

/// Marks the `max_nodes` frames with the largest totals, and the root; 0 marks all. Of equal totals the one nearer to
/// the root is kept, then the earlier sibling: so a marked frame's caller always is marked.
/// `totals` stand breadth first, the root's first.
pub fn largest(totals: &[i64], max_nodes: usize) -> Vec<bool> {
    let frames = totals.len();
    if max_nodes == 0 || frames <= max_nodes + 1 {
        return vec![true; frames];
    }
    let mut order: Vec<(std::cmp::Reverse<i64>, u32)> =
        totals.iter().zip(0u32..).skip(1).map(|(&total, frame)| (std::cmp::Reverse(total), frame)).collect();
    order.select_nth_unstable(max_nodes);
    let mut keep = vec![false; frames];
    let chosen = order.iter().take(max_nodes).map(|&(_, frame)| frame as usize);
    for frame in std::iter::once(0).chain(chosen) {
        if let Some(flag) = keep.get_mut(frame) {
            *flag = true;
        }
    }
    keep
}
