//! The profiles or spans that stand for a point of a series, or for a cell of a heatmap.

use std::collections::HashMap;

use super::{Reader, Steps, TotalsQuery};
use crate::error::BlockError;
use crate::guard;
use crate::scan::{Column, IdColumn, Values};

/// Cells that each step is divided into, by value: one exemplar for each. The default is one cell.
#[derive(Clone, Copy, Debug)]
pub struct Cells {
    /// Lower bound of the first.
    pub lowest: f64,
    /// Of each.
    pub width: f64,
    /// How many; what lies beyond the last belongs to it.
    pub count: u32,
}

impl Default for Cells {
    fn default() -> Self {
        Self { lowest: 0.0, width: 1.0, count: 1 }
    }
}

impl Cells {
    #[allow(clippy::cast_precision_loss)] // as the heatmap itself counts
    fn of(self, value: i64) -> u32 {
        let cell = (value as f64 - self.lowest) / self.width;
        (cell.max(0.0) as u32).min(self.count.saturating_sub(1))
    }
}

/// A profile or a span with the largest value of its step, group and cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemplar {
    /// k, from 1.
    pub step: u32,
    /// Of the earliest sample.
    pub time_ns: i64,
    /// The profile's id, or the span's in the lower 64 bits.
    pub id: u128,
    /// Of a span, where it was sent; else 0.
    pub trace_id: u128,
    /// Sum of its samples.
    pub value: i64,
    /// The series that have them.
    pub series: Vec<i64>,
}

impl Reader {
    /// One exemplar for each cell that has any, per group; in order of step and cell.
    pub fn exemplars(
        &self,
        sample_files: &[String],
        query: &TotalsQuery<'_>,
        by_span: bool,
        cells: Cells,
    ) -> Result<Vec<Vec<Exemplar>>, BlockError> {
        let steps = Steps::of(query);
        let chosen = self.chosen_stacks(query)?;
        let mut found: HashMap<(u64, u128), Exemplar> = HashMap::new();
        for path in sample_files {
            guard::check(query.guard)?;
            self.index(path)?.scan(path, &steps.filter(), |group, rows| {
                let (series, times) = (group.values(Column::Series)?, group.values(Column::Time)?);
                let values = group.values(Column::Value)?;
                let stacks = chosen.is_some().then(|| group.values(Column::Stack)).transpose()?;
                let (ids, traces) = if by_span {
                    let spans = group.nullable(Column::SpanId)?;
                    let ids = spans.into_iter().map(|span| (span != 0).then_some(u128::from(span as u64)));
                    (ids.collect(), group.ids(IdColumn::Trace)?)
                } else {
                    (group.ids(IdColumn::Profile)?, Vec::new())
                };
                rows.for_each(|row| {
                    let Some(id) = ids.get(row).copied().flatten() else { return };
                    let is_chosen =
                        |(chosen, stacks): (&crate::hash::HashedSet, &Values)| chosen.contains(&stacks.get(row));
                    if !chosen.as_ref().zip(stacks.as_ref()).is_none_or(is_chosen) {
                        return;
                    }
                    let (of, time_ns) = (series.get(row), times.get(row));
                    let key = steps.key(of, time_ns);
                    let candidate = found.entry((key, id)).or_insert_with(|| Exemplar {
                        step: key as u32,
                        time_ns,
                        id,
                        trace_id: traces.get(row).copied().flatten().unwrap_or(0),
                        value: 0,
                        series: Vec::new(),
                    });
                    candidate.value = candidate.value.saturating_add(values.get(row));
                    candidate.time_ns = candidate.time_ns.min(time_ns);
                    if !candidate.series.contains(&of) {
                        candidate.series.push(of);
                    }
                });
                Ok(())
            })?;
        }
        let mut best: HashMap<(u64, u32), Exemplar> = HashMap::new();
        for ((key, _), candidate) in found {
            let cell = best.entry((key, cells.of(candidate.value))).or_insert_with(|| candidate.clone());
            if (candidate.value, cell.id) > (cell.value, candidate.id) {
                *cell = candidate;
            }
        }
        let mut cells: Vec<((u64, u32), Exemplar)> = best.into_iter().collect();
        cells.sort_unstable_by_key(|(place, _)| *place);
        let mut lists = vec![Vec::new(); steps.group_count];
        for ((key, _), mut exemplar) in cells {
            exemplar.series.sort_unstable();
            if let Some(list) = lists.get_mut((key >> 32) as usize) {
                list.push(exemplar);
            }
        }
        Ok(lists)
    }
}
