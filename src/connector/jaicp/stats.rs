//! Statistics (`facts/jaicp.md §7`): a call for each metric, and one for each day of telephony.
//!
//! A bucket belongs to the slice in which it begins, even if it ends later. The boundaries of buckets are unknown (the
//! unit of the `Timezone` header is not documented), so an additional interval is requested on both sides: then every
//! bucket of the slice is complete.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::{Outcome, Records, StepError, StepRequest, Window};
use super::endpoint::{Endpoint, Request};
use super::interval::{Interval, midnight};
use super::{Jaicp, times};
use crate::decode::object::{Members, ObjectWriter};
use crate::decode::raw::Raw;
use crate::decode::{DecodeError, Sink, list};
use crate::http::Session;

/// Names of the metrics, their endpoints, and the times by which they are counted.
const METRICS: [(&str, Endpoint, &str); 5] = [
    ("messages", Endpoint::MessageStats, "MESSAGE_TIME"),
    ("sessions", Endpoint::SessionStats, "SESSION_START_TIME"),
    ("switched_sessions", Endpoint::SwitchedSessions, ""),
    ("session_labels", Endpoint::SessionLabelStats, "SESSION_START_TIME"),
    ("message_labels", Endpoint::MessageLabelStats, "MESSAGE_TIME"),
];
/// Maximum number of days; a slice has far fewer.
const DAYS_MAX: usize = 1_000;
const COUNTS: [&str; 3] = ["billingCount", "incomingCount", "outgoingCount"];

/// Progress within a slice: the number of metrics, or of days, that were read. Stored as JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    done: usize,
    /// A slice that began with other buckets is read again.
    #[serde(default, skip_serializing_if = "is_day")]
    interval: Interval,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_day(interval: &Interval) -> bool {
    *interval == Interval::Day
}

impl Cursor {
    fn read(request: &StepRequest<'_>, interval: Interval) -> Result<Self, StepError> {
        let Some(text) = request.cursor else { return Ok(Self { done: 0, interval }) };
        let cursor: Option<Self> = serde_json::from_str(text).ok();
        cursor.filter(|cursor| cursor.interval == interval).ok_or(StepError::CursorUnknown)
    }

    /// The cursor after the first `done` of `all`; `None` at the end.
    fn after(self, done: usize, all: usize) -> Result<Option<String>, StepError> {
        let next = Self { done, ..self };
        let text = (next.done < all).then(|| serde_json::to_string(&next)).transpose();
        text.map_err(|_| StepError::CursorUnknown)
    }
}

/// The next metric after the first `done`. Metrics that cannot have a bucket in the window are skipped, except the
/// handovers, whose buckets are always days.
fn wanted(done: usize, interval: Interval, window: Window) -> Option<usize> {
    let may_have_any = |of: &usize| of_days(METRICS[*of].1) || interval.may_begin_in(window);
    (done..METRICS.len()).find(may_have_any)
}

/// Whether the vendor always counts by days.
fn of_days(endpoint: Endpoint) -> bool {
    endpoint == Endpoint::SwitchedSessions
}

/// A number at a time; `value` is unchanged.
#[derive(Debug, Clone, Copy)]
struct Point<'a> {
    at: DateTime<Utc>,
    value: Raw<'a>,
}

