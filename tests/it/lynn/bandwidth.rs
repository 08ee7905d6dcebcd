//! The bandwidth of a period: windows that would exceed it are split, and a run stops when it is used up.

use simulator::{Action, Match, Options};
use tidegate::connector::StepError;
use tidegate::http::HttpError;

use super::*;

const BANDWIDTH: &str = "period_bandwidth";
/// A day of 2,000 rows, 100 to a page: about 20 pages of 33,000 bytes.
const DAY_BYTES: u64 = 700_000;
const PAGE_BYTES: u64 = 36_000;

async fn heavy(allowed: u64, per: Duration) -> (Bench, Control, Client) {
    let options = Options { volume: Volume::Exactly(2_000), count_heads: true, ..free() };
    let (mut bench, control, _) = start_with(options.limit(BANDWIDTH, allowed, per)).await;
    bench.settings.page_size = 100;
    bench.limits[3] = limit(BANDWIDTH, Calls::Every, Unit::Bytes, allowed, per);
    let client = bench.client().await;
    (bench, control, client)
}

fn assert_contiguous(parts: &[Window], whole: Window) {
    let mut parts = parts.to_vec();
    parts.dedup();
    assert!(parts.len() > 1, "it was not split");
    assert_eq!((parts[0].start, parts[parts.len() - 1].end), (whole.start, whole.end));
    assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start), "{parts:?}");
}

#[tokio::test]
async fn p2_a_window_that_was_too_large_before_is_read_in_parts_that_fit() {
    let (_bench, control, client) = heavy(300_000, 4 * SECOND).await;
    let expected = Expected {
        page_bytes: Some(PAGE_BYTES),
        slice_bytes: Some(DAY_BYTES),
        slice_secs: 86_400,
        ..Expected::default()
    };
    let reading = client.read_expecting(&marks(), day(1), None, expected).await.unwrap();
    assert_eq!(reading.rows, truth(&control, day(1)));
    assert_contiguous(&reading.parts, day(1));
    // The first part was planned before anything was sent: 90 % of 300 of 700 kB.
    let first = &control.stats().reports[0];
    assert!(first.end_date.as_str() > "2024-03-01 07:00:00" && first.end_date.as_str() < "2024-03-01 10:00:00");
    assert_eq!(control.stats().violation_count, 0, "{:?}", control.stats().violations);
}

#[tokio::test]
async fn p8_parts_of_a_window_do_not_meet_within_an_hour_that_occurs_twice() {
    let options = Options { volume: Volume::Exactly(2_000), filter_timezone: Tz::America__Santiago, ..free() };
    // 23:00 to 24:00 occurs twice: from 02:00Z and from 03:00Z of 7 April.
    let whole = window("2024-04-07T00:00:00Z", "2024-04-07T08:00:00Z");
    for allowed in (60_000..200_000).step_by(20_000) {
        let (mut bench, control, _) = start_with(options.clone()).await;
        bench.settings.filter_timezone = Tz::America__Santiago;
        bench.settings.page_size = 1_000;
        bench.limits[3] = limit(BANDWIDTH, Calls::Every, Unit::Bytes, allowed * 100, SECOND);
        let client = bench.client().await;
        // The whole window needs much more than the remaining bandwidth, so its first part ends somewhere within it.
        let expected = Expected {
            slice_bytes: Some(20_000_000),
            slice_secs: 8 * 3_600,
            page_bytes: Some(1),
            ..Expected::default()
        };
        let reading = client.read_expecting(&marks(), whole, None, expected).await.unwrap();
        let mut parts = reading.parts.clone();
        parts.dedup();
        let twice = at("2024-04-07T02:00:00Z")..at("2024-04-07T04:00:00Z");
        assert!(parts.iter().all(|part| !twice.contains(&part.end)), "{parts:?}");
        assert_eq!(reading.rows, truth(&control, whole), "{parts:?}");
    }
}

