//! The push.v1.PushRequest decoder: everything of a request is valid, or the request is refused.

use std::sync::Arc;

use bytes::Bytes;

use crate::encoding::Encoding;
use crate::error::DecodeError;
use crate::intake::{Intake, PushedLabels};
use crate::labels::{Labels, Series};
use crate::limits::{Limits, MAX_PROFILES_PER_PUSH};
use crate::pprof::Profile;
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
    pub(crate) decoded_bytes: usize,
    pub(crate) rejected: usize,
    pub(crate) rejection: Option<String>,
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

    /// Profiles that were left out of a request whose other profiles are taken.
    pub fn rejected(&self) -> usize {
        self.rejected
    }

    /// Why the first of them was left out.
    pub fn rejection(&self) -> Option<&str> {
        self.rejection.as_deref()
    }

    /// Bytes after everything is unpacked.
    pub fn decoded_bytes(&self) -> usize {
        self.decoded_bytes
    }

    /// One key per profile, in push order.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.profiles.iter().map(|pushed| pushed.key)
    }
}

/// Decodes a push. `body` is copied only where it is not compressed.
pub fn decode_push(body: &[u8], encoding: Encoding, now_ns: i64, limits: &Limits) -> Result<Batch, DecodeError> {
    let (intake, body) = Intake::open(body, encoding, now_ns, limits)?;
    let mut decoder = PushDecoder { intake, series: 0 };
    decoder.request(&body)?;
    Ok(decoder.intake.finish())
}

struct PushDecoder<'a> {
    intake: Intake<'a>,
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
        if self.series.max(self.intake.len()) > MAX_PROFILES_PER_PUSH {
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
            if labels.len() > self.intake.limits.max_label_names + MAX_SERVER_LABELS {
                return Err(DecodeError::invalid(format!(
                    "{place} has more than {} labels; send fewer tags",
                    self.intake.limits.max_label_names
                )));
            }
        }
        let labels = PushedLabels::new(labels, self.intake.limits).map_err(|error| error.at(place))?;
        for (index, sample) in samples.into_iter().enumerate() {
            self.read_sample(body, sample, &labels, &format!("{place}.samples[{index}]"))?;
            self.check_count()?;
        }
        Ok(())
    }

    fn read_sample(
        &mut self,
        body: &Bytes,
        message: &[u8],
        labels: &PushedLabels,
        place: &str,
    ) -> Result<(), DecodeError> {
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
        let pprof = self.intake.uncompressed(body, raw, "the pprof").map_err(at_profile)?;
        self.intake.add(labels, &pprof, id).map_err(at_profile)
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
