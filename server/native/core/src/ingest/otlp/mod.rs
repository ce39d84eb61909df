//! OTLP profiles, `ExportProfilesServiceRequest`, in the layouts of versions 1.7 to 1.11 of the protocol.
//!
//! Every profile becomes a pprof for each service that its samples name. Source: protocol/spec/otlp.md.

mod convert;
mod dictionary;
mod json;
mod layout;

use std::borrow::Cow;

use bytes::Bytes;

use crate::encoding::Encoding;
use crate::error::{Code, DecodeError};
use crate::intake::Intake;
use crate::limits::{Limits, MAX_PROFILES_PER_PUSH};
use crate::push::Batch;
use crate::wire::{Fields, Value, WireError};
use dictionary::Dictionary;

/// A profile with what it belongs to; all are messages as they came.
#[derive(Clone, Copy, Debug)]
struct Scoped<'a> {
    resource: &'a [u8],
    scope: &'a [u8],
    profile: &'a [u8],
}

/// Decodes a request in protobuf, or in JSON. A profile that cannot be taken is left out and counted, unless none of the
/// request's can be.
pub fn decode(
    body: &[u8],
    encoding: Encoding,
    is_json: bool,
    now_ns: i64,
    limits: &Limits,
) -> Result<Batch, DecodeError> {
    let (mut intake, body) = Intake::open(body, encoding, now_ns, limits)?;
    let request = if is_json { Bytes::from(json::to_protobuf(&body)?) } else { body };
    let (profiles, dictionary) = read_request(&request)?;
    let layout = layout::of_request(&profiles, &dictionary, is_json)?;
    let mut reader = convert::Converter::new(&dictionary, layout, limits);
    let mut last = None;
    for profile in &profiles {
        match reader.add(*profile, &mut intake) {
            Ok(()) => {}
            // What the whole request costs is not the fault of one profile.
            Err(error) if error.code == Code::ResourceExhausted => return Err(error),
            Err(error) => {
                last = Some(error.clone());
                intake.reject(error);
            }
        }
    }
    let batch = intake.finish();
    match last {
        Some(error) if batch.rejected() == profiles.len() => Err(error),
        _ => Ok(batch),
    }
}

fn corrupt(place: &str, wire: WireError) -> DecodeError {
    DecodeError::invalid(format!(
        "{place} is not a message of OTLP profiles: {wire}; send an ExportProfilesServiceRequest as the Content-Type says"
    ))
}

/// Calls `each` with every field of a message.
fn each_field<'a>(
    message: &'a [u8],
    place: &str,
    mut each: impl FnMut(u32, Value<'a>) -> Result<(), WireError>,
) -> Result<(), DecodeError> {
    let mut fields = Fields::new(message);
    let mut run = || {
        while let Some((number, value)) = fields.next()? {
            each(number, value)?;
        }
        Ok(())
    };
    run().map_err(|wire| corrupt(place, wire))
}

fn read_request(request: &[u8]) -> Result<(Vec<Scoped<'_>>, Dictionary<'_>), DecodeError> {
    let (mut resources, mut dictionary) = (Vec::new(), None);
    each_field(request, "the request", |number, value| {
        match number {
            1 => resources.push(value.bytes(number)?),
            2 => dictionary = Some(value.bytes(number)?),
            _ => {}
        }
        Ok(())
    })?;
    let mut profiles = Vec::new();
    for (index, message) in resources.into_iter().enumerate() {
        read_resource(message, &format!("resource_profiles[{index}]"), &mut profiles)?;
    }
    if dictionary.is_none() && !profiles.is_empty() {
        return Err(DecodeError::invalid(
            "the request has no dictionary, so it is of OTLP 1.6 or older, which is not read here; update the sender to one \
             that speaks 1.8 or newer",
        ));
    }
    Ok((profiles, Dictionary::read(dictionary.unwrap_or_default())?))
}

fn read_resource<'a>(message: &'a [u8], place: &str, profiles: &mut Vec<Scoped<'a>>) -> Result<(), DecodeError> {
    let (mut resource, mut scopes): (&[u8], _) = (&[], Vec::new());
    each_field(message, place, |number, value| {
        match number {
            1 => resource = value.bytes(number)?,
            2 => scopes.push(value.bytes(number)?),
            _ => {}
        }
        Ok(())
    })?;
    for (index, message) in scopes.into_iter().enumerate() {
        let (mut scope, first): (&[u8], _) = (&[], profiles.len());
        each_field(message, &format!("{place}.scope_profiles[{index}]"), |number, value| {
            match number {
                1 => scope = value.bytes(number)?,
                2 => profiles.push(Scoped { resource, scope: &[], profile: value.bytes(number)? }),
                _ => {}
            }
            Ok(())
        })?;
        // The scope may stand behind its profiles.
        profiles.iter_mut().skip(first).for_each(|profile| profile.scope = scope);
        if profiles.len() > MAX_PROFILES_PER_PUSH {
            return Err(DecodeError::exhausted(format!(
                "the request has more than {MAX_PROFILES_PER_PUSH} profiles; split it"
            )));
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