#[tokio::test]
async fn p2_a_window_without_a_history_is_split_by_what_its_first_page_shows() {
    let (_bench, control, client) = heavy(300_000, 4 * SECOND).await;
    let expected = Expected { page_bytes: Some(PAGE_BYTES), ..Expected::default() };
    let mut page = Page::default();
    let outcome = client.step_expecting(&marks(), day(1), None, expected, &mut page).await.unwrap();
    let part = page.part.unwrap();
    assert!(part.start == day(1).start && part.end < day(1).end, "{part:?}");
    assert_eq!((page.begun, &page.rows[..]), (2, &truth(&control, part)[..100]), "the first look is dropped");
    let Outcome::Page { next, .. } = outcome else { panic!() };
    let rest = client.read_expecting(&marks(), day(1), next, expected).await.unwrap();
    assert_eq!([page.rows, rest.rows].concat(), truth(&control, day(1)));
    assert_contiguous(&[&[part][..], &rest.parts].concat(), day(1));
    assert_eq!(control.stats().violation_count, 0, "{:?}", control.stats().violations);
}

#[tokio::test]
async fn a_window_that_fits_is_not_split() {
    let (_bench, control, client) = heavy(10_000_000, Duration::from_mins(5)).await;
    let expected = Expected {
        page_bytes: Some(PAGE_BYTES),
        slice_bytes: Some(DAY_BYTES),
        slice_secs: 86_400,
        ..Expected::default()
    };
    let reading = client.read_expecting(&marks(), day(1), None, expected).await.unwrap();
    assert!(reading.parts.iter().all(|part| *part == day(1)));
    assert_eq!(control.stats().reports.len(), 20, "not a call more than its pages");
}

#[tokio::test]
async fn p2_a_run_stops_at_the_budget_and_continues_when_it_is_replenished() {
    // The vendor's period ends long before that of the ledger; what matters is where the run stopped.
    let (mut bench, control, client) = heavy(100_000, Duration::from_hours(12)).await;
    let expected = Expected { page_bytes: Some(PAGE_BYTES), ..Expected::default() };
    let (mut rows, mut cursor) = (Vec::new(), None::<String>);
    let error = loop {
        let mut page = Page::default();
        match client.step_expecting(&marks(), day(1), cursor.as_deref(), expected, &mut page).await {
            Ok(Outcome::Page { next, .. }) => (rows, cursor) = ([rows, page.rows].concat(), next),
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    let StepError::Http(HttpError::OwnQuota { limit: short, until }) = &error else { panic!("{error:?}") };
    assert_eq!(short, BANDWIDTH);
    let hours = (*until - Utc::now()).num_minutes();
    assert!((11 * 60..=12 * 60 + 10).contains(&hours), "{until}");
    let stats = control.stats();
    assert!(stats.limits[BANDWIDTH].counted <= 100_000 && stats.violation_count == 0, "{:?}", stats.limits);
    assert!(!rows.is_empty(), "what was read before is kept");

    bench.limits[3].amount = 1 << 40;
    let (other, ..) = start_with(Options { volume: Volume::Exactly(2_000), ..free() }).await;
    bench.base_url = other.base_url.clone();
    let rest = bench.client().await.read_on(MARKS, day(1), cursor).await.unwrap();
    assert_eq!([rows, rest.rows].concat(), truth(&control, day(1)));
}

#[tokio::test]
async fn p2_a_response_far_beyond_its_estimate_stops_the_next_call() {
    let (_bench, control, client) = heavy(100_000, Duration::from_hours(12)).await;
    let expected = Expected { page_bytes: Some(1_000), ..Expected::default() };
    let session = client.gate.session(0, Utc::now());
    client.source.log_in(&session).await.unwrap();
    let mut cursor = None::<String>;
    let error = loop {
        let mut page = Page::default();
        match client.step_expecting(&marks(), day(1), cursor.as_deref(), expected, &mut page).await {
            Ok(Outcome::Page { next, .. }) => cursor = next,
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StepError::Http(HttpError::OwnQuota { .. })), "{error:?}");
    let stats = control.stats();
    assert!(stats.violation_count == 0 && stats.limits[BANDWIDTH].counted < 100_000 + PAGE_BYTES, "{:?}", stats.limits);
}

#[tokio::test]
async fn p2_a_login_that_failed_is_counted_too() {
    let (_bench, control, client) = heavy(100_000, Duration::from_hours(12)).await;
    control.next(Match::endpoint("create_token"), Action::Status { status: 503 });
    client.log_in().await.unwrap();
    let usage = client.gate.ledger().usage().await.unwrap();
    assert_eq!((usage[0].used, usage[2].used), (2, 2));
    assert!(usage[3].used >= control.stats().limits[BANDWIDTH].counted);
}
