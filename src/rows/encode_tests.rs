use proptest::prelude::*;

use super::super::layout::{Detour, Layout};
use super::*;

fn encoded(kind: ColumnType, trust: Trust, raw: &str) -> Option<String> {
    let mut out = Vec::new();
    if matches!(value(kind, trust, raw, &mut out), Encoded::Misfit | Encoded::Empty) {
        assert!(out.is_empty(), "a value that does not fit appends nothing");
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
        // Postgres shows these three as 1.2323278601569059e+17, -3.6028797018964096e+16 and 9.999999999999999e+22.
        ("1.232327860156906e17", ColumnType::Numeric),
        ("-3.60287970189641e16", ColumnType::Numeric),
        ("1e23", ColumnType::Numeric),
        ("1.232327860156905e17", ColumnType::Double),
        ("1e22", ColumnType::Double),
        ("4503599627370496.5", ColumnType::Numeric),
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
fn no_type_is_inferred_from_a_value_that_only_text_holds() {
    for raw in ["1e999", "1e-999", "1.2345678e-320", "0.0e99999999999", r#"[{"a":1,"a":2}]"#, "[1e400000]", "NaN"] {
        assert_eq!(infer(raw), None, "{raw}");
    }
}

#[test]
fn p5_a_value_that_a_column_cannot_hold_is_not_written() {
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
        (Text, "NaN"),
        (Boolean, "NaN"),
        (Bigint, "-Infinity"),
        (Double, "NaN"),
        (Double, "-Infinity"),
        (Numeric, "-Infinity"),
        (Timestamptz, "NaN"),
        (Jsonb, "NaN"),
        (Jsonb, r#"{"a":[NaN]}"#),
        (Jsonb, "[1e400000]"),
        (Jsonb, r#"[{"a":1,"a":2}]"#),
    ] {
        assert_eq!(encoded(kind, Trust::Documented, raw), None, "{kind:?} {raw}");
    }
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    assert_eq!(encoded(Jsonb, Trust::Inferred, &deep), None);
}

#[test]
fn p5_characters_that_postgres_cannot_hold_are_written_in_the_nearest_form() {
    for (kind, raw, nearest) in [
        (ColumnType::Text, r#""a\u0000b""#, "a\u{fffd}b"),
        (ColumnType::Text, r#""\ud800""#, "\u{fffd}"),
        (ColumnType::Jsonb, r#"{"a":"\u0000"}"#, r#"{"a":"\ufffd"}"#),
    ] {
        let mut out = Vec::new();
        assert_eq!(value(kind, Trust::Documented, raw, &mut out), Encoded::Nearest, "{raw}");
        assert_eq!(encoded(kind, Trust::Inferred, raw).unwrap(), nearest);
    }
    // `jsonb` cannot hold two members whose names become equal.
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
fn a_whole_number_is_recognised_in_any_spelling() {
    for (raw, text) in [("11.0", "11"), ("1.2e1", "12"), (r#""11.0""#, "11"), ("-0.0", "0")] {
        assert_eq!(encoded(ColumnType::Bigint, Trust::Documented, raw).unwrap(), text);
    }
    assert_eq!(encoded(ColumnType::Bigint, Trust::Inferred, "11.0").unwrap(), "11");
}

#[test]
fn a_stated_type_takes_the_strings_of_a_csv_file() {
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
fn p5_a_narrower_column_takes_values_within_its_bounds() {
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
fn text_is_the_content_of_the_string() {
    assert_eq!(encoded(ColumnType::Text, Trust::Documented, r#"" -> a\tb\\\n\"ü""#).unwrap(), " -> a\tb\\\n\"ü");
    assert_eq!(encoded(ColumnType::Text, Trust::Documented, "26").unwrap(), "26");
    assert_eq!(encoded(ColumnType::Text, Trust::Inferred, r#"{"a":"\n"}"#).unwrap(), r#"{"a":"\n"}"#);
    assert_eq!(encoded(ColumnType::Text, Trust::Documented, r#""""#).unwrap(), "");
}

#[test]
fn documented_numbers_may_be_strings_and_inferred_ones_may_not() {
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
    fn p5_the_inferred_type_holds_its_value_and_every_other_value_has_a_column(one in any_raw(), other in any_raw()) {
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
                // Rows that were written before the column was widened have the same value.
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
    fn p5_text_round_trips_character_by_character(text in prop::collection::vec(any::<char>(), 0..60)) {
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
