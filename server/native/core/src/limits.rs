//! What one push may hold.

/// Series and profiles in one push. Not configurable: it bounds the memory that empty messages can cost.
pub const MAX_PROFILES_PER_PUSH: usize = 16_384;

/// Frames over all samples of one profile after inlining. Locations with many inlined lines multiply: without this
/// bound a 4 MB profile could unfold into 16 million distinct stack entries.
pub const MAX_FRAMES_PER_PROFILE: usize = 4_000_000;

/// Limits of one push; see the Python stub for the meaning of each.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Limits {
    pub max_request_bytes: usize,
    pub max_profile_bytes: usize,
    pub max_samples: usize,
    pub max_sample_labels: usize,
    pub max_label_names: usize,
    pub max_label_name_bytes: usize,
    pub max_label_value_bytes: usize,
    pub max_stack_depth: usize,
    pub max_string_bytes: usize,
    pub reject_older_than_ns: i64,
    pub reject_newer_than_ns: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_request_bytes: 64 << 20,
            max_profile_bytes: 4 << 20,
            max_samples: 16_000,
            max_sample_labels: 100,
            max_label_names: 30,
            max_label_name_bytes: 1024,
            max_label_value_bytes: 2048,
            max_stack_depth: 1000,
            max_string_bytes: 65_535,
            reject_older_than_ns: 24 * 3600 * 1_000_000_000,
            reject_newer_than_ns: 600 * 1_000_000_000,
        }
    }
}
