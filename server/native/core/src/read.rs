//! From blocks to answers: call trees and totals, over the caches of one process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;

use crate::error::BlockError;
use crate::hash::{HashedMap, NumberedMap, ProfileSet};
use crate::names::NameTree;
use crate::scan::{Column, FileIndex, Filter, IdColumn};
use crate::symbols::{self, NamedFrame};
use crate::tree::Tree;

/// Memory that cached footers may take.
const MAX_INDEX_BYTES: usize = 32 << 20;

/// Which samples a tree sums; the default sums none.
#[derive(Default)]
pub struct TreeQuery<'a> {
    /// Fingerprints, any order.
    pub series: &'a [i64],
    /// Inclusive.
    pub start_ns: i64,
    /// Inclusive.
    pub end_ns: i64,
    /// Only samples with one of these as span id or child span id.
    pub span_ids: Option<&'a [i64]>,
    /// Only samples of these profiles, by id as a big-endian number.
    pub profile_ids: Option<&'a [u128]>,
    /// Only samples of these traces, by id as a big-endian number.
    pub trace_ids: Option<&'a [u128]>,
}

/// Which samples time series sum, and into which steps: step k = 1.. is start + (k-1)*step < t <= start + k*step.
pub struct TotalsQuery<'a> {
    /// Fingerprints.
    pub series: &'a [i64],
    /// For each of `series`, the group it belongs to.
    pub groups: &'a [u32],
    /// Exclusive.
    pub start_ns: i64,
    /// Width of a step, at least 1.
    pub step_ns: i64,
    /// Number of steps.
    pub steps: u32,
    /// Whether to count the profiles of each step, which costs reading their ids.
    pub count_profiles: bool,
}

/// What the samples of one group and one step come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepTotal {
    /// k, from 1.
    pub step: u32,
    /// Sum of the values.
    pub sum: i64,
    /// Distinct profiles; 0 where the query does not count them.
    pub profiles: u32,
}

/// Reads blocks; holds footers by file and a name tree per tenant.
pub struct Reader {
    indices: Mutex<Indices>,
    trees: Mutex<HashMap<String, Arc<RwLock<NameTree>>>>,
    max_cached_stacks: usize,
}

#[derive(Default)]
struct Indices {
    files: HashMap<String, Arc<FileIndex>>,
    bytes: usize,
}

impl Reader {
    /// `max_cached_stacks` bounds the name trees of all tenants together, at about 50 bytes each.
    pub fn new(max_cached_stacks: usize) -> Self {
        Self { indices: Mutex::default(), trees: Mutex::default(), max_cached_stacks }
    }

    /// Sums samples into one call tree.
    pub fn tree(
        &self,
        tenant: &str,
        sample_files: &[String],
        symbol_files: &[String],
        query: &TreeQuery<'_>,
    ) -> Result<Tree, BlockError> {
        let names = self.loaded_names(tenant, symbol_files)?;
        let names = names.read().unwrap_or_else(PoisonError::into_inner);
        let series = sorted(query.series);
        let spans = query.span_ids.map(sorted);
        let (profiles, traces) = (query.profile_ids.map(sorted), query.trace_ids.map(sorted));
        let filter = Filter {
            series: &series,
            start_ns: query.start_ns,
            end_ns: query.end_ns,
            span_ids: spans.as_deref(),
            profile_ids: profiles.as_deref(),
            trace_ids: traces.as_deref(),
        };
        let mut sums = Sums { values: vec![0i64; names.parents.len()], missing_rows: 0, missing_value: 0 };
        for path in sample_files {
            self.index(path)?.scan(path, &filter, |group, rows| {
                let (stacks, values) = (group.values(Column::Stack)?, group.values(Column::Value)?);
                // Rows are sorted by stack: one look-up per run.
                let mut run = Run::default();
                rows.for_each(|row| {
                    let stack = stacks.get(row);
                    if run.rows > 0 && stack != run.stack {
                        sums.add(&names, &run);
                        run = Run::default();
                    }
                    run.stack = stack;
                    run.rows += 1;
                    run.value = run.value.saturating_add(values.get(row));
                });
                sums.add(&names, &run);
                Ok(())
            })?;
        }
        Ok(Tree::new(&names, sums.values, sums.missing_rows, sums.missing_value))
    }

