//! The parts of a multipart/form-data body. Source: RFC 7578, RFC 2046.

use crate::error::DecodeError;

/// A part: its field name and its content.
#[derive(Debug, PartialEq, Eq)]
pub struct Part<'a> {
    pub name: String,
    pub content: &'a [u8],
}

/// No sender of ours has more than three; more cost only time.
const MAX_PARTS: usize = 64;

/// Splits a body. `content_type` is the whole header.
pub fn parts<'a>(body: &'a [u8], content_type: &str) -> Result<Vec<Part<'a>>, DecodeError> {
    let wrong = |what: &str| DecodeError::invalid(format!("the multipart body {what}; encode the form again"));
    let boundary = parameter(content_type, "boundary")
        .filter(|text| (1..=200).contains(&text.len()))
        .ok_or_else(|| wrong("has no boundary in its Content-Type"))?;
    let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
    // The first delimiter may stand at the very start, without a line break before it.
    let mut rest = match body.strip_prefix(delimiter.get(2..).unwrap_or_default()) {
        Some(rest) => rest,
        None => after(body, &delimiter).ok_or_else(|| wrong("does not hold its boundary"))?.1,
    };
    let mut parts = Vec::new();
    while !rest.starts_with(b"--") {
        rest = after(rest, b"\r\n").ok_or_else(|| wrong("breaks off at a boundary"))?.1;
        let (part, tail) = after(rest, &delimiter).ok_or_else(|| wrong("breaks off in a part"))?;
        let (head, content) = match part.strip_prefix(b"\r\n") {
            Some(content) => (&b""[..], content),
            None => after(part, b"\r\n\r\n").ok_or_else(|| wrong("has a part without an end of its headers"))?,
        };
        parts.push(Part { name: field_name(head), content });
        if parts.len() > MAX_PARTS {
            return Err(wrong(&format!("has more than {MAX_PARTS} parts")));
        }
        rest = tail;
    }
    Ok(parts)
}

/// What stands before and after the first occurrence of a mark.
fn after<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let first = *mark.first()?;
    let mut from = 0;
    loop {
        let place = from + bytes.get(from..)?.iter().position(|&byte| byte == first)?;
        if let Some(tail) = bytes.get(place..)?.strip_prefix(mark) {
            return Some((bytes.get(..place)?, tail));
        }
        from = place + 1;
    }
}

fn field_name(head: &[u8]) -> String {
    let text = String::from_utf8_lossy(head);
    let disposition = text.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    });
    disposition.and_then(|value| parameter(value, "name")).unwrap_or_default()
}

/// A parameter of a header's value, quoted or not.
fn parameter(header: &str, wanted: &str) -> Option<String> {
    header.split(';').skip(1).find_map(|part| {
        let (name, value) = part.split_once('=')?;
        let value = value.trim();
        let value = value.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(value);
        name.trim().eq_ignore_ascii_case(wanted).then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=\"x-y\"";

    fn names(body: &[u8]) -> Vec<(String, Vec<u8>)> {
        parts(body, TYPE).unwrap().into_iter().map(|part| (part.name, part.content.to_vec())).collect()
    }

    #[test]
    fn parts_are_found_by_their_field_names() {
        let body = b"preamble\r\n--x-y\r\nContent-Disposition: form-data; name=\"profile\"; filename=\"p\"\r\n\
            Content-Type: application/octet-stream\r\n\r\n\x1f\r\n--x-\r\n\x00\r\n--x-y\r\ncontent-disposition:form-data;name=b\r\n\r\n\r\n--x-y--\r\n";
        let want = vec![("profile".to_owned(), b"\x1f\r\n--x-\r\n\x00".to_vec()), ("b".to_owned(), Vec::new())];
        assert_eq!(names(body), want);
        assert!(names(b"--x-y--").is_empty());
    }

    #[test]
    fn every_truncation_is_refused() {
        let body = b"--x-y\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x-y--";
        for end in 0..body.len() {
            assert!(parts(&body[..end], TYPE).is_err(), "{end}");
        }
        assert!(parts(body, "multipart/form-data").unwrap_err().message.contains("no boundary"));
        let many = [b"--x-y\r\n\r\n".to_vec(), b"\r\n--x-y\r\n\r\n".repeat(70)].concat();
        assert!(parts(&many, TYPE).unwrap_err().message.contains("64 parts"));
    }
}
