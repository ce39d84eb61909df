//! What a query sums of one file, kept: files never change, so that a sum stays right as long as the file is read.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use crate::hash::of_bytes;

/// The rows of a file that have one stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub stack: i64,
    pub value: i64,
    pub rows: u32,
}

/// The series of a query, sorted, with their hash: looking a file up must not hash them again.
#[derive(Clone)]
pub struct SeriesKey {
    series: Arc<[i64]>,
    hash: u64,
}

impl SeriesKey {
    pub fn new(series: &[i64]) -> Self {
        let bytes: Vec<u8> = series.iter().flat_map(|one| one.to_le_bytes()).collect();
        Self { series: series.into(), hash: of_bytes(&bytes) }
    }

    pub fn series(&self) -> &[i64] {
        &self.series
    }
}

impl PartialEq for SeriesKey {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && (Arc::ptr_eq(&self.series, &other.series) || self.series == other.series)
    }
}

impl Eq for SeriesKey {}

impl Hash for SeriesKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Which rows of which file were summed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub path: String,
    pub series: SeriesKey,
    /// The query's range where it cuts the file's, else the file's: so that a range that moves finds what it covers.
    pub start_ns: i64,
    pub end_ns: i64,
}

impl Key {
    fn weight_bytes(&self, sums: &[Sum]) -> usize {
        // The series are counted with each file although files share them: an upper bound is what is wanted.
        const ENTRY_BYTES: usize = 200;
        ENTRY_BYTES + self.path.len() + size_of_val(self.series.series()) + size_of_val(sums)
    }
}

struct Entry {
    sums: Arc<[Sum]>,
    used: u64,
}

#[derive(Default)]
struct State {
    entries: HashMap<Key, Entry>,
    bytes: usize,
    clock: u64,
}

/// Sums by file and question; the least recently used half goes where it gets too large.
pub struct FileSums {
    state: Mutex<State>,
    max_bytes: usize,
}

impl FileSums {
    /// Keeps at most `max_bytes`; 0 keeps nothing.
    pub fn new(max_bytes: usize) -> Self {
        Self { state: Mutex::default(), max_bytes }
    }

    pub fn find(&self, key: &Key) -> Option<Arc<[Sum]>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clock += 1;
        let now = state.clock;
        let entry = state.entries.get_mut(key)?;
        entry.used = now;
        Some(entry.sums.clone())
    }

    pub fn keep(&self, key: Key, sums: &Arc<[Sum]>) {
        let weight = key.weight_bytes(sums);
        // One answer must not push out everything else.
        if weight > self.max_bytes / 4 {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.bytes + weight > self.max_bytes {
            state.halve();
        }
        state.clock += 1;
        let entry = Entry { sums: sums.clone(), used: state.clock };
        state.bytes += weight;
        let replaced = state.entries.get_key_value(&key).map(|(key, old)| key.weight_bytes(&old.sums));
        state.bytes -= replaced.unwrap_or(0);
        state.entries.insert(key, entry);
    }

    /// Bytes held, about.
    pub fn bytes(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }
}

impl State {
    fn halve(&mut self) {
        let mut used: Vec<u64> = self.entries.values().map(|entry| entry.used).collect();
        let middle = used.len() / 2;
        if used.is_empty() {
            return;
        }
        let (_, &mut oldest_kept, _) = used.select_nth_unstable(middle);
        self.entries.retain(|_, entry| entry.used > oldest_kept);
        self.bytes = self.entries.iter().map(|(key, entry)| key.weight_bytes(&entry.sums)).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str) -> Key {
        Key { path: path.to_owned(), series: SeriesKey::new(&[1, 2]), start_ns: 0, end_ns: 9 }
    }

    fn sums(count: i64) -> Arc<[Sum]> {
        (0..count).map(|stack| Sum { stack, value: 1, rows: 1 }).collect()
    }

    #[test]
    fn what_was_kept_is_found_for_the_same_question_only() {
        let cache = FileSums::new(1 << 20);
        cache.keep(key("a"), &sums(3));
        assert_eq!(cache.find(&key("a")).unwrap().len(), 3);
        assert!(cache.find(&key("b")).is_none());
        assert!(cache.find(&Key { end_ns: 8, ..key("a") }).is_none());
        assert!(cache.find(&Key { series: SeriesKey::new(&[1]), ..key("a") }).is_none());
    }

    #[test]
    fn it_stays_within_its_bytes_and_forgets_what_was_not_used() {
        let cache = FileSums::new(100_000);
        for number in 0..1000 {
            cache.keep(key(&number.to_string()), &sums(10));
            let _ = cache.find(&key("0"));
            assert!(cache.bytes() <= 100_000);
        }
        assert!(cache.find(&key("0")).is_some());
        assert!(cache.find(&key("1")).is_none());
        assert!(cache.find(&key("999")).is_some());
    }

    #[test]
    fn what_is_too_large_is_not_kept_and_does_not_push_out_others() {
        let cache = FileSums::new(10_000);
        cache.keep(key("small"), &sums(1));
        cache.keep(key("large"), &sums(1000));
        assert!(cache.find(&key("small")).is_some());
        assert!(cache.find(&key("large")).is_none());
        let none = FileSums::new(0);
        none.keep(key("a"), &sums(1));
        assert_eq!(none.bytes(), 0);
    }

    #[test]
    fn a_kept_answer_replaces_the_one_before() {
        let cache = FileSums::new(1 << 20);
        cache.keep(key("a"), &sums(3));
        let before = cache.bytes();
        cache.keep(key("a"), &sums(3));
        assert_eq!(cache.bytes(), before);
    }
}
