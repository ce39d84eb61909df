//! From batches to blocks: one per UTC day, and the memory of what is durable.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::BlockError;
use crate::hash::HashedSet;
use crate::labels::{Labels, Series};
use crate::push::Batch;
use crate::rows::{NewStacks, Slice, row_group, slices};
use crate::samples::{self, Layout};
use crate::symbols;

/// Services share a row group up to this many rows: opening a group costs as much as reading thousands of rows, and
/// a dictionary of stacks is worth its bytes only where it is used often. A larger service has a group of its own.
const SHARED_GROUP_ROWS: usize = 16_384;

/// A new block is read soon and merged soon.
const ZSTD_LEVEL: i32 = 1;

pub(crate) const NS_PER_DAY: i64 = 86_400 * 1_000_000_000;

/// A series that has rows in a block, and the times between which they lie.
#[derive(Clone, Debug)]
pub struct SeriesEntry {
    series: Arc<Series>,
    /// Earliest profile.
    pub time_min_ns: i64,
    /// Latest profile.
    pub time_max_ns: i64,
}

impl SeriesEntry {
    /// Hash of all labels; see `hash::fingerprint`.
    pub fn fingerprint(&self) -> i64 {
        self.series.fingerprint
    }

    /// Value of `service_name`.
    pub fn service(&self) -> &str {
        &self.series.service
    }

    /// `family:sample_type:unit:period_type:period_unit`.
    pub fn profile_type(&self) -> &str {
        &self.series.profile_type
    }

    /// All labels, sorted by name.
    pub fn labels(&self) -> &Labels {
        &self.series.labels
    }
}

/// Two files to make durable.
#[derive(Debug)]
pub struct EncodedBlock {
    tenant: String,
    day_number: i64,
    /// UTC day, "2026-11-23".
    pub day: String,
    /// The samples file.
    pub samples: Vec<u8>,
    /// The symbols file, None where nothing is new.
    pub symbols: Option<Vec<u8>>,
    /// Rows of the samples file.
    pub rows: usize,
    /// Earliest profile.
    pub time_min_ns: i64,
    /// Latest profile.
    pub time_max_ns: i64,
    /// Series of the block, in the order of its row groups.
    pub series: Vec<SeriesEntry>,
    new_stacks: Vec<(String, Vec<i64>)>,
}

/// Whose stacks: tenant, service, day.
type Owner = (String, String, i64);

#[derive(Default)]
struct Known {
    sets: HashMap<Owner, (HashedSet, u64)>,
    entries: usize,
    clock: u64,
}

/// Turns batches into blocks; remembers which stacks are durable.
pub struct Encoder {
    known: Mutex<Known>,
    max_known_stacks: usize,
}

impl Encoder {
    /// `max_known_stacks` bounds memory, at about 10 bytes each.
    pub fn new(max_known_stacks: usize) -> Self {
        Self { known: Mutex::default(), max_known_stacks }
    }

    /// Number of stacks remembered.
    pub fn known_stacks(&self) -> usize {
        self.lock().entries
    }

    /// Encodes the chosen profiles of each batch. Indices beyond a batch are passed over.
    pub fn encode(&self, tenant: &str, batches: &[(&Batch, &[usize])]) -> Result<Vec<EncodedBlock>, BlockError> {
        let mut days: BTreeMap<i64, Vec<Slice<'_>>> = BTreeMap::new();
        for (batch, chosen) in batches {
            for pushed in chosen.iter().filter_map(|&index| batch.profiles.get(index)) {
                days.entry(pushed.profile.time_ns.div_euclid(NS_PER_DAY)).or_default().extend(slices(pushed));
            }
        }
        let blocks = days.into_iter().map(|(day, slices)| self.encode_day(tenant, day, slices));
        blocks.filter_map(Result::transpose).collect()
    }

