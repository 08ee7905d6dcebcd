//! One JSON value as one field of COPY text format.
//!
//! The text is also valid for every wider type (`layout::join`), so rows encoded before a column was widened within a
//! page need no second pass.

use std::borrow::Cow;
use std::io::Write as _;

use super::timestamp::{self, Timestamp};
use crate::catalogue::ColumnType;

/// A JSON number that `numeric` takes without growing out of proportion.
const NUMERIC_DIGITS_MAX: usize = 1000;
/// Deeper nesting could exceed the server's stack.
const JSONB_DEPTH_MAX: usize = 100;

/// What became of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Encoded {
    /// Written.
    Value,
    /// Written; it is this instant.
    Instant(Timestamp),
    /// Not written: the column cannot hold it.
    Misfit,
}

/// Whether the column's type is the vendor's word or our own inference, which must lose nothing at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    Documented,
    Inferred,
}

/// Appends `raw`, a JSON value that is not null, to `out` as a field of type `kind`; nothing is appended on a misfit.
pub fn value(kind: ColumnType, trust: Trust, raw: &str, out: &mut Vec<u8>) -> Encoded {
    let first = raw.as_bytes().first().copied().unwrap_or(b'n');
    let is_number = first == b'-' || first.is_ascii_digit();
    match kind {
        ColumnType::Text => text(trust, first, raw, out),
        ColumnType::Boolean if matches!(first, b't' | b'f') => written(raw, out),
        ColumnType::Bigint => match scalar(trust, raw) {
            Some(text) if text.parse::<i64>().is_ok() => written(text.strip_prefix('+').unwrap_or(&text), out),
            _ => Encoded::Misfit,
        },
        ColumnType::Double => match scalar(trust, raw) {
            Some(text) if double_holds(trust, &text) => written(&text, out),
            _ => Encoded::Misfit,
        },
        ColumnType::Numeric if is_number && numeric_holds(raw) => written(raw, out),
        ColumnType::Timestamptz if first == b'"' => instant(trust, raw, out),
        ColumnType::Jsonb if jsonb_holds(raw) => {
            escape(raw, out);
            Encoded::Value
        }
        ColumnType::Boolean | ColumnType::Numeric | ColumnType::Timestamptz | ColumnType::Jsonb => Encoded::Misfit,
    }
}

/// The narrowest type that holds `raw`, a JSON value that is neither null nor an object to be flattened.
pub fn infer(raw: &str) -> ColumnType {
    match raw.as_bytes().first() {
        Some(b't' | b'f') => ColumnType::Boolean,
        Some(b'{' | b'[') if jsonb_holds(raw) => ColumnType::Jsonb,
        Some(b'-' | b'0'..=b'9') => {
            if raw.parse::<i64>().is_ok() {
                ColumnType::Bigint
            } else if is_fractional(raw) && double_holds(Trust::Inferred, raw) {
                ColumnType::Double
            } else if numeric_holds(raw) {
                ColumnType::Numeric
            } else {
                ColumnType::Text
            }
        }
        Some(b'"') if instant(Trust::Inferred, raw, &mut Vec::new()) != Encoded::Misfit => ColumnType::Timestamptz,
        _ => ColumnType::Text,
    }
}

/// A JSON string's text; none when Postgres cannot hold it (NUL, half a surrogate pair).
pub fn unescape(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.get(1..raw.len().checked_sub(1)?)?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    let text: String = serde_json::from_str(raw).ok()?;
    (!text.contains('\0')).then_some(Cow::Owned(text))
}

/// Appends `text` with the characters escaped that COPY text format gives a meaning.
pub fn escape(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let letter = match byte {
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            _ => continue,
        };
        out.extend_from_slice(&bytes[from..at]);
        out.extend_from_slice(&[b'\\', letter]);
        from = at + 1;
    }
    out.extend_from_slice(&bytes[from..]);
}

