//! What is pushed is what is read back, compared with a model that does nothing clever.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use flamewire_core::encode::{EncodedBlock, Encoder, SeriesEntry};
use flamewire_core::encoding::Encoding;
use flamewire_core::limits::Limits;
use flamewire_core::push::{Batch, decode_push};
use flamewire_core::read::{Reader, StepTotal, TotalsQuery, TreeQuery};
use flamewire_core::tree::Tree;
use support::{
    Bar, CPU, NOW_NS, Profile, Random, Sample, gzip, labels, pprof, push, push_one, read_flamegraph, sample,
};

const TENANT: &str = "anonymous";
const SECOND: i64 = 1_000_000_000;

/// An encoder, a reader and a folder between them.
struct Store {
    encoder: Encoder,
    reader: Reader,
    folder: PathBuf,
    samples: Vec<String>,
    symbols: Vec<String>,
    series: Vec<SeriesEntry>,
}

impl Store {
    fn new() -> Self {
        static STORES: AtomicU32 = AtomicU32::new(0);
        let number = STORES.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("flamewire-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (encoder, reader) = (Encoder::new(1 << 20), Reader::new(1 << 20, 1 << 20, 2));
        Self { encoder, reader, folder, samples: Vec::new(), symbols: Vec::new(), series: Vec::new() }
    }

    fn decode(body: &[u8]) -> Batch {
        let limits = Limits { reject_older_than_ns: i64::MAX, reject_newer_than_ns: i64::MAX, ..Limits::default() };
        decode_push(body, Encoding::Identity, NOW_NS, &limits).unwrap()
    }

    fn write(&mut self, blocks: Vec<EncodedBlock>) {
        for block in blocks {
            let path = |kind: &str| self.folder.join(format!("{}.{kind}", self.samples.len())).display().to_string();
            if let Some(symbols) = &block.symbols {
                std::fs::write(path("symbols"), symbols).unwrap();
                self.symbols.push(path("symbols"));
            }
            std::fs::write(path("samples"), &block.samples).unwrap();
            self.samples.push(path("samples"));
            self.encoder.committed(&block);
            self.series.extend(block.series);
        }
    }

    fn push(&mut self, body: &[u8]) {
        let batch = Self::decode(body);
        let all: Vec<usize> = (0..batch.len()).collect();
        let blocks = self.encoder.encode(TENANT, &[(&batch, &all)]).unwrap();
        self.write(blocks);
    }

    fn fingerprints(&self, wanted: impl Fn(&SeriesEntry) -> bool) -> Vec<i64> {
        self.series.iter().filter(|entry| wanted(entry)).map(SeriesEntry::fingerprint).collect()
    }

    fn tree(&self, series: &[i64], start_ns: i64, end_ns: i64, span_ids: Option<&[i64]>) -> Tree {
        let query = TreeQuery { series, start_ns, end_ns, span_ids, ..TreeQuery::default() };
        self.reader.tree(TENANT, &self.samples, &self.symbols, &query).unwrap()
    }

    fn all(&self) -> Tree {
        self.tree(&self.fingerprints(|_| true), i64::MIN, i64::MAX, None)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn bars(tree: &Tree, max_nodes: usize) -> Vec<Bar> {
    let (mut bars, total, _) = read_flamegraph(&tree.flamegraph_proto(max_nodes));
    assert_eq!(total, tree.total());
    bars.sort();
    bars
}

/// Frames of (stack leaf first, value) pairs, by brute force.
fn model<'a>(samples: impl Iterator<Item = (&'a [String], i64)>) -> Vec<Bar> {
    let mut frames: BTreeMap<Vec<String>, (i64, i64)> = BTreeMap::new();
    for (stack, value) in samples {
        let names: Vec<String> = stack.iter().flat_map(|name| name.split('+')).rev().map(str::to_owned).collect();
        for depth in 1..=names.len() {
            let frame = frames.entry(names[..depth].to_vec()).or_default();
            frame.0 += value;
            frame.1 += if depth == names.len() { value } else { 0 };
        }
    }
    frames.into_iter().map(|(path, (total, own))| Bar { path, total, own }).collect()
}

#[test]
fn stacks_and_totals_are_read_back() {
    let mut store = Store::new();
    store.push(&push_one(&Profile::cpu(&[
        ("main;work;hash", 70),
        ("main;work", 20),
        ("main;idle", 10),
        ("main;work", 5),
    ])));
    let tree = store.all();
    assert_eq!(tree.total(), 105);
    let got: Vec<(String, i64, i64)> =
        bars(&tree, 0).into_iter().map(|bar| (bar.path.join(";"), bar.total, bar.own)).collect();
    let want = [("main", 105, 0), ("main;idle", 10, 10), ("main;work", 95, 25), ("main;work;hash", 70, 70)];
    assert_eq!(got, want.map(|(path, total, own)| (path.to_owned(), total, own)));
}

#[test]
fn inlined_lines_are_frames_of_their_own() {
    let mut store = Store::new();
    store.push(&push_one(&Profile::cpu(&[("main;inner+outer", 3)])));
    assert_eq!(bars(&store.all(), 0).last().unwrap().path, ["main", "outer", "inner"]);
}

#[test]
fn an_empty_stack_is_the_roots_own() {
    let mut store = Store::new();
    store.push(&push_one(&Profile::cpu(&[("", 7), ("main", 1)])));
    let tree = store.all();
    assert_eq!(tree.total(), 8);
    assert_eq!(bars(&tree, 0), model([(["main".to_owned()].as_slice(), 1)].into_iter()));
    assert_eq!(store.samples.len(), 1);
}

#[test]
fn negative_and_zero_samples_are_dropped_and_counted() {
    let batch = Store::decode(&push_one(&Profile::cpu(&[("a", -1), ("b", 0), ("c", 2)])));
    assert_eq!((batch.sample_count(), batch.dropped_samples()), (1, 2));
}

#[test]
fn a_profile_without_samples_makes_no_block() {
    let batch = Store::decode(&push_one(&Profile::cpu(&[])));
    assert_eq!(batch.len(), 1);
    assert!(Encoder::new(10).encode(TENANT, &[(&batch, &[0])]).unwrap().is_empty());
}

#[test]
fn every_sample_type_is_a_series() {
    let mut profile = Profile::cpu(&[]);
    profile.types = vec![("alloc_objects", "count"), ("alloc_space", "bytes")];
    profile.samples = vec![
        Sample { values: vec![3, 0], ..sample("main;new", 0) },
        Sample { values: vec![1, 64], ..sample("main", 0) },
    ];
    let mut store = Store::new();
    store.push(&push_one(&profile));
    let total =
        |kind: &str| store.tree(&store.fingerprints(|entry| entry.profile_type() == kind), 0, i64::MAX, None).total();
    assert_eq!(total("process_cpu:alloc_objects:count:cpu:nanoseconds"), 4);
    assert_eq!(total("process_cpu:alloc_space:bytes:cpu:nanoseconds"), 64);
}

#[test]
fn sample_labels_split_into_series_and_spans_do_not() {
    let labelled = |pairs: &[(&str, &str)], value| Sample {
        labels: pairs.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect(),
        ..sample("main", value)
    };
    let mut profile = Profile::cpu(&[]);
    profile.samples = vec![
        labelled(&[("route", "/cart"), ("span_id", "00000000000000aa"), ("route", "/late")], 1),
        labelled(&[("route", "/cart"), ("profile_id", "00000000000000bb"), ("child_span_id", "00000000000000cc")], 2),
        labelled(&[("trace_id", "0123456789abcdef0123456789abcdef"), ("span_name", "GET /")], 4),
        labelled(&[("span_id", "not a span")], 8),
    ];
    let mut store = Store::new();
    store.push(&push_one(&profile));
    let cart = store.fingerprints(|entry| entry.labels().contains(&("route".into(), "/cart".into())));
    assert_eq!(store.tree(&cart, 0, i64::MAX, None).total(), 3);
    assert_eq!(store.series.len(), 2);
    let all = store.fingerprints(|_| true);
    let of_spans = |spans: &[i64]| store.tree(&all, 0, i64::MAX, Some(spans)).total();
    assert_eq!(of_spans(&[0xAA]), 1);
    assert_eq!(of_spans(&[0xCC]), 2);
    assert_eq!(of_spans(&[0xBB, 0xAA, 0xCC]), 3);
    assert_eq!(of_spans(&[0, 0xDD]), 0);
}

#[test]
fn symbols_are_written_once_a_day_and_only_when_durable() {
    let batch = Store::decode(&push_one(&Profile::cpu(&[("main;work", 1)])));
    let encoder = Encoder::new(1000);
    let encode = || encoder.encode(TENANT, &[(&batch, &[0])]).unwrap().remove(0);
    assert!(encode().symbols.is_some());
    let block = encode();
    assert!(block.symbols.is_some(), "nothing was committed yet");
    encoder.committed(&block);
    assert_eq!(encoder.known_stacks(), 2);
    assert!(encode().symbols.is_none());
    let elsewhere = encoder.encode("other tenant", &[(&batch, &[0])]).unwrap();
    assert!(elsewhere[0].symbols.is_some());
    let tomorrow =
        Store::decode(&push_one(&Profile { time_ns: NOW_NS + 86_400 * SECOND, ..Profile::cpu(&[("main;work", 1)]) }));
    let blocks = encoder.encode(TENANT, &[(&tomorrow, &[0]), (&batch, &[0])]).unwrap();
    let days: Vec<(&str, bool)> = blocks.iter().map(|block| (block.day.as_str(), block.symbols.is_some())).collect();
    assert_eq!(days, [("2026-11-18", false), ("2026-11-19", true)]);
}

#[test]
fn forgotten_stacks_are_written_again() {
    let encoder = Encoder::new(3);
    let batch = |stack: &str, service: &str| {
        Store::decode(&push(&[(labels(service), vec![pprof(&Profile::cpu(&[(stack, 1)]))])]))
    };
    let (first, second) = (batch("a;b", "one"), batch("c;d", "two"));
    encoder.committed(&encoder.encode(TENANT, &[(&first, &[0])]).unwrap()[0]);
    encoder.committed(&encoder.encode(TENANT, &[(&second, &[0])]).unwrap()[0]);
    assert_eq!(encoder.known_stacks(), 2);
    assert!(encoder.encode(TENANT, &[(&first, &[0])]).unwrap()[0].symbols.is_some());
    assert!(encoder.encode(TENANT, &[(&second, &[0])]).unwrap()[0].symbols.is_none());
}

#[test]
fn lost_symbols_are_counted_and_their_value_is_shown() {
    let mut store = Store::new();
    store.push(&push_one(&Profile::cpu(&[("main;work", 5)])));
    store.symbols.clear();
    let tree = store.all();
    assert_eq!((tree.total(), tree.missing_stacks()), (5, 1));
    assert_eq!(bars(&tree, 0)[0].path, ["(symbols missing)"]);
}

#[test]
fn a_cut_or_foreign_block_is_an_error() {
    let mut store = Store::new();
    store.push(&push_one(&Profile::cpu(&[("main;work", 5), ("main", 3)])));
    let (samples, symbols) = (store.samples[0].clone(), store.symbols[0].clone());
    for path in [&samples, &symbols] {
        let whole = std::fs::read(path).unwrap();
        let cases =
            [whole[..whole.len() / 2].to_vec(), whole[..whole.len() - 1].to_vec(), Vec::new(), b"PAR1".to_vec()];
        for bytes in cases {
            std::fs::write(path, bytes).unwrap();
            let query = TreeQuery {
                series: &store.fingerprints(|_| true),
                start_ns: 0,
                end_ns: i64::MAX,
                ..TreeQuery::default()
            };
            let reader = Reader::new(10, 1 << 20, 2);
            let error = reader.tree(TENANT, &store.samples, &store.symbols, &query).err().unwrap();
            assert!(error.to_string().contains(path.as_str()), "{error}");
        }
        std::fs::write(path, whole).unwrap();
    }
    let gone = store.folder.join("gone").display().to_string();
    assert!(
        store
            .reader
            .tree(TENANT, &[gone], &[], &TreeQuery { series: &[1], start_ns: 0, end_ns: 1, ..TreeQuery::default() })
            .is_err()
    );
}

#[test]
fn functions_count_recursion_once() {
    let mut store = Store::new();
    store.push(&push_one(&Profile::cpu(&[("main;fib;fib;fib", 5), ("main;fib", 2), ("fib;main", 1)])));
    let functions: Vec<(String, i64, i64)> =
        store.all().functions().into_iter().map(|one| (one.name.to_string(), one.own, one.total)).collect();
    assert_eq!(functions, [("fib".to_owned(), 7, 8), ("main".to_owned(), 1, 8)]);
}

#[test]
fn series_come_in_the_order_of_their_row_groups() {
    let batch = Store::decode(&push(&[
        (labels("b"), vec![pprof(&Profile::cpu(&[("x", 1)]))]),
        (labels("a"), vec![pprof(&Profile::cpu(&[("x", 1)]))]),
    ]));
    let block = Encoder::new(10).encode(TENANT, &[(&batch, &[0, 1])]).unwrap().remove(0);
    let services: Vec<&str> = block.series.iter().map(SeriesEntry::service).collect();
    assert_eq!(services, ["a", "b"]);
}

#[test]
fn large_files_are_read_in_parts_and_small_services_beside_large_ones() {
    let mut random = Random::new(3);
    let mut large = |_| {
        let stacks = (0..15_000).map(|number| format!("f{};g{};h{}", number % 25, number / 25 % 25, number / 625));
        let samples = stacks.map(|stack| sample(&stack, 1 + random.below(1 << 44) as i64));
        Profile { types: vec![CPU], period: CPU, time_ns: NOW_NS, samples: samples.collect() }
    };
    let profiles: Vec<Profile> = (0..10).map(&mut large).collect();
    let small = || vec![pprof(&Profile::cpu(&[("main;work", 5), ("f0;g0;h0", 7)]))];
    let mut store = Store::new();
    store.push(&push(&[
        (labels("a-small"), small()),
        (labels("large"), profiles.iter().map(pprof).collect()),
        (labels("z-small"), small()),
    ]));
    assert!(std::fs::metadata(&store.samples[0]).unwrap().len() > 1 << 20, "the file is read in parts");
    let total = |service: &str| {
        let series = store.fingerprints(|entry| entry.service() == service);
        store.tree(&series, NOW_NS, NOW_NS, None).total()
    };
    let pushed: i64 = profiles.iter().flat_map(|profile| &profile.samples).map(|sample| sample.values[0]).sum();
    assert_eq!((total("a-small"), total("large"), total("z-small")), (12, pushed, 12));
    assert_eq!(store.all().total(), pushed + 24);
    let samples = profiles.iter().flat_map(|profile| &profile.samples);
    let series = store.fingerprints(|entry| entry.service() == "large");
    let want = model(samples.map(|sample| (sample.stack.as_slice(), sample.values[0])));
    assert_eq!(bars(&store.tree(&series, 0, i64::MAX, None), 0), want);
}

/// A random history of pushes of several services, sample types, labels, spans and days.
struct History {
    store: Store,
    samples: Vec<Pushed>,
    /// Profiles pushed so far.
    profiles: usize,
}

struct Pushed {
    fingerprint: i64,
    /// Number of the profile.
    profile: usize,
    time_ns: i64,
    span: i64,
    child: i64,
    stack: Vec<String>,
    value: i64,
}

fn history(seed: u64) -> History {
    let mut random = Random::new(seed);
    let mut history = History { store: Store::new(), samples: Vec::new(), profiles: 0 };
    let names: Vec<String> = (0..1 + random.below(12)).map(|number| format!("f{number}")).collect();
    for _ in 0..1 + random.below(6) {
        let series: Vec<support::PushSeries> = (0..1 + random.below(3))
            .map(|_| {
                let mut labels = labels(&format!("service-{}", random.below(3)));
                labels.push(("region".into(), format!("r{}", random.below(2))));
                let profiles = (0..random.below(4)).map(|_| pprof(&random_profile(&mut random, &names))).collect();
                (labels, profiles)
            })
            .collect();
        let body = push(&series);
        let batch = Store::decode(&body);
        let all: Vec<usize> = (0..batch.len()).collect();
        let blocks = history.store.encoder.encode(TENANT, &[(&batch, &all)]).unwrap();
        history.store.write(blocks);
        history.record(&series);
    }
    history
}

fn random_profile(random: &mut Random, names: &[String]) -> Profile {
    let types = if random.chance(30) { vec![("alloc", "bytes"), ("objects", "count")] } else { vec![CPU] };
    let time_ns = NOW_NS + random.below(3 * 86_400) as i64 * SECOND / 2 + 1;
    let samples = (0..random.below(30)).map(|_| {
        let stack = (0..random.below(9)).map(|_| {
            let name = names[random.below(names.len() as u64) as usize].clone();
            if random.chance(10) { format!("{name}+inlined") } else { name }
        });
        let stack = stack.collect();
        let values = types.iter().map(|_| if random.chance(10) { 0 } else { random.below(1000) as i64 }).collect();
        let mut labels = Vec::new();
        if random.chance(30) {
            labels.push(("route".into(), format!("/{}", random.below(2))));
        }
        if random.chance(20) {
            labels.push(("span_id".into(), format!("{:016x}", 1 + random.below(3))));
        }
        if random.chance(10) {
            labels.push(("child_span_id".into(), format!("{:016x}", 1 + random.below(3))));
        }
        Sample { stack, values, labels }
    });
    Profile { types: types.clone(), period: CPU, time_ns, samples: samples.collect() }
}

impl History {
    /// Asks the code under test only for the fingerprints of label sets.
    fn record(&mut self, series: &[support::PushSeries]) {
        for (labels, profiles) in series {
            for bytes in profiles {
                let profile = support::read_pprof(bytes);
                self.profiles += 1;
                for sample in &profile.samples {
                    if sample.values.iter().all(|&value| value == 0) {
                        continue;
                    }
                    for (kind, &value) in profile.types.iter().zip(&sample.values).filter(|(_, value)| **value > 0) {
                        self.samples.push(self.pushed(labels, profile.time_ns, kind, sample, value));
                    }
                }
            }
        }
    }

