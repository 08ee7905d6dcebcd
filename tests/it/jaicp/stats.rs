//! Statistics per day (`§7`).

use serde_json::json;
use tidegate::simulator::{Action, Match};

use super::*;

const METRICS: [&str; 5] = ["messages", "sessions", "switched_sessions", "session_labels", "message_labels"];

/// Metric, label, bucket and value.
type Point = (String, i64, String, String);

/// A count as the vendor's numbers are.
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
        bench.assert_proper();
    }
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
async fn p3_metrics_that_were_read_are_not_asked_for_again() {
    let bench = Bench::new().await;
    let read = bench.read("stats_series", days(4, 10)).await.unwrap();
    let rest = bench.process().await.read("stats_series", days(4, 10), Some(read.cursors[2].clone())).await.unwrap();
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
    bench.assert_proper();
}

#[tokio::test]
async fn p5_statistics_of_another_shape_are_refused_and_odd_points_are_kept() {
    let bench = Bench::new().await;
    let answer = |body: &str| {
        bench.control().next(Match::report("messages"), Action::Json { status: 200, body: body.to_owned() });
    };
    answer("{}");
    let error = bench.read("stats_series", day(5)).await.unwrap_err();
    assert!(matches!(error, StepError::Missing("stats")), "{error:?}");
    answer(r#"{"stats":7}"#);
    assert!(matches!(bench.read("stats_series", day(5)).await.unwrap_err(), StepError::Shape(_)));
    answer(r#"{"stats":[{"ts":1709596800000,"value":12345678901234567890.5},{"value":1},7]}"#);
    let read = bench.read("stats_series", day(5)).await.unwrap();
    assert!(read.rows[0].contains("\"value\":12345678901234567890.5"), "{}", read.rows[0]);
    assert_eq!(read.refused, [r#"no number at a moment: {"value":1}"#, "no number at a moment: 7"]);
}
