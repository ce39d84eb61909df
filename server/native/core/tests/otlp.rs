//! Exports of OTLP profiles that are damaged, or that unfold into more than they are.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use flamewire_core::encode::Encoder;
use flamewire_core::encoding::Encoding;
use flamewire_core::error::{Code, DecodeError};
use flamewire_core::ingest::otlp;
use flamewire_core::limits::Limits;
use flamewire_core::push::Batch;
use support::{Message, NOW_NS, Random, otlp_bodies, otlp_export};

fn run(is_json: bool, body: &[u8]) -> Result<Batch, DecodeError> {
    otlp::decode(body, Encoding::Identity, is_json, NOW_NS, &Limits::default())
}

#[test]
fn intact_bodies_are_decoded() {
    for (is_json, body) in otlp_bodies() {
        let batch = run(is_json, &body).unwrap();
        assert_eq!((batch.len(), batch.rejected(), batch.dropped_samples()), (1, 0, 0));
        assert_eq!(batch.sample_count(), 2);
    }
}

#[test]
fn a_long_stack_that_many_samples_name_is_refused_early() {
    let stack = Message::default().packed(1, (0..2_000_000).map(|_| 1));
    let sample = Message::default().int(1, 1).packed(4, [1].into_iter());
    let body = otlp_export(&stack, &vec![sample; 1000]);
    assert_eq!(run(false, &body).unwrap_err().code, Code::ResourceExhausted);
}

#[test]
fn deep_stacks_are_cut_and_counted() {
    let stack = Message::default().packed(1, (0..1500).map(|_| 1));
    let body = otlp_export(&stack, &[Message::default().int(1, 1).packed(4, [3].into_iter())]);
    let batch = run(false, &body).unwrap();
    assert_eq!((batch.sample_count(), batch.truncated_stacks()), (1, 1));
}

#[test]
fn tables_of_a_million_empty_entries_are_refused() {
    let mut dictionary = Message::default();
    for _ in 0..(1 << 20) + 1 {
        dictionary = dictionary.bytes(7, b"");
    }
    let error = run(false, &Message::default().message(2, &dictionary).0).unwrap_err();
    assert_eq!(error.code, Code::ResourceExhausted);
    assert!(error.message.contains("1048576 entries"), "{error}");
}

#[test]
fn profiles_of_the_same_stack_are_bounded_together() {
    // Each of these profiles is small, but unfolds into all of the dictionary's long names.
    let mut stack = Vec::new();
    let mut dictionary =
        Message::default().bytes(5, b"").bytes(5, b"t").bytes(3, b"").bytes(2, b"").bytes(6, b"").bytes(7, b"");
    for number in 1..=900i64 {
        dictionary = dictionary
            .bytes(5, format!("{number}{}", "x".repeat(4000)).as_bytes())
            .message(3, &Message::default().int(1, number + 1))
            .message(2, &Message::default().message(3, &Message::default().int(1, number)));
        stack.push(number);
    }
    dictionary = dictionary.message(7, &Message::default().packed(1, stack.into_iter()));
    let sample = Message::default().int(1, 1).packed(4, [1].into_iter());
    let profile = Message::default().message(1, &Message::default().int(1, 1)).message(2, &sample);
    let scope = (0..1000).fold(Message::default(), |scope, _| scope.message(2, &profile));
    let body = Message::default().message(1, &Message::default().message(2, &scope)).message(2, &dictionary);
    let error = run(false, &body.0).unwrap_err();
    assert_eq!(error.code, Code::ResourceExhausted, "{error}");
}

#[test]
fn every_truncation_is_refused_or_decoded() {
    for (is_json, body) in otlp_bodies() {
        for end in 0..body.len() {
            let _ = run(is_json, &body[..end]);
        }
    }
}

#[test]
fn random_damage_never_panics() {
    let bodies = otlp_bodies();
    let encoder = Encoder::new(1000);
    let mut random = Random::new(12);
    let mut decoded = 0;
    for round in 0..10_000 {
        let (is_json, body) = &bodies[round % bodies.len()];
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
        if let Ok(batch) = run(*is_json, &body) {
            decoded += 1;
            let all: Vec<usize> = (0..batch.len()).collect();
            encoder.encode("t", &[(&batch, &all)]).unwrap();
        }
    }
    assert!(decoded > 500, "the damage is so gentle that some bodies decode: {decoded}");
}