impl Jaicp {
    /// Reads one metric of the slice.
    pub(super) async fn series_step(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        records: &mut dyn Records,
    ) -> Result<Outcome, StepError> {
        let interval = self.settings.stats_interval;
        let cursor = Cursor::read(request, interval)?;
        let metric = wanted(cursor.done, interval, request.window);
        let Some((number, (metric, endpoint, key))) = metric.map(|at| (at, METRICS[at])) else {
            if cursor.done > METRICS.len() {
                return Err(StepError::CursorUnknown);
            }
            records.begin(request.window);
            return Ok(Outcome::Page { next: None, bytes: 0 });
        };
        let interval = if of_days(endpoint) { Interval::Day } else { interval };
        let range = interval.around(request.window);
        let ask = if of_days(endpoint) {
            // The range ends when its last day begins, so the end is right even if the vendor excludes it.
            Request::new(endpoint)
                .query("dateFrom", range.start.date_naive().to_string())
                .query("dateTo", range.end.date_naive().to_string())
                .query("transferToOperatorMethod", "SWITCH")
        } else {
            let dated = times::filter(key, range.start, range.end);
            let filters = json!({ "filters": self.settings.filters(&request.stream.name, dated) });
            let body = serde_json::to_vec(&filters).map_err(|_| StepError::CursorUnknown)?;
            Request::new(endpoint).query("intervalType", interval.name()).query("step", "1").body(body)
        };
        let (body, bytes) = self.small_rows(session, &ask, complete).await?;
        records.begin(request.window);
        if !body.is_empty() {
            self.series((metric, interval), &body, request.window, records)?;
        }
        let done = wanted(number + 1, self.settings.stats_interval, request.window).unwrap_or(METRICS.len());
        Ok(Outcome::Page { next: cursor.after(done, METRICS.len())?, bytes })
    }

    fn series(
        &self,
        (metric, interval): (&str, Interval),
        body: &[u8],
        window: Window,
        sink: &mut dyn Sink,
    ) -> Result<(), StepError> {
        let response = members(body)?;
        let stats = array(response.get("stats").ok_or(StepError::Missing("stats"))?)?;
        if !metric.ends_with("_labels") {
            return Ok(self.points((metric, interval), None, &stats, window, sink)?);
        }
        for stat in stats {
            let Some(of_label) = Members::parse(stat.get().as_bytes()) else {
                sink.refuse("not the statistics of a label", stat.get().as_bytes())?;
                continue;
            };
            let label = of_label.get("label").and_then(|label| Members::parse(label.get().as_bytes()));
            let series = of_label.get("tsToValues").map(elements).transpose()?.unwrap_or_default();
            self.points((metric, interval), label.as_ref(), &series, window, sink)?;
        }
        Ok(())
    }