    /// Remembers the symbols of a block that is durable.
    pub fn committed(&self, block: &EncodedBlock) {
        let mut known = self.lock();
        known.clock += 1;
        let now = known.clock;
        for (service, stacks) in &block.new_stacks {
            let owner = (block.tenant.clone(), service.clone(), block.day_number);
            let (set, used) = known.sets.entry(owner).or_default();
            let before = set.len();
            set.extend(stacks.iter().copied());
            *used = now;
            let added = set.len() - before;
            known.entries += added;
        }
        known.forget_oldest(self.max_known_stacks);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        // A panic elsewhere cannot leave the sets half-written in a way that loses symbols: forgetting is harmless.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn encode_day(
        &self,
        tenant: &str,
        day: i64,
        mut slices: Vec<Slice<'_>>,
    ) -> Result<Option<EncodedBlock>, BlockError> {
        slices.sort_unstable_by(|a, b| a.order().cmp(&b.order()));
        let damaged = |error| BlockError::damaged("", error);
        let mut known = self.lock();
        let (mut frames, mut new_stacks, mut rows) = (Vec::new(), Vec::new(), 0);
        let has_spans = slices.iter().any(|slice| !slice.pushed.profile.spans.is_empty());
        let mut samples =
            samples::Writer::new(Layout::Whole, ZSTD_LEVEL, has_spans, SHARED_GROUP_ROWS).map_err(damaged)?;
        for of_service in slices.chunk_by(|a, b| a.series.service == b.series.service) {
            let Some(service) = of_service.first().map(|slice| slice.series.service.as_str()) else { continue };
            let durable = known.touch(&(tenant.to_owned(), service.to_owned(), day));
            let mut finder = NewStacks { service, durable, fresh: HashedSet::default(), frames: &mut frames };
            for of_type in of_service.chunk_by(|a, b| a.series.profile_type == b.series.profile_type) {
                let group = row_group(of_type, &mut finder);
                rows += group.rows.len();
                samples.add(group).map_err(damaged)?;
            }
            if !finder.fresh.is_empty() {
                new_stacks.push((service.to_owned(), finder.fresh.into_iter().collect()));
            }
        }
        drop(known);
        let series = series_entries(&slices);
        let (Some(time_min_ns), Some(time_max_ns)) =
            (series.iter().map(|entry| entry.time_min_ns).min(), series.iter().map(|entry| entry.time_max_ns).max())
        else {
            return Ok(None);
        };
        let symbols =
            if frames.is_empty() { None } else { Some(symbols::write(ZSTD_LEVEL, &[&frames]).map_err(damaged)?) };
        Ok(Some(EncodedBlock {
            tenant: tenant.to_owned(),
            day_number: day,
            day: date(day),
            samples: samples.finish(&[]).map_err(damaged)?,
            symbols,
            rows,
            time_min_ns,
            time_max_ns,
            series,
            new_stacks,
        }))
    }
}

impl Known {
    fn touch(&mut self, owner: &Owner) -> Option<&HashedSet> {
        let (set, used) = self.sets.get_mut(owner)?;
        *used = self.clock;
        Some(set)
    }

    fn forget_oldest(&mut self, max: usize) {
        while self.entries > max {
            let Some(oldest) = self.sets.iter().min_by_key(|(_, (_, used))| *used).map(|(owner, _)| owner.clone())
            else {
                return;
            };
            if let Some((set, _)) = self.sets.remove(&oldest) {
                self.entries -= set.len();
            }
        }
    }
}

fn series_entries(slices: &[Slice<'_>]) -> Vec<SeriesEntry> {
    let runs = slices.chunk_by(|a, b| a.series.fingerprint == b.series.fingerprint);
    let entry = |run: &[Slice<'_>]| {
        let (first, last) = (run.first()?, run.last()?);
        Some(SeriesEntry {
            series: first.series.clone(),
            time_min_ns: first.pushed.profile.time_ns,
            time_max_ns: last.pushed.profile.time_ns,
        })
    };
    runs.filter_map(entry).collect()
}

/// The calendar date of a day number since 1970-01-01. Source: H. Hinnant, chrono-compatible low-level date algorithms.
fn date(day: i64) -> String {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day_of_month:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        let cases = [
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_780, "2026-11-23"),
            (-1, "1969-12-31"),
        ];
        for (day, want) in cases {
            assert_eq!(date(day), want);
        }
    }
}
