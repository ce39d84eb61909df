//! From blocks to answers: call trees and totals, over the caches of one process.

mod exemplars;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;

use crate::error::{BlockError, guarded};
use crate::file_sums::{FileSums, Key, SeriesKey, Sum};
use crate::full_symbols::FullSymbols;
use crate::guard::{self, Guard};
use crate::hash::{HashedMap, HashedSet, NumberedMap, ProfileSet};
use crate::names::NameTree;
use crate::pprof_export::{self, PprofHeader};
use crate::rollups;
use crate::scan::{Column, FileIndex, Filter, IdColumn, Values};
use crate::stacks::StackSelector;
use crate::symbols::{self, NamedFrame};
use crate::tree::Tree;
pub use exemplars::{Cells, Exemplar};

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
    /// Only these stack traces.
    pub stacks: Option<StackSelector<'a>>,
    /// Ends the query early.
    pub guard: Option<&'a Guard>,
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
    /// Only these stack traces, with the names of this tenant in these symbols files.
    pub stacks: Option<(StackSelector<'a>, &'a str, &'a [String])>,
    /// Ends the query early.
    pub guard: Option<&'a Guard>,
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

/// Files that one batch of threads scans: bounds the sums that are held before they are added up.
const BATCH_FILES: usize = 64;
/// Files below which a thread of its own costs more than it brings.
const FILES_A_THREAD: usize = 8;

/// Reads blocks; holds footers and sums by file, and a name tree per tenant.
pub struct Reader {
    indices: Mutex<Indices>,
    sums: FileSums,
    trees: Mutex<HashMap<String, Arc<RwLock<NameTree>>>>,
    max_cached_stacks: usize,
    max_threads: usize,
}

#[derive(Default)]
struct Indices {
    files: HashMap<String, Arc<FileIndex>>,
    bytes: usize,
}

impl Reader {
    /// `max_cached_stacks` bounds the name trees of all tenants together, at about 50 bytes each; `max_cached_bytes`
    /// the sums of files; `max_threads` the threads that one query scans files with.
    pub fn new(max_cached_stacks: usize, max_cached_bytes: usize, max_threads: usize) -> Self {
        let sums = FileSums::new(max_cached_bytes);
        Self { indices: Mutex::default(), sums, trees: Mutex::default(), max_cached_stacks, max_threads }
    }

    /// Bytes that sums of files take.
    pub fn cached_bytes(&self) -> usize {
        self.sums.bytes()
    }

    /// Sums samples into one call tree.
    pub fn tree(
        &self,
        tenant: &str,
        sample_files: &[String],
        symbol_files: &[String],
        query: &TreeQuery<'_>,
    ) -> Result<Tree, BlockError> {
        let names = self.loaded_names(tenant, symbol_files, query.guard)?;
        let names = names.read().unwrap_or_else(PoisonError::into_inner);
        let accepted = query.stacks.map(|stacks| stacks.accepted(&names));
        let mut sums = Sums::new(names.parents.len());
        self.visit_sums(sample_files, query, |sum| {
            if is_accepted(&names, accepted.as_deref(), sum.stack) {
                sums.add(&names, sum);
            }
        })?;
        Ok(Tree::new(&names, &sums))
    }

    /// Sums samples into one pprof.
    pub fn pprof(
        &self,
        tenant: &str,
        sample_files: &[String],
        symbol_files: &[String],
        query: &TreeQuery<'_>,
        header: &PprofHeader<'_>,
    ) -> Result<Vec<u8>, BlockError> {
        let mut sums: HashedMap<i64> = HashedMap::default();
        let mut add = |sum: &Sum| {
            let total = sums.entry(sum.stack).or_insert(0);
            *total = total.saturating_add(sum.value);
        };
        if let Some(stacks) = query.stacks {
            let names = self.loaded_names(tenant, symbol_files, query.guard)?;
            let names = names.read().unwrap_or_else(PoisonError::into_inner);
            let accepted = stacks.accepted(&names);
            self.visit_sums(sample_files, query, |sum| {
                if is_accepted(&names, Some(&accepted), sum.stack) {
                    add(sum);
                }
            })?;
        } else {
            self.visit_sums(sample_files, query, add)?;
        }
        let mut symbols = FullSymbols::new();
        let mut files = Vec::with_capacity(symbol_files.len());
        for path in symbol_files {
            guard::check(query.guard)?;
            let file = read_file(path)?;
            let load = || symbols.load(file, header.services);
            let loaded = guarded(path, || load().map_err(|error| BlockError::damaged(path, error)))?;
            files.push(loaded);
        }
        let wanted = symbols.wanted(sums.keys().copied());
        for (path, file) in symbol_files.iter().zip(&files) {
            guard::check(query.guard)?;
            guarded(path, || symbols.fill(file, &wanted).map_err(|error| BlockError::damaged(path, error)))?;
        }
        Ok(pprof_export::write(symbols, sums.into_iter(), header))
    }

    /// Calls `visit` with what each file sums up to by stack, in the order of the files.
    fn visit_sums(
        &self,
        sample_files: &[String],
        query: &TreeQuery<'_>,
        mut visit: impl FnMut(&Sum),
    ) -> Result<(), BlockError> {
        let series = SeriesKey::new(&sorted(query.series));
        let spans = query.span_ids.map(sorted);
        let (profiles, traces) = (query.profile_ids.map(sorted), query.trace_ids.map(sorted));
        let filter = Filter {
            series: series.series(),
            start_ns: query.start_ns,
            end_ns: query.end_ns,
            span_ids: spans.as_deref(),
            profile_ids: profiles.as_deref(),
            trace_ids: traces.as_deref(),
        };
        for batch in sample_files.chunks(BATCH_FILES) {
            let sum = |path: &String| {
                guard::check(query.guard)?;
                self.file_sums(path, &series, &filter)
            };
            for sums in self.on_threads(batch, sum)? {
                sums.iter().for_each(&mut visit);
            }
        }
        Ok(())
    }

    /// Does `work` for each file, on a few threads where there are many.
    fn on_threads<T: Send>(
        &self,
        files: &[String],
        work: impl Fn(&String) -> Result<T, BlockError> + Sync,
    ) -> Result<Vec<T>, BlockError> {
        let threads = self.max_threads.min(files.len() / FILES_A_THREAD);
        if threads < 2 {
            return files.iter().map(work).collect();
        }
        let next = AtomicUsize::new(0);
        let run = || {
            let mut done = Vec::new();
            while let Some((number, path)) = {
                let number = next.fetch_add(1, Ordering::Relaxed);
                files.get(number).map(|path| (number, path))
            } {
                let result = work(path);
                let failed = result.is_err();
                done.push((number, result));
                if failed {
                    next.store(files.len(), Ordering::Relaxed);
                }
            }
            done
        };
        let mut done: Vec<(usize, Result<T, BlockError>)> = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
            let mut done = run();
            for other in others {
                done.extend(other.join().unwrap_or_default());
            }
            done
        });
        done.sort_unstable_by_key(|(number, _)| *number);
        let results: Vec<T> = done.into_iter().map(|(_, result)| result).collect::<Result<_, _>>()?;
        if results.len() == files.len() {
            return Ok(results);
        }
        // A thread that panicked took its files with it; what parses bytes catches that itself, so this is a defect.
        Err(BlockError::damaged("", "a scan did not end"))
    }

    /// What one file sums up to by stack.
    fn file_sums(&self, path: &str, series: &SeriesKey, filter: &Filter<'_>) -> Result<Arc<[Sum]>, BlockError> {
        let index = self.index(path)?;
        let is_plain = filter.span_ids.is_none() && filter.profile_ids.is_none() && filter.trace_ids.is_none();
        let key = index.times_ns().filter(|_| is_plain).map(|(first_ns, last_ns)| Key {
            path: path.to_owned(),
            series: series.clone(),
            start_ns: filter.start_ns.max(first_ns),
            end_ns: filter.end_ns.min(last_ns),
        });
        if let Some(found) = key.as_ref().and_then(|key| self.sums.find(key)) {
            return Ok(found);
        }
        let mut sums: HashedMap<Sum> = HashedMap::default();
        let (mut index, mut path, mut filter) = (index, path, *filter);
        let rollup = rollups::choose(&index, path, &filter);
        if let Some(rollup) = &rollup {
            (index, path) = (self.index(&rollup.path)?, &rollup.path);
            (filter.start_ns, filter.end_ns) = (rollup.start_ns, rollup.end_ns);
        }
        index.scan(path, &filter, |group, rows| {
            let (stacks, values) = (group.values(Column::Stack)?, group.values(Column::Value)?);
            let mut add = |run: &Sum| {
                let sum = sums.entry(run.stack).or_insert(Sum { stack: run.stack, ..Sum::default() });
                sum.value = sum.value.saturating_add(run.value);
                sum.rows = sum.rows.saturating_add(run.rows);
            };
            // Rows are sorted by stack: one look-up per run.
            let mut run = Sum::default();
            rows.for_each(|row| {
                let stack = stacks.get(row);
                if run.rows > 0 && stack != run.stack {
                    add(&run);
                    run = Sum::default();
                }
                run.stack = stack;
                run.rows += 1;
                run.value = run.value.saturating_add(values.get(row));
            });
            if run.rows > 0 {
                add(&run);
            }
            Ok(())
        })?;
        let sums: Arc<[Sum]> = sums.into_values().collect();
        if let Some(key) = key {
            self.sums.keep(key, &sums);
        }
        Ok(sums)
    }

    /// Sums values per group and step; each group's list is sorted by step and has no empty steps.
    pub fn totals(&self, sample_files: &[String], query: &TotalsQuery<'_>) -> Result<Vec<Vec<StepTotal>>, BlockError> {
        let steps = Steps::of(query);
        let mut sums: NumberedMap<StepTotal> = NumberedMap::default();
        let mut seen: ProfileSet = ProfileSet::default();
        let chosen = self.chosen_stacks(query)?;
        for path in sample_files {
            guard::check(query.guard)?;
            self.index(path)?.scan(path, &steps.filter(), |group, rows| {
                let (series, times) = (group.values(Column::Series)?, group.values(Column::Time)?);
                let values = group.values(Column::Value)?;
                let stacks = chosen.is_some().then(|| group.values(Column::Stack)).transpose()?;
                let ids = if query.count_profiles { group.ids(IdColumn::Profile)? } else { Vec::new() };
                rows.for_each(|row| {
                    let is_chosen = |(chosen, stacks): (&HashedSet, &Values)| chosen.contains(&stacks.get(row));
                    if !chosen.as_ref().zip(stacks.as_ref()).is_none_or(is_chosen) {
                        return;
                    }
                    let key = steps.key(series.get(row), times.get(row));
                    let total = sums.entry(key).or_insert(StepTotal { step: key as u32, ..StepTotal::default() });
                    total.sum = total.sum.saturating_add(values.get(row));
                    let id = ids.get(row).copied().flatten();
                    total.profiles += u32::from(id.is_some_and(|id| seen.insert((key, id))));
                });
                Ok(())
            })?;
        }
        let mut lists = vec![Vec::new(); steps.group_count];
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

    /// (step, value) of each profile, or with `by_span` of each span, per group; in order.
    pub fn values(
        &self,
        sample_files: &[String],
        query: &TotalsQuery<'_>,
        by_span: bool,
    ) -> Result<Vec<Vec<(u32, i64)>>, BlockError> {
        let steps = Steps::of(query);
        let mut sums: HashMap<(u64, u128), i64> = HashMap::new();
        for path in sample_files {
            guard::check(query.guard)?;
            self.index(path)?.scan(path, &steps.filter(), |group, rows| {
                let (series, times) = (group.values(Column::Series)?, group.values(Column::Time)?);
                let values = group.values(Column::Value)?;
                let ids: Vec<Option<u128>> = if by_span {
                    let spans = group.nullable(Column::SpanId)?;
                    spans.into_iter().map(|span| (span != 0).then_some(u128::from(span as u64))).collect()
                } else {
                    group.ids(IdColumn::Profile)?
                };
                rows.for_each(|row| {
                    if let Some(id) = ids.get(row).copied().flatten() {
                        let sum = sums.entry((steps.key(series.get(row), times.get(row)), id)).or_insert(0);
                        *sum = sum.saturating_add(values.get(row));
                    }
                });
                Ok(())
            })?;
        }
        let mut lists: Vec<Vec<(u32, i64)>> = vec![Vec::new(); steps.group_count];
        for ((key, _), value) in sums {
            if let Some(list) = lists.get_mut((key >> 32) as usize) {
                list.push((key as u32, value));
            }
        }
        for list in &mut lists {
            list.sort_unstable();
        }
        Ok(lists)
    }

    /// The names of functions that the files hold, and maybe others of the tenant.
    pub fn function_names(&self, tenant: &str, symbol_files: &[String]) -> Result<Vec<Arc<str>>, BlockError> {
        let names = self.loaded_names(tenant, symbol_files, None)?;
        let names = names.read().unwrap_or_else(PoisonError::into_inner);
        Ok(names.strings.get(1..).unwrap_or_default().to_vec())
    }

    /// The stacks that a query takes, None where it takes all.
    fn chosen_stacks(&self, query: &TotalsQuery<'_>) -> Result<Option<HashedSet>, BlockError> {
        let stacks = query.stacks.as_ref();
        stacks.map(|(selector, tenant, files)| self.accepted_stacks(selector, tenant, files)).transpose()
    }

    /// The stacks that a selector takes.
    fn accepted_stacks(
        &self,
        selector: &StackSelector<'_>,
        tenant: &str,
        symbol_files: &[String],
    ) -> Result<HashedSet, BlockError> {
        let names = self.loaded_names(tenant, symbol_files, None)?;
        let names = names.read().unwrap_or_else(PoisonError::into_inner);
        let accepted = selector.accepted(&names);
        Ok(names.stacks_at(|place| accepted.get(place as usize) == Some(&true)))
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
    fn loaded_names(
        &self,
        tenant: &str,
        files: &[String],
        guard: Option<&Guard>,
    ) -> Result<Arc<RwLock<NameTree>>, BlockError> {
        let tree = self.tenant_names(tenant);
        let missing: Vec<&String> = {
            let names = tree.read().unwrap_or_else(PoisonError::into_inner);
            files.iter().filter(|path| !names.has_file(path)).collect()
        };
        // One file after the other: the rows of all at once would be the largest thing that the server holds.
        for path in missing {
            guard::check(guard)?;
            let frames = read_symbols(path)?;
            tree.write().unwrap_or_else(PoisonError::into_inner).load(path, frames);
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

/// The groups and steps of a query, ready for rows.
struct Steps {
    series: Vec<i64>,
    groups: HashedMap<u32>,
    group_count: usize,
    start_ns: i64,
    end_ns: i64,
    step_ns: i64,
}

impl Steps {
    fn of(query: &TotalsQuery<'_>) -> Self {
        let mut groups: HashedMap<u32> = HashedMap::default();
        groups.extend(query.series.iter().copied().zip(query.groups.iter().copied()));
        let step_ns = query.step_ns.max(1);
        let width = i128::from(step_ns) * i128::from(query.steps);
        Self {
            series: sorted(query.series),
            groups,
            group_count: query.groups.iter().max().map_or(0, |&last| last as usize + 1),
            start_ns: query.start_ns,
            end_ns: i64::try_from(i128::from(query.start_ns) + width).unwrap_or(i64::MAX),
            step_ns,
        }
    }

    fn filter(&self) -> Filter<'_> {
        let start_ns = self.start_ns.saturating_add(1);
        Filter { series: &self.series, start_ns, end_ns: self.end_ns, ..Filter::default() }
    }

    /// Group and step of a row that the filter takes: the upper and the lower 32 bits.
    #[inline]
    fn key(&self, series: i64, time_ns: i64) -> u64 {
        let group = self.groups.get(&series).copied().unwrap_or(0);
        let step = (time_ns.wrapping_sub(self.start_ns) as u64).div_ceil(self.step_ns as u64);
        u64::from(group) << 32 | step
    }
}

fn sorted<T: Copy + Ord>(numbers: &[T]) -> Vec<T> {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

fn read_symbols(path: &str) -> Result<Vec<NamedFrame>, BlockError> {
    let file = read_file(path)?;
    guarded(path, || symbols::read(file).map_err(|error| BlockError::damaged(path, error)))
}

fn read_file(path: &str) -> Result<Bytes, BlockError> {
    std::fs::read(path).map(Bytes::from).map_err(|source| BlockError::Io { path: path.to_owned(), source })
}

/// Whether a stack is taken; one whose symbols are missing only where there is no selector.
fn is_accepted(names: &NameTree, accepted: Option<&[bool]>, stack: i64) -> bool {
    accepted.is_none_or(|accepted| names.place(stack).and_then(|place| accepted.get(place as usize)) == Some(&true))
}

/// Sums by place in the name tree.
pub(crate) struct Sums {
    pub values: Vec<i64>,
    /// Rows.
    pub counts: Vec<i64>,
    /// The places that have any; maybe more than once.
    pub touched: Vec<u32>,
    pub missing_rows: i64,
    pub missing_value: i64,
}

impl Sums {
    pub(crate) fn new(places: usize) -> Self {
        let (values, counts) = (vec![0; places], vec![0; places]);
        Self { values, counts, touched: Vec::new(), missing_rows: 0, missing_value: 0 }
    }

    fn add(&mut self, names: &NameTree, sum: &Sum) {
        let slots = names.place(sum.stack).and_then(|place| {
            let (value, count) = (self.values.get_mut(place as usize)?, self.counts.get_mut(place as usize)?);
            Some((place, value, count))
        });
        if let Some((place, value, count)) = slots {
            if *count == 0 {
                self.touched.push(place);
            }
            *value = value.saturating_add(sum.value);
            *count += i64::from(sum.rows);
        } else {
            self.missing_rows += i64::from(sum.rows);
            self.missing_value = self.missing_value.saturating_add(sum.value);
        }
    }
}
