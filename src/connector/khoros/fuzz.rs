//! Damaged responses, files and stored parts of Khoros.

use proptest::prelude::*;
use serde_json::Value;

use super::config::ReportFormat;
use super::create::JobPart;
use super::file::tests::outcome;
use super::wire::{self, Handle, Progress};
use crate::connector::request::below;
use crate::connector::{Expected, StepRequest, Window};
use crate::decode::object::Members;
use crate::fuzz::{any_cuts, assert_decent, assert_told, damaged, damaged_text, redactor};
use crate::secret::Secret;
use crate::test_kit::Collected;

const RESPONSES: &[&[u8]] = &[
    br#"{"status":"PASS","request":null,"message":null,"result":{"workflowId":"7d0c1e52-4b1a","runId":"23Ab+cD/eF0g=","downloadUrl":"","statusUrl":"https://a/x?analyticsAccessToken=q1w2%3D%3D&companyKey=s3cret-value"}}"#,
    br#"{"status":"PASS","result":[{"jobInfo":{"workflowId":"7d0c1e52-4b1a","runId":"r","downloadUrl":"https://a/d?analyticsAccessToken=q1","statusUrl":"https://a/s"},"result":{"runnerState":"CLOSED","detail":"COMPLETED"}},{"jobInfo":{},"result":{"runnerState":"PAUSED s3cret-value"}}]}"#,
    br#"{"status":"PASS","result":{"jobInfo":{"workflowId":"w","runId":"r"},"result":{"runnerState":"CLOSED","details":"FAILED","reason":"no s3cret-value\nhere"}}}"#,
    br#"{"status":"FAIL","message":"closed for s3cret-value","result":null}"#,
    br#"{"status":"s3cret-value","result":"Too many buckets (745) requested by s3cret-value."}"#,
];

const FILES: &[&[u8]] = &[
    br#"[{"Status":"Open","Conversation ID":"9\"0","x":"\"Conversation ID\":"},{"Conversation ID" : 1.50},{"y":[{"a":1}],"Conversation ID":"8"}]"#,
    br#"[{"conversationId":1,"deep":{"Conversation_Id":2}},{"deep":{"conversationId":3},"conversationId":4},{"deep":{"conversationId":5}}]"#,
    b"\"Status\",\"Conversation ID\"\r\nOpen,90\r\n\"a \"\"b\"\"\",\r\n",
    br#"{"status":"FAIL","message":"later, s3cret-value","result":"no such s3cret-value"}"#,
    b"<?xml version=\"1.0\"?><Error>s3cret-value</Error>",
];

const PARTS: &[&[u8]] = &[b"CREATED 1/2", b"OPEN_AT_END 1/1", b" 2147483646/2147483647", b" 1/1"];

/// Decodes a segment of a path.
fn decoded(segment: &str) -> String {
    percent(segment).map_or_else(|| "none".to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn percent(segment: &str) -> Option<Vec<u8>> {
    let mut bytes = segment.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => u8::from_str_radix(&String::from_utf8(vec![bytes.next()?, bytes.next()?]).ok()?, 16).ok()?,
            other => other,
        });
    }
    Some(decoded)
}

/// A call about a job goes below the base URL, with the job's ids and token and nothing else from the vendor.
fn assert_in_its_place(handle: &Handle, token: Option<&Secret>) {
    let base = "https://host/api/public".parse().unwrap();
    let query =
        token.map_or_else(|| "companyKey=k".to_owned(), |token| format!("analyticsAccessToken={}", token.expose()));
    // `.` and `..` are refused.
    let Ok(url) = below(&base, &handle.path("status"), Some(&query)) else { return };
    assert_eq!((url.origin(), url.query(), url.fragment()), (base.origin(), Some(&*query), None));
    assert_eq!(url.query_pairs().count(), 1);
    let segments: Vec<&str> = url.path_segments().unwrap().collect();
    let [api, public, reports, report, workflow, run, status] = segments[..] else { panic!("{url}") };
    assert_eq!([api, public, reports, report, status], ["api", "public", "reports", "report", "status"]);
    assert_eq!([decoded(workflow), decoded(run)], [handle.workflow.clone(), handle.run.clone()]);
}

