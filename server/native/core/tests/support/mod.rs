//! Makers of pushes and profiles, and a reader of flame graphs, independent of the code under test.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::io::Write;

pub const NOW_NS: i64 = 1_795_000_000_000_000_000; // 2026-11-18T11:06:40Z
pub const CPU: (&str, &str) = ("cpu", "nanoseconds");

/// A sample: stack of function names (leaf first), values, labels.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    pub stack: Vec<String>,
    pub values: Vec<i64>,
    pub labels: Vec<(String, String)>,
}

/// A profile to encode; lines and files are derived from the function names.
#[derive(Clone, Debug)]
pub struct Profile {
    pub types: Vec<(&'static str, &'static str)>,
    pub period: (&'static str, &'static str),
    pub time_ns: i64,
    pub samples: Vec<Sample>,
}

impl Profile {
    pub fn cpu(samples: &[(&str, i64)]) -> Self {
        let samples = samples.iter().map(|(stack, value)| sample(stack, *value)).collect();
        Self { types: vec![CPU], period: CPU, time_ns: NOW_NS, samples }
    }
}

/// A sample from a folded stack (root first, `;` between).
pub fn sample(folded: &str, value: i64) -> Sample {
    let stack = folded.split(';').filter(|name| !name.is_empty()).rev().map(str::to_owned).collect();
    Sample { stack, values: vec![value], labels: Vec::new() }
}

/// A protobuf message under construction.
#[derive(Clone, Default)]
pub struct Message(pub Vec<u8>);

