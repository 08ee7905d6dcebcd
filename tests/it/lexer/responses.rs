//! Responses that are not reports: documented errors and their remedies, temporary faults, and undocumented jobs.

use serde_json::json;
use simulator::{Action, Fault, Match};

use super::*;
use crate::support::daemon::command;

fn json_response(status: u16, body: &str) -> Action {
    Action::Json { status, body: body.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_documented_errors_come_with_their_remedies_and_are_not_sent_again() {
    for (status, body, error, hint) in [
        (400, "Invalid report - date range is too long", "date range is too long", "at most 12 months"),
        (400, "Invalid report - starting date is a future date", "future date", "this machine's clock"),
        (400, "Invalid report - invalid type", "does not have this type", "leave the stream out"),
        (400, "odd", "the report (status 400)", "`parameters`"),
        (401, "Unauthorized - api token not matching", "the API token (status 401)", "IP allowlist"),
        (401, "Unauthorized", "the API token (status 401)", "of type Activity"),
        (403, "Forbidden", "access (status 403)", "IP allowlist"),
        (404, "Not found", "malformed or the path is unknown (status 404)", "it does not mean that there are no data"),
        (302, "", "the token is not sent to another URL (status 302)", "status_base_url"),
    ] {
        let world = plain("[summary]", 0).await;
        world.control().next(Match::report("summary"), json_response(status, &json!({ "error": body }).to_string()));
        let said = fails(&world).await;
        assert!(said.0.contains(error) && said.1.contains(hint), "{said:?}");
        assert_eq!(asked(&world)["summary"], 1);
        world.sync_ok().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_reported_by_check_and_by_a_run() {
    let world = plain("[groups, summary]", 0).await;
    let output = command(&world, &[], &["migrate"]).await;
    assert!(output.status.success());
    assert!(command(&world, &[], &["check"]).await.status.success());
    assert_eq!(asked(&world), BTreeMap::from([("groups".to_owned(), 1)]), "it logs in with the smallest list");
    world.edit_config(|text| text.replace(&Account::default().api_token, "0b7f3a52-0000-4222-8333-944445555666"));
    let output = command(&world, &[], &["check"]).await;
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("API token (status 401)") && said.contains("IP allowlist"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_errors_are_retried() {
    let world = plain("[users, summary, nps_summary]", 0).await;
    for (report, action) in [
        ("users", Action::Status { status: 503 }),
        ("users", Action::HtmlWith200),
        ("summary", Action::Cut),
        ("summary", Action::Reset),
        ("nps_summary", Action::EmptyBody),
        ("nps_summary", Action::Status { status: 500 }),
    ] {
        world.control().next(Match::report(report), action);
    }
    world.sync_ok().await;
    assert_eq!((asked(&world)["users"], asked(&world)["summary"]), (3, 3));
    assert_well_behaved(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_report_may_return_a_job_which_never_becomes_rows() {
    let streams = [
        "summary",
        "states_volume",
        "classifications",
        "user_summary",
        "user_volume",
        "case_volume",
        "nps_summary",
        "nps_volume",
    ];
    for stream in streams {
        let world = plain(&format!("[{stream}]"), 0).await;
        let job = json!({ "status": "pending", "url": null, "token": "0b7f3a52-1111-4222-8333-944445555666" });
        world.control().next(Match::report(stream), json_response(200, &job.to_string()));
        let (error, hint) = fails(&world).await;
        assert!(
            error.contains("although none is documented for this report") && hint.contains("ask Lexer"),
            "{stream}: {error} {hint}"
        );
        assert!(rows(&world, stream).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_response_of_another_shape_fails_and_leaves_what_is_there() {
    for (stream, body, said) in [
        ("summary", r#"{"error":"odd"}"#, "without any of the report's figures"),
        ("states_volume", "[]", "an array where an object is documented"),
        ("users", r#"{"users":[]}"#, "an object without a row's key"),
        ("classifications", "{}", "an object without a row's key"),
        ("users", "<html>down</html>", "HTML or XML where JSON was expected"),
        ("groups", r#"[{"id":1},]"#, "not JSON"),
    ] {
        let world = plain(&format!("[{stream}]"), 0).await;
        world.sync_ok().await;
        let before = rows(&world, stream).await;
        world.control().mischief(Fault::new(Match::report(stream), json_response(200, body)).times(2));
        let (error, _) = fails(&world).await;
        assert!(error.contains(said), "{stream}: {error}");
        if stream == "users" || stream == "groups" {
            assert_eq!(rows(&world, stream).await, before);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_values_are_kept_and_nothing_fails() {
    let world = plain("[groups, summary, states_volume, classifications, user_volume, nps_volume]", 0).await;
    let label = ago(0).format("%Y-%m-%d 00:00").to_string();
    let stamp = ago(0).timestamp();
    for (report, body) in [
        ("groups", json!({ "id": 7, "name": 12, "comment": ["x"] }).to_string()),
        ("summary", json!({ "total_volume": "many", "broke_sla": "3", "new": true }).to_string()),
        (
            "states_volume",
            json!({ "closed": [
                { "state": "other", "value": 1.5, "date_range": { "date_from": label } },
                { "state": "closed", "value": 2 },
            ] })
            .to_string(),
        ),
        (
            "classifications",
            json!([{ "state": "closed", "volume": 1 }, { "classification_id": 1, "state": "closed", "volume": 1 }])
                .to_string(),
        ),
        ("user_volume", json!([{ "user_id": "41", "states": { "on hold": 3 } }]).to_string()),
        ("nps_volume", json!([{ "timestamp": stamp, "date": "soon", "data": null }]).to_string()),
    ] {
        world.control().next(Match::report(report), json_response(200, &body));
    }
    // For NPS, only the response of the first form is changed.
    for task in world.sync().await {
        let is_refused = ["states_volume", "classifications"].contains(&&*task.stream);
        assert_eq!(task.state, if is_refused { "held" } else { "succeeded" }, "{task:#?}");
    }
    let extra = async |table: &str, of: &str| -> Value {
        world.scalar(&format!("select _extra from lexer.{table} where {of}")).await
    };
    let group = rows(&world, "groups").await.remove(0);
    assert_eq!(
        (&group["name"], &group["_extra"]),
        (&json!("12"), &json!({ "comment": ["x"] })),
        "one row alone is a list too"
    );
    assert_eq!(extra("summary", "true").await, json!({ "total_volume": "many", "new": true }));
    let states = extra("states_volume", "state = 'closed'").await;
    assert_eq!(states, json!({ "inner_state": "other", "value": 1.5 }));
    let volume = rows(&world, "user_volume").await.remove(0);
    assert_eq!((&volume["user_id"], &volume["state"], &volume["count"]), (&json!("41"), &json!("on hold"), &json!(3)));
    assert_eq!(extra("nps_volume", "_extra is not null").await, json!({ "date": "soon" }));
    let rejects: Vec<(String, String)> =
        sqlx::query_as("select stream, reason from tidegate.rejected_record order by 1")
            .fetch_all(&world.database.pool())
            .await
            .unwrap();
    let rejects: Vec<_> = rejects.iter().map(|(stream, reason)| (stream.as_str(), reason.as_str())).collect();
    assert_eq!(
        rejects,
        [
            ("classifications", "no key field `classification_id`"),
            ("states_volume", "no interval label such as `2025-03-01 00:00`")
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_response_without_a_body_is_an_empty_list_report_or_file_and_no_job() {
    let streams = "[users, summary, states_volume, nps_volume, mention_sla_export]";
    for (action, times) in [(Action::NoContent, 1), (Action::EmptyBody, 2)] {
        let world = plain(streams, 0).await;
        for report in ["users", "summary", "states_volume", "nps_volume"] {
            world.control().mischief(Fault::new(Match::report(report), action.clone()).times(times));
        }
        world.control().next(Match::endpoint("files_get"), action.clone());
        world.sync_ok().await;
        for table in ["users", "summary", "states_volume", SLA] {
            assert!(rows(&world, table).await.is_empty(), "{table} {action:?}");
        }
        assert_eq!(world.control().pending(), 0);
        for (stream, on) in [(SLA, Match::report(SLA)), (SLA, Match::endpoint("lexer_status"))] {
            let world = plain(&format!("[{stream}]"), 0).await;
            world.control().mischief(Fault::new(on.clone(), action.clone()).times(9));
            let (error, hint) = fails(&world).await;
            assert!(
                error.contains("the body is empty") && hint.contains("a job or its state"),
                "{on:?}: {error} {hint}"
            );
        }
    }
}
