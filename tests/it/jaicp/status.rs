//! Delivery statuses: one more call for every session that has statuses.

use reqwest::Method;
use serde_json::json;
use simulator::{Action, Change, Fault, Match, Rows};

use super::*;

async fn bench() -> Bench {
    let mut bench = Bench::new().await;
    bench.settings.message_status = true;
    bench
}

/// Ids of the messages for which a status was returned.
fn with_status(read: &Reading) -> BTreeSet<String> {
    let rows = read.rows.iter().filter(|row| row.contains("\"status\""));
    rows.map(|row| serde_json::from_str::<Value>(row).unwrap()["questionId"].to_string()).collect()
}

fn truth(bench: &Bench, window: Window) -> BTreeSet<String> {
    let rows = bench.jaicp().data().rows("messages", window.start, window.end).unwrap();
    rows.iter().filter(|row| row.contains_key("status")).map(|row| row["questionId"].to_string()).collect()
}

#[tokio::test]
async fn every_message_of_such_a_channel_gets_its_status_and_no_other_session_is_requested() {
    let bench = bench().await;
    let read = bench.read("messages", day(5)).await.unwrap();
    assert_eq!(with_status(&read), truth(&bench, day(5)));
    let sessions = bench.jaicp().sessions(day(5).start, day(5).end);
    let told = |channel: &str| ["telegram", "viber", "vk"].contains(&channel.to_lowercase().as_str());
    let told = sessions.iter().filter(|session| told(session["channelType"].as_str().unwrap())).count();
    let calls = bench.control().stats().calls;
    assert!(told > 5 && told < sessions.len());
    assert_eq!(calls["jaicp_by_session"], told as u64);
    // The rows that were written again have their key, and belong to the window.
    for row in read.rows.iter().filter(|row| row.contains("\"status\"")) {
        let row: Value = serde_json::from_str(row).unwrap();
        assert_eq!(row["projectShortName"], json!(Account::default().project));
        assert!(row["timestamp"].as_str().unwrap().starts_with("2024-03-05"), "{row}");
    }
    assert_well_behaved(&bench.control());
}

#[tokio::test]
async fn without_the_setting_no_other_call_is_made() {
    let bench = Bench::new().await;
    bench.read("messages", day(5)).await.unwrap();
    let calls = bench.control().stats().calls;
    assert_eq!((calls.get("jaicp_by_session"), calls.get("jaicp_sessions")), (None, None));
}

#[tokio::test]
async fn the_method_is_tried_once_and_never_changed_when_access_is_denied() {
    let mut bench = bench().await;
    bench.jaicp().shape(|shape| shape.by_session = Method::POST);
    let read = bench.read("messages", day(5)).await.unwrap();
    assert_eq!(with_status(&read), truth(&bench, day(5)));
    let asked = bench.control().stats().calls["jaicp_by_session"];
    let before = asked;
    bench.settings.by_session_method = BySession::Post;
    bench.read("messages", day(5)).await.unwrap();
    assert_eq!(bench.control().stats().calls["jaicp_by_session"] - before, asked - 1, "GET was tried once");
    bench.settings.by_session_method = BySession::Get;
    assert!(matches!(bench.read("messages", day(5)).await.unwrap_err(), StepError::NotServed(405)));

    let denied = Action::Forbidden;
    bench.settings.by_session_method = BySession::Auto;
    bench.control().next(Match::report("by_session"), denied);
    bench.jaicp().shape(|shape| shape.by_session = Method::GET);
    let asked = bench.control().stats().calls["jaicp_by_session"];
    assert!(matches!(bench.read("messages", day(5)).await.unwrap_err(), StepError::Forbidden));
    assert_eq!(bench.control().stats().calls["jaicp_by_session"], asked + 1);
}

#[tokio::test]
async fn long_sessions_have_pages_and_a_deleted_session_is_omitted() {
    let mut bench = bench().await;
    bench.settings.page_size = 2;
    let read = bench.read("messages", day(5)).await.unwrap();
    assert_eq!(with_status(&read), truth(&bench, day(5)));
    bench.settings.page_size = PAGE;
    let gone = Fault::new(Match::report("by_session"), Action::Status { status: 404 });
    bench.control().mischief(gone.times(1));
    bench.settings.by_session_method = BySession::Get;
    let read = bench.read("messages", day(5)).await.unwrap();
    let (told, all) = (with_status(&read).len(), truth(&bench, day(5)).len());
    assert!(told < all && told > all / 2, "{told} of {all}");
}

#[tokio::test]
async fn an_unknown_status_is_text_and_a_changed_status_is_read_again() {
    let bench = bench().await;
    let rows = Rows::between("messages", day(5).start, day(5).end);
    bench.jaicp().data().change(rows, Change::Set { field: "status".into(), json: "\"PONDERED\"".into() }).unwrap();
    let read = bench.read("messages", day(5)).await.unwrap();
    assert!(read.rows.iter().any(|row| row.contains("\"status\":\"PONDERED\"")));
}

#[tokio::test]
async fn p3_statuses_continue_with_the_next_session() {
    let bench = bench().await;
    let whole = bench.read("messages", day(5)).await.unwrap();
    let asked = bench.control().stats().calls["jaicp_by_session"];
    let middle = whole.cursors[whole.cursors.len() - 3].clone();
    let rest = bench.client().await.read_on("messages", day(5), Some(middle)).await.unwrap();
    let asked_again = bench.control().stats().calls["jaicp_by_session"] - asked;
    assert!(asked_again <= 3, "{asked_again}");
    assert!(rest.rows.len() < 15);
}
