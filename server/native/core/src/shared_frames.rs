//! The symbols file of a compacted block: each frame once, and call trees that name frames by number.
//!
//! Rows are of two kinds, in row groups of their own: first the frames, then the nodes, callers before their callees
//! and as near to them as they can. A node's hash follows from its caller's and its frame's, so it is stored only where
//! it does not. Against a row with all texts for each node that is a fifteenth of the bytes.

use std::io::Write;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, FileReader, RowGroupReader};
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, TypePtr};

use crate::hash;
use crate::samples::{next_column, properties};
use crate::symbols::{typed, unsymbolised};

const SCHEMA: &str = "
message symbols {
  OPTIONAL BYTE_ARRAY service (STRING);
  OPTIONAL INT32 frame;
  OPTIONAL INT32 back;
  OPTIONAL INT64 parent;
  OPTIONAL INT64 node;
  OPTIONAL INT64 hash;
  OPTIONAL BYTE_ARRAY function (STRING);
  OPTIONAL BYTE_ARRAY system_name (STRING);
  OPTIONAL BYTE_ARRAY filename (STRING);
  OPTIONAL INT64 start_line;
  OPTIONAL INT64 line;
  OPTIONAL INT64 address;
  OPTIONAL BYTE_ARRAY build_id (STRING);
  OPTIONAL BYTE_ARRAY mapping (STRING);
  OPTIONAL BOOLEAN inlined;
}";

static TYPE: LazyLock<Result<TypePtr>> = LazyLock::new(|| parse_message_type(SCHEMA).map(Arc::new));

/// The columns, by index.
const SERVICE: usize = 0;
const FRAME: usize = 1;
const BACK: usize = 2;
const PARENT: usize = 3;
const NODE: usize = 4;
const HASH: usize = 5;
const TEXTS: [usize; 5] = [6, 7, 8, 12, 13];
const NUMBERS: [usize; 3] = [9, 10, 11];
const INLINED: usize = 14;
const COLUMNS: usize = 15;

/// Nodes of a row group; those of a service stand together.
const GROUP_NODES: usize = 65_536;

/// A frame without its place in a call tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Function, system name, file name, build id, mapping.
    pub texts: [Bytes; 5],
    /// First line of the function, line, address.
    pub numbers: [i64; 3],
    pub inlined: bool,
}

impl Frame {
    /// Its part of the hash of a node, as the decoder of pprofs makes it.
    pub fn hash(&self) -> u64 {
        let [function, system_name, filename, build_id, mapping] = &self.texts;
        let [start_line, line, address] = self.numbers;
        let text = |text: &Bytes| hash::of_bytes(text) | 1;
        let is_absent = |texts: &[&Bytes]| texts.iter().all(|text| text.is_empty());
        let function = if start_line == 0 && is_absent(&[function, system_name, filename]) {
            0
        } else {
            let texts = [function, system_name, filename].into_iter();
            texts.fold(start_line as u64, |hash, name| hash::mix(hash, text(name)))
        };
        let mapping = if is_absent(&[build_id, mapping]) { 0 } else { hash::mix(text(mapping), text(build_id)) };
        let place = hash::mix(mapping, address as u64);
        hash::mix(hash::mix(function, place), hash::mix(line as u64, u64::from(self.inlined)))
    }
}

/// A node of a call tree: a frame and who called it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// The hash by which samples name it.
    pub id: i64,
    /// The caller's; 0 at the root.
    pub parent: i64,
    /// Index into the file's frames.
    pub frame: u32,
}

/// The frames of a file, by number.
#[derive(Debug, Default)]
pub struct Frames {
    pub frames: Vec<Frame>,
    pub hashes: Vec<u64>,
}

/// Whether a symbols file is of this layout.
pub fn is_layout_of<R: ChunkReader + 'static>(file: &SerializedFileReader<R>) -> bool {
    file.metadata().file_metadata().schema_descr().num_columns() == COLUMNS
}

/// The number of row groups that have frames: the first.
fn frame_groups<R: ChunkReader + 'static>(file: &SerializedFileReader<R>) -> usize {
    let has_frames = |group: usize| {
        let group = file.metadata().row_group(group);
        let nulls = group.columns().get(HASH).and_then(|hash| hash.statistics()?.null_count_opt());
        nulls != Some(group.num_rows() as u64)
    };
    (0..file.num_row_groups()).take_while(|&group| has_frames(group)).count()
}

