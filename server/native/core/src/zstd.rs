//! zstd with a hard bound, as `gzip` has one. Source: RFC 8878, and RFC 9659 for the window of a Content-Encoding.

use std::io::{ErrorKind, Read};

use crate::encoding::UnpackError;

const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
/// 8 MiB: what a sender may make a receiver hold beside the output.
const MAX_WINDOW_LOG: u32 = 23;
const FIRST_CHUNK: usize = 64 << 10;

/// Whether the bytes start as a zstd frame does.
pub fn is_zstd(body: &[u8]) -> bool {
    body.starts_with(&MAGIC)
}

/// Unpacks all frames of `body`; at most `limit` + 1 bytes are ever held.
pub fn unzstd(body: &[u8], limit: usize) -> Result<Vec<u8>, UnpackError> {
    if !is_zstd(body) {
        return Err(UnpackError::Corrupt("it does not start with the zstd magic bytes 28 b5 2f fd"));
    }
    let wrong = |_| UnpackError::Corrupt("its compressed bytes or its check sum are wrong");
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(wrong)?;
    decoder.window_log_max(MAX_WINDOW_LOG).map_err(wrong)?;
    let mut out = Vec::new();
    loop {
        let filled = out.len();
        if filled > limit {
            return Err(UnpackError::TooLarge);
        }
        let room = filled.max(FIRST_CHUNK).min(limit + 1 - filled);
        out.reserve_exact(room);
        out.resize(filled + room, 0);
        let read = match decoder.read(out.get_mut(filled..).unwrap_or_default()) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(UnpackError::Corrupt("it is cut off"));
            }
            Err(error) => return Err(wrong(error)),
        };
        out.truncate(filled + read);
        if read == 0 {
            return Ok(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(bytes: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(bytes, 3).unwrap()
    }

    #[test]
    fn frames_are_joined() {
        assert_eq!(unzstd(&[pack(b"flame"), pack(b"wire")].concat(), 100).unwrap(), b"flamewire");
    }

    #[test]
    fn exactly_the_limit_fits_and_one_more_does_not() {
        let body = pack(&[7; 1000]);
        assert_eq!(unzstd(&body, 1000).unwrap().len(), 1000);
        assert_eq!(unzstd(&body, 999), Err(UnpackError::TooLarge));
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        let mut bomb = pack(&vec![0; 50 << 20]);
        assert_eq!(unzstd(&bomb, 1 << 20), Err(UnpackError::TooLarge));
        bomb = pack(&vec![1; 3 << 20]);
        assert!(unzstd(&bomb, 4 << 20).unwrap().capacity() <= (4 << 20) + 1);
    }

    #[test]
    fn a_window_above_8_mib_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        std::io::Write::write_all(&mut encoder, &vec![3; 1 << 20]).unwrap();
        assert!(matches!(unzstd(&encoder.finish().unwrap(), 2 << 20), Err(UnpackError::Corrupt(_))));
    }

    #[test]
    fn damage_is_found() {
        let body = pack(b"a profile that is long enough to be cut somewhere in its middle");
        for end in 0..body.len() {
            assert!(matches!(unzstd(&body[..end], 1000), Err(UnpackError::Corrupt(_))), "{end}");
        }
        let mut trailing = body.clone();
        trailing.extend([0, 0, 0, 0]);
        assert!(matches!(unzstd(&trailing, 1000), Err(UnpackError::Corrupt(_))));
    }
}
