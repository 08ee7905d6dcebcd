//! Sessions, messages and clients as rows.

use serde_json::json;
use simulator::{Change, Rows};

use super::*;

fn row<'r>(read: &'r Reading, needle: &str) -> &'r str {
    read.rows.iter().find(|row| row.contains(needle)).unwrap()
}

fn set(field: &str, json: &str) -> Change {
    Change::Set { field: field.to_owned(), json: json.to_owned() }
}

#[tokio::test]
async fn both_generations_read_the_same() {
    let (legacy, v1) = (Bench::new().await, Bench::new().await.v1());
    for stream in ["sessions", "messages", "clients"] {
        let (one, other) = (legacy.read(stream, day(5)).await.unwrap(), v1.read(stream, day(5)).await.unwrap());
        assert_eq!(one.rows, other.rows, "{stream}");
    }
    assert_well_behaved(&legacy.control());
    assert_well_behaved(&v1.control());
    assert_eq!(v1.control().stats().unauthorized + legacy.control().stats().unauthorized, 0);
}

#[tokio::test]
async fn sessions_have_their_labels() {
    let bench = Bench::new().await;
    let read = bench.read("sessions", day(5)).await.unwrap();
    let labels = read.rows.iter().filter(|row| row.contains("Solved") || row.contains("Complaint")).count();
    assert!(labels > 2, "{labels}");
}

#[tokio::test]
async fn a_session_is_found_by_its_later_messages_though_it_began_long_before() {
    let bench = Bench::new().await;
    let before = bench.jaicp().sessions(day(4).start, day(4).end);
    let after = bench.jaicp().sessions(day(5).start, day(5).end);
    let both = after.iter().filter(|session| before.iter().any(|other| other["sessionId"] == session["sessionId"]));
    let both = both.count();
    assert!(both > 0);
    let read = bench.read("sessions", day(5)).await.unwrap();
    let old = read.rows.iter().filter(|row| row.contains("\"startTime\":\"2024-03-04")).count();
    assert_eq!(old, both);
}

#[tokio::test]
async fn times_come_in_many_spellings_and_without_a_zone_they_are_utc() {
    let bench = Bench::new().await;
    let rows = || Rows::between("messages", day(5).start, day(5).end);
    let data = bench.jaicp().data();
    for (every, spelled) in
        [(7, "2024-03-05T10:00:00"), (11, "2024-03-05T10:00:00.123456789+0000"), (13, "2024-03-05T10:00:00.1+00:00")]
    {
        data.change(rows().every(every).first(1), set("timestamp", &format!("\"{spelled}\""))).unwrap();
        data.change(rows().every(every).first(1), set("event", &format!("\"e{every}\""))).unwrap();
    }
    let read = bench.read("messages", day(5)).await.unwrap();
    assert!(row(&read, "\"e7\"").contains("\"timestamp\":\"2024-03-05T10:00:00Z\""));
    assert!(row(&read, "\"e11\"").contains("\"2024-03-05T10:00:00.123456789+0000\""));
    assert!(row(&read, "\"e13\"").contains("\"2024-03-05T10:00:00.1+00:00\""));
}

#[tokio::test]
async fn texts_that_the_vendor_erased_become_null_and_the_row_stays() {
    let bench = Bench::new().await;
    let erased = || Rows::between("messages", day(5).start, day(5).end).every(10).first(1);
    let data = bench.jaicp().data();
    data.change(erased(), set("cleaned", "true")).unwrap();
    data.change(erased(), set("question", "\"message has been deleted\"")).unwrap();
    let read = bench.read("messages", day(5)).await.unwrap();
    let row: Value = serde_json::from_str(row(&read, "\"cleaned\":true")).unwrap();
    for gone in ["question", "textAnswer", "requestData"] {
        assert!(row.get(gone).is_none(), "{gone}");
    }
    assert!(row["nlpInfo"]["nlpClass"].is_string() && row["timestamp"].is_string(), "{row}");
    assert!(row["cleanedAt"].as_str().unwrap().starts_with(&Utc::now().format("%Y-").to_string()));
    assert_eq!(read.rows.iter().filter(|row| row.contains("cleanedAt")).count(), 1);
}

#[tokio::test]
async fn p7_a_token_in_a_link_is_replaced() {
    let bench = Bench::new().await;
    let session = bench.jaicp().sessions(day(5).start, day(5).end)[0]["sessionId"].as_str().unwrap().to_owned();
    let token = Account::default().token;
    let url = format!("https://app.jaicp.com/api/reporter/p/{token}/audio/7?x={}", token.replace(':', "%3A"));
    bench.jaicp().set(&session, "audioFileUrl", json!(url));
    let read = bench.read("sessions", day(5)).await.unwrap();
    let link = "\"audioFileUrl\":\"https://app.jaicp.com/api/reporter/p/***/audio/7?x=***\"";
    assert!(row(&read, &session).contains(link));
}
