//! pprof in `/ingest`: as the body, or as a part of a form with a description of its sample types.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;

use super::{Request, is_form, labels_of, repair};
use crate::error::DecodeError;
use crate::hash;
use crate::intake::{self, Intake};
use crate::json::{Json, Kind};
use crate::multipart;
use crate::pprof;

/// From a sample type to the name that its sender shows it by.
type DisplayNames<'a> = HashMap<Cow<'a, str>, Cow<'a, str>>;

/// A time in the first year of Unix is no time: some senders put a duration there.
const FIRST_YEAR_NS: i64 = 365 * 86_400 * 1_000_000_000;

pub(super) fn raw(intake: &mut Intake<'_>, request: &Request<'_>, body: &Bytes) -> Result<(), DecodeError> {
    // Older SDKs name the format and send a form all the same.
    if is_form(request.content_type) && body.starts_with(b"--") {
        return form(intake, request, body);
    }
    add(intake, request, body, body, &default_names())
}

pub(super) fn form(intake: &mut Intake<'_>, request: &Request<'_>, body: &Bytes) -> Result<(), DecodeError> {
    let (mut profile, mut names) = (None, default_names());
    for part in multipart::parts(body, request.content_type)? {
        match part.name.as_str() {
            "profile" => profile = Some(part.content),
            "sample_type_config" => {
                names = display_names(part.content).map_err(|error| error.at("sample_type_config"))?;
            }
            "prev_profile" if !part.content.is_empty() => {
                return Err(DecodeError::invalid(
                    "unsupported client version: it sends cumulative profiles with prev_profile; update the SDK",
                ));
            }
            _ => {}
        }
    }
    let profile = profile.ok_or_else(|| {
        DecodeError::invalid("the form has no part \"profile\"; send the pprof in it, or as the body with format=pprof")
    })?;
    add(intake, request, body, profile, &names)
}

fn add(
    intake: &mut Intake<'_>,
    request: &Request<'_>,
    body: &Bytes,
    raw: &[u8],
    names: &DisplayNames<'_>,
) -> Result<(), DecodeError> {
    let pprof = intake.uncompressed(body, raw, "the pprof")?;
    let pprof = repair::repair(pprof, request.spy_name)?;
    let mut profile = pprof::parse(&pprof, request.from_ns, intake.limits)?;
    if profile.sample_types.is_empty() {
        return Ok(()); // an empty profile: some senders send it when they start
    }
    if request.is_time_given || (0..FIRST_YEAR_NS).contains(&profile.time_ns) {
        profile.time_ns = request.from_ns;
    }
    let family = family(profile.sample_types.iter().map(|kind| kind.name.as_str()), names);
    let labels = labels_of(request, &family, request.app, intake.limits)?;
    let (content, id) = (hash::of_bytes(&pprof) as i64, intake::profile_id(request.id.as_bytes())?);
    intake.add_parsed(&labels, profile, content, id)
}

/// What the sample types of Go are shown by where the sender does not say.
fn default_names() -> DisplayNames<'static> {
    [("samples", "cpu"), ("contentions", "mutex_count"), ("delay", "mutex_duration")]
        .map(|(name, shown)| (name.into(), shown.into()))
        .into()
}

/// The family that sample types alone tell.
pub(super) fn family_of<'a>(types: impl Iterator<Item = &'a str> + Clone) -> String {
    family(types, &default_names())
}

fn display_names(config: &[u8]) -> Result<DisplayNames<'_>, DecodeError> {
    let mut names = DisplayNames::new();
    let mut json = Json::new(config);
    json.object(|json, sample_type| {
        if json.kind()? != Kind::Object {
            return json.skip();
        }
        let mut shown = None;
        json.object(|json, key| {
            if matches!(key, "display-name" | "displayName") && json.kind()? == Kind::String {
                shown = Some(json.string()?);
                return Ok(());
            }
            json.skip()
        })?;
        if let Some(shown) = shown.filter(|shown| !shown.is_empty()) {
            names.insert(Cow::Owned(sample_type.to_owned()), shown);
        }
        Ok(())
    })?;
    json.end()?;
    Ok(names)
}

/// The family of the profile type, told by the sample types: the wall clock first, then by what the names hold.
fn family<'a>(types: impl Iterator<Item = &'a str> + Clone, names: &DisplayNames<'_>) -> String {
    if types.clone().any(|name| name == "wall") {
        return "wall".to_owned();
    }
    let mut last = "";
    for name in types {
        let shown = names.get(name).map_or(name, |shown| shown.as_ref());
        let has = |part: &str| shown.contains(part);
        if has("cpu") {
            return "process_cpu".to_owned();
        }
        if has("alloc_") || has("inuse_") || has("space") || has("objects") {
            return "memory".to_owned();
        }
        if let Some(found) = ["mutex_", "block_"].into_iter().find(|part| has(part)) {
            return found.trim_end_matches('_').to_owned();
        }
        if has("goroutines") {
            return "goroutines".to_owned();
        }
        last = name;
    }
    last.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(types: &[&str], config: &str) -> String {
        let names = if config.is_empty() { default_names() } else { display_names(config.as_bytes()).unwrap() };
        family(types.iter().copied(), &names)
    }

    #[test]
    fn the_family_is_told_by_the_sample_types() {
        assert_eq!(told(&["samples", "cpu"], ""), "process_cpu");
        assert_eq!(told(&["samples", "wall", "cpu"], ""), "wall");
        assert_eq!(told(&["inuse_objects", "inuse_space"], ""), "memory");
        assert_eq!(told(&["objects"], ""), "memory");
        assert_eq!(told(&["contentions", "delay"], ""), "mutex");
        assert_eq!(told(&["goroutine"], ""), "goroutine");
        let block = r#"{"contentions":{"units":"lock_samples","display-name":"block_count"},"x":1}"#;
        assert_eq!(told(&["contentions", "delay"], block), "block");
        assert_eq!(told(&["goroutine"], r#"{"goroutine":{"display-name":"goroutines"}}"#), "goroutines");
    }
}
