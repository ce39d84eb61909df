//! Python module `flamewire_server._native`: a thin wrapper; what everything does is said in `_native.pyi`.
#![forbid(unsafe_code)]
#![allow(clippy::needless_pass_by_value)] // PyO3 hands lists over by value

use flamewire_core::compact::{self, Drop, KnownSeries};
use flamewire_core::encode::{self, SeriesEntry as CoreSeriesEntry};
use flamewire_core::encoding::{self, Encoding};
use flamewire_core::error::{BlockError as CoreBlockError, DecodeError as CoreDecodeError};
use flamewire_core::ingest;
use flamewire_core::limits::Limits as CoreLimits;
use flamewire_core::push::{self, Batch};
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyIndexError, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

mod query;

create_exception!(flamewire_server._native, DecodeError, PyException, "A pushed body is refused.");
create_exception!(flamewire_server._native, BlockError, PyException, "A block file is damaged.");
create_exception!(flamewire_server._native, QueryStoppedError, PyException, "A query was ended before it was done.");

type ProfileKey<'py> = (i64, Bound<'py, PyBytes>, i64, i64);

fn decode_error(py: Python<'_>, error: CoreDecodeError) -> PyErr {
    let raised = DecodeError::new_err(error.message.clone());
    let value = raised.value(py);
    let set = value.setattr("code", error.code.as_str()).and_then(|()| value.setattr("message", error.message));
    set.err().unwrap_or(raised)
}

fn block_error(error: CoreBlockError) -> PyErr {
    match error {
        CoreBlockError::Io { path, source } => match source.raw_os_error() {
            // OSError with (errno, text, path) picks its own subclass, as FileNotFoundError.
            Some(number) => PyOSError::new_err((number, source.to_string(), path)),
            None => PyOSError::new_err(format!("cannot read block file {path}: {source}")),
        },
        damaged @ CoreBlockError::Damaged { .. } => BlockError::new_err(damaged.to_string()),
        stopped @ CoreBlockError::Stopped { .. } => QueryStoppedError::new_err(stopped.to_string()),
    }
}

/// Limits of one push.
#[pyclass(frozen, module = "flamewire_server._native")]
struct Limits(CoreLimits);

const MAX_BYTES: usize = 1 << 30;
const MAX_COUNT: usize = 10_000_000;

fn checked(name: &str, value: i64, max: usize) -> PyResult<usize> {
    match usize::try_from(value) {
        Ok(value) if (1..=max).contains(&value) => Ok(value),
        _ => Err(PyValueError::new_err(format!("{name} must be between 1 and {max}, not {value}"))),
    }
}

fn checked_encoding(name: &str) -> PyResult<Encoding> {
    Encoding::named(name)
        .ok_or_else(|| PyValueError::new_err(format!("encoding must be identity, gzip or zstd, not {name}")))
}

fn checked_duration(name: &str, value: i64) -> PyResult<i64> {
    if value < 0 {
        return Err(PyValueError::new_err(format!("{name} must not be negative, but is {value}")));
    }
    Ok(value)
}

