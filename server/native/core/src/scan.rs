//! Reads what a query needs of a samples file: row groups pruned by statistics, constant columns not read at all.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};

use bytes::{Buf, Bytes};
use parquet::basic::Type;
use parquet::column::reader::get_column_reader;
use parquet::data_type::{DataType, FixedLenByteArrayType, Int32Type, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::file::statistics::Statistics;

use crate::error::{BlockError, guarded};
use crate::samples::{self, GroupBounds, ROLLUPS_KEY};
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

/// In place of series, time and profile id: the row of the profile in the totals file.
const NUMBER_COLUMN: &str = "profile";

/// Files up to this size are read whole: one system call beats one per column.
const SMALL_FILE_BYTES: u64 = 1 << 20;

/// What of a file's footer queries need.
pub struct FileIndex {
    groups: Vec<GroupIndex>,
    pub size_bytes: u64,
    /// The roll-ups that stand beside the file.
    pub has_days: bool,
    pub has_hours: bool,
    /// Of a numbered file: its profiles, read when they are first needed.
    profiles: OnceLock<Arc<Profiles>>,
}

struct GroupIndex {
    rows: usize,
    columns: Vec<Option<ColumnIndex>>,
    id_columns: Vec<Option<ColumnIndex>>,
    numbers: Option<ColumnIndex>,
    series: Option<(i64, i64)>,
    times: Option<(i64, i64)>,
}

/// The rows of a totals file, by number.
#[derive(Default)]
struct Profiles {
    series: Vec<i64>,
    times: Vec<i64>,
    ids: Vec<u128>,
}

impl Profiles {
    fn read(samples_path: &str) -> std::result::Result<Self, BlockError> {
        let path = samples::beside(samples_path, "totals")
            .ok_or_else(|| BlockError::damaged(samples_path, "it has no totals file"))?;
        let index = FileIndex::read(&path)?;
        let source = Source::open(&path, index.size_bytes)?;
        let mut own = Self::default();
        for index in &index.groups {
            let group = Group { source: &source, index, profiles: None, numbers: OnceLock::new() };
            let mut read = || -> Result<()> {
                let (series, times) = (group.values(Column::Series)?, group.values(Column::Time)?);
                own.series.extend((0..index.rows).map(|row| series.get(row)));
                own.times.extend((0..index.rows).map(|row| times.get(row)));
                own.ids.extend(group.ids(IdColumn::Profile)?.into_iter().map(Option::unwrap_or_default));
                Ok(())
            };
            guarded(&path, || read().map_err(|error| BlockError::damaged(&path, error)))?;
        }
        Ok(own)
    }
}

struct ColumnIndex {
    metadata: ColumnChunkMetaData,
    bounds: Option<(i64, i64)>,
    all_null: bool,
}

/// Which rows a query takes; the default takes none, for want of series.
#[derive(Clone, Copy, Default)]
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
            let schema = metadata.file_metadata().schema_descr();
            let is_numbered = schema.columns().iter().any(|column| column.name() == NUMBER_COLUMN);
            let bounds = if is_numbered { GroupBounds::of_file(&metadata)? } else { Vec::new() };
            let groups = metadata.row_groups().iter().enumerate();
            let groups = groups.map(|(number, group)| GroupIndex::of(group, bounds.get(number), file.len()));
            let rollups = samples::footer_text(&metadata, ROLLUPS_KEY);
            Ok(Self {
                groups: groups.collect::<Result<_>>()?,
                size_bytes: file.len(),
                has_days: rollups.split(' ').any(|kind| kind == "days"),
                has_hours: rollups.split(' ').any(|kind| kind == "hours"),
                profiles: OnceLock::new(),
            })
        };
        guarded(path, || parse().map_err(|error| BlockError::damaged(path, error)))
    }

    /// About how much memory it takes, with the profiles of a numbered file.
    pub fn weight_bytes(&self) -> usize {
        const COLUMN_BYTES: usize = 700;
        const PROFILE_BYTES: usize = 32;
        let numbers = self.groups.iter().filter_map(|group| group.numbers.as_ref()?.bounds);
        let profiles = numbers.map(|(_, last)| usize::try_from(last).unwrap_or(0) + 1).max().unwrap_or(0);
        self.groups.len() * (COLUMNS.len() + ID_COLUMNS.len()) * COLUMN_BYTES + profiles * PROFILE_BYTES + 200
    }

    /// The times of the first and the last profile, where the footer says them.
    pub fn times_ns(&self) -> Option<(i64, i64)> {
        let bounds = self.groups.iter().map(|group| group.times).collect::<Option<Vec<_>>>()?;
        bounds.into_iter().reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// The times of the first and the last profile of the series that it may hold; None where it may hold none.
    pub fn times(&self, series: &[i64]) -> Option<(i64, i64)> {
        let filter = Filter { series, start_ns: i64::MIN, end_ns: i64::MAX, ..Filter::default() };
        let groups = self.groups.iter().filter(|group| group.may_match(&filter));
        groups.map(|group| group.times.unwrap_or((i64::MIN, i64::MAX))).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// Calls `visit` with every row group that has rows for the query, and the rows.
    pub fn scan(
        &self,
        path: &str,
        filter: &Filter<'_>,
        mut visit: impl FnMut(&Group<'_>, &Rows) -> Result<()>,
    ) -> std::result::Result<(), BlockError> {
        let mut wanted = self.groups.iter().filter(|group| group.may_match(filter)).peekable();
        let Some(first) = wanted.peek() else { return Ok(()) };
        let profiles = if first.numbers.is_some() { Some(self.profiles(path)?) } else { None };
        let source = Source::open(path, self.size_bytes)?;
        for index in wanted {
            let group = Group { source: &source, index, profiles: profiles.as_deref(), numbers: OnceLock::new() };
            let mut run = || match group.rows(filter)? {
                Rows::Some(rows) if rows.is_empty() => Ok(()),
                rows => visit(&group, &rows),
            };
            guarded(path, || run().map_err(|error| BlockError::damaged(path, error)))?;
        }
        Ok(())
    }

    fn profiles(&self, path: &str) -> std::result::Result<Arc<Profiles>, BlockError> {
        if let Some(profiles) = self.profiles.get() {
            return Ok(profiles.clone());
        }
        let profiles = Arc::new(Profiles::read(path)?);
        Ok(self.profiles.get_or_init(|| profiles).clone())
    }
}

impl GroupIndex {
    fn of(group: &RowGroupMetaData, bounds: Option<&GroupBounds>, file_size: u64) -> Result<Self> {
        let rows = usize::try_from(group.num_rows()).map_err(|_| general("a row group has a negative size"))?;
        let column = |name: &str, wanted: Type| {
            let metadata = (group.columns().iter().find(|column| column.column_path().string() == name))
                .ok_or_else(|| general(&format!("column {name} is missing")))?;
            ColumnIndex::of(metadata, wanted, rows, file_size)
        };
        // A numbered file has its number in place of these three.
        let by_number = |name: &str| bounds.is_some() && ["series", "time_ns", "profile_id"].contains(&name);
        let some = |name: &&str, wanted| if by_number(name) { Ok(None) } else { column(name, wanted).map(Some) };
        let columns = COLUMNS.iter().map(|name| some(name, Type::INT64)).collect::<Result<Vec<_>>>()?;
        let id_columns = ID_COLUMNS.iter().map(|name| some(name, Type::FIXED_LEN_BYTE_ARRAY));
        let numbers = bounds.map(|_| column(NUMBER_COLUMN, Type::INT32)).transpose()?;
        let of_column = |column: Column| columns.get(column as usize)?.as_ref()?.bounds;
        Ok(Self {
            rows,
            series: bounds.map(|bounds| bounds.series).or_else(|| of_column(Column::Series)),
            times: bounds.map(|bounds| bounds.times).or_else(|| of_column(Column::Time)),
            columns,
            id_columns: id_columns.collect::<Result<_>>()?,
            numbers,
        })
    }

    fn bounds(&self, column: Column) -> Option<(i64, i64)> {
        match column {
            Column::Series => self.series,
            Column::Time => self.times,
            _ => self.column(column)?.bounds,
        }
    }

    fn column(&self, column: Column) -> Option<&ColumnIndex> {
        self.columns.get(column as usize)?.as_ref()
    }

    fn id_column(&self, column: IdColumn) -> Option<&ColumnIndex> {
        self.id_columns.get(column as usize)?.as_ref()
    }

    fn may_match(&self, filter: &Filter<'_>) -> bool {
        let in_time = self.times.is_none_or(|(min, max)| min <= filter.end_ns && max >= filter.start_ns);
        let in_series = self.series.map_or(!filter.series.is_empty(), |(min, max)| {
            let first = filter.series.partition_point(|&series| series < min);
            filter.series.get(first).is_some_and(|&series| series <= max)
        });
        let all_null = |column| self.column(column).is_some_and(|column| column.all_null);
        let in_spans = filter.span_ids.is_none() || !(all_null(Column::SpanId) && all_null(Column::ChildSpanId));
        let no_traces = self.id_column(IdColumn::Trace).is_some_and(|column| column.all_null);
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
            Some(Statistics::Int32(statistics)) => {
                let bounds = statistics.min_opt().zip(statistics.max_opt());
                (bounds.map(|(&min, &max)| (i64::from(min), i64::from(max))), statistics.null_count_opt())
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
    /// Of a numbered file.
    profiles: Option<&'a Profiles>,
    numbers: OnceLock<Vec<i32>>,
}

impl Group<'_> {
    /// Reads a column without nulls, unless the statistics prove it constant.
    pub fn values(&self, column: Column) -> Result<Values> {
        if let Some((min, max)) = self.index.bounds(column)
            && min == max
        {
            return Ok(Values::Constant(min));
        }
        match (column, self.profiles) {
            (Column::Series, Some(profiles)) => self.of_profiles(&profiles.series).map(Values::Each),
            (Column::Time, Some(profiles)) => self.of_profiles(&profiles.times).map(Values::Each),
            _ => self.read::<Int64Type>(self.index.column(column), None).map(Values::Each),
        }
    }

    /// The number of each row's profile, in a numbered file.
    fn numbers(&self) -> Result<&[i32]> {
        if let Some(numbers) = self.numbers.get() {
            return Ok(numbers);
        }
        let numbers = match self.index.numbers.as_ref().and_then(|numbers| numbers.bounds) {
            Some((min, max)) if min == max => vec![min as i32; self.index.rows],
            _ => self.read::<Int32Type>(self.index.numbers.as_ref(), None)?,
        };
        Ok(self.numbers.get_or_init(|| numbers))
    }

    /// What a table says of each row's profile.
    fn of_profiles<T: Copy>(&self, table: &[T]) -> Result<Vec<T>> {
        let of = |&number: &i32| usize::try_from(number).ok().and_then(|number| table.get(number)).copied();
        let values: Option<Vec<T>> = self.numbers()?.iter().map(of).collect();
        values.ok_or_else(|| general("a row names a profile that its totals file lacks"))
    }

    fn rows(&self, filter: &Filter<'_>) -> Result<Rows> {
        let mut rows = Rows::All(self.index.rows);
        match self.profiles {
            Some(profiles) => self.keep_profiles(&mut rows, profiles, filter)?,
            None => self.keep_rows(&mut rows, filter)?,
        }
        if let Some(wanted) = filter.span_ids {
            let spans = self.nullable(Column::SpanId)?;
            let children = self.nullable(Column::ChildSpanId)?;
            let has = |values: &[i64], row: usize| {
                values.get(row).is_some_and(|span| *span != 0 && wanted.binary_search(span).is_ok())
            };
            rows.keep(|row| has(&spans, row) || has(&children, row));
        }
        if let Some(wanted) = filter.trace_ids {
            let ids = self.ids(IdColumn::Trace)?;
            rows.keep(|row| ids.get(row).copied().flatten().is_some_and(|id| wanted.binary_search(&id).is_ok()));
        }
        Ok(rows)
    }

    /// Keeps the rows of the wanted series, time and profiles, by columns.
    fn keep_rows(&self, rows: &mut Rows, filter: &Filter<'_>) -> Result<()> {
        match self.values(Column::Series)? {
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
        if let Some(wanted) = filter.profile_ids {
            let ids = self.ids(IdColumn::Profile)?;
            rows.keep(|row| ids.get(row).copied().flatten().is_some_and(|id| wanted.binary_search(&id).is_ok()));
        }
        Ok(())
    }

    /// Keeps the rows of the wanted profiles, each judged once; where all are wanted, no row is looked at.
    fn keep_profiles(&self, rows: &mut Rows, profiles: &Profiles, filter: &Filter<'_>) -> Result<()> {
        let lacks = || general("a row names a profile that its totals file lacks");
        let (first, last) = self.index.numbers.as_ref().and_then(|numbers| numbers.bounds).ok_or_else(lacks)?;
        let range = usize::try_from(first).map_err(|_| lacks())?..usize::try_from(last).map_err(|_| lacks())? + 1;
        let slices = (profiles.series.get(range.clone()), profiles.times.get(range.clone()), profiles.ids.get(range));
        let (Some(series), Some(times), Some(ids)) = slices else { return Err(lacks()) };
        let is_wanted = |((series, time), id): ((&i64, &i64), &u128)| {
            filter.series.binary_search(series).is_ok()
                && (filter.start_ns..=filter.end_ns).contains(time)
                && filter.profile_ids.is_none_or(|wanted| wanted.binary_search(id).is_ok())
        };
        let wanted: Vec<bool> = series.iter().zip(times).zip(ids).map(is_wanted).collect();
        if wanted.iter().all(|&wanted| wanted) {
            return Ok(());
        }
        if !wanted.contains(&true) {
            *rows = Rows::Some(Vec::new());
            return Ok(());
        }
        let numbers = self.numbers()?;
        let place = |number: i32| usize::try_from(i64::from(number) - first).unwrap_or(usize::MAX);
        rows.keep(|row| numbers.get(row).is_some_and(|&number| wanted.get(place(number)) == Some(&true)));
        Ok(())
    }

    /// Reads a nullable column; nulls become 0, which no span id is.
    pub fn nullable(&self, column: Column) -> Result<Vec<i64>> {
        let mut levels = Vec::new();
        let values = self.read::<Int64Type>(self.index.column(column), Some(&mut levels))?;
        let mut values = values.into_iter();
        Ok(levels.iter().map(|&level| if level == 0 { 0 } else { values.next().unwrap_or(0) }).collect())
    }

    /// Reads a column of ids, big-endian; None is null.
    pub fn ids(&self, column: IdColumn) -> Result<Vec<Option<u128>>> {
        if let (IdColumn::Profile, Some(profiles)) = (column, self.profiles) {
            return Ok(self.of_profiles(&profiles.ids)?.into_iter().map(Some).collect());
        }
        let index = self.index.id_column(column);
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
