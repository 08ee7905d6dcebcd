//! Refusals, and responses that are invalid.

use simulator::{Action, Fault, Match};

use super::*;

fn every(bench: &Bench, report: &str, action: Action) {
    bench.control().mischief(Fault::new(Match::report(report), action).times(9));
}

#[tokio::test]
async fn a_login_is_a_small_read() {
    for bench in [Bench::new().await, Bench::new().await.v1()] {
        bench.client().await.log_in().await.unwrap();
        let calls = bench.control().stats().calls;
        assert_eq!(calls.into_iter().collect::<Vec<_>>(), [("jaicp_filters".to_owned(), 1)]);
        assert_well_behaved(&bench.control());
    }
}

#[tokio::test]
async fn p7_a_wrong_token_is_reported_without_the_token() {
    for (status, hint) in [(401, ""), (403, ""), (404, "lacks a part")] {
        let mut bench = Bench::new().await;
        bench.settings.token = "wr0ng:t0ken-of-mine".into();
        bench.jaicp().shape(|shape| shape.wrong_token = status);
        for error in
            [bench.client().await.log_in().await.unwrap_err(), bench.read("messages", day(5)).await.unwrap_err()]
        {
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("t0ken") && shown.contains(hint), "{shown}");
            match status {
                401 => assert!(matches!(error, StepError::Credentials)),
                403 => assert!(matches!(error, StepError::Forbidden)),
                _ => assert!(matches!(error, StepError::Refused { .. })),
            }
        }
        assert_eq!(bench.control().stats().unauthorized, 2, "not tried again");
    }
}

#[tokio::test]
async fn a_base_url_without_its_prefix_is_reported_as_such() {
    let mut bench = Bench::new().await;
    bench.base_url = bench.simulator().base_url().parse().unwrap();
    let error = bench.client().await.log_in().await.unwrap_err();
    assert!(matches!(&error, StepError::Refused { hint, .. } if hint.contains("/api")), "{error:?}");
    // The product's front end responds to any path.
    let bench = Bench::new().await;
    for report in ["filters", "messages"] {
        every(&bench, report, Action::HtmlWith200);
    }
    for error in [bench.client().await.log_in().await.unwrap_err(), bench.read("messages", day(5)).await.unwrap_err()] {
        let StepError::Refused { what, hint } = error else { panic!("{error:?}") };
        assert!(what.contains("a web page") && hint.contains("base_url"), "{what} {hint}");
    }
    assert_eq!(bench.control().stats().calls["jaicp_messages"], 2, "asked for once more");
}

#[tokio::test]
async fn p7_the_vendors_messages_are_shown_without_secrets() {
    let bench = Bench::new().await;
    let token = Account::default().token;
    let body = format!(
        r#"{{"error":"reporter.filter.bad","message":"no filter at /p/{}/x?y=z for {token}"}}"#,
        token.replace(':', "%3a")
    );
    every(&bench, "messages", Action::Json { status: 422, body });
    let error = bench.read("messages", day(5)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the vendor refused: status 422, “reporter.filter.bad: no filter at /p/***/x?*** for ***”"
    );
    assert_eq!(bench.control().stats().calls["jaicp_messages"], 1, "not tried again");
}

