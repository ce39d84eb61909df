//! Merges symbols files: each frame once per service, callers before their callees.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{FileReader, RowGroupReader};
use parquet::file::serialized_reader::SerializedFileReader;

use crate::error::BlockError;
use crate::hash::HashedSet;
use crate::symbols::{self, FrameRow, Number, Text, column};

/// Rows of a row group in a merged file; a service's frames stand together.
const GROUP_ROWS: usize = 65_536;

/// The columns of the schema in symbols.rs, by index.
const SERVICE: usize = 0;
const NODE: usize = 1;
const PARENT: usize = 2;
const TEXTS: [usize; 5] = [3, 4, 5, 9, 10];
const NUMBERS: [usize; 3] = [6, 7, 8];
const INLINED: usize = 11;
const COLUMNS: usize = 12;

/// A frame with its texts as indices.
struct Frame {
    node: i64,
    parent: i64,
    /// As `Text` numbers them.
    texts: [u32; 5],
    /// As `Number` numbers them.
    numbers: [i64; 3],
    inlined: bool,
}

#[derive(Default)]
struct Strings {
    values: Vec<ByteArray>,
    numbers: HashMap<Bytes, u32>,
}

impl Strings {
    fn number(&mut self, text: &ByteArray) -> u32 {
        if let Some(&number) = self.numbers.get(text.data()) {
            return number;
        }
        // Copied, so that the page it came from can go.
        let own = Bytes::copy_from_slice(text.data());
        let number = self.values.len() as u32;
        self.values.push(ByteArray::from(own.clone()));
        self.numbers.insert(own, number);
        number
    }
}

#[derive(Default)]
struct Merged {
    strings: Strings,
    services: BTreeMap<Vec<u8>, (HashedSet, Vec<Frame>)>,
}

/// A frame beside the texts that it names.
struct Merging<'a> {
    service: &'a [u8],
    frame: &'a Frame,
    strings: &'a Strings,
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
        if file.metadata().file_metadata().schema_descr().num_columns() != COLUMNS {
            return Err(ParquetError::General("it is no symbols file".to_owned()));
        }
        (0..file.num_row_groups()).try_for_each(|index| self.read_group(&*file.get_row_group(index)?))
    }

    fn read_group(&mut self, group: &dyn RowGroupReader) -> Result<()> {
        let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
        let services = column::<ByteArrayType>(group, SERVICE, rows)?;
        let nodes = column::<Int64Type>(group, NODE, rows)?;
        let parents = column::<Int64Type>(group, PARENT, rows)?;
        let inlined = column::<BoolType>(group, INLINED, rows)?;
        let mut texts = vec![[0; 5]; rows];
        for (place, index) in TEXTS.into_iter().enumerate() {
            for (row, text) in texts.iter_mut().zip(column::<ByteArrayType>(group, index, rows)?) {
                set(row, place, self.strings.number(&text));
            }
        }
        let mut numbers = vec![[0; 3]; rows];
        for (place, index) in NUMBERS.into_iter().enumerate() {
            for (row, number) in numbers.iter_mut().zip(column::<Int64Type>(group, index, rows)?) {
                set(row, place, number);
            }
        }
        let frames = nodes.into_iter().zip(parents).zip(inlined).zip(texts.into_iter().zip(numbers));
        let mut frames =
            frames.map(|(((node, parent), inlined), (texts, numbers))| Frame { node, parent, texts, numbers, inlined });
        for of_service in services.chunk_by(|a, b| a.data() == b.data()) {
            let Some(service) = of_service.first() else { continue };
            let (known, kept) = self.services.entry(service.data().to_vec()).or_default();
            kept.extend(frames.by_ref().take(of_service.len()).filter(|frame| known.insert(frame.node)));
        }
        Ok(())
    }

    fn write(&self) -> Result<Vec<u8>> {
        let mut groups: Vec<Vec<Merging<'_>>> = Vec::new();
        for (service, (_, frames)) in &self.services {
            let merging = frames.iter().map(|frame| Merging { service, frame, strings: &self.strings });
            match groups.last_mut() {
                Some(last) if last.len() + frames.len() <= GROUP_ROWS => last.extend(merging),
                _ => groups.push(merging.collect()),
            }
        }
        symbols::write(crate::compact::ZSTD_LEVEL, &groups)
    }
}

fn set<T, const N: usize>(row: &mut [T; N], place: usize, value: T) {
    if let Some(slot) = row.get_mut(place) {
        *slot = value;
    }
}

impl FrameRow for Merging<'_> {
    fn service(&self) -> ByteArray {
        ByteArray::from(self.service.to_vec())
    }

    fn node(&self) -> i64 {
        self.frame.node
    }

    fn parent(&self) -> i64 {
        self.frame.parent
    }

    fn text(&self, column: Text) -> ByteArray {
        let number = self.frame.texts.get(column as usize).copied().unwrap_or(0);
        self.strings.values.get(number as usize).cloned().unwrap_or_default()
    }

    fn number(&self, column: Number) -> i64 {
        self.frame.numbers.get(column as usize).copied().unwrap_or(0)
    }

    fn is_inlined(&self) -> bool {
        self.frame.inlined
    }
}
