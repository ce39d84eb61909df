//! OTLP profiles in JSON, turned into protobuf of the newest layout: in JSON the fields have names, so that the layouts
//! of 1.8 to 1.11 are told apart by them. Source: the OTLP specification, "JSON Protobuf Encoding".

use crate::error::DecodeError;
use crate::json::{Json, Kind};
use crate::wire::{put_bytes, put_varint};

/// What a field holds. A list of any of these is a repeated field.
#[derive(Clone, Copy)]
enum Holds {
    Integer,
    Fixed64,
    Bool,
    Text,
    /// Bytes in hex digits, as OTLP writes ids, or in base64, as protobuf's own JSON does.
    Id,
    Message(&'static [Field]),
    /// A field of 1.7, which lays its samples out in another way.
    Refused,
}

/// A field: its name in JSON, its number, what it holds.
type Field = (&'static str, u32, Holds);

use Holds::{Bool, Fixed64, Id, Integer, Message, Refused, Text};

const REQUEST: &[Field] =
    &[("resourceProfiles", 1, Message(RESOURCE_PROFILES)), ("dictionary", 2, Message(DICTIONARY))];
const RESOURCE_PROFILES: &[Field] = &[
    ("resource", 1, Message(&[("attributes", 1, Message(KEY_VALUE))])),
    ("scopeProfiles", 2, Message(SCOPE_PROFILES)),
];
const SCOPE_PROFILES: &[Field] = &[
    ("scope", 1, Message(&[("name", 1, Text), ("version", 2, Text), ("attributes", 3, Message(KEY_VALUE))])),
    ("profiles", 2, Message(PROFILE)),
];
const PROFILE: &[Field] = &[
    ("sampleType", 1, Message(VALUE_TYPE)),
    ("samples", 2, Message(SAMPLE)),
    ("sample", 2, Message(SAMPLE)),
    ("timeUnixNano", 3, Fixed64),
    ("durationNano", 4, Integer),
    ("periodType", 5, Message(VALUE_TYPE)),
    ("period", 6, Integer),
    ("profileId", 7, Id),
    ("locationIndices", 0, Refused),
    ("timeNanos", 0, Refused),
];
const VALUE_TYPE: &[Field] =
    &[("typeStrindex", 1, Integer), ("unitStrindex", 2, Integer), ("aggregationTemporality", 3, Integer)];
const SAMPLE: &[Field] = &[
    ("stackIndex", 1, Integer),
    ("attributeIndices", 2, Integer),
    ("linkIndex", 3, Integer),
    ("values", 4, Integer),
    ("timestampsUnixNano", 5, Fixed64),
    ("locationsStartIndex", 0, Refused),
    ("locationsLength", 0, Refused),
];
const DICTIONARY: &[Field] = &[
    ("mappingTable", 1, Message(MAPPING)),
    ("locationTable", 2, Message(LOCATION)),
    ("functionTable", 3, Message(FUNCTION)),
    ("linkTable", 4, Message(&[("traceId", 1, Id), ("spanId", 2, Id)])),
    ("stringTable", 5, Text),
    ("attributeTable", 6, Message(&[("keyStrindex", 1, Integer), ("value", 2, Message(VALUE))])),
    ("stackTable", 7, Message(&[("locationIndices", 1, Integer)])),
];
const MAPPING: &[Field] = &[
    ("memoryStart", 1, Integer),
    ("memoryLimit", 2, Integer),
    ("fileOffset", 3, Integer),
    ("filenameStrindex", 4, Integer),
    ("attributeIndices", 5, Integer),
];
const LOCATION: &[Field] = &[
    ("mappingIndex", 1, Integer),
    ("address", 2, Integer),
    ("lines", 3, Message(LINE)),
    ("line", 3, Message(LINE)),
    ("attributeIndices", 4, Integer),
];
const LINE: &[Field] = &[("functionIndex", 1, Integer), ("line", 2, Integer)];
const FUNCTION: &[Field] = &[
    ("nameStrindex", 1, Integer),
    ("systemNameStrindex", 2, Integer),
    ("filenameStrindex", 3, Integer),
    ("startLine", 4, Integer),
];
const KEY_VALUE: &[Field] = &[("key", 1, Text), ("value", 2, Message(VALUE)), ("keyStrindex", 3, Integer)];
const VALUE: &[Field] =
    &[("stringValue", 1, Text), ("boolValue", 2, Bool), ("intValue", 3, Integer), ("stringValueStrindex", 8, Integer)];

/// Turns the text of a request into protobuf. The result is no longer than the text.
pub(super) fn to_protobuf(text: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let (mut json, mut out) = (Json::new(text), Vec::new());
    message(&mut json, REQUEST, &mut out)?;
    json.end()?;
    Ok(out)
}

fn message(json: &mut Json<'_>, fields: &[Field], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    json.object(|json, key| {
        let known = fields.iter().find(|(name, ..)| is_named(key, name));
        match known {
            Some(&(name, _, Refused)) => Err(json.wrong(&format!(
                "the field {name:?} is of OTLP profiles 1.7, which is read in protobuf only; send protobuf, or 1.8 and newer"
            ))),
            Some(&(_, number, holds)) if !json.null()? => field(json, number, holds, out),
            Some(_) => Ok(()),
            None => json.skip(),
        }
    })
}

