//! From an OTLP profile to pprofs, one for each service that its samples name.

use std::collections::HashMap;

use super::dictionary::{Dictionary, Plain, attributes_in};
use super::layout::{Layout, Sample};
use super::{Scoped, each_field, text};
use crate::error::DecodeError;
use crate::ingest::pprof::family_of;
use crate::intake::{Intake, PushedLabels};
use crate::labels::{Labels, NAME, SERVICE_NAME};
use crate::limits::{Limits, MAX_PROFILES_PER_PUSH};
use crate::pprof::build::Builder;
use crate::wire::{Value, WireError};

const SERVICE: &[u8] = b"service.name";
const UNKNOWN_SERVICE: &str = "unknown_service";
/// Value of a `ValueType`'s aggregation temporality, where it still has one.
const CUMULATIVE: u64 = 2;

pub(super) struct Converter<'a> {
    dictionary: &'a Dictionary<'a>,
    layout: Layout,
    limits: &'a Limits,
    /// Bytes of stacks read so far: a few samples may name one long stack again and again.
    walked: usize,
    sample: Sample,
    stack: Vec<u64>,
}

/// The head of a profile.
#[derive(Default)]
struct Head<'a> {
    types: Vec<&'a [u8]>,
    samples: Vec<&'a [u8]>,
    /// Before 1.8, what the ranges of samples are ranges of.
    locations: Vec<u64>,
    time_ns: u64,
    period_type: &'a [u8],
    period: i64,
    id: &'a [u8],
}

/// Types and values of a profile as they are stored.
struct Shape {
    types: Vec<(String, String)>,
    /// What each value is multiplied with.
    factors: Vec<i64>,
    period: Option<((String, String), i64)>,
    family: String,
}

/// The pprof of one service.
struct Target<'a> {
    service: Option<&'a [u8]>,
    builder: Builder<'a>,
    /// From an index of the location table to a location of the pprof.
    locations: HashMap<u64, u64>,
}

impl<'a> Converter<'a> {
    pub(super) fn new(dictionary: &'a Dictionary<'a>, layout: Layout, limits: &'a Limits) -> Self {
        Self { dictionary, layout, limits, walked: 0, sample: Sample::default(), stack: Vec::new() }
    }

    /// Adds a profile: all of it, or nothing.
    pub(super) fn add(&mut self, scoped: Scoped<'a>, intake: &mut Intake<'_>) -> Result<(), DecodeError> {
        let head = self.read_head(scoped.profile)?;
        let shape = self.shape(&head)?;
        let common = self.labels(scoped, &shape.family)?;
        PushedLabels::new(common.of_service(None), self.limits)?;
        let (mut time_ns, mut targets) = (head.time_ns, Vec::new());
        let filled = self.add_samples(&head, &shape, &mut time_ns, &mut targets);
        let mut pprofs = Vec::with_capacity(targets.len());
        for target in targets {
            let pprof = target.builder.finish_at(time_ns as i64);
            // What is refused in the end has cost its work too.
            intake.made(&pprof)?;
            pprofs.push((target.service, pprof));
        }
        filled?;
        let mut made = Vec::with_capacity(pprofs.len());
        for (service, pprof) in &pprofs {
            let labels = PushedLabels::new(common.of_service(*service), self.limits)?;
            made.push(intake.parse(&labels, pprof, id_of(head.id)?)?);
        }
        intake.append(made);
        Ok(())
    }

    fn add_samples(
        &mut self,
        head: &Head<'a>,
        shape: &Shape,
        time_ns: &mut u64,
        targets: &mut Vec<Target<'a>>,
    ) -> Result<(), DecodeError> {
        for message in &head.samples {
            self.sample.read(message, self.layout)?;
            if head.time_ns == 0 && self.sample.timestamps > 0 {
                let first_ns = self.sample.first_timestamp_ns;
                *time_ns = if *time_ns == 0 { first_ns } else { first_ns.min(*time_ns) };
            }
            self.add_sample(head, shape, targets)?;
        }
        Ok(())
    }

