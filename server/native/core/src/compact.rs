//! Compaction: the blocks of one tenant and day become one, sorted as a whole, with a totals file beside the samples.
//!
//! Rows name their profile by its row in the totals file: as ids and times they would be four fifths of the bytes.
//! Where sums over an hour, or over all of the block, are few beside the rows, they stand in roll-ups.
//!
//! A compacted file has a row group for each (service, profile type) that is not small, and such groups are read one at
//! a time: memory follows the largest service, not the block. Groups that services share are small, and held.

use std::collections::BTreeSet;

use crate::encode;
use crate::error::{BlockError, guarded};
use crate::hash::HashedMap;
use crate::merge;
use crate::pprof::NONE;
use crate::samples::{Layout, Origin, Row, RowGroup, Writer};
use crate::unpack::{Gathered, SamplesFile};

/// A compacted block is read often; level 3 costs what level 1 does here.
pub const ZSTD_LEVEL: i32 = 3;

/// Services share a row group up to this many rows; above it the cost of a group is small beside its rows.
const SHARED_GROUP_ROWS: usize = 2048;

/// The same of the totals file, which has a row for each profile.
const SHARED_TOTALS_ROWS: usize = 16_384;

/// A roll-up is written where it has at most this share of the rows: else it would save no query anything.
const ROLLUP_SHARE: usize = 3;

pub(crate) const NS_PER_HOUR: i64 = 3600 * 1_000_000_000;

/// A series that the blocks may hold: what the catalog knows of it.
#[derive(Clone, Debug)]
pub struct KnownSeries {
    /// As in the samples.
    pub fingerprint: i64,
    /// Value of `service_name`.
    pub service: String,
    /// `family:sample_type:unit:period_type:period_unit`.
    pub profile_type: String,
}

/// Files to make durable in place of those that were merged.
#[derive(Debug)]
pub struct CompactedBlock {
    /// The samples file.
    pub samples: Vec<u8>,
    /// A samples file with one row per (series, profile), its stack 0: what time series read, and what the rows of the
    /// samples count.
    pub totals: Vec<u8>,
    /// A samples file with the sums of each UTC hour, at its begin; None where it would save nothing.
    pub hours: Option<Vec<u8>>,
    /// The same of the whole block, at the begin of its day.
    pub days: Option<Vec<u8>>,
    /// The symbols file, None where the blocks had none.
    pub symbols: Option<Vec<u8>>,
    /// Rows of the samples file.
    pub rows: usize,
    /// Rows that were left out.
    pub dropped_rows: usize,
    /// (fingerprint, earliest, latest profile) of each series.
    pub series: Vec<(i64, i64, i64)>,
}

/// Rows to leave out of a merge.
#[derive(Clone, Debug)]
pub struct Drop {
    series: Vec<i64>,
    start_ns: i64,
    end_ns: i64,
}

impl Drop {
    /// Those of some series, by fingerprint, between two times, inclusive.
    pub fn new(mut series: Vec<i64>, start_ns: i64, end_ns: i64) -> Self {
        series.sort_unstable();
        Self { series, start_ns, end_ns }
    }

    fn takes(&self, origin: &Origin) -> bool {
        (self.start_ns..=self.end_ns).contains(&origin.time_ns) && self.series.binary_search(&origin.series).is_ok()
    }
}

/// Merges blocks. Every row is kept as it is, but for those to drop.
pub fn compact(
    samples: &[String],
    symbols: &[String],
    series: &[KnownSeries],
    drop: Option<&Drop>,
) -> Result<CompactedBlock, BlockError> {
    guarded("", || merge_blocks(samples, symbols, series, drop))
}

