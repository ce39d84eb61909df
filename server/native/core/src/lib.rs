//! The server's core without Python: push decoding, block encoding and reading, call trees.
//!
//! The way of a profile: [`push::decode_push`] (unpack, parse, validate, split into series) -> [`push::Batch`] ->
//! [`encode::Encoder`] (Parquet blocks) -> [`read::Reader`] -> [`tree::Tree`] (flame graphs).
//! The block layout is docs/reference/block-format.md.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)
)]

mod columns;
pub mod compact;
pub mod diff;
pub mod encode;
pub mod encoding;
pub mod error;
pub mod export;
mod file_sums;
mod flamebearer;
mod full_symbols;
pub mod guard;
mod gzip;
mod hash;
pub mod ingest;
mod intake;
mod json;
mod labels;
pub mod limits;
mod merge;
mod multipart;
mod names;
mod pprof;
pub mod pprof_export;
mod prune;
pub mod push;
pub mod read;
mod rollups;
mod rows;
mod samples;
mod sandwich;
mod scan;
mod shared_frames;
mod speedscope;
pub mod stacks;
mod svg;
mod symbols;
pub mod tree;
mod unpack;
mod wire;
mod zstd;

#[cfg(test)]
mod testing;
