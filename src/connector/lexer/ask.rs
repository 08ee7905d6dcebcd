//! Requests of reports: body, dates, and how far the range of interval reports extends beyond their slice.

use chrono::{DateTime, FixedOffset, SubsecRound as _, TimeDelta, Utc};
use serde_json::{Map, Value};

use super::config::{BY_HOURS, HOURLY_DAYS_MAX, Intervals, Settings};
use crate::connector::{StepError, Window};

/// Below 4 days some reports switch to hours (`facts/lexer.md §8`).
const WHOLE_DAYS_MIN: i64 = 5;
/// Minimum range of a request for hours: if the response has days nevertheless, its labels show it.
const HOURS_MIN: TimeDelta = TimeDelta::days(2);
const HOURS_MAX: TimeDelta = TimeDelta::days(HOURLY_DAYS_MAX as i64);

/// Whether the stream is read by hours.
pub(super) fn is_by_hours(stream: &str, settings: &Settings) -> bool {
    settings.intervals == Intervals::Hour && BY_HOURS.contains(&stream)
}

/// The parts of a slice that is read by hours, one for each call. There are several only if the whole hours around the
/// slice (a day of 25 hours, or an offset of half an hour) exceed the range for which the vendor has hours.
pub(super) fn parts(window: Window, offset: FixedOffset) -> Vec<Window> {
    let (first, last) = (hour_before(window.start, offset), hour_after(window.end, offset));
    let (mut parts, mut start) = (Vec::new(), window.start);
    while last - hour_before(start, offset) > HOURS_MAX {
        let from = if parts.is_empty() { first } else { start };
        let end = from + HOURS_MIN;
        parts.push(Window { start, end });
        start = end;
    }
    parts.push(Window { start, end: window.end });
    parts
}

/// The requested range in which every hour that begins in `part` is complete.
pub(super) fn hours(part: Window, offset: FixedOffset, now: DateTime<Utc>) -> Window {
    let over = hour_after(part.end, offset);
    let end = if over <= now { over } else { part.end };
    let enough = hour_before(end, offset) - HOURS_MIN;
    Window { start: hour_before(part.start, offset).min(enough), end }
}

fn hour_before(at: DateTime<Utc>, offset: FixedOffset) -> DateTime<Utc> {
    let local = at.with_timezone(&offset).naive_local().and_utc();
    at.trunc_subsecs(0) - TimeDelta::seconds(local.timestamp().rem_euclid(3_600))
}

fn hour_after(at: DateTime<Utc>, offset: FixedOffset) -> DateTime<Utc> {
    let before = hour_before(at, offset);
    if before == at { at } else { before + TimeDelta::hours(1) }
}

/// Whether the report has days, whose rows outside the slice are dropped.
fn is_of_intervals(stream: &str) -> bool {
    matches!(stream, "states_volume" | "response_volume" | "case_volume" | "nps_volume")
}

/// The requested range, with an exclusive end, in which the slice `window` is complete. Reports of days need whole days
/// of the offset, and a minimum number of them. The last day is requested completely only when it is over, so that no
/// unsettled time is read.
pub(super) fn range(stream: &str, window: Window, offset: FixedOffset, now: DateTime<Utc>) -> Window {
    if !is_of_intervals(stream) {
        return window;
    }
    let over = midnight_after(window.end, offset);
    let end = if over <= now { over } else { window.end };
    // The first bucket of a range is missing, or labelled with its end (`§5.12`).
    let ahead = TimeDelta::days(i64::from(stream == "nps_volume"));
    let start = midnight_before(window.start, offset) - ahead;
    let enough = midnight_before(end, offset) - TimeDelta::days(WHOLE_DAYS_MIN);
    Window { start: start.min(enough), end }
}

/// The last local midnight that is not after `at`.
fn midnight_before(at: DateTime<Utc>, offset: FixedOffset) -> DateTime<Utc> {
    let local = at.with_timezone(&offset).naive_local().and_utc();
    at.trunc_subsecs(0) - TimeDelta::seconds(local.timestamp().rem_euclid(86_400))
}

/// The first local midnight that is not before `at`.
fn midnight_after(at: DateTime<Utc>, offset: FixedOffset) -> DateTime<Utc> {
    let before = midnight_before(at, offset);
    if before == at { at } else { before + TimeDelta::days(1) }
}

