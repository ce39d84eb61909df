//! Bytes from strangers: every one is refused with words, or decoded; nothing panics and memory stays bounded.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use flamewire_core::encode::{Encoder, SeriesEntry};
use flamewire_core::encoding::Encoding;
use flamewire_core::error::{Code, DecodeError};
use flamewire_core::limits::Limits;
use flamewire_core::push::{Batch, decode_push};
use flamewire_core::read::{Reader, TreeQuery};
use support::{CPU, Message, NOW_NS, Profile, Random, gzip, labels, pprof, push, push_one, sample};

fn decode(body: &[u8]) -> Result<Batch, DecodeError> {
    decode_push(body, Encoding::Identity, NOW_NS, &Limits::default())
}

/// A pprof with one sample type and the given further fields.
fn pprof_with(build: impl FnOnce(Message) -> Message) -> Vec<u8> {
    let kind = Message::default().int(1, 1).int(2, 2);
    let start = Message::default().bytes(6, b"").bytes(6, b"cpu").bytes(6, b"nanoseconds").message(1, &kind);
    push(&[(labels("shop"), vec![build(start).0])])
}

fn value(values: &[i64]) -> Message {
    Message::default().packed(2, values.iter().copied())
}

#[test]
fn wrong_references_are_refused_with_their_place() {
    let location = |line: Message| Message::default().int(1, 1).message(4, &line);
    let function = |field, index| Message::default().int(1, 1).int(field, index);
    let label = |key, text| value(&[1]).message(3, &Message::default().int(1, key).int(2, text));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (pprof_with(|pprof| pprof.message(2, &value(&[1]).packed(1, [9].into_iter()))), "sample[0].location_id 9"),
        (pprof_with(|pprof| pprof.message(2, &value(&[1]).packed(1, [0].into_iter()))), "sample[0].location_id 0"),
        (pprof_with(|pprof| pprof.message(2, &value(&[1, 2]))), "sample[0] has 2 values for 1 sample types"),
        (pprof_with(|pprof| pprof.message(2, &Message::default())), "sample[0] has 0 values"),
        (
            pprof_with(|pprof| pprof.message(4, &location(Message::default().int(1, 7)))),
            "location[0].line[0].function_id 7",
        ),
        (pprof_with(|pprof| pprof.message(4, &Message::default().int(1, 1).int(2, 5))), "location[0].mapping_id 5"),
        (pprof_with(|pprof| pprof.message(5, &function(2, 99))), "function[0].name is string 99"),
        (pprof_with(|pprof| pprof.message(5, &function(4, -1))), "function[0].filename is string -1"),
        (pprof_with(|pprof| pprof.message(3, &function(6, i64::MAX))), "mapping[0].build_id is string"),
        (pprof_with(|pprof| pprof.message(2, &label(3, 1))), "sample[0].label.key is string 3"),
        (pprof_with(|pprof| pprof.message(2, &label(1, 3))), "sample[0].label.str is string 3"),
        (pprof_with(|pprof| pprof.message(1, &Message::default().int(1, 40))), "sample_type[1].type is string 40"),
        (pprof_with(|pprof| pprof.message(1, &Message::default().int(1, 1).int(2, 2))), "sample_type[1]"),
        (pprof_with(|pprof| pprof.message(11, &Message::default().int(2, 40))), "period_type.unit is string 40"),
        (
            pprof_with(|pprof| pprof.message(5, &function(2, 1)).message(5, &function(2, 1))),
            "function[1].id 1 is there twice",
        ),
        (pprof_with(|pprof| pprof.message(5, &Message::default().int(2, 1))), "function[0].id is 0"),
        (pprof_with(|pprof| pprof.int(2, 1)), "the pprof is corrupt: field 2 has the wrong wire type"),
        (pprof_with(|pprof| pprof.bytes(4, &[0x08])), "location[0] is corrupt"),
        (pprof_with(|pprof| pprof.bytes(2, &[0x0A, 0x05, 0x01])), "sample[0] is corrupt"),
        (
            push(&[(labels("shop"), vec![b"not a pprof".to_vec()])]),
            "series[0].samples[0].raw_profile: the pprof is corrupt",
        ),
        (push(&[(labels("shop"), vec![Message::default().message(2, &value(&[1])).0])]), "sample_type is missing"),
        (push(&[(labels("shop"), vec![b"\x1f\x8bnot gzip at all".to_vec()])]), "cannot be unpacked"),
        (b"not a push".to_vec(), "the request is not a push.v1 message"),
        (Message::default().bytes(1, &[0x0A, 0x7F]).0, "series[0] is not a push.v1 message"),
        (push(&[(vec![("service_name".into(), "x".into())], vec![])]), "__name__ is missing"),
    ];
    for (body, place) in cases {
        let error = decode(&body).map(|_| ()).expect_err(place);
        assert_eq!(error.code, Code::InvalidArgument, "{place}");
        assert!(error.message.contains(place), "{place} is not in: {}", error.message);
    }
}

