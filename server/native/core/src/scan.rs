//! Reads what a query needs of a samples file: row groups pruned by statistics, constant columns not read at all.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use parquet::basic::Type;
use parquet::column::reader::get_column_reader;
use parquet::data_type::{DataType, FixedLenByteArrayType, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::file::statistics::Statistics;

use crate::error::{BlockError, guarded};
use crate::symbols::typed;

/// Columns that queries read; their order is that of `COLUMNS`.
#[derive(Clone, Copy)]
#[repr(usize)]
pub enum Column {
    Series,
    Time,
    Stack,
    Value,
    SpanId,
    ChildSpanId,
}

const COLUMNS: [&str; 6] = ["series", "time_ns", "stack", "value", "span_id", "child_span_id"];

/// Columns of 16 bytes, read only where a query names ids; their order is that of `ID_COLUMNS`.
#[derive(Clone, Copy)]
#[repr(usize)]
pub enum IdColumn {
    Profile,
    Trace,
}

const ID_COLUMNS: [&str; 2] = ["profile_id", "trace_id"];

/// Files up to this size are read whole: one system call beats one per column.
const SMALL_FILE_BYTES: u64 = 1 << 20;

/// What of a file's footer queries need.
pub struct FileIndex {
    groups: Vec<GroupIndex>,
    pub size_bytes: u64,
}

struct GroupIndex {
    rows: usize,
    columns: Vec<ColumnIndex>,
    id_columns: Vec<ColumnIndex>,
}

struct ColumnIndex {
    metadata: ColumnChunkMetaData,
    bounds: Option<(i64, i64)>,
    all_null: bool,
}

/// Which rows a query takes; the default takes none, for want of series.
#[derive(Default)]
pub struct Filter<'a> {
    /// Sorted fingerprints.
    pub series: &'a [i64],
    /// Inclusive.
    pub start_ns: i64,
    /// Inclusive.
    pub end_ns: i64,
    /// Sorted span ids, matched against both span columns.
    pub span_ids: Option<&'a [i64]>,
    /// Sorted profile ids.
    pub profile_ids: Option<&'a [u128]>,
    /// Sorted trace ids.
    pub trace_ids: Option<&'a [u128]>,
}

/// The values of one column in one row group.
pub enum Values {
    /// Proved constant by the statistics.
    Constant(i64),
    Each(Vec<i64>),
}

impl Values {
    #[inline]
    pub fn get(&self, row: usize) -> i64 {
        match self {
            Self::Constant(value) => *value,
            Self::Each(values) => values.get(row).copied().unwrap_or(0),
        }
    }
}

/// The rows of a row group that a query takes.
pub enum Rows {
    All(usize),
    Some(Vec<usize>),
}

impl Rows {
    /// Calls `each` with every row taken, in order.
    #[inline]
    pub fn for_each(&self, each: impl FnMut(usize)) {
        match self {
            Self::All(rows) => (0..*rows).for_each(each),
            Self::Some(rows) => rows.iter().copied().for_each(each),
        }
    }
}

impl FileIndex {
    /// Parses the footer of a file.
    pub fn read(path: &str) -> std::result::Result<Self, BlockError> {
        let file = open(path)?;
        let parse = || -> Result<Self> {
            let metadata = ParquetMetaDataReader::new().parse_and_finish(&file)?;
            let groups = metadata.row_groups().iter().map(|group| GroupIndex::of(group, file.len()));
            Ok(Self { groups: groups.collect::<Result<_>>()?, size_bytes: file.len() })
        };
        guarded(path, || parse().map_err(|error| BlockError::damaged(path, error)))
    }

    /// The times of the first and the last row, None where the statistics do not tell.
    pub fn times_ns(&self) -> Option<(i64, i64)> {
        let mut bounds = self.groups.iter().map(|group| group.bounds(Column::Time));
        let first = bounds.next()??;
        bounds.try_fold(first, |(first, last), bounds| bounds.map(|(min, max)| (first.min(min), last.max(max))))
    }

