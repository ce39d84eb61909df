//! Where every decoder ends: uncompressed pprofs with labels become the profiles of a batch.

use std::sync::Arc;

use bytes::Bytes;

use crate::encoding::{self, Encoding, UnpackError};
use crate::error::DecodeError;
use crate::hash;
use crate::labels::{self, Labels, Series};
use crate::limits::Limits;
use crate::pprof::{self, Profile};
use crate::push::{Batch, Key, PushedProfile};

/// One request on its way into a batch.
pub struct Intake<'a> {
    pub now_ns: i64,
    pub limits: &'a Limits,
    batch: Batch,
}

/// The pushed labels of a series, valid and sorted, with their hash.
pub struct PushedLabels {
    labels: Labels,
    hash: i64,
}

impl PushedLabels {
    pub fn new(labels: Labels, limits: &Limits) -> Result<Self, DecodeError> {
        let labels = labels::pushed(labels, limits)?;
        let hash = hash::of_labels(labels.iter().map(|(name, value)| (name.as_str(), value.as_str()))) as i64;
        Ok(Self { labels, hash })
    }
}

impl<'a> Intake<'a> {
    /// Takes a request's body apart from its compression. `body` is copied only where it is not compressed.
    pub fn open(
        body: &[u8],
        encoding: Encoding,
        now_ns: i64,
        limits: &'a Limits,
    ) -> Result<(Self, Bytes), DecodeError> {
        let body = encoding::unpack_body(body, encoding, limits.max_request_bytes)?;
        let batch = Batch { decoded_bytes: body.len(), ..Batch::default() };
        Ok((Self { now_ns, limits, batch }, Bytes::from(body)))
    }

    pub fn len(&self) -> usize {
        self.batch.len()
    }

    pub fn finish(self) -> Batch {
        self.batch
    }

    /// Counts a profile that is left out while others of the request are taken.
    pub fn reject(&mut self, reason: DecodeError) {
        self.batch.rejected += 1;
        self.batch.rejection.get_or_insert(reason.message);
    }

    /// Counts a pprof that was made from a part of the body: what a request unfolds into is bounded as what it unpacks
    /// into.
    pub fn made(&mut self, pprof: &Bytes) -> Result<(), DecodeError> {
        self.batch.decoded_bytes += pprof.len();
        if self.batch.decoded_bytes > self.limits.max_request_bytes.saturating_mul(2) {
            return Err(DecodeError::exhausted(format!(
                "the request unfolds into more than {} bytes; split it",
                self.limits.max_request_bytes
            )));
        }
        Ok(())
    }

    /// Returns a part of the body, unpacked where its magic says that it is gzip or zstd.
    ///
    /// `what` names the part in a refusal.
    pub fn uncompressed(&mut self, body: &Bytes, raw: &[u8], what: &str) -> Result<Bytes, DecodeError> {
        let limit = self.limits.max_profile_bytes;
        let too_large = |size: &str| {
            DecodeError::invalid(format!(
                "{what} has {size} bytes, the limit is {limit}; upload more often, or raise max_profile_bytes"
            ))
        };
        let encoding = Encoding::of_magic(raw);
        if encoding == Encoding::Identity {
            return if raw.len() > limit { Err(too_large(&raw.len().to_string())) } else { Ok(body.slice_ref(raw)) };
        }
        // All profiles of a request together stay below max_request_bytes too: many small bombs are one large one.
        let left = self.limits.max_request_bytes.saturating_sub(self.batch.decoded_bytes);
        let plain = encoding::unpack(raw, encoding, limit.min(left)).map_err(|error| match error {
            UnpackError::TooLarge if left < limit => DecodeError::exhausted(format!(
                "the request unfolds into more than {} bytes; split it",
                self.limits.max_request_bytes
            )),
            UnpackError::TooLarge => too_large(&format!("more than {limit}")),
            UnpackError::Corrupt(reason) => {
                DecodeError::invalid(format!("{what} cannot be unpacked: {reason}; encode it again"))
            }
        })?;
        self.batch.decoded_bytes += plain.len();
        Ok(Bytes::from(plain))
    }

    /// Adds a profile. Its id is a UUID, any other text, or empty: then it never is a duplicate.
    pub fn add(&mut self, labels: &PushedLabels, pprof: &Bytes, id: &[u8]) -> Result<(), DecodeError> {
        let made = self.parse(labels, pprof, profile_id(id)?)?;
        self.append(vec![made]);
        Ok(())
    }

    /// Parses a profile that is not in the batch yet.
    pub fn parse(
        &self,
        labels: &PushedLabels,
        pprof: &Bytes,
        profile_id: [u8; 16],
    ) -> Result<PushedProfile, DecodeError> {
        if pprof.len() > self.limits.max_profile_bytes {
            return Err(DecodeError::invalid(format!(
                "the profile has {} bytes as pprof, the limit is {}; upload more often, or raise max_profile_bytes",
                pprof.len(),
                self.limits.max_profile_bytes
            )));
        }
        let content = hash::of_bytes(pprof) as i64;
        self.pushed(labels, pprof::parse(pprof, self.now_ns, self.limits)?, content, profile_id)
    }

    /// Adds a profile that is parsed already.
    pub fn add_parsed(
        &mut self,
        labels: &PushedLabels,
        profile: Profile,
        content: i64,
        profile_id: [u8; 16],
    ) -> Result<(), DecodeError> {
        let made = self.pushed(labels, profile, content, profile_id)?;
        self.append(vec![made]);
        Ok(())
    }

    /// Adds profiles that `parse` made.
    pub fn append(&mut self, mut made: Vec<PushedProfile>) {
        self.batch.profiles.append(&mut made);
    }

    fn pushed(
        &self,
        labels: &PushedLabels,
        profile: Profile,
        content: i64,
        profile_id: [u8; 16],
    ) -> Result<PushedProfile, DecodeError> {
        self.check_time(profile.time_ns)?;
        let series = split(&profile, &labels.labels, self.limits)?;
        let key = Key { series: labels.hash, profile_id, content, time_ns: profile.time_ns };
        Ok(PushedProfile { key, profile, series })
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

/// The id of a profile: the UUID that the text spells, else a hash of it, else (no text) a random one.
pub fn profile_id(id: &[u8]) -> Result<[u8; 16], DecodeError> {
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