#[tokio::test]
async fn temporary_errors_are_retried() {
    let bench = Bench::new().await;
    for action in [
        Action::Status { status: 500 },
        Action::Status { status: 503 },
        Action::Reset,
        Action::Cut,
        Action::EmptyBody,
        Action::HtmlWith200,
        Action::Json { status: 200, body: r#"{"messages":[]}"#.to_owned() },
        Action::Json {
            status: 200,
            body: r#"{"paging":{"pageNum":0,"pageSize":20,"totalCount":3},"messages":null}"#.to_owned(),
        },
    ] {
        bench.control().next(Match::report("messages").page(2), action.clone());
        let read = bench.read("messages", day(5)).await.unwrap();
        assert_eq!(read.distinct(), messages(&bench.jaicp(), day(5)), "{action:?}");
        assert_eq!(read.rows.len(), 60, "{action:?}: a page that begins again is dropped");
    }
    assert_well_behaved(&bench.control());
}

#[tokio::test]
async fn a_list_that_is_empty_may_be_null() {
    let bench = Bench::new().await;
    let body = r#"{"paging":{"pageNum":0,"pageSize":20,"totalCount":0},"messages":null}"#.to_owned();
    bench.control().next(Match::report("messages"), Action::Json { status: 200, body });
    assert!(bench.read("messages", day(5)).await.unwrap().rows.is_empty());
}

#[tokio::test]
async fn p7_redirects_are_not_followed() {
    let bench = Bench::new().await;
    let location = format!("{}/exports/x", bench.simulator().files_url());
    every(&bench, "messages", Action::Redirect { status: 302, location: location.clone() });
    every(&bench, "filters", Action::Redirect { status: 308, location });
    let error = bench.read("messages", day(5)).await.unwrap_err();
    assert!(matches!(error, StepError::Http(_)), "{error:?}");
    bench.client().await.log_in().await.unwrap_err();
    assert!(!bench.control().stats().calls.contains_key("files_get"), "no call was made there");
}

#[tokio::test]
async fn p6_responses_of_unbounded_size_are_refused() {
    let bench = Bench::new().await;
    for action in [Action::GzipBomb { bytes: 70 << 20 }, Action::OneField { bytes: 70 << 20 }] {
        every(&bench, "messages", action.clone());
        let error = bench.read("messages", day(5)).await.unwrap_err();
        let clear = matches!(error, StepError::Unreadable(_) | StepError::Missing(_) | StepError::Refused { .. });
        assert!(clear, "{action:?}: {error:?}");
        every(&bench, "session_labels", action.clone());
        bench.read("session_labels", day(5)).await.unwrap_err();
        bench.control().quiet();
    }
    assert_eq!(bench.read("messages", day(5)).await.unwrap().distinct(), messages(&bench.jaicp(), day(5)));
}

#[tokio::test]
async fn p10_a_response_without_a_body_is_an_empty_page_list_series_or_file_and_no_task() {
    for (action, times) in [(Action::NoContent, 1), (Action::EmptyBody, 2)] {
        let bench = Bench::new().await;
        for (stream, endpoint, calls) in [
            ("messages", "jaicp_messages", 1),
            ("clients", "jaicp_clients", 1),
            ("message_labels", "jaicp_list", 1),
            ("experiments", "jaicp_list", 1),
            ("stats_series", "jaicp_stats", 5),
            ("telephony_daily", "jaicp_telephony", 1),
        ] {
            bench.control().mischief(Fault::new(Match::endpoint(endpoint), action.clone()).times(times * calls));
            let read = bench.read(stream, day(5)).await.unwrap();
            assert!(read.rows.is_empty() && read.refused.is_empty(), "{stream} {action:?}: {:?}", read.rows);
            assert_eq!(bench.control().pending(), 0, "{stream} {action:?}");
        }
        for endpoint in ["jaicp_file", "files_get"] {
            bench.control().next(Match::endpoint(endpoint), action.clone());
        }
        assert!(bench.read("report_sessions", day(5)).await.unwrap().rows.is_empty(), "{action:?}");
        bench.control().quiet();
        bench.control().mischief(Fault::new(Match::endpoint("jaicp_task"), action.clone()).times(9));
        let error = bench.read("report_sessions", day(5)).await.unwrap_err();
        assert!(matches!(error, StepError::Unreadable(DecodeError::Empty)), "{action:?}: {error:?}");
        bench.control().quiet();
        // A task whose creation was not confirmed is searched for and found.
        bench.control().next(Match::endpoint("jaicp_create_report"), action.clone());
        assert!(!bench.read("report_sessions", day(5)).await.unwrap().rows.is_empty(), "{action:?}");
        bench.control().quiet();
        bench.control().mischief(Fault::new(Match::endpoint("jaicp_filters"), action.clone()).times(9));
        bench.client().await.log_in().await.unwrap_err();
    }
}

#[tokio::test]
async fn p10_pages_that_end_without_a_body_do_not_add_up() {
    let bench = Bench::new().await;
    bench.control().mischief(Fault::new(Match::endpoint("jaicp_messages"), Action::NoContent).after(1));
    let read = bench.read("messages", day(5)).await.unwrap();
    assert_eq!(read.distinct(), messages(&bench.jaicp(), day(5)), "read again, for the first page announced more");
}