    fn points(
        &self,
        (metric, interval): (&str, Interval),
        label: Option<&Members<'_>>,
        elements: &[Raw<'_>],
        window: Window,
        sink: &mut dyn Sink,
    ) -> Result<(), DecodeError> {
        let mut writer = ObjectWriter::default();
        for element in elements {
            let Some(point) = point(*element) else {
                sink.refuse("not a number with a time", element.get().as_bytes())?;
                continue;
            };
            if !(window.start..window.end).contains(&point.at) {
                continue;
            }
            writer.begin();
            writer.member_str("metric", metric);
            match label {
                None => writer.member_i64("labelId", 0),
                Some(label) => {
                    for (name, own) in [("labelId", "id"), ("labelName", "name")] {
                        if let Some(raw) = label.get(own) {
                            writer.member_raw(name, raw);
                        }
                    }
                }
            }
            writer.member_str("intervalType", interval.name());
            writer.member_i64("step", 1);
            writer.member_str("bucket", &times::text(point.at));
            writer.member_raw("value", point.value);
            self.zone(&mut writer);
            sink.record(writer.end())?;
        }
        Ok(())
    }

    /// Reads one day of the slice, because the average is a single number for the requested range.
    pub(super) async fn telephony_step(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        records: &mut dyn Records,
    ) -> Result<Outcome, StepError> {
        let cursor = Cursor::read(request, Interval::Day)?;
        let days: Vec<NaiveDate> = days(request.window).collect();
        let Some(day) = days.get(cursor.done) else {
            records.begin(request.window);
            return Ok(Outcome::Page { next: None, bytes: 0 });
        };
        let ask = Request::new(Endpoint::Telephony).query("dateFrom", day.to_string()).query("dateTo", day.to_string());
        let (body, bytes) = self.small_rows(session, &ask, complete).await?;
        records.begin(request.window);
        if !body.is_empty() {
            self.calls(&body, *day, records)?;
        }
        let done = cursor.done + 1;
        Ok(Outcome::Page { next: cursor.after(done, days.len())?, bytes })
    }

    fn calls(&self, body: &[u8], day: NaiveDate, sink: &mut dyn Sink) -> Result<(), StepError> {
        const AVERAGE: &str = "averageCallDurationInSeconds";
        let response = members(body)?;
        if !COUNTS.iter().chain([&AVERAGE]).any(|name| response.get(name).is_some()) {
            return Err(StepError::Missing(AVERAGE));
        }
        let mut series = Vec::new();
        for name in COUNTS {
            for element in response.get(name).map(elements).transpose()?.unwrap_or_default() {
                match point(element) {
                    Some(point) => series.push((point.at, name, point.value)),
                    None => sink.refuse("not a number with a time", element.get().as_bytes())?,
                }
            }
        }
        let average = response.get(AVERAGE).filter(|average| average.get().parse() != Ok(0.0) || !series.is_empty());
        // Stable: the members of a bucket keep their order.
        series.sort_by_key(|(at, ..)| *at);
        let mut buckets: Vec<_> =
            series.chunk_by(|(one, ..), (next, ..)| one == next).map(|points| (points[0].0, points)).collect();
        if buckets.is_empty() && average.is_some() {
            buckets.push((midnight(day), Default::default()));
        }
        let mut writer = ObjectWriter::default();
        for (bucket, points) in buckets {
            writer.begin();
            writer.member_str("bucket", &times::text(bucket));
            if let Some(average) = average {
                writer.member_raw(AVERAGE, average);
            }
            for (_, name, value) in points {
                writer.member_raw(name, *value);
            }
            self.zone(&mut writer);
            sink.record(writer.end())?;
        }
        Ok(())
    }

    /// Adds the value of the header that shifts buckets.
    fn zone(&self, writer: &mut ObjectWriter) {
        if let Some(offset) = self.settings.timezone_offset {
            writer.member_i64("timezone", i64::from(offset));
        }
    }
}

fn complete(body: &[u8]) -> Result<Vec<u8>, StepError> {
    members(body).map(|_| body.to_vec())
}

fn members(body: &[u8]) -> Result<Members<'_>, StepError> {
    Members::parse(body).ok_or_else(|| {
        StepError::Unreadable(match body.trim_ascii_start().first() {
            None => DecodeError::Empty,
            Some(b'<') => DecodeError::NotJson("HTML or XML"),
            Some(b'{') => DecodeError::Cut,
            Some(_) => DecodeError::NotJson("text"),
        })
    })
}

