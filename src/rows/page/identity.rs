//! The canonical form of values, for hashes of ids and contents: it does not depend on a value's spelling.
//!
//! A string without escapes and a whole number are already canonical, so most values are hashed as they are.

use std::io::Write as _;

use md5::{Digest as _, Md5};

use crate::catalogue::ColumnType;
use crate::decode::raw::string_end;
use crate::rows::number::is_number_part;
use crate::rows::unescape::exact_text;
use crate::rows::{binary, number};

/// Appends the canonical form of an id: a number and a string of its canonical digits are one id.
pub(super) fn push_id(raw: &str, out: &mut Vec<u8>) {
    if is_number(raw) {
        out.push(b'"');
        number::canonical(raw, out);
        out.push(b'"');
    } else {
        push_value(raw, out);
    }
}

/// Appends the canonical form of a JSON value: equal for equal strings and equal numbers, also in arrays and objects
/// with any white space.
pub(super) fn push_value(raw: &str, out: &mut Vec<u8>) {
    match raw.as_bytes().first() {
        Some(b'"') => push_string(raw, out),
        Some(b'-' | b'0'..=b'9') => number::canonical(raw, out),
        Some(b'{' | b'[') => push_container(raw, out),
        _ => out.extend_from_slice(raw.as_bytes()),
    }
}

/// Appends the value of a key's column to what identifies its row. `field` is the value in COPY's binary format. Whole
/// numbers and booleans count as their text, so that a number and its digits are one id.
pub(super) fn push_column(kind: ColumnType, field: &[u8], out: &mut Vec<u8>) {
    let value = field.get(binary::NULL.len()..).unwrap_or_default();
    match (kind, value) {
        (ColumnType::Bigint, value) if let Ok(number) = value.try_into() => {
            let start = out.len();
            out.extend_from_slice(&binary::NULL);
            // Writing to a vector cannot fail.
            let _ = write!(out, "{}", i64::from_be_bytes(number));
            let length = u32::try_from(out.len() - start - binary::NULL.len()).unwrap_or_default();
            out[start..start + binary::NULL.len()].copy_from_slice(&length.to_be_bytes());
        }
        (ColumnType::Boolean, value) => binary::bytes(if value == [1] { b"true" } else { b"false" }, out),
        _ => out.extend_from_slice(field),
    }
}

/// Whether the identity of a row can be computed here if its key has a column of this type.
pub const fn has_identity(kind: ColumnType) -> bool {
    matches!(kind, ColumnType::Boolean | ColumnType::Bigint | ColumnType::Text | ColumnType::Timestamptz)
}

/// The identity of a row whose key's columns were appended with [`push_column`].
pub(super) fn of_columns(columns: &[u8]) -> u128 {
    u128::from_be_bytes(Md5::digest(columns).into())
}

pub(super) fn is_number(raw: &str) -> bool {
    matches!(raw.as_bytes().first(), Some(b'-' | b'0'..=b'9'))
}

fn push_string(raw: &str, out: &mut Vec<u8>) {
    if memchr::memchr(b'\\', raw.as_bytes()).is_none() {
        out.extend_from_slice(raw.as_bytes());
        return;
    }
    let mut text = Vec::with_capacity(raw.len());
    exact_text(raw, &mut text);
    out.push(b'"');
    for byte in text {
        // Otherwise a text could look like the end of a string in an array.
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

fn push_container(raw: &str, out: &mut Vec<u8>) {
    let bytes = raw.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let length = match byte {
            b'"' => string_end(bytes, at) - at,
            b'-' | b'0'..=b'9' => bytes[at..].iter().take_while(|byte| is_number_part(**byte)).count(),
            _ => 1,
        };
        let end = (at + length).min(bytes.len());
        match byte {
            b'"' => push_string(&raw[at..end], out),
            b'-' | b'0'..=b'9' => number::canonical(&raw[at..end], out),
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => out.push(*byte),
        }
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(raw: &str) -> String {
        let mut out = Vec::new();
        push_id(raw, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    fn value(raw: &str) -> String {
        let mut out = Vec::new();
        push_value(raw, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn any_spelling_of_an_id_is_one_id() {
        for same in [&["1001", "\"1001\"", "1001.0", "1.001e3", "\"\\u0031001\""][..], &[r#""fb/1""#, r#""fb\/1""#]] {
            for spelling in same {
                assert_eq!(id(spelling), id(same[0]), "{spelling}");
            }
        }
        for (one, other) in
            [("7", "\"007\""), ("1e3", "\"1e3\""), ("1", "\" 1\""), ("1.5", "\"1.50\""), ("true", "\"true\"")]
        {
            assert_ne!(id(one), id(other), "a string is compared as text");
        }
    }

    #[test]
    fn a_canonical_value_is_unchanged() {
        for raw in ["17", "-17", "true", "\"plain é\"", r#"["a",1,{"b":[null]}]"#, "{}"] {
            assert_eq!(value(raw), raw);
        }
        assert_eq!(id("17"), "\"17\"");
    }

    #[test]
    fn equal_values_in_arrays_and_only_those_are_equal_in_any_spelling() {
        assert_eq!(value("[ 1.0, \"a\\/b\" ,{\"c\" :10e-1}\n]"), value(r#"[1,"a/b",{"c":1}]"#));
        assert_ne!(value(r#"["a\",\"b"]"#), value(r#"["a","b"]"#));
        assert_ne!(value(r#"["a\\","b"]"#), value(r#"["a","b"]"#));
        assert_ne!(value("[1]"), value(r#"["1"]"#));
        assert_ne!(value("[1, 2]"), value("[12]"));
    }
}
