//! Damaged responses, files and stored cursors of Lexer.

use chrono::{DateTime, FixedOffset, Utc};
use proptest::prelude::*;

use super::config::ResponseUnit;
use super::figures::{self, Figures};
use super::job::tests::tagged;
use super::wire::JobResponse;
use super::{FORMS_MAX, Forms, Intervals, Lexer, Settings, job, surveys};
use crate::connector::{StepError, UtcOffset, Window};
use crate::decode::object::Members;
use crate::decode::raw;
use crate::fuzz::{SECRET, any_cuts, assert_decent, assert_told, at_once, damaged, damaged_text, redactor};
use crate::test_kit::Collected;

const JOBS: &[&[u8]] = &[
    br#"{"status":"pending","url":null,"token":"0b7f3a52-1111"}"#,
    br#" {"token":7,"url":"https://files.example/x?sig=s3cret-value","status":"complete","more":[1]}"#,
    br#"{"status":"broken for s3cret-value","token":"","url":""}"#,
    br#"[{"id":502,"nps":true,"name":"a"},{"id":"503","nps":false},{"id":9223372036854775807,"nps":true}]"#,
];

const REPORTS: &[&[u8]] = &[
    br#"{"total_volume":12,"total_users":3.50,"nps_score":50.0,"total_sent":10,"new":{"a":1}}"#,
    br#"{"new":[{"date_range":{"date_from":"2025-03-01 00:00","x":1},"volume":2,"state":"old"},{"date_range":"2025-03-01 01:00:00","volume":3}],"closed":null,"avg":[5]}"#,
    br#"[{"date":"2025-03-01T00:00:00+00:00","timestamp":1740787200,"data":{"total_sent":10}},{"timestamp":"1740787201"},{"timestamp":-9223372036854775808}]"#,
    br#"[{"classification_id":7,"classification":"a","state":"all_states","volume":3},5]"#,
    br#"[{"user_id":41,"first_name":"Ana","states":{"all_states":9223372036854775807,"closed":"6"},"more":true},{"user_id":42,"states":{"all_states":1}}]"#,
    br#"[{"state":"closed","volume":4,"window_end":"x"},{"state":null}]"#,
];

