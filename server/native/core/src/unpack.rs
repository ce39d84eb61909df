//! Reads samples files back whole, row group by row group, into the rows that the writer takes.

use std::collections::HashMap;
use std::fs::File;

use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{
    ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType, Int32Type, Int64Type,
};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{FileReader, RowGroupReader};
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::file::statistics::Statistics;

use crate::error::BlockError;
use crate::hash::{HashedMap, mix};
use crate::pprof::NONE;
use crate::samples::{self, GroupBounds, Origin, Row, SpanColumns};
use crate::symbols::typed;

/// The columns in the order of the schemas in samples.rs.
const WHOLE: [&str; 11] = [
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
const NUMBERED: [&str; 9] =
    ["service", "profile_type", "profile", "stack", "value", "span_id", "child_span_id", "trace_id", "span_name"];
/// Columns that say whose a row is, in the whole layout; the numbered one has one in their place.
const SERIES: usize = 2;
const PROFILE_ID: usize = 3;
const TIME: usize = 4;
const PROFILE: usize = 2;
/// The first column behind them.
const STACK: usize = 5;
const NUMBERED_STACK: usize = 3;

/// Rows decoded at a time.
const CHUNK_ROWS: usize = 8192;

/// An open samples file.
pub struct SamplesFile {
    path: String,
    reader: SerializedFileReader<File>,
    /// Where rows name their profile by number: the profiles, and the bounds of the series of each row group.
    numbered: Option<(Vec<Origin>, Vec<GroupBounds>)>,
    stack: usize,
}

impl SamplesFile {
    pub fn open(path: &str) -> std::result::Result<Self, BlockError> {
        let file = File::open(path).map_err(|source| BlockError::Io { path: path.to_owned(), source })?;
        let reader = SerializedFileReader::new(file).map_err(|error| BlockError::damaged(path, error))?;
        let mut own = Self { path: path.to_owned(), reader, numbered: None, stack: STACK };
        let schema = own.reader.metadata().file_metadata().schema_descr();
        let has = |names: &[&str]| schema.columns().iter().map(|column| column.name()).eq(names.iter().copied());
        if has(&NUMBERED) {
            own.numbered = Some(own.open_profiles()?);
            own.stack = NUMBERED_STACK;
        } else if !has(&WHOLE) {
            return Err(BlockError::damaged(path, "it is no samples file"));
        }
        Ok(own)
    }

    fn open_profiles(&self) -> std::result::Result<(Vec<Origin>, Vec<GroupBounds>), BlockError> {
        let bounds = GroupBounds::of_file(self.reader.metadata()).map_err(|error| self.damaged(&error.to_string()))?;
        let totals = samples::beside(&self.path, "totals").ok_or_else(|| self.damaged("it has no totals file"))?;
        let totals = Self::open(&totals)?;
        if totals.numbered.is_some() {
            return Err(totals.damaged("it is no totals file"));
        }
        let mut profiles = Vec::new();
        for group in 0..totals.groups() {
            totals.read(group, |origin, _, _, _| profiles.push(origin))?;
        }
        Ok((profiles, bounds))
    }

    pub fn groups(&self) -> usize {
        self.reader.num_row_groups()
    }

    /// Whether the statistics leave open that a row has a span.
    pub fn may_have_spans(&self) -> bool {
        let rows = |group: usize| self.reader.metadata().row_group(group).num_rows() as u64;
        (0..self.groups()).any(|group| self.spans().any(|column| self.nulls(group, column) != Some(rows(group))))
    }

    /// The four columns of spans.
    fn spans(&self) -> std::ops::Range<usize> {
        self.stack + 2..self.stack + 6
    }

    /// The smallest and the largest series of a group, as its statistics say.
    pub fn series_bounds(&self, group: usize) -> Option<(i64, i64)> {
        if let Some((_, bounds)) = &self.numbered {
            return bounds.get(group).map(|bounds| bounds.series);
        }
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
        let mut origins = Origins::open(group, self.numbered.as_ref().map(|(profiles, _)| profiles.as_slice()))?;
        let mut stacks = Column::<Int64Type>::open(group, self.stack)?;
        let mut values = Column::<Int64Type>::open(group, self.stack + 1)?;
        let all_null = |column: usize| self.nulls(number, column) == Some(rows as u64);
        let mut spans = if self.spans().all(all_null) { None } else { Some(Spans::open(group, self.spans().start)?) };
        let no_span = SpanColumns::default();
        let mut left = rows;
        while left > 0 {
            let chunk = left.min(CHUNK_ROWS);
            left -= chunk;
            let origins = origins.take(chunk)?;
            let (stacks, values) = (stacks.take(chunk)?, values.take(chunk)?);
            let chunk_spans = spans.as_mut().map(|spans| spans.take(chunk)).transpose()?;
            for (row, ((&origin, &stack), &value)) in origins.iter().zip(stacks).zip(values).enumerate() {
                let span = chunk_spans.as_ref().and_then(|spans| spans.get(row)).unwrap_or(&no_span);
                take(origin, stack, value, span);
            }
        }
        Ok(())
    }
}

/// What says of each row whose it is.
struct Origins<'a> {
    columns: OriginColumns<'a>,
    taken: Vec<Origin>,
}

enum OriginColumns<'a> {
    Whole(Box<WholeColumns>),
    Numbered(&'a [Origin], Box<Column<Int32Type>>),
}

struct WholeColumns {
    series: Column<Int64Type>,
    ids: Column<FixedLenByteArrayType>,
    times: Column<Int64Type>,
}

impl<'a> Origins<'a> {
    fn open(group: &dyn RowGroupReader, profiles: Option<&'a [Origin]>) -> Result<Self> {
        let columns = match profiles {
            Some(profiles) => OriginColumns::Numbered(profiles, Box::new(Column::open(group, PROFILE)?)),
            None => OriginColumns::Whole(Box::new(WholeColumns {
                series: Column::open(group, SERIES)?,
                ids: Column::open(group, PROFILE_ID)?,
                times: Column::open(group, TIME)?,
            })),
        };
        Ok(Self { columns, taken: Vec::new() })
    }

    fn take(&mut self, rows: usize) -> Result<&[Origin]> {
        let general = |reason: &str| ParquetError::General(reason.to_owned());
        self.taken.clear();
        match &mut self.columns {
            OriginColumns::Whole(columns) => {
                let (series, ids) = (columns.series.take(rows)?, columns.ids.take(rows)?);
                for ((&series, id), &time_ns) in series.iter().zip(ids).zip(columns.times.take(rows)?) {
                    let profile_id = id.data().try_into().map_err(|_| general("a short id"))?;
                    self.taken.push(Origin { series, time_ns, profile_id });
                }
            }
            OriginColumns::Numbered(profiles, numbers) => {
                for &number in numbers.take(rows)? {
                    let origin = usize::try_from(number).ok().and_then(|number| profiles.get(number));
                    let lacks = || general("a row names a profile that its totals file lacks");
                    self.taken.push(*origin.ok_or_else(lacks)?);
                }
            }
        }
        Ok(&self.taken)
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
    /// `first`: the column of span ids; the others follow it.
    fn open(group: &dyn RowGroupReader, first: usize) -> Result<Self> {
        Ok(Self {
            span_ids: Column::open(group, first)?,
            child_span_ids: Column::open(group, first + 1)?,
            trace_ids: Column::open(group, first + 2)?,
            names: Column::open(group, first + 3)?,
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
