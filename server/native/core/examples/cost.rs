//! Prints what decoding, encoding and reading cost in CPU time, on synthetic services.
//!
//! `cargo run --release -p flamewire-core --example cost -- [profiles] [services] [profiles per commit]`
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_precision_loss)]

#[path = "../tests/support/mod.rs"]
mod support;

use flamewire_core::compact::{KnownSeries, compact};
use flamewire_core::encode::Encoder;
use flamewire_core::encoding::Encoding;
use flamewire_core::limits::Limits;
use flamewire_core::push::{Batch, decode_push};
use flamewire_core::read::{Reader, TotalsQuery, TreeQuery};
use support::{NOW_NS, Profile, Random, Sample, gzip, labels, pprof, push};

const STACKS_PER_SERVICE: usize = 800;
const SAMPLES_PER_PROFILE: usize = 570;

/// Stacks of a service: each shares a random part of its caller side with an earlier one.
fn universe(random: &mut Random) -> Vec<Vec<String>> {
    let mut stacks: Vec<Vec<String>> = Vec::new();
    for number in 0..STACKS_PER_SERVICE {
        let mut frames = Vec::new();
        if number > 0 {
            let earlier: &Vec<String> = &stacks[random.below(number as u64) as usize];
            let shared = earlier.len() - random.below(4.min(earlier.len() as u64)) as usize;
            frames.extend_from_slice(&earlier[..shared]);
        }
        for _ in 0..1 + random.below(if frames.is_empty() { 16 } else { 3 }) {
            let function = random.below(400);
            frames.push(format!("module_{}.Class.method_{function}", function % 40));
        }
        stacks.push(frames);
    }
    stacks
}

fn profile(stacks: &[Vec<String>], random: &mut Random, time_ns: i64) -> Profile {
    let mut drawn = std::collections::BTreeMap::new();
    for _ in 0..SAMPLES_PER_PROFILE * 2 {
        let uniform = random.below(1 << 20) as f64 / f64::from(1 << 20);
        let index = (stacks.len() as f64).powf(uniform) as usize - 1;
        *drawn
            .entry(if random.chance(50) { index } else { random.below(stacks.len() as u64) as usize })
            .or_insert(0) += 10_000_000;
    }
    let samples = drawn.into_iter().take(SAMPLES_PER_PROFILE).map(|(index, value)| Sample {
        stack: stacks[index].iter().rev().cloned().collect(),
        values: vec![value],
        labels: Vec::new(),
    });
    Profile { types: vec![support::CPU], period: support::CPU, time_ns, samples: samples.collect() }
}

/// Seconds on the CPU: wall time says little on a shared machine.
fn cpu_s() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

fn timed<T>(what: &str, per: usize, unit: &str, run: impl FnOnce() -> T) -> T {
    let start = cpu_s();
    let result = run();
    let spent = cpu_s() - start;
    println!("{what:<34} {:>9.1} ms  {:>8.1} us per {unit}", spent * 1e3, spent * 1e6 / per as f64);
    result
}

/// Queries over the files, before and after compaction.
fn measure(
    sample_files: &[String],
    symbol_files: &[String],
    totals_files: &[String],
    series: &[i64],
    profiles: usize,
    services: usize,
) {
    let reader = Reader::new(8_000_000, 1 << 20, 2);
    let query = |series: &[i64], start_ns, end_ns| {
        let query = TreeQuery { series, start_ns, end_ns, ..TreeQuery::default() };
        reader.tree("tenant", sample_files, symbol_files, &query).unwrap()
    };
    timed("cold: {} with footers and symbols", profiles, "profile", || query(series, 0, i64::MAX));
    for _ in 0..3 {
        timed("tree {}", profiles, "profile", || query(series, 0, i64::MAX));
    }
    timed("tree {}, half of the time", profiles, "profile", || query(series, 0, NOW_NS + 80_000_000_000));
    let tree = timed("tree of one service", profiles / services, "profile", || query(&series[..1], 0, i64::MAX));
    println!("one service: total {}", tree.total());
    let tree = query(series, 0, i64::MAX);
    let json = timed("flame graph JSON, 8192 frames", 8192, "frame", || tree.flamegraph_json(8192));
    println!("{} bytes, total {}, missing {}", json.len(), tree.total(), tree.missing_stacks());
    timed("functions", 1, "call", || tree.functions());
    let groups: Vec<u32> = (0..series.len() as u32).collect();
    let totals = TotalsQuery {
        series,
        groups: &groups,
        start_ns: NOW_NS - 15_000_000_000,
        step_ns: 15_000_000_000,
        steps: 200,
        count_profiles: false,
        stacks: None,
        guard: None,
    };
    timed("totals by service", profiles, "profile", || reader.totals(totals_files, &totals).unwrap());
}

