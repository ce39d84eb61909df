//! The two ways in which the core fails: a push is refused, or a block cannot be read.

use std::fmt;

/// Connect codes that a push can be refused with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The content is wrong; no retry will mend it.
    InvalidArgument,
    /// The content is larger than a limit.
    ResourceExhausted,
}

impl Code {
    /// The code as Connect spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::ResourceExhausted => "resource_exhausted",
        }
    }
}

/// A push is refused; the message says which field, which value and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// What the sender is told to make of it.
    pub code: Code,
    /// For the sender's eyes.
    pub message: String,
}

impl DecodeError {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self { code: Code::InvalidArgument, message: message.into() }
    }

    pub(crate) fn exhausted(message: impl Into<String>) -> Self {
        Self { code: Code::ResourceExhausted, message: message.into() }
    }

    /// Puts the place where it happened before the message.
    pub(crate) fn at(mut self, place: &str) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DecodeError {}

/// A block file cannot be read or written.
#[derive(Debug)]
pub enum BlockError {
    /// The file cannot be opened or read.
    Io {
        /// Path of the file.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The bytes are not a block of ours.
    Damaged {
        /// Path of the file; empty where a block was being made.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The query was ended before it was done; nothing is wrong with the files.
    Stopped {
        /// Its time was over; else whoever asked had gone.
        timeout: bool,
    },
}

impl BlockError {
    pub(crate) fn damaged(path: &str, reason: impl fmt::Display) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.to_string() }
    }
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "cannot read block file {path}: {source}"),
            Self::Damaged { path, reason } if path.is_empty() => write!(f, "cannot encode a block: {reason}"),
            Self::Damaged { path, reason } => write!(
                f,
                "block file {path} is damaged ({reason}); restore it from a backup or remove it from the catalog"
            ),
            Self::Stopped { timeout: true } => f.write_str("the query took too long"),
            Self::Stopped { timeout: false } => f.write_str("the query was cancelled"),
        }
    }
}

impl std::error::Error for BlockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Damaged { .. } | Self::Stopped { .. } => None,
        }
    }
}

/// Runs what parses the bytes of a block; the parquet crate panics on some damage that it could report.
pub(crate) fn guarded<T>(path: &str, run: impl FnOnce() -> Result<T, BlockError>) -> Result<T, BlockError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
        .unwrap_or_else(|_| Err(BlockError::damaged(path, "the Parquet of a block cannot be read")))
}