fn array(raw: Raw<'_>) -> Result<Vec<Raw<'_>>, StepError> {
    list::elements(raw).map_err(|_| StepError::Shape("statistics that are not an array of bounded length".to_owned()))
}

/// The points of a series, which is an array or an object that contains one.
fn elements(raw: Raw<'_>) -> Result<Vec<Raw<'_>>, StepError> {
    match Members::parse(raw.get().as_bytes()) {
        None => array(raw),
        Some(members) => match members.get("stats") {
            Some(stats) => array(stats),
            None => Err(StepError::Shape("a series without `stats`".to_owned())),
        },
    }
}

fn point(element: Raw<'_>) -> Option<Point<'_>> {
    let members = Members::parse(element.get().as_bytes())?;
    Some(Point { at: times::epoch(members.text("ts")?.trim())?, value: members.get("value")? })
}

/// The days (UTC) that begin in the window.
fn days(window: Window) -> impl Iterator<Item = NaiveDate> {
    let first = window.start.date_naive();
    let first = if midnight(first) < window.start { first.succ_opt().unwrap_or(first) } else { first };
    first.iter_days().take_while(move |day| midnight(*day) < window.end).take(DAYS_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fuzz::{assert_told, damaged, redactor};
    use crate::test_kit::Collected;

    const RESPONSES: &[&[u8]] = &[
        br#"{"stats":[{"ts":1709251200,"value":2},{"ts":"1709251200000","value":"3.50"},{"ts":-9223372036854775808,"value":1},7]}"#,
        br#"{"stats":[{"label":{"id":7,"name":"a"},"tsToValues":{"stats":[{"ts":1709251200,"value":2}]}},{"label":null,"tsToValues":[{"ts":1709337600,"value":{}}]},5]}"#,
        br#"{"billingCount":{"stats":[{"ts":1709251200,"value":2}]},"incomingCount":[{"ts":1709251200.0,"value":1},{"ts":null}],"averageCallDurationInSeconds":0.0}"#,
        br#"{"averageCallDurationInSeconds":63.50,"outgoingCount":null}"#,
    ];

    fn jaicp() -> Jaicp {
        let mut settings = super::super::endpoint::tests::settings(super::super::config::Api::Legacy);
        settings.timezone_offset = Some(3);
        Jaicp::new("https://app.jaicp.com/api".parse().unwrap(), settings, redactor())
    }

    proptest! {
        #[test]
        fn p5_damaged_statistics_become_numbers_with_times_or_are_refused(body in damaged(RESPONSES)) {
            let (jaicp, two) = (jaicp(), window("2024-03-01T00:00:00Z", "2024-03-03T00:00:00Z"));
            for metric in ["messages", "session_labels"] {
                let mut kept = Collected::default();
                if let Err(error) = jaicp.series((metric, Interval::Day), &body, two, &mut kept) {
                    assert_told(&error);
                }
                prop_assert!(kept.records.len() + kept.refused.len() <= body.len());
                for record in &kept.records {
                    let members = Members::parse(record).unwrap();
                    let bucket = times::parse(&members.text("bucket").unwrap()).unwrap();
                    prop_assert!((two.start..two.end).contains(&bucket) && members.get("value").is_some());
                    prop_assert!(members.text("metric").is_some_and(|of| of == metric));
                }
            }
            let mut kept = Collected::default();
            if let Err(error) = jaicp.calls(&body, two.start.date_naive(), &mut kept) {
                assert_told(&error);
            }
            let buckets: Vec<String> = kept.records.iter().map(|record| {
                Members::parse(record).unwrap().text("bucket").unwrap().into_owned()
            }).collect();
            let distinct: std::collections::HashSet<_> = buckets.iter().collect();
            prop_assert_eq!(distinct.len(), buckets.len());
        }
    }

    #[test]
    fn p6_calls_at_many_times_are_read_in_linear_time() {
        let points: Vec<String> = (0..100_000).map(|ts| format!(r#"{{"ts":{ts},"value":1}}"#)).collect();
        let body = format!(r#"{{"billingCount":[{}]}}"#, points.join(","));
        let started = std::time::Instant::now();
        let mut kept = Collected::default();
        jaicp().calls(body.as_bytes(), NaiveDate::MIN, &mut kept).unwrap();
        assert_eq!(kept.records.len(), 100_000);
        assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
    }

    fn window(start: &str, end: &str) -> Window {
        Window { start: start.parse().unwrap(), end: end.parse().unwrap() }
    }

    #[test]
    fn days_are_those_that_begin_in_the_window() {
        let texts = |window| days(window).map(|day| day.to_string()).collect::<Vec<_>>();
        let utc = window("2024-03-01T00:00:00Z", "2024-03-03T00:00:00Z");
        assert_eq!(texts(utc), ["2024-03-01", "2024-03-02"]);
        let santiago = window("2024-03-01T03:00:00Z", "2024-03-03T03:00:00Z");
        assert_eq!(texts(santiago), ["2024-03-02", "2024-03-03"]);
        assert!(texts(window("2024-03-01T06:00:00Z", "2024-03-01T12:00:00Z")).is_empty());
    }

    #[test]
    fn a_series_is_an_array_or_an_object_that_contains_one() {
        for raw in [r#"[{"ts":1,"value":2}]"#, r#"{"stats":[{"ts":1,"value":2}],"totalCount":2}"#] {
            let raw = crate::decode::raw::value(raw.as_bytes()).unwrap();
            assert_eq!(elements(raw).unwrap().len(), 1);
        }
        let raw = crate::decode::raw::value(br#"{"a":1}"#).unwrap();
        assert!(matches!(elements(raw), Err(StepError::Shape(_))));
    }
}
