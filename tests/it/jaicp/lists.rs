//! Lists that are returned as a whole.

use serde_json::json;
use simulator::{Action, Match};

use super::*;

fn now() -> Window {
    Window { start: DateTime::UNIX_EPOCH, end: at("2024-03-05T10:00:00.5Z") }
}

#[tokio::test]
async fn labels_and_experiments_are_rows_with_exact_ids() {
    let bench = Bench::new().await;
    for name in ["message_labels", "message_label_groups", "session_labels", "experiments"] {
        let read = bench.read(name, now()).await.unwrap();
        assert_eq!(read.distinct(), canonical(bench.jaicp().list(name)), "{name}");
    }
    let labels = bench.read("message_labels", now()).await.unwrap();
    assert!(labels.rows.iter().any(|row| row.contains("\"id\":9007199254740993,")), "{:?}", labels.rows);
    let branches = bench.read("experiment_branches", now()).await.unwrap().distinct();
    let expected = [
        json!({ "experimentKey": "greeting", "key": "control" }),
        json!({ "experimentKey": "greeting", "key": "short", "description": "fewer words" }),
        json!({ "experimentKey": "farewell", "key": "control" }),
    ];
    assert_eq!(branches, canonical(expected));
    assert_well_behaved(&bench.control());
}

#[tokio::test]
async fn counts_are_observations_of_the_moment() {
    let bench = Bench::new().await;
    let read = bench.read("experiment_counts", now()).await.unwrap();
    let at = "2024-03-05T10:00:00.500Z";
    let expected = [
        json!({ "observedAt": at, "key": "greeting", "count": 4211 }),
        json!({ "observedAt": at, "key": "farewell", "count": 17 }),
    ];
    assert_eq!(read.distinct(), canonical(expected));
    let project = Account::default().project;
    let clients = bench.read("unique_clients", now()).await.unwrap().distinct();
    assert_eq!(clients, canonical([json!({ "observedAt": at, "projectShortName": project, "totalCount": 9876 })]));
    let sessions = bench.read("sessions_count", now()).await.unwrap().distinct();
    assert_eq!(sessions, canonical([json!({ "observedAt": at, "projectShortName": project, "amount": 12345 })]));
}

#[tokio::test]
async fn experiments_are_found_under_the_path_that_is_spelled_right_too() {
    let bench = Bench::new().await;
    bench.jaicp().shape(|shape| shape.spelled_right = true);
    let client = bench.client().await;
    for _ in 0..2 {
        assert_eq!(client.read("experiments", now()).await.unwrap().rows.len(), 2);
    }
    assert_eq!(bench.control().stats().calls["jaicp_list"], 3, "found out once");
}

#[tokio::test]
async fn v1_reports_calls_that_it_does_not_have() {
    let bench = Bench::new().await.v1();
    for name in ["message_labels", "experiments", "experiment_counts", "unique_clients"] {
        assert!(!bench.read(name, now()).await.unwrap().rows.is_empty(), "{name}");
    }
    for name in ["message_label_groups", "session_labels"] {
        let error = bench.read(name, now()).await.unwrap_err();
        assert!(matches!(&error, StepError::Refused { hint, .. } if hint.contains("api: legacy")), "{error:?}");
    }
    assert_well_behaved(&bench.control());
}

#[tokio::test]
async fn p5_a_response_that_is_not_a_list_is_an_error_and_not_an_empty_list() {
    let bench = Bench::new().await;
    for body in ["{}", r#"{"error":"x"}"#, "null", "7"] {
        // After an unreadable response, the list is requested once more.
        for _ in 0..2 {
            let body = body.to_owned();
            bench.control().next(Match::report("session_labels"), Action::Json { status: 200, body });
        }
        let error = bench.read("session_labels", now()).await.unwrap_err();
        assert!(matches!(error, StepError::Unreadable(_)), "{body}: {error:?}");
    }
    let body = r#"[{"id":1},7,null]"#.to_owned();
    bench.control().next(Match::report("session_labels"), Action::Json { status: 200, body });
    assert_eq!(bench.read("session_labels", now()).await.unwrap().rows, [r#"{"id":1}"#, "7", "null"]);
}
