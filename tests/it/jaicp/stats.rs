//! Statistics per day.

use serde_json::json;
use simulator::{Action, Match};

use super::*;

const METRICS: [&str; 5] = ["messages", "sessions", "switched_sessions", "session_labels", "message_labels"];

/// Metric, label, bucket and value.
type Point = (String, i64, String, String);

/// A count as a number of the vendor's type.
fn number(count: u64) -> f64 {
    u32::try_from(count).unwrap().into()
}

fn points(read: &Reading) -> BTreeSet<Point> {
    let rows = read.rows.iter().map(|row| serde_json::from_str::<Value>(row).unwrap());
    let point = |row: Value| {
        assert_eq!((&row["intervalType"], &row["step"]), (&json!("DAY"), &json!(1)));
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        (text("metric"), row["labelId"].as_i64().unwrap(), text("bucket"), row["value"].to_string())
    };
    rows.map(point).collect()
}

fn truth(bench: &Bench, window: Window) -> BTreeSet<Point> {
    let mut points = BTreeSet::new();
    for metric in METRICS {
        for (label, buckets) in bench.jaicp().series(metric, window.start, window.end) {
            for (at, count) in buckets {
                let at = DateTime::from_timestamp_millis(at).unwrap().format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
                points.insert((metric.to_owned(), label, at, format!("{:?}", number(count))));
            }
        }
    }
    points
}

#[tokio::test]
async fn every_metric_is_one_call_and_buckets_are_whole_days_of_the_slice() {
    for ts_in_seconds in [false, true] {
        let bench = Bench::new().await;
        bench.jaicp().shape(|shape| shape.ts_in_seconds = ts_in_seconds);
        let read = bench.read("stats_series", days(4, 10)).await.unwrap();
        assert_eq!(points(&read), truth(&bench, days(4, 10)));
        let metrics: BTreeSet<String> = points(&read).into_iter().map(|(metric, ..)| metric).collect();
        assert_eq!((metrics.len(), bench.control().stats().calls["jaicp_stats"]), (5, 5));
        assert!(read.rows.iter().any(|row| row.contains("\"labelName\":\"Solved\"")));
        assert_well_behaved(&bench.control());
    }
}

/// Metric, interval, bucket and value of the metrics without labels.
type Counted = BTreeSet<(String, String, String, String)>;

fn counted(read: &Reading) -> Counted {
    let rows = read.rows.iter().map(|row| serde_json::from_str::<Value>(row).unwrap());
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    rows.filter(|row| row["labelId"] == 0)
        .map(|row| (text(&row, "metric"), text(&row, "intervalType"), text(&row, "bucket"), row["value"].to_string()))
        .collect()
}

/// What the vendor counts in whole buckets that begin in the window.
fn whole(bench: &Bench, interval: &str, window: Window) -> Counted {
    let (from, to) = (window.start - TimeDelta::days(800), window.end + TimeDelta::days(800));
    let mut counted = Counted::new();
    for (metric, by) in [("messages", interval), ("sessions", interval), ("switched_sessions", "DAY")] {
        let series = bench.jaicp().series_by(by, metric, from, to);
        for (at, count) in series.get(&0).into_iter().flatten() {
            let at = DateTime::from_timestamp_millis(*at).unwrap();
            if (window.start..window.end).contains(&at) {
                let bucket = at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
                counted.insert((metric.to_owned(), by.to_owned(), bucket, format!("{:?}", number(*count))));
            }
        }
    }
    counted
}

const INTERVALS: [(Interval, &str); 6] = [
    (Interval::Hour, "HOUR"),
    (Interval::Day, "DAY"),
    (Interval::Week, "WEEK"),
    (Interval::Month, "MONTH"),
    (Interval::Quarter, "QUARTER"),
    (Interval::Year, "YEAR"),
];

#[tokio::test]
async fn p4_every_bucket_is_whole_and_belongs_to_the_one_slice_in_which_it_begins() {
    let mut bench = Bench::with(Options { volume: Volume::Exactly(3), ..Options::default() }).await;
    for (interval, name) in INTERVALS {
        bench.settings.stats_interval = interval;
        // Around the start of a quarter, of its month and of a week; the slices begin with none of them.
        let begin = at("2024-03-27T00:00:00Z");
        let slice = |number: i32| {
            let start = begin + TimeDelta::days(3) * number;
            Window { start, end: start + TimeDelta::days(3) }
        };
        let mut all = Counted::new();
        for number in 0..3 {
            let read = counted(&bench.read("stats_series", slice(number)).await.unwrap());
            assert!(read.is_disjoint(&all), "{name}: a bucket of two slices");
            all.extend(read);
        }
        let expected = whole(&bench, name, Window { start: begin, end: slice(2).end });
        assert_eq!(all, expected, "{name}");
        let of_messages = all.iter().filter(|(metric, ..)| metric == "messages").count();
        let wanted = match interval {
            // The turns of a session are close together.
            Interval::Hour => 9..=27,
            Interval::Day => 9..=9,
            Interval::Year => 0..=0,
            _ => 1..=1,
        };
        assert!(wanted.contains(&of_messages), "{name}: {of_messages}");
    }
    assert_well_behaved(&bench.control());
}

