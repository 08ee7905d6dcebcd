//! Damaged lists, statistics and stored cursors of JAICP.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;

use chrono::{DateTime, Utc};
use proptest::prelude::*;

use super::page::Page;
use super::paging::{Cursor, Next};
use super::record::{CLIENT, MESSAGE, OTHER, OfSession, RecordWriter, SESSION, TokenFinder};
use super::wire::Paging;
use super::{lists, times};
use crate::connector::{StepError, Window};
use crate::decode::json::Splitter;
use crate::decode::object::Members;
use crate::decode::{Sink as _, raw};
use crate::fuzz::{SECRET, assert_told, damaged, damaged_text};
use crate::test_kit::Collected;

const PAGES: &[&[u8]] = &[
    br#"{"messages":[{"projectShortName":"p","sessionId":"s","questionId":"q","timestamp":"2024-05-01T08:00:00","sessionStartTime":"2024-05-01 08:00:00.1"},{"questionId":2,"question":"x","cleaned":true,"data":{"a":1},"audio":"https://h/s3cret-value/a"}],"paging":{"pageSize":100,"totalCount":2}}"#,
    br#"{"messages":[{"sessionId":"s3cret-value","timestamp":"2024-05-01T08:00:00+0000"}, 7, "s3cret-value"],"paging":{"pageSize":-1,"totalCount":9223372036854775807}}"#,
    br#"{"messages":[],"paging":{"pageSize":0,"totalCount":0}}"#,
];

const CURSORS: &[&[u8]] = &[
    br#"{"from":"2024-03-01T00:00:00Z","to":"2024-03-02T00:00:00Z","page":3,"size":100,"rows":300,"ids":"AQAAAAAAAAACAAAAAAAAAA","last":7,"unsteady":1}"#,
    br#"{"from":"0001-01-01T00:00:00Z","to":"9999-12-31T23:59:59.999999999Z","page":20000,"size":4294967295,"rows":18446744073709551615,"ids":"","last":0,"unsteady":4294967295,"statuses":{"page":18446744073709551615,"rows":18446744073709551615,"last":1,"listed":false,"sessions":[{"project":"p","id":"s"}],"turn":18446744073709551615,"turns":18446744073709551615}}"#,
];

const EXPERIMENTS: &[&[u8]] = &[
    br#"[{"key":"e","branches":[{"id":1},{"experimentKey":"x"},7]},{"key":"f"},{"branches":null},5]"#,
    br#"{"data":[{"key":"e","branches":{"a":[]}}]}"#,
];

const TIMES: &[&[u8]] = &[
    b"2024-05-01T08:00:00.120+0000",
    b"2024-05-01 08:00:00.1",
    b"-9223372036854775808",
    b"-1e300",
    b"1714550400000",
    b"99999999999",
    b"-262143-01-01T00:00:00Z",
];

fn window() -> Window {
    Window { start: "2024-05-01T00:00:00Z".parse().unwrap(), end: "2024-05-02T00:00:00Z".parse().unwrap() }
}

fn read(body: &[u8]) -> Option<(Collected, Result<Paging, StepError>)> {
    let (mut splitter, mut kept) = (Splitter::new("messages"), Collected::default());
    splitter.feed(body, &mut kept).ok()?;
    let envelope = splitter.finish().ok()?;
    Some((kept, Paging::read(&envelope, "messages")))
}