impl Message {
    pub fn varint(mut self, value: u64) -> Self {
        let mut value = value;
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    pub fn int(self, field: u64, value: i64) -> Self {
        self.varint(field << 3).varint(value as u64)
    }

    pub fn bytes(self, field: u64, bytes: &[u8]) -> Self {
        let mut own = self.varint(field << 3 | 2).varint(bytes.len() as u64);
        own.0.extend_from_slice(bytes);
        own
    }

    pub fn message(self, field: u64, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }

    pub fn packed(self, field: u64, values: impl Iterator<Item = i64>) -> Self {
        let packed = values.fold(Self::default(), |packed, value| packed.varint(value as u64));
        self.message(field, &packed)
    }
}

#[derive(Default)]
struct Strings(Vec<String>);

impl Strings {
    fn number(&mut self, text: &str) -> i64 {
        if self.0.is_empty() {
            self.0.push(String::new());
        }
        if let Some(place) = self.0.iter().position(|other| other == text) {
            return place as i64;
        }
        self.0.push(text.to_owned());
        self.0.len() as i64 - 1
    }
}

/// Encodes a pprof. A name "a+b" in a stack is one location with the inlined lines a (innermost) and b.
pub fn pprof(profile: &Profile) -> Vec<u8> {
    let mut strings = Strings::default();
    strings.number("");
    let value_type = |strings: &mut Strings, (name, unit): (&str, &str)| {
        Message::default().int(1, strings.number(name)).int(2, strings.number(unit))
    };
    let mut out = Message::default();
    for kind in &profile.types {
        out = out.message(1, &value_type(&mut strings, *kind));
    }
    let mut locations: BTreeMap<String, i64> = BTreeMap::new();
    let mut functions: BTreeMap<String, i64> = BTreeMap::new();
    let mut tables = Message::default();
    for sample in &profile.samples {
        let mut ids = Vec::new();
        for name in &sample.stack {
            let next = locations.len() as i64 + 1;
            ids.push(*locations.entry(name.clone()).or_insert_with(|| {
                let mut location = Message::default().int(1, next);
                for line in name.split('+') {
                    let number = functions.len() as i64 + 1;
                    let function = *functions.entry(line.to_owned()).or_insert_with(|| {
                        let message = Message::default()
                            .int(1, number)
                            .int(2, strings.number(line))
                            .int(4, strings.number("app.py"))
                            .int(5, first_line(line));
                        tables = std::mem::take(&mut tables).message(5, &message);
                        number
                    });
                    location = location.message(4, &Message::default().int(1, function).int(2, first_line(line) + 7));
                }
                tables = std::mem::take(&mut tables).message(4, &location);
                next
            }));
        }
        let mut message = Message::default();
        if !ids.is_empty() {
            message = message.packed(1, ids.into_iter());
        }
        message = message.packed(2, sample.values.iter().copied());
        for (key, value) in &sample.labels {
            message = message.message(3, &Message::default().int(1, strings.number(key)).int(2, strings.number(value)));
        }
        out = out.message(2, &message);
    }
    out.0.extend(tables.0);
    let period = value_type(&mut strings, profile.period);
    for text in &strings.0 {
        out = out.bytes(6, text.as_bytes());
    }
    out.int(9, profile.time_ns).message(11, &period).int(12, 10_000_000).0
}

/// A function's line: the same in every profile.
fn first_line(function: &str) -> i64 {
    function.bytes().fold(1, |line, byte| (line * 31 + i64::from(byte)) % 997)
}

/// The labels that a sender must give.
pub fn labels(service: &str) -> Vec<(String, String)> {
    [("__name__", "process_cpu"), ("service_name", service)].map(|(name, value)| (name.into(), value.into())).into()
}

pub type PushSeries = (Vec<(String, String)>, Vec<Vec<u8>>);

/// Encodes a `PushRequest` without ids.
pub fn push(series: &[PushSeries]) -> Vec<u8> {
    let mut request = Message::default();
    for (labels, profiles) in series {
        let mut message = Message::default();
        for (name, value) in labels {
            message = message.message(1, &Message::default().bytes(1, name.as_bytes()).bytes(2, value.as_bytes()));
        }
        for profile in profiles {
            message = message.message(2, &Message::default().bytes(1, profile));
        }
        request = request.message(1, &message);
    }
    request.0
}

/// A push of one profile of service "shop".
pub fn push_one(profile: &Profile) -> Vec<u8> {
    push(&[(labels("shop"), vec![pprof(profile)])])
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A pseudo-random sequence; equal seeds give equal sequences.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A frame read back from a flame graph: its path from the root, total and self.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bar {
    pub path: Vec<String>,
    pub total: i64,
    pub own: i64,
}

/// Reads a binary `querier.v1.FlameGraph` back into frames (the root left out), checking that every frame lies within
/// its caller; returns them with total and `max_self`.
pub fn read_flamegraph(bytes: &[u8]) -> (Vec<Bar>, i64, i64) {
    let (mut names, mut levels, mut total, mut max_self) = (Vec::new(), Vec::new(), 0, 0);
    for (field, value) in fields(bytes) {
        match (field, value) {
            (1, Field::Bytes(name)) => names.push(String::from_utf8(name).unwrap()),
            (2, Field::Bytes(level)) => {
                let Field::Bytes(packed) = fields(&level).remove(0).1 else { panic!("values are packed") };
                levels.push(varints(&packed));
            }
            (3, Field::Int(value)) => total = value as i64,
            (4, Field::Int(value)) => max_self = value as i64,
            other => panic!("{:?}", other.0),
        }
    }
    let mut bars = Vec::new();
    let mut above: Vec<(i64, i64, Vec<String>)> = Vec::new();
    for (depth, level) in levels.iter().enumerate() {
        let mut row = Vec::new();
        let mut end = 0;
        for quadruple in level.chunks(4) {
            let [delta, total, own, name] = *quadruple else { panic!("not a quadruple") };
            assert!(delta >= 0 && total >= own && own >= 0);
            let start = end + delta;
            end = start + total;
            let name = names[usize::try_from(name).unwrap()].clone();
            let path = if depth == 0 {
                assert_eq!((name.as_str(), start), ("total", 0));
                Vec::new()
            } else {
                let caller = above.iter().find(|(from, to, _)| *from <= start && end <= *to && from < to).unwrap();
                let mut path = caller.2.clone();
                path.push(name);
                bars.push(Bar { path: path.clone(), total, own });
                path
            };
            row.push((start, end, path));
        }
        above = row;
    }
    (bars, total, max_self)
}

enum Field {
    Int(u64),
    Bytes(Vec<u8>),
}

fn take_varint(bytes: &[u8], place: &mut usize) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[*place];
        *place += 1;
        value |= u64::from(byte & 0x7F) << shift;
        shift += 7;
        if byte < 0x80 {
            return value;
        }
    }
}

fn varints(bytes: &[u8]) -> Vec<i64> {
    let (mut place, mut values) = (0, Vec::new());
    while place < bytes.len() {
        values.push(take_varint(bytes, &mut place) as i64);
    }
    values
}

fn fields(bytes: &[u8]) -> Vec<(u64, Field)> {
    let (mut place, mut found) = (0, Vec::new());
    while place < bytes.len() {
        let key = take_varint(bytes, &mut place);
        if key & 7 == 0 {
            found.push((key >> 3, Field::Int(take_varint(bytes, &mut place))));
        } else {
            let length = take_varint(bytes, &mut place) as usize;
            found.push((key >> 3, Field::Bytes(bytes[place..place + length].to_vec())));
            place += length;
        }
    }
    found
}

/// A pprof read back by its own encoder's rules.
pub struct ReadProfile {
    pub types: Vec<(String, String)>,
    pub time_ns: i64,
    pub samples: Vec<Sample>,
}

