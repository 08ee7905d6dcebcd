//! Documented responses, and unusual ones.

use super::*;
use crate::test_kit::Collected;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn stream(name: &str) -> Stream {
    crate::connector::lexer::streams::streams().into_iter().find(|stream| stream.name == name).unwrap()
}

async fn taken_at(name: &str, hours: i32, nps: Option<(i64, &str)>, body: &str) -> Result<Collected, StepError> {
    let stream = stream(name);
    let figures = Figures {
        stream: &stream,
        window: Window { start: at("2025-03-01T00:00:00Z"), end: at("2025-03-03T00:00:00Z") },
        part: Window { start: at("2025-03-01T00:00:00Z"), end: at("2025-03-03T00:00:00Z") },
        range: Window { start: at("2025-02-26T00:00:00Z"), end: at("2025-03-03T00:00:00Z") },
        offset: FixedOffset::east_opt(hours * 3600).unwrap(),
        zone: UtcOffset::Fixed(FixedOffset::east_opt(hours * 3600).unwrap()),
        intervals: Intervals::Day,
        nps,
        unit: ResponseUnit::Unknown,
        now: at("2025-03-04T05:06:07Z"),
    };
    let mut taken = Collected::default();
    figures.write_records(body.as_bytes(), &mut taken).await.map(|()| taken)
}

async fn taken(name: &str, body: &str) -> Collected {
    taken_at(name, 0, None, body).await.unwrap()
}

const END: &str = r#""window_end":"2025-03-03T00:00:00Z""#;

fn interval(series: &str, start: &str, granularity: &str, rest: &str) -> String {
    let label = start.replace('T', " ").replace(":00Z", "");
    format!(
        r#"{{{END},{series},"interval_start":"{start}","granularity":"{granularity}","interval_label":"{label}","utc_offset":"+00:00",{rest}}}"#
    )
}

