//! Temporary faults, and responses that are not reports.

use std::time::Instant;

use simulator::{Action, Fault, Match};
use tidegate::connector::StepError;
use tidegate::http::{CallOutcome, HttpError};

use super::*;

fn calls(control: &Control) -> u64 {
    control.stats().calls["execute_report"]
}

#[tokio::test]
async fn temporary_errors_are_retried_with_the_same_cursor_and_the_page_begins_again() {
    let (_bench, control, client) = start().await;
    let (first, Outcome::Page { next, .. }) = first_page(&client).await.unwrap() else { panic!() };
    let expected = truth(&control, day(1));
    assert_eq!(first, expected[..20]);
    let faults = [500, 502, 503, 504, 408].map(|status| Action::Status { status });
    for action in faults.into_iter().chain([Action::Reset, Action::Cut]) {
        let before = calls(&control);
        control.next(Match::report(MARKS), action.clone());
        let mut page = Page::default();
        client.step(&marks(), day(1), next.as_deref(), &mut page).await.unwrap();
        assert_eq!((calls(&control) - before, page.begun), (2, 2), "{action:?}");
        assert_eq!(page.rows, expected[20..40], "{action:?}: half a page must not stay");
    }
    assert!(control.stats().reports.iter().skip(1).all(|call| call.page == 2));
}

#[tokio::test]
async fn retries_end_and_keep_the_distance_that_the_limit_in_force_asks_for() {
    let (mut bench, control, _) = start().await;
    // 10 per 10 s allow a burst: without the pause, a retry would be sent after a millisecond and not after a second.
    bench.limits[1] = limit("requests", Calls::Data, Unit::Calls, 10, 10 * SECOND);
    bench.attempts_max = 3;
    let client = bench.client().await;
    control.mischief(Fault::new(Match::report(MARKS), Action::Status { status: 503 }).times(9));
    let error = first_page(&client).await.unwrap_err();
    assert!(matches!(error, StepError::Http(HttpError::Status { status: 503, .. })), "{error:?}");
    let sent: Vec<f64> = control.stats().reports.iter().map(|call| call.at_secs).collect();
    assert_eq!(sent.len(), 3);
    assert!(sent.windows(2).all(|pair| pair[1] - pair[0] >= 1.0), "{sent:?}");
}

#[tokio::test]
async fn permanent_errors_are_not_retried() {
    let (_bench, control, client) = start().await;
    for (status, served) in [(400, false), (404, false), (405, false), (422, false), (501, true), (302, true)] {
        let before = control.stats().reports.len();
        control.next(Match::report(MARKS), Action::Status { status });
        let error = first_page(&client).await.unwrap_err();
        let named = match error {
            StepError::NotServed(named) => !served && named == status,
            StepError::Http(HttpError::Status { status: named, .. }) => served && named == status,
            _ => false,
        };
        assert!(named, "{status}: {error:?}");
        assert_eq!(control.stats().reports.len() - before, 1, "{status}");
    }
    let mut unknown = marks();
    unknown.vendor_id = "00000000-0000-0000-0000-000000000000".into();
    let mut page = Page::default();
    let error = client.step_expecting(&unknown, day(1), None, Expected::default(), &mut page).await.unwrap_err();
    assert!(matches!(error, StepError::NotServed(404)), "{error:?}");
}

#[tokio::test]
async fn a_response_that_is_not_a_report_is_requested_once_more_and_then_is_an_error() {
    let (_bench, control, client) = start().await;
    for (action, missing) in [
        (Action::HtmlWith200, false),
        (Action::EmptyBody, false),
        (Action::MalformedResult, false),
        (Action::ResultMissing, true),
    ] {
        control.next(Match::report(MARKS), action.clone());
        let mut page = Page::default();
        client.step(&marks(), day(1), None, &mut page).await.unwrap();
        assert_eq!((page.begun, page.rows.len()), (2, 20), "{action:?}: what came first is dropped");
        control.mischief(Fault::new(Match::report(MARKS), action.clone()).times(2));
        if action == Action::EmptyBody {
            assert!(first_page(&client).await.unwrap().0.is_empty(), "nothing twice is nothing");
            continue;
        }
        let error = first_page(&client).await.unwrap_err();
        let named = matches!(error, StepError::Missing("result"));
        assert!(if missing { named } else { matches!(error, StepError::Unreadable(_)) }, "{action:?}: {error:?}");
        assert_eq!(control.pending(), 0, "{action:?}: exactly one more try");
    }
}

#[tokio::test]
async fn json_of_a_wrong_content_type_is_read() {
    let (_bench, control, client) = start().await;
    for value in ["text/html", "application/octet-stream", "nonsense"] {
        control.next(Match::report(MARKS), Action::ContentType { value: value.to_owned() });
        assert_eq!(first_page(&client).await.unwrap().0.len(), 20);
    }
    assert_eq!(calls(&control), 3);
}

