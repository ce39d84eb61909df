//! Bodies of `/ingest` that are damaged, or that unfold into more than they are.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use flamewire_core::encode::Encoder;
use flamewire_core::encoding::Encoding;
use flamewire_core::error::{Code, DecodeError};
use flamewire_core::ingest::{Request, decode};
use flamewire_core::limits::Limits;
use flamewire_core::push::Batch;
use support::{NOW_NS, Random, ingest_bodies};

fn run(format: &str, content_type: &str, spy_name: &str, body: &[u8]) -> Result<Batch, DecodeError> {
    let labels = [("region".to_owned(), "eu".to_owned())];
    let request = Request {
        format,
        content_type,
        app: "shop",
        labels: &labels,
        from_ns: NOW_NS,
        spy_name,
        sample_rate_hz: 100,
        ..Request::default()
    };
    decode(body, Encoding::Identity, &request, NOW_NS, &Limits::default())
}

fn refusal(format: &str, body: &[u8]) -> DecodeError {
    run(format, "", "", body).unwrap_err()
}

/// A tree or trie that is one chain, every link of which has a count.
fn chain(links: usize, name: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for link in 1..=links {
        body.push(name.len() as u8);
        body.extend_from_slice(name);
        body.push(1);
        body.push(u8::from(link < links));
    }
    body
}

#[test]
fn intact_bodies_are_decoded() {
    for (format, content_type, spy_name, body) in ingest_bodies() {
        let batch = run(format, content_type, spy_name, &body).unwrap();
        assert_eq!((batch.len(), batch.dropped_samples()), (1, 0), "{format} {spy_name}");
        assert!(batch.sample_count() >= 2);
    }
}

#[test]
fn what_unfolds_quadratically_is_refused_early() {
    let deep = chain(1_000_000, b"f");
    assert_eq!(refusal("tree", &deep).code, Code::ResourceExhausted);
    assert_eq!(refusal("trie", &chain(1_000_000, b"f;")).code, Code::ResourceExhausted);
    // Half a million opens, each of which is a sample as deep as all before it.
    let events: Vec<String> = (0..500_000).map(|at| format!("{{\"type\":\"O\",\"frame\":0,\"at\":{at}}}")).collect();
    let body = format!(
        "{{\"shared\":{{\"frames\":[{{\"name\":\"f\"}}]}},\"profiles\":[{{\"unit\":\"none\",\"events\":[{}]}}]}}",
        events.join(",")
    );
    assert_eq!(refusal("speedscope", body.as_bytes()).code, Code::ResourceExhausted);
    let weights = format!("{{\"profiles\":[{{\"samples\":[],\"weights\":[{}1]}}]}}", "1,".repeat(5_000_000));
    assert!(refusal("speedscope", weights.as_bytes()).message.contains("too many weights"));
}

#[test]
fn deep_stacks_are_cut_and_counted() {
    let stack = vec!["f"; 1500].join(";") + " 3\n";
    let batch = run("groups", "", "", stack.as_bytes()).unwrap();
    assert_eq!((batch.sample_count(), batch.truncated_stacks()), (1, 1));
}

#[test]
fn equal_stacks_count_once_towards_the_limit() {
    assert_eq!(run("lines", "", "", &b"a;b\n".repeat(100_000)).unwrap().sample_count(), 1);
    let distinct: String = (0..16_001).map(|number| format!("f{number}\n")).collect();
    assert!(refusal("lines", distinct.as_bytes()).message.contains("16000 different stacks"));
}

#[test]
fn every_truncation_is_refused_or_decoded() {
    for (format, content_type, spy_name, body) in ingest_bodies() {
        for end in 0..body.len() {
            let _ = run(format, content_type, spy_name, &body[..end]);
        }
    }
}

#[test]
fn random_damage_never_panics() {
    let bodies = ingest_bodies();
    let encoder = Encoder::new(1000);
    let mut random = Random::new(11);
    let mut decoded = 0;
    for round in 0..10_000 {
        let (format, content_type, spy_name, body) = &bodies[round % bodies.len()];
        let mut body = body.clone();
        for _ in 0..1 + random.below(3) {
            let place = random.below(body.len() as u64) as usize;
            match random.below(4) {
                0 => body[place] ^= 1 << random.below(8),
                1 => body[place] = random.next() as u8,
                2 => body.truncate(place.max(1)),
                _ => body.insert(place, [0xFF, 0x80, 0x00, b'"'][random.below(4) as usize]),
            }
        }
        if let Ok(batch) = run(format, content_type, spy_name, &body) {
            decoded += 1;
            let all: Vec<usize> = (0..batch.len()).collect();
            encoder.encode("t", &[(&batch, &all)]).unwrap();
        }
    }
    assert!(decoded > 500, "the damage is so gentle that some bodies decode: {decoded}");
}
