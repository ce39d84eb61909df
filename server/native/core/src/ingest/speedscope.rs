//! speedscope files: frames shared by profiles that are `sampled` (stacks with weights) or `evented` (opens and closes).
//! Source: <https://www.speedscope.app/file-format-schema.json>

use bytes::Bytes;

use super::{Request, labels_of};
use crate::error::DecodeError;
use crate::intake::Intake;
use crate::json::{Json, Kind};
use crate::limits::{Limits, MAX_FRAMES_PER_PROFILE, MAX_PROFILES_PER_PUSH};
use crate::pprof::build::Builder;

/// What a unit of the file is here: name of the family and sample type, unit, and the factor to it.
fn unit_of(unit: &str) -> (&'static str, &'static str, f64) {
    match unit {
        "nanoseconds" => ("wall", "nanoseconds", 1.0),
        "microseconds" => ("wall", "nanoseconds", 1e3),
        "milliseconds" => ("wall", "nanoseconds", 1e6),
        "seconds" => ("wall", "nanoseconds", 1e9),
        "bytes" => ("memory", "bytes", 1.0),
        _ => ("samples", "count", 1.0),
    }
}

/// A frame: name, file, line.
type Frame = (String, String, i64);

pub(super) fn decode(intake: &mut Intake<'_>, request: &Request<'_>, body: &Bytes) -> Result<(), DecodeError> {
    let limits = intake.limits;
    // The frames may follow the profiles that use them, so the text is read twice.
    let mut frames = Vec::new();
    read_top(body, "shared", |json| {
        json.object(|json, key| if key == "frames" { read_frames(json, &mut frames, limits) } else { json.skip() })
    })?;
    let mut profiles = Vec::new();
    read_top(body, "profiles", |json| {
        json.array(|json| {
            let start = json.mark();
            let mut unit = String::new();
            json.object(|json, key| match key {
                "unit" if json.kind()? == Kind::String => json.string().map(|text| unit = text.into_owned()),
                _ => json.skip(),
            })?;
            profiles.push((start, unit));
            if profiles.len() > MAX_PROFILES_PER_PUSH {
                return Err(json.wrong("it has too many profiles"));
            }
            Ok(())
        })
    })?;
    if profiles.is_empty() {
        return Err(DecodeError::invalid("the speedscope file has no \"profiles\"; export it again"));
    }
    // One profile for each unit: threads of one process are one profile.
    let mut units: Vec<&str> = profiles.iter().map(|(_, unit)| unit.as_str()).collect();
    units.sort_unstable();
    units.dedup();
    for wanted in units {
        let (name, unit, factor) = unit_of(wanted);
        let sample_type = if name == "memory" { "samples" } else { name };
        let mut builder = Builder::new(limits, &[(sample_type, unit)], None, request.from_ns);
        let locations: Vec<u64> = frames
            .iter()
            .map(|(name, file, line)| {
                let function = builder.function(name.as_bytes(), b"", file.as_bytes(), 0);
                builder.location(0, 0, &[(function, *line)])
            })
            .collect();
        let mut reader = Reader { builder, locations: &locations, factor };
        for (start, _) in profiles.iter().filter(|(_, unit)| unit == wanted) {
            reader.profile(&mut Json::at(body, *start))?;
        }
        let labels = labels_of(request, name, request.app, limits)?;
        intake.add(&labels, &reader.builder.finish(), request.id.as_bytes())?;
    }
    Ok(())
}

fn read_top(
    body: &[u8],
    wanted: &str,
    mut read: impl FnMut(&mut Json<'_>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut json = Json::new(body);
    json.object(|json, key| if key == wanted { read(json) } else { json.skip() })?;
    json.end()
}

fn read_frames(json: &mut Json<'_>, frames: &mut Vec<Frame>, limits: &Limits) -> Result<(), DecodeError> {
    let mut held = 0;
    json.array(|json| {
        let mut frame = Frame::default();
        json.object(|json, key| match (key, json.kind()?) {
            ("name", Kind::String) => json.string().map(|text| frame.0 = text.into_owned()),
            ("file", Kind::String) => json.string().map(|text| frame.1 = text.into_owned()),
            ("line", Kind::Number) => json.number().map(|line| frame.2 = line as i64),
            _ => json.skip(),
        })?;
        // An empty frame `{}` is three bytes of text and many more here.
        held += size_of::<Frame>() + frame.0.len() + frame.1.len();
        if held > limits.max_request_bytes {
            return Err(DecodeError::exhausted("the speedscope file has too many frames; split it"));
        }
        frames.push(frame);
        Ok(())
    })
}

struct Reader<'a> {
    builder: Builder<'a>,
    locations: &'a [u64],
    factor: f64,
}