/// Whether a key is a field's name, or the same in snake case, which protobuf's JSON takes too.
fn is_named(key: &str, name: &str) -> bool {
    let mut letters = key.bytes();
    let same = name.bytes().all(|wanted| match letters.next() {
        Some(b'_') => wanted.is_ascii_uppercase() && letters.next() == Some(wanted.to_ascii_lowercase()),
        got => got == Some(wanted),
    });
    same && letters.next().is_none()
}

fn field(json: &mut Json<'_>, number: u32, holds: Holds, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    if json.kind()? != Kind::Array {
        return element(json, number, holds, out);
    }
    match holds {
        Integer => {
            let mut packed = Vec::new();
            json.array(|json| json.integer().map(|value| put_varint(&mut packed, value as u64)))?;
            put_bytes(out, number, &packed);
        }
        Fixed64 => {
            let mut packed = Vec::new();
            json.array(|json| json.integer().map(|value| packed.extend_from_slice(&value.to_le_bytes())))?;
            put_bytes(out, number, &packed);
        }
        _ => json.array(|json| element(json, number, holds, out))?,
    }
    Ok(())
}

fn element(json: &mut Json<'_>, number: u32, holds: Holds, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    match holds {
        Integer => put_number(out, number, json.integer()? as u64),
        Bool => put_number(out, number, u64::from(json.bool()?)),
        Fixed64 => {
            put_varint(out, u64::from(number) << 3 | 1);
            out.extend_from_slice(&json.integer()?.to_le_bytes());
        }
        Text => put_bytes(out, number, json.string()?.as_bytes()),
        Id => {
            let text = json.string()?;
            let id = hex(&text).or_else(|| base64(&text)).ok_or_else(|| json.wrong("an id is not hex digits"))?;
            put_bytes(out, number, &id);
        }
        Message(fields) => {
            let mut inner = Vec::new();
            message(json, fields, &mut inner)?;
            put_bytes(out, number, &inner);
        }
        Refused => {}
    }
    Ok(())
}

fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, value);
}

/// The bytes of an id of 8 or 16 bytes, or of none, in hex.
fn hex(text: &str) -> Option<Vec<u8>> {
    if !matches!(text.len(), 0 | 16 | 32) {
        return None;
    }
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, _) = text.as_bytes().as_chunks::<2>();
    pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let (mut out, mut bits, mut held) = (Vec::new(), 0u32, 0u32);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        (bits, held) = (bits << 6 | u32::from(value), held + 6);
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    matches!(out.len(), 8 | 16).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_both_spellings() {
        assert!(is_named("timeUnixNano", "timeUnixNano") && is_named("time_unix_nano", "timeUnixNano"));
        assert!(!is_named("time_unix", "timeUnixNano") && !is_named("timeunixnano", "timeUnixNano"));
        assert!(!is_named("timeUnixNano_", "timeUnixNano") && !is_named("", "key"));
    }

    #[test]
    fn ids_are_read_from_hex_and_base64() {
        let want: Vec<u8> = (0..8).map(|byte| byte * 17).collect();
        assert_eq!(hex("0011223344556677"), Some(want.clone()));
        assert_eq!(base64("ABEiM0RVZnc="), Some(want));
        assert_eq!((hex("0011"), base64("0011"), hex("00112233445566zz")), (None, None, None));
    }

    #[test]
    fn a_request_becomes_protobuf() {
        let text = br#"{"resourceProfiles":[{"scopeProfiles":[{"profiles":[{"period":"7","unheardOf":{"a":[1]},
            "samples":[{"stackIndex":1,"values":["3",-1],"timestampsUnixNano":null}]}]}]}]}"#;
        let sample = [0x08, 1, 0x22, 11, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        let mut want = vec![0x30, 7];
        put_bytes(&mut want, 2, &sample);
        for number in [2, 2, 1] {
            let mut outer = Vec::new();
            put_bytes(&mut outer, number, &want);
            want = outer;
        }
        assert_eq!(to_protobuf(text).unwrap(), want);
        let old = br#"{"resourceProfiles":[{"scopeProfiles":[{"profiles":[{"locationIndices":[1]}]}]}]}"#;
        assert!(to_protobuf(old).unwrap_err().message.contains("1.7"));
    }
}
