//! The samples file: its Parquet schema and writer. Read by scan.rs and unpack.rs, described in docs/reference/block-format.md.

use std::io::Write;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnWriterImpl;
use parquet::data_type::{
    ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType, Int32Type, Int64Type,
};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, TypePtr};

use crate::pprof::NONE;

const SCHEMA: &str = "
message samples {
  REQUIRED BYTE_ARRAY service (STRING);
  REQUIRED BYTE_ARRAY profile_type (STRING);
  REQUIRED INT64 series;
  REQUIRED FIXED_LEN_BYTE_ARRAY (16) profile_id (UUID);
  REQUIRED INT64 time_ns (TIMESTAMP(NANOS,true));
  REQUIRED INT64 stack;
  REQUIRED INT64 value;
  OPTIONAL INT64 span_id;
  OPTIONAL INT64 child_span_id;
  OPTIONAL FIXED_LEN_BYTE_ARRAY (16) trace_id;
  OPTIONAL BYTE_ARRAY span_name (STRING);
}";

/// Rows that name their profile by its row in the totals file beside them, which has series, id and time.
const NUMBERED_SCHEMA: &str = "
message samples {
  REQUIRED BYTE_ARRAY service (STRING);
  REQUIRED BYTE_ARRAY profile_type (STRING);
  REQUIRED INT32 profile;
  REQUIRED INT64 stack;
  REQUIRED INT64 value;
  OPTIONAL INT64 span_id;
  OPTIONAL INT64 child_span_id;
  OPTIONAL FIXED_LEN_BYTE_ARRAY (16) trace_id;
  OPTIONAL BYTE_ARRAY span_name (STRING);
}";

static TYPE: LazyLock<Result<TypePtr>> = LazyLock::new(|| parse_message_type(SCHEMA).map(Arc::new));
static NUMBERED_TYPE: LazyLock<Result<TypePtr>> = LazyLock::new(|| parse_message_type(NUMBERED_SCHEMA).map(Arc::new));

/// In the footer of a numbered file: smallest and largest series, earliest and latest time of each row group.
pub const BOUNDS_KEY: &str = "flamewire.bounds";
/// In the footer of a numbered file: which roll-ups of it there are.
pub const ROLLUPS_KEY: &str = "flamewire.rollups";

/// How the rows of a samples file name their profile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// By series, id and time in each row: whoever writes soon after a push.
    Whole,
    /// By its row in the totals file: a fifth of the bytes, for two reads.
    Numbered,
}

/// What the footer of a numbered file says of a row group, in place of the statistics of columns that it lacks.
#[derive(Clone, Copy, Debug)]
pub struct GroupBounds {
    /// Smallest and largest.
    pub series: (i64, i64),
    /// Earliest and latest, ns.
    pub times: (i64, i64),
}

impl GroupBounds {
    /// Those of every row group of a numbered file.
    pub fn of_file(metadata: &ParquetMetaData) -> Result<Vec<Self>> {
        let numbers: Option<Vec<i64>> =
            footer_text(metadata, BOUNDS_KEY).split_ascii_whitespace().map(|number| number.parse().ok()).collect();
        let bounds: Vec<Self> = (numbers.unwrap_or_default().chunks_exact(4))
            .filter_map(|four| <[i64; 4]>::try_from(four).ok())
            .map(|[first, last, earliest, latest]| Self { series: (first, last), times: (earliest, latest) })
            .collect();
        if bounds.len() == metadata.num_row_groups() {
            Ok(bounds)
        } else {
            Err(ParquetError::General("its footer does not say what is in its row groups".to_owned()))
        }
    }
}

/// A text of our own in a file's footer, empty where it is missing.
pub fn footer_text<'a>(metadata: &'a ParquetMetaData, key: &str) -> &'a str {
    let texts = metadata.file_metadata().key_value_metadata();
    let own = texts.and_then(|texts| texts.iter().find(|text| text.key == key));
    own.and_then(|text| text.value.as_deref()).unwrap_or_default()
}

/// The file of another kind that stands beside a samples file, None where the name does not say that it is one.
pub fn beside(samples_path: &str, kind: &str) -> Option<String> {
    let (before, after) = samples_path.rsplit_once("samples")?;
    (!after.contains('/')).then(|| format!("{before}{kind}{after}"))
}

/// The span columns of a row; a default one is written as nulls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SpanColumns {
    pub span_id: i64,
    pub child_span_id: i64,
    pub trace_id: u128,
    pub name: String,
}

/// Whose rows: one profile's samples of one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    pub series: i64,
    pub time_ns: i64,
    pub profile_id: [u8; 16],
}

/// One row; what is long or repeats stands in the tables of its group.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub stack: i64,
    pub value: i64,
    /// Index into `origins`.
    pub origin: u32,
    /// Index into `spans`, `NONE` for rows without a span.
    pub span: u32,
}

