//! The reader of whole symbols: what a pprof says of a frame, beside the name that call trees use.

use std::collections::HashMap;

use bytes::Bytes;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
use parquet::errors::Result;
use parquet::file::reader::{FileReader, RowGroupReader};
use parquet::file::serialized_reader::SerializedFileReader;

use crate::hash::HashedMap;
use crate::shared_frames::{self, Frame, Frames};
use crate::symbols::column;

/// Columns of a symbols file, by their place in its schema.
mod place {
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

/// The frames of some symbols files.
pub struct FullSymbols {
    pub frames: HashedMap<FullFrame>,
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

impl FullSymbols {
    pub fn new() -> Self {
        Self { frames: HashedMap::default(), strings: Strings::new() }
    }

    /// Adds the frames of a file.
    pub fn load(&mut self, file: Bytes) -> Result<()> {
        let file = SerializedFileReader::new(file)?;
        if shared_frames::is_layout_of(&file) {
            return self.load_shared(&file);
        }
        for index in 0..file.num_row_groups() {
            self.load_group(&*file.get_row_group(index)?)?;
        }
        Ok(())
    }

    fn load_shared(&mut self, file: &SerializedFileReader<Bytes>) -> Result<()> {
        let frames = Frames::read(file)?.frames;
        let frames: Vec<FullFrame> = frames.into_iter().map(|frame| self.full_frame(frame)).collect();
        shared_frames::each_node(file, |node| {
            if let Some(frame) = frames.get(node.frame as usize) {
                self.frames.entry(node.id).or_insert(FullFrame { parent: node.parent, ..*frame });
            }
        })
    }

    fn full_frame(&mut self, frame: Frame) -> FullFrame {
        let [function, system_name, filename, build_id, mapping] = frame.texts.map(|text| self.strings.number(text));
        let [start_line, line, address] = frame.numbers;
        let inlined = frame.inlined;
        FullFrame { parent: 0, function, system_name, filename, start_line, line, address, build_id, mapping, inlined }
    }

    fn load_group(&mut self, group: &dyn RowGroupReader) -> Result<()> {
        let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
        let mut texts = |index| -> Result<Vec<u32>> {
            let values = column::<ByteArrayType>(group, index, rows)?;
            let number = |text: &ByteArray| self.strings.number(Bytes::copy_from_slice(text.data()));
            Ok(values.iter().map(number).collect())
        };
        let functions: Vec<u32> = texts(place::FUNCTION)?;
        let system_names: Vec<u32> = texts(place::SYSTEM_NAME)?;
        let filenames: Vec<u32> = texts(place::FILENAME)?;
        let build_ids: Vec<u32> = texts(place::BUILD_ID)?;
        let mappings: Vec<u32> = texts(place::MAPPING)?;
        let integers = |index| column::<Int64Type>(group, index, rows);
        let (nodes, parents) = (integers(place::NODE)?, integers(place::PARENT)?);
        let (start_lines, lines) = (integers(place::START_LINE)?, integers(place::LINE)?);
        let addresses = integers(place::ADDRESS)?;
        let inlined = column::<BoolType>(group, place::INLINED, rows)?;
        let text = |numbers: &[u32], row: usize| numbers.get(row).copied().unwrap_or(0);
        let integer = |values: &[i64], row: usize| values.get(row).copied().unwrap_or(0);
        for (row, node) in nodes.into_iter().enumerate() {
            self.frames.entry(node).or_insert_with(|| FullFrame {
                parent: integer(&parents, row),
                function: text(&functions, row),
                system_name: text(&system_names, row),
                filename: text(&filenames, row),
                start_line: integer(&start_lines, row),
                line: integer(&lines, row),
                address: integer(&addresses, row),
                build_id: text(&build_ids, row),
                mapping: text(&mappings, row),
                inlined: inlined.get(row) == Some(&true),
            });
        }
        Ok(())
    }
}
