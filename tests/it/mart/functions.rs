//! Conversions never fail and give what is written.

use chrono::{DateTime, NaiveDate, Utc};
use proptest::prelude::*;

use super::Mart;
use crate::support::random;

/// Texts that look like numbers, times and durations, and others.
fn texts() -> impl Strategy<Value = Vec<String>> {
    let text = prop_oneof![
        "[-+ \t]?[0-9]{0,4}[.,]?[0-9]{0,4}([eE][-+]?[0-9]{0,3})?[ \n]?%?[ \n]?",
        "[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([T ][0-9]{1,2}:[0-9]{2}(:[0-9]{2}([.,][0-9]{0,10})?)?)?( ?(Z|UTC|[-+][0-9]{2}:?[0-9]{0,2}))?",
        "(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[123][0-9])(T[012][0-9]:[0-6][0-9](:[0-6][0-9])?(Z|[-+]1[0-9])?)?",
        "-?[0-9]{0,8}:[0-9]{1,2}:[0-9]{1,2}([.][0-9]{0,12})?",
        "[-+]?[0-9]{140,160}(e[0-9]{2})?",
        "(NaN|Infinity|-Infinity|null|true|0x1F|epoch|now|today|infinity|1_000|１２|٣٤|2024-0٢-01)",
        "\\PC{0,12}",
        any::<String>(),
    ];
    proptest::collection::vec(text.prop_map(|text| text.replace('\0', "")), 200)
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_conversion_of_any_text_gives_a_value_or_null_and_never_an_error() {
    let mart = Mart::without_views().await;
    let handle = tokio::runtime::Handle::current();
    let property = |texts: Vec<String>| {
        let converted = sqlx::query_as::<_, (String, Option<DateTime<Utc>>, Option<f64>, Option<f64>, Option<String>)>(
            "select value, tidegate.text_as_time(value), tidegate.text_as_number(value), tidegate.text_as_seconds(value),
                tidegate.person_key('salt', value), tidegate.agent_id('salt', value)
            from unnest($1::text[]) as t (value)",
        )
        .bind(&texts)
        .fetch_all(&mart.pool);
        let rows = tokio::task::block_in_place(|| handle.block_on(converted)).unwrap();
        for (text, time, number, seconds, person) in rows {
            let date = NaiveDate::parse_from_str(text.get(..10).unwrap_or_default(), "%Y-%m-%d");
            if text.len() == 10 {
                let found =
                    date.ok().filter(|_| text.is_ascii() && !text.starts_with('0') && text.as_bytes()[7] == b'-');
                prop_assert_eq!(time.map(|time| time.date_naive()), found, "{}", text);
            }
            prop_assert!(time.is_none() || date.is_ok(), "{text}");
            prop_assert!(number.is_none_or(f64::is_finite) && seconds.is_none_or(f64::is_finite), "{text}");
            if let Some(number) = number {
                let plain = text.trim();
                let plain = plain.strip_suffix('%').map_or(plain, str::trim_end);
                prop_assert_eq!(plain.parse::<f64>().ok(), Some(number), "{}", text);
            }
            prop_assert_eq!(person.map(|person| person.len()), Some(24));
        }
        Ok(())
    };
    random::runner(40).run(&texts(), property).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_conversion_of_any_number_gives_a_value_or_null_and_never_an_error() {
    let mart = Mart::without_views().await;
    let handle = tokio::runtime::Handle::current();
    let property = |numbers: Vec<f64>| {
        let converted = sqlx::query_scalar::<_, i64>(
            "select count(tidegate.number_as_time(n)) + count(tidegate.sane_number(n)) + count(tidegate.sane_seconds(n))
                + count(tidegate.number_as_count(n)) + count(tidegate.numeric_as_count(n::numeric))
                + count(tidegate.numeric_as_number(n::numeric * 1e290)) + count(tidegate.time_after('2024-01-01', n))
                + count(tidegate.time_after(tidegate.number_as_time(abs(n)), n))
                + count(tidegate.seconds_between('infinity', tidegate.number_as_time(n)))
            from unnest($1::double precision[]) as t (n)",
        )
        .bind(&numbers)
        .fetch_one(&mart.pool);
        tokio::task::block_in_place(|| handle.block_on(converted)).unwrap();
        Ok(())
    };
    let number =
        prop_oneof![any::<f64>(), -1e20..1e20, Just(f64::NAN), Just(f64::INFINITY), Just(9.3e18), Just(-9.3e18)];
    random::runner(40).run(&proptest::collection::vec(number, 200), property).unwrap();
}

#[tokio::test]
async fn what_is_written_is_converted() {
    let mart = Mart::without_views().await;
    for (call, expected) in [
        ("text_as_time('2024-02-29')", Some("2024-02-29 00:00:00+00")),
        ("text_as_time('2024-02-29T10:00')", Some("2024-02-29 10:00:00+00")),
        ("text_as_time('2024-02-29 10:00:00.25 UTC')", Some("2024-02-29 10:00:00.25+00")),
        ("text_as_time('2024-02-29T10:00:00-03')", Some("2024-02-29 13:00:00+00")),
        ("text_as_time('2024-02-29T10:00:00+0530')", Some("2024-02-29 04:30:00+00")),
        ("text_as_time('2023-02-29')", None),
        ("text_as_time('2024-04-31T00:00:00Z')", None),
        ("text_as_time('0000-01-01')", None),
        ("text_as_time('null')", None),
        ("number_as_time(1709200000)", Some("2024-02-29 09:46:40+00")),
        ("number_as_time(1709200000000)", Some("2024-02-29 09:46:40+00")),
        ("number_as_time(12)", None),
        ("text_as_number(' -1.5e3 ')", Some("-1500")),
        ("text_as_number('1,5')", None),
        ("text_as_number(E'\t95%\n')", Some("95")),
        ("text_as_number('95 %')", Some("95")),
        ("text_as_number('95%%')", None),
        ("text_as_number('%')", None),
        ("text_as_time(E' 2024-02-29T10:00\n')", Some("2024-02-29 10:00:00+00")),
        ("text_as_time('26/11/2026')", None),
        ("text_as_seconds(' -1:02:03 ')", Some("-3723")),
        ("text_as_seconds('02:03')", None),
        ("text_as_seconds('95%')", None),
        ("text_as_number('NaN')", None),
        ("text_as_seconds('1:02:03.5')", Some("3723.5")),
        ("text_as_seconds('-0:00:10')", Some("-10")),
        ("text_as_seconds('90')", Some("90")),
        ("numeric_as_number('NaN')", None),
        ("numeric_as_number(1e-400)", Some("0")),
        ("person_key('s', ' Ana  Díaz')", Some("5f2c")),
    ] {
        let sql = format!("select (tidegate.{call})::text");
        let found = mart.text(sql).await;
        if call.starts_with("person_key") {
            let same = mart.text("select tidegate.person_key('s', 'ana díaz')").await;
            assert_eq!(found, same, "{call}");
            continue;
        }
        assert_eq!(found.as_deref(), expected, "{call}");
    }
}
