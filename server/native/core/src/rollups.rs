//! Which file of a block answers a sum over stacks with the fewest rows.

use crate::compact::NS_PER_HOUR;
use crate::samples;
use crate::scan::{FileIndex, Filter};

/// A roll-up to read in place of the samples, and the times of its rows to take.
pub struct Rollup {
    pub path: String,
    pub start_ns: i64,
    pub end_ns: i64,
}

/// The roll-up that has what the filter asks of a block: where the filter names no spans and no profiles, and its range
/// covers in whole hours what of the block it touches.
pub fn choose(samples: &FileIndex, path: &str, filter: &Filter<'_>) -> Option<Rollup> {
    let has_ids = filter.span_ids.is_some() || filter.profile_ids.is_some() || filter.trace_ids.is_some();
    if has_ids || !(samples.has_days || samples.has_hours) {
        return None;
    }
    let (first_ns, last_ns) = samples.times(filter.series)?;
    // A row of a roll-up stands at the begin of what it sums, which may be before the range.
    let start_ns = if filter.start_ns <= first_ns { i64::MIN } else { filter.start_ns };
    let end_ns = if filter.end_ns >= last_ns { i64::MAX } else { filter.end_ns };
    let is_hour = |time_ns: i64| time_ns % NS_PER_HOUR == 0;
    let is_whole = (start_ns == i64::MIN || is_hour(start_ns)) && (end_ns == i64::MAX || is_hour(end_ns + 1));
    let kind = match (start_ns, end_ns) {
        (i64::MIN, i64::MAX) if samples.has_days => "days",
        _ if is_whole && samples.has_hours => "hours",
        _ => return None,
    };
    samples::beside(path, kind).map(|path| Rollup { path, start_ns, end_ns })
}