    /// About how much memory it takes.
    pub fn weight_bytes(&self) -> usize {
        const COLUMN_BYTES: usize = 700;
        self.groups.len() * (COLUMNS.len() + ID_COLUMNS.len()) * COLUMN_BYTES + 200
    }

    /// Calls `visit` with every row group that has rows for the query, and the rows.
    pub fn scan(
        &self,
        path: &str,
        filter: &Filter<'_>,
        mut visit: impl FnMut(&Group<'_>, &Rows) -> Result<()>,
    ) -> std::result::Result<(), BlockError> {
        let mut wanted = self.groups.iter().filter(|group| group.may_match(filter)).peekable();
        if wanted.peek().is_none() {
            return Ok(());
        }
        let source = Source::open(path, self.size_bytes)?;
        for index in wanted {
            let group = Group { source: &source, index };
            let mut run = || match group.rows(filter)? {
                Rows::Some(rows) if rows.is_empty() => Ok(()),
                rows => visit(&group, &rows),
            };
            guarded(path, || run().map_err(|error| BlockError::damaged(path, error)))?;
        }
        Ok(())
    }
}

impl GroupIndex {
    fn of(group: &RowGroupMetaData, file_size: u64) -> Result<Self> {
        let rows = usize::try_from(group.num_rows()).map_err(|_| general("a row group has a negative size"))?;
        let column = |name: &str, wanted: Type| {
            let metadata = (group.columns().iter().find(|column| column.column_path().string() == name))
                .ok_or_else(|| general(&format!("column {name} is missing")))?;
            ColumnIndex::of(metadata, wanted, rows, file_size)
        };
        let columns = COLUMNS.iter().map(|name| column(name, Type::INT64)).collect::<Result<_>>()?;
        let id_columns = ID_COLUMNS.iter().map(|name| column(name, Type::FIXED_LEN_BYTE_ARRAY));
        Ok(Self { rows, columns, id_columns: id_columns.collect::<Result<_>>()? })
    }

    fn bounds(&self, column: Column) -> Option<(i64, i64)> {
        self.columns.get(column as usize)?.bounds
    }

    fn may_match(&self, filter: &Filter<'_>) -> bool {
        let in_time = self.bounds(Column::Time).is_none_or(|(min, max)| min <= filter.end_ns && max >= filter.start_ns);
        let in_series = self.bounds(Column::Series).map_or(!filter.series.is_empty(), |(min, max)| {
            let first = filter.series.partition_point(|&series| series < min);
            filter.series.get(first).is_some_and(|&series| series <= max)
        });
        let all_null = |column| self.columns.get(column as usize).is_some_and(|column| column.all_null);
        let in_spans = filter.span_ids.is_none() || !(all_null(Column::SpanId) && all_null(Column::ChildSpanId));
        let no_traces = self.id_columns.get(IdColumn::Trace as usize).is_some_and(|column| column.all_null);
        self.rows > 0 && in_time && in_series && in_spans && !(filter.trace_ids.is_some() && no_traces)
    }
}

impl ColumnIndex {
    fn of(metadata: &ColumnChunkMetaData, wanted: Type, rows: usize, file_size: u64) -> Result<Self> {
        if metadata.column_type() != wanted {
            return Err(general(&format!("column {} is not {wanted}", metadata.column_path())));
        }
        let start = metadata.dictionary_page_offset().unwrap_or_else(|| metadata.data_page_offset());
        let in_file = start >= 0
            && metadata.compressed_size() >= 0
            && (start as u64).checked_add(metadata.compressed_size() as u64).is_some_and(|end| end <= file_size);
        if !in_file || metadata.num_values() != rows as i64 {
            return Err(general(&format!("column {} lies outside of the file", metadata.column_path())));
        }
        let (bounds, nulls) = match metadata.statistics() {
            Some(Statistics::Int64(statistics)) => {
                let bounds = statistics.min_opt().zip(statistics.max_opt()).map(|(&min, &max)| (min, max));
                (bounds, statistics.null_count_opt())
            }
            Some(other) => (None, other.null_count_opt()),
            None => (None, None),
        };
        Ok(Self { metadata: metadata.clone(), bounds, all_null: nulls == Some(rows as u64) })
    }
}

/// A row group of an open file.
pub struct Group<'a> {
    source: &'a Source,
    index: &'a GroupIndex,
}

