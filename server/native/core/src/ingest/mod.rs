//! The bodies of `/ingest`: each format is one file here and one line in `decoder_of`.
//! Every one becomes a pprof, so that one parser validates them all. Source: protocol/spec/ingest.md.

mod folded;
pub mod otlp;
mod pprof;
mod repair;
mod speedscope;
mod tree;

use bytes::Bytes;

use crate::encoding::Encoding;
use crate::error::DecodeError;
use crate::intake::{Intake, PushedLabels};
use crate::labels::{Labels, NAME, SERVICE_NAME};
use crate::limits::Limits;
use crate::pprof::build::Builder;
use crate::push::Batch;

/// What the URL and headers of a request say.
#[derive(Clone, Debug, Default)]
pub struct Request<'a> {
    /// `format` of the query, empty where absent.
    pub format: &'a str,
    /// The whole Content-Type header.
    pub content_type: &'a str,
    /// The name of the application, without labels.
    pub app: &'a str,
    /// The labels behind the name, names unique.
    pub labels: &'a [(String, String)],
    /// When the profile began.
    pub from_ns: i64,
    /// The profiler that took it.
    pub spy_name: &'a str,
    /// Samples a second; 0 where samples are not to be turned into time.
    pub sample_rate_hz: u32,
    /// What the profile is known by; empty where it counts each time.
    pub id: &'a str,
    /// Whether `from_ns` wins over the time that a profile tells itself.
    pub is_time_given: bool,
}

type Decoder = fn(&mut Intake<'_>, &Request<'_>, &Bytes) -> Result<(), DecodeError>;

/// The decoder of a request: the format of the query wins over the Content-Type; without either it is folded text.
fn decoder_of(request: &Request<'_>) -> Result<Decoder, DecodeError> {
    Ok(match (request.format, request.content_type) {
        ("trie", _) | (_, "binary/octet-stream+trie") => tree::trie,
        ("tree", _) | (_, "binary/octet-stream+tree") => tree::tree,
        ("lines", _) => folded::lines,
        ("pprof", _) => pprof::raw,
        ("speedscope", _) => speedscope::decode,
        ("jfr", _) => {
            return Err(DecodeError::invalid(
                "JFR is not read by this version; let the Java agent send pprof or OTLP (PYROSCOPE_FORMAT=otlp)",
            ));
        }
        (_, content_type) if is_form(content_type) => pprof::form,
        _ => folded::groups,
    })
}

fn is_form(content_type: &str) -> bool {
    content_type.trim_start().to_ascii_lowercase().starts_with("multipart/form-data")
}

/// Decodes the body of one request.
pub fn decode(
    body: &[u8],
    encoding: Encoding,
    request: &Request<'_>,
    now_ns: i64,
    limits: &Limits,
) -> Result<Batch, DecodeError> {
    let decoder = decoder_of(request)?;
    let (mut intake, body) = Intake::open(body, encoding, now_ns, limits)?;
    decoder(&mut intake, request, &body)?;
    Ok(intake.finish())
}

/// The labels of a request's series: those behind the name, and what every profile of `/ingest` gets.
fn labels_of(request: &Request<'_>, family: &str, app: &str, limits: &Limits) -> Result<PushedLabels, DecodeError> {
    let own = request.labels.iter().filter(|(name, _)| !name.starts_with("__"));
    let mut labels: Labels = own.cloned().collect();
    // The application gives the service its name, unless the labels name one; then it still is a label.
    let app_label = if labels.iter().any(|(name, _)| name == SERVICE_NAME) { "app_name" } else { SERVICE_NAME };
    let added = [(NAME, family), ("__delta__", "false"), ("pyroscope_spy", request.spy_name), (app_label, app)];
    for (name, value) in added {
        if !labels.iter().any(|(taken, _)| taken == name) {
            labels.push((name.to_owned(), value.to_owned()));
        }
    }
    PushedLabels::new(labels, limits)
}

/// What a profile of stacks and counts is: told by what follows the last dot of the application's name.
struct Kind {
    family: &'static str,
    sample_type: (&'static str, &'static str),
    /// What each count is worth, with the period of the profile.
    period_ns: Option<i64>,
}

