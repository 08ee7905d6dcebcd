//! Damaged responses and stored cursors of Lynn Reporting.

use chrono::{DateTime, Utc};
use proptest::prelude::*;

use super::cursor::Cursor;
use super::wire::{Response, request_body};
use super::{Lynn, Settings, dates};
use crate::connector::Window;
use crate::connector::lynn_account::{Account, Product};
use crate::decode::json::Splitter;
use crate::fuzz::{assert_told, damaged, damaged_text};
use crate::http::Redactor;
use crate::secret::Secret;
use crate::test_kit::Collected;

const RESPONSES: &[&[u8]] = &[
    br#"{"isValid":true,"errors":null,"pageCount":2,"result":[{"a":1}],"lastDocument":[17092911104560000000001,"r\u00e9-1"]}"#,
    br#"{"IsValid":"false","Errors":["cannot run for s3cret-value",{"token":"s3cret-value"}],"Result":null,"PageCount":"3.0"}"#,
    br#"{"result":[],"lastDocument":{"a":[1,2,{"b":null}]},"pageCount":-1,"errors":{}}"#,
];

const CURSORS: &[&[u8]] = &[
    br#"{"from":"2026-03-01T00:00:00Z","to":"2026-03-02T00:00:00Z","page":3,"planned":7,"query":{"startDate":"2026-03-01 00:00:00","endDate":"2026-03-02 00:00:00","size":1000},"last_document":[17092911104560000000001,"r"]}"#,
    br#"{"from":"0001-01-01T00:00:00Z","to":"9999-12-31T23:59:59.999999999Z","page":18446744073709551615,"planned":null}"#,
];

fn settings(zone: chrono_tz::Tz, fail_on_errors: bool) -> Settings {
    let account = Account {
        tenant: 1,
        access_token: "a".into(),
        access_token_secret: "b".into(),
        product: Product::Basic,
        subscription_key: None,
        create_token_path: "/t".to_owned(),
        authorization_scheme: "bearer".to_owned(),
    };
    Settings {
        account,
        execute_report_path: "/r".to_owned(),
        execute_report_method: super::HttpMethod::Post,
        filter_timezone: zone,
        date_format: "%Y-%m-%d %H:%M:%S".to_owned(),
        page_size: 1_000,
        probe_full_page: false,
        fail_on_errors,
    }
}

proptest! {
    #[test]
    fn p7_a_damaged_response_is_accepted_or_refused_without_showing_a_secret(body in damaged(RESPONSES), fail_on_errors in any::<bool>()) {
        let mut splitter = Splitter::new("result");
        if splitter.feed(&body, &mut Collected::default()).is_ok() && let Ok(envelope) = splitter.finish() {
            let redactor = Redactor::new(vec![Secret::new("s3cret-value")]);
            match Response::read(&envelope, &settings(chrono_tz::UTC, fail_on_errors), &redactor) {
                Ok(response) => {
                    prop_assert_eq!(response.rows, envelope.records);
                    // `lastDocument` is sent back unchanged.
                    let query = Cursor::parse(std::str::from_utf8(CURSORS[0]).unwrap()).unwrap();
                    let query = query.query(&settings(chrono_tz::UTC, true));
                    let request = request_body(&query, response.last_document.as_deref()).unwrap();
                    let request = String::from_utf8(request).unwrap();
                    prop_assert!(response.last_document_text().is_none_or(|text| request.contains(text)));
                }
                Err(error) => {
                    let shown = format!("{error} {error:?}");
                    prop_assert!(!shown.contains("s3cret-value") && !shown.chars().any(char::is_control), "{shown}");
                    prop_assert!(shown.len() < 5_000);
                }
            }
        }
    }

    #[test]
    fn p3_a_damaged_cursor_is_refused_or_round_trips(text in damaged_text(CURSORS), zone in prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec())) {
        if let Ok(cursor) = Cursor::parse(&text) {
            let again = Cursor::parse(&cursor.text()).unwrap();
            prop_assert_eq!(cursor.text(), again.text());
            let settings = settings(zone, true);
            prop_assert_eq!(cursor.query(&settings), again.query(&settings));
            let _ = cursor.secs();
        }
    }

    #[test]
    fn p6_any_response_leads_to_a_later_page_a_later_part_or_the_end(
        text in damaged_text(CURSORS), page_count in prop::option::of(prop_oneof![0_u64..5, any::<u64>()]), rows in 0_u64..1_002,
        last in prop::option::of(prop::sample::select(&["7", "[17092911104560000000001,\"r\"]"][..])),
    ) {
        let Ok(cursor) = Cursor::parse(&text) else { return Ok(()) };
        let lynn = Lynn::new("https://host".parse().unwrap(), settings(chrono_tz::UTC, true), Redactor::default());
        let last_document = last.map(|raw| serde_json::from_str(raw).unwrap());
        let response = Response { page_count, rows, last_document };
        let window = Window { start: cursor.from, end: cursor.to + chrono::TimeDelta::days(1) };
        let (page, to) = (cursor.page, cursor.to);
        match lynn.next(window, cursor, &response) {
            Ok(Some(next)) if next.page == 0 => prop_assert!(next.from == to && next.to == window.end),
            Ok(Some(next)) => {
                prop_assert!(next.page == page + 1 && next.page <= super::PAGES_MAX && rows > 0);
                let (sent, came) = (next.last_document_text(), response.last_document_text());
                prop_assert_eq!(sent, came);
            }
            Ok(None) => prop_assert!(false, "a day is left"),
            Err(error) => assert_told(&error),
        }
    }

    #[test]
    fn bounds_of_every_year_that_a_cursor_may_have_are_shown_without_a_panic(
        secs in -62_135_596_800_i64..253_402_300_799, zone in prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec()),
    ) {
        for secs in [secs, -62_135_596_800, 253_402_300_799] {
            let at = DateTime::<Utc>::from_timestamp(secs, 999).unwrap();
            let shown = [dates::start(at, zone, "%Y-%m-%d %H:%M:%S"), dates::end(at, zone, "%Y-%m-%d %H:%M:%S")];
            prop_assert!(shown.iter().all(|shown| shown.len() >= 19));
        }
    }
}