impl Frames {
    /// Reads the frames of a file.
    pub fn read<R: ChunkReader + 'static>(file: &SerializedFileReader<R>) -> Result<Self> {
        let mut own = Self::default();
        for index in 0..frame_groups(file) {
            let group = &*file.get_row_group(index)?;
            let hashes = whole::<Int64Type>(group, HASH)?;
            let mut frames = vec![Frame::default(); hashes.len()];
            for (place, column) in TEXTS.into_iter().enumerate() {
                for (frame, text) in frames.iter_mut().zip(whole::<ByteArrayType>(group, column)?) {
                    if let Some(slot) = frame.texts.get_mut(place) {
                        *slot = Bytes::copy_from_slice(text.data());
                    }
                }
            }
            for (place, column) in NUMBERS.into_iter().enumerate() {
                for (frame, number) in frames.iter_mut().zip(whole::<Int64Type>(group, column)?) {
                    if let Some(slot) = frame.numbers.get_mut(place) {
                        *slot = number;
                    }
                }
            }
            for (frame, inlined) in frames.iter_mut().zip(whole::<BoolType>(group, INLINED)?) {
                frame.inlined = inlined;
            }
            own.frames.extend(frames);
            own.hashes.extend(hashes.into_iter().map(|hash| hash as u64));
        }
        Ok(own)
    }

    /// What each frame is called in a call tree.
    pub fn names(&self) -> Vec<Bytes> {
        let name = |frame: &Frame| {
            let [function, _, _, _, mapping] = &frame.texts;
            let [_, _, address] = frame.numbers;
            if function.is_empty() { unsymbolised(mapping, address) } else { function.clone() }
        };
        self.frames.iter().map(name).collect()
    }
}

/// Calls `each` with every node of a file, callers before their callees.
pub fn each_node<R: ChunkReader + 'static>(file: &SerializedFileReader<R>, mut each: impl FnMut(Node)) -> Result<()> {
    each_node_of(file, |_, node| each(node))
}

/// The same, with the service whose profile brought the node.
pub fn each_node_of<R: ChunkReader + 'static>(
    file: &SerializedFileReader<R>,
    mut each: impl FnMut(&Bytes, Node),
) -> Result<()> {
    let general = |reason: &str| ParquetError::General(reason.to_owned());
    let frame_groups = frame_groups(file);
    let mut hashes = Vec::new();
    for index in 0..frame_groups {
        hashes.extend(whole::<Int64Type>(&*file.get_row_group(index)?, HASH)?);
    }
    let mut nodes: Vec<i64> = Vec::new();
    for index in frame_groups..file.num_row_groups() {
        let group = &*file.get_row_group(index)?;
        let services = whole::<ByteArrayType>(group, SERVICE)?;
        let (frames, backs) = (whole::<Int32Type>(group, FRAME)?, whole::<Int32Type>(group, BACK)?);
        let (parents, own) = (nullable::<Int64Type>(group, PARENT)?, nullable::<Int64Type>(group, NODE)?);
        let mut last: Option<(ByteArray, Bytes)> = None;
        for ((((service, frame), back), parent), own) in
            services.into_iter().zip(frames).zip(backs).zip(parents).zip(own)
        {
            let frame = u32::try_from(frame).map_err(|_| general("a node names no frame"))?;
            let hash = *hashes.get(frame as usize).ok_or_else(|| general("a node names no frame"))?;
            let parent = match usize::try_from(back).ok().filter(|&back| back > 0) {
                None => parent.unwrap_or(0),
                Some(back) => {
                    let caller = nodes.len().checked_sub(back).and_then(|caller| nodes.get(caller));
                    *caller.ok_or_else(|| general("a node names no caller"))?
                }
            };
            let node = own.unwrap_or_else(|| hash::stack(parent as u64, hash as u64) as i64);
            nodes.push(node);
            let service = match &last {
                Some((text, bytes)) if *text == service => bytes.clone(),
                _ => Bytes::copy_from_slice(service.data()),
            };
            each(&service, Node { id: node, parent, frame });
            last = Some((ByteArray::from(service.clone()), service));
        }
    }
    Ok(())
}

