//! Repairs of pprofs that known senders of `/ingest` encode in a way of their own; all others pass untouched.

use bytes::Bytes;

use crate::error::DecodeError;
use crate::wire::{Fields, Value, WireError, put_bytes, put_integer, put_varint};

/// Mends a pprof by the name of its profiler.
pub(super) fn repair(pprof: Bytes, spy_name: &str) -> Result<Bytes, DecodeError> {
    let mended = match spy_name {
        "pyspy" => with_files(&pprof, true),
        "rbspy" | "scripting" => with_files(&pprof, false),
        "dotnetspy" => for_dotnet(&pprof),
        _ => return Ok(pprof),
    };
    mended.map(Bytes::from).map_err(|wire| {
        DecodeError::invalid(format!("the pprof is corrupt: {wire}; encode it again (pprof, uncompressed or gzip)"))
    })
}

/// Puts the file of each function before its name, as these profilers' users know their frames.
fn with_files(pprof: &[u8], unless_absolute: bool) -> Result<Vec<u8>, WireError> {
    let mut strings: Vec<&[u8]> = Vec::new();
    each(pprof, |number, value| {
        if number == 6 {
            strings.push(value.bytes(number)?);
        }
        Ok(())
    })?;
    let text = |index: u64| usize::try_from(index).ok().and_then(|index| strings.get(index)).copied();
    let mut out = Vec::with_capacity(pprof.len() + pprof.len() / 4);
    let mut added: Vec<Vec<u8>> = Vec::new();
    each(pprof, |number, value| {
        let Value::Bytes(function) = value else {
            put(&mut out, number, value);
            return Ok(());
        };
        let (mut name, mut file) = (0, 0);
        if number == 5 {
            each(function, |number, value| {
                match number {
                    2 => name = value.integer(number)?,
                    4 => file = value.integer(number)?,
                    _ => {}
                }
                Ok(())
            })?;
        }
        match (text(name), text(file)) {
            (Some(name), Some(file))
                if number == 5 && !file.is_empty() && !(unless_absolute && file.starts_with(b"/")) =>
            {
                // The last of a scalar field's values counts.
                let mut function = function.to_vec();
                put_integer(&mut function, 2, (strings.len() + added.len()) as i64);
                put_bytes(&mut out, number, &function);
                added.push([file, b" ", name].concat());
            }
            _ => put_bytes(&mut out, number, function),
        }
        Ok(())
    })?;
    for string in &added {
        put_bytes(&mut out, 6, string);
    }
    Ok(out)
}

/// Gives functions that all have id 0 the ids 1, 2, ..., as their locations count them; `-` in types becomes `_`.
fn for_dotnet(pprof: &[u8]) -> Result<Vec<u8>, WireError> {
    let (mut has_ids, mut functions, mut locations) = (false, 0u64, 0u64);
    let mut types = Vec::new();
    each(pprof, |number, value| {
        match number {
            1 => each(value.bytes(number)?, |number, value| {
                if number == 1 {
                    types.push(value.integer(number)?);
                }
                Ok(())
            })?,
            4 => locations += 1,
            5 => {
                functions += 1;
                has_ids |= first_integer(value.bytes(number)?)? != 0;
            }
            _ => {}
        }
        Ok(())
    })?;
    let number_all = !has_ids && functions == locations;
    let mut out = Vec::with_capacity(pprof.len() + 16);
    let (mut function, mut location, mut string) = (0u64, 0u64, 0u64);
    each(pprof, |number, value| {
        match (number, value) {
            (5, Value::Bytes(message)) if number_all => {
                function += 1;
                let mut message = message.to_vec();
                put_integer(&mut message, 1, function as i64);
                put_bytes(&mut out, 5, &message);
            }
            (4, Value::Bytes(message)) if number_all => {
                location += 1;
                put_bytes(&mut out, 4, &with_function(message, location)?);
            }
            (6, Value::Bytes(text)) => {
                let mended: Vec<u8> = text.iter().map(|&byte| if byte == b'-' { b'_' } else { byte }).collect();
                put_bytes(&mut out, 6, if types.contains(&string) { &mended } else { text });
                string += 1;
            }
            _ => put(&mut out, number, value),
        }
        Ok(())
    })?;
    Ok(out)
}

fn with_function(location: &[u8], id: u64) -> Result<Vec<u8>, WireError> {
    let (mut out, mut first) = (Vec::with_capacity(location.len() + 4), true);
    each(location, |number, value| {
        match value {
            Value::Bytes(line) if number == 4 && std::mem::take(&mut first) => {
                let mut line = line.to_vec();
                put_integer(&mut line, 1, id as i64);
                put_bytes(&mut out, 4, &line);
            }
            _ => put(&mut out, number, value),
        }
        Ok(())
    })?;
    Ok(out)
}

fn first_integer(message: &[u8]) -> Result<u64, WireError> {
    let mut found = 0;
    each(message, |number, value| {
        if number == 1 {
            found = value.integer(number)?;
        }
        Ok(())
    })?;
    Ok(found)
}

fn put(out: &mut Vec<u8>, number: u32, value: Value<'_>) {
    match value {
        Value::Varint(integer) => {
            put_varint(out, u64::from(number) << 3);
            put_varint(out, integer);
        }
        Value::Bytes(bytes) => put_bytes(out, number, bytes),
        Value::Fixed64(_) | Value::Fixed32 => {} // a pprof has none
    }
}

fn each<'a>(message: &'a [u8], mut each: impl FnMut(u32, Value<'a>) -> Result<(), WireError>) -> Result<(), WireError> {
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        each(number, value)?;
    }
    Ok(())
}
