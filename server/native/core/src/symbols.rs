//! The symbols file of a commit: one row per frame of a call tree, callers first. Schema, writer, and the reader of what
//! names need. Compaction writes another layout: `shared_frames`.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{FileReader, RowGroupReader};
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::TypePtr;

use crate::pprof::Profile;
use crate::samples::{properties, put};
use crate::shared_frames;

const SCHEMA: &str = "
message symbols {
  REQUIRED BYTE_ARRAY service (STRING);
  REQUIRED INT64 node;
  REQUIRED INT64 parent;
  REQUIRED BYTE_ARRAY function (STRING);
  REQUIRED BYTE_ARRAY system_name (STRING);
  REQUIRED BYTE_ARRAY filename (STRING);
  REQUIRED INT64 start_line;
  REQUIRED INT64 line;
  REQUIRED INT64 address;
  REQUIRED BYTE_ARRAY build_id (STRING);
  REQUIRED BYTE_ARRAY mapping (STRING);
  REQUIRED BOOLEAN inlined;
}";

const NODE: usize = 1;
const PARENT: usize = 2;
const FUNCTION: usize = 3;
const ADDRESS: usize = 8;
const MAPPING: usize = 10;

static TYPE: LazyLock<Result<TypePtr>> = LazyLock::new(|| parse_message_type(SCHEMA).map(Arc::new));

/// A frame that is new to its (tenant, service, day): where to find its symbols.
pub struct NewFrame<'a> {
    pub service: &'a str,
    pub node: i64,
    pub parent: i64,
    pub profile: &'a Profile,
    pub frame: u32,
}

/// Columns of text, beside the service.
#[derive(Clone, Copy)]
pub enum Text {
    Function,
    SystemName,
    Filename,
    BuildId,
    Mapping,
}

/// Columns of numbers, beside the hashes.
#[derive(Clone, Copy)]
pub enum Number {
    StartLine,
    Line,
    Address,
}

/// A row to write.
pub trait FrameRow {
    fn service(&self) -> ByteArray;
    fn node(&self) -> i64;
    fn parent(&self) -> i64;
    fn text(&self, column: Text) -> ByteArray;
    fn number(&self, column: Number) -> i64;
    fn is_inlined(&self) -> bool;
}

/// Encodes groups of frames, in order, into one file.
pub fn write<F: FrameRow, G: AsRef<[F]>>(zstd_level: i32, groups: &[G]) -> Result<Vec<u8>> {
    let schema = TYPE.as_ref().map_err(|error| ParquetError::General(error.to_string()))?;
    let properties = Arc::new(properties(zstd_level)?.build());
    let mut file = SerializedFileWriter::new(Vec::new(), schema.clone(), properties)?;
    for group in groups {
        write_group(&mut file, group.as_ref())?;
    }
    file.into_inner()
}

fn write_group<F: FrameRow>(file: &mut SerializedFileWriter<Vec<u8>>, frames: &[F]) -> Result<()> {
    let mut writer = file.next_row_group()?;
    let numbers = |value: &dyn Fn(&F) -> i64| -> Vec<i64> { frames.iter().map(value).collect() };
    let texts = |column: Text| -> Vec<ByteArray> { frames.iter().map(|frame| frame.text(column)).collect() };
    let services: Vec<ByteArray> = frames.iter().map(F::service).collect();
    put::<ByteArrayType, _>(&mut writer, &services)?;
    put::<Int64Type, _>(&mut writer, &numbers(&F::node))?;
    put::<Int64Type, _>(&mut writer, &numbers(&F::parent))?;
    put::<ByteArrayType, _>(&mut writer, &texts(Text::Function))?;
    put::<ByteArrayType, _>(&mut writer, &texts(Text::SystemName))?;
    put::<ByteArrayType, _>(&mut writer, &texts(Text::Filename))?;
    put::<Int64Type, _>(&mut writer, &numbers(&|frame| frame.number(Number::StartLine)))?;
    put::<Int64Type, _>(&mut writer, &numbers(&|frame| frame.number(Number::Line)))?;
    put::<Int64Type, _>(&mut writer, &numbers(&|frame| frame.number(Number::Address)))?;
    put::<ByteArrayType, _>(&mut writer, &texts(Text::BuildId))?;
    put::<ByteArrayType, _>(&mut writer, &texts(Text::Mapping))?;
    let inlined: Vec<bool> = frames.iter().map(F::is_inlined).collect();
    put::<BoolType, _>(&mut writer, &inlined)?;
    writer.close()?;
    Ok(())
}