const CURSORS: &[&[u8]] =
    &[br#"{"forms":[502,-1,9223372036854775807],"at":2}"#, br#"{"forms":[],"at":18446744073709551615}"#];

const FILES: &[&[u8]] = &[
    b"\"Agent Response Date (UTC)\",\"Note\"\r\n2025-03-01,\"{\"\"Agent Response Date (UTC)\"\":\"\r\n,x\r\n",
    b"a,Agent Reponse Date (UTC)\n1,2\n,\n",
];

fn lexer() -> Lexer {
    let settings = Settings { api_token: SECRET.into(), ..super::tests::settings() };
    Lexer::new("https://api.example".parse().unwrap(), settings, redactor())
}

fn window() -> Window {
    Window { start: "2025-03-01T00:00:00Z".parse().unwrap(), end: "2025-03-03T00:00:00Z".parse().unwrap() }
}

proptest! {
    #[test]
    fn p7_a_damaged_response_about_a_job_shows_its_status_and_no_secret(body in damaged(JOBS)) {
        let lexer = lexer();
        let Some(job) = JobResponse::read(&body) else {
            assert_told(&job::not_a_job(&body));
            return Ok(());
        };
        assert_decent(&lexer.said(&job.status, job.token.as_ref()));
        prop_assert!(job.url.as_ref().is_none_or(|url| !url.expose().is_empty()));
        if let Some(token) = job.token {
            let url = lexer.settings.status_url(&token).unwrap();
            let base = &lexer.settings.status_base_url;
            prop_assert_eq!((url.origin(), url.fragment()), (base.origin(), None));
            prop_assert!(url.path().ends_with("/reports/status"));
            let pairs: Vec<_> = url.query_pairs().collect();
            prop_assert_eq!(&pairs[..], [("token".into(), token.expose().into())]);
            let said = lexer.said(&format!("no {}", token.expose()), Some(&token));
            prop_assert!(token.expose().len() < 4 || said == "“no ***”", "{said}");
            let seal = lexer.seal.as_ref().unwrap();
            let opened = seal.open(&seal.close(&token).unwrap()).unwrap();
            prop_assert_eq!(opened.expose(), token.expose());
        }
    }

    #[test]
    fn p5_a_damaged_report_becomes_flat_records_of_its_window_or_is_refused(body in damaged(REPORTS)) {
        let looked = figures::look(&body);
        if let Err(error) = &looked {
            assert_told(error);
        }
        for stream in super::streams::streams().iter().filter(|stream| !stream.exported) {
            let nps = stream.name.starts_with("nps_").then_some((502, "all"));
            let (offset, now) = (FixedOffset::east_opt(39_600).unwrap(), Utc::now());
            let figures = Figures {
                stream,
                window: window(),
                part: window(),
                range: window(),
                offset,
                zone: UtcOffset::Fixed(offset),
                intervals: Intervals::Day,
                nps,
                unit: ResponseUnit::Unknown,
                now,
            };
            let mut kept = Collected::default();
            if let Err(error) = at_once(figures.write_records(&body, &mut kept)) {
                assert_told(&error);
            } else {
                prop_assert!(looked.is_ok(), "{}: {looked:?}", stream.name);
            }
            prop_assert!(kept.records.len() + kept.refused.len() <= body.len());
            for record in &kept.records {
                assert_of_the_window(&stream.name, record, nps.is_some());
            }
            for (reason, record) in &kept.refused {
                assert_decent(reason);
                prop_assert!(raw::value(record).is_ok());
            }
        }
    }

    #[test]
    fn p3_a_damaged_cursor_is_refused_or_round_trips(text in damaged_text(CURSORS)) {
        if let Ok(cursor) = Forms::parse(&text) {
            let again = Forms::parse(&cursor.text()).unwrap();
            prop_assert_eq!((&cursor.forms, cursor.at), (&again.forms, again.at));
            prop_assert!(cursor.forms.len() <= FORMS_MAX);
            if let Some(next) = cursor.following() {
                prop_assert!(next.at < next.forms.len());
            }
        }
    }

    #[test]
    fn a_damaged_list_of_forms_names_surveys_or_is_refused(body in damaged(JOBS)) {
        match surveys(&body) {
            Ok(forms) => prop_assert!(forms.len() <= body.len() / 2),
            Err(error) => assert_told(&error),
        }
    }

    #[test]
    fn p5_every_record_of_a_damaged_file_has_the_requests_members(body in damaged(FILES), cuts in any_cuts()) {
        let kept = tagged(&body, &cuts);
        for record in &kept.records {
            let members = Members::parse(record).unwrap();
            prop_assert_eq!(members.iter().next().map(|(name, raw)| (name, raw.get())), Some(("w", "1")));
            prop_assert!(!members.iter().any(|(name, _)| name == "Agent Response Date (UTC)"), "{}", String::from_utf8_lossy(record));
        }
        prop_assert_eq!(kept, tagged(&body, &[usize::MAX]));
    }
}

/// A record is an unchanged element of the report, or an object that names its window.
fn assert_of_the_window(stream: &str, record: &[u8], nps: bool) {
    let Some(members) = Members::parse(record) else {
        assert!(raw::value(record).is_ok(), "{}", String::from_utf8_lossy(record));
        return;
    };
    let first: Vec<&str> = members.iter().map(|(name, _)| name).take(3).collect();
    assert_eq!(members.text("window_end").as_deref(), Some("2025-03-03T00:00:00Z"), "{stream}");
    assert!(!nps || first == ["window_end", "form", "nps_category"], "{stream} {first:?}");
    for name in ["interval_start", "timestamp"] {
        if (name == "timestamp") == (stream == "nps_volume")
            && let Some(at) = members.text(name)
        {
            let at: DateTime<Utc> = at.parse().unwrap();
            assert!(at >= window().start && at < window().end, "{stream} {at}");
        }
    }
}

#[test]
fn p3_a_cursor_after_its_last_form_ends_the_slice() {
    let cursor = Forms::parse(r#"{"forms":[1],"at":18446744073709551615}"#).unwrap();
    assert!(cursor.following().is_none());
    let many = format!(r#"{{"forms":[{}0],"at":0}}"#, "0,".repeat(FORMS_MAX));
    assert!(matches!(Forms::parse(&many), Err(StepError::CursorUnknown)));
}
