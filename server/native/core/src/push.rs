//! The push.v1.PushRequest decoder: everything of a request is valid, or the request is refused.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::DecodeError;
use crate::gzip::{self, GzipError};
use crate::hash;
use crate::labels::{self, Labels, Series};
use crate::limits::{Limits, MAX_PROFILES_PER_PUSH};
use crate::pprof::{self, Profile};
use crate::wire::{Fields, WireError};

/// What makes a pushed profile the same as an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Hash of the labels as pushed.
    pub series: i64,
    /// The UUID, or a hash of an id that is none, or random where there is no id.
    pub profile_id: [u8; 16],
    /// Hash of the uncompressed pprof.
    pub content: i64,
    /// When the profile was taken.
    pub time_ns: i64,
}

/// A profile with its series: that of label set `s` and sample type `t` is `series[s * types + t]`.
#[derive(Debug)]
pub(crate) struct PushedProfile {
    pub key: Key,
    pub profile: Profile,
    pub series: Vec<Arc<Series>>,
}

/// The decoded profiles of one push.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) profiles: Vec<PushedProfile>,
    decoded_bytes: usize,
}

impl Batch {
    /// Number of profiles.
    pub fn len(&self) -> usize {
        self.profiles.len()
    }

    /// Whether there is no profile.
    pub fn is_empty(&self) -> bool {
        self.profiles.is_empty()
    }

    /// Samples that will be stored.
    pub fn sample_count(&self) -> usize {
        self.profiles.iter().map(|pushed| pushed.profile.samples.len()).sum()
    }

    /// Samples left out because a value is negative or all are zero.
    pub fn dropped_samples(&self) -> usize {
        self.profiles.iter().map(|pushed| pushed.profile.dropped_samples).sum()
    }

    /// Samples that lost the leaf side of their stack.
    pub fn truncated_stacks(&self) -> usize {
        self.profiles.iter().map(|pushed| pushed.profile.truncated_stacks).sum()
    }

    /// Bytes after every gunzip.
    pub fn decoded_bytes(&self) -> usize {
        self.decoded_bytes
    }

    /// One key per profile, in push order.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.profiles.iter().map(|pushed| pushed.key)
    }
}

/// Decodes a push. `body` is copied only where it is not compressed.
pub fn decode_push(body: &[u8], gzip: bool, now_ns: i64, limits: &Limits) -> Result<Batch, DecodeError> {
    let limit = limits.max_request_bytes;
    let too_large = || {
        DecodeError::exhausted(format!(
            "the request holds more than {limit} bytes; split it, or raise the server's max_request_bytes"
        ))
    };
    let body = if gzip {
        gzip::gunzip(body, limit).map_err(|error| match error {
            GzipError::TooLarge => too_large(),
            GzipError::Corrupt(reason) => DecodeError::invalid(format!(
                "the request body cannot be gunzipped: {reason}; gzip the whole body or send no Content-Encoding"
            )),
        })?
    } else if body.len() > limit {
        return Err(too_large());
    } else {
        body.to_vec()
    };
    let mut decoder = PushDecoder { now_ns, limits, batch: Batch::default(), series: 0 };
    decoder.batch.decoded_bytes = body.len();
    decoder.request(&Bytes::from(body))?;
    Ok(decoder.batch)
}

struct PushDecoder<'a> {
    now_ns: i64,
    limits: &'a Limits,
    batch: Batch,
    series: usize,
}

fn corrupt(place: &str, wire: WireError) -> DecodeError {
    DecodeError::invalid(format!(
        "{place} is not a push.v1 message: {wire}; send application/proto as the Content-Type says"
    ))
}

