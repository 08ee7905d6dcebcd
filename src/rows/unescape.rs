//! The text of a JSON string, and the nearest text that Postgres can hold.
//!
//! JSON can escape NUL and lone surrogates; Postgres cannot store either.

use std::borrow::Cow;

/// Replaces a character that Postgres cannot hold.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// Returns the text of a JSON string, or `None` if Postgres cannot hold it.
pub fn unescape(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.get(1..raw.len().checked_sub(1)?)?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    let text: String = serde_json::from_str(raw).ok()?;
    (!text.contains('\0')).then_some(Cow::Owned(text))
}

/// Appends the text of a JSON string, with `REPLACEMENT` for what Postgres cannot hold.
pub(crate) fn nearest_text(raw: &str, out: &mut Vec<u8>) {
    walk(raw, out, |_, out| push(REPLACEMENT, out));
}

/// Appends the text of a JSON string so that only equal strings become equal: a lone surrogate becomes three bytes
/// that no text has.
pub(crate) fn exact_text(raw: &str, out: &mut Vec<u8>) {
    walk(raw, out, |unit, out| {
        if unit == 0 {
            out.push(0);
        } else {
            let [high, low] = unit.to_be_bytes();
            out.extend_from_slice(&[0xff, high, low]);
        }
    });
}

/// JSON with `REPLACEMENT` for each character that Postgres cannot hold. Returns `None` if there is none.
pub(crate) fn nearest_json(raw: &str) -> Option<String> {
    let bytes = raw.as_bytes();
    let mut nearest = String::new();
    let (mut kept, mut at) = (0, 0);
    while let Some(found) = memchr::memchr(b'\\', &bytes[at..]) {
        at += found;
        let (escaped, length) = escape(&bytes[at..]);
        if matches!(escaped, Escape::Odd(_)) {
            nearest.push_str(&raw[kept..at]);
            nearest.push_str("\\ufffd");
            kept = at + length;
        }
        at = (at + length).min(bytes.len());
    }
    (kept > 0).then(|| nearest + &raw[kept..])
}

/// The meaning of an escape sequence.
enum Escape {
    Character(char),
    /// NUL, or a lone surrogate.
    Odd(u16),
    /// Not an escape of JSON.
    Unknown,
}

fn walk(raw: &str, out: &mut Vec<u8>, odd: impl Fn(u16, &mut Vec<u8>)) {
    let bytes = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default().as_bytes();
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &bytes[at..]) {
        out.extend_from_slice(&bytes[at..at + found]);
        at += found;
        let (escaped, length) = escape(&bytes[at..]);
        let end = (at + length).min(bytes.len());
        match escaped {
            Escape::Character(character) => push(character, out),
            Escape::Odd(unit) => odd(unit, out),
            Escape::Unknown => out.extend_from_slice(&bytes[at..end]),
        }
        at = end;
    }
    out.extend_from_slice(&bytes[at..]);
}

/// Reads the escape sequence at the beginning of `bytes`; returns it with its length.
fn escape(bytes: &[u8]) -> (Escape, usize) {
    let character = match bytes.get(1) {
        Some(b'n') => '\n',
        Some(b't') => '\t',
        Some(b'r') => '\r',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'u') => return unicode(bytes),
        Some(&byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
        _ => return (Escape::Unknown, 1),
    };
    (Escape::Character(character), 2)
}

fn unicode(bytes: &[u8]) -> (Escape, usize) {
    let Some(first) = unit(bytes) else { return (Escape::Unknown, 2) };
    let second = if (0xd800..0xdc00).contains(&first) { bytes.get(6..).and_then(unit) } else { None };
    let units = [first, second.unwrap_or_default()];
    match char::decode_utf16(units).next() {
        Some(Ok('\0')) => (Escape::Odd(0), 6),
        Some(Ok(character)) => (Escape::Character(character), character.len_utf16() * 6),
        Some(Err(_)) | None => (Escape::Odd(first), 6),
    }
}

/// The code unit of an escape `\uXXXX`.
fn unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | u16::try_from(char::from(*digit).to_digit(16)?).ok()?))
}

fn push(character: char, out: &mut Vec<u8>) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nearest(raw: &str) -> String {
        let mut out = Vec::new();
        nearest_text(raw, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn exact(raw: &str) -> Vec<u8> {
        let mut out = Vec::new();
        exact_text(raw, &mut out);
        out
    }

    #[test]
    fn p5_characters_that_postgres_cannot_hold_are_replaced() {
        assert_eq!(nearest(r#""a\u0000b\ud800c\udc00\ud83d\ude00\\u0000""#), "a\u{fffd}b\u{fffd}c\u{fffd}😀\\u0000");
        assert_eq!(nearest(r#""\ud800\ud83d\ude00\ud800""#), "\u{fffd}😀\u{fffd}");
        assert_eq!(
            nearest_json(r#"{"a\u0000":["\\u0000","\uD800x"]}"#).unwrap(),
            r#"{"a\ufffd":["\\u0000","\ufffdx"]}"#
        );
        assert_eq!(nearest_json(r#"["\\u0000","\ud83d\ude00","\u0041"]"#), None);
    }

    #[test]
    fn only_equal_strings_become_equal() {
        assert_eq!(exact(r#""fb\/1\u0041""#), b"fb/1A");
        assert_eq!(exact(r#""\ud800""#), exact(r#""\uD800""#));
        let distinct = [r#""\ud800""#, r#""\ud801""#, r#""\ufffd""#, r#""\u0000""#, r#""""#, r#""\\u0000""#];
        for (at, one) in distinct.iter().enumerate() {
            for other in &distinct[at + 1..] {
                assert_ne!(exact(one), exact(other), "{one} {other}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_spelling_of_a_text_is_read_as_that_text(text in prop::collection::vec((any::<char>(), any::<bool>()), 0..30)) {
            let plain: String = text.iter().map(|(character, _)| *character).collect();
            let spell = |(character, escaped): &(char, bool)| {
                let mut buffer = [0; 2];
                let units: Vec<String> =
                    character.encode_utf16(&mut buffer).iter().map(|unit| format!("\\u{unit:04x}")).collect();
                let string = serde_json::Value::from(character.to_string()).to_string();
                if *escaped { units.concat() } else { string[1..string.len() - 1].to_owned() }
            };
            let raw = format!("\"{}\"", text.iter().map(spell).collect::<String>());
            prop_assert_eq!(exact(&raw), plain.as_bytes());
            prop_assert_eq!(nearest(&raw), plain.replace('\0', "\u{fffd}"));
        }
    }
}