/// Merges the blocks as the server does, at most 2,000,000 rows at a time, and measures again.
fn compact_all(
    folder: &std::path::Path,
    samples: &[String],
    symbols: &[String],
    series: &[i64],
    profiles: usize,
    services: usize,
) {
    // Fingerprints of one service share their upper bits; the names do not matter here.
    let known: Vec<KnownSeries> = (series.iter())
        .map(|&fingerprint| KnownSeries {
            fingerprint,
            service: format!("{:016x}", fingerprint as u64),
            profile_type: String::new(),
        })
        .collect();
    let blocks_per_merge = (samples.len() * 2_000_000 / (profiles * SAMPLES_PER_PROFILE)).max(1);
    let (mut files, mut totals, mut bytes, mut spent_s) = (Vec::new(), Vec::new(), [0; 5], 0.0);
    let mut rollups = Vec::new();
    let mut merged_symbols = Vec::new();
    for (number, inputs) in samples.chunks(blocks_per_merge).enumerate() {
        let start = cpu_s();
        let block = compact(inputs, if number == 0 { symbols } else { &[] }, &known, None).unwrap();
        spent_s += cpu_s() - start;
        let mut put = |kind: &str, place: usize, content: &[u8], names: &mut Vec<String>| {
            let path = folder.join(format!("merged-{number}.{kind}")).display().to_string();
            std::fs::write(&path, content).unwrap();
            bytes[place] += content.len();
            names.push(path);
        };
        put("samples", 0, &block.samples, &mut files);
        put("totals", 1, &block.totals, &mut totals);
        for (kind, place, content) in [("hours", 3, &block.hours), ("days", 4, &block.days)] {
            if let Some(content) = content {
                put(kind, place, content, &mut rollups);
            }
        }
        if let Some(symbols) = &block.symbols {
            put("symbols", 2, symbols, &mut merged_symbols);
        }
    }
    println!("\ncompacted into {} blocks: {:.1} us per profile", files.len(), spent_s * 1e6 / profiles as f64);
    let [samples, totals_bytes, symbols, hours, days] = bytes.map(|size| size / profiles);
    println!("samples {samples} B, totals {totals_bytes} B, symbols {symbols} B per profile");
    println!("roll-ups: hours {hours} B, days {days} B per profile");
    measure(&files, &merged_symbols, &totals, series, profiles, services);
}

fn main() {
    let argument =
        |index, default: usize| std::env::args().nth(index).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (profiles, services, per_commit) = (argument(1, 10_020), argument(2, 60), argument(3, 480));
    let mut random = Random::new(1);
    let universes: Vec<_> = (0..6).map(|_| universe(&mut random)).collect();
    // Bodies repeat after a while; decoding and encoding do not know.
    let bodies: Vec<Vec<u8>> = (0..profiles.min(960))
        .map(|number| {
            let service = number % services;
            let time_ns = NOW_NS + (number / services) as i64 * 10_000_000_000;
            let pprof = pprof(&profile(&universes[service % 6], &mut random, time_ns));
            gzip(&push(&[(labels(&format!("service-{service}")), vec![pprof])]))
        })
        .collect();
    println!(
        "{} bodies, mean {} bytes gzipped",
        bodies.len(),
        bodies.iter().map(Vec::len).sum::<usize>() / bodies.len()
    );
    let limits = Limits { reject_newer_than_ns: i64::MAX, ..Limits::default() };

    let encoder = Encoder::new(8_000_000);
    let folder = std::env::temp_dir().join(format!("flamewire-cost-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (mut sample_files, mut symbol_files, mut series) = (Vec::new(), Vec::new(), Vec::new());
    let (mut decode_s, mut encode_s, mut sample_bytes, mut symbol_bytes, mut rows, mut total) = (0.0, 0.0, 0, 0, 0, 0);
    for first in (0..profiles).step_by(per_commit) {
        let numbers = first..(first + per_commit).min(profiles);
        let start = cpu_s();
        let batches: Vec<Batch> = numbers
            .map(|number| decode_push(&bodies[number % bodies.len()], Encoding::Gzip, NOW_NS, &limits).unwrap())
            .collect();
        decode_s += cpu_s() - start;
        let start = cpu_s();
        let chosen: Vec<(&Batch, &[usize])> = batches.iter().map(|batch| (batch, &[0usize][..])).collect();
        let blocks = encoder.encode("tenant", &chosen).unwrap();
        encode_s += cpu_s() - start;
        for block in &blocks {
            encoder.committed(block);
            rows += block.rows;
            sample_bytes += block.samples.len();
            series.extend(block.series.iter().map(flamewire_core::encode::SeriesEntry::fingerprint));
            let name = format!("{}/{}", folder.display(), sample_files.len());
            std::fs::write(format!("{name}.samples"), &block.samples).unwrap();
            sample_files.push(format!("{name}.samples"));
            if let Some(symbols) = &block.symbols {
                symbol_bytes += symbols.len();
                std::fs::write(format!("{name}.symbols"), symbols).unwrap();
                symbol_files.push(format!("{name}.symbols"));
            }
        }
        total += batches.iter().map(Batch::sample_count).sum::<usize>();
    }
    series.sort_unstable();
    series.dedup();
    println!(
        "{profiles} profiles, {total} samples, {rows} rows, {} blocks, {} series",
        sample_files.len(),
        series.len()
    );
    println!(
        "decode {:.1} us, encode {:.1} us per profile",
        decode_s * 1e6 / profiles as f64,
        encode_s * 1e6 / profiles as f64
    );
    println!("samples {} B, symbols {} B per profile", sample_bytes / profiles, symbol_bytes / profiles);

    measure(&sample_files, &symbol_files, &sample_files, &series, profiles, services);
    compact_all(&folder, &sample_files, &symbol_files, &series, profiles, services);
    if std::env::args().nth(4).is_none() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