fn merge_blocks(
    samples: &[String],
    symbols: &[String],
    series: &[KnownSeries],
    drop: Option<&Drop>,
) -> Result<CompactedBlock, BlockError> {
    let mut inputs = Inputs::open(samples, series, drop)?;
    let written = |error| BlockError::damaged("", error);
    let writer = |layout, has_spans, shared| Writer::new(layout, ZSTD_LEVEL, has_spans, shared).map_err(written);
    let mut output = writer(Layout::Numbered, inputs.may_have_spans, SHARED_GROUP_ROWS)?;
    let mut totals = writer(Layout::Whole, false, SHARED_TOTALS_ROWS)?;
    let mut hours = Rollup { writer: writer(Layout::Whole, false, SHARED_GROUP_ROWS)?, rows: 0 };
    let mut days = Rollup { writer: writer(Layout::Whole, false, SHARED_GROUP_ROWS)?, rows: 0 };
    let (mut rows, mut found) = (0, Vec::new());
    for (number, (service, profile_type)) in inputs.parts.clone().into_iter().enumerate() {
        let mut gathered = inputs.take(number)?;
        if gathered.rows.is_empty() {
            continue;
        }
        gathered.sort();
        rows += gathered.rows.len();
        found.extend(times_of(&gathered.origins));
        let part = |rows: usize| vec![(service.clone(), profile_type.clone(), rows)];
        let sums = totals_of(&gathered);
        let origins = gathered.origins.clone();
        totals.add(RowGroup { parts: part(sums.len()), rows: sums, origins, spans: Vec::new() }).map_err(written)?;
        for (rollup, width_ns) in [(&mut hours, NS_PER_HOUR), (&mut days, encode::NS_PER_DAY)] {
            let (rows, origins) = rolled_up(&gathered, width_ns);
            rollup.rows += rows.len();
            let group = RowGroup { parts: part(rows.len()), rows, origins, spans: Vec::new() };
            rollup.writer.add(group).map_err(written)?;
        }
        output
            .add(RowGroup {
                parts: part(gathered.rows.len()),
                rows: gathered.rows,
                origins: gathered.origins,
                spans: gathered.spans,
            })
            .map_err(written)?;
    }
    // Hours that are no fewer than the sums of the block say nothing more than these.
    let days_rows = days.rows;
    let days = days.finish(rows / ROLLUP_SHARE).map_err(written)?;
    let hours = if hours.rows > days_rows { hours.finish(rows / ROLLUP_SHARE).map_err(written)? } else { None };
    let kinds = [("hours", &hours), ("days", &days)].into_iter().filter(|(_, file)| file.is_some());
    let kinds: Vec<&str> = kinds.map(|(kind, _)| kind).collect();
    Ok(CompactedBlock {
        samples: output.finish(&kinds).map_err(written)?,
        totals: totals.finish(&[]).map_err(written)?,
        hours,
        days,
        symbols: merge::symbols(symbols)?,
        rows,
        dropped_rows: inputs.dropped_rows,
        series: found,
    })
}

struct Rollup {
    writer: Writer,
    rows: usize,
}

impl Rollup {
    /// The file, None where it has more than `most` rows.
    fn finish(self, most: usize) -> parquet::errors::Result<Option<Vec<u8>>> {
        if self.rows > most { Ok(None) } else { self.writer.finish(&[]).map(Some) }
    }
}

/// Sums rows of one series, stack and span of time; rows and origins are sorted as those that come in.
fn rolled_up(gathered: &Gathered, width_ns: i64) -> (Vec<Row>, Vec<Origin>) {
    let mut origins: Vec<Origin> = Vec::new();
    // Origins are sorted by (series, time), so those of one span of time are neighbours.
    let rolled: Vec<u32> = (gathered.origins.iter())
        .map(|origin| {
            let time_ns = origin.time_ns.div_euclid(width_ns) * width_ns;
            let rolled = Origin { series: origin.series, time_ns, profile_id: [0; 16] };
            if origins.last() != Some(&rolled) {
                origins.push(rolled);
            }
            (origins.len() - 1) as u32
        })
        .collect();
    let mut rows: Vec<Row> = Vec::new();
    for row in &gathered.rows {
        let origin = rolled.get(row.origin as usize).copied().unwrap_or(0);
        match rows.last_mut() {
            Some(last) if (last.stack, last.origin) == (row.stack, origin) => {
                last.value = last.value.saturating_add(row.value);
            }
            _ => rows.push(Row { origin, span: NONE, ..*row }),
        }
    }
    (rows, origins)
}

/// What a check of a block's files found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Rows.
    pub rows: usize,
    /// Sum of all values.
    pub value: i128,
}

/// Decodes every row of a samples or totals file.
pub fn verify_samples(path: &str) -> Result<Contents, BlockError> {
    guarded(path, || count(path))
}

fn count(path: &str) -> Result<Contents, BlockError> {
    let file = SamplesFile::open(path)?;
    let mut contents = Contents::default();
    for group in 0..file.groups() {
        file.read(group, |_, _, value, _| {
            contents.rows += 1;
            contents.value += i128::from(value);
        })?;
    }
    Ok(contents)
}

/// Decodes every row of a symbols file.
pub fn verify_symbols(path: &str) -> Result<(), BlockError> {
    guarded(path, || merge::symbols(&[path.to_owned()])).map(|_| ())
}

/// The files to merge. A part is a (service, profile type).
struct Inputs<'a> {
    drop: Option<&'a Drop>,
    dropped_rows: usize,
    files: Vec<SamplesFile>,
    parts: Vec<(String, String)>,
    part_of: HashedMap<u32>,
    /// Rows that were read, by part.
    held: Vec<Gathered>,
    /// (file, group) of the groups that one part has to itself, by part.
    own: Vec<Vec<(usize, usize)>>,
    may_have_spans: bool,
}

