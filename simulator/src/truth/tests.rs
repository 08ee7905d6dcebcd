use chrono::{DateTime, TimeDelta, TimeZone as _, Utc};
use serde_json::Value;

use super::*;

/// Rows that contain their place; 240 a day.
struct Plain;

impl Source for Plain {
    fn seed(&self) -> u64 {
        9
    }

    fn rows_on(&self, _report: usize, day: i32) -> u64 {
        if day % 5 == 0 { 0 } else { 240 }
    }

    fn write(&self, row: Row, record: &mut Record) {
        record.text("at", &moment_text(row.at)).raw("day", row.day).raw("k", row.position);
    }
}

fn truth() -> Truth {
    Truth::new(Box::new(Plain), 2, Clock::new(false))
}

fn at(day: u32, hour: u32) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2024, 3, day, hour, 0, 0).unwrap()
}

fn read(truth: &Truth, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<String> {
    let mut rows = Vec::new();
    let span = Span::new(from, to);
    truth.walk(0, span, None, &mut |_, text| {
        rows.push(text.to_owned());
        true
    });
    assert_eq!(rows.len() as u64, truth.count(0, span));
    rows
}

fn rows(from: DateTime<Utc>, to: DateTime<Utc>) -> Rows {
    Rows::between("plain", from, to)
}

/// The same window in pages, each read from the place where the previous one ended.
fn paged(truth: &Truth, span: Span, size: usize) -> Vec<String> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let mut page = 0;
        truth.walk(0, span, after, &mut |place, text| {
            rows.push(text.to_owned());
            after = Some(place);
            page += 1;
            page < size
        });
        if page < size {
            return rows;
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_truth_and_windows_add_up() {
    let whole = read(&truth(), at(1, 0), at(12, 0));
    assert_eq!(whole, read(&truth(), at(1, 0), at(12, 0)));
    assert!(whole.len() > 1900);
    let hours = (0..11 * 24).map(|hour| at(1, 0) + TimeDelta::hours(hour));
    let pieces: Vec<String> = hours.flat_map(|hour| read(&truth(), hour, hour + TimeDelta::hours(1))).collect();
    assert_eq!(whole, pieces);
    let mut moments: Vec<&str> = whole.iter().map(|row| &row[7..34]).collect();
    assert!(moments.iter().all(|moment| !moment.contains(".000")), "no row of the source is on a whole second");
    assert!(moments.is_sorted());
    moments.dedup();
    assert_eq!(moments.len(), whole.len());
}

#[test]
fn pages_continue_where_they_ended_after_any_edit() {
    let mut truth = truth();
    truth.edit(0, Edit::Duplicate { rows: rows(at(2, 0), at(3, 0)).every(7), copies: 2, distance: 50 });
    truth.edit(0, Edit::Vanish { rows: rows(at(1, 5), at(8, 0)).every(3) });
    for day in [5, 5, 5, 6] {
        truth.edit(0, Edit::Insert { report: "plain".into(), at: at(day, 0), json: None });
    }
    truth.edit(0, Edit::Insert { report: "plain".into(), at: at(6, 0), json: Some("null".into()) });
    let whole = read(&truth, at(1, 0), at(12, 0));
    for size in [1, 2, 17, 5000] {
        assert_eq!(paged(&truth, Span::new(at(1, 0), at(12, 0)), size), whole);
    }
}

#[test]
fn vanished_rows_are_not_returned_and_late_rows_appear() {
    let mut truth = truth();
    let before = read(&truth, at(6, 0), at(7, 0));
    assert_eq!(truth.edit(0, Edit::Late { rows: rows(at(6, 0), at(7, 0)).first(30), for_ms: None }), 30);
    assert_eq!(read(&truth, at(6, 0), at(7, 0)), before[30..]);
    assert_eq!(truth.edit(0, Edit::Vanish { rows: rows(at(6, 0), at(7, 0)).first(10) }), 10);
    truth.release_late();
    let after = read(&truth, at(6, 0), at(7, 0));
    assert_eq!(after, [&before[..30], &before[40..]].concat());
    truth.edit(0, Edit::Late { rows: rows(at(6, 0), at(7, 0)), for_ms: Some(0) });
    assert_eq!(read(&truth, at(6, 0), at(7, 0)), after, "late by no time");
    let other = Span::new(at(6, 0), at(7, 0));
    assert_eq!(truth.count(1, other), 240, "another report keeps its rows");
}

#[test]
fn copies_are_identical_and_at_their_time() {
    let mut truth = truth();
    let before = read(&truth, at(6, 0), at(7, 0));
    truth.edit(0, Edit::Duplicate { rows: rows(at(6, 0), at(7, 0)).first(1), copies: 1, distance: 0 });
    let far = Edit::Duplicate { rows: rows(at(6, 0), at(7, 0)).first(1), copies: 1, distance: 100 };
    truth.edit(0, far);
    truth.edit(
        0,
        Edit::Change {
            rows: Rows::since("plain", at(1, 0)),
            change: Change::Set { field: "new".into(), json: "1".into() },
        },
    );
    let after = read(&truth, at(6, 0), at(7, 0));
    assert_eq!(after.len(), before.len() + 2);
    assert_eq!((&after[0], &after[0]), (&after[1], &after[102]));
    assert!(after[1].ends_with(",\"new\":1}"), "{}", after[1]);
}

#[test]
fn an_inserted_row_is_at_exactly_its_time() {
    let mut truth = truth();
    let before = read(&truth, at(5, 23), at(6, 1)).len();
    truth.edit(0, Edit::Insert { report: "plain".into(), at: at(6, 0), json: None });
    assert_eq!(read(&truth, at(5, 0), at(6, 0)).len(), read(&self::truth(), at(5, 0), at(6, 0)).len());
    let rows = read(&truth, at(6, 0), at(7, 0));
    assert!(rows[0].contains("2024-03-06T00:00:00.0000000Z"), "{}", rows[0]);
    assert_eq!(read(&truth, at(5, 23), at(6, 1)).len(), before + 1);
}

#[test]
fn changes_start_on_their_day_and_may_be_invalid_json() {
    let changed = |change: Change| {
        let mut truth = truth();
        truth.edit(0, Edit::Change { rows: Rows::since("plain", at(6, 12)).every(2), change });
        let rows = read(&truth, at(6, 0), at(7, 0));
        let row = rows.iter().find(|row| !read(&self::truth(), at(6, 0), at(7, 0)).contains(row)).unwrap().clone();
        assert_eq!(rows.iter().filter(|other| other.contains("T0")).count(), 100, "mornings are as they were");
        row
    };
    let field = || "k".to_owned();
    let parsed = |change| serde_json::from_str::<Value>(&changed(change)).unwrap();
    assert!(parsed(Change::NumberToString { field: field() })["k"].is_string());
    assert_eq!(parsed(Change::StringToObject { field: "at".into() })["at"]["changed"], true);
    assert!(parsed(Change::Remove { field: field() }).get("k").is_none());
    assert_eq!(parsed(Change::LongString { field: field(), bytes: 1 << 20 })["k"].as_str().unwrap().len(), 1 << 20);
    assert!(parsed(Change::Nul { field: field() })["k"].as_str().unwrap().contains('\0'));
    assert!(changed(Change::LoneSurrogate { field: field() }).contains(r"\ud83d"));
    assert!(changed(Change::HugeInteger { field: field() }).contains(&2_u128.pow(70).to_string()));
    assert!(changed(Change::HugeExponent { field: field() }).contains("1.5e4932"));
    assert!(changed(Change::Deep { field: field(), depth: 500 }).contains(&"[".repeat(500)));
    assert!(parsed(Change::Nested { field: field() })["k"]["objects"].is_array());
    let lookalikes = parsed(Change::LookalikeKeys { field: field() });
    assert!(["k", "K", "k.", " k"].iter().all(|key| lookalikes.get(key).is_some()));
    assert!(parsed(Change::EmptyKey).get("").is_some());
    assert_eq!(changed(Change::Whole { json: "[1]".into() }), "[1]");
}

#[test]
fn strings_are_escaped_as_json_requires() {
    let text = "\u{0}\u{1f}\"\\\n\r\t😀 é\u{7f}";
    let mut record = Record::default();
    record.text("a", text);
    let mut json = String::new();
    record.write_to(&mut json);
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["a"], text);
}
