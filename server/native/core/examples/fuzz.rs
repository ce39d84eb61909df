//! Damages valid pushes, bodies of `/ingest`, exports of OTLP and blocks for as long as asked, and follows whatever survives to the end: decode, encode,
//! write, read, draw. A panic is a failure; so is a decoded push whose block cannot be read back in full.
//!
//! `cargo run --release -p flamewire-core --example fuzz -- <seconds> [seed]`; run it with overflow checks on.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use flamewire_core::encode::{EncodedBlock, Encoder, SeriesEntry};
use flamewire_core::encoding::Encoding;
use flamewire_core::ingest::{self, Request, otlp};
use flamewire_core::limits::Limits;
use flamewire_core::push::Batch;
use flamewire_core::push::decode_push;
use flamewire_core::read::{Reader, TotalsQuery, TreeQuery};
use support::{CPU, NOW_NS, Profile, Random, gzip, ingest_bodies, otlp_bodies, push_one, read_flamegraph, sample};

#[derive(Default)]
struct Counts {
    pushes: u64,
    ingested: u64,
    exported: u64,
    decoded: u64,
    blocks: u64,
    damaged_read: u64,
}

fn seed_bodies() -> Vec<Vec<u8>> {
    let mut labelled = Profile::cpu(&[("main;work;hash", 70), ("main;work+inlined", 20), ("", 3), ("main", i64::MAX)]);
    labelled.samples[0].labels = vec![
        ("route".into(), "/cart".into()),
        ("span_id".into(), "00000000000000aa".into()),
        ("span_name".into(), "x".into()),
    ];
    labelled.samples[1].labels = vec![("trace_id".into(), "000102030405060708090a0b0c0d0e0f".into())];
    let samples = (0..40).map(|number| sample(&format!("main;f{};g{}", number % 7, number % 11), number)).collect();
    let wide = Profile { types: vec![CPU], period: CPU, time_ns: NOW_NS, samples };
    vec![push_one(&labelled), push_one(&wide)]
}

fn damage(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..1 + random.below(4) {
        if bytes.is_empty() {
            return;
        }
        let place = random.below(bytes.len() as u64) as usize;
        match random.below(6) {
            0 => bytes[place] ^= 1 << random.below(8),
            1 => bytes[place] = random.next() as u8,
            2 => bytes.truncate(place.max(1)),
            3 => bytes.insert(place, [0xFF, 0x80, 0x00, 0x7F][random.below(4) as usize]),
            4 => drop(bytes.remove(place)),
            _ => {
                let end = (place + random.below(16) as usize).min(bytes.len());
                let copy = bytes[place..end].to_vec();
                bytes.splice(place..place, copy);
            }
        }
    }
}

/// Reads a block in every way. Errors are fine where it is damaged.
fn read_all(folder: &Path, block: &EncodedBlock, series: &[i64], intact: bool) {
    let path = |kind: &str| folder.join(kind).display().to_string();
    let (samples, symbols) = (vec![path("samples")], vec![path("symbols")]);
    let reader = Reader::new(1000, 1 << 20, 2);
    for span_ids in [None, Some([0xAA, 1].as_slice())] {
        let query = TreeQuery { series, start_ns: i64::MIN, end_ns: i64::MAX, span_ids, ..TreeQuery::default() };
        match reader.tree("fuzz", &samples, &symbols, &query) {
            Ok(tree) => {
                for max_nodes in [0, 1, 5] {
                    let proto = tree.flamegraph_proto(max_nodes);
                    drop(tree.flamegraph_json(max_nodes));
                    if intact && tree.total() < i64::MAX {
                        assert_eq!(read_flamegraph(&proto).1, tree.total());
                    }
                }
                drop(tree.functions());
                assert!(!intact || tree.missing_stacks() == 0);
            }
            Err(error) => assert!(!intact, "{error}"),
        }
    }
    let groups: Vec<u32> = (0..series.len() as u32).collect();
    let query = TotalsQuery {
        series,
        groups: &groups,
        start_ns: block.time_min_ns.saturating_sub(1),
        step_ns: 7,
        steps: 9,
        count_profiles: false,
        stacks: None,
        guard: None,
    };
    let totals = reader.totals(&samples, &query);
    assert!(!intact || totals.is_ok());
}

