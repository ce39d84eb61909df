//! A pull reader of JSON that builds nothing: memory does not grow with what the text holds.
//! Source: RFC 8259. Strings are UTF-8; a lone surrogate becomes U+FFFD.

use std::borrow::Cow;

use crate::error::DecodeError;

const MAX_DEPTH: usize = 64;

/// A reader over one document.
pub struct Json<'a> {
    text: &'a [u8],
    place: usize,
    depth: usize,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    String,
    Number,
    Bool,
    Null,
}

type Result<T> = std::result::Result<T, DecodeError>;

impl<'a> Json<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, place: 0, depth: 0 }
    }

    /// A reader of the value that stands at a mark.
    pub fn at(text: &'a [u8], mark: usize) -> Self {
        Self { text, place: mark, depth: 0 }
    }

    /// The place of the next value, to come back to.
    pub fn mark(&self) -> usize {
        self.place
    }

    /// A second reader, at an earlier mark.
    pub fn back_to(&self, mark: usize) -> Self {
        Self::at(self.text, mark)
    }

    /// A refusal that names the place.
    pub fn wrong(&self, what: &str) -> DecodeError {
        DecodeError::invalid(format!("the JSON is wrong at byte {}: {what}; encode it again", self.place))
    }

    /// Refuses anything but space after the document's value.
    pub fn end(&mut self) -> Result<()> {
        match self.next_byte() {
            None => Ok(()),
            Some(_) => Err(self.wrong("there is something after the end of the document")),
        }
    }

    pub fn kind(&mut self) -> Result<Kind> {
        match self.next_byte() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            _ => Err(self.wrong("a value must stand here")),
        }
    }

    /// Calls `each` with every key; it must read the value.
    pub fn object(&mut self, mut each: impl FnMut(&mut Self, &str) -> Result<()>) -> Result<()> {
        self.list(b'{', b'}', &mut |json| {
            let key = json.string()?;
            json.expect(b':')?;
            each(json, &key)
        })
    }

    /// Calls `each` for every element; it must read it.
    pub fn array(&mut self, mut each: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.list(b'[', b']', &mut each)
    }

    fn list(&mut self, open: u8, close: u8, each: &mut dyn FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.expect(open)?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.wrong("it is nested too deeply"));
        }
        if self.next_byte() == Some(close) {
            self.place += 1;
        } else {
            loop {
                each(self)?;
                match self.next_byte() {
                    Some(b',') => self.place += 1,
                    Some(byte) if byte == close => {
                        self.place += 1;
                        break;
                    }
                    _ => return Err(self.wrong("a comma or an end must stand here")),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads a string.
    pub fn string(&mut self) -> Result<Cow<'a, str>> {
        self.expect(b'"')?;
        let rest = self.text.get(self.place..).unwrap_or_default();
        let end = rest.iter().position(|&byte| byte == b'"' || byte == b'\\');
        let plain = end.and_then(|end| rest.get(..end)).ok_or_else(|| self.wrong("a string does not end"))?;
        let start = std::str::from_utf8(plain).map_err(|_| self.wrong("a string is not UTF-8"))?;
        self.place += plain.len();
        if self.take_byte() == Some(b'"') {
            return Ok(Cow::Borrowed(start));
        }
        self.place -= 1;
        self.escaped(start.as_bytes().to_vec()).map(Cow::Owned)
    }

    fn escaped(&mut self, mut out: Vec<u8>) -> Result<String> {
        loop {
            match self.take_byte() {
                Some(b'"') => return String::from_utf8(out).map_err(|_| self.wrong("a string is not UTF-8")),
                Some(b'\\') => {
                    let letter = match self.take_byte() {
                        Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
                        Some(b'b') => '\u{8}',
                        Some(b'f') => '\u{c}',
                        Some(b'n') => '\n',
                        Some(b'r') => '\r',
                        Some(b't') => '\t',
                        Some(b'u') => self.unicode()?,
                        _ => return Err(self.wrong("an escape of a string does not exist")),
                    };
                    out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Some(byte) => out.push(byte),
                None => return Err(self.wrong("a string does not end")),
            }
        }
    }

    fn unicode(&mut self) -> Result<char> {
        let high = self.hex4()?;
        if !(0xD800..0xDC00).contains(&high) {
            return Ok(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        if self.text.get(self.place..).is_some_and(|rest| rest.starts_with(b"\\u")) {
            self.place += 2;
            let low = self.hex4()?;
            if (0xDC00..0xE000).contains(&low) {
                let code = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hex4(&mut self) -> Result<u32> {
        let digits = self.text.get(self.place..self.place + 4).unwrap_or_default();
        let code = digits.iter().try_fold(0, |code, &digit| Some(code << 4 | char::from(digit).to_digit(16)?));
        self.place += 4;
        code.filter(|_| digits.len() == 4).ok_or_else(|| self.wrong("an escape \\u needs four hex digits"))
    }

    /// Reads a number as it is written.
    fn number_text(&mut self) -> Result<&'a str> {
        if self.kind()? != Kind::Number {
            return Err(self.wrong("a number must stand here"));
        }
        let rest = self.text.get(self.place..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| b"+-.eE0123456789".contains(byte)).count();
        self.place += length;
        Ok(std::str::from_utf8(rest.get(..length).unwrap_or_default()).unwrap_or_default())
    }

    /// Reads a number, or a string that spells one (as 64-bit integers are written).
    pub fn number(&mut self) -> Result<f64> {
        let text = self.number_or_string()?;
        text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| self.wrong("this is no number"))
    }

    /// Reads an integer, or a string that spells one. A fraction of 0 (`5.0`, `1e3`) is an integer.
    pub fn integer(&mut self) -> Result<i64> {
        let text = self.number_or_string()?;
        if let Ok(value) = text.parse::<i64>() {
            return Ok(value);
        }
        if let Ok(value) = text.parse::<u64>() {
            return Ok(value as i64); // a fixed64 or uint64 of the upper half
        }
        let value = text.parse::<f64>().ok().filter(|value| value.fract() == 0.0 && value.abs() < 9.0e15);
        value.map(|value| value as i64).ok_or_else(|| self.wrong("a whole number must stand here"))
    }

    fn number_or_string(&mut self) -> Result<Cow<'a, str>> {
        match self.kind()? {
            Kind::String => self.string(),
            _ => self.number_text().map(Cow::Borrowed),
        }
    }

    pub fn bool(&mut self) -> Result<bool> {
        let rest = self.text.get(self.place..).unwrap_or_default();
        let (value, length) = if rest.starts_with(b"true") { (true, 4) } else { (false, 5) };
        if !value && !rest.starts_with(b"false") {
            return Err(self.wrong("true or false must stand here"));
        }
        self.place += length;
        Ok(value)
    }

    /// Reads a null, if one stands here.
    pub fn null(&mut self) -> Result<bool> {
        if self.kind()? != Kind::Null {
            return Ok(false);
        }
        if !self.text.get(self.place..).is_some_and(|rest| rest.starts_with(b"null")) {
            return Err(self.wrong("a value must stand here"));
        }
        self.place += 4;
        Ok(true)
    }

    /// Reads a value of any kind.
    pub fn skip(&mut self) -> Result<()> {
        match self.kind()? {
            Kind::Object => self.object(|json, _| json.skip()),
            Kind::Array => self.array(Self::skip),
            Kind::String => self.string().map(|_| ()),
            Kind::Number => self.number_text().map(|_| ()),
            Kind::Bool => self.bool().map(|_| ()),
            Kind::Null => self.null().map(|_| ()),
        }
    }

    /// The next byte that is no space, not taken.
    fn next_byte(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.text.get(self.place) {
            self.place += 1;
        }
        self.text.get(self.place).copied()
    }

    fn take_byte(&mut self) -> Option<u8> {
        let byte = self.text.get(self.place).copied();
        self.place += 1;
        byte
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.next_byte() != Some(byte) {
            return Err(self.wrong(&format!("{:?} must stand here", char::from(byte))));
        }
        self.place += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        let mut json = Json::new(
            br#" {"a\u00e9\ud83d\ude00\ud800x" : [1, "-2", 3e2, 18446744073709551615], "b":{"c":null},"d":false} "#,
        );
        let (mut keys, mut numbers) = (Vec::new(), Vec::new());
        json.object(|json, key| {
            keys.push(key.to_owned());
            match json.kind()? {
                Kind::Array => json.array(|json| json.integer().map(|value| numbers.push(value))),
                _ => json.skip(),
            }
        })
        .unwrap();
        json.end().unwrap();
        assert_eq!(keys, ["aé😀\u{FFFD}x", "b", "d"]);
        assert_eq!(numbers, [1, -2, 300, -1]);
    }

    #[test]
    fn hostile_texts_are_errors() {
        let deep = "[".repeat(100_000);
        for text in ["", "{", "[1", "[1,]", "{\"a\"}", "\"\\u12\"", "\"\\q\"", "\"x", "nul", "tru", "[1 2]", "+", &deep]
        {
            let mut json = Json::new(text.as_bytes());
            assert!(json.skip().and_then(|()| json.end()).is_err(), "{text:.20}");
        }
        assert!(Json::new(b"\"\xff\"").string().is_err());
        assert!(Json::new(b"1.5").integer().is_err());
        assert!(Json::new(b"1e999").number().is_err());
        assert!(Json::new(b"1 1").skip().is_ok());
    }
}
