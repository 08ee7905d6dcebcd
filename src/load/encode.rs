//! One JSON value as one field of COPY's binary format.

use std::borrow::Cow;

use super::timestamp::{self, Moment};
use super::unescape::{nearest_json, nearest_text, unescape};
use super::{binary, jsonb, number};
use crate::catalogue::ColumnType;

/// The empty string as JSON. It says nothing about a type and fits every type.
pub const EMPTY: &str = "\"\"";

/// A JSON number that `numeric` takes without growing out of proportion.
const NUMERIC_DIGITS_MAX: usize = 1000;
const NUMERIC_EXPONENT_MAX: i32 = 300;
/// Beyond this an inferred `double precision` could not be widened to `numeric`.
const DOUBLE_EXPONENT_MAX: i32 = 2000;

/// What became of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Encoded {
    /// Written.
    Value,
    /// Written; it says when something happened.
    Moment(Moment),
    /// Written with a replacement for characters that Postgres cannot hold.
    Nearest,
    /// Not written: an empty string, which is null in a column that is not text.
    Empty,
    /// Not written: the column cannot hold it.
    Misfit,
}

/// Who says what type a column has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The vendor's documentation.
    Documented,
    /// The job, with `types`.
    Stated,
    /// The first value of the field. Such a column must lose nothing at all.
    Inferred,
}

/// What a column takes less of than its type does, because its type in the table is a narrower one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bound {
    #[default]
    None,
    /// `smallint`.
    Int2,
    /// `integer`.
    Int4,
    /// `varchar(n)`: so many characters.
    Chars(u32),
    /// `char(n)`: so many characters, and no blank at the end.
    Padded(u32),
}

/// Appends `raw` like [`value`], if it lies within `bound` as well.
pub fn bounded(kind: ColumnType, bound: Bound, trust: Trust, raw: &str, out: &mut Vec<u8>) -> Encoded {
    let start = out.len();
    let encoded = value(kind, trust, raw, out);
    if bound == Bound::None || matches!(encoded, Encoded::Misfit | Encoded::Empty) {
        return encoded;
    }
    let value = out.get(start + 4..).unwrap_or_default();
    let whole = || value.try_into().map(i64::from_be_bytes);
    let text = || std::str::from_utf8(value).unwrap_or_default();
    let chars = |max: u32| text().chars().nth(max as usize).is_none();
    let fits = match bound {
        Bound::None => true,
        Bound::Int2 => whole().is_ok_and(|number| i16::try_from(number).is_ok()),
        Bound::Int4 => whole().is_ok_and(|number| i32::try_from(number).is_ok()),
        Bound::Chars(max) => chars(max),
        Bound::Padded(max) => chars(max) && !text().ends_with(' '),
    };
    if fits {
        return encoded;
    }
    out.truncate(start);
    Encoded::Misfit
}

