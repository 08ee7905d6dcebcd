//! Any value that a vendor may send round-trips through the database.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use proptest::prelude::*;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor};
use tidegate::catalogue::{Column, ColumnType, Stream};
use tidegate::rows::timestamp;
use tokio::runtime::Runtime;

use super::plant::{Plant, stream, whole};
use crate::support::random::runner;

fn any_text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        4 => any::<char>(),
        2 => prop::sample::select(vec!['\\', '\n', '\r', '\t', '"', '\'', '\u{8}', '\u{b}', 'N', '.', '\u{7f}', '\u{feff}']),
        2 => prop::char::range(' ', '~'),
    ];
    prop::collection::vec(character.prop_filter("no NUL", |c| *c != '\0'), 0..24)
        .prop_map(|characters| characters.into_iter().collect())
}

/// The same string with every character escaped.
fn escaped(text: &str) -> String {
    let units: Vec<String> = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    format!("\"{}\"", units.concat())
}

#[test]
fn p5_any_string_round_trips_through_text_and_jsonb() {
    let runtime = Runtime::new().unwrap();
    let plant = runtime.block_on(Plant::new());
    let window = AtomicI64::new(0);
    runner(20)
        .run(&prop::collection::vec((any_text(), any::<bool>()), 1..400), |texts| {
            let window = whole(window.fetch_add(1, Ordering::Relaxed));
            let records: Vec<String> = (0..)
                .zip(&texts)
                .map(|(number, (text, escape)): (u32, _)| {
                    let raw = if *escape { escaped(text) } else { Value::from(text.as_str()).to_string() };
                    // The first value makes the column text.
                    let text = if number == 0 { "\"text\"" } else { &raw };
                    format!(r#"{{"n":{number},"t":{text},"j":[{raw},{{"k":{raw}}}]}}"#)
                })
                .collect();
            runtime.block_on(plant.read(window, &[records]));
            let stored: Vec<(i64, String, String, String)> = runtime
                .block_on(
                    sqlx::query_as(
                        "select n, t, j ->> 0, j -> 1 ->> 'k' from lynn.survey_result where _window_start = $1 order by n",
                    )
                    .bind(window.start)
                    .fetch_all(&plant.pool),
                )
                .unwrap();
            prop_assert_eq!(stored.len(), texts.len());
            for ((n, t, first, second), (text, _)) in stored.iter().zip(&texts) {
                prop_assert!(*n == 0 || t == text);
                prop_assert_eq!(first, text);
                prop_assert_eq!(second, text);
            }
            Ok(())
        })
        .unwrap();
}

/// Raw JSON values without nested objects, which would be split into other fields.
pub fn any_value() -> impl Strategy<Value = String> {
    let digits = "-?(0|[1-9][0-9]{0,22})(\\.[0-9]{1,22})?([eE][+-]?[0-9]{1,3})?";
    prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        (-9_i64..9).prop_map(|value| value.to_string()),
        digits.prop_map(|number| number),
        any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(|value| format!("{value:e}")),
        "-?(1|1\\.5|0\\.0)[eE][+-]?(0|17|30[0-9]|32[0-9]|400|99999999999)".prop_map(|number| number),
        any_text().prop_map(|text| Value::from(text).to_string()),
        Just(r#""""#.to_owned()),
        Just(r#""a\u0000b""#.to_owned()),
        Just(r#""\ud83d""#.to_owned()),
        "\"[0-9]{1,6}\"".prop_map(|text| text),
        "\"(2024|0001|0000|9999)-(0[1-9]|1[0-3])-(0[1-9]|3[01])[T t](0[0-9]|2[34]):[0-5][0-9]:[0-6][0-9]([.,][0-9]{1,9})?(Z|z||[+-](0[0-9]|1[0-9]|23):?[0-6]0)\"".prop_map(|text| text),
        prop::collection::vec(any_text(), 0..3).prop_map(|texts| Value::from(texts).to_string()),
        Just("[1, [2.50], {\"a\": null}]".to_owned()),
        Just(r#"[{"a":1,"a":2}]"#.to_owned()),
        Just("{}".to_owned()),
        Just("[\"\\u0000\"]".to_owned()),
    ]
}

/// A decimal number as sign, digits without zeros at the ends, and exponent.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if mantissa.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let all = format!("{whole}{fraction}");
    let digits = all.trim_end_matches('0');
    let exponent: i64 = exponent.parse().ok()?;
    let exponent = exponent - i64::try_from(fraction.len()).ok()? + i64::try_from(all.len() - digits.len()).ok()?;
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some((false, String::new(), 0));
    }
    Some((negative, digits.to_owned(), exponent))
}

/// Whether a column's text has the vendor's value. A number has the same digits in any spelling; an instant is equal to
/// the microsecond; JSON is the same tree; a string is the same string.
fn says(kind: &str, text: &str, raw: &str) -> bool {
    if text == raw && !raw.starts_with('"') {
        return true;
    }
    let same_number = || decimal(raw).is_some_and(|number| decimal(text) == Some(number));
    let same_instant = || {
        let string: Option<String> = serde_json::from_str(raw).ok();
        let sent = string.and_then(|string| timestamp::parse(&string));
        let stored = timestamp::parse(&text.replace("+00", "Z"));
        sent.is_some_and(|sent| sent.exact && stored.is_some_and(|stored| stored.at == sent.at))
    };
    let same_tree = || {
        let tree = |text: &str| serde_json::from_str::<Value>(text).ok();
        tree(raw).is_some_and(|value| tree(text) == Some(value))
    };
    match kind {
        "timestamp with time zone" => same_instant(),
        "jsonb" => same_tree() || same_number(),
        "text" if raw.starts_with('"') => serde_json::from_str::<String>(raw).is_ok_and(|string| string == text),
        "text" => text == raw,
        "bigint" | "double precision" | "numeric" => same_number(),
        _ => false,
    }
}

fn kept_in_extra(extra: Option<&Value>, field: &str, raw: &str) -> bool {
    let Some(value) = extra.and_then(|extra| extra.get(field)) else { return false };
    value.get("_raw").and_then(Value::as_str) == Some(raw)
        || says("jsonb", &value.to_string(), raw)
        || says("numeric", &value.to_string(), raw)
}

/// The value with a replacement for characters that Postgres cannot hold.
fn nearest(raw: &str) -> String {
    raw.replace("\\u0000", "\u{fffd}").replace("\\ud83d\"", "\u{fffd}\"")
}

/// One field of one row: its column, its variants, `_extra`.
#[derive(Debug, Default)]
struct Found {
    columns: Vec<(String, String)>,
    extra: Option<Value>,
}

impl Found {
    /// Whether the value is stored once, in the right place.
    fn keeps(&self, field: &str, raw: &str) -> bool {
        // A value that is not a string is stored as text unchanged.
        let is_string = !self.columns.iter().any(|(kind, _)| kind == "text") || raw.starts_with('"');
        let written = if is_string { nearest(raw) } else { raw.to_owned() };
        let is_plain = written == raw;
        let in_extra = kept_in_extra(self.extra.as_ref(), field, raw);
        match &*self.columns {
            [] => match raw {
                "null" | "\"\"" => self.extra.is_none(),
                _ => in_extra,
            },
            [(kind, text)] => says(kind, text, &written) && (is_plain && self.extra.is_none() || !is_plain && in_extra),
            _ => false,
        }
    }
}

/// The columns of one field with their types, its own first.
async fn columns_of(plant: &Plant, field: &str) -> Vec<(String, String)> {
    let mut columns = Vec::new();
    for name in [field.to_owned(), format!("{field}_numeric"), format!("{field}_text")] {
        if let Some(kind) = plant.column(&name).await {
            columns.push((name, kind));
        }
    }
    columns
}

/// The field in every row of the slice, by `n`.
async fn found(plant: &Plant, number: i64, field: &str) -> BTreeMap<i64, Found> {
    let columns = columns_of(plant, field).await;
    let mut rows: BTreeMap<i64, Found> = BTreeMap::new();
    let select = async |value: &str| -> Vec<(i64, Option<String>)> {
        let sql = format!("select n, {value}::text from lynn.survey_result where _window_start = $1");
        sqlx::query_as(AssertSqlSafe(sql)).bind(whole(number).start).fetch_all(&plant.pool).await.unwrap()
    };
    for (n, extra) in select("_extra").await {
        rows.entry(n).or_default().extra = extra.map(|extra| serde_json::from_str(&extra).unwrap());
    }
    for (name, kind) in columns {
        for (n, text) in select(&name).await {
            rows.entry(n).or_default().columns.extend(text.map(|text| (kind.clone(), text)));
        }
    }
    rows
}

#[test]
fn p5_any_sequence_of_values_in_one_field_loses_nothing_and_changes_its_type_only_among_numbers() {
    let runtime = Runtime::new().unwrap();
    let plant = runtime.block_on(Plant::new());
    let case = AtomicI64::new(0);
    let pages = prop::collection::vec(prop::collection::vec(any_value(), 1..8), 1..4);
    runner(48)
        .run(&(pages, any::<bool>()), |(pages, is_seen)| {
            // Each case has its own field.
            let number = case.fetch_add(1, Ordering::Relaxed);
            let field = format!("v{number}");
            let mut sent = BTreeMap::new();
            let pages: Vec<Vec<String>> = pages
                .iter()
                .map(|values| {
                    let records = values.iter().map(|value| {
                        let n = i64::try_from(sent.len()).unwrap();
                        sent.insert(n, value.clone());
                        format!(r#"{{"n":{n},"{field}":{value}}}"#)
                    });
                    records.collect()
                })
                .collect();
            runtime.block_on(async {
                let claim = plant.claim().await;
                let mut reader = plant.reader(&claim, whole(number)).await;
                let (mut inserted, mut kind, mut viewed) = (0, None, false);
                for (place, page) in pages.iter().enumerate() {
                    let next = (place + 1 < pages.len()).then_some("next");
                    inserted += reader.page(page, next).await.unwrap().rows_inserted;
                    let now = plant.column(&field).await;
                    let widened = !viewed && matches!(kind.as_deref(), Some("bigint" | "double precision"));
                    prop_assert!(
                        kind.is_none() || now == kind || (widened && now.as_deref() == Some("numeric")),
                        "{:?} became {:?}",
                        kind,
                        now
                    );
                    kind = now;
                    if is_seen && !viewed && kind.is_some() {
                        let view = format!("create view seen_{number} as select {field} from lynn.survey_result");
                        plant.pool.execute(AssertSqlSafe(view)).await.unwrap();
                        viewed = true;
                    }
                }
                prop_assert_eq!(inserted, i64::try_from(sent.len()).unwrap());
                // In the first reading a value may come before the column that holds it. In the second, all columns
                // exist.
                for _ in 0..2 {
                    let rows = found(&plant, number, &field).await;
                    prop_assert_eq!(rows.len(), sent.len());
                    for (n, row) in rows {
                        prop_assert!(row.keeps(&field, &sent[&n]), "{:?}: sent {} found {:?}", kind, sent[&n], row);
                    }
                    plant.read(whole(number), &pages).await;
                }
                let again = plant.read(whole(number), &pages).await;
                prop_assert_eq!(again.rows_unchanged, i64::try_from(sent.len()).unwrap());
                // The place of a value depends only on the value and the columns, not on earlier values.
                let mut backwards = pages.clone();
                backwards.reverse();
                for page in &mut backwards {
                    page.reverse();
                }
                let again = plant.read(whole(number), &backwards).await;
                prop_assert_eq!(again.rows_unchanged, i64::try_from(sent.len()).unwrap());
                Ok(())
            })
        })
        .unwrap();
}

/// Any spelling of an id: as a number with its point and exponent anywhere, or as a string with any character escaped.
fn any_spelling(id: u32) -> impl Strategy<Value = String> {
    let digits = id.to_string();
    let plain = digits.clone();
    let moved = (0..=digits.len(), 0_usize..3).prop_map(move |(cut, zeros)| {
        let (whole, fraction) = plain.split_at(cut);
        let whole = if whole.is_empty() { "0" } else { whole };
        format!("{whole}.{fraction}0{}e{}", "0".repeat(zeros), plain.len() - cut)
    });
    prop_oneof![
        Just(digits.clone()),
        Just(format!("\"{digits}\"")),
        Just(escaped(&digits)),
        Just(format!("{digits}.0")),
        moved
    ]
}

#[test]
fn p4_any_spelling_of_an_id_is_one_row() {
    let runtime = Runtime::new().unwrap();
    let column = |name: &'static str, kind| Column::new(name, name, kind, "");
    let entities = |name: &'static str, kind, key| Stream {
        name: name.into(),
        mode: tidegate::catalogue::Mode::Upsert,
        key,
        columns: vec![column("id", kind), column("v", ColumnType::Bigint)].into(),
        documented: true,
        time_field: None,
        row_time: None,
        business_time: &[],
        ..stream("survey_result")
    };
    let by_column = || tidegate::catalogue::Key::Columns(vec!["id".into()].into());
    let by_name = tidegate::catalogue::Key::AnyOf(vec!["id".into()].into());
    let plants = [
        runtime.block_on(Plant::of(entities("by_bigint", ColumnType::Bigint, by_column()), false)),
        runtime.block_on(Plant::of(entities("by_text", ColumnType::Text, by_column()), false)),
        runtime.block_on(Plant::of(entities("by_name", ColumnType::Text, by_name), false)),
        runtime.block_on(async { Plant::new().await.keyed(&["id"]) }),
    ];
    let case = AtomicI64::new(0);
    let ids = prop::collection::vec((1_u32..40).prop_flat_map(|id| (Just(id * 10), any_spelling(id * 10))), 1..40);
    runner(16)
        .run(&prop::collection::vec(ids, 1..4), |pages| {
            let window = whole(case.fetch_add(1, Ordering::Relaxed));
            let distinct: std::collections::BTreeSet<u32> = pages.iter().flatten().map(|(id, _)| *id).collect();
            for plant in &plants {
                runtime
                    .block_on(plant.pool.execute(AssertSqlSafe(format!(
                        "do $$ begin if to_regclass('{0}') is not null then delete from {0}; end if; end $$",
                        plant.table()
                    ))))
                    .unwrap();
                let pages: Vec<Vec<String>> = pages
                    .iter()
                    .map(|page| {
                        page.iter().zip(0..).map(|((_, id), v): (_, u32)| format!(r#"{{"id":{id},"v":{v}}}"#)).collect()
                    })
                    .collect();
                let progress = runtime.block_on(plant.read(window, &pages));
                prop_assert_eq!(progress.records_rejected, 0);
                let rows = runtime.block_on(plant.count(&format!("select count(*) from {}", plant.table())));
                prop_assert_eq!(usize::try_from(rows).unwrap(), distinct.len(), "{}: {:?}", plant.stream.name, pages);
            }
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn p5_a_number_midway_between_two_doubles_keeps_its_digits() {
    let plant = Plant::new().await;
    let numbers = ["1.232327860156906e17", "-3.60287970189641e16", "1.232327860156905e17", "4.35e17", "1e23"];
    let record = |(at, number): (usize, &&str)| format!(r#"{{"v{at}":{number}}}"#);
    let progress = plant.read(whole(0), &[numbers.iter().enumerate().map(record).collect()]).await;
    assert_eq!((progress.rows_inserted, progress.values_extra), (5, 0));
    for (at, number) in numbers.iter().enumerate() {
        let text: String = sqlx::query_scalar(AssertSqlSafe(format!(
            "select v{at}::text from lynn.survey_result where v{at} is not null"
        )))
        .fetch_one(&plant.pool)
        .await
        .unwrap();
        let kind = plant.column(&format!("v{at}")).await.unwrap();
        assert!(says(&kind, &text, number), "{number} is {text} as {kind}");
    }
}

/// A stream with a documented column of each type.
fn typed() -> Stream {
    let kinds = [
        ("b", ColumnType::Boolean),
        ("i", ColumnType::Bigint),
        ("d", ColumnType::Double),
        ("q", ColumnType::Numeric),
        ("at", ColumnType::Timestamptz),
        ("t", ColumnType::Text),
        ("j", ColumnType::Jsonb),
    ];
    let column = |(name, kind): (&'static str, _)| Column::new(name, name, kind, "");
    let columns: Vec<Column> = kinds.into_iter().map(column).collect();
    Stream {
        name: "typed".into(),
        columns: columns.into(),
        documented: true,
        time_field: None,
        row_time: None,
        business_time: &[],
        ..stream("survey_result")
    }
}

#[test]
fn p5_any_value_fits_a_documented_column_or_is_kept_in_extra() {
    let runtime = Runtime::new().unwrap();
    let plant = runtime.block_on(Plant::of(typed(), false));
    let case = AtomicI64::new(0);
    runner(40)
        .run(&prop::collection::vec(any_value(), 1..40), |values| {
            let window = whole(case.fetch_add(1, Ordering::Relaxed));
            let records: Vec<String> = values
                .iter()
                .map(|v| format!(r#"{{"b":{v},"i":{v},"d":{v},"q":{v},"at":{v},"t":{v},"j":{v}}}"#))
                .collect();
            let progress = runtime.block_on(plant.read(window, &[records]));
            let nulls = values.iter().filter(|value| *value == "null").count();
            let counts = (progress.rows_inserted, progress.records_rejected);
            prop_assert_eq!(counts, (i64::try_from(values.len() - nulls).unwrap(), i64::try_from(nulls).unwrap()));
            let lost: i64 = runtime
                .block_on(
                    sqlx::query_scalar(
                        "select count(*) from lynn.typed
                        where _window_start = $1 and (j is not null or _extra is not null) and t is distinct from '' and (
                            (b is null and not _extra ? 'b') or (i is null and not _extra ? 'i')
                            or (d is null and not _extra ? 'd') or (q is null and not _extra ? 'q')
                            or (at is null and not _extra ? 'at') or (t is null and not _extra ? 't')
                            or (j is null and not _extra ? 'j')
                        )",
                    )
                    .bind(window.start)
                    .fetch_one(&plant.pool),
                )
                .unwrap();
            prop_assert_eq!(lost, 0);
            Ok(())
        })
        .unwrap();
}
