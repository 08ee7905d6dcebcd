//! Damaged responses about reports.

use proptest::prelude::*;
use url::Url;

use super::*;
use crate::connector::jaicp::endpoint::tests::settings as settings_of;
use crate::connector::jaicp::tasks::KnownTasks;
use crate::fuzz::{assert_decent, assert_told, damaged, redactor};

const RESPONSES: &[&[u8]] = &[
    br#"{"taskId":7,"status":"COMPLETED","reportType":"SESSIONS","settings":{"fileType":"CSV","delimiter":",","dateTimeFormat":"yyyy-MM-dd'T'HH:mm:ss.SSS"},"fileUrl":"https://h/f?s3cret-value"}"#,
    br#"{"taskId":"..","status":"s3cret-value is at work\n","settings":null,"fileUrl":" "}"#,
    br#"[{"taskId":"a/../b?c#d","status":"FAILED","reportType":"messages","settings":[1]},{"taskId":null}]"#,
    br#"{"requestId":"r-1","requestTime":1714550400000,"more":[1]}"#,
    br#"{"requestId":"r-1","requestTime":"2024-05-01T08:00:00.000Z"}"#,
    br#"{"response":[{"isOk":true,"payload":{"fileUrl":"https://h/f","url":1},"error":null},{"isOk":1}]}"#,
    br#"{"response":[{"isOk":false,"error":{"error":"s3cret-value","message":"no s3cret-value\n"}}]}"#,
    br#"{"response":[{"isOk":true,"requestId":"r-2","payload":"https://h/g"},{"isOk":true,"requestId":"r-1","payload":"https://h/f"}]}"#,
];

/// Asserts that an id of a report is one segment of a path, or one value of a query.
fn assert_in_its_place(jaicp: &Jaicp, handle: &Handle) {
    let ask = match handle {
        Handle::Task(id) => Request { id: Some(id.clone()), ..Request::new(Endpoint::Task) },
        Handle::Request { id, .. } => Request::new(Endpoint::Events).query("requestId", id.as_str()),
    };
    let url: Url = jaicp.call(&ask).unwrap().url;
    let segments: Vec<&str> = url.path_segments().unwrap().collect();
    match handle {
        Handle::Task(_) => {
            assert_eq!(
                segments[..6],
                ["api", "reporter", "p", "ab12cd34:0f%2F9%20%C3%A9", "reports", "tasks"],
                "{url}"
            );
            assert!(segments.len() == 7 && !segments[6].is_empty() && url.query().is_none(), "{url}");
        }
        Handle::Request { id, .. } => {
            assert_eq!(segments, ["api", "v1", "async", "events"], "{url}");
            let pairs: Vec<_> = url.query_pairs().collect();
            assert_eq!(pairs[..], [("requestId".into(), id.into())]);
        }
    }
    assert!(url.host_str() == Some("app.jaicp.com") && url.fragment().is_none(), "{url}");
}

fn assert_state(state: Result<JobState<File>, StepError>) {
    match state {
        Ok(JobState::Running(said) | JobState::Failed(said)) => assert_decent(&said),
        Ok(JobState::Ready(File(url))) => assert!(!url.trim().is_empty()),
        Err(error) => assert_told(&error),
    }
}

proptest! {
    #[test]
    fn p7_a_damaged_response_about_a_report_leads_to_its_own_task_or_is_refused(body in damaged(RESPONSES)) {
        for api in [Api::Legacy, Api::V1] {
            let jaicp = Jaicp::new("https://app.jaicp.com/api".parse().unwrap(), settings_of(api), redactor());
            let reports = Reports(&jaicp);
            match reports.handle(&body) {
                Ok(handle) => {
                    assert_in_its_place(&jaicp, &handle);
                    let stored = serde_json::to_string(&handle).unwrap();
                    prop_assert_eq!(serde_json::from_str::<Handle>(&stored).unwrap(), handle);
                    prop_assert!(stored.len() <= 12 * ID_BYTES_MAX + 100);
                }
                Err(error) => assert_told(&error),
            }
            match task(&body) {
                Ok(task) => assert_state(Ok(reports.task_state(task))),
                Err(error) => assert_told(&error),
            }
            match event(&body, "r-1") {
                Ok(event) => assert_state(reports.event_state(event)),
                Err(error) => assert_told(&error),
            }
        }
        match tasks(&body) {
            Ok(tasks) => {
                let known = KnownTasks::default();
                known.learn(tasks.iter().map(|task| &*task.id.0));
                for task in tasks {
                    prop_assert!(!known.is_new(&task.id.0));
                    let _ = task.settings.as_deref().is_some_and(like_ours);
                }
            }
            Err(error) => assert_told(&error),
        }
    }
}

#[test]
fn the_time_of_a_request_is_sent_in_milliseconds_from_any_format() {
    for time in ["2024-05-01T08:00:00.120Z", "2024-05-01T11:00:00.120+0300", "2024-05-01T08:00:00.12", "1714550400120"]
    {
        assert_eq!(millis(time), Some(1_714_550_400_120), "{time}");
    }
    assert_eq!(millis("1714550400"), Some(1_714_550_400_000));
    for time in ["", "yesterday", "2024-05-01"] {
        assert_eq!(millis(time), None, "{time}");
    }
}

#[test]
fn an_event_of_another_request_is_ignored() {
    let events = br#"{"response":[{"isOk":true,"requestId":"r-2","payload":"https://h/g"}]}"#;
    assert!(event(events, "r-1").unwrap().is_none());
    assert!(event(events, "r-2").unwrap().is_some());
}

#[test]
fn p7_a_dot_is_not_an_id_of_a_report() {
    for dot in [".", ".."] {
        assert!(matches!(id(dot), Err(StepError::Shape(_))), "{dot}");
    }
    assert_eq!(id("...").unwrap(), "...");
}