#[pymethods]
impl Limits {
    #[new]
    #[pyo3(signature = (*, max_request_bytes=67_108_864, max_profile_bytes=4_194_304, max_samples=16_000,
        max_sample_labels=100, max_label_names=30, max_label_name_bytes=1024, max_label_value_bytes=2048,
        max_stack_depth=1000, max_string_bytes=65_535, reject_older_than_ns=86_400_000_000_000,
        reject_newer_than_ns=600_000_000_000))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        max_request_bytes: i64,
        max_profile_bytes: i64,
        max_samples: i64,
        max_sample_labels: i64,
        max_label_names: i64,
        max_label_name_bytes: i64,
        max_label_value_bytes: i64,
        max_stack_depth: i64,
        max_string_bytes: i64,
        reject_older_than_ns: i64,
        reject_newer_than_ns: i64,
    ) -> PyResult<Self> {
        Ok(Self(CoreLimits {
            max_request_bytes: checked("max_request_bytes", max_request_bytes, MAX_BYTES)?,
            max_profile_bytes: checked("max_profile_bytes", max_profile_bytes, MAX_BYTES)?,
            max_samples: checked("max_samples", max_samples, MAX_COUNT)?,
            max_sample_labels: checked("max_sample_labels", max_sample_labels, MAX_COUNT)?,
            max_label_names: checked("max_label_names", max_label_names, MAX_COUNT)?,
            max_label_name_bytes: checked("max_label_name_bytes", max_label_name_bytes, MAX_BYTES)?,
            max_label_value_bytes: checked("max_label_value_bytes", max_label_value_bytes, MAX_BYTES)?,
            max_stack_depth: checked("max_stack_depth", max_stack_depth, MAX_COUNT)?,
            max_string_bytes: checked("max_string_bytes", max_string_bytes, MAX_BYTES)?,
            reject_older_than_ns: checked_duration("reject_older_than_ns", reject_older_than_ns)?,
            reject_newer_than_ns: checked_duration("reject_newer_than_ns", reject_newer_than_ns)?,
        }))
    }

    #[getter]
    fn max_request_bytes(&self) -> usize {
        self.0.max_request_bytes
    }
    #[getter]
    fn max_profile_bytes(&self) -> usize {
        self.0.max_profile_bytes
    }
    #[getter]
    fn max_samples(&self) -> usize {
        self.0.max_samples
    }
    #[getter]
    fn max_sample_labels(&self) -> usize {
        self.0.max_sample_labels
    }
    #[getter]
    fn max_label_names(&self) -> usize {
        self.0.max_label_names
    }
    #[getter]
    fn max_label_name_bytes(&self) -> usize {
        self.0.max_label_name_bytes
    }
    #[getter]
    fn max_label_value_bytes(&self) -> usize {
        self.0.max_label_value_bytes
    }
    #[getter]
    fn max_stack_depth(&self) -> usize {
        self.0.max_stack_depth
    }
    #[getter]
    fn max_string_bytes(&self) -> usize {
        self.0.max_string_bytes
    }
    #[getter]
    fn reject_older_than_ns(&self) -> i64 {
        self.0.reject_older_than_ns
    }
    #[getter]
    fn reject_newer_than_ns(&self) -> i64 {
        self.0.reject_newer_than_ns
    }
}

/// The decoded profiles of one push.
#[pyclass(frozen, module = "flamewire_server._native")]
struct ProfileBatch(Batch);

#[pymethods]
impl ProfileBatch {
    #[getter]
    fn profile_count(&self) -> usize {
        self.0.len()
    }
    #[getter]
    fn sample_count(&self) -> usize {
        self.0.sample_count()
    }
    #[getter]
    fn dropped_samples(&self) -> usize {
        self.0.dropped_samples()
    }
    #[getter]
    fn truncated_stacks(&self) -> usize {
        self.0.truncated_stacks()
    }
    #[getter]
    fn rejected(&self) -> usize {
        self.0.rejected()
    }
    #[getter]
    fn rejection(&self) -> Option<&str> {
        self.0.rejection()
    }
    #[getter]
    fn decoded_bytes(&self) -> usize {
        self.0.decoded_bytes()
    }
    #[getter]
    fn keys<'py>(&self, py: Python<'py>) -> Vec<ProfileKey<'py>> {
        self.0.keys().map(|key| (key.series, PyBytes::new(py, &key.profile_id), key.content, key.time_ns)).collect()
    }
}

/// Decode and validate a push.
#[pyfunction]
#[pyo3(signature = (body, *, encoding, now_ns, limits))]
fn decode_push(py: Python<'_>, body: &[u8], encoding: &str, now_ns: i64, limits: &Limits) -> PyResult<ProfileBatch> {
    let encoding = checked_encoding(encoding)?;
    let decoded = py.detach(|| push::decode_push(body, encoding, now_ns, &limits.0));
    decoded.map(ProfileBatch).map_err(|error| decode_error(py, error))
}

