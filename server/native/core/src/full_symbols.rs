//! The reader of whole symbols: what a pprof says of a frame, beside the name that call trees use.

use std::collections::HashMap;

use bytes::Bytes;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
use parquet::errors::Result;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{FileReader, RowGroupReader};
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::file::statistics::Statistics;

use crate::hash::{HashedMap, HashedSet};
use crate::shared_frames::{self, Frame, Frames, Node};
use crate::symbols::column;

/// Columns of a symbols file, by their place in its schema.
mod place {
    pub const SERVICE: usize = 0;
    pub const NODE: usize = 1;
    pub const PARENT: usize = 2;
    pub const FUNCTION: usize = 3;
    pub const SYSTEM_NAME: usize = 4;
    pub const FILENAME: usize = 5;
    pub const START_LINE: usize = 6;
    pub const LINE: usize = 7;
    pub const ADDRESS: usize = 8;
    pub const BUILD_ID: usize = 9;
    pub const MAPPING: usize = 10;
    pub const INLINED: usize = 11;
}

/// A frame; texts are numbers of `FullSymbols::strings`, where 0 is the empty text.
#[derive(Clone, Copy)]
pub struct FullFrame {
    pub parent: i64,
    pub function: u32,
    pub system_name: u32,
    pub filename: u32,
    pub start_line: i64,
    pub line: i64,
    pub address: i64,
    pub build_id: u32,
    pub mapping: u32,
    /// Inlined into its caller: both are one location.
    pub inlined: bool,
}

/// The frames of some stacks, from symbols files: who calls whom first, the texts of wanted frames then.
pub struct FullSymbols {
    pub frames: HashedMap<FullFrame>,
    parents: HashedMap<i64>,
    pub strings: Strings,
}

/// A table of distinct texts; number 0 is the empty one.
#[derive(Default)]
pub struct Strings {
    numbers: HashMap<Bytes, u32>,
    texts: Vec<Bytes>,
}

impl Strings {
    pub fn new() -> Self {
        let mut strings = Self::default();
        strings.number(Bytes::new());
        strings
    }

    pub fn number(&mut self, text: Bytes) -> u32 {
        let next = self.texts.len() as u32;
        let texts = &mut self.texts;
        *self.numbers.entry(text).or_insert_with_key(|text| {
            texts.push(text.clone());
            next
        })
    }

    pub fn texts(&self) -> &[Bytes] {
        &self.texts
    }
}

/// A symbols file between the two passes: its row groups with their nodes.
pub struct LoadedFile {
    file: SerializedFileReader<Bytes>,
    groups: Vec<Vec<i64>>,
    /// Of a compacted file, which has its nodes apart from their frames.
    nodes: Vec<Node>,
}

impl FullSymbols {
    pub fn new() -> Self {
        Self { frames: HashedMap::default(), parents: HashedMap::default(), strings: Strings::new() }
    }

    /// First pass: learns the caller of each frame.
    /// Row groups that have none of the services, where any are given, are left out.
    pub fn load(&mut self, bytes: Bytes, services: &[String]) -> Result<LoadedFile> {
        let file = SerializedFileReader::new(bytes)?;
        if shared_frames::is_layout_of(&file) {
            let mut nodes = Vec::new();
            shared_frames::each_node(&file, |node| {
                self.parents.entry(node.id).or_insert(node.parent);
                nodes.push(node);
            })?;
            return Ok(LoadedFile { file, groups: Vec::new(), nodes });
        }
        let mut groups = Vec::with_capacity(file.num_row_groups());
        for index in 0..file.num_row_groups() {
            let group = file.get_row_group(index)?;
            if !may_hold(group.metadata(), services) {
                groups.push(Vec::new());
                continue;
            }
            let rows = row_count(&*group);
            let nodes = column::<Int64Type>(&*group, place::NODE, rows)?;
            let parents = column::<Int64Type>(&*group, place::PARENT, rows)?;
            for (&node, parent) in nodes.iter().zip(parents) {
                self.parents.entry(node).or_insert(parent);
            }
            groups.push(nodes);
        }
        Ok(LoadedFile { file, groups, nodes: Vec::new() })
    }

    /// The frames of some stacks.
    pub fn wanted(&self, stacks: impl Iterator<Item = i64>) -> HashedSet {
        let mut wanted = HashedSet::default();
        for stack in stacks {
            let mut node = stack;
            // A frame that is there already brought its callers: so a cycle, of a damaged file, ends too.
            while node != 0 && wanted.insert(node) {
                node = self.parents.get(&node).copied().unwrap_or(0);
            }
        }
        wanted
    }