proptest! {
    #[test]
    fn p7_rows_of_a_damaged_page_are_counted_and_converted_without_the_token(body in damaged(PAGES)) {
        let Some((page, paging)) = read(&body) else { return Ok(()) };
        if let Err(error) = paging {
            assert_told(&error);
        }
        let (token, warned) = (TokenFinder::new(&SECRET.into()), AtomicBool::default());
        let of = OfSession { project: "p", id: "s", window: window() };
        for (kind, of) in [(SESSION, None), (MESSAGE, None), (MESSAGE, Some(of)), (CLIENT, None), (OTHER, None)] {
            let mut kept = Collected::default();
            let mut writer = RecordWriter::new(&mut kept, kind, &token, &warned).of(1, of);
            for record in &page.records {
                writer.record(record).unwrap();
            }
            prop_assert_eq!(writer.ids.len(), page.records.len());
            prop_assert!(of.is_some() || kept.records.len() == page.records.len());
            prop_assert!(kept.records.len() <= page.records.len());
            for record in &kept.records {
                prop_assert!(!String::from_utf8_lossy(record).contains(SECRET));
                let Some(members) = Members::parse(record) else { continue };
                let erased = kind == MESSAGE && members.is_true("cleaned");
                prop_assert!(!erased || members.get("question").is_none() && members.get("data").is_none());
                let is_naive = |name: &str| members.text(name).is_some_and(|text| times::is_naive(&text));
                prop_assert!(kind != MESSAGE || !is_naive("timestamp") && !is_naive("sessionStartTime"));
                prop_assert!(of.is_none() || members.get("sessionId").is_some());
            }
        }
    }

    #[test]
    fn p3_a_damaged_cursor_is_refused_or_continues_within_bounds(
        text in damaged_text(CURSORS), ids in prop::collection::vec(0_u64..50, 0..60), size in any::<i64>(), total in prop_oneof![0_u64..100, any::<u64>()],
    ) {
        let Ok(cursor) = Cursor::parse(&text) else { return Ok(()) };
        prop_assert_eq!(&Cursor::parse(&cursor.text().unwrap()).unwrap(), &cursor);
        let page = Page { ids, size, total, bytes: 1 };
        if let Some(statuses) = cursor.statuses.clone() {
            let _ = (statuses.wanted(), statuses.clone().listed(&page, Vec::new()).wanted(), statuses.read(&page).wanted());
        }
        let _ = (times::text(cursor.from), times::text(times::last(cursor.part())));
        for status in [400, 413, 500, 504] {
            let smaller = cursor.smaller(status);
            prop_assert!(smaller.is_none_or(|smaller| smaller.size < cursor.size || smaller.to < cursor.to));
        }
        let whole = Window { start: cursor.from, end: cursor.to + chrono::TimeDelta::days(1) };
        if let Some(following) = cursor.following(whole) {
            prop_assert!(following.from == cursor.to && following.from < following.to && following.to <= whole.end);
        }
        let (from, to, at) = (cursor.from, cursor.to, cursor.page);
        match cursor.after(&page) {
            Ok(Next::Page(next)) => {
                prop_assert!(next.from == from && next.from < next.to && next.to <= to);
                prop_assert!(next.size > 0 && (next.page == 0 || next.page == at + 1));
            }
            Ok(Next::Complete(done)) => {
                let seen: HashSet<u64> = page.ids.iter().copied().collect();
                prop_assert!(seen.len() as u64 <= total && done.to == to);
            }
            Err(error) => assert_told(&error),
        }
    }

    #[test]
    fn damaged_times_never_cause_a_panic(text in damaged_text(TIMES)) {
        let moments = [times::parse(&text), times::epoch(&text)];
        for at in moments.into_iter().flatten() {
            let shown = times::text(at);
            prop_assert!(!(1..=9999).contains(&chrono::Datelike::year(&at)) || times::parse(&shown).is_some(), "{shown}");
        }
        if times::is_naive(&text) {
            prop_assert!(times::parse(&text).is_none());
        }
    }

    #[test]
    fn p5_branches_of_damaged_experiments_are_records_or_refused(body in damaged(EXPERIMENTS)) {
        match lists::rows(&body) {
            Ok(rows) => {
                let mut kept = Collected::default();
                for row in rows {
                    lists::branches(&row, &mut kept).unwrap();
                }
                prop_assert!(kept.records.len() <= body.len());
                for record in &kept.records {
                    prop_assert!(raw::value(record).is_ok());
                }
            }
            Err(error) => assert_told(&error),
        }
    }
}

#[test]
fn p3_a_cursor_out_of_bounds_is_refused() {
    let good = std::str::from_utf8(CURSORS[0]).unwrap();
    assert!(Cursor::parse(good).is_ok());
    for (part, other) in [
        ("2024-03-02", "2024-03-01"),
        ("2024-03-01", "-262000-03-01"),
        ("2024-03-02", "+262000-03-01"),
        (r#""size":100"#, r#""size":0"#),
        (r#""page":3"#, r#""page":18446744073709551615"#),
        ("AQAAAAAAAAACAAAAAAAAAA", "AQAAAAAAAAACAAAA"),
    ] {
        let damaged = good.replace(part, other);
        assert!(matches!(Cursor::parse(&damaged), Err(StepError::CursorUnknown)), "{damaged}");
    }
    let at: Vec<DateTime<Utc>> =
        TIMES.iter().filter_map(|text| times::epoch(std::str::from_utf8(text).unwrap())).collect();
    assert_eq!(at.len(), 2);
}