/// Unpack a body.
#[pyfunction]
#[pyo3(signature = (body, *, encoding, limit_bytes))]
fn unpack_body<'py>(py: Python<'py>, body: &[u8], encoding: &str, limit_bytes: usize) -> PyResult<Bound<'py, PyBytes>> {
    let encoding = checked_encoding(encoding)?;
    let unpacked = py.detach(|| encoding::unpack_body(body, encoding, limit_bytes));
    unpacked.map(|bytes| PyBytes::new(py, &bytes)).map_err(|error| decode_error(py, error))
}

/// Decode and validate a body of /ingest.
#[pyfunction]
#[pyo3(signature = (body, *, encoding, format, content_type, app, labels, from_ns, spy_name, sample_rate_hz, now_ns, limits, id="",
    is_time_given=false))]
#[allow(clippy::too_many_arguments)]
fn decode_ingest(
    py: Python<'_>,
    body: &[u8],
    encoding: &str,
    format: &str,
    content_type: &str,
    app: &str,
    labels: Vec<(String, String)>,
    from_ns: i64,
    spy_name: &str,
    sample_rate_hz: u32,
    now_ns: i64,
    limits: &Limits,
    id: &str,
    is_time_given: bool,
) -> PyResult<ProfileBatch> {
    let encoding = checked_encoding(encoding)?;
    let request = ingest::Request {
        format,
        content_type,
        app,
        labels: &labels,
        from_ns,
        spy_name,
        sample_rate_hz,
        id,
        is_time_given,
    };
    let decoded = py.detach(|| ingest::decode(body, encoding, &request, now_ns, &limits.0));
    decoded.map(ProfileBatch).map_err(|error| decode_error(py, error))
}

/// Decode and validate an export of OTLP profiles.
#[pyfunction]
#[pyo3(signature = (body, *, encoding, is_json, now_ns, limits))]
fn decode_otlp(
    py: Python<'_>,
    body: &[u8],
    encoding: &str,
    is_json: bool,
    now_ns: i64,
    limits: &Limits,
) -> PyResult<ProfileBatch> {
    let encoding = checked_encoding(encoding)?;
    let decoded = py.detach(|| ingest::otlp::decode(body, encoding, is_json, now_ns, &limits.0));
    decoded.map(ProfileBatch).map_err(|error| decode_error(py, error))
}

/// A series that has rows in a block.
#[pyclass(frozen, module = "flamewire_server._native")]
struct SeriesEntry(CoreSeriesEntry);

#[pymethods]
impl SeriesEntry {
    #[getter]
    fn fingerprint(&self) -> i64 {
        self.0.fingerprint()
    }
    #[getter]
    fn service(&self) -> &str {
        self.0.service()
    }
    #[getter]
    fn profile_type(&self) -> &str {
        self.0.profile_type()
    }
    #[getter]
    fn labels(&self) -> Vec<(String, String)> {
        self.0.labels().clone()
    }
    #[getter]
    fn time_min_ns(&self) -> i64 {
        self.0.time_min_ns
    }
    #[getter]
    fn time_max_ns(&self) -> i64 {
        self.0.time_max_ns
    }
}

/// Two Parquet files to make durable.
#[pyclass(frozen, module = "flamewire_server._native")]
struct EncodedBlock(encode::EncodedBlock);

#[pymethods]
impl EncodedBlock {
    #[getter]
    fn day(&self) -> &str {
        &self.0.day
    }
    #[getter]
    fn samples<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.samples)
    }
    #[getter]
    fn symbols<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.0.symbols.as_ref().map(|bytes| PyBytes::new(py, bytes))
    }
    #[getter]
    fn rows(&self) -> usize {
        self.0.rows
    }
    #[getter]
    fn time_min_ns(&self) -> i64 {
        self.0.time_min_ns
    }
    #[getter]
    fn time_max_ns(&self) -> i64 {
        self.0.time_max_ns
    }
    #[getter]
    fn series(&self) -> Vec<SeriesEntry> {
        self.0.series.iter().cloned().map(SeriesEntry).collect()
    }
}

/// Turns batches into blocks.
#[pyclass(frozen, module = "flamewire_server._native")]
struct Encoder(encode::Encoder);

