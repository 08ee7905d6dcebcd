//! Filters in the vendor's format in addition to the time range, and additional parameters of v1.

use serde_json::json;

use super::*;

fn filtered(mut bench: Bench, stream: &str, filters: &Value) -> Bench {
    bench.settings.filters.insert(stream.to_owned(), filters.as_array().unwrap().clone());
    bench
}

fn channels(options: &[&str], comparison: &str) -> Value {
    json!([{ "key": "CHANNEL_TYPE", "type": "CHECKBOX", "options": options, "comparisonType": comparison }])
}

fn is_vk(row: &Value) -> bool {
    row["channelType"].as_str().unwrap().eq_ignore_ascii_case("vk")
}

fn values(rows: &BTreeSet<String>) -> Vec<Value> {
    rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect()
}

#[tokio::test]
async fn filters_go_with_each_request_of_their_stream_and_with_no_other() {
    for bench in [Bench::new().await, Bench::new().await.v1()] {
        let bench = filtered(bench, "messages", &channels(&["vk"], "CONTAINS"));
        let bench = filtered(bench, "sessions", &channels(&["vk"], "NOT_CONTAINS"));
        let jaicp = bench.jaicp();
        let all = values(&messages(&jaicp, day(5)));
        let wanted = canonical(all.iter().filter(|row| is_vk(row)).cloned());
        assert!(!wanted.is_empty() && wanted.len() < all.len(), "{}", wanted.len());
        assert_eq!(bench.read("messages", day(5)).await.unwrap().distinct(), wanted);

        let all = values(&sessions(&jaicp, day(5)));
        let others = canonical(all.iter().filter(|row| !is_vk(row)).cloned());
        assert!(!others.is_empty() && others.len() < all.len());
        assert_eq!(bench.read("sessions", day(5)).await.unwrap().distinct(), others);

        assert_eq!(bench.read("clients", day(5)).await.unwrap().distinct(), clients(&jaicp, day(5)));
        assert_well_behaved(&bench.control());
    }
}

#[tokio::test]
async fn several_filters_of_a_stream_are_all_sent() {
    let count = json!({ "key": "MESSAGE_COUNT", "type": "NUMERIC_RANGE", "from": 4 });
    let mut both = channels(&["telegram", "vk"], "CONTAINS").as_array().unwrap().clone();
    both.push(count);
    let bench = filtered(Bench::new().await, "sessions", &json!(both));
    let all = values(&sessions(&bench.jaicp(), day(5)));
    let wanted = all.into_iter().filter(|row| {
        let channel = row["channelType"].as_str().unwrap().to_lowercase();
        ["telegram", "vk"].contains(&channel.as_str()) && row["questionCount"].as_i64().unwrap() >= 4
    });
    assert_eq!(bench.read("sessions", day(5)).await.unwrap().distinct(), canonical(wanted));
}

#[tokio::test]
async fn statistics_and_reports_are_filtered_as_well() {
    for bench in [Bench::new().await, Bench::new().await.v1()] {
        let bench = filtered(bench, "stats_series", &channels(&["vk"], "CONTAINS"));
        let bench = filtered(bench, "report_messages", &channels(&["vk"], "CONTAINS"));
        let wanted = values(&messages(&bench.jaicp(), day(5))).iter().filter(|row| is_vk(row)).count();
        let read = bench.read("stats_series", day(5)).await.unwrap();
        let rows = values(&read.distinct());
        let counted = rows.iter().filter(|row| row["metric"] == "messages").map(|row| row["value"].as_f64().unwrap());
        assert!((counted.sum::<f64>() - f64::from(u32::try_from(wanted).unwrap())).abs() < 0.1, "{wanted}");
        assert_eq!(bench.read("report_messages", day(5)).await.unwrap().rows.len(), wanted);
        assert_well_behaved(&bench.control());
    }
}

#[tokio::test]
async fn the_data_of_sessions_come_in_both_generations() {
    for bench in [Bench::new().await, Bench::new().await.v1()] {
        let read = bench.read("sessions", day(5)).await.unwrap();
        assert_eq!(read.distinct(), sessions(&bench.jaicp(), day(5)));
        assert!(read.rows.iter().all(|row| row.contains("\"sessionData\":{")), "{}", read.rows[0]);
        assert_well_behaved(&bench.control());
    }
}