impl Group<'_> {
    /// Reads a column without nulls, unless the statistics prove it constant.
    pub fn values(&self, column: Column) -> Result<Values> {
        match self.index.bounds(column) {
            Some((min, max)) if min == max => Ok(Values::Constant(min)),
            _ => self.read::<Int64Type>(self.index.columns.get(column as usize), None).map(Values::Each),
        }
    }

    fn rows(&self, filter: &Filter<'_>) -> Result<Rows> {
        let mut rows = Rows::All(self.index.rows);
        let series = self.values(Column::Series)?;
        match series {
            // A constant in the range of a wanted series is that series: may_match has looked.
            Values::Constant(_) => {}
            Values::Each(values) => {
                let mut last = (0, false);
                rows.keep(|row| {
                    let fingerprint = values.get(row).copied().unwrap_or(0);
                    if last.0 != fingerprint || !last.1 {
                        last = (fingerprint, filter.series.binary_search(&fingerprint).is_ok());
                    }
                    last.1
                });
            }
        }
        let inside = |(min, max)| filter.start_ns <= min && max <= filter.end_ns;
        if !self.index.bounds(Column::Time).is_some_and(inside) {
            let times = self.values(Column::Time)?;
            rows.keep(|row| (filter.start_ns..=filter.end_ns).contains(&times.get(row)));
        }
        if let Some(wanted) = filter.span_ids {
            let spans = self.nullable(Column::SpanId)?;
            let children = self.nullable(Column::ChildSpanId)?;
            let has = |values: &[i64], row: usize| {
                values.get(row).is_some_and(|span| *span != 0 && wanted.binary_search(span).is_ok())
            };
            rows.keep(|row| has(&spans, row) || has(&children, row));
        }
        for (column, wanted) in [(IdColumn::Profile, filter.profile_ids), (IdColumn::Trace, filter.trace_ids)] {
            if let Some(wanted) = wanted {
                let ids = self.ids(column)?;
                rows.keep(|row| ids.get(row).copied().flatten().is_some_and(|id| wanted.binary_search(&id).is_ok()));
            }
        }
        Ok(rows)
    }

    /// Reads a nullable column; nulls become 0, which no span id is.
    pub fn nullable(&self, column: Column) -> Result<Vec<i64>> {
        let mut levels = Vec::new();
        let values = self.read::<Int64Type>(self.index.columns.get(column as usize), Some(&mut levels))?;
        let mut values = values.into_iter();
        Ok(levels.iter().map(|&level| if level == 0 { 0 } else { values.next().unwrap_or(0) }).collect())
    }

    /// Reads a column of ids, big-endian; None is null.
    pub fn ids(&self, column: IdColumn) -> Result<Vec<Option<u128>>> {
        let index = self.index.id_columns.get(column as usize);
        let is_nullable = index.is_some_and(|index| index.metadata.column_descr().max_def_level() > 0);
        let mut levels = Vec::new();
        let values = self.read::<FixedLenByteArrayType>(index, is_nullable.then_some(&mut levels))?;
        let mut ids = values.iter().map(|id| id.data().try_into().ok().map(u128::from_be_bytes));
        if is_nullable {
            return Ok(levels.iter().map(|&level| if level == 0 { None } else { ids.next().flatten() }).collect());
        }
        Ok(ids.collect())
    }

    fn read<T: DataType>(&self, index: Option<&ColumnIndex>, levels: Option<&mut Vec<i16>>) -> Result<Vec<T::T>> {
        let Some(index) = index else { return Err(general("a column is missing")) };
        let chunk = Arc::new(self.source.chunk(&index.metadata)?);
        let pages = SerializedPageReader::new(chunk, &index.metadata, self.index.rows, None)?;
        let mut reader = typed::<T>(get_column_reader(index.metadata.column_descr_ptr(), Box::new(pages)))?;
        let mut values = Vec::with_capacity(self.index.rows.min(1 << 20));
        let mut read = 0;
        let mut levels = levels;
        while read < self.index.rows {
            let (records, _, _) =
                reader.read_records(self.index.rows - read, levels.as_deref_mut(), None, &mut values)?;
            if records == 0 {
                return Err(general(&format!("column {} is shorter than its row group", index.metadata.column_path())));
            }
            read += records;
        }
        Ok(values)
    }
}