#[test]
fn every_limit_is_enforced() {
    let defaults = Limits::default;
    let body = push_one(&Profile::cpu(&[("a;b;c", 1), ("a;b", 2)]));
    let cases = [
        (Limits { max_request_bytes: body.len() - 1, ..defaults() }, "the request holds more than"),
        (Limits { max_profile_bytes: 10, ..defaults() }, "the limit is 10; upload more often"),
        (Limits { max_samples: 1, ..defaults() }, "has 2 samples, the limit is 1"),
        (Limits { max_label_names: 1, ..defaults() }, "has 2 labels, the limit is 1"),
        (Limits { max_label_name_bytes: 8, ..defaults() }, "the limit is 8"),
        (Limits { max_label_value_bytes: 8, ..defaults() }, "the limit is 8"),
    ];
    for (limits, words) in cases {
        let error = decode_push(&body, Encoding::Identity, NOW_NS, &limits).expect_err(words);
        assert!(error.message.contains(words), "{words} is not in: {}", error.message);
    }
    let mut labelled = Profile::cpu(&[("a", 1)]);
    labelled.samples[0].labels = (0..3).map(|number| (format!("k{number}"), "v".to_owned())).collect();
    let error =
        decode_push(&push_one(&labelled), Encoding::Identity, NOW_NS, &Limits { max_sample_labels: 2, ..defaults() });
    assert!(error.unwrap_err().message.contains("has 3 labels, the limit is 2"));
}

#[test]
fn deep_stacks_keep_their_root_side() {
    let names: Vec<String> = (0..1500).map(|depth| format!("f{depth}")).collect();
    let batch = decode(&push_one(&Profile::cpu(&[(&names.join(";"), 1)]))).unwrap();
    assert_eq!(batch.truncated_stacks(), 1);
    let cut = decode(&push_one(&Profile::cpu(&[(&names[..1000].join(";"), 1)]))).unwrap();
    assert_eq!(cut.truncated_stacks(), 0);
    let encoder = Encoder::new(10_000);
    let block = encoder.encode("t", &[(&cut, &[0])]).unwrap().remove(0);
    encoder.committed(&block);
    let block = encoder.encode("t", &[(&batch, &[0])]).unwrap().remove(0);
    assert!(block.symbols.is_none(), "the cut stack is the same as the whole of its root side");
}

#[test]
fn times_outside_of_the_window_are_refused_and_zero_is_now() {
    let at = |time_ns| decode(&push_one(&Profile { time_ns, ..Profile::cpu(&[("a", 1)]) }));
    const HOUR: i64 = 3600 * 1_000_000_000;
    assert!(at(NOW_NS - 25 * HOUR).unwrap_err().message.contains("s old, the limit is 86400 s"));
    assert!(at(NOW_NS + HOUR).unwrap_err().message.contains("ahead of the server's clock, the limit is 600 s"));
    assert!(at(i64::MIN).is_err() && at(i64::MAX).is_err() && at(-1).is_err());
    assert!(at(NOW_NS - 23 * HOUR).is_ok());
    assert_eq!(at(0).unwrap().keys().next().unwrap().time_ns, NOW_NS);
}

#[test]
fn bombs_are_refused_early() {
    let bomb = gzip(&vec![0u8; 300 << 20]);
    assert!(bomb.len() < 1 << 20);
    let error = decode_push(&bomb, Encoding::Gzip, NOW_NS, &Limits::default()).unwrap_err();
    assert_eq!(error.code, Code::ResourceExhausted);
    assert!(error.message.contains("67108864 bytes"));
    let inner = decode(&push(&[(labels("shop"), vec![bomb])])).unwrap_err();
    assert_eq!(inner.code, Code::InvalidArgument);
    assert!(inner.message.contains("more than 4194304 bytes"), "{}", inner.message);
    // Each within its own limit, all together not.
    let small = gzip(&vec![0u8; 4 << 20]);
    let many = push(&[(labels("shop"), vec![small; 20])]);
    assert!(decode_push(&many, Encoding::Identity, NOW_NS, &Limits::default()).is_err());
}

#[test]
fn unfolding_by_inlining_is_bounded() {
    // 16,000 samples that each unfold into 1,000 distinct frames, out of less than 1 MB.
    let lines: Vec<String> = (0..999).map(|number| format!("i{number}")).collect();
    let long = lines.join("+");
    let samples = (0..16_000).map(|number| sample(&format!("root{};{long}", number % 200), 1)).collect();
    let body = push_one(&Profile { types: vec![CPU], period: CPU, time_ns: NOW_NS, samples });
    let error = decode(&body).unwrap_err();
    assert_eq!(error.code, Code::ResourceExhausted);
    assert!(error.message.contains("unfolds into more than"));
}

