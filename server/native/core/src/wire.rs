//! A bounds-checked, copy-free reader of protobuf's wire format.
//! Source: <https://protobuf.dev/programming-guides/encoding/>

use std::fmt;

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The bytes end inside a field.
    Truncated,
    /// A varint has more than 10 bytes or more than 64 bits.
    VarintTooLong,
    /// A field has number 0 or one above 2^29 - 1.
    FieldNumber(u64),
    /// A group, or a wire type that does not exist.
    WireType(u8),
    /// A known field has another wire type than its schema says.
    Mismatch(u32),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the message ends in the middle of a field"),
            Self::VarintTooLong => f.write_str("a varint is longer than 64 bits"),
            Self::FieldNumber(number) => write!(f, "field number {number} does not exist"),
            Self::WireType(wire_type) => write!(f, "wire type {wire_type} is not supported"),
            Self::Mismatch(number) => write!(f, "field {number} has the wrong wire type"),
        }
    }
}

/// The value of one field.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// int32, int64, uint64, bool, enum.
    Varint(u64),
    /// string, bytes, message, packed repeated.
    Bytes(&'a [u8]),
    /// fixed64.
    Fixed64(u64),
    /// fixed32; no message of ours has one.
    Fixed32,
}

/// Iterates over the fields of one message.
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Returns the next field's number and value, None at the end.
    #[inline]
    pub fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = varint(&mut self.rest)?;
        let number = key >> 3;
        if number == 0 || number > 0x1FFF_FFFF {
            return Err(WireError::FieldNumber(number));
        }
        let value = match (key & 7) as u8 {
            0 => Value::Varint(varint(&mut self.rest)?),
            1 => Value::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().map_err(|_| WireError::Truncated)?)),
            2 => {
                let length = varint(&mut self.rest)?;
                Value::Bytes(self.take(usize::try_from(length).map_err(|_| WireError::Truncated)?)?)
            }
            5 => self.take(4).map(|_| Value::Fixed32)?,
            other => return Err(WireError::WireType(other)),
        };
        Ok(Some((number as u32, value)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (head, tail) = self.rest.split_at_checked(length).ok_or(WireError::Truncated)?;
        self.rest = tail;
        Ok(head)
    }
}

/// Reads one varint off the front of `bytes`.
#[inline]
pub fn varint(bytes: &mut &[u8]) -> Result<u64, WireError> {
    let (&first, rest) = bytes.split_first().ok_or(WireError::Truncated)?;
    if first < 0x80 {
        *bytes = rest;
        return Ok(u64::from(first));
    }
    long_varint(bytes)
}

fn long_varint(bytes: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0u64;
    for (position, &byte) in bytes.iter().take(10).enumerate() {
        if position == 9 && byte > 1 {
            return Err(WireError::VarintTooLong);
        }
        value |= u64::from(byte & 0x7F) << (7 * position);
        if byte < 0x80 {
            *bytes = bytes.get(position + 1..).unwrap_or_default();
            return Ok(value);
        }
    }
    Err(if bytes.len() < 10 { WireError::Truncated } else { WireError::VarintTooLong })
}

impl<'a> Value<'a> {
    /// The value of a scalar integer field.
    #[inline]
    pub fn integer(self, number: u32) -> Result<u64, WireError> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(WireError::Mismatch(number)),
        }
    }

    /// The value of a string, bytes or message field.
    #[inline]
    pub fn bytes(self, number: u32) -> Result<&'a [u8], WireError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(WireError::Mismatch(number)),
        }
    }

    /// Appends every integer of a repeated field, packed or not.
    pub fn append_integers(self, number: u32, list: &mut Vec<u64>) -> Result<(), WireError> {
        self.integers(number, |value| {
            list.push(value);
            Ok(())
        })
    }

    /// Calls `each` with every integer of a repeated field, packed or not.
    #[inline]
    pub fn integers<E: From<WireError>>(
        self,
        number: u32,
        mut each: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Varint(value) => each(value),
            Self::Bytes(mut packed) => {
                while !packed.is_empty() {
                    each(varint(&mut packed)?)?;
                }
                Ok(())
            }
            Self::Fixed64(_) | Self::Fixed32 => Err(WireError::Mismatch(number).into()),
        }
    }
}

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a length-delimited field.
pub fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends an integer field, unless it has its default value.
pub fn put_integer(out: &mut Vec<u8>, number: u32, value: i64) {
    if value != 0 {
        put_varint(out, u64::from(number) << 3);
        put_varint(out, value as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), 1 << 62, u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(varint(&mut bytes.as_slice()), Ok(value));
        }
    }

    #[test]
    fn hostile_varints_are_errors() {
        assert_eq!(varint(&mut [].as_slice()), Err(WireError::Truncated));
        assert_eq!(varint(&mut [0x80u8; 9].as_slice()), Err(WireError::Truncated));
        assert_eq!(varint(&mut [0xFFu8; 11].as_slice()), Err(WireError::VarintTooLong));
        let too_many_bits = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02];
        assert_eq!(varint(&mut too_many_bits.as_slice()), Err(WireError::VarintTooLong));
    }

    #[test]
    fn a_length_beyond_the_end_is_truncated() {
        for length in [2, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = vec![0x0A];
            put_varint(&mut bytes, length);
            bytes.push(b'x');
            assert_eq!(Fields::new(&bytes).next().unwrap_err(), WireError::Truncated);
        }
    }

    #[test]
    fn groups_and_field_zero_are_errors() {
        assert_eq!(Fields::new(&[0x0B]).next().unwrap_err(), WireError::WireType(3));
        assert_eq!(Fields::new(&[0x02, 0x00]).next().unwrap_err(), WireError::FieldNumber(0));
    }
}