impl FrameRow for NewFrame<'_> {
    fn service(&self) -> ByteArray {
        ByteArray::from(self.service)
    }

    fn node(&self) -> i64 {
        self.node
    }

    fn parent(&self) -> i64 {
        self.parent
    }

    fn text(&self, column: Text) -> ByteArray {
        let index = match column {
            Text::Function => self.function().map(|function| function.name),
            Text::SystemName => self.function().map(|function| function.system_name),
            Text::Filename => self.function().map(|function| function.filename),
            Text::BuildId => self.mapping().map(|mapping| mapping.build_id),
            Text::Mapping => self.mapping().map(|mapping| mapping.filename),
        };
        index.map_or_else(
            || ByteArray::from(""),
            |index| ByteArray::from(self.profile.string(index).as_bytes().to_vec()),
        )
    }

    fn number(&self, column: Number) -> i64 {
        match column {
            Number::StartLine => self.function().map_or(0, |function| function.start_line),
            Number::Line => self.frame().map_or(0, |own| own.line),
            Number::Address => self.frame().map_or(0, |own| own.address as i64),
        }
    }

    fn is_inlined(&self) -> bool {
        self.frame().is_some_and(|own| own.inlined)
    }
}

impl NewFrame<'_> {
    fn frame(&self) -> Option<&crate::pprof::Frame> {
        self.profile.frames.get(self.frame as usize)
    }

    fn function(&self) -> Option<&crate::pprof::Function> {
        self.profile.functions.get(self.frame()?.function as usize)
    }

    fn mapping(&self) -> Option<&crate::pprof::Mapping> {
        self.profile.mappings.get(self.frame()?.mapping as usize)
    }
}

/// One row as call trees need it: the displayed name of a frame.
pub struct NamedFrame {
    pub node: i64,
    pub parent: i64,
    pub name: Bytes,
}

/// Reads the rows of a symbols file of either layout.
pub fn read(bytes: Bytes) -> Result<Vec<NamedFrame>> {
    let file = SerializedFileReader::new(bytes)?;
    let mut frames = Vec::new();
    if shared_frames::is_layout_of(&file) {
        let names = shared_frames::Frames::read(&file)?.names();
        shared_frames::each_node(&file, |node| {
            let name = names.get(node.frame as usize).cloned().unwrap_or_default();
            frames.push(NamedFrame { node: node.id, parent: node.parent, name });
        })?;
        return Ok(frames);
    }
    for index in 0..file.num_row_groups() {
        read_group(&*file.get_row_group(index)?, &mut frames)?;
    }
    Ok(frames)
}

fn read_group(group: &dyn RowGroupReader, frames: &mut Vec<NamedFrame>) -> Result<()> {
    let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
    let nodes = column::<Int64Type>(group, NODE, rows)?;
    let parents = column::<Int64Type>(group, PARENT, rows)?;
    let functions = column::<ByteArrayType>(group, FUNCTION, rows)?;
    let unnamed = functions.iter().any(ByteArray::is_empty);
    let (addresses, mappings) = if unnamed {
        (column::<Int64Type>(group, ADDRESS, rows)?, column::<ByteArrayType>(group, MAPPING, rows)?)
    } else {
        (Vec::new(), Vec::new())
    };
    frames.reserve(rows);
    for (row, ((node, parent), function)) in nodes.into_iter().zip(parents).zip(functions).enumerate() {
        let name = if function.is_empty() {
            let mapping = mappings.get(row).map(ByteArray::data).unwrap_or_default();
            unsymbolised(mapping, addresses.get(row).copied().unwrap_or(0))
        } else {
            Bytes::copy_from_slice(function.data())
        };
        frames.push(NamedFrame { node, parent, name });
    }
    Ok(())
}

/// What a frame without a function is called: its file and address.
pub fn unsymbolised(mapping: &[u8], address: i64) -> Bytes {
    let path = String::from_utf8_lossy(mapping);
    let file = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("(unknown)");
    Bytes::from(format!("{file} 0x{:x}", address as u64))
}

/// Reads a column without nulls whole.
pub fn column<T: DataType>(group: &dyn RowGroupReader, index: usize, rows: usize) -> Result<Vec<T::T>> {
    let mut reader = typed::<T>(group.get_column_reader(index)?)?;
    let mut values = Vec::new();
    let (_, read, _) = reader.read_records(rows, None, None, &mut values)?;
    if read == rows {
        Ok(values)
    } else {
        Err(ParquetError::EOF(format!("column {index} has {read} of {rows} values")))
    }
}

/// Like the crate's `get_typed_column_reader`, with an error in place of its panic.
pub fn typed<T: DataType>(reader: ColumnReader) -> Result<ColumnReaderImpl<T>> {
    T::get_column_reader(reader).ok_or_else(|| ParquetError::General("a column has another type".to_owned()))
}