    /// Second pass: adds the wanted frames of a file. A row group without any is not decoded.
    pub fn fill(&mut self, loaded: &LoadedFile, wanted: &HashedSet) -> Result<()> {
        if loaded.nodes.iter().any(|node| wanted.contains(&node.id)) {
            let frames = Frames::read(&loaded.file)?.frames;
            let frames: Vec<FullFrame> = frames.into_iter().map(|frame| self.full_frame(frame)).collect();
            for node in loaded.nodes.iter().filter(|node| wanted.contains(&node.id)) {
                if let Some(frame) = frames.get(node.frame as usize) {
                    self.frames.entry(node.id).or_insert(FullFrame { parent: node.parent, ..*frame });
                }
            }
        }
        for (index, nodes) in loaded.groups.iter().enumerate() {
            let is_new = |node: &i64| wanted.contains(node) && !self.frames.contains_key(node);
            let rows: Vec<usize> = nodes.iter().zip(0..).filter(|(node, _)| is_new(node)).map(|(_, row)| row).collect();
            if !rows.is_empty() {
                self.fill_group(&*loaded.file.get_row_group(index)?, nodes, &rows)?;
            }
        }
        Ok(())
    }

    fn full_frame(&mut self, frame: Frame) -> FullFrame {
        let [function, system_name, filename, build_id, mapping] = frame.texts.map(|text| self.strings.number(text));
        let [start_line, line, address] = frame.numbers;
        let inlined = frame.inlined;
        FullFrame { parent: 0, function, system_name, filename, start_line, line, address, build_id, mapping, inlined }
    }

    fn fill_group(&mut self, group: &dyn RowGroupReader, nodes: &[i64], wanted: &[usize]) -> Result<()> {
        let rows = row_count(group);
        let mut texts = |index| -> Result<Vec<u32>> {
            let values = column::<ByteArrayType>(group, index, rows)?;
            let text = |&row: &usize| values.get(row).map(ByteArray::data).unwrap_or_default();
            Ok(wanted.iter().map(|row| self.strings.number(Bytes::copy_from_slice(text(row)))).collect())
        };
        let functions: Vec<u32> = texts(place::FUNCTION)?;
        let system_names: Vec<u32> = texts(place::SYSTEM_NAME)?;
        let filenames: Vec<u32> = texts(place::FILENAME)?;
        let build_ids: Vec<u32> = texts(place::BUILD_ID)?;
        let mappings: Vec<u32> = texts(place::MAPPING)?;
        let integers = |index| column::<Int64Type>(group, index, rows);
        let (start_lines, lines) = (integers(place::START_LINE)?, integers(place::LINE)?);
        let addresses = integers(place::ADDRESS)?;
        let inlined = column::<BoolType>(group, place::INLINED, rows)?;
        let text = |numbers: &[u32], at: usize| numbers.get(at).copied().unwrap_or(0);
        let integer = |values: &[i64], row: usize| values.get(row).copied().unwrap_or(0);
        for (at, &row) in wanted.iter().enumerate() {
            let Some(node) = nodes.get(row) else { continue };
            let parent = self.parents.get(node).copied().unwrap_or(0);
            self.frames.entry(*node).or_insert_with(|| FullFrame {
                parent,
                function: text(&functions, at),
                system_name: text(&system_names, at),
                filename: text(&filenames, at),
                start_line: integer(&start_lines, row),
                line: integer(&lines, row),
                address: integer(&addresses, row),
                build_id: text(&build_ids, at),
                mapping: text(&mappings, at),
                inlined: inlined.get(row) == Some(&true),
            });
        }
        Ok(())
    }
}

/// Whether a row group may have frames of one of the services, as far as its statistics tell.
fn may_hold(group: &RowGroupMetaData, services: &[String]) -> bool {
    let Some(Statistics::ByteArray(bounds)) =
        group.columns().get(place::SERVICE).and_then(|column| column.statistics())
    else {
        return true;
    };
    let Some((first, last)) = bounds.min_opt().zip(bounds.max_opt()) else { return true };
    // A bound that was cut short still is a bound.
    services.is_empty() || services.iter().any(|name| first.data() <= name.as_bytes() && name.as_bytes() <= last.data())
}

fn row_count(group: &dyn RowGroupReader) -> usize {
    usize::try_from(group.metadata().num_rows()).unwrap_or(0)
}