    fn read_head(&self, message: &'a [u8]) -> Result<Head<'a>, DecodeError> {
        let mut head = Head::default();
        let layout = self.layout;
        each_field(message, "a profile", |number, value| {
            match (layout, number, value) {
                (_, 1, value) => head.types.push(value.bytes(number)?),
                (_, 2, value) => head.samples.push(value.bytes(number)?),
                (Layout::Ranges, 3, value) => value.append_integers(number, &mut head.locations)?,
                (Layout::Ranges, 4, value) => head.time_ns = value.integer(number)?,
                (Layout::Ranges, 6, value) => head.period_type = value.bytes(number)?,
                (Layout::Ranges, 7, value) => head.period = value.integer(number)? as i64,
                (Layout::Ranges, 10, Value::Bytes(id)) | (Layout::ValuesSecond, 8, Value::Bytes(id)) => head.id = id,
                (Layout::Ranges, ..) => {}
                (_, 3, Value::Fixed64(time_ns)) => head.time_ns = time_ns,
                (_, 3, _) => return Err(WireError::Mismatch(number)),
                (_, 5, value) => head.period_type = value.bytes(number)?,
                (_, 6, value) => head.period = value.integer(number)? as i64,
                // 8 in 1.8, whose field 7 are comments; 7 since 1.9, whose field 8 is a count.
                (_, 7, Value::Bytes(id)) if head.id.is_empty() => head.id = id,
                _ => {}
            }
            Ok(())
        })?;
        if head.types.is_empty() && !head.samples.is_empty() {
            return Err(DecodeError::invalid("a profile has no sample_type; say what its values are"));
        }
        Ok(head)
    }

    fn value_type(&self, message: &[u8]) -> Result<(String, String), DecodeError> {
        let mut raw = [0u64; 4];
        each_field(message, "a value type", |number, value| {
            if let Some(slot) = raw.get_mut(number as usize) {
                *slot = value.integer(number)?;
            }
            Ok(())
        })?;
        let [_, name, unit, temporality] = raw;
        let name = text(self.dictionary.string(name)?).into_owned();
        if temporality == CUMULATIVE {
            return Err(DecodeError::invalid(format!(
                "the values of {name:?} are cumulative (aggregation_temporality 2); send what was added since the last export"
            )));
        }
        Ok((name, text(self.dictionary.string(unit)?).into_owned()))
    }

    /// Types, family and factors: a count of samples whose period is CPU time becomes CPU time.
    fn shape(&self, head: &Head<'_>) -> Result<Shape, DecodeError> {
        let mut types = head.types.iter().map(|kind| self.value_type(kind)).collect::<Result<Vec<_>, _>>()?;
        let mut factors = vec![1; types.len()];
        let period_type = self.value_type(head.period_type)?;
        let is = |kind: &(String, String), name: &str, unit: &str| kind.0 == name && kind.1 == unit;
        let mut family = None;
        for (kind, factor) in types.iter_mut().zip(&mut factors) {
            if head.period > 0 && is(kind, "samples", "count") && is(&period_type, "cpu", "nanoseconds") {
                (*kind, *factor) = (period_type.clone(), head.period);
                family = Some("process_cpu");
            } else if (head.period == 0 || period_type.0.is_empty()) && is(kind, "off_cpu", "nanoseconds") {
                family = Some("off_cpu");
            }
        }
        let family = match family {
            Some(family) => family.to_owned(),
            None if head.period != 0 && !period_type.0.is_empty() => period_type.0.clone(),
            None => family_of(types.iter().map(|(name, _)| name.as_str())),
        };
        let family: String =
            family.chars().map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' }).collect();
        let family = if family.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
            family
        } else {
            format!("_{family}")
        };
        let period = (!period_type.0.is_empty()).then_some((period_type, head.period));
        Ok(Shape { types, factors, period, family })
    }

    fn add_sample(&mut self, head: &Head<'a>, shape: &Shape, targets: &mut Vec<Target<'a>>) -> Result<(), DecodeError> {
        let values = self.values(shape)?;
        self.read_stack(head)?;
        let (mut service, mut labels) = (None, Vec::with_capacity(self.sample.attributes.len()));
        for &index in &self.sample.attributes {
            match self.dictionary.attribute(index)? {
                (SERVICE, Plain::Text(name)) if !name.is_empty() => service = Some(name),
                (key, Plain::Text(value)) => labels.push((key, value)),
                (key, Plain::Bool(value)) => labels.push((key, if value { b"true" as &[u8] } else { b"false" })),
                // A series of each thread id, CPU number or size would be one too many.
                _ => {}
            }
        }
        labels.sort_unstable();
        let target = self.target(service, shape, targets)?;
        let place = targets.get_mut(target).ok_or_else(|| DecodeError::invalid("a sample has no service"))?;
        let mut ids: Vec<(u64, u64)> =
            labels.into_iter().map(|(key, value)| (place.builder.string(key), place.builder.string(value))).collect();
        if self.sample.link != 0 {
            let (trace, span) = self.dictionary.link(self.sample.link)?;
            for (key, id) in [(b"span_id" as &[u8], span), (b"trace_id", trace)] {
                if !id.is_empty() {
                    ids.push((place.builder.string(key), place.builder.string(hex(id).as_bytes())));
                }
            }
        }
        for slot in &mut self.stack {
            *slot = if let Some(&known) = place.locations.get(slot) {
                known
            } else {
                let made = location(self.dictionary, self.layout, *slot, &mut place.builder)?;
                place.locations.insert(*slot, made);
                made
            };
        }
        place.builder.sample(&self.stack, &values, ids)
    }