/// The body of a request (`§3`). Ends are inclusive, in whole seconds (`§8`).
pub(super) fn body(
    kind: &str,
    (range, offset): (Window, FixedOffset),
    form: Option<i64>,
    settings: &Settings,
) -> Result<Vec<u8>, StepError> {
    let date = |at: DateTime<Utc>| Value::from(at.with_timezone(&offset).format("%Y-%m-%dT%H:%M:%S%:z").to_string());
    let last = (range.end - TimeDelta::seconds(1)).max(range.start);
    let mut body: Map<String, Value> = settings.parameters.clone().into_iter().collect();
    body.insert("type".to_owned(), kind.into());
    body.insert("date_from".to_owned(), date(range.start));
    body.insert("date_to".to_owned(), date(last));
    if let Some(form) = form {
        body.insert("form".to_owned(), form.into());
        body.insert("nps_category".to_owned(), settings.nps_category.clone().into());
    }
    serde_json::to_vec(&body).map_err(|_| StepError::Shape("a request that cannot be serialised".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn window(start: &str, end: &str) -> Window {
        Window { start: at(start), end: at(end) }
    }

    fn east(hours: i32) -> FixedOffset {
        FixedOffset::east_opt(hours * 3600).unwrap()
    }

    const LATER: &str = "2025-06-01T00:00:00Z";

    #[test]
    fn intervals_are_requested_for_at_least_five_whole_days_of_the_offset() {
        let week = window("2025-03-03T00:00:00Z", "2025-03-10T00:00:00Z");
        let day = window("2025-03-03T00:00:00Z", "2025-03-04T00:00:00Z");
        for (stream, asked, offset, from, to) in [
            ("states_volume", week, 0, "2025-03-03T00:00:00Z", "2025-03-10T00:00:00Z"),
            ("states_volume", day, 0, "2025-02-27T00:00:00Z", "2025-03-04T00:00:00Z"),
            // Half an hour of an open slice.
            (
                "case_volume",
                window("2025-03-03T00:00:00Z", "2025-03-03T00:30:00Z"),
                0,
                "2025-02-27T00:00:00Z",
                "2025-03-04T00:00:00Z",
            ),
            ("response_volume", week, 11, "2025-03-02T13:00:00Z", "2025-03-10T13:00:00Z"),
            ("response_volume", week, -3, "2025-03-02T03:00:00Z", "2025-03-10T03:00:00Z"),
            ("nps_volume", week, 0, "2025-03-02T00:00:00Z", "2025-03-10T00:00:00Z"),
            ("summary", day, 11, "2025-03-03T00:00:00Z", "2025-03-04T00:00:00Z"),
        ] {
            assert_eq!(range(stream, asked, east(offset), at(LATER)), window(from, to), "{stream} {offset}");
        }
    }

    #[test]
    fn a_day_that_is_not_over_is_requested_up_to_the_end_of_the_window() {
        let open = window("2025-03-03T00:00:00Z", "2025-03-07T11:20:00Z");
        let asked = range("states_volume", open, east(0), at("2025-03-07T11:30:00Z"));
        assert_eq!(asked, window("2025-03-02T00:00:00Z", "2025-03-07T11:20:00Z"));
    }

    #[test]
    fn hours_are_requested_in_ranges_for_which_the_vendor_has_them() {
        let half = FixedOffset::east_opt(19_800).unwrap();
        for (slice, offset, asked) in [
            (
                ("2025-03-03T00:00:00Z", "2025-03-04T00:00:00Z"),
                east(0),
                &[("2025-03-02T00:00:00Z", "2025-03-04T00:00:00Z")][..],
            ),
            (
                ("2025-03-03T00:00:00Z", "2025-03-06T00:00:00Z"),
                east(1),
                &[("2025-03-03T00:00:00Z", "2025-03-06T00:00:00Z")],
            ),
            // Three days that have 73 hours.
            (
                ("2025-10-24T22:00:00Z", "2025-10-27T23:00:00Z"),
                east(2),
                &[("2025-10-24T22:00:00Z", "2025-10-26T22:00:00Z"), ("2025-10-25T23:00:00Z", "2025-10-27T23:00:00Z")],
            ),
            (
                ("2025-03-03T00:00:00Z", "2025-03-06T00:00:00Z"),
                half,
                &[("2025-03-02T23:30:00Z", "2025-03-04T23:30:00Z"), ("2025-03-04T00:30:00Z", "2025-03-06T00:30:00Z")],
            ),
        ] {
            let slice = window(slice.0, slice.1);
            let parts = parts(slice, offset);
            assert_eq!((parts[0].start, parts[parts.len() - 1].end), (slice.start, slice.end));
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
            let ranges: Vec<Window> = parts.iter().map(|part| hours(*part, offset, at(LATER))).collect();
            let wanted: Vec<Window> = asked.iter().map(|(start, end)| window(start, end)).collect();
            assert_eq!(ranges, wanted);
            assert!(ranges.iter().all(|range| range.end - range.start <= HOURS_MAX));
        }
        let open = window("2025-03-03T00:00:00Z", "2025-03-03T11:20:00Z");
        let asked = hours(open, east(0), at("2025-03-03T11:30:00Z"));
        assert_eq!(asked, window("2025-03-01T11:00:00Z", "2025-03-03T11:20:00Z"));
    }

    #[test]
    fn a_slice_of_the_longest_kind_stays_within_twelve_months() {
        let days = crate::connector::lexer::streams::streams();
        for stream in days.iter().filter(|stream| stream.windowed()) {
            let start = at("2025-01-01T07:00:00Z");
            let end = start + TimeDelta::days(i64::from(stream.windows.days_max));
            let asked = range(&stream.name, Window { start, end }, east(0), at("2027-01-01T00:00:00Z"));
            assert!(asked.end - asked.start <= TimeDelta::days(365), "{}", stream.name);
        }
    }

    #[test]
    fn a_body_has_a_numeric_offset_an_inclusive_end_and_the_configured_fields() {
        let mut settings = super::super::tests::settings();
        settings.parameters.insert("users".to_owned(), serde_json::json!(["41", "42"]));
        let body = |form| {
            let range =
                (window("2025-03-01T03:30:00Z", "2025-03-02T03:30:00Z"), FixedOffset::west_opt(12_600).unwrap());
            let text = body("nps_summary", range, form, &settings);
            serde_json::from_slice::<Value>(&text.unwrap()).unwrap()
        };
        assert_eq!(
            body(None),
            serde_json::json!({ "type": "nps_summary", "date_from": "2025-03-01T00:00:00-03:30",
                "date_to": "2025-03-01T23:59:59-03:30", "users": ["41", "42"] })
        );
        let nps = body(Some(502));
        assert_eq!((&nps["form"], &nps["nps_category"]), (&502.into(), &"all".into()));
    }
}
