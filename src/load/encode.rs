//! One JSON value as one field of COPY's binary format.

use std::borrow::Cow;

use super::timestamp::{self, Moment};
use super::{binary, jsonb};
use crate::catalogue::ColumnType;

/// A JSON number that `numeric` takes without growing out of proportion.
const NUMERIC_DIGITS_MAX: usize = 1000;
const NUMERIC_EXPONENT_MAX: i32 = 300;
/// Beyond this an inferred `double precision` could not be widened to `numeric`.
const DOUBLE_EXPONENT_MAX: i32 = 2000;

/// 2^52. Below it, what lies midway between two doubles has more than the 17 digits that tell a double from all others.
const MIDWAY_MIN: f64 = 4_503_599_627_370_496.0;

/// What became of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Encoded {
    /// Written.
    Value,
    /// Written; it says when something happened.
    Moment(Moment),
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
        ColumnType::Boolean if matches!(first, b't' | b'f') => {
            binary::boolean(first == b't', out);
            Encoded::Value
        }
        ColumnType::Bigint => match scalar(trust, raw).and_then(|text| text.parse().ok()) {
            Some(number) => {
                binary::bigint(number, out);
                Encoded::Value
            }
            None => Encoded::Misfit,
        },
        ColumnType::Double => match scalar(trust, raw).and_then(|text| double(trust, &text)) {
            Some(number) => {
                binary::double(number, out);
                Encoded::Value
            }
            None => Encoded::Misfit,
        },
        // What the column held while it was one of doubles, it goes on to hold.
        ColumnType::Numeric
            if is_number
                && (numeric_holds(raw) || double(Trust::Inferred, raw).is_some())
                && binary::numeric(raw, out) =>
        {
            Encoded::Value
        }
        ColumnType::Timestamptz if first == b'"' => instant(trust, raw, out),
        // As text, a string would no longer be told from its JSON; so what is inferred from containers holds only those.
        ColumnType::Jsonb if (trust == Trust::Documented || matches!(first, b'{' | b'[')) && jsonb::holds(raw) => {
            binary::jsonb(raw.as_bytes(), out);
            Encoded::Value
        }
        ColumnType::Boolean | ColumnType::Numeric | ColumnType::Timestamptz | ColumnType::Jsonb => Encoded::Misfit,
    }
}