    /// A sample's value of each type: its values summed, or the number of its timestamps.
    fn values(&self, shape: &Shape) -> Result<Vec<i64>, DecodeError> {
        let Sample { values, timestamps, .. } = &self.sample;
        let sums = match (values.len(), *timestamps) {
            (0, 0) => {
                return Err(DecodeError::invalid(
                    "a sample has neither values nor timestamps; send what was measured, or the sender's layout of OTLP \
                     profiles is another than 1.7 to 1.11",
                ));
            }
            (0, times) => vec![times as i64; shape.types.len()],
            (count, _) if self.layout == Layout::Ranges && count == shape.types.len() => values.clone(),
            (count, times) if shape.types.len() == 1 && (times == 0 || times == count) => {
                vec![values.iter().fold(0, |sum: i64, value| sum.saturating_add(*value))]
            }
            (count, times) => {
                return Err(DecodeError::invalid(format!(
                    "a sample has {count} values, {times} timestamps and {} types; send as many values as timestamps",
                    shape.types.len()
                )));
            }
        };
        let scaled = sums.iter().zip(&shape.factors).map(|(sum, factor)| sum.checked_mul(*factor)).collect();
        let scaled: Option<Vec<i64>> = scaled;
        scaled.ok_or_else(|| DecodeError::invalid("a sample's value times the period does not fit into 64 bits"))
    }

    /// Reads the stack of the sample, root first, and no more of it than is kept.
    fn read_stack(&mut self, head: &Head<'_>) -> Result<(), DecodeError> {
        self.stack.clear();
        if self.layout == Layout::Ranges {
            let range = usize::try_from(self.sample.stack).ok().zip(usize::try_from(self.sample.length).ok());
            let found = range.and_then(|(start, length)| head.locations.get(start..start.checked_add(length)?));
            self.stack.extend(found.ok_or_else(|| {
                DecodeError::invalid(format!(
                    "a sample's locations {}..+{} are not among the profile's {}",
                    self.sample.stack,
                    self.sample.length,
                    head.locations.len()
                ))
            })?);
            self.walked += self.stack.len();
        } else {
            let message = self.dictionary.stack(self.sample.stack)?;
            self.walked += message.len();
            each_field(message, "a stack", |number, value| match number {
                1 => value.append_integers(number, &mut self.stack),
                _ => Ok(()),
            })?;
        }
        if self.walked > self.limits.max_request_bytes {
            return Err(DecodeError::exhausted("the request has too many samples of deep stacks; split it"));
        }
        self.stack.reverse();
        self.stack.truncate(self.limits.max_stack_depth + 1);
        Ok(())
    }

    fn target(
        &self,
        service: Option<&'a [u8]>,
        shape: &Shape,
        targets: &mut Vec<Target<'a>>,
    ) -> Result<usize, DecodeError> {
        if let Some(known) = targets.iter().position(|target| target.service == service) {
            return Ok(known);
        }
        if targets.len() == MAX_SERVICES {
            return Err(DecodeError::invalid(format!(
                "the samples of a profile name more than {MAX_SERVICES} services; send a profile for each"
            )));
        }
        let types: Vec<(&str, &str)> = shape.types.iter().map(|(name, unit)| (name.as_str(), unit.as_str())).collect();
        let period = shape.period.as_ref().map(|((name, unit), period)| ((name.as_str(), unit.as_str()), *period));
        let builder = Builder::new(self.limits, &types, period, 0);
        targets.push(Target { service, builder, locations: HashMap::new() });
        Ok(targets.len() - 1)
    }