/// The rows of one or more (service, profile type), each sorted by (stack, series, time).
#[derive(Default)]
pub struct RowGroup {
    /// (service, profile type, number of rows), in order.
    pub parts: Vec<(String, String, usize)>,
    pub rows: Vec<Row>,
    pub origins: Vec<Origin>,
    pub spans: Vec<SpanColumns>,
}

impl RowGroup {
    /// Appends the rows of another group.
    pub fn append(&mut self, mut other: Self) {
        let (first_origin, first_span) = (self.origins.len() as u32, self.spans.len() as u32);
        self.parts.append(&mut other.parts);
        self.origins.append(&mut other.origins);
        self.spans.append(&mut other.spans);
        self.rows.extend(other.rows.into_iter().map(|row| Row {
            origin: row.origin + first_origin,
            span: if row.span == NONE { NONE } else { row.span + first_span },
            ..row
        }));
    }
}

/// The parquet crate's settings that both kinds of file share.
pub fn properties(zstd_level: i32) -> Result<WriterPropertiesBuilder> {
    const PAGE_BYTES: usize = 8 << 20;
    Ok(WriterProperties::builder()
        .set_created_by("flamewire".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(zstd_level)?))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_dictionary_page_size_limit(PAGE_BYTES)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_data_page_row_count_limit(1 << 20))
}

/// Encodes row groups into one file, one after the other.
pub struct Writer {
    file: SerializedFileWriter<Vec<u8>>,
    layout: Layout,
    merge_up_to: usize,
    pending: Option<RowGroup>,
    /// Origins of the groups that were written.
    numbered: u32,
    bounds: String,
}

impl Writer {
    /// `merge_up_to`: neighbouring groups become one while they have no more rows together. `has_spans` may be true
    /// where no row has a span.
    pub fn new(layout: Layout, zstd_level: i32, has_spans: bool, merge_up_to: usize) -> Result<Self> {
        let mut builder = properties(zstd_level)?;
        // One value needs no compressor; nor do columns that are null in the whole file.
        let mut plain = vec!["service", "profile_type"];
        if !has_spans {
            plain.extend(["span_id", "child_span_id", "trace_id", "span_name"]);
        }
        for column in plain {
            builder = builder.set_column_compression(ColumnPath::from(column), Compression::UNCOMPRESSED);
        }
        let schema = if layout == Layout::Numbered { &NUMBERED_TYPE } else { &TYPE };
        let schema = schema.as_ref().map_err(|error| ParquetError::General(error.to_string()))?;
        let file = SerializedFileWriter::new(Vec::new(), schema.clone(), Arc::new(builder.build()))?;
        Ok(Self { file, layout, merge_up_to, pending: None, numbered: 0, bounds: String::new() })
    }

    /// Adds the rows of one (service, profile type); they come in this order.
    pub fn add(&mut self, group: RowGroup) -> Result<()> {
        if let Some(pending) = &mut self.pending
            && pending.rows.len() + group.rows.len() <= self.merge_up_to
        {
            pending.append(group);
            return Ok(());
        }
        match self.pending.replace(group) {
            Some(full) => self.write(&full),
            None => Ok(()),
        }
    }

    /// The file's bytes. `rollups`: those that will stand beside it, by kind.
    pub fn finish(mut self, rollups: &[&str]) -> Result<Vec<u8>> {
        if let Some(last) = self.pending.take() {
            self.write(&last)?;
        }
        if self.layout == Layout::Numbered {
            for (key, value) in [(BOUNDS_KEY, std::mem::take(&mut self.bounds)), (ROLLUPS_KEY, rollups.join(" "))] {
                self.file.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
            }
        }
        self.file.into_inner()
    }

    fn write(&mut self, group: &RowGroup) -> Result<()> {
        write_group(self.file.next_row_group()?, group, self.layout, self.numbered)?;
        self.numbered += group.origins.len() as u32;
        if self.layout == Layout::Numbered {
            let bounds = |of: fn(&Origin) -> i64| {
                let all = || group.origins.iter().map(of);
                (all().min().unwrap_or(0), all().max().unwrap_or(0))
            };
            let (series, times) = (bounds(|origin| origin.series), bounds(|origin| origin.time_ns));
            let space = if self.bounds.is_empty() { "" } else { " " };
            let text = format!("{space}{} {} {} {}", series.0, series.1, times.0, times.1);
            self.bounds.push_str(&text);
        }
        Ok(())
    }
}

/// Rows that are copied into a column's own type at a time.
const CHUNK_ROWS: usize = 4096;

