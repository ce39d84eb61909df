//! Gunzip with a hard bound: neither time nor memory grows with what a bomb claims to hold.
//! Source: RFC 1952.

use flate2::{Decompress, FlushDecompress, Status};

use crate::encoding::UnpackError;

const MAGIC: [u8; 2] = [0x1F, 0x8B];
const FIRST_CHUNK: usize = 64 << 10;
const MAX_DEFLATE_RATIO: usize = 1032;
const WINDOW_BITS: u8 = 15;

/// Whether the bytes start as gzip does.
pub fn is_gzip(body: &[u8]) -> bool {
    body.starts_with(&MAGIC)
}

/// Gunzips all members of `body`; at most `limit` + 1 bytes are ever held.
pub fn gunzip(body: &[u8], limit: usize) -> Result<Vec<u8>, UnpackError> {
    if !is_gzip(body) {
        return Err(UnpackError::Corrupt("it does not start with the gzip magic bytes 1f 8b"));
    }
    // An honest bomb says in its trailer how large it is; one that lies is stopped at the limit below.
    // A size that deflate cannot reach comes from a body that is cut off, so it says nothing.
    let stated = stated_size(body).min(body.len().saturating_mul(MAX_DEFLATE_RATIO));
    if stated > limit && stated == stated_size(body) {
        return Err(UnpackError::TooLarge);
    }
    let mut out = Vec::with_capacity(stated.clamp(FIRST_CHUNK.min(limit), limit) + 1);
    let mut rest = body;
    while is_gzip(rest) {
        rest = gunzip_member(rest, &mut out, limit)?;
    }
    if rest.is_empty() {
        Ok(out)
    } else {
        Err(UnpackError::Corrupt("there are bytes after the end of the gzip stream"))
    }
}

fn stated_size(body: &[u8]) -> usize {
    body.last_chunk::<4>().map_or(0, |trailer| u32::from_le_bytes(*trailer) as usize)
}

fn gunzip_member<'a>(mut rest: &'a [u8], out: &mut Vec<u8>, limit: usize) -> Result<&'a [u8], UnpackError> {
    let mut inflater = Decompress::new_gzip(WINDOW_BITS);
    loop {
        if out.len() > limit {
            return Err(UnpackError::TooLarge);
        }
        if out.len() == out.capacity() {
            out.reserve_exact(out.len().max(FIRST_CHUNK).min(limit + 1 - out.len()));
        }
        let (consumed, produced) = (inflater.total_in(), out.len());
        let status = inflater
            .decompress_vec(rest, out, FlushDecompress::None)
            .map_err(|_| UnpackError::Corrupt("its compressed bytes or its check sum are wrong"))?;
        let read = (inflater.total_in() - consumed) as usize;
        rest = rest.get(read..).unwrap_or_default();
        match status {
            Status::StreamEnd if out.len() > limit => return Err(UnpackError::TooLarge),
            Status::StreamEnd => return Ok(rest),
            _ if read == 0 && out.len() == produced => return Err(UnpackError::Corrupt("it is cut off")),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::gzip;

    #[test]
    fn members_are_joined() {
        let mut body = gzip(b"flame");
        body.extend(gzip(b"wire"));
        assert_eq!(gunzip(&body, 100).unwrap(), b"flamewire");
    }

    #[test]
    fn exactly_the_limit_fits_and_one_more_does_not() {
        let body = gzip(&[7; 1000]);
        assert_eq!(gunzip(&body, 1000).unwrap().len(), 1000);
        assert_eq!(gunzip(&body, 999), Err(UnpackError::TooLarge));
    }

    #[test]
    fn a_bomb_that_lies_about_its_size_is_stopped_at_the_limit() {
        let mut body = gzip(&vec![0; 50 << 20]);
        let end = body.len();
        body[end - 4..].copy_from_slice(&5u32.to_le_bytes());
        assert_eq!(gunzip(&body, 1 << 20), Err(UnpackError::TooLarge));
    }

    #[test]
    fn damage_is_found() {
        let body = gzip(b"a profile that is long enough to be cut somewhere in its middle");
        for end in 0..body.len() {
            assert!(
                matches!(gunzip(&body[..end], 1000), Err(UnpackError::Corrupt(_) | UnpackError::TooLarge)),
                "{end}"
            );
        }
        let mut wrong_sum = body.clone();
        let place = wrong_sum.len() - 8;
        wrong_sum[place] ^= 1;
        assert!(matches!(gunzip(&wrong_sum, 1000), Err(UnpackError::Corrupt(_))));
        let mut trailing = body.clone();
        trailing.extend([0, 0, 0, 0]);
        assert!(matches!(gunzip(&trailing, 1000), Err(UnpackError::Corrupt(_))));
        assert!(matches!(gunzip(b"plain", 1000), Err(UnpackError::Corrupt(_))));
    }

    #[test]
    fn memory_stays_at_the_limit() {
        let body = gzip(&vec![1; 3 << 20]);
        assert!(gunzip(&body, 4 << 20).unwrap().capacity() <= (4 << 20) + 1);
    }
}