#[test]
fn ids_are_kept_and_absent_ones_are_random() {
    let profile = pprof(&Profile::cpu(&[("a", 1)]));
    let with_id = |id: &[u8]| {
        let sample = Message::default().bytes(1, &profile).bytes(2, id);
        let label = Message::default().bytes(1, b"__name__").bytes(2, b"process_cpu");
        let body = Message::default().message(1, &Message::default().message(1, &label).message(2, &sample)).0;
        decode(&body).unwrap().keys().next().unwrap().profile_id
    };
    let uuid = with_id(b"0f0e0d0c-0b0a-4908-8706-050403020100");
    assert_eq!(uuid[..4], [0x0F, 0x0E, 0x0D, 0x0C]);
    assert_eq!(uuid, with_id(b"0F0E0D0C-0B0A-4908-8706-050403020100"));
    assert_eq!(with_id(b"my own id"), with_id(b"my own id"));
    assert_ne!(with_id(b"my own id"), with_id(b"another id"));
    assert_ne!(with_id(b""), with_id(b""));
}

#[test]
fn every_truncation_is_refused_or_decoded() {
    let body = push_one(&Profile::cpu(&[("main;work;hash", 70), ("main;work+inlined", 20), ("", 3)]));
    for end in 0..body.len() {
        let _ = decode(&body[..end]);
    }
}

#[test]
fn random_damage_never_panics() {
    let mut labelled = Profile::cpu(&[("main;work;hash", 70), ("main;work+inlined", 20), ("", 3)]);
    labelled.samples[0].labels = vec![("route".into(), "/cart".into()), ("span_id".into(), "00000000000000aa".into())];
    let bodies = [push_one(&labelled), gzip(&push_one(&labelled))];
    let encoder = Encoder::new(1000);
    let mut random = Random::new(7);
    let mut decoded = 0;
    for round in 0..60_000 {
        let mut body = bodies[round % 2].clone();
        for _ in 0..1 + random.below(3) {
            let place = random.below(body.len() as u64) as usize;
            match random.below(4) {
                0 => body[place] ^= 1 << random.below(8),
                1 => body[place] = random.next() as u8,
                2 => body.truncate(place),
                _ => body.insert(place, [0xFF, 0x80, 0x00, 0x7F][random.below(4) as usize]),
            }
            if body.is_empty() {
                break;
            }
        }
        let encoding = [Encoding::Identity, Encoding::Identity, Encoding::Gzip, Encoding::Zstd][round % 4];
        if let Ok(batch) = decode_push(&body, encoding, NOW_NS, &Limits::default()) {
            decoded += 1;
            let all: Vec<usize> = (0..batch.len()).collect();
            for block in encoder.encode("t", &[(&batch, &all)]).unwrap() {
                encoder.committed(&block);
            }
        }
    }
    assert!(decoded > 1000, "the damage is so gentle that some bodies decode: {decoded}");
}

#[test]
fn extreme_values_do_not_overflow() {
    let batch = decode(&push_one(&Profile::cpu(&[("a;b", i64::MAX), ("a;b", i64::MAX), ("a", i64::MAX)]))).unwrap();
    let blocks = Encoder::new(10).encode("t", &[(&batch, &[0])]).unwrap();
    assert_eq!(blocks[0].rows, 2);
}

#[test]
fn damaged_blocks_are_errors_not_panics() {
    let stacks: Vec<(String, i64)> = (0..40).map(|n| (format!("main;f{};g{}", n % 7, n % 11), 1 + n)).collect();
    let borrowed: Vec<(&str, i64)> = stacks.iter().map(|(stack, value)| (stack.as_str(), *value)).collect();
    let batch = decode(&push_one(&Profile::cpu(&borrowed))).unwrap();
    let block = Encoder::new(1000).encode("t", &[(&batch, &[0])]).unwrap().remove(0);
    let series: Vec<i64> = block.series.iter().map(SeriesEntry::fingerprint).collect();
    let folder = std::env::temp_dir().join(format!("flamewire-damaged-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut random = Random::new(42);
    let mut refused = 0;
    for round in 0..6_000 {
        let (mut samples, mut symbols) = (block.samples.clone(), block.symbols.clone().unwrap());
        let target = if round % 2 == 0 { &mut samples } else { &mut symbols };
        for _ in 0..1 + random.below(4) {
            let place = random.below(target.len() as u64) as usize;
            target[place] = random.next() as u8;
        }
        let paths = [("samples", &samples), ("symbols", &symbols)].map(|(name, bytes)| {
            std::fs::write(folder.join(name), bytes).unwrap();
            folder.join(name).display().to_string()
        });
        let query = TreeQuery { series: &series, start_ns: i64::MIN, end_ns: i64::MAX, ..TreeQuery::default() };
        refused += u32::from(Reader::new(1000, 1 << 20, 2).tree("t", &paths[..1], &paths[1..], &query).is_err());
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(refused > 1_000, "the damage is so gentle that blocks are read: {refused} refused");
}