/// Appends `raw`, a JSON value that is not null, to `out` as a field of type `kind`, unless it is empty or a misfit.
pub fn value(kind: ColumnType, trust: Trust, raw: &str, out: &mut Vec<u8>) -> Encoded {
    if raw == EMPTY && kind != ColumnType::Text {
        return Encoded::Empty;
    }
    let first = raw.as_bytes().first().copied().unwrap_or(b'n');
    match kind {
        ColumnType::Text => text(trust, first, raw, out),
        ColumnType::Boolean if matches!(first, b't' | b'f') => {
            binary::boolean(first == b't', out);
            Encoded::Value
        }
        // A CSV file has no other way to say so.
        ColumnType::Boolean if trust == Trust::Stated && matches!(raw, r#""true""# | r#""false""#) => {
            binary::boolean(raw == r#""true""#, out);
            Encoded::Value
        }
        ColumnType::Bigint => match scalar(trust, raw).and_then(|text| number::whole(&text)) {
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
        ColumnType::Numeric => match scalar(trust, raw).filter(|text| numeric(text, out)) {
            Some(_) => Encoded::Value,
            None => Encoded::Misfit,
        },
        ColumnType::Timestamptz if first == b'"' => instant(trust, raw, out),
        // What is inferred from containers holds only those, so that a string is told from its JSON.
        ColumnType::Jsonb if trust != Trust::Inferred || matches!(first, b'{' | b'[') => json(raw, out),
        ColumnType::Boolean | ColumnType::Timestamptz | ColumnType::Jsonb => Encoded::Misfit,
    }
}

/// The narrowest type that holds `raw`, a JSON value that is neither null, nor an empty string, nor an object to be
/// flattened. Returns `None` for a value that no type but text holds, though it is not a string: it must not decide the
/// type of its column.
pub fn infer(raw: &str) -> Option<ColumnType> {
    match raw.as_bytes().first() {
        Some(b't' | b'f') => Some(ColumnType::Boolean),
        Some(b'{' | b'[') if json(raw, &mut Vec::new()) != Encoded::Misfit => Some(ColumnType::Jsonb),
        Some(b'-' | b'0'..=b'9') => {
            if raw.parse::<i64>().is_ok() {
                Some(ColumnType::Bigint)
            } else if is_fractional(raw) && double(Trust::Inferred, raw).is_some() {
                Some(ColumnType::Double)
            } else {
                (numeric_holds(raw) && number::is_number(raw)).then_some(ColumnType::Numeric)
            }
        }
        Some(b'"') if instant(Trust::Inferred, raw, &mut Vec::new()) != Encoded::Misfit => {
            Some(ColumnType::Timestamptz)
        }
        Some(b'"') => Some(ColumnType::Text),
        _ => None,
    }
}

/// Whether what stands in a record is JSON, and not a word such as `NaN`.
pub fn is_json(raw: &str) -> bool {
    match raw.as_bytes().first() {
        Some(b't' | b'f' | b'{' | b'[' | b'"') => true,
        Some(b'-' | b'0'..=b'9') => number::is_number(raw),
        _ => false,
    }
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
            None => {
                let mut text = Vec::with_capacity(raw.len());
                nearest_text(raw, &mut text);
                binary::bytes(&text, out);
                Encoded::Nearest
            }
        },
        b'{' | b'[' if trust == Trust::Documented => Encoded::Misfit,
        _ => {
            binary::bytes(raw.as_bytes(), out);
            Encoded::Value
        }
    }
}

/// Appends JSON, or the nearest JSON that `jsonb` holds.
fn json(raw: &str, out: &mut Vec<u8>) -> Encoded {
    if jsonb::holds(raw) {
        binary::jsonb(raw.as_bytes(), out);
        return Encoded::Value;
    }
    match nearest_json(raw).filter(|nearest| jsonb::holds(nearest)) {
        Some(nearest) => {
            binary::jsonb(nearest.as_bytes(), out);
            Encoded::Nearest
        }
        None => Encoded::Misfit,
    }
}

/// A number's text; a number whose type is not inferred may also come as a string of digits.
fn scalar(trust: Trust, raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'-' | b'0'..=b'9' => Some(Cow::Borrowed(raw)),
        b'"' if trust != Trust::Inferred => unescape(raw).filter(|text| number::is_number(text)),
        _ => None,
    }
}