fn ints(message: &[u8]) -> BTreeMap<u64, i64> {
    fields(message)
        .into_iter()
        .filter_map(|(field, value)| if let Field::Int(value) = value { Some((field, value as i64)) } else { None })
        .collect()
}

fn parts(message: &[u8], wanted: u64) -> Vec<Vec<u8>> {
    fields(message)
        .into_iter()
        .filter_map(|(field, value)| match value {
            Field::Bytes(bytes) if field == wanted => Some(bytes),
            _ => None,
        })
        .collect()
}

/// Reads what `pprof` wrote.
pub fn read_pprof(bytes: &[u8]) -> ReadProfile {
    let strings: Vec<String> = parts(bytes, 6).into_iter().map(|text| String::from_utf8(text).unwrap()).collect();
    let text = |message: &[u8], field| strings[ints(message).get(&field).map_or(0, |index| *index as usize)].clone();
    let functions: BTreeMap<i64, String> =
        parts(bytes, 5).iter().map(|function| (ints(function)[&1], text(function, 2))).collect();
    let location = |message: &Vec<u8>| {
        let lines: Vec<&str> = parts(message, 4).iter().map(|line| functions[&ints(line)[&1]].as_str()).collect();
        (ints(message)[&1], lines.join("+"))
    };
    let locations: BTreeMap<i64, String> = parts(bytes, 4).iter().map(location).collect();
    let samples = parts(bytes, 2).into_iter().map(|sample| {
        let packed = |field| parts(&sample, field).first().map(|packed| varints(packed)).unwrap_or_default();
        let label = |message: &Vec<u8>| (text(message, 1), text(message, 2));
        Sample {
            stack: packed(1).iter().map(|id| locations[id].clone()).collect(),
            values: packed(2),
            labels: parts(&sample, 3).iter().map(label).collect(),
        }
    });
    ReadProfile {
        types: parts(bytes, 1).iter().map(|kind| (text(kind, 1), text(kind, 2))).collect(),
        time_ns: ints(bytes)[&9],
        samples: samples.collect(),
    }
}

/// One intact body of each format of `/ingest`: format, Content-Type, profiler, body.
pub fn ingest_bodies() -> Vec<(&'static str, &'static str, &'static str, Vec<u8>)> {
    let profile = pprof(&Profile::cpu(&[("main;work;hash", 70), ("main;work", 20)]));
    let tree = b"\x00\x00\x01\x04main\x00\x02\x04work\x02\x01\x04hash\x07\x00\x04idle\x01\x00".to_vec();
    let trie = b"\x00\x00\x01\x05main;\x00\x02\x05work;\x02\x01\x04hash\x07\x00\x04idle\x01\x00".to_vec();
    let config = br#"{"cpu":{"units":"samples","display-name":"cpu","sampled":true}}"#;
    let part = |name: &str, content: &[u8]| {
        let head = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        [head.as_bytes(), content, b"\r\n"].concat()
    };
    let form = [part("profile", &gzip(&profile)), part("sample_type_config", config), b"--b--\r\n".to_vec()].concat();
    let speedscope =
        br#"{"shared":{"frames":[{"name":"main","file":"a.js","line":3},{"name":"w\u00f6rk"}]},"profiles":[
        {"type":"sampled","unit":"milliseconds","samples":[[0],[0,1]],"weights":[1,2.5]},
        {"type":"evented","unit":"milliseconds","events":[{"type":"O","frame":0,"at":0},{"type":"O","frame":1,"at":2},
        {"type":"C","frame":1,"at":5},{"type":"C","frame":0,"at":5}]}]}"#;
    vec![
        ("groups", "", "", b"main;work 7\nmain;idle 2\n".to_vec()),
        ("lines", "", "", b"main;work\nmain;idle\nmain;work\n".to_vec()),
        ("tree", "", "", tree),
        ("trie", "", "", trie),
        ("pprof", "", "gospy", profile.clone()),
        ("pprof", "", "pyspy", profile.clone()),
        ("pprof", "", "dotnetspy", profile),
        ("", "multipart/form-data; boundary=b", "gospy", form),
        ("speedscope", "", "", speedscope.to_vec()),
    ]
}