    fn pushed(
        &self,
        labels: &[(String, String)],
        time_ns: i64,
        kind: &(String, String),
        sample: &Sample,
        value: i64,
    ) -> Pushed {
        let find = |name: &str| sample.labels.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let span = |name: &str| find(name).map_or(0, |text| i64::from_str_radix(&text, 16).unwrap());
        let mut wanted: BTreeSet<(String, String)> = labels.iter().cloned().collect();
        wanted.extend(find("route").map(|route| ("route".to_owned(), route)));
        let of_series = |entry: &&SeriesEntry| {
            let public: BTreeSet<(String, String)> = (entry.labels().iter())
                .filter(|(name, _)| !name.starts_with("__") || name == "__name__")
                .cloned()
                .collect();
            public == wanted && entry.profile_type() == format!("process_cpu:{}:{}:cpu:nanoseconds", kind.0, kind.1)
        };
        Pushed {
            fingerprint: self.store.series.iter().find(of_series).unwrap().fingerprint(),
            profile: self.profiles,
            time_ns,
            span: span("span_id"),
            child: span("child_span_id"),
            stack: sample.stack.clone(),
            value,
        }
    }
}

#[test]
fn random_histories_match_the_model() {
    for seed in 1..=60 {
        let history = history(seed);
        let mut random = Random::new(seed + 1000);
        let all: BTreeSet<i64> = history.store.series.iter().map(SeriesEntry::fingerprint).collect();
        for _ in 0..8 {
            let series: Vec<i64> = all.iter().copied().filter(|_| random.chance(60)).collect();
            let start = NOW_NS + random.below(86_400) as i64 * SECOND;
            let (start, end) = if random.chance(40) { (0, i64::MAX) } else { (start, start + 40_000 * SECOND) };
            let spans = random.chance(30).then(|| vec![1 + random.below(3) as i64]);
            let tree = history.store.tree(&series, start, end, spans.as_deref());
            let matching = history.samples.iter().filter(|sample| {
                series.contains(&sample.fingerprint)
                    && (start..=end).contains(&sample.time_ns)
                    && spans.as_ref().is_none_or(|ids| ids.contains(&sample.span) || ids.contains(&sample.child))
            });
            let matching: Vec<(&[String], i64)> =
                matching.map(|sample| (sample.stack.as_slice(), sample.value)).collect();
            assert_eq!(tree.total(), matching.iter().map(|(_, value)| value).sum::<i64>(), "seed {seed}");
            assert_eq!(tree.missing_stacks(), 0);
            assert_eq!(bars(&tree, 0), model(matching.into_iter()), "seed {seed}");
        }
    }
}

#[test]
fn random_totals_match_the_model() {
    for seed in 1..=30 {
        let history = history(seed);
        let series: Vec<i64> =
            history.store.series.iter().map(SeriesEntry::fingerprint).collect::<BTreeSet<_>>().into_iter().collect();
        if series.is_empty() {
            continue;
        }
        let groups: Vec<u32> = (0..series.len() as u32).map(|number| number % 3).collect();
        let (start_ns, step_ns, steps) = (NOW_NS, 3_600 * SECOND, 30);
        let query = TotalsQuery {
            series: &series,
            groups: &groups,
            start_ns,
            step_ns,
            steps,
            count_profiles: true,
            stacks: None,
            guard: None,
        };
        let got = history.store.reader.totals(&history.store.samples, &query).unwrap();
        let mut want: Vec<BTreeMap<u32, (i64, BTreeSet<usize>)>> =
            vec![BTreeMap::new(); groups.iter().max().map_or(0, |last| *last as usize + 1)];
        for sample in &history.samples {
            let group = groups[series.iter().position(|&number| number == sample.fingerprint).unwrap()];
            let step = (1..=steps).find(|&step| {
                let right = start_ns + i64::from(step) * step_ns;
                right - step_ns < sample.time_ns && sample.time_ns <= right
            });
            if let Some(step) = step {
                let (sum, profiles) = want[group as usize].entry(step).or_default();
                *sum += sample.value;
                profiles.insert(sample.profile);
            }
        }
        let total = |(step, (sum, profiles)): (u32, (i64, BTreeSet<usize>))| StepTotal {
            step,
            sum,
            profiles: profiles.len() as u32,
        };
        let want: Vec<Vec<StepTotal>> = want.into_iter().map(|steps| steps.into_iter().map(total).collect()).collect();
        assert_eq!(got, want, "seed {seed}");
    }
}

#[test]
fn folding_keeps_every_sum_for_every_limit() {
    for seed in 1..=8 {
        let tree = history(seed).store.all();
        let whole = bars(&tree, 0);
        for max_nodes in 1..=whole.len() + 1 {
            let (folded, total, max_self) = read_flamegraph(&tree.flamegraph_proto(max_nodes));
            assert_eq!(total, tree.total());
            let (kept, other): (Vec<&Bar>, Vec<&Bar>) =
                folded.iter().partition(|bar| bar.path.last().unwrap() != "other");
            assert_eq!(kept.len(), whole.len().min(max_nodes), "seed {seed}, {max_nodes}");
            assert!(kept.iter().all(|bar| whole.contains(bar)), "kept frames are unchanged");
            assert!(other.iter().all(|bar| bar.total == bar.own), "what is folded is its own");
            let least = kept.iter().map(|bar| bar.total).min().unwrap_or(0);
            let dropped = whole.iter().filter(|bar| !kept.contains(bar));
            assert!(dropped.into_iter().all(|bar| bar.total <= least), "the largest are kept");
            // A frame's total is its own and its callees': so nothing is lost at any level.
            for bar in &folded {
                let callees = folded
                    .iter()
                    .filter(|other| other.path.len() == bar.path.len() + 1 && other.path.starts_with(&bar.path));
                assert_eq!(bar.total, bar.own + callees.map(|callee| callee.total).sum::<i64>());
            }
            let roots_own =
                tree.total() - whole.iter().filter(|bar| bar.path.len() == 1).map(|bar| bar.total).sum::<i64>();
            assert_eq!(max_self, folded.iter().map(|bar| bar.own).chain([roots_own]).max().unwrap());
        }
    }
}

#[test]
fn a_function_that_is_called_other_is_not_folded() {
    let mut store = Store::new();
    store.push(&push_one(&Profile::cpu(&[("other", 9), ("small", 1), ("zebra", 5)])));
    let (folded, _, _) = read_flamegraph(&store.all().flamegraph_proto(2));
    let got: Vec<(&str, i64)> = folded.iter().map(|bar| (bar.path[0].as_str(), bar.total)).collect();
    assert_eq!(got, [("other", 9), ("other", 1), ("zebra", 5)]);
}

#[test]
fn gzip_makes_no_difference() {
    let body = push_one(&Profile::cpu(&[("main", 1)]));
    let plain = Store::decode(&body);
    let packed = decode_push(&gzip(&body), Encoding::Gzip, NOW_NS, &Limits::default()).unwrap();
    let inner = push(&[(labels("shop"), vec![gzip(&pprof(&Profile::cpu(&[("main", 1)])))])]);
    let inner = Store::decode(&inner);
    let content = |batch: &Batch| batch.keys().map(|key| (key.series, key.content, key.time_ns)).collect::<Vec<_>>();
    assert_eq!(content(&plain), content(&packed));
    assert_eq!(content(&plain), content(&inner));
}