impl Kind {
    /// Tells the kind and takes its suffix off the name.
    fn of<'a>(request: &Request<'a>) -> Result<(Self, &'a str), DecodeError> {
        const COUNT: &str = "count";
        let (app, suffix) = request.app.rsplit_once('.').unwrap_or((request.app, "cpu"));
        let (family, sample_type): (_, (&'static str, &'static str)) = match suffix {
            "cpu" | "itimer" => ("process_cpu", ("samples", COUNT)),
            "wall" | "seconds" | "nanoseconds" | "microseconds" | "milliseconds" => ("wall", ("samples", COUNT)),
            "inuse_objects" => ("memory", ("inuse_objects", COUNT)),
            "inuse_space" => ("memory", ("inuse_space", "bytes")),
            "alloc_objects" => ("memory", ("alloc_objects", COUNT)),
            "alloc_space" => ("memory", ("alloc_space", "bytes")),
            "alloc_in_new_tlab_objects" => ("memory", ("alloc_in_new_tlab_objects", COUNT)),
            "alloc_in_new_tlab_bytes" => ("memory", ("alloc_in_new_tlab_bytes", "bytes")),
            "alloc_outside_tlab_objects" => ("memory", ("alloc_outside_tlab_objects", COUNT)),
            "alloc_outside_tlab_bytes" => ("memory", ("alloc_outside_tlab_bytes", "bytes")),
            "live" => ("memory", ("live", COUNT)),
            "bytes" => ("memory", ("samples", "bytes")),
            "goroutines" => ("goroutine", ("goroutines", COUNT)),
            "mutex_count" => ("mutex", ("contentions", COUNT)),
            "mutex_duration" => ("mutex", ("delay", "nanoseconds")),
            "block_count" | "lock_count" => ("block", ("contentions", COUNT)),
            "block_duration" | "lock_duration" => ("block", ("delay", "nanoseconds")),
            "exceptions" => ("exceptions", ("samples", COUNT)),
            _ => {
                let shown: String = suffix.chars().take(40).collect();
                return Err(DecodeError::invalid(format!(
                    "unknown profile type: {shown:?}, which follows the last dot of the name; end the name with one \
                     that exists, as \".cpu\", or send a pprof"
                )));
            }
        };
        let timed = matches!(family, "process_cpu" | "wall") && request.sample_rate_hz != 0;
        if !timed {
            return Ok((Self { family, sample_type, period_ns: None }, app));
        }
        let sample_type = (if family == "wall" { "wall" } else { "cpu" }, "nanoseconds");
        let period_ns = Some(1_000_000_000 / i64::from(request.sample_rate_hz));
        Ok((Self { family, sample_type, period_ns }, app))
    }
}

/// A profile of stacks and counts under construction.
struct Counted<'a> {
    builder: Builder<'a>,
    kind: Kind,
    labels: PushedLabels,
    id: &'a [u8],
}

impl<'a> Counted<'a> {
    fn new(request: &Request<'a>, limits: &'a Limits) -> Result<Self, DecodeError> {
        let (kind, app) = Kind::of(request)?;
        let labels = labels_of(request, kind.family, app, limits)?;
        let period = kind.period_ns.map(|period_ns| (("cpu", "nanoseconds"), period_ns));
        let builder = Builder::new(limits, &[kind.sample_type], period, request.from_ns);
        Ok(Self { builder, kind, labels, id: request.id.as_bytes() })
    }

    /// Adds the count of a stack of location ids, root first.
    fn add(&mut self, stack: &[u64], count: u64) -> Result<(), DecodeError> {
        let value = i64::try_from(count).ok().and_then(|count| count.checked_mul(self.kind.period_ns.unwrap_or(1)));
        let value = value.ok_or_else(|| {
            DecodeError::invalid(format!("the count {count} of a stack is too large; send what fits into 64 bits"))
        })?;
        self.builder.sample(stack, &[value], Vec::new())
    }

    fn finish(self, intake: &mut Intake<'_>) -> Result<(), DecodeError> {
        intake.add(&self.labels, &self.builder.finish(), self.id)
    }
}