/// The narrowest type that holds `raw`, a JSON value that is neither null nor an object to be flattened.
pub fn infer(raw: &str) -> ColumnType {
    match raw.as_bytes().first() {
        Some(b't' | b'f') => ColumnType::Boolean,
        Some(b'{' | b'[') if jsonb::holds(raw) => ColumnType::Jsonb,
        Some(b'-' | b'0'..=b'9') => {
            if raw.parse::<i64>().is_ok() {
                ColumnType::Bigint
            } else if is_fractional(raw) && double(Trust::Inferred, raw).is_some() {
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

/// Whether `numeric` holds the number without growing out of proportion.
pub(super) fn numeric_holds(number: &str) -> bool {
    is_modest(number, NUMERIC_EXPONENT_MAX)
}

pub(super) const fn is_number_part(byte: u8) -> bool {
    matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')
}

fn text(trust: Trust, first: u8, raw: &str, out: &mut Vec<u8>) -> Encoded {
    match first {
        b'"' => match unescape(raw) {
            Some(text) => {
                binary::bytes(text.as_bytes(), out);
                timestamp::moment(&text).map_or(Encoded::Value, Encoded::Moment)
            }
            None => Encoded::Misfit,
        },
        b'{' | b'[' if trust == Trust::Documented => Encoded::Misfit,
        _ => {
            binary::bytes(raw.as_bytes(), out);
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

/// The number as `double precision`, if that holds it; an inferred column takes only what comes back digit by digit.
pub(super) fn double(trust: Trust, number: &str) -> Option<f64> {
    let double = number.parse::<f64>().ok().filter(|double| double.is_finite())?;
    // What is too small for a double is refused by Postgres, not rounded to nothing.
    if double == 0.0 && significant_digits(number).next().is_some() {
        return None;
    }
    if trust == Trust::Documented {
        return Some(double);
    }
    // Even nothing at all, which may be spelt with any exponent.
    if !is_modest(number, DOUBLE_EXPONENT_MAX) {
        return None;
    }
    if double == 0.0 {
        return Some(double);
    }
    let may_be_midway = double.abs() >= MIDWAY_MIN;
    // Fifteen digits survive in any double that is not denormal.
    if double.is_normal() && !may_be_midway && significant_digits(number).nth(15).is_none() {
        return Some(double);
    }
    let shown = format!("{double:e}");
    let comes_back = significant_digits(number).eq(significant_digits(&shown));
    (comes_back && !(may_be_midway && is_midway(double, &shown))).then_some(double)
}

/// Whether `shown`, the shortest number that is read as `double`, lies midway between two doubles. It is read as one of them by
/// rounding only, so Postgres shows that one with other digits.
fn is_midway(double: f64, shown: &str) -> bool {
    // Of such a number, either a little less or a little more is read as another double. This is 10^20.
    const LITTLE: u128 = 100_000_000_000_000_000_000;
    let Some((mantissa, exponent)) = shown.split_once('e') else { return false };
    let digits = mantissa.trim_start_matches('-').replace('.', "");
    let (Ok(whole), Ok(exponent), Ok(count)) =
        (digits.parse::<u128>(), exponent.parse::<i64>(), i64::try_from(digits.len()))
    else {
        return false;
    };
    let exponent = exponent - (count - 1) - 20;
    let beside = |number: u128| format!("{number}e{exponent}").parse() != Ok(double.abs());
    beside(whole * LITTLE - 1) || beside(whole * LITTLE + 1)
}

/// The digits between the first and the last that is not zero.
fn significant_digits(number: &str) -> impl Iterator<Item = u8> + '_ {
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa.trim_end_matches(['0', '.']).trim_start_matches(['-', '+', '0', '.']);
    // `100` has lost its zeros at the end, `1.00` its point as well.
    digits.bytes().filter(u8::is_ascii_digit)
}

fn is_modest(number: &str, exponent_max: i32) -> bool {
    let mut parts = number.splitn(2, ['e', 'E']);
    let mantissa = parts.next().unwrap_or_default();
    let exponent_is_small = parts
        .next()
        .is_none_or(|exponent| exponent.parse::<i32>().is_ok_and(|exponent| exponent.abs() <= exponent_max));
    mantissa.len() <= NUMERIC_DIGITS_MAX && exponent_is_small
}

fn instant(trust: Trust, raw: &str, out: &mut Vec<u8>) -> Encoded {
    let Some(text) = unescape(raw) else { return Encoded::Misfit };
    let Some(parsed) = timestamp::parse(&text) else { return Encoded::Misfit };
    if !parsed.exact && trust == Trust::Inferred {
        return Encoded::Misfit;
    }
    binary::instant(parsed.at, out);
    Encoded::Moment(Moment::Instant(parsed.at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::layout::join;
    use super::*;

    fn encoded(kind: ColumnType, trust: Trust, raw: &str) -> Option<String> {
        let mut out = Vec::new();
        if value(kind, trust, raw, &mut out) == Encoded::Misfit {
            assert!(out.is_empty(), "a misfit leaves nothing behind");
            return None;
        }
        let mut rest = out.as_slice();
        let shown = binary::tests::shown(kind, &mut rest);
        assert!(rest.is_empty());
        shown
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
            ("1e-999", ColumnType::Text),
            ("1.2345678e-320", ColumnType::Text),
            ("5e-324", ColumnType::Double),
            ("-0.0e5", ColumnType::Double),
            ("0.0e99999999999", ColumnType::Text),
            ("1e300", ColumnType::Double),
            // Postgres shows these three as 1.2323278601569059e+17, -3.6028797018964096e+16 and 9.999999999999999e+22.
            ("1.232327860156906e17", ColumnType::Numeric),
            ("-3.60287970189641e16", ColumnType::Numeric),
            ("1e23", ColumnType::Numeric),
            ("1.232327860156905e17", ColumnType::Double),
            ("1e22", ColumnType::Double),
            ("4503599627370496.5", ColumnType::Numeric),
            (r#""26""#, ColumnType::Text),
            (r#""2024-03-01T11:02:45Z""#, ColumnType::Timestamptz),
            (r#""2024-03-01T11:02:45.1234567Z""#, ColumnType::Text),
            (r#""2024-03-01 11:02:45""#, ColumnType::Text),
            (r#""0000-03-01T11:02:45Z""#, ColumnType::Text),
            ("[1]", ColumnType::Jsonb),
            (r#"["a\u0000"]"#, ColumnType::Text),
            (r#"[{"a":1,"a":2}]"#, ColumnType::Text),
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
            (Double, "1e-999"),
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
    fn p4_a_tiny_double_stays_in_a_column_that_became_numeric() {
        let tiny = "1.117994535710352e-308";
        assert_eq!(infer(tiny), ColumnType::Double);
        let digits = format!("0.{}1117994535710352", "0".repeat(307));
        assert_eq!(encoded(ColumnType::Numeric, Trust::Inferred, tiny), Some(digits));
    }

    #[test]
    fn text_is_what_the_string_says() {
        assert_eq!(encoded(ColumnType::Text, Trust::Documented, r#"" -> a\tb\\\n\"ü""#).unwrap(), " -> a\tb\\\n\"ü");
        assert_eq!(encoded(ColumnType::Text, Trust::Documented, "26").unwrap(), "26");
        assert_eq!(encoded(ColumnType::Text, Trust::Inferred, r#"{"a":"\n"}"#).unwrap(), r#"{"a":"\n"}"#);
        assert_eq!(encoded(ColumnType::Text, Trust::Documented, r#""""#).unwrap(), "");
    }

    #[test]
    fn documented_numbers_may_come_as_strings_and_inferred_ones_may_not() {
        assert_eq!(encoded(ColumnType::Bigint, Trust::Documented, r#""42""#).unwrap(), "42");
        assert_eq!(encoded(ColumnType::Bigint, Trust::Inferred, r#""42""#), None);
        assert_eq!(encoded(ColumnType::Double, Trust::Documented, r#""4.5""#).unwrap(), "4.5");
    }

    fn any_raw() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<bool>().prop_map(|value| value.to_string()),
            any::<i64>().prop_map(|value| value.to_string()),
            any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(|value| format!("{value:e}")),
            "-?(0|[1-9][0-9]{0,22})(\\.[0-9]{1,22})?([eE][+-]?[0-9]{1,4})?",
            "\"(2024|0001|9999)-(0[1-9]|1[0-3])-(0[1-9]|3[01])[T t]0[0-9]:[0-5][0-9]:[0-6][0-9]([.,][0-9]{1,9})?(Z|z||[+-]0[0-9]:?[0-6]0)\"",
            "\\PC{0,20}".prop_map(|text| serde_json::Value::from(text).to_string()),
            "-?0(\\.0{1,9})?[eE]-?[0-9]{1,12}",
            Just(r#""\u0000""#.to_owned()),
            Just(r#"["\u0000"]"#.to_owned()),
            Just(r#"[1,{"a":null}]"#.to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn p5_the_inferred_type_holds_its_value_and_so_does_every_wider_one(one in any_raw(), other in any_raw()) {
            let kind = infer(&one);
            let wider = join(kind, infer(&other));
            for kind in [kind, wider] {
                // Only text that Postgres has no character for is held by no type.
                let unheld = kind == ColumnType::Text && one.starts_with('"') && unescape(&one).is_none();
                prop_assert_eq!(encoded(kind, Trust::Inferred, &one).is_none(), unheld, "{:?} {}", kind, one);
            }
            // Rows that were written before the column was widened say the same.
            let number = |text: String| {
                let digits = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
                if digits == "-0" { "0".to_owned() } else { digits.to_owned() }
            };
            let says = |kind| encoded(kind, Trust::Inferred, &one).map(number);
            if wider == ColumnType::Numeric {
                prop_assert_eq!(says(kind), says(wider));
            }
        }

        #[test]
        fn p5_text_comes_back_character_by_character(text in prop::collection::vec(any::<char>(), 0..60)) {
            let text: String = text.into_iter().filter(|character| *character != '\0').collect();
            let raw = serde_json::Value::from(text.as_str()).to_string();
            prop_assert_eq!(encoded(ColumnType::Text, Trust::Inferred, &raw), Some(text));
        }
    }

    #[test]
    fn documented_times_are_cut_and_inferred_ones_are_not() {
        let raw = r#""2024-03-01T11:02:45.1234567Z""#;
        assert_eq!(encoded(ColumnType::Timestamptz, Trust::Documented, raw).unwrap(), "2024-03-01T11:02:45.123456Z");
        assert_eq!(encoded(ColumnType::Timestamptz, Trust::Inferred, raw), None);
    }
}
