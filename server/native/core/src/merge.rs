//! Merges symbols files: each frame once per service, callers before their callees.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{FileReader, RowGroupReader};
use parquet::file::serialized_reader::SerializedFileReader;

use crate::error::BlockError;
use crate::hash::HashedSet;
use crate::shared_frames::{self, Frame, Frames, Node, Tree};
use crate::symbols::column;

/// The columns of the schema in symbols.rs, by index.
const SERVICE: usize = 0;
const NODE: usize = 1;
const PARENT: usize = 2;
const TEXTS: [usize; 5] = [3, 4, 5, 9, 10];
const NUMBERS: [usize; 3] = [6, 7, 8];
const INLINED: usize = 11;
const COLUMNS: usize = 12;

#[derive(Default)]
struct Merged {
    frames: Frames,
    frame_numbers: HashMap<Frame, u32>,
    strings: HashSet<Bytes>,
    services: BTreeMap<Bytes, (HashedSet, Vec<Node>)>,
}

/// Merges the files; None where there are none.
pub fn symbols(paths: &[String]) -> std::result::Result<Option<Vec<u8>>, BlockError> {
    let mut merged = Merged::default();
    for path in paths {
        let bytes = std::fs::read(path).map_err(|source| BlockError::Io { path: path.clone(), source })?;
        merged.read(Bytes::from(bytes)).map_err(|error| BlockError::damaged(path, error))?;
    }
    if merged.services.is_empty() {
        return Ok(None);
    }
    merged.write().map(Some).map_err(|error| BlockError::damaged("", error))
}

impl Merged {
    fn read(&mut self, bytes: Bytes) -> Result<()> {
        let file = SerializedFileReader::new(bytes)?;
        if shared_frames::is_layout_of(&file) {
            return self.read_shared(&file);
        }
        if file.metadata().file_metadata().schema_descr().num_columns() != COLUMNS {
            return Err(ParquetError::General("it is no symbols file".to_owned()));
        }
        (0..file.num_row_groups()).try_for_each(|index| self.read_group(&*file.get_row_group(index)?))
    }

    fn read_shared(&mut self, file: &SerializedFileReader<Bytes>) -> Result<()> {
        let Frames { frames, hashes } = Frames::read(file)?;
        let numbers = frames.into_iter().zip(hashes).map(|(frame, hash)| self.frame_number(frame, Some(hash)));
        let numbers: Vec<u32> = numbers.collect();
        shared_frames::each_node_of(file, |service, node| {
            let frame = numbers.get(node.frame as usize).copied().unwrap_or(0);
            self.add(service, std::iter::once(Node { frame, ..node }));
        })
    }

    fn read_group(&mut self, group: &dyn RowGroupReader) -> Result<()> {
        let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
        let services = column::<ByteArrayType>(group, SERVICE, rows)?;
        let nodes = column::<Int64Type>(group, NODE, rows)?;
        let parents = column::<Int64Type>(group, PARENT, rows)?;
        let inlined = column::<BoolType>(group, INLINED, rows)?;
        let mut frames: Vec<Frame> = inlined.into_iter().map(|inlined| Frame { inlined, ..Frame::default() }).collect();
        for (place, index) in TEXTS.into_iter().enumerate() {
            for (frame, text) in frames.iter_mut().zip(column::<ByteArrayType>(group, index, rows)?) {
                set(&mut frame.texts, place, self.string(&text));
            }
        }
        for (place, index) in NUMBERS.into_iter().enumerate() {
            for (frame, number) in frames.iter_mut().zip(column::<Int64Type>(group, index, rows)?) {
                set(&mut frame.numbers, place, number);
            }
        }
        let numbers: Vec<u32> = frames.into_iter().map(|frame| self.frame_number(frame, None)).collect();
        let nodes = nodes.into_iter().zip(parents).zip(numbers);
        let mut nodes = nodes.map(|((id, parent), frame)| Node { id, parent, frame });
        for of_service in services.chunk_by(|a, b| a.data() == b.data()) {
            let Some(service) = of_service.first() else { continue };
            self.add(&Bytes::copy_from_slice(service.data()), nodes.by_ref().take(of_service.len()));
        }
        Ok(())
    }

    fn add(&mut self, service: &Bytes, nodes: impl Iterator<Item = Node>) {
        if !self.services.contains_key(service) {
            self.services.insert(service.clone(), Default::default());
        }
        if let Some((known, kept)) = self.services.get_mut(service) {
            kept.extend(nodes.filter(|node| known.insert(node.id)));
        }
    }

    /// A text, copied once so that the page it came from can go.
    fn string(&mut self, text: &ByteArray) -> Bytes {
        if let Some(known) = self.strings.get(text.data()) {
            return known.clone();
        }
        let own = Bytes::copy_from_slice(text.data());
        self.strings.insert(own.clone());
        own
    }

    /// `hash`: as a file says, None to make it of the frame.
    fn frame_number(&mut self, frame: Frame, hash: Option<u64>) -> u32 {
        if let Some(&number) = self.frame_numbers.get(&frame) {
            return number;
        }
        let number = self.frames.frames.len() as u32;
        self.frames.hashes.push(hash.unwrap_or_else(|| frame.hash()));
        self.frames.frames.push(frame.clone());
        self.frame_numbers.insert(frame, number);
        number
    }

    fn write(&self) -> Result<Vec<u8>> {
        let trees: Vec<Tree<'_>> = self.services.iter().map(|(service, (_, nodes))| Tree { service, nodes }).collect();
        shared_frames::write(crate::compact::ZSTD_LEVEL, &self.frames, &trees)
    }
}

fn set<T, const N: usize>(row: &mut [T; N], place: usize, value: T) {
    if let Some(slot) = row.get_mut(place) {
        *slot = value;
    }
}
