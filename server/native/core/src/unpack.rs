//! Reads samples files back whole, row group by row group, into the rows that the writer takes.

use std::collections::HashMap;
use std::fs::File;

use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{FileReader, RowGroupReader};
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::file::statistics::Statistics;

use crate::error::BlockError;
use crate::hash::{HashedMap, mix};
use crate::pprof::NONE;
use crate::samples::{Origin, Row, SpanColumns};
use crate::symbols::typed;

/// The columns in the order of the schema in samples.rs.
const COLUMNS: [&str; 11] = [
    "service",
    "profile_type",
    "series",
    "profile_id",
    "time_ns",
    "stack",
    "value",
    "span_id",
    "child_span_id",
    "trace_id",
    "span_name",
];
const SERIES: usize = 2;
const PROFILE_ID: usize = 3;
const TIME: usize = 4;
const STACK: usize = 5;
const VALUE: usize = 6;
const SPANS: [usize; 4] = [7, 8, 9, 10];

/// Rows decoded at a time.
const CHUNK_ROWS: usize = 8192;

/// An open samples file.
pub struct SamplesFile {
    path: String,
    reader: SerializedFileReader<File>,
}

impl SamplesFile {
    pub fn open(path: &str) -> std::result::Result<Self, BlockError> {
        let file = File::open(path).map_err(|source| BlockError::Io { path: path.to_owned(), source })?;
        let own = Self {
            path: path.to_owned(),
            reader: SerializedFileReader::new(file).map_err(|error| BlockError::damaged(path, error))?,
        };
        let schema = own.reader.metadata().file_metadata().schema_descr();
        if schema.columns().iter().map(|column| column.name()).ne(COLUMNS) {
            return Err(BlockError::damaged(path, "it is no samples file"));
        }
        Ok(own)
    }

    pub fn groups(&self) -> usize {
        self.reader.num_row_groups()
    }

    /// Whether the statistics leave open that a row has a span.
    pub fn may_have_spans(&self) -> bool {
        let rows = |group: usize| self.reader.metadata().row_group(group).num_rows() as u64;
        (0..self.groups()).any(|group| SPANS.iter().any(|&column| self.nulls(group, column) != Some(rows(group))))
    }

    /// The smallest and the largest series of a group, as its statistics say.
    pub fn series_bounds(&self, group: usize) -> Option<(i64, i64)> {
        match self.reader.metadata().row_group(group).columns().get(SERIES)?.statistics()? {
            Statistics::Int64(statistics) => {
                statistics.min_opt().zip(statistics.max_opt()).map(|(&min, &max)| (min, max))
            }
            _ => None,
        }
    }

    fn nulls(&self, group: usize, column: usize) -> Option<u64> {
        self.reader.metadata().row_group(group).columns().get(column)?.statistics()?.null_count_opt()
    }

    /// The error that the file is damaged.
    pub fn damaged(&self, reason: &str) -> BlockError {
        BlockError::damaged(&self.path, reason)
    }

    /// Reads all rows of a group.
    pub fn read(
        &self,
        group: usize,
        take: impl FnMut(Origin, i64, i64, &SpanColumns),
    ) -> std::result::Result<(), BlockError> {
        self.read_rows(group, take).map_err(|error| BlockError::damaged(&self.path, error))
    }

    fn read_rows(&self, number: usize, mut take: impl FnMut(Origin, i64, i64, &SpanColumns)) -> Result<()> {
        let group = &*self.reader.get_row_group(number)?;
        let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
        let mut series = Column::<Int64Type>::open(group, SERIES)?;
        let mut ids = Column::<FixedLenByteArrayType>::open(group, PROFILE_ID)?;
        let mut times = Column::<Int64Type>::open(group, TIME)?;
        let mut stacks = Column::<Int64Type>::open(group, STACK)?;
        let mut values = Column::<Int64Type>::open(group, VALUE)?;
        let all_null = |column: &usize| self.nulls(number, *column) == Some(rows as u64);
        let mut spans = if SPANS.iter().all(all_null) { None } else { Some(Spans::open(group)?) };
        let no_span = SpanColumns::default();
        let mut left = rows;
        while left > 0 {
            let chunk = left.min(CHUNK_ROWS);
            left -= chunk;
            let (series, ids, times) = (series.take(chunk)?, ids.take(chunk)?, times.take(chunk)?);
            let (stacks, values) = (stacks.take(chunk)?, values.take(chunk)?);
            let chunk_spans = spans.as_mut().map(|spans| spans.take(chunk)).transpose()?;
            let columns = series.iter().zip(ids).zip(times).zip(stacks).zip(values);
            for (row, ((((&series, id), &time_ns), &stack), &value)) in columns.enumerate() {
                let profile_id = id.data().try_into().map_err(|_| ParquetError::General("a short id".to_owned()))?;
                let span = chunk_spans.as_ref().and_then(|spans| spans.get(row)).unwrap_or(&no_span);
                take(Origin { series, time_ns, profile_id }, stack, value, span);
            }
        }
        Ok(())
    }
}

/// A column of a row group that is read in steps.
struct Column<T: DataType> {
    reader: ColumnReaderImpl<T>,
    values: Vec<T::T>,
    levels: Vec<i16>,
}