impl Rows {
    fn keep(&mut self, mut wanted: impl FnMut(usize) -> bool) {
        match self {
            Self::All(rows) => {
                let all = *rows;
                let first_out = (0..all).find(|&row| !wanted(row));
                let Some(first_out) = first_out else { return };
                let mut kept: Vec<usize> = (0..first_out).collect();
                kept.extend((first_out + 1..all).filter(|&row| wanted(row)));
                *self = Self::Some(kept);
            }
            Self::Some(rows) => rows.retain(|&row| wanted(row)),
        }
    }
}

/// An open file: small ones are in memory, of large ones column chunks are read as needed.
enum Source {
    Whole(Bytes),
    File(File),
}

impl Source {
    fn open(path: &str, size: u64) -> std::result::Result<Self, BlockError> {
        let mut file = open(path)?;
        if size > SMALL_FILE_BYTES {
            return Ok(Self::File(file));
        }
        let mut bytes = Vec::with_capacity(size as usize);
        file.read_to_end(&mut bytes).map_err(|source| BlockError::Io { path: path.to_owned(), source })?;
        Ok(Self::Whole(Bytes::from(bytes)))
    }

    fn chunk(&self, metadata: &ColumnChunkMetaData) -> Result<Chunk> {
        let (start, length) = metadata.byte_range();
        let bytes = match self {
            Self::Whole(bytes) => slice(bytes, start, length as usize)?,
            Self::File(file) => {
                let mut bytes = vec![0; length as usize];
                file.read_exact_at(&mut bytes, start)?;
                Bytes::from(bytes)
            }
        };
        Ok(Chunk { start, bytes })
    }
}

/// The bytes of one column chunk, addressed by their place in the file.
struct Chunk {
    start: u64,
    bytes: Bytes,
}

impl Length for Chunk {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl ChunkReader for Chunk {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        let offset = start.checked_sub(self.start).ok_or_else(|| general("a page lies before its column"))?;
        let length = (self.bytes.len() as u64).saturating_sub(offset);
        Ok(slice(&self.bytes, offset, length as usize)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let offset = start.checked_sub(self.start).ok_or_else(|| general("a page lies before its column"))?;
        slice(&self.bytes, offset, length)
    }
}

fn slice(bytes: &Bytes, start: u64, length: usize) -> Result<Bytes> {
    let start = usize::try_from(start).map_err(|_| general("an offset is too large"))?;
    match start.checked_add(length) {
        Some(end) if end <= bytes.len() => Ok(bytes.slice(start..end)),
        _ => Err(ParquetError::EOF("a page ends beyond its column".to_owned())),
    }
}

fn general(reason: &str) -> ParquetError {
    ParquetError::General(reason.to_owned())
}

fn open(path: &str) -> std::result::Result<File, BlockError> {
    File::open(path).map_err(|source| BlockError::Io { path: path.to_owned(), source })
}