fn round(random: &mut Random, bodies: &[Vec<u8>], folder: &Path, counts: &mut Counts) {
    let mut body = bodies[random.below(bodies.len() as u64) as usize].clone();
    let packed = random.chance(20);
    if random.chance(70) {
        damage(random, &mut body);
    }
    if packed {
        body = gzip(&body);
        if random.chance(30) {
            damage(random, &mut body);
        }
    }
    counts.pushes += 1;
    let encoding = if packed { Encoding::Gzip } else { Encoding::Identity };
    let Ok(batch) = decode_push(&body, encoding, NOW_NS, &Limits::default()) else { return };
    counts.decoded += 1;
    let all: Vec<usize> = (0..batch.len()).collect();
    let blocks = Encoder::new(1000).encode("fuzz", &[(&batch, &all)]).expect("what decodes can be encoded");
    for mut block in blocks {
        counts.blocks += 1;
        let series: Vec<i64> = block.series.iter().map(SeriesEntry::fingerprint).collect();
        let mut symbols = block.symbols.take().unwrap_or_default();
        let intact = !symbols.is_empty() && random.chance(50);
        if !intact {
            let target = if random.chance(50) { &mut symbols } else { &mut block.samples };
            damage(random, target);
            counts.damaged_read += 1;
        }
        std::fs::write(folder.join("samples"), &block.samples).unwrap();
        std::fs::write(folder.join("symbols"), &symbols).unwrap();
        read_all(folder, &block, &series, intact);
    }
}

/// A damaged body of `/ingest`; what survives is encoded and read back, the blocks of pushes are damaged enough.
fn ingest_round(
    random: &mut Random,
    bodies: &[(&'static str, &'static str, &'static str, Vec<u8>)],
    folder: &Path,
    counts: &mut Counts,
) {
    let (format, content_type, spy_name, body) = &bodies[random.below(bodies.len() as u64) as usize];
    let mut body = body.clone();
    damage(random, &mut body);
    let request = Request {
        format,
        content_type,
        app: "shop",
        labels: &[],
        from_ns: NOW_NS,
        spy_name,
        sample_rate_hz: 100,
        ..Request::default()
    };
    counts.ingested += 1;
    let Ok(batch) = ingest::decode(&body, Encoding::Identity, &request, NOW_NS, &Limits::default()) else { return };
    follow(&batch, folder, counts);
}

/// A damaged export of OTLP profiles.
fn otlp_round(random: &mut Random, bodies: &[(bool, Vec<u8>)], folder: &Path, counts: &mut Counts) {
    let (is_json, body) = &bodies[random.below(bodies.len() as u64) as usize];
    let mut body = body.clone();
    damage(random, &mut body);
    counts.exported += 1;
    let Ok(batch) = otlp::decode(&body, Encoding::Identity, *is_json, NOW_NS, &Limits::default()) else { return };
    follow(&batch, folder, counts);
}

/// Encodes what was decoded, and reads it back in full.
fn follow(batch: &Batch, folder: &Path, counts: &mut Counts) {
    counts.decoded += 1;
    let all: Vec<usize> = (0..batch.len()).collect();
    for block in Encoder::new(1000).encode("fuzz", &[(batch, &all)]).expect("what decodes can be encoded") {
        counts.blocks += 1;
        let series: Vec<i64> = block.series.iter().map(SeriesEntry::fingerprint).collect();
        let Some(symbols) = &block.symbols else { continue };
        std::fs::write(folder.join("samples"), &block.samples).unwrap();
        std::fs::write(folder.join("symbols"), symbols).unwrap();
        read_all(folder, &block, &series, true);
    }
}

fn main() {
    let argument = |index: usize| std::env::args().nth(index).and_then(|text| text.parse::<u64>().ok());
    let (seconds, seed) = (argument(1).unwrap_or(10), argument(2).unwrap_or_else(|| u64::from(std::process::id())));
    println!("seed {seed}");
    let folder = std::env::temp_dir().join(format!("flamewire-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (mut random, mut counts, bodies) = (Random::new(seed), Counts::default(), seed_bodies());
    let (ingest, otlp) = (ingest_bodies(), otlp_bodies());
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        match random.below(3) {
            0 => ingest_round(&mut random, &ingest, &folder, &mut counts),
            1 => otlp_round(&mut random, &otlp, &folder, &mut counts),
            _ => round(&mut random, &bodies, &folder, &mut counts),
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
    println!(
        "{} pushes, {} bodies of /ingest, {} exports, {} decoded, {} blocks, {} of them damaged",
        counts.pushes, counts.ingested, counts.exported, counts.decoded, counts.blocks, counts.damaged_read
    );
    assert!(
        counts.damaged_read > 0 && counts.decoded < counts.pushes + counts.ingested + counts.exported,
        "both ways were taken"
    );
}