impl<T: DataType> Column<T> {
    fn open(group: &dyn RowGroupReader, index: usize) -> Result<Self> {
        Ok(Self { reader: typed::<T>(group.get_column_reader(index)?)?, values: Vec::new(), levels: Vec::new() })
    }

    /// Reads the next rows of a column without nulls.
    fn take(&mut self, rows: usize) -> Result<&[T::T]> {
        self.advance(rows)?;
        if self.values.len() == rows {
            Ok(&self.values)
        } else {
            Err(ParquetError::EOF("a column is shorter than its row group".to_owned()))
        }
    }

    /// Reads the next rows of a column with nulls.
    fn take_nullable(&mut self, rows: usize) -> Result<impl Iterator<Item = Option<&T::T>>> {
        self.advance(rows)?;
        let mut values = self.values.iter();
        Ok(self.levels.iter().map(move |&level| if level == 0 { None } else { values.next() }))
    }

    fn advance(&mut self, rows: usize) -> Result<()> {
        self.values.clear();
        self.levels.clear();
        let mut left = rows;
        while left > 0 {
            let (read, _, _) = self.reader.read_records(left, Some(&mut self.levels), None, &mut self.values)?;
            if read == 0 {
                return Err(ParquetError::EOF("a column is shorter than its row group".to_owned()));
            }
            left -= read;
        }
        Ok(())
    }
}

/// The four span columns.
struct Spans {
    span_ids: Column<Int64Type>,
    child_span_ids: Column<Int64Type>,
    trace_ids: Column<FixedLenByteArrayType>,
    names: Column<ByteArrayType>,
}

impl Spans {
    fn open(group: &dyn RowGroupReader) -> Result<Self> {
        let [span, child, trace, name] = SPANS;
        Ok(Self {
            span_ids: Column::open(group, span)?,
            child_span_ids: Column::open(group, child)?,
            trace_ids: Column::open(group, trace)?,
            names: Column::open(group, name)?,
        })
    }

    fn take(&mut self, rows: usize) -> Result<Vec<SpanColumns>> {
        let trace = |id: Option<&FixedLenByteArray>| {
            id.and_then(|id| <[u8; 16]>::try_from(id.data()).ok()).map_or(0, u128::from_be_bytes)
        };
        let name = |name: Option<&ByteArray>| {
            name.map_or_else(String::new, |name| String::from_utf8_lossy(name.data()).into_owned())
        };
        let spans = self.span_ids.take_nullable(rows)?.zip(self.child_span_ids.take_nullable(rows)?);
        let rest = self.trace_ids.take_nullable(rows)?.zip(self.names.take_nullable(rows)?);
        let columns = spans.zip(rest).map(|((span_id, child_span_id), (trace_id, text))| SpanColumns {
            span_id: span_id.copied().unwrap_or(0),
            child_span_id: child_span_id.copied().unwrap_or(0),
            trace_id: trace(trace_id),
            name: name(text),
        });
        Ok(columns.collect())
    }
}

/// Gathers the rows of one (service, profile type) from several files, and sorts them.
#[derive(Default)]
pub struct Gathered {
    pub rows: Vec<Row>,
    pub origins: Vec<Origin>,
    pub spans: Vec<SpanColumns>,
    origin_numbers: HashedMap<u32>,
    span_numbers: HashMap<SpanColumns, u32>,
}

impl Gathered {
    pub fn add(&mut self, origin: Origin, stack: i64, value: i64, span: &SpanColumns) {
        let origin = self.origin_number(origin);
        let span = self.span_number(span);
        self.rows.push(Row { stack, value, origin, span });
    }

    fn origin_number(&mut self, origin: Origin) -> u32 {
        let id = u128::from_be_bytes(origin.profile_id);
        let mut key = mix(mix(origin.series as u64, origin.time_ns as u64), (id >> 64) as u64 ^ id as u64) as i64;
        let next = self.origins.len() as u32;
        loop {
            let number = *self.origin_numbers.entry(key).or_insert(next);
            if number == next {
                self.origins.push(origin);
                return next;
            }
            if self.origins.get(number as usize) == Some(&origin) {
                return number;
            }
            key = key.wrapping_add(1);
        }
    }

    fn span_number(&mut self, span: &SpanColumns) -> u32 {
        if *span == SpanColumns::default() {
            return NONE;
        }
        if let Some(&number) = self.span_numbers.get(span) {
            return number;
        }
        let number = self.spans.len() as u32;
        self.spans.push(span.clone());
        self.span_numbers.insert(span.clone(), number);
        number
    }

    /// Sorts origins by (series, time, id) and rows by (stack, origin). What comes in sorted runs is merged.
    pub fn sort(&mut self) {
        let mut order: Vec<u32> = (0..self.origins.len() as u32).collect();
        order.sort_unstable_by_key(|&number| self.origins.get(number as usize));
        let mut ranks = vec![0u32; order.len()];
        for (rank, &number) in (0u32..).zip(&order) {
            if let Some(slot) = ranks.get_mut(number as usize) {
                *slot = rank;
            }
        }
        self.origins.sort_unstable();
        self.origin_numbers = HashedMap::default();
        for row in &mut self.rows {
            row.origin = ranks.get(row.origin as usize).copied().unwrap_or(0);
        }
        self.rows.sort_by_key(|row| (row.stack, row.origin));
    }
}