impl Reader<'_> {
    fn profile(&mut self, json: &mut Json<'_>) -> Result<(), DecodeError> {
        let (mut samples, mut weights, mut events) = (None, None, None);
        json.object(|json, key| {
            let place = match key {
                "samples" => &mut samples,
                "weights" => &mut weights,
                "events" => &mut events,
                _ => return json.skip(),
            };
            *place = Some(json.mark());
            json.skip()
        })?;
        match (samples, weights, events) {
            (Some(samples), Some(weights), _) => self.sampled(&mut json.back_to(samples), &mut json.back_to(weights)),
            (_, _, Some(events)) => self.evented(&mut json.back_to(events)),
            _ => Err(json.wrong("a profile has neither \"samples\" with \"weights\" nor \"events\"")),
        }
    }

    fn location(&self, json: &mut Json<'_>) -> Result<u64, DecodeError> {
        let index = json.integer()?;
        let location = usize::try_from(index).ok().and_then(|index| self.locations.get(index));
        location.copied().ok_or_else(|| {
            json.wrong(&format!("frame {index} is not one of the {} shared frames", self.locations.len()))
        })
    }

    fn add(&mut self, json: &Json<'_>, stack: &[u64], weight: f64) -> Result<(), DecodeError> {
        let value = (weight * self.factor).round();
        if !(0.0..9.2e18).contains(&value) {
            return Err(json.wrong(&format!("the weight {weight} is negative or too large")));
        }
        if value == 0.0 { Ok(()) } else { self.builder.sample(stack, &[value as i64], Vec::new()) }
    }

    fn sampled(&mut self, samples: &mut Json<'_>, weights: &mut Json<'_>) -> Result<(), DecodeError> {
        let mut all = Vec::new();
        weights.array(|json| {
            all.push(json.number()?);
            if all.len() > MAX_FRAMES_PER_PROFILE { Err(json.wrong("there are too many weights")) } else { Ok(()) }
        })?;
        let mut all = all.into_iter();
        let mut stack = Vec::new();
        samples.array(|json| {
            stack.clear();
            json.array(|json| {
                stack.push(self.location(json)?);
                if stack.len() > MAX_FRAMES_PER_PROFILE { Err(json.wrong("a stack is too deep")) } else { Ok(()) }
            })?;
            let weight = all.next().ok_or_else(|| json.wrong("there are more samples than weights"))?;
            self.add(json, &stack, weight)
        })?;
        if all.next().is_some() {
            return Err(samples.wrong("there are more weights than samples"));
        }
        Ok(())
    }

    fn evented(&mut self, events: &mut Json<'_>) -> Result<(), DecodeError> {
        let (mut stack, mut last): (Vec<u64>, Option<f64>) = (Vec::new(), None);
        events.array(|json| {
            let (mut kind, mut frame, mut at) = (String::new(), None, None);
            json.object(|json, key| match key {
                "type" => json.string().map(|text| kind = text.into_owned()),
                "frame" => self.location(json).map(|location| frame = Some(location)),
                "at" => json.number().map(|number| at = Some(number)),
                _ => json.skip(),
            })?;
            let (Some(frame), Some(at)) = (frame, at) else {
                return Err(json.wrong("an event lacks its \"frame\" or \"at\""));
            };
            let elapsed = last.map_or(0.0, |last| at - last);
            if !stack.is_empty() || elapsed < 0.0 {
                self.add(json, &stack, elapsed)?;
            }
            last = Some(at);
            match kind.as_str() {
                "O" => stack.push(frame),
                "C" if stack.last() == Some(&frame) => drop(stack.pop()),
                "C" => return Err(json.wrong("a frame is closed that is not the innermost open one")),
                _ => return Err(json.wrong("the type of an event is neither \"O\" nor \"C\"")),
            }
            Ok(())
        })
    }
}