/// Appends a number as `numeric`, if that holds it. What a column held while it was one of doubles, it goes on to hold.
fn numeric(text: &str, out: &mut Vec<u8>) -> bool {
    let holds = numeric_holds(text) || double(Trust::Inferred, text).is_some();
    holds && number::is_number(text) && binary::numeric(text, out)
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
    if trust != Trust::Inferred {
        return Some(double);
    }
    // Even nothing at all, which may be spelt with any exponent.
    if !is_modest(number, DOUBLE_EXPONENT_MAX) {
        return None;
    }
    if double == 0.0 {
        return Some(double);
    }
    // Fifteen digits survive in any double that is not denormal.
    let few = double.is_normal() && significant_digits(number).nth(15).is_none();
    (few || significant_digits(number).eq(significant_digits(&format!("{double:e}")))).then_some(double)
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

    use super::super::layout::{Detour, Layout};
    use super::*;

    fn encoded(kind: ColumnType, trust: Trust, raw: &str) -> Option<String> {
        let mut out = Vec::new();
        if matches!(value(kind, trust, raw, &mut out), Encoded::Misfit | Encoded::Empty) {
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
            ("5e-324", ColumnType::Double),
            ("-0.0e5", ColumnType::Double),
            ("1e300", ColumnType::Double),
            (r#""26""#, ColumnType::Text),
            (r#""a\u0000""#, ColumnType::Text),
            (r#""2024-03-01T11:02:45Z""#, ColumnType::Timestamptz),
            (r#""2024-03-01T11:02:45.1234567Z""#, ColumnType::Text),
            (r#""2024-03-01 11:02:45""#, ColumnType::Text),
            (r#""0000-03-01T11:02:45Z""#, ColumnType::Text),
            ("[1]", ColumnType::Jsonb),
            (r#"["a\u0000"]"#, ColumnType::Jsonb),
            ("{}", ColumnType::Jsonb),
        ] {
            assert_eq!(infer(raw), Some(kind), "{raw}");
        }
    }

    #[test]
    fn what_only_text_holds_though_it_is_no_string_decides_no_type() {
        for raw in ["1e999", "1e-999", "1.2345678e-320", "0.0e99999999999", r#"[{"a":1,"a":2}]"#, "[1e400000]", "NaN"] {
            assert_eq!(infer(raw), None, "{raw}");
        }
    }

    #[test]
    fn p5_what_a_column_cannot_hold_is_a_misfit() {
        use ColumnType::{Bigint, Boolean, Double, Jsonb, Numeric, Text, Timestamptz};
        for (kind, raw) in [
            (Text, "[1]"),
            (Bigint, "1.5"),
            (Bigint, "11.5"),
            (Bigint, "92233720368547758080"),
            (Bigint, r#""12a""#),
            (Boolean, "1"),
            (Double, r#""NaN""#),
            (Double, "1e999"),
            (Double, "1e-999"),
            (Numeric, "1e400000"),
            (Timestamptz, r#""yesterday""#),
            (Timestamptz, "12"),
            (Jsonb, "[1e400000]"),
            (Jsonb, r#"[{"a":1,"a":2}]"#),
        ] {
            assert_eq!(encoded(kind, Trust::Documented, raw), None, "{kind:?} {raw}");
        }
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        assert_eq!(encoded(Jsonb, Trust::Inferred, &deep), None);
    }

    #[test]
    fn p5_the_nearest_form_of_what_postgres_has_no_character_for_is_written() {
        for (kind, raw, nearest) in [
            (ColumnType::Text, r#""a\u0000b""#, "a\u{fffd}b"),
            (ColumnType::Text, r#""\ud800""#, "\u{fffd}"),
            (ColumnType::Jsonb, r#"{"a":"\u0000"}"#, r#"{"a":"\ufffd"}"#),
        ] {
            let mut out = Vec::new();
            assert_eq!(value(kind, Trust::Documented, raw, &mut out), Encoded::Nearest, "{raw}");
            assert_eq!(encoded(kind, Trust::Inferred, raw).unwrap(), nearest);
        }
        // Two members whose names become equal are one too many.
        assert_eq!(encoded(ColumnType::Jsonb, Trust::Documented, r#"{"\u0000":1,"\ud800":2}"#), None);
    }

    #[test]
    fn an_empty_string_is_null_in_a_column_that_is_not_text() {
        for kind in ColumnType::ALL {
            for trust in [Trust::Documented, Trust::Stated, Trust::Inferred] {
                let encoded = value(kind, trust, EMPTY, &mut Vec::new());
                let expected = if kind == ColumnType::Text { Encoded::Value } else { Encoded::Empty };
                assert_eq!(encoded, expected, "{kind:?}");
            }
        }
    }

    #[test]
    fn a_whole_number_is_one_in_any_spelling() {
        for (raw, text) in [("11.0", "11"), ("1.2e1", "12"), (r#""11.0""#, "11"), ("-0.0", "0")] {
            assert_eq!(encoded(ColumnType::Bigint, Trust::Documented, raw).unwrap(), text);
        }
        assert_eq!(encoded(ColumnType::Bigint, Trust::Inferred, "11.0").unwrap(), "11");
    }

    #[test]
    fn a_stated_type_takes_what_a_csv_file_can_say() {
        for (kind, raw, text) in [
            (ColumnType::Boolean, r#""true""#, "true"),
            (ColumnType::Bigint, r#""12""#, "12"),
            (ColumnType::Double, r#""12.50""#, "12.5"),
            (ColumnType::Numeric, r#""12.50""#, "12.50"),
        ] {
            assert_eq!(encoded(kind, Trust::Stated, raw).unwrap(), text);
            assert_eq!(encoded(kind, Trust::Inferred, raw), None);
        }
        for raw in [r#""1-2""#, r#""1e""#, r#""-""#, r#""yes""#, r#""1.""#] {
            for kind in [ColumnType::Boolean, ColumnType::Bigint, ColumnType::Double, ColumnType::Numeric] {
                assert_eq!(encoded(kind, Trust::Stated, raw), None, "{kind:?} {raw}");
            }
        }
    }

    #[test]
    fn p5_a_narrower_column_takes_what_lies_within_its_bounds() {
        for (kind, bound, raw, fits) in [
            (ColumnType::Bigint, Bound::Int4, "2147483647", true),
            (ColumnType::Bigint, Bound::Int4, "2147483648", false),
            (ColumnType::Bigint, Bound::Int2, "-32768", true),
            (ColumnType::Bigint, Bound::Int2, "40000", false),
            (ColumnType::Text, Bound::Chars(3), r#""größ""#, false),
            (ColumnType::Text, Bound::Chars(4), r#""größ""#, true),
            (ColumnType::Text, Bound::Padded(4), r#""a ""#, false),
            (ColumnType::Text, Bound::Padded(4), r#""a""#, true),
        ] {
            let mut out = vec![7];
            let written = bounded(kind, bound, Trust::Documented, raw, &mut out) != Encoded::Misfit;
            assert_eq!((written, out.len() > 1), (fits, fits), "{bound:?} {raw}");
        }
    }

    #[test]
    fn p4_a_tiny_double_stays_in_a_column_that_became_numeric() {
        let tiny = "1.117994535710352e-308";
        assert_eq!(infer(tiny), Some(ColumnType::Double));
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
        fn p5_the_inferred_type_holds_its_value_and_every_other_value_has_a_place(one in any_raw(), other in any_raw()) {
            prop_assume!(one != EMPTY && other != EMPTY);
            let Some(kind) = infer(&one) else { return Ok(()) };
            prop_assert!(encoded(kind, Trust::Inferred, &one).is_some(), "{:?} {}", kind, one);
            let mut layout = Layout::new(&[], true);
            let at = layout.add("a", kind).unwrap();
            if encoded(kind, Trust::Inferred, &other).is_some() {
                return Ok(());
            }
            let place = match layout.detour(at, &other) {
                Detour::Widen(wider) => {
                    // Rows that were written before the column was widened say the same.
                    let number = |text: String| {
                        let digits = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
                        if digits == "-0" { "0".to_owned() } else { digits.to_owned() }
                    };
                    let says = |kind| encoded(kind, Trust::Inferred, &one).map(number);
                    prop_assert_eq!(says(kind), says(wider));
                    wider
                }
                Detour::Variant(variant) => variant,
                Detour::Extra => return Err(TestCaseError::fail("it is JSON")),
            };
            prop_assert!(encoded(place, Trust::Inferred, &other).is_some(), "{:?} {}", place, other);
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
