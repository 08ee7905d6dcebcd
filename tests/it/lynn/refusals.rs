//! Responses 429 and 403 of the gateway.

use simulator::{Action, Fault, Match, Quota, Wording};
use tidegate::connector::StepError;
use tidegate::http::HttpError;
use tidegate::quota::Usage;

use super::*;

#[tokio::test]
async fn p2_a_429_in_any_form_blocks_all_processes_until_it_ends() {
    let forms = [
        (Wording::Json, false),
        (Wording::Text, false),
        (Wording::Html, false),
        (Wording::Text, true),
        (Wording::Empty, true),
    ];
    for (wording, header) in forms {
        let (bench, control, client) = start().await;
        client.log_in().await.unwrap();
        let hold = control.hold_after(Match::report(MARKS), 1, simulator::Point::BeforeResponse);
        control.next(Match::report(MARKS), Action::TooMany { seconds: 1, wording, header });
        let begun = Utc::now();
        let reading = tokio::spawn(async move { first_page(&client).await });
        // While the second call is in progress, the ledger has the result of the first one.
        hold.reached().await;
        assert!(Utc::now() - begun >= TimeDelta::seconds(1), "{wording:?}: it was not waited out");
        hold.release();
        let (rows, _) = reading.await.unwrap().unwrap();
        assert_eq!((rows.len(), control.stats().calls["execute_report"]), (20, 2), "{wording:?}");
        let usage: Vec<Usage> = bench.client().await.gate.ledger().usage().await.unwrap();
        assert!(usage.iter().all(|usage| usage.blocked_until.is_none()), "{wording:?}: it has passed");
    }
}

#[tokio::test]
async fn a_long_429_releases_the_worker() {
    let (bench, control, client) = start().await;
    control.next(Match::report(MARKS), Action::TooMany { seconds: 600, wording: Wording::Json, header: true });
    let error = first_page(&client).await.unwrap_err();
    let StepError::Http(HttpError::RefusedForQuota { status: 429, limit, until }) = error else { panic!("{error:?}") };
    assert_eq!(limit, "requests");
    // A wait is shortened to the limit's period, four seconds, plus a minute.
    assert_until(until, 64);
    // The block applies to other processes too, which send nothing.
    let error = first_page(&bench.client().await).await.unwrap_err();
    let StepError::Http(HttpError::OwnQuota { limit, until: told }) = error else { panic!("{error:?}") };
    assert_eq!((limit.as_str(), told), ("requests", until));
    assert_eq!(control.stats().calls["execute_report"], 1);
}

#[tokio::test]
async fn a_vendor_that_keeps_refusing_is_called_at_growing_intervals() {
    let (mut bench, control, _) = start().await;
    bench.attempts_max = 3;
    let client = bench.client().await;
    let refusal = Action::TooMany { seconds: 0, wording: Wording::Empty, header: false };
    control.mischief(Fault::new(Match::report(MARKS), refusal).times(100));
    let error = first_page(&client).await.unwrap_err();
    assert!(matches!(error, StepError::Http(HttpError::RefusedForQuota { status: 429, .. })), "{error:?}");
    let calls: Vec<f64> = control.stats().reports.iter().map(|call| call.at_secs).collect();
    assert_eq!(calls.len(), 3);
    // The vendor states no duration, so each wait is longer than the previous one.
    let waits: Vec<f64> = calls.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits[0] >= 0.9 && waits[1] >= 1.9, "{waits:?}");
}

#[tokio::test]
async fn p2_a_spent_quota_is_recorded_with_its_end_and_no_token_is_obtained() {
    let quota = |quota, text: &str, retry_after| Action::OutOfQuota { quota, replenished_in: text.into(), retry_after };
    let cases = [
        (quota(Quota::Bandwidth, "03:30:56", None), "period_bandwidth", 12_656),
        (quota(Quota::Calls, "00:10:00", None), "period_calls", 600),
        // Longer than the twelve hours of the limit plus a minute.
        (quota(Quota::Calls, "1.02:03:04", None), "period_calls", 43_259),
        (quota(Quota::Bandwidth, "T", Some(7_200)), "period_bandwidth", 7_200),
    ];
    for (action, limit, seconds) in cases {
        let (_bench, control, client) = start().await;
        control.next(Match::report(MARKS).page(2), action);
        let (_, Outcome::Page { next, .. }) = first_page(&client).await.unwrap() else { panic!() };
        let mut page = Page::default();
        let error = client.step(&marks(), day(1), next.as_deref(), &mut page).await.unwrap_err();
        let StepError::Http(HttpError::RefusedForQuota { status: 403, limit: hit, until }) = error else {
            panic!("{error:?}")
        };
        assert_eq!(hit, limit);
        assert_until(until, seconds + 1);
        assert_eq!(blocked(&client, limit).await, Some(until));
        let error = client.step(&marks(), day(1), next.as_deref(), &mut page).await.unwrap_err();
        assert!(matches!(error, StepError::Http(HttpError::OwnQuota { .. })), "{error:?}");
        assert_eq!((control.stats().tokens_minted, control.stats().calls["execute_report"]), (1, 2));
    }
}

#[tokio::test]
async fn a_403_without_a_quota_message_is_a_missing_permission() {
    let (_bench, control, client) = start().await;
    control.next(Match::report(MARKS), Action::Forbidden);
    let error = first_page(&client).await.unwrap_err();
    assert!(matches!(error, StepError::Forbidden), "{error:?}");
    assert_eq!((control.stats().tokens_minted, control.stats().calls["execute_report"]), (1, 1));
    assert!(client.gate.ledger().usage().await.unwrap().iter().all(|usage| usage.blocked_until.is_none()));
}

#[tokio::test]
async fn a_401_about_the_subscription_key_mints_nothing() {
    let (_bench, control, client) = start().await;
    control.next(Match::report(MARKS), Action::SubscriptionKey);
    let error = first_page(&client).await.unwrap_err();
    assert!(is_of_subscription_key(&error), "{error:?}");
    assert_eq!((control.stats().tokens_minted, control.stats().calls["execute_report"]), (1, 1));
}

/// A wait is rounded up by a second, and the database counted it from a moment ago.
fn assert_until(until: DateTime<Utc>, seconds: i64) {
    let ahead = (until - Utc::now()).num_milliseconds();
    assert!((seconds - 60) * 1_000 <= ahead && ahead <= (seconds + 2) * 1_000, "{ahead} ms, not {seconds} s");
}
