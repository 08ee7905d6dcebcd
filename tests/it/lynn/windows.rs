//! Which dates are requested.

use simulator::Options;
use tidegate::connector::StepError;

use super::*;

async fn asked(control: &Control, client: &Client, window: Window) -> (String, String) {
    client.read(MARKS, window).await.unwrap();
    let call = control.stats().reports.pop().unwrap();
    (call.start_date, call.end_date)
}

#[tokio::test]
async fn dates_are_whole_seconds_of_a_24_hour_clock_and_windows_share_their_boundary() {
    let (_bench, control, client) = start().await;
    let noon = asked(&control, &client, window("2024-03-01T00:00:00Z", "2024-03-01T13:30:00Z")).await;
    assert_eq!(noon, ("2024-03-01 00:00:00".to_owned(), "2024-03-01 13:30:00".to_owned()));
    let next = asked(&control, &client, window("2024-03-01T13:30:00Z", "2024-03-02T00:00:00Z")).await;
    assert_eq!(next.0, noon.1);
    let fraction = asked(&control, &client, window("2024-03-01T00:00:00.7Z", "2024-03-01T13:30:00.2Z")).await;
    assert_eq!(fraction, ("2024-03-01 00:00:00".to_owned(), "2024-03-01 13:30:01".to_owned()));
}

#[tokio::test]
async fn no_row_is_lost_between_windows_whether_the_vendor_counts_the_end_or_not() {
    for end_inclusive in [true, false] {
        let (_bench, control, client) = start_with(Options { end_inclusive, ..free() }).await;
        control.lynn().insert(MARKS, at("2024-03-02T00:00:00Z")).unwrap();
        let before = client.read(MARKS, day(1)).await.unwrap().rows.len();
        let after = client.read(MARKS, day(2)).await.unwrap();
        assert_eq!(before, if end_inclusive { 51 } else { 50 });
        assert_eq!(after.rows, truth(&control, day(2)), "the row is in the window that it begins");
        assert_eq!(after.rows.len(), 51);
    }
}

#[tokio::test]
async fn p8_every_day_of_a_zone_is_read_whole_and_alone_across_clock_changes() {
    let options = || Options { filter_timezone: Tz::America__Santiago, ..free() };
    let (mut bench, control, _) = start_with(options()).await;
    bench.settings.filter_timezone = Tz::America__Santiago;
    let client = bench.client().await;
    // Days of 24, 25, 24 hours, then of 24, 23, 24.
    for bounds in [
        ["2024-04-05T03:00:00Z", "2024-04-06T03:00:00Z", "2024-04-07T04:00:00Z", "2024-04-08T04:00:00Z"],
        ["2024-09-06T04:00:00Z", "2024-09-07T04:00:00Z", "2024-09-08T04:00:00Z", "2024-09-09T03:00:00Z"],
    ] {
        for pair in bounds.windows(2) {
            let window = window(pair[0], pair[1]);
            assert_eq!(client.read(MARKS, window).await.unwrap().rows, truth(&control, window), "{window:?}");
        }
    }
}

#[tokio::test]
async fn p8_an_hour_that_occurs_twice_loses_no_row() {
    let options = Options { filter_timezone: Tz::America__Santiago, volume: Volume::Exactly(2_400), ..free() };
    let (mut bench, control, _) = start_with(options).await;
    (bench.settings.filter_timezone, bench.settings.page_size) = (Tz::America__Santiago, 1_000);
    let client = bench.client().await;
    // Hour by hour over the change of 7 April 03:00Z, when 23:00 begins again.
    for hour in 0..6 {
        let start = at("2024-04-07T00:00:00Z") + TimeDelta::hours(hour);
        let window = Window { start, end: start + TimeDelta::hours(1) };
        let rows = client.read(MARKS, window).await.unwrap().rows;
        let expected = truth(&control, window);
        assert!(!expected.is_empty() && expected.iter().all(|row| rows.contains(row)), "{window:?}");
    }
}

#[tokio::test]
async fn dates_that_the_vendor_cannot_read_are_named() {
    let (mut bench, control, _) = start().await;
    // A vendor that wants another format must be noticed; the daemon must not silently use another format.
    bench.settings.date_format = "%d/%m/%Y %H.%M.%S".to_owned();
    let error = first_page(&bench.client().await).await.unwrap_err();
    assert!(matches!(error, StepError::DatesRefused { .. }), "{error:?}");
    assert!(error.to_string().contains("`01/03/2024 00.00.00` to `02/03/2024 00.00.00`"), "{error}");
    assert_eq!(control.stats().calls["execute_report"], 1);
}