/// An export of one profile of one service: a stack, and samples that name it as 1.
pub fn otlp_export(stack: &Message, samples: &[Message]) -> Vec<u8> {
    let mut dictionary = Message::default().bytes(1, b"").bytes(2, b"").bytes(3, b"").bytes(4, b"").bytes(6, b"");
    for text in ["", "samples", "count", "main", "app.py", "route", "/cart"] {
        dictionary = dictionary.bytes(5, text.as_bytes());
    }
    let attribute = Message::default().int(1, 5).message(2, &Message::default().bytes(1, b"/cart"));
    let link = Message::default().bytes(1, &[1; 16]).bytes(2, &[2; 8]);
    dictionary = dictionary
        .message(1, &Message::default().int(1, 4096).int(2, 8192).int(4, 4).packed(5, [1].into_iter()))
        .message(2, &Message::default().int(1, 1).int(2, 5000).message(3, &Message::default().int(1, 1).int(2, 7)))
        .message(3, &Message::default().int(1, 3).int(3, 4))
        .message(4, &link)
        .message(6, &attribute)
        .bytes(7, b"")
        .message(7, stack);
    let mut profile = Message::default().message(1, &Message::default().int(1, 1).int(2, 2));
    for sample in samples {
        profile = profile.message(2, sample);
    }
    profile = profile.varint(3 << 3 | 1);
    profile.0.extend(NOW_NS.to_le_bytes());
    let service = Message::default().bytes(1, b"service.name").message(2, &Message::default().bytes(1, b"shop"));
    let resource = Message::default()
        .message(1, &Message::default().message(1, &service))
        .message(2, &Message::default().message(2, &profile));
    Message::default().message(1, &resource).message(2, &dictionary).0
}

/// One intact export in each layout of OTLP profiles, and one in JSON: (whether it is JSON, body).
pub fn otlp_bodies() -> Vec<(bool, Vec<u8>)> {
    let one = |value: i64| [value].into_iter();
    let stack = Message::default().packed(1, [1, 1].into_iter());
    let second = [
        Message::default().int(1, 1).packed(2, one(7)).packed(3, one(1)).int(4, 1),
        Message::default().int(1, 1).packed(2, one(2)),
    ];
    let fourth = [
        Message::default().int(1, 1).packed(2, one(1)).int(3, 1).packed(4, one(7)),
        Message::default().int(1, 1).packed(4, one(2)),
    ];
    let times = [
        Message::default().int(1, 1).packed(2, one(1)).bytes(5, &[NOW_NS.to_le_bytes(), NOW_NS.to_le_bytes()].concat()),
        Message::default().int(1, 1).bytes(5, &NOW_NS.to_le_bytes()),
    ];
    let ranges = [
        Message::default().int(2, 1).packed(3, one(7)).packed(4, one(1)).int(5, 1),
        Message::default().int(1, 1).int(2, 1).packed(3, one(2)).packed(6, one(NOW_NS)),
    ];
    let mut profile = Message::default().message(1, &Message::default().int(1, 1).int(2, 2));
    for sample in &ranges {
        profile = profile.message(2, sample);
    }
    let profile = profile.packed(3, [0, 0].into_iter()).int(4, NOW_NS);
    let dictionary = Message::default()
        .message(1, &Message::default().int(4, 1))
        .message(2, &Message::default().message(3, &Message::default().int(2, 7)))
        .message(3, &Message::default().int(1, 1))
        .message(4, &Message::default().bytes(2, &[2; 8]))
        .message(4, &Message::default().bytes(2, &[3; 8]))
        .bytes(5, b"")
        .bytes(5, b"samples")
        .bytes(5, b"count")
        .message(6, &Message::default().bytes(1, b"a").message(2, &Message::default().bytes(1, b"b")))
        .message(6, &Message::default().bytes(1, b"c").message(2, &Message::default().bytes(1, b"d")));
    let scope = Message::default().message(2, &profile);
    let old = Message::default().message(1, &Message::default().message(2, &scope)).message(2, &dictionary).0;
    let json = format!(
        r#"{{"resourceProfiles":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"shop"}}}}]}},
        "scopeProfiles":[{{"profiles":[{{"sampleType":{{"typeStrindex":1}},"timeUnixNano":"{NOW_NS}","samples":[
        {{"stackIndex":1,"values":["7"],"linkIndex":1,"attributeIndices":[1]}},{{"stackIndex":1,"values":[2]}}]}}]}}]}}],
        "dictionary":{{"stringTable":["","m\u00e4in","k"],"functionTable":[{{}},{{"nameStrindex":1}}],"locationTable":
        [{{}},{{"lines":[{{"functionIndex":1,"line":"7"}}]}}],"stackTable":[{{}},{{"locationIndices":[1,1]}}],"linkTable":
        [{{}},{{"traceId":"000102030405060708090a0b0c0d0e0f","spanId":"0001020304050607"}}],"attributeTable":
        [{{}},{{"keyStrindex":2,"value":{{"boolValue":true}}}}]}}}}"#
    );
    vec![
        (false, otlp_export(&stack, &second)),
        (false, otlp_export(&stack, &fourth)),
        (false, otlp_export(&stack, &times)),
        (false, old),
        (true, json.into_bytes()),
    ]
}