#[tokio::test]
async fn series_become_rows_of_their_intervals_and_only_those_of_the_slice() {
    let body = r#"{"closed":[{"state":"closed","value":31,"date_range":{"date_from":"2025-03-01 00:00"}},
           {"state":"closed","value":28.50,"date_range":{"date_from":"2025-03-02 00:00"}},
           {"state":"closed","value":7,"date_range":{"date_from":"2025-02-28 00:00"}},
           {"state":"closed","value":7,"date_range":{"date_from":"2025-03-03 00:00"}}],
        "assigned":[{"state":"other","value":4,"date_range":{"date_from":"2025-03-01 00:00","date_to":"x"},"new":[1]}],
        "empty":[],"none":null}"#;
    let found = taken("states_volume", body).await;
    assert_eq!(
        found.texts(),
        [
            interval(r#""state":"closed""#, "2025-03-01T00:00:00Z", "day", r#""value":31"#),
            interval(r#""state":"closed""#, "2025-03-02T00:00:00Z", "day", r#""value":28.50"#),
            interval(
                r#""state":"assigned""#,
                "2025-03-01T00:00:00Z",
                "day",
                r#""inner_state":"other","value":4,"date_range":{"date_from":"2025-03-01 00:00","date_to":"x"},"new":[1]"#
            ),
        ]
    );
    assert!(taken("states_volume", "{}").await.records.is_empty());
}

#[tokio::test]
async fn an_interval_begins_at_its_label_in_the_constant_offset() {
    let body = r#"{"avg_response_time":[{"value":1,"date_range":{"date_from":"2025-03-01 00:00"}},
        {"value":2,"date_range":{"date_from":"2025-03-02 00:00"}}]}"#;
    let found = taken_at("response_volume", 11, None, body).await.unwrap();
    // 1 March at +11:00 begins on 28 February.
    assert_eq!(found.records.len(), 1);
    let row = found.texts()[0];
    assert!(row.contains(r#""metric":"avg_response_time","interval_start":"2025-03-01T13:00:00Z""#), "{row}");
    assert!(row.contains(r#""interval_label":"2025-03-02 00:00","utc_offset":"+11:00","unit":"unknown","value":2"#));
}

#[tokio::test]
async fn the_granularity_follows_from_the_labels() {
    let of = async |labels: &[&str]| {
        let element = |label: &&str| format!(r#"{{"value":1,"date_range":{{"date_from":"{label}"}}}}"#);
        let elements: Vec<String> = labels.iter().map(element).collect();
        let found = taken("case_volume", &format!(r#"{{"open":[{}]}}"#, elements.join(","))).await;
        assert_eq!(found.records.len(), labels.len());
        let day = found.texts().iter().all(|row| row.contains(r#""granularity":"day""#));
        let hour = found.texts().iter().all(|row| row.contains(r#""granularity":"hour""#));
        assert!(day || hour, "never both");
        if day { "day" } else { "hour" }
    };
    assert_eq!(of(&["2025-03-01 00:00", "2025-03-02 00:00"]).await, "day");
    // Labels of another zone than the request's.
    assert_eq!(of(&["2025-03-01 13:00", "2025-03-02 13:00"]).await, "day");
    assert_eq!(of(&["2025-03-01 00:00", "2025-03-01 01:00", "2025-03-02 00:00"]).await, "hour");
    assert_eq!(of(&["2025-03-01 00:00"]).await, "day");
    assert_eq!(of(&["2025-03-01 07:00"]).await, "hour");
}

#[tokio::test]
async fn p5_an_element_without_an_interval_is_rejected() {
    let body = r#"{"open":[{"value":1},{"value":2,"date_range":"2025-03-01 00:00"},{"value":3,"date_range":{"date_from":"soon"}},7]}"#;
    let found = taken("case_volume", body).await;
    assert_eq!(found.records.len(), 2, "the one that is typed as the page has it, and the one that its sink refuses");
    assert!(found.texts()[0].contains(r#""value":2"#) && found.texts()[1] == "7");
    assert_eq!(found.reasons(), ["no interval label such as `2025-03-01 00:00`"; 2]);
}

#[tokio::test]
async fn an_object_is_the_row_of_its_window() {
    let found = taken("summary", r#"{"total_volume":12,"avg_response_time":181795.690,"later":{"a":1}}"#).await;
    assert_eq!(
        found.texts(),
        [format!(r#"{{{END},"total_volume":12,"avg_response_time":181795.690,"later":{{"a":1}}}}"#)]
    );
    let nps = taken_at("nps_summary", 0, Some((502, "all")), r#"{"nps_score":58.33}"#).await.unwrap();
    assert_eq!(nps.texts(), [format!(r#"{{{END},"form":502,"nps_category":"all","nps_score":58.33}}"#)]);
}

#[tokio::test]
async fn p5_an_unknown_shape_is_an_error() {
    for (name, body, said) in [
        ("summary", r#"{"error":"odd"}"#, "an object without any of the report's figures"),
        ("summary", "[]", "an array where an object is documented"),
        ("states_volume", r#"{"closed":{"value":1}}"#, "a series that is not an array"),
        ("states_volume", "[]", "an array where an object is documented"),
        ("classifications", r#"{"rows":[]}"#, "an object without a row's key"),
        ("user_volume", r#"[{"state":"closed","volume":3}]"#, "Workflow States in place of Team Volume"),
        ("workflow_states", r#"[{"user_id":1,"states":{"closed":"many"}}]"#, "a count that is not a whole number"),
        ("summary", "<html>", "HTML or XML"),
        ("user_summary", "<html>", "HTML or XML"),
        ("summary", "", "empty"),
        ("summary", r#"{"total_volume":"#, "the body is truncated"),
    ] {
        let error = taken_at(name, 0, None, body).await.unwrap_err();
        assert!(error.to_string().contains(said), "{name} {body}: {error}");
    }
}

#[tokio::test]
async fn totals_are_marked_so_that_nothing_is_counted_twice() {
    let body = r#"[{"classification_id":7,"classification":"a","state":"closed","volume":2},
        {"classification_id":7,"classification":"a","state":"all_states","volume":3}]"#;
    let found = taken("classifications", body).await;
    assert!(found.texts()[0].starts_with(&format!(r#"{{{END},"is_total":false,"classification_id":7"#)));
    assert!(found.texts()[1].starts_with(&format!(r#"{{{END},"is_total":true,"classification_id":7"#)));
    let body = r#"[{"user_id":41,"first_name":"Ana","last_name":"Reis",
        "states":{"all_states":9,"all_closed_states":6,"new":0,"on_hold":3}, "more":true}]"#;
    let found = taken("user_volume", body).await;
    let row = |state: &str, total: bool, count: u32| {
        format!(
            r#"{{{END},"state":"{state}","is_total":{total},"count":{count},"extracted_at":"2025-03-04T05:06:07Z","user_id":41,"first_name":"Ana","last_name":"Reis","more":true}}"#
        )
    };
    let expected =
        [row("all_states", true, 9), row("all_closed_states", true, 6), row("new", false, 0), row("on_hold", false, 3)];
    assert_eq!(found.texts(), expected);
}

#[tokio::test]
async fn p5_an_agent_without_states_is_rejected() {
    let long = format!(r#"{{"user_id":1,"states":{{"new":0}},"first_name":"{}"}}"#, "x".repeat(ELEMENT_BYTES_MAX));
    let found = taken("user_volume", &format!(r#"[{{"user_id":1}},{{"user_id":1,"states":[1]}},5,{long}]"#)).await;
    assert!(found.records.is_empty());
    assert_eq!(
        found.reasons(),
        ["no `states`", "`states` is not an object", "not an object", "larger than an agent's line can be"]
    );
}

#[tokio::test]
async fn workflow_states_are_read_in_either_shape() {
    let found = taken("workflow_states", r#"[{"state":"closed","volume":4},{"state":"all_states","volume":4}]"#).await;
    assert_eq!(found.texts()[0], format!(r#"{{{END},"is_total":false,"derived":false,"state":"closed","volume":4}}"#));
    assert!(found.texts()[1].contains(r#""is_total":true"#));
    let agents =
        r#"[{"user_id":41,"states":{"all_states":3,"closed":3}},{"user_id":42,"states":{"closed":4,"all_states":4}}]"#;
    let found = taken("workflow_states", agents).await;
    let row = |state: &str, total: bool| {
        format!(r#"{{{END},"state":"{state}","is_total":{total},"volume":7,"derived":true}}"#)
    };
    assert_eq!(found.texts(), [row("all_states", true), row("closed", false)]);
}

#[tokio::test]
async fn buckets_are_identified_by_the_vendors_time_and_only_those_of_the_slice_are_kept() {
    let body = r#"[{"date":"2025-03-01T00:00:00+00:00","timestamp":1740787200,"data":{"total_sent":10,"nps_score":50.0}},
        {"date":"x","timestamp":1740960000,"data":{}},{"date":"x","timestamp":1740700800,"data":{}},{"timestamp":"soon"}]"#;
    let found = taken_at("nps_volume", 0, Some((502, "all")), body).await.unwrap();
    assert_eq!(
        found.texts(),
        [format!(
            r#"{{{END},"form":502,"nps_category":"all","timestamp":"2025-03-01T00:00:00Z","date":"2025-03-01T00:00:00+00:00","data":{{"total_sent":10,"nps_score":50.0}}}}"#
        )]
    );
    assert_eq!(found.reasons(), ["no `timestamp` in whole seconds"]);
}

#[tokio::test]
async fn p6_the_rows_of_a_report_are_passed_on_one_by_one() {
    let element = r#"{"classification_id":7,"classification":"a","state":"closed","volume":2}"#;
    let found = taken("classifications", &format!("[{}]", vec![element; 5000].join(","))).await;
    assert_eq!((found.records.len(), found.flushes), (5000, 5000));
}

/// The labels of the days that a slice of a zone keeps, from a response with a longer range.
async fn days_kept(zone: chrono_tz::Tz, slice: Window) -> Vec<String> {
    let offset = UtcOffset::Zone(zone).at(slice.start);
    let stream = stream("states_volume");
    let figures = Figures {
        stream: &stream,
        window: slice,
        part: slice,
        range: slice,
        offset,
        zone: UtcOffset::Zone(zone),
        intervals: Intervals::Day,
        nps: None,
        unit: ResponseUnit::Unknown,
        now: at("2027-01-01T00:00:00Z"),
    };
    let around = slice.start.date_naive() - chrono::Days::new(3);
    let labels =
        around.iter_days().take(16).map(|date| format!(r#"{{"value":1,"date_range":{{"date_from":"{date} 00:00"}}}}"#));
    let body = format!(r#"{{"closed":[{}]}}"#, labels.collect::<Vec<_>>().join(","));
    let mut taken = Collected::default();
    figures.write_records(body.as_bytes(), &mut taken).await.unwrap();
    let label = |row: &Vec<u8>| Members::parse(row).unwrap().text("interval_label").unwrap()[..10].to_owned();
    taken.records.iter().map(label).collect()
}

#[tokio::test]
async fn p4_each_date_of_a_zone_belongs_to_one_slice_for_all_clock_changes_and_grids() {
    for zone in [chrono_tz::Europe::Berlin, chrono_tz::America::Santiago, chrono_tz::Australia::Lord_Howe] {
        for grid in [zone, chrono_tz::UTC, chrono_tz::Asia::Kolkata] {
            for first in ["2026-03-20", "2026-08-29", "2026-10-01", "2026-10-20"] {
                for length in [1_u64, 7] {
                    let first: chrono::NaiveDate = first.parse().unwrap();
                    let start =
                        |number: u64| UtcOffset::Zone(grid).midnight(first + chrono::Days::new(number * length));
                    let mut dates = Vec::new();
                    for number in 0..14 / length {
                        dates.extend(days_kept(zone, Window { start: start(number), end: start(number + 1) }).await);
                    }
                    let begin: chrono::NaiveDate = dates[0].parse().unwrap();
                    let wanted: Vec<String> = begin.iter_days().take(14).map(|date| date.to_string()).collect();
                    assert_eq!(dates, wanted, "{zone} {grid} {first} {length}");
                }
            }
        }
    }
}