    /// The labels that all of a profile's series have: those of its resource, then those of its scope.
    fn labels(&self, scoped: Scoped<'a>, family: &str) -> Result<Common, DecodeError> {
        let mut common = Common { labels: Labels::new(), service: None, executable: None };
        for (name, value) in [(NAME, family), ("__delta__", "false"), ("__otel__", "true")] {
            common.labels.push((name.to_owned(), value.to_owned()));
        }
        let resource = attributes_in(scoped.resource, 1)?;
        let from_resource = resource.len();
        for (place, message) in resource.into_iter().chain(attributes_in(scoped.scope, 3)?).enumerate() {
            let (key, value) = self.dictionary.key_value(message)?;
            let (key, value) = match value {
                Plain::Text(value) => (text(key), text(value).into_owned()),
                Plain::Bool(value) => (text(key), value.to_string()),
                Plain::Integer(value) => (text(key), value.to_string()),
                Plain::Other => continue,
            };
            if place < from_resource && key == "service.name" && !value.is_empty() {
                common.service.get_or_insert(value.clone());
            }
            if place < from_resource && key == "process.executable.name" && !value.is_empty() {
                common.executable.get_or_insert(value.clone());
            }
            let taken = key.is_empty() || key.starts_with("__") || key == SERVICE_NAME;
            if !taken && !common.labels.iter().any(|(name, _)| *name == key) {
                common.labels.push((key.into_owned(), value));
            }
            if common.labels.len() > MAX_PROFILES_PER_PUSH {
                return Err(DecodeError::invalid("a resource has too many attributes; send fewer"));
            }
        }
        Ok(common)
    }
}

/// Services that the samples of one profile may name.
const MAX_SERVICES: usize = 256;

struct Common {
    labels: Labels,
    service: Option<String>,
    executable: Option<String>,
}

impl Common {
    fn of_service(&self, own: Option<&[u8]>) -> Labels {
        let service = match (own, &self.service, &self.executable) {
            (Some(own), ..) => text(own).into_owned(),
            (_, Some(service), _) => service.clone(),
            (_, _, Some(executable)) => format!("{UNKNOWN_SERVICE}:{executable}"),
            _ => UNKNOWN_SERVICE.to_owned(),
        };
        let mut labels = self.labels.clone();
        labels.push((SERVICE_NAME.to_owned(), service));
        labels
    }
}

/// Adds a location of the dictionary to a pprof; gives its id there.
fn location(
    dictionary: &Dictionary<'_>,
    layout: Layout,
    index: u64,
    builder: &mut Builder<'_>,
) -> Result<u64, DecodeError> {
    let (mut mapping, mut address, mut lines, mut attributes) = (None, 0, Vec::new(), Vec::new());
    let attributes_field = if layout == Layout::Ranges { 5 } else { 4 };
    each_field(dictionary.location(index)?, "a location", |number, value| {
        match number {
            1 => mapping = Some(value.integer(number)?),
            2 => address = value.integer(number)?,
            3 => {
                let (mut function, mut line) = (0, 0);
                let mut fields = crate::wire::Fields::new(value.bytes(number)?);
                while let Some((number, value)) = fields.next()? {
                    match number {
                        1 => function = value.integer(number)?,
                        2 => line = value.integer(number)? as i64,
                        _ => {}
                    }
                }
                lines.push((function, line));
            }
            number if number == attributes_field => value.append_integers(number, &mut attributes)?,
            _ => {}
        }
        Ok(())
    })?;
    let mut kernel = false;
    dictionary.texts(&attributes, |key, value| kernel |= key == b"profile.frame.type" && value == b"kernel")?;
    // Since 1.8 mapping 0 and function 0 are none; before, they were the first.
    let has_none = layout != Layout::Ranges;
    let mapping = match mapping {
        Some(index) if !(has_none && index == 0) => {
            let found = dictionary.mapping(index)?;
            let filename = match (kernel, found.filename) {
                (true, b"") => b"[kernel]".to_vec(),
                (true, name) if !name.starts_with(b"[kernel]") => [b"[kernel] ", name].concat(),
                (_, name) => name.to_vec(),
            };
            builder.mapping(found.start, found.limit, found.offset, &filename, found.build_id)
        }
        _ if kernel => builder.mapping(0, 0, 0, b"[kernel]", b""),
        _ => 0,
    };
    for (function, _) in &mut lines {
        *function = if has_none && *function == 0 {
            0
        } else {
            let found = dictionary.function(*function)?;
            builder.function(found.name, found.system_name, found.filename, found.start_line)
        };
    }
    Ok(builder.location(mapping, address, &lines))
}

/// The id that a profile is known by. Sixteen bytes that are not all zero are one; else each sending is another.
fn id_of(id: &[u8]) -> Result<[u8; 16], DecodeError> {
    match <[u8; 16]>::try_from(id) {
        Ok(id) if id != [0; 16] => Ok(id),
        _ => crate::intake::profile_id(b""),
    }
}

fn hex(id: &[u8]) -> String {
    use std::fmt::Write;
    id.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