#[pymethods]
impl Encoder {
    #[new]
    #[pyo3(signature = (*, max_known_stacks=8_000_000))]
    fn new(max_known_stacks: usize) -> Self {
        Self(encode::Encoder::new(max_known_stacks))
    }

    fn encode(
        &self,
        py: Python<'_>,
        tenant: &str,
        batches: Vec<(Py<ProfileBatch>, Vec<usize>)>,
    ) -> PyResult<Vec<EncodedBlock>> {
        for (batch, chosen) in &batches {
            let count = batch.get().0.len();
            if let Some(index) = chosen.iter().find(|&&index| index >= count) {
                return Err(PyIndexError::new_err(format!("profile {index} of a batch of {count}")));
            }
        }
        let parts: Vec<(&Batch, &[usize])> =
            batches.iter().map(|(batch, chosen)| (&batch.get().0, chosen.as_slice())).collect();
        let blocks = py.detach(|| self.0.encode(tenant, &parts)).map_err(block_error)?;
        Ok(blocks.into_iter().map(EncodedBlock).collect())
    }

    fn committed(&self, py: Python<'_>, block: &EncodedBlock) {
        py.detach(|| self.0.committed(&block.0));
    }

    #[getter]
    fn known_stacks(&self) -> usize {
        self.0.known_stacks()
    }
}

/// Files that take the place of those of several blocks.
#[pyclass(frozen, module = "flamewire_server._native")]
struct CompactedBlock(compact::CompactedBlock);

#[pymethods]
impl CompactedBlock {
    #[getter]
    fn samples<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.samples)
    }
    #[getter]
    fn totals<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.totals)
    }
    #[getter]
    fn hours<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.0.hours.as_ref().map(|bytes| PyBytes::new(py, bytes))
    }
    #[getter]
    fn days<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.0.days.as_ref().map(|bytes| PyBytes::new(py, bytes))
    }
    #[getter]
    fn symbols<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.0.symbols.as_ref().map(|bytes| PyBytes::new(py, bytes))
    }
    #[getter]
    fn rows(&self) -> usize {
        self.0.rows
    }
    #[getter]
    fn dropped_rows(&self) -> usize {
        self.0.dropped_rows
    }
    #[getter]
    fn series(&self) -> Vec<(i64, i64, i64)> {
        self.0.series.clone()
    }
}

/// Merge blocks into one.
#[pyfunction]
#[pyo3(signature = (sample_files, symbol_files, *, series, drop=None))]
fn compact_blocks(
    py: Python<'_>,
    sample_files: Vec<String>,
    symbol_files: Vec<String>,
    series: Vec<(i64, String, String)>,
    drop: Option<(Vec<i64>, i64, i64)>,
) -> PyResult<CompactedBlock> {
    let drop = drop.map(|(series, start_ns, end_ns)| Drop::new(series, start_ns, end_ns));
    let known = |(fingerprint, service, profile_type)| KnownSeries { fingerprint, service, profile_type };
    let series: Vec<KnownSeries> = series.into_iter().map(known).collect();
    let compacted = py.detach(|| compact::compact(&sample_files, &symbol_files, &series, drop.as_ref()));
    compacted.map(CompactedBlock).map_err(block_error)
}

/// Decode every row of a samples or totals file: (rows, sum of values).
#[pyfunction]
fn verify_samples(py: Python<'_>, path: &str) -> PyResult<(usize, i128)> {
    let contents = py.detach(|| compact::verify_samples(path)).map_err(block_error)?;
    Ok((contents.rows, contents.value))
}

/// Decode every row of a symbols file.
#[pyfunction]
fn verify_symbols(py: Python<'_>, path: &str) -> PyResult<()> {
    py.detach(|| compact::verify_symbols(path)).map_err(block_error)
}

#[pymodule]
mod _native {
    #[pymodule_export]
    use super::{
        BlockError, CompactedBlock, DecodeError, EncodedBlock, Encoder, Limits, ProfileBatch, QueryStoppedError,
        SeriesEntry, compact_blocks, decode_ingest, decode_otlp, decode_push,
        query::{QueryGuard, Reader, Selection, StepSelection, Tree},
        unpack_body, verify_samples, verify_symbols,
    };

    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