/// Whether `jsonb` holds the value as it is: no NUL, no half surrogate pair, no number or nesting out of proportion.
pub fn jsonb_holds(raw: &str) -> bool {
    let bytes = raw.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let end = string_end(bytes, at);
                if memchr::memchr(b'\\', &bytes[at..end]).is_some() && unescape(&raw[at..end]).is_none() {
                    return false;
                }
                at = end;
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                if depth > JSONB_DEPTH_MAX {
                    return false;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'-' | b'0'..=b'9' => {
                let length = bytes[at..].iter().take_while(|b| is_number_part(**b)).count();
                if !numeric_holds(&raw[at..at + length]) {
                    return false;
                }
                at += length;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    true
}

const fn is_number_part(byte: u8) -> bool {
    matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[at.min(bytes.len())..]) {
        at += found;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

fn written(text: &str, out: &mut Vec<u8>) -> Encoded {
    out.extend_from_slice(text.as_bytes());
    Encoded::Value
}

fn text(trust: Trust, first: u8, raw: &str, out: &mut Vec<u8>) -> Encoded {
    match first {
        b'"' => match unescape(raw) {
            Some(text) => {
                escape(&text, out);
                Encoded::Value
            }
            None => Encoded::Misfit,
        },
        b'{' | b'[' if trust == Trust::Documented => Encoded::Misfit,
        _ => {
            escape(raw, out);
            Encoded::Value
        }
    }
}

/// A number's text; a documented number may also come as a string of digits.
fn scalar(trust: Trust, raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'-' | b'0'..=b'9' => Some(Cow::Borrowed(raw)),
        b'"' if trust == Trust::Documented => unescape(raw).filter(|text| {
            let bytes = text.as_bytes();
            matches!(bytes.first(), Some(b'-' | b'0'..=b'9')) && bytes.iter().all(|b| is_number_part(*b))
        }),
        _ => None,
    }
}

fn is_fractional(number: &str) -> bool {
    number.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'))
}

/// Whether `double precision` holds the number; an inferred column takes only what comes back digit by digit.
fn double_holds(trust: Trust, number: &str) -> bool {
    let Ok(double) = number.parse::<f64>() else { return false };
    if !double.is_finite() {
        return false;
    }
    if trust == Trust::Documented {
        return true;
    }
    let digits = significant_digits(number);
    if double == 0.0 {
        return digits.is_empty();
    }
    digits.len() <= 15 || digits == significant_digits(&format!("{double:e}"))
}

fn significant_digits(number: &str) -> Vec<u8> {
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    let digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).skip_while(|digit| *digit == b'0').collect();
    let length = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
    digits[..length].to_vec()
}

fn numeric_holds(number: &str) -> bool {
    let mut parts = number.splitn(2, ['e', 'E']);
    let mantissa = parts.next().unwrap_or_default();
    let exponent_is_small =
        parts.next().is_none_or(|exponent| exponent.parse::<i32>().is_ok_and(|exponent| exponent.abs() <= 300));
    mantissa.len() <= NUMERIC_DIGITS_MAX && exponent_is_small
}

fn instant(trust: Trust, raw: &str, out: &mut Vec<u8>) -> Encoded {
    let Some(text) = unescape(raw) else { return Encoded::Misfit };
    let Some(parsed) = timestamp::parse(&text) else { return Encoded::Misfit };
    if parsed.exact {
        out.extend_from_slice(text.as_bytes());
    } else if trust == Trust::Documented {
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{}", parsed.at.format("%Y-%m-%dT%H:%M:%S%.6fZ"));
    } else {
        return Encoded::Misfit;
    }
    Encoded::Instant(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(kind: ColumnType, trust: Trust, raw: &str) -> Option<String> {
        let mut out = Vec::new();
        match value(kind, trust, raw, &mut out) {
            Encoded::Misfit => {
                assert!(out.is_empty(), "a misfit leaves nothing behind");
                None
            }
            _ => Some(String::from_utf8(out).unwrap()),
        }
    }

    #[test]
    fn the_narrowest_type_is_inferred() {
        for (raw, kind) in [
            ("true", ColumnType::Boolean),
            ("12", ColumnType::Bigint),
            ("-9223372036854775808", ColumnType::Bigint),
            ("9223372036854775808", ColumnType::Numeric),
            ("1.5", ColumnType::Double),
            ("0.30000000000000004", ColumnType::Double),
            ("0.1234567890123456789", ColumnType::Numeric),
            ("1e999", ColumnType::Text),
            ("1e300", ColumnType::Double),
            (r#""26""#, ColumnType::Text),
            (r#""2024-03-01T11:02:45Z""#, ColumnType::Timestamptz),
            (r#""2024-03-01T11:02:45.1234567Z""#, ColumnType::Text),
            (r#""2024-03-01 11:02:45""#, ColumnType::Text),
            ("[1]", ColumnType::Jsonb),
            (r#"["a\u0000"]"#, ColumnType::Text),
            ("{}", ColumnType::Jsonb),
        ] {
            assert_eq!(infer(raw), kind, "{raw}");
        }
    }

    #[test]
    fn p5_what_a_column_cannot_hold_is_a_misfit() {
        use ColumnType::{Bigint, Boolean, Double, Jsonb, Numeric, Text, Timestamptz};
        for (kind, raw) in [
            (Text, r#""a\u0000b""#),
            (Text, r#""\ud800""#),
            (Text, "[1]"),
            (Bigint, "1.5"),
            (Bigint, "92233720368547758080"),
            (Bigint, r#""12a""#),
            (Boolean, "1"),
            (Double, r#""NaN""#),
            (Double, "1e999"),
            (Numeric, "1e400000"),
            (Timestamptz, r#""yesterday""#),
            (Timestamptz, "12"),
            (Jsonb, r#"{"a":"\u0000"}"#),
            (Jsonb, "[1e400000]"),
        ] {
            assert_eq!(encoded(kind, Trust::Documented, raw), None, "{kind:?} {raw}");
        }
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        assert_eq!(encoded(Jsonb, Trust::Inferred, &deep), None);
    }

    #[test]
    fn text_is_escaped_for_copy() {
        assert_eq!(
            encoded(ColumnType::Text, Trust::Documented, r#"" -> a\tb\\\n\"ü""#).unwrap(),
            " -> a\\tb\\\\\\n\"ü"
        );
        assert_eq!(encoded(ColumnType::Text, Trust::Documented, "26").unwrap(), "26");
        assert_eq!(encoded(ColumnType::Text, Trust::Inferred, r#"{"a":"\n"}"#).unwrap(), r#"{"a":"\\n"}"#);
        assert_eq!(encoded(ColumnType::Text, Trust::Documented, r#""""#).unwrap(), "");
    }

    #[test]
    fn documented_numbers_may_come_as_strings_and_inferred_ones_may_not() {
        assert_eq!(encoded(ColumnType::Bigint, Trust::Documented, r#""42""#).unwrap(), "42");
        assert_eq!(encoded(ColumnType::Bigint, Trust::Inferred, r#""42""#), None);
        assert_eq!(encoded(ColumnType::Double, Trust::Documented, r#""4.5""#).unwrap(), "4.5");
    }

    #[test]
    fn documented_times_are_cut_and_inferred_ones_are_not() {
        let raw = r#""2024-03-01T11:02:45.1234567Z""#;
        assert_eq!(encoded(ColumnType::Timestamptz, Trust::Documented, raw).unwrap(), "2024-03-01T11:02:45.123456Z");
        assert_eq!(encoded(ColumnType::Timestamptz, Trust::Inferred, raw), None);
    }
}