fn write_group<W: Write + Send>(
    mut writer: SerializedRowGroupWriter<'_, W>,
    group: &RowGroup,
    layout: Layout,
    first_number: u32,
) -> Result<()> {
    put_texts(&mut writer, group, |part| &part.0)?;
    put_texts(&mut writer, group, |part| &part.1)?;
    match layout {
        Layout::Whole => put_origins(&mut writer, group)?,
        Layout::Numbered => put_rows::<Int32Type, _>(&mut writer, group, |row| (first_number + row.origin) as i32)?,
    }
    put_rows::<Int64Type, _>(&mut writer, group, |row| row.stack)?;
    put_rows::<Int64Type, _>(&mut writer, group, |row| row.value)?;
    put_spans::<Int64Type, _>(&mut writer, group, |span| (span.span_id != 0).then_some(span.span_id))?;
    put_spans::<Int64Type, _>(&mut writer, group, |span| (span.child_span_id != 0).then_some(span.child_span_id))?;
    put_spans::<FixedLenByteArrayType, _>(&mut writer, group, |span| {
        (span.trace_id != 0).then(|| FixedLenByteArray::from(span.trace_id.to_be_bytes().to_vec()))
    })?;
    put_spans::<ByteArrayType, _>(&mut writer, group, |span| {
        (!span.name.is_empty()).then(|| ByteArray::from(span.name.as_str()))
    })?;
    writer.close()?;
    Ok(())
}

/// Writes the columns that say of each row whose it is.
fn put_origins<W: Write + Send>(writer: &mut SerializedRowGroupWriter<'_, W>, group: &RowGroup) -> Result<()> {
    let origin = |row: &Row| group.origins.get(row.origin as usize);
    let ids: Vec<FixedLenByteArray> =
        group.origins.iter().map(|origin| FixedLenByteArray::from(origin.profile_id.to_vec())).collect();
    let no_id = FixedLenByteArray::from(vec![0; 16]);
    put_rows::<Int64Type, _>(writer, group, |row| origin(row).map_or(0, |origin| origin.series))?;
    put_rows::<FixedLenByteArrayType, _>(writer, group, |row| ids.get(row.origin as usize).unwrap_or(&no_id).clone())?;
    put_rows::<Int64Type, _>(writer, group, |row| origin(row).map_or(0, |origin| origin.time_ns))
}

/// Writes a column that has one text for each part.
fn put_texts<W: Write + Send>(
    writer: &mut SerializedRowGroupWriter<'_, W>,
    group: &RowGroup,
    text: impl Fn(&(String, String, usize)) -> &str,
) -> Result<()> {
    let mut column = next_column(writer)?;
    let typed: &mut ColumnWriterImpl<'_, ByteArrayType> = column.typed();
    for part in &group.parts {
        let value = ByteArray::from(Bytes::copy_from_slice(text(part).as_bytes()));
        let repeated = vec![value; part.2.min(CHUNK_ROWS)];
        let mut left = part.2;
        while left > 0 {
            let chunk = repeated.get(..left.min(CHUNK_ROWS)).unwrap_or(&repeated);
            typed.write_batch(chunk, None, None)?;
            left -= chunk.len();
        }
    }
    column.close()
}

/// Writes a column that has a value in every row.
fn put_rows<T: DataType, W: Write + Send>(
    writer: &mut SerializedRowGroupWriter<'_, W>,
    group: &RowGroup,
    value: impl Fn(&Row) -> T::T,
) -> Result<()> {
    let mut column = next_column(writer)?;
    let typed: &mut ColumnWriterImpl<'_, T> = column.typed();
    let mut values = Vec::with_capacity(group.rows.len().min(CHUNK_ROWS));
    for chunk in group.rows.chunks(CHUNK_ROWS) {
        values.clear();
        values.extend(chunk.iter().map(&value));
        typed.write_batch(&values, None, None)?;
    }
    column.close()
}

/// Writes one nullable column from the rows' spans.
fn put_spans<T: DataType, W: Write + Send>(
    writer: &mut SerializedRowGroupWriter<'_, W>,
    group: &RowGroup,
    value: impl Fn(&SpanColumns) -> Option<T::T>,
) -> Result<()> {
    let distinct: Vec<Option<T::T>> = group.spans.iter().map(value).collect();
    let of = |row: &Row| distinct.get(row.span as usize).and_then(Option::as_ref);
    let mut column = next_column(writer)?;
    let typed: &mut ColumnWriterImpl<'_, T> = column.typed();
    for chunk in group.rows.chunks(CHUNK_ROWS) {
        let levels: Vec<i16> = chunk.iter().map(|row| i16::from(of(row).is_some())).collect();
        let values: Vec<T::T> = chunk.iter().filter_map(of).cloned().collect();
        typed.write_batch(&values, Some(&levels), None)?;
    }
    column.close()
}

/// The next column of a row group.
pub fn next_column<'a, W: Write + Send>(
    writer: &'a mut SerializedRowGroupWriter<'_, W>,
) -> Result<SerializedColumnWriter<'a>> {
    writer.next_column()?.ok_or_else(|| ParquetError::General("the schema has fewer columns".to_owned()))
}

/// Writes the next column of a row group.
pub fn put<T: DataType, W: Write + Send>(writer: &mut SerializedRowGroupWriter<'_, W>, values: &[T::T]) -> Result<()> {
    let mut column = next_column(writer)?;
    let typed: &mut ColumnWriterImpl<'_, T> = column.typed();
    typed.write_batch(values, None, None)?;
    column.close()
}