impl PushDecoder<'_> {
    fn request(&mut self, body: &Bytes) -> Result<(), DecodeError> {
        let mut fields = Fields::new(body);
        let wrong = |wire| corrupt("the request", wire);
        while let Some((number, value)) = fields.next().map_err(wrong)? {
            if number == 1 {
                let place = format!("series[{}]", self.series);
                let message = value.bytes(number).map_err(wrong)?;
                self.read_series(body, message, &place)?;
                self.series += 1;
                self.check_count()?;
            }
        }
        Ok(())
    }

    fn check_count(&self) -> Result<(), DecodeError> {
        if self.series.max(self.batch.len()) > MAX_PROFILES_PER_PUSH {
            return Err(DecodeError::exhausted(format!(
                "the request has more than {MAX_PROFILES_PER_PUSH} profiles or series; split it"
            )));
        }
        Ok(())
    }

    fn read_series(&mut self, body: &Bytes, message: &[u8], place: &str) -> Result<(), DecodeError> {
        let wrong = |wire| corrupt(place, wire);
        let (mut labels, mut samples) = (Labels::new(), Vec::new());
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next().map_err(wrong)? {
            match number {
                1 => labels.push(read_label(value.bytes(number).map_err(wrong)?, place)?),
                2 => samples.push(value.bytes(number).map_err(wrong)?),
                _ => {}
            }
            if labels.len() > self.limits.max_label_names + MAX_SERVER_LABELS {
                return Err(DecodeError::invalid(format!(
                    "{place} has more than {} labels; send fewer tags",
                    self.limits.max_label_names
                )));
            }
        }
        let labels = labels::pushed(labels, self.limits).map_err(|error| error.at(place))?;
        let hash = hash::of_labels(labels.iter().map(|(name, value)| (name.as_str(), value.as_str()))) as i64;
        for (index, sample) in samples.into_iter().enumerate() {
            let place = format!("{place}.samples[{index}]");
            let pushed = self.read_sample(body, sample, &labels, hash, &place)?;
            self.batch.profiles.push(pushed);
            self.check_count()?;
        }
        Ok(())
    }

    fn read_sample(
        &mut self,
        body: &Bytes,
        message: &[u8],
        labels: &Labels,
        series_hash: i64,
        place: &str,
    ) -> Result<PushedProfile, DecodeError> {
        let wrong = |wire| corrupt(place, wire);
        let (mut raw, mut id): (&[u8], &[u8]) = (&[], &[]);
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next().map_err(wrong)? {
            match number {
                1 => raw = value.bytes(number).map_err(wrong)?,
                2 => id = value.bytes(number).map_err(wrong)?,
                _ => {}
            }
        }
        let at_profile = |error: DecodeError| error.at(&format!("{place}.raw_profile"));
        let pprof = self.uncompressed(body, raw).map_err(at_profile)?;
        let content = hash::of_bytes(&pprof) as i64;
        let profile = pprof::parse(&pprof, self.now_ns, self.limits).map_err(at_profile)?;
        self.check_time(profile.time_ns).map_err(at_profile)?;
        let series = split(&profile, labels, self.limits).map_err(at_profile)?;
        let key = Key { series: series_hash, profile_id: profile_id(id)?, content, time_ns: profile.time_ns };
        Ok(PushedProfile { key, profile, series })
    }

    fn uncompressed(&mut self, body: &Bytes, raw: &[u8]) -> Result<Bytes, DecodeError> {
        let limit = self.limits.max_profile_bytes;
        let too_large = |size: &str| {
            DecodeError::invalid(format!(
                "the pprof has {size} bytes, the limit is {limit}; upload more often, or raise max_profile_bytes"
            ))
        };
        if !gzip::is_gzip(raw) {
            return if raw.len() > limit { Err(too_large(&raw.len().to_string())) } else { Ok(body.slice_ref(raw)) };
        }
        // All profiles of a request together stay below max_request_bytes too: many small bombs are one large one.
        let left = self.limits.max_request_bytes.saturating_sub(self.batch.decoded_bytes);
        let pprof = gzip::gunzip(raw, limit.min(left)).map_err(|error| match error {
            GzipError::TooLarge if left < limit => DecodeError::exhausted(format!(
                "the request unfolds into more than {} bytes; split it",
                self.limits.max_request_bytes
            )),
            GzipError::TooLarge => too_large(&format!("more than {limit}")),
            GzipError::Corrupt(reason) => {
                DecodeError::invalid(format!("the pprof cannot be gunzipped: {reason}; encode it again"))
            }
        })?;
        self.batch.decoded_bytes += pprof.len();
        Ok(Bytes::from(pprof))
    }

    fn check_time(&self, time_ns: i64) -> Result<(), DecodeError> {
        let age = i128::from(self.now_ns) - i128::from(time_ns);
        if age > i128::from(self.limits.reject_older_than_ns) {
            return Err(DecodeError::invalid(format!(
                "time_nanos {time_ns} is {} s old, the limit is {} s; check the sender's clock and queue",
                age / 1_000_000_000,
                self.limits.reject_older_than_ns / 1_000_000_000
            )));
        }
        if -age > i128::from(self.limits.reject_newer_than_ns) {
            return Err(DecodeError::invalid(format!(
                "time_nanos {time_ns} is {} s ahead of the server's clock, the limit is {} s; set the sender's clock",
                -age / 1_000_000_000,
                self.limits.reject_newer_than_ns / 1_000_000_000
            )));
        }
        Ok(())
    }
}

/// Room for labels that are dropped before they are counted (derived and session labels, empty values).
const MAX_SERVER_LABELS: usize = 100;

fn read_label(message: &[u8], place: &str) -> Result<(String, String), DecodeError> {
    let wrong = |wire| corrupt(&format!("{place}.labels"), wire);
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec())
            .map_err(|_| DecodeError::invalid(format!("{place}.labels: a label is not UTF-8; encode it as UTF-8")))
    };
    let (mut name, mut value) = (String::new(), String::new());
    let mut fields = Fields::new(message);
    while let Some((number, part)) = fields.next().map_err(wrong)? {
        match number {
            1 => name = text(part.bytes(number).map_err(wrong)?)?,
            2 => value = text(part.bytes(number).map_err(wrong)?)?,
            _ => {}
        }
    }
    Ok((name, value))
}

/// Makes one series per label set of the samples and sample type of the profile.
fn split(profile: &Profile, pushed: &Labels, limits: &Limits) -> Result<Vec<Arc<Series>>, DecodeError> {
    let mut all = Vec::with_capacity(profile.label_sets.len() * profile.sample_types.len());
    for set in &profile.label_sets {
        let own =
            set.iter().map(|&(key, value)| (profile.string(key).into_owned(), profile.string(value).into_owned()));
        let labels = labels::with_sample_labels(pushed, own, limits)?;
        all.extend(
            profile.sample_types.iter().map(|kind| Arc::new(labels::series(&labels, kind, &profile.period_type))),
        );
    }
    Ok(all)
}

fn profile_id(id: &[u8]) -> Result<[u8; 16], DecodeError> {
    if id.is_empty() {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| {
            DecodeError::exhausted(format!("the server has no random numbers ({error}); send an ID"))
        })?;
        return Ok(random);
    }
    Ok(parse_uuid(id).unwrap_or_else(|| hash::id_of(id)))
}

fn parse_uuid(text: &[u8]) -> Option<[u8; 16]> {
    const HYPHENS: [usize; 4] = [8, 13, 18, 23];
    if text.len() != 36 {
        return None;
    }
    let mut number = 0u128;
    for (place, &byte) in text.iter().enumerate() {
        if HYPHENS.contains(&place) {
            if byte != b'-' {
                return None;
            }
        } else {
            number = number << 4 | u128::from(char::from(byte).to_digit(16)?);
        }
    }
    Some(number.to_be_bytes())
}
