//! The samples file: its Parquet schema and writer. Read by scan.rs, described in docs/reference/block-format.md.

use std::io::Write;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnWriterImpl;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, TypePtr};

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

static TYPE: LazyLock<Result<TypePtr>> = LazyLock::new(|| parse_message_type(SCHEMA).map(Arc::new));

/// The span columns of a row; a default one is written as nulls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SpanColumns {
    pub span_id: i64,
    pub child_span_id: i64,
    pub trace_id: u128,
    pub name: String,
}

/// The rows of one or more (service, profile type), each sorted by (stack, series, time).
#[derive(Default)]
pub struct RowGroup {
    /// (service, profile type, number of rows), in order.
    pub parts: Vec<(String, String, usize)>,
    pub series: Vec<i64>,
    pub profile_id: Vec<FixedLenByteArray>,
    pub time_ns: Vec<i64>,
    pub stack: Vec<i64>,
    pub value: Vec<i64>,
    /// Index into `spans`, None for rows without a span.
    pub span: Vec<Option<u32>>,
    pub spans: Vec<SpanColumns>,
}

impl RowGroup {
    pub fn rows(&self) -> usize {
        self.value.len()
    }

    /// Appends the rows of another group.
    pub fn append(&mut self, mut other: Self) {
        let first_span = self.spans.len() as u32;
        self.parts.append(&mut other.parts);
        self.series.append(&mut other.series);
        self.profile_id.append(&mut other.profile_id);
        self.time_ns.append(&mut other.time_ns);
        self.stack.append(&mut other.stack);
        self.value.append(&mut other.value);
        self.span.extend(other.span.into_iter().map(|span| span.map(|index| index + first_span)));
        self.spans.append(&mut other.spans);
    }
}

/// The parquet crate's settings that both kinds of file share.
pub fn properties() -> Result<WriterPropertiesBuilder> {
    const PAGE_BYTES: usize = 8 << 20;
    Ok(WriterProperties::builder()
        .set_created_by("flamewire".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_dictionary_page_size_limit(PAGE_BYTES)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_data_page_row_count_limit(1 << 20))
}

/// Encodes row groups, in order, into one file.
pub fn write(groups: &[RowGroup]) -> Result<Vec<u8>> {
    let mut builder = properties()?;
    // One value needs no compressor; nor do columns that are null in the whole file.
    let mut plain = vec!["service", "profile_type"];
    if groups.iter().all(|group| group.spans.is_empty()) {
        plain.extend(["span_id", "child_span_id", "trace_id", "span_name"]);
    }
    for column in plain {
        builder = builder.set_column_compression(ColumnPath::from(column), Compression::UNCOMPRESSED);
    }
    let schema = TYPE.as_ref().map_err(|error| ParquetError::General(error.to_string()))?;
    let mut writer = SerializedFileWriter::new(Vec::new(), schema.clone(), Arc::new(builder.build()))?;
    for group in groups {
        write_group(writer.next_row_group()?, group)?;
    }
    writer.into_inner()
}

fn write_group<W: Write + Send>(mut writer: SerializedRowGroupWriter<'_, W>, group: &RowGroup) -> Result<()> {
    let texts = |text: fn(&(String, String, usize)) -> &str| -> Vec<ByteArray> {
        let repeated =
            |part| std::iter::repeat_n(ByteArray::from(Bytes::copy_from_slice(text(part).as_bytes())), part.2);
        group.parts.iter().flat_map(repeated).collect()
    };
    put::<ByteArrayType, _>(&mut writer, &texts(|part| &part.0), None)?;
    put::<ByteArrayType, _>(&mut writer, &texts(|part| &part.1), None)?;
    put::<Int64Type, _>(&mut writer, &group.series, None)?;
    put::<FixedLenByteArrayType, _>(&mut writer, &group.profile_id, None)?;
    put::<Int64Type, _>(&mut writer, &group.time_ns, None)?;
    put::<Int64Type, _>(&mut writer, &group.stack, None)?;
    put::<Int64Type, _>(&mut writer, &group.value, None)?;
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

/// Writes one nullable column from the rows' spans.
fn put_spans<T: DataType, W: Write + Send>(
    writer: &mut SerializedRowGroupWriter<'_, W>,
    group: &RowGroup,
    column: impl Fn(&SpanColumns) -> Option<T::T>,
) -> Result<()> {
    if group.spans.is_empty() {
        return put::<T, W>(writer, &[], Some(&vec![0; group.rows()]));
    }
    let distinct: Vec<Option<T::T>> = group.spans.iter().map(column).collect();
    let row = |span: &Option<u32>| span.and_then(|index| distinct.get(index as usize)).and_then(Option::as_ref);
    let levels: Vec<i16> = group.span.iter().map(|span| i16::from(row(span).is_some())).collect();
    let values: Vec<T::T> = group.span.iter().filter_map(row).cloned().collect();
    put::<T, W>(writer, &values, Some(&levels))
}

/// Writes the next column of a row group.
pub fn put<T: DataType, W: Write + Send>(
    writer: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> Result<()> {
    let mut column =
        writer.next_column()?.ok_or_else(|| ParquetError::General("the schema has fewer columns".to_owned()))?;
    let typed: &mut ColumnWriterImpl<'_, T> = column.typed();
    typed.write_batch(values, levels, None)?;
    column.close()
}
