//! The hashes that blocks are addressed by. They are stored, so a change makes every stack and series a new one.

use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// A map from keys that already are hashes.
pub type HashedMap<V> = hashbrown::HashMap<i64, V, BuildHasherDefault<PassThrough>>;
/// A map from small numbers of ours, which need mixing.
pub type NumberedMap<V> = hashbrown::HashMap<u64, V, BuildHasherDefault<PassThrough>>;
/// A set of keys that already are hashes.
pub type HashedSet = hashbrown::HashSet<i64, BuildHasherDefault<PassThrough>>;

/// Profiles by (number of ours, profile id).
pub type ProfileSet = hashbrown::HashSet<(u64, u128), BuildHasherDefault<PassThrough>>;

/// Hashes bytes, 64 bits.
pub fn of_bytes(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// Hashes bytes, 128 bits, as an id.
pub fn id_of(bytes: &[u8]) -> [u8; 16] {
    xxh3_128(bytes).to_be_bytes()
}

/// Mixes a value into a hash: 64 x 64 -> 128 bit multiplication, folded. Order matters.
#[inline]
pub fn mix(hash: u64, value: u64) -> u64 {
    let product = u128::from(hash ^ 0x9E37_79B9_7F4A_7C15) * u128::from(value ^ 0xD6E8_FEB8_6659_FD93);
    (product as u64) ^ ((product >> 64) as u64) ^ value.rotate_left(32)
}

/// The hash of a stack trace: its caller's stack (0 = none), then the frame. Never 0, which means "no stack".
#[inline]
pub fn stack(parent: u64, frame: u64) -> u64 {
    mix(parent, frame).max(1)
}

/// The hash of labels, in their order; lengths keep ("a", "bc") and ("ab", "c") apart.
pub fn of_labels<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> u64 {
    labels.fold(0, |hash, (name, value)| mix(mix(hash, of_bytes(name.as_bytes())), of_bytes(value.as_bytes())))
}

/// The fingerprint of a series. The upper 16 bits come from service and profile type only: the series of one row
/// group lie side by side, so that its minimum and maximum tell a reader whether to open it.
pub fn fingerprint(service: &str, profile_type: &str, labels_hash: u64) -> i64 {
    let group = mix(of_bytes(service.as_bytes()), of_bytes(profile_type.as_bytes()));
    ((group & 0xFFFF_0000_0000_0000) | (labels_hash >> 16)) as i64
}

/// A hasher for keys that are well-mixed 64-bit hashes already.
#[derive(Default)]
pub struct PassThrough(u64);

impl Hasher for PassThrough {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = mix(self.0, of_bytes(bytes));
    }

    fn write_i64(&mut self, value: i64) {
        self.0 = value as u64;
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = mix(0, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_boundaries_of_labels_matter() {
        let hash = |labels: &[(&'static str, &'static str)]| of_labels(labels.iter().copied());
        assert_ne!(hash(&[("a", "bc")]), hash(&[("ab", "c")]));
        assert_ne!(hash(&[("a", "b"), ("c", "d")]), hash(&[("c", "d"), ("a", "b")]));
    }

    #[test]
    fn stacks_do_not_collide_on_small_inputs() {
        let mut seen = std::collections::HashSet::new();
        for parent in 0..1000u64 {
            for frame in 0..1000u64 {
                assert!(seen.insert(stack(parent, frame)), "{parent} {frame}");
            }
        }
    }

    #[test]
    fn fingerprints_of_one_service_and_type_share_their_upper_bits() {
        let one = fingerprint("shop", "cpu", 1 << 60);
        assert_eq!(one >> 48, fingerprint("shop", "cpu", 77 << 40) >> 48);
        assert_ne!(one >> 48, fingerprint("cart", "cpu", 1 << 60) >> 48);
    }
}