/// The nodes of a service to write: as they come, with the place of their caller among them.
pub struct Tree<'a> {
    pub service: &'a [u8],
    pub nodes: &'a [Node],
}

/// Encodes frames and the call trees of services into one file.
pub fn write(zstd_level: i32, frames: &Frames, trees: &[Tree<'_>]) -> Result<Vec<u8>> {
    let schema = TYPE.as_ref().map_err(|error| ParquetError::General(error.to_string()))?;
    // A hash has no value twice.
    let properties = properties(zstd_level)?
        .set_column_dictionary_enabled(ColumnPath::from("hash"), false)
        .set_column_encoding(ColumnPath::from("hash"), Encoding::PLAIN)
        .build();
    let mut file = SerializedFileWriter::new(Vec::new(), schema.clone(), Arc::new(properties))?;
    write_frames(file.next_row_group()?, frames)?;
    let mut rows: Vec<NodeRow<'_>> = Vec::new();
    for tree in trees {
        if rows.len() + tree.nodes.len() > GROUP_NODES && !rows.is_empty() {
            write_nodes(file.next_row_group()?, &rows)?;
            rows.clear();
        }
        rows.extend(callers_first(tree, &frames.hashes));
    }
    if !rows.is_empty() {
        write_nodes(file.next_row_group()?, &rows)?;
    }
    file.into_inner()
}

struct NodeRow<'a> {
    service: &'a [u8],
    frame: u32,
    back: u32,
    parent: Option<i64>,
    node: Option<i64>,
}

/// The nodes in the order of a walk down the trees, so that a caller mostly stands just before its callee.
fn callers_first<'a>(tree: &Tree<'a>, hashes: &[u64]) -> Vec<NodeRow<'a>> {
    const NONE: u32 = u32::MAX;
    let mut places: hash::HashedMap<u32> = hash::HashedMap::default();
    places.extend(tree.nodes.iter().zip(0u32..).map(|(node, place)| (node.id, place)));
    let caller = |node: &Node| if node.parent == 0 { None } else { places.get(&node.parent).copied() };
    // First callee and next sibling of each, linked from the last so that they come in their order.
    let (mut first, mut next) = (vec![NONE; tree.nodes.len()], vec![NONE; tree.nodes.len()]);
    let mut roots = Vec::new();
    for (place, node) in tree.nodes.iter().enumerate().rev() {
        let place = place as u32;
        match caller(node) {
            Some(caller) if caller != place => {
                if let (Some(first), Some(next)) = (first.get_mut(caller as usize), next.get_mut(place as usize)) {
                    *next = std::mem::replace(first, place);
                }
            }
            _ => roots.push(place),
        }
    }
    let mut rows = Vec::with_capacity(tree.nodes.len());
    let mut row_of = vec![NONE; tree.nodes.len()];
    // A chain of callers that ends in itself, of a damaged file, has no root and is left out.
    let mut left = roots;
    while let Some(place) = left.pop() {
        let Some(node) = tree.nodes.get(place as usize) else { continue };
        let row = rows.len() as u32;
        let caller = caller(node).filter(|&caller| caller != place);
        let caller_row = caller.and_then(|caller| row_of.get(caller as usize)).copied();
        if let Some(own) = row_of.get_mut(place as usize) {
            *own = row;
        }
        let hash = hashes.get(node.frame as usize).copied().unwrap_or(0);
        let back = caller_row.map_or(0, |caller| row - caller);
        rows.push(NodeRow {
            service: tree.service,
            frame: node.frame,
            back,
            parent: (back == 0 && node.parent != 0).then_some(node.parent),
            node: (hash::stack(node.parent as u64, hash) as i64 != node.id).then_some(node.id),
        });
        if let Some(&sibling) = next.get(place as usize)
            && sibling != NONE
        {
            left.push(sibling);
        }
        if let Some(&callee) = first.get(place as usize)
            && callee != NONE
        {
            left.push(callee);
        }
    }
    rows
}