    /// Sums values per group and step; each group's list is sorted by step and has no empty steps.
    pub fn totals(&self, sample_files: &[String], query: &TotalsQuery<'_>) -> Result<Vec<Vec<StepTotal>>, BlockError> {
        let group_count = query.groups.iter().max().map_or(0, |&last| last as usize + 1);
        let mut groups: HashedMap<u32> = HashedMap::default();
        groups.extend(query.series.iter().copied().zip(query.groups.iter().copied()));
        let series = sorted(query.series);
        let span = i128::from(query.step_ns.max(1)) * i128::from(query.steps);
        let end_ns = i64::try_from(i128::from(query.start_ns) + span).unwrap_or(i64::MAX);
        let filter =
            Filter { series: &series, start_ns: query.start_ns.saturating_add(1), end_ns, ..Filter::default() };
        let mut sums: NumberedMap<StepTotal> = NumberedMap::default();
        let mut seen: ProfileSet = ProfileSet::default();
        for path in sample_files {
            self.index(path)?.scan(path, &filter, |group, rows| {
                let (series, times) = (group.values(Column::Series)?, group.values(Column::Time)?);
                let values = group.values(Column::Value)?;
                let ids = if query.count_profiles { group.ids(IdColumn::Profile)? } else { Vec::new() };
                let mut last = (0, 0);
                rows.for_each(|row| {
                    let fingerprint = series.get(row);
                    if last.0 != fingerprint {
                        last = (fingerprint, groups.get(&fingerprint).copied().unwrap_or(0));
                    }
                    let step =
                        (times.get(row).wrapping_sub(query.start_ns) as u64).div_ceil(query.step_ns.max(1) as u64);
                    let key = u64::from(last.1) << 32 | step;
                    let total = sums.entry(key).or_insert(StepTotal { step: step as u32, ..StepTotal::default() });
                    total.sum = total.sum.saturating_add(values.get(row));
                    let id = ids.get(row).copied().flatten();
                    total.profiles += u32::from(id.is_some_and(|id| seen.insert((key, id))));
                });
                Ok(())
            })?;
        }
        let mut lists = vec![Vec::new(); group_count];
        for (key, total) in sums {
            if let Some(list) = lists.get_mut((key >> 32) as usize) {
                list.push(total);
            }
        }
        for list in &mut lists {
            list.sort_unstable_by_key(|total| total.step);
        }
        Ok(lists)
    }

    fn index(&self, path: &str) -> Result<Arc<FileIndex>, BlockError> {
        let lock = || self.indices.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = lock().files.get(path) {
            return Ok(index.clone());
        }
        let index = Arc::new(FileIndex::read(path)?);
        let mut indices = lock();
        if indices.bytes > MAX_INDEX_BYTES {
            *indices = Indices::default();
        }
        indices.bytes += index.weight_bytes();
        indices.files.insert(path.to_owned(), index.clone());
        Ok(index)
    }

    /// The tenant's name tree with all of the files loaded.
    fn loaded_names(&self, tenant: &str, files: &[String]) -> Result<Arc<RwLock<NameTree>>, BlockError> {
        let tree = self.tenant_names(tenant);
        let missing: Vec<&String> = {
            let names = tree.read().unwrap_or_else(PoisonError::into_inner);
            files.iter().filter(|path| !names.has_file(path)).collect()
        };
        if !missing.is_empty() {
            let loaded = missing.into_iter().map(|path| Ok((path, read_symbols(path)?)));
            let loaded = loaded.collect::<Result<Vec<(&String, Vec<NamedFrame>)>, BlockError>>()?;
            let mut names = tree.write().unwrap_or_else(PoisonError::into_inner);
            for (path, frames) in loaded {
                names.load(path, frames);
            }
        }
        Ok(tree)
    }

    /// The tenant's name tree; drops trees where all together hold too many stacks. Queries that run keep theirs.
    fn tenant_names(&self, tenant: &str) -> Arc<RwLock<NameTree>> {
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        let stacks = |tree: &Arc<RwLock<NameTree>>| tree.read().unwrap_or_else(PoisonError::into_inner).stacks();
        if trees.values().map(stacks).sum::<usize>() > self.max_cached_stacks {
            trees.retain(|name, _| name == tenant);
            trees.retain(|_, tree| stacks(tree) <= self.max_cached_stacks);
        }
        trees.entry(tenant.to_owned()).or_insert_with(|| Arc::new(RwLock::new(NameTree::new()))).clone()
    }
}

fn sorted<T: Copy + Ord>(numbers: &[T]) -> Vec<T> {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

fn read_symbols(path: &str) -> Result<Vec<NamedFrame>, BlockError> {
    let bytes = std::fs::read(path).map_err(|source| BlockError::Io { path: path.to_owned(), source })?;
    symbols::read(Bytes::from(bytes)).map_err(|error| BlockError::damaged(path, error))
}

/// Neighbouring rows with one stack.
#[derive(Default)]
struct Run {
    stack: i64,
    rows: usize,
    value: i64,
}

struct Sums {
    /// By place in the name tree.
    values: Vec<i64>,
    missing_rows: usize,
    missing_value: i64,
}

impl Sums {
    fn add(&mut self, names: &NameTree, run: &Run) {
        if run.rows == 0 {
            return;
        }
        let slot = names.place(run.stack).and_then(|place| self.values.get_mut(place as usize));
        if let Some(value) = slot {
            *value = value.saturating_add(run.value);
        } else {
            self.missing_rows += run.rows;
            self.missing_value = self.missing_value.saturating_add(run.value);
        }
    }
}