#[tokio::test]
async fn gzip_is_read_and_counted_uncompressed() {
    let (_bench, control, client) = start().await;
    let plain = client.read(MARKS, day(1)).await.unwrap();
    control.shape(|shape| shape.gzip = true);
    let packed = client.read(MARKS, day(1)).await.unwrap();
    assert_eq!((&packed.rows, &packed.bytes), (&plain.rows, &plain.bytes));
    let told: u64 = control.stats().reports[..3].iter().map(|call| call.bytes).sum();
    assert!(plain.bytes.iter().sum::<u64>() >= told, "no less than the vendor counts");
}

#[tokio::test]
async fn a_slow_body_is_read_and_a_stalled_one_is_not() {
    let (mut bench, control, _) = start().await;
    bench.timeout = SECOND;
    bench.attempts_max = 2;
    let client = bench.client().await;
    control.next(Match::report(MARKS), Action::Drip { bytes: 1_000, every_ms: 200 });
    assert_eq!(first_page(&client).await.unwrap().0.len(), 20, "longer than the timeout in all, and never silent");
    assert_eq!(calls(&control), 1);
    for action in [Action::Drip { bytes: 20, every_ms: 100 }, Action::Delay { ms: 30_000 }] {
        let begun = Instant::now();
        control.mischief(Fault::new(Match::report(MARKS), action.clone()).times(2));
        let error = first_page(&client).await.unwrap_err();
        assert!(matches!(error, StepError::Http(HttpError::Transport { .. })), "{action:?}: {error:?}");
        assert!(begun.elapsed() < 20 * SECOND, "{action:?} took {:?}", begun.elapsed());
        control.quiet();
    }
    let hold = control.hold(Match::report(MARKS), simulator::Point::MidBody);
    assert_eq!(first_page(&client).await.unwrap().0.len(), 20);
    hold.release();
}

#[tokio::test]
async fn p2_a_response_that_was_not_read_to_its_end_is_counted_whole() {
    let (mut bench, control, _) = start().await;
    bench.timeout = SECOND;
    bench.attempts_max = 1;
    for action in [Action::Cut, Action::HtmlWith200, Action::Delay { ms: 20_000 }, Action::MalformedResult] {
        let client = bench.client().await;
        client.log_in().await.unwrap();
        let used = async || client.gate.ledger().usage().await.unwrap()[3].used;
        let before = used().await;
        let counted = control.stats().limits["period_bandwidth"].counted;
        control.mischief(Fault::new(Match::report(MARKS), action.clone()).times(2));
        let expected = Expected { page_bytes: Some(6_000), ..Expected::default() };
        client.step_expecting(&marks(), day(1), None, expected, &mut Page::default()).await.unwrap_err();
        let (ours, theirs) = (used().await - before, control.stats().limits["period_bandwidth"].counted - counted);
        assert!(ours >= theirs, "{action:?}: {ours} of {theirs}");
        control.quiet();
    }
}

#[tokio::test]
async fn an_unreachable_vendor_costs_no_bandwidth() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut bench = bench_at(&format!("http://{nobody}")).await;
    bench.attempts_max = 2;
    let client = bench.client().await;
    let session = client.gate.session(0, Utc::now());
    let error = client.source.log_in(&session).await.unwrap_err();
    assert!(error.to_string().contains("the connection could not be made"), "{error}");
    assert!(client.gate.ledger().usage().await.unwrap()[3].used < 5_000);
    let outcomes: Vec<CallOutcome> = session.take_records().into_iter().map(|record| record.outcome).collect();
    assert_eq!(outcomes, [CallOutcome::Transport; 2]);
}

#[tokio::test]
async fn a_failed_report_states_the_reason_in_any_form() {
    let (_bench, control, client) = start().await;
    for (errors, shown) in [
        (r#""boom""#, "“boom”"),
        (r#"["one","two"]"#, "“one; two”"),
        (r#"{"code":7}"#, "“{\"code\":7}”"),
        (r#"[{"code":7},null]"#, "“{\"code\":7}; null”"),
        ("null", "no reason given"),
        ("[]", "no reason given"),
        ("\" \"", "no reason given"),
    ] {
        control.next(Match::report(MARKS), Action::Invalid { errors_json: errors.to_owned() });
        let error = first_page(&client).await.unwrap_err();
        assert!(matches!(&error, StepError::Failed(text) if text == shown), "{errors}: {error:?}");
    }
    assert_eq!(calls(&control), 7, "the vendor ran the report: asking again at once is of no use");
}

#[tokio::test]
async fn errors_of_a_valid_response_fail_the_window_unless_configured_otherwise() {
    let (mut bench, control, client) = start().await;
    for harmless in ["null", "\"\"", "[ ]", "{}"] {
        control.next(Match::report(MARKS), Action::Errors { errors_json: harmless.to_owned() });
        first_page(&client).await.unwrap();
    }
    let partial = || control.next(Match::report(MARKS), Action::Errors { errors_json: r#"["shard 3"]"#.to_owned() });
    partial();
    let error = first_page(&client).await.unwrap_err();
    assert!(matches!(&error, StepError::Failed(text) if text == "“shard 3”"), "{error:?}");
    bench.settings.fail_on_errors = false;
    let client = bench.client().await;
    partial();
    assert_eq!(first_page(&client).await.unwrap().0.len(), 20);
}