fn write_frames<W: Write + Send>(mut writer: SerializedRowGroupWriter<'_, W>, frames: &Frames) -> Result<()> {
    let all = &frames.frames;
    let none = all.len();
    let text =
        |place: usize| all.iter().map(move |frame| frame.texts.get(place).map(|text| ByteArray::from(text.clone())));
    let number = |place: usize| all.iter().map(move |frame| frame.numbers.get(place).copied());
    put_nullable::<ByteArrayType, _>(&mut writer, nulls(none))?;
    put_nullable::<Int32Type, _>(&mut writer, nulls(none))?;
    put_nullable::<Int32Type, _>(&mut writer, nulls(none))?;
    put_nullable::<Int64Type, _>(&mut writer, nulls(none))?;
    put_nullable::<Int64Type, _>(&mut writer, nulls(none))?;
    put_nullable::<Int64Type, _>(&mut writer, frames.hashes.iter().map(|&hash| Some(hash as i64)))?;
    for place in 0..3 {
        put_nullable::<ByteArrayType, _>(&mut writer, text(place))?;
    }
    for place in 0..3 {
        put_nullable::<Int64Type, _>(&mut writer, number(place))?;
    }
    for place in 3..5 {
        put_nullable::<ByteArrayType, _>(&mut writer, text(place))?;
    }
    put_nullable::<BoolType, _>(&mut writer, all.iter().map(|frame| Some(frame.inlined)))?;
    writer.close()?;
    Ok(())
}

fn write_nodes<W: Write + Send>(mut writer: SerializedRowGroupWriter<'_, W>, rows: &[NodeRow<'_>]) -> Result<()> {
    let none = rows.len();
    put_nullable::<ByteArrayType, _>(&mut writer, rows.iter().map(|row| Some(ByteArray::from(row.service.to_vec()))))?;
    put_nullable::<Int32Type, _>(&mut writer, rows.iter().map(|row| Some(row.frame as i32)))?;
    put_nullable::<Int32Type, _>(&mut writer, rows.iter().map(|row| Some(row.back as i32)))?;
    put_nullable::<Int64Type, _>(&mut writer, rows.iter().map(|row| row.parent))?;
    put_nullable::<Int64Type, _>(&mut writer, rows.iter().map(|row| row.node))?;
    put_nullable::<Int64Type, _>(&mut writer, nulls(none))?;
    for _ in 0..3 {
        put_nullable::<ByteArrayType, _>(&mut writer, nulls(none))?;
    }
    for _ in 0..3 {
        put_nullable::<Int64Type, _>(&mut writer, nulls(none))?;
    }
    for _ in 0..2 {
        put_nullable::<ByteArrayType, _>(&mut writer, nulls(none))?;
    }
    put_nullable::<BoolType, _>(&mut writer, nulls(none))?;
    writer.close()?;
    Ok(())
}

fn nulls<T>(count: usize) -> impl Iterator<Item = Option<T>> {
    std::iter::repeat_with(|| None).take(count)
}

fn put_nullable<T: DataType, W: Write + Send>(
    writer: &mut SerializedRowGroupWriter<'_, W>,
    values: impl Iterator<Item = Option<T::T>>,
) -> Result<()> {
    let values: Vec<Option<T::T>> = values.collect();
    let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
    let values: Vec<T::T> = values.into_iter().flatten().collect();
    let mut column = next_column(writer)?;
    column.typed::<T>().write_batch(&values, Some(&levels), None)?;
    column.close()
}

/// Reads a nullable column that has a value in every row.
fn whole<T: DataType>(group: &dyn RowGroupReader, index: usize) -> Result<Vec<T::T>> {
    let missing = || ParquetError::General(format!("column {index} lacks values"));
    nullable::<T>(group, index)?.into_iter().map(|value| value.ok_or_else(missing)).collect()
}

fn nullable<T: DataType>(group: &dyn RowGroupReader, index: usize) -> Result<Vec<Option<T::T>>> {
    let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
    let mut reader = typed::<T>(group.get_column_reader(index)?)?;
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    let mut read = 0;
    while read < rows {
        let (records, _, _) = reader.read_records(rows - read, Some(&mut levels), None, &mut values)?;
        if records == 0 {
            return Err(ParquetError::EOF(format!("column {index} has {read} of {rows} values")));
        }
        read += records;
    }
    let mut values = values.into_iter();
    Ok(levels.iter().map(|&level| if level == 0 { None } else { values.next() }).collect())
}