impl<'a> Inputs<'a> {
    fn open(paths: &[String], series: &[KnownSeries], drop: Option<&'a Drop>) -> Result<Self, BlockError> {
        let parts: BTreeSet<(String, String)> =
            series.iter().map(|one| (one.service.clone(), one.profile_type.clone())).collect();
        let parts: Vec<(String, String)> = parts.into_iter().collect();
        let number = |one: &KnownSeries| {
            let key = (&one.service, &one.profile_type);
            parts.partition_point(|(service, profile_type)| (service, profile_type) < key) as u32
        };
        let mut part_of = HashedMap::default();
        part_of.extend(series.iter().map(|one| (one.fingerprint, number(one))));
        let mut own = Self {
            drop,
            dropped_rows: 0,
            files: Vec::new(),
            held: parts.iter().map(|_| Gathered::default()).collect(),
            own: vec![Vec::new(); parts.len()],
            parts,
            part_of,
            may_have_spans: false,
        };
        let mut sorted: Vec<i64> = series.iter().map(|one| one.fingerprint).collect();
        sorted.sort_unstable();
        for path in paths {
            own.add_file(path, &sorted)?;
        }
        Ok(own)
    }

    /// Reads the groups that services share, notes the others. A file without the latter is closed again.
    fn add_file(&mut self, path: &str, sorted: &[i64]) -> Result<(), BlockError> {
        let file = SamplesFile::open(path)?;
        self.may_have_spans |= file.may_have_spans();
        let number = self.files.len();
        let mut is_needed = false;
        for group in 0..file.groups() {
            let only = self.only_part(file.series_bounds(group), sorted);
            if let Some(noted) = only.and_then(|part| self.own.get_mut(part)) {
                noted.push((number, group));
                is_needed = true;
            } else {
                self.read(&file, group)?;
            }
        }
        if is_needed {
            self.files.push(file);
        }
        Ok(())
    }

    /// The part that all series between the bounds belong to.
    fn only_part(&self, bounds: Option<(i64, i64)>, sorted: &[i64]) -> Option<usize> {
        let (min, max) = bounds?;
        let first = sorted.partition_point(|&series| series < min);
        let end = sorted.partition_point(|&series| series <= max);
        let mut parts = sorted.get(first..end)?.iter().map(|series| self.part_of.get(series));
        let part = *parts.next()??;
        parts.all(|other| other == Some(&part)).then_some(part as usize)
    }

    /// All rows of a part.
    fn take(&mut self, part: usize) -> Result<Gathered, BlockError> {
        let files = std::mem::take(&mut self.files);
        for (file, group) in self.own.get_mut(part).map(std::mem::take).unwrap_or_default() {
            if let Some(file) = files.get(file) {
                self.read(file, group)?;
            }
        }
        self.files = files;
        Ok(self.held.get_mut(part).map(std::mem::take).unwrap_or_default())
    }

    fn read(&mut self, file: &SamplesFile, group: usize) -> Result<(), BlockError> {
        let mut unknown = None;
        let mut last: Option<(i64, u32)> = None;
        file.read(group, |origin, stack, value, span| {
            if self.drop.is_some_and(|drop| drop.takes(&origin)) {
                self.dropped_rows += 1;
                return;
            }
            let part = match last {
                Some((series, part)) if series == origin.series => Some(part),
                _ => self.part_of.get(&origin.series).copied(),
            };
            let Some(gathered) = part.and_then(|part| self.held.get_mut(part as usize)) else {
                unknown = Some(origin.series);
                return;
            };
            last = part.map(|part| (origin.series, part));
            gathered.add(origin, stack, value, span);
        })?;
        match unknown {
            Some(series) => Err(file.damaged(&format!("the catalog does not know its series {series}"))),
            None => Ok(()),
        }
    }
}

/// First and last time of each series; origins are sorted by (series, time).
fn times_of(origins: &[Origin]) -> impl Iterator<Item = (i64, i64, i64)> {
    origins
        .chunk_by(|a, b| a.series == b.series)
        .filter_map(|run| Some((run.first()?.series, run.first()?.time_ns, run.last()?.time_ns)))
}

/// One row for each origin, with the sum of its values.
fn totals_of(gathered: &Gathered) -> Vec<Row> {
    let mut sums: Vec<Row> =
        (0..gathered.origins.len() as u32).map(|origin| Row { stack: 0, value: 0, origin, span: NONE }).collect();
    for row in &gathered.rows {
        if let Some(sum) = sums.get_mut(row.origin as usize) {
            sum.value = sum.value.saturating_add(row.value);
        }
    }
    sums
}