#[tokio::test]
async fn months_are_requested_only_in_slices_in_which_one_may_begin() {
    let mut bench = Bench::new().await;
    bench.settings.stats_interval = Interval::Month;
    let read = bench.read("stats_series", days(9, 15)).await.unwrap();
    assert_eq!(bench.control().stats().calls["jaicp_stats"], 1, "the handovers, which are counted by days");
    assert!(counted(&read).iter().all(|(metric, by, ..)| metric == "switched_sessions" && by == "DAY"));
    bench.read("stats_series", days(1, 7)).await.unwrap();
    assert_eq!(bench.control().stats().calls["jaicp_stats"], 6);
}

#[tokio::test]
async fn p3_a_slice_that_was_begun_with_other_buckets_is_read_again() {
    let mut bench = Bench::new().await;
    let begun = bench.read("stats_series", days(4, 10)).await.unwrap().cursors[1].clone();
    bench.settings.stats_interval = Interval::Week;
    let error = bench.client().await.read_on("stats_series", days(4, 10), Some(begun)).await.unwrap_err();
    assert!(matches!(error, StepError::CursorUnknown), "{error:?}");
}

#[tokio::test]
async fn a_slice_of_another_zone_has_the_buckets_that_begin_in_it() {
    let bench = Bench::new().await;
    let window = Window { start: at("2024-03-05T03:00:00Z"), end: at("2024-03-07T03:00:00Z") };
    let read = bench.read("stats_series", window).await.unwrap();
    assert_eq!(points(&read), truth(&bench, days(6, 7)), "whole days, not what of them lies in the window");
}

#[tokio::test]
async fn the_timezone_header_is_sent_where_it_is_set_and_kept_beside_the_numbers() {
    let mut bench = Bench::new().await;
    bench.settings.timezone_offset = Some(-180);
    let window = Window { start: at("2024-03-05T03:00:00Z"), end: at("2024-03-06T03:00:00Z") };
    let read = bench.read("stats_series", window).await.unwrap();
    assert!(read.rows.iter().all(|row| row.ends_with("\"timezone\":-180}")));
    let messages: Vec<_> = points(&read).into_iter().filter(|(metric, ..)| metric == "messages").collect();
    let count = bench.jaicp().data().count("messages", window.start, window.end).unwrap();
    assert_eq!(
        messages,
        [("messages".to_owned(), 0, "2024-03-05T03:00:00.000Z".to_owned(), format!("{:?}", number(count)))]
    );
}

#[tokio::test]
async fn p3_metrics_that_were_read_are_not_requested_again() {
    let bench = Bench::new().await;
    let read = bench.read("stats_series", days(4, 10)).await.unwrap();
    let rest = bench.client().await.read_on("stats_series", days(4, 10), Some(read.cursors[2].clone())).await.unwrap();
    assert_eq!(bench.control().stats().calls["jaicp_stats"], 7);
    assert!(rest.rows.iter().all(|row| row.contains("_labels")));
}

#[tokio::test]
async fn calls_are_read_day_by_day_for_their_average() {
    let bench = Bench::new().await;
    let read = bench.read("telephony_daily", days(4, 10)).await.unwrap();
    assert_eq!(bench.control().stats().calls["jaicp_telephony"], 7);
    let mut expected = Vec::new();
    for of_day in 4..=10 {
        let calls = bench.jaicp().calls(day(of_day).start, day(of_day).end);
        for (at, all) in &calls.all {
            let mut row = json!({
                "bucket": DateTime::from_timestamp_millis(*at).unwrap().format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
                "averageCallDurationInSeconds": calls.average,
                "billingCount": number(*all),
            });
            for (name, of) in [("incomingCount", &calls.incoming), ("outgoingCount", &calls.outgoing)] {
                if let Some(count) = of.get(at) {
                    row[name] = json!(number(*count));
                }
            }
            expected.push(row);
        }
    }
    assert!(expected.len() > 4, "{expected:?}");
    assert_eq!(read.distinct(), canonical(expected));
    assert_well_behaved(&bench.control());
}

#[tokio::test]
async fn p5_statistics_of_another_shape_are_refused_and_odd_points_are_kept() {
    let mut bench = Bench::new().await;
    bench.may_refuse = true;
    let respond = |body: &str| {
        bench.control().next(Match::report("messages"), Action::Json { status: 200, body: body.to_owned() });
    };
    respond("{}");
    let error = bench.read("stats_series", day(5)).await.unwrap_err();
    assert!(matches!(error, StepError::Missing("stats")), "{error:?}");
    respond(r#"{"stats":7}"#);
    assert!(matches!(bench.read("stats_series", day(5)).await.unwrap_err(), StepError::Shape(_)));
    respond(r#"{"stats":[{"ts":1709596800000,"value":12345678901234567890.5},{"value":1},7]}"#);
    let read = bench.read("stats_series", day(5)).await.unwrap();
    assert!(read.rows[0].contains("\"value\":12345678901234567890.5"), "{}", read.rows[0]);
    assert_eq!(read.refused, [r#"not a number with a time: {"value":1}"#, "not a number with a time: 7"]);
}