proptest! {
    #[test]
    fn p7_a_damaged_response_is_parsed_or_refused_with_a_safe_message(body in damaged(RESPONSES)) {
        let redactor = redactor();
        match wire::result(&body, &redactor) {
            Ok(result) => prop_assert!(result.is_array() || result.is_object() || !matches!(result, Value::Null | Value::String(_))),
            Err(error) => assert_told(&error),
        }
        if let Some(said) = wire::words(&String::from_utf8_lossy(&body), &redactor) {
            assert_decent(&said);
        }
        match wire::created(&body, &redactor) {
            Ok((handle, token)) => assert_in_its_place(&handle, token.as_ref()),
            Err(error) => assert_told(&error),
        }
        let handle = Handle { workflow: "7d0c1e52-4b1a".to_owned(), run: "r".to_owned() };
        match wire::status(&body, &handle, &redactor) {
            Ok((progress, token)) => {
                assert_in_its_place(&handle, token.as_ref());
                match progress {
                    Progress::Running(said) | Progress::Failed(said) => assert_decent(&said),
                    Progress::Done(_) => {}
                }
            }
            Err(error) => assert_told(&error),
        }
    }

    #[test]
    fn p3_any_stored_handle_leads_to_its_own_job(workflow in damaged_text(RESPONSES), run in damaged_text(PARTS)) {
        assert_in_its_place(&Handle { workflow, run }, None);
    }

    #[test]
    fn p6_a_damaged_file_is_read_or_refused_in_the_same_way_in_any_chunks(body in damaged(FILES), cuts in any_cuts()) {
        for format in [ReportFormat::Json, ReportFormat::Csv] {
            let (kept, end) = outcome(format, true, &body, &[usize::MAX]);
            let (again, end_again) = outcome(format, true, &body, &cuts);
            prop_assert_eq!(&kept, &again);
            prop_assert_eq!(end.is_ok(), end_again.is_ok());
            if let Err(error) = end {
                assert_told(&error);
            }
            let (plain, _) = outcome(format, false, &body, &[usize::MAX]);
            if format == ReportFormat::Json {
                assert_only_the_key_is_respelt(&plain, &kept);
            }
        }
    }

    #[test]
    fn p3_a_damaged_part_is_refused_or_lies_within_its_window(text in damaged_text(PARTS), days in 1_i64..91) {
        let Ok(part) = JobPart::read(&text) else { return Ok(()) };
        let start = "2026-01-01T00:00:00Z".parse().unwrap();
        let window = Window { start, end: start + chrono::TimeDelta::days(days) };
        for stream in super::streams::streams().iter().filter(|stream| stream.windowed()) {
            let request = StepRequest { stream, window, cursor: None, expected: Expected::default() };
            let asked = part.window(&request, window.end);
            prop_assert!(window.start <= asked.start && asked.start <= asked.end && asked.end <= window.end, "{asked:?}");
        }
    }
}

/// Of records that are objects one member may have another name; that is all.
fn assert_only_the_key_is_respelt(plain: &Collected, respelt: &Collected) {
    assert_eq!(plain.records.len(), respelt.records.len());
    for (plain, respelt) in plain.records.iter().zip(&respelt.records) {
        let Some(before) = Members::parse(plain) else { continue };
        let after = Members::parse(respelt).unwrap();
        let values = |members: &Members<'_>| members.iter().map(|(_, raw)| raw.get().to_owned()).collect::<Vec<_>>();
        assert_eq!(values(&before), values(&after));
        for ((name, _), (spelt, _)) in before.iter().zip(after.iter()) {
            let known = ["conversation_id", "closed_time"].contains(&&*crate::catalogue::column_name(name));
            assert!(name == spelt || known && ["CONVERSATION_ID", "CLOSED_TIME"].contains(&spelt), "{name} {spelt}");
        }
        let is_key = |(name, _): (&str, _)| crate::catalogue::column_name(name) == "conversation_id";
        assert!(
            !before.iter().any(is_key)
                || after
                    .iter()
                    .any(|(name, _)| name.eq_ignore_ascii_case(crate::connector::khoros::streams::CONVERSATION_ID)),
            "{}",
            String::from_utf8_lossy(respelt)
        );
    }
}

#[test]
fn a_field_of_a_nested_object_is_not_used_as_the_key() {
    let body =
        br#"[{"conversationId":1},{"deep":{"conversationId":3},"conversationId":4},{"deep":{"conversationId":5}}]"#;
    let (kept, end) = outcome(ReportFormat::Json, true, body, &[7]);
    end.unwrap();
    let texts: Vec<&str> = kept.records.iter().map(|record| std::str::from_utf8(record).unwrap()).collect();
    assert_eq!(
        texts,
        [
            r#"{"CONVERSATION_ID":1}"#,
            r#"{"deep":{"conversationId":3},"CONVERSATION_ID":4}"#,
            r#"{"deep":{"conversationId":5}}"#
        ]
    );
}
