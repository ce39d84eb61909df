//! How a body, or a part of one, is compressed.

use crate::error::DecodeError;
use crate::{gzip, zstd};

/// A Content-Encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Not compressed.
    #[default]
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// Why a compressed body is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum UnpackError {
    /// It holds more than the limit.
    TooLarge,
    /// It is not what it should be, is cut off, or its check sum is wrong.
    Corrupt(&'static str),
}

impl Encoding {
    /// The encoding that a header names.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "identity" => Some(Self::Identity),
            "gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The encoding that the first bytes tell.
    pub(crate) fn of_magic(bytes: &[u8]) -> Self {
        if gzip::is_gzip(bytes) {
            Self::Gzip
        } else if zstd::is_zstd(bytes) {
            Self::Zstd
        } else {
            Self::Identity
        }
    }
}

/// Unpacks all of `body`; at most `limit` + 1 bytes are ever held.
pub(crate) fn unpack(body: &[u8], encoding: Encoding, limit: usize) -> Result<Vec<u8>, UnpackError> {
    match encoding {
        Encoding::Identity if body.len() > limit => Err(UnpackError::TooLarge),
        Encoding::Identity => Ok(body.to_vec()),
        Encoding::Gzip => gzip::gunzip(body, limit),
        Encoding::Zstd => zstd::unzstd(body, limit),
    }
}

/// Unpacks the body of a request, or says why it is refused.
pub fn unpack_body(body: &[u8], encoding: Encoding, limit: usize) -> Result<Vec<u8>, DecodeError> {
    unpack(body, encoding, limit).map_err(|error| match error {
        UnpackError::TooLarge => DecodeError::exhausted(format!(
            "the request holds more than {limit} bytes; split it, or raise the server's max_request_bytes"
        )),
        UnpackError::Corrupt(reason) => DecodeError::invalid(format!(
            "the request body cannot be unpacked: {reason}; compress all of it as Content-Encoding says, or leave the \
             header out"
        )),
    })
}
