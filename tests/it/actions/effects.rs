//! What actions do and record, and what they refuse.

use serde_json::json;

use super::{JOB, Port, request, world};
use crate::support::ago;

#[tokio::test]
async fn p7_every_action_is_recorded_with_its_operator() {
    let (world, port) = world().await;
    let run = port.act("/jobs/lynn/runs", "").await;
    assert_eq!(run.status, 303, "{}", run.body);
    let cancelled = port.act(&format!("{}/cancel", run.place()), "").await;
    assert_eq!(cancelled.place(), run.place());
    let state: String = world.scalar("select state || ': ' || error from tidegate.run").await;
    assert_eq!(state, "cancelled: cancelled by operator from 127.0.0.1");
    let ended = port.get(&format!("{}/cancel", run.place())).await;
    assert_eq!(ended.status, 409, "it has ended");
    let back = format!("href=\"{}\">Show the present state", run.place());
    assert!(ended.body.contains(&back) && !ended.body.contains("Back to the form"), "{}", ended.body);
    let until = (chrono::Utc::now() + chrono::TimeDelta::days(1)).format("%Y-%m-%dT%H:%M").to_string();
    let fields = format!("until={until}&reason=maintenance <b>of</b> the vendor");
    assert_eq!(port.act("/jobs/lynn/pause", &fields).await.place(), JOB);
    assert_eq!(port.act("/system/pause", &fields).await.place(), "/system");
    for (page, expected) in [
        ("/jobs/lynn/pause", "It replaces the pause of lynn until"),
        ("/jobs/lynn/runs", "This run is made despite the pause of"),
        ("/jobs/lynn/resume", "It ends the pause of lynn until"),
    ] {
        let body = port.get(page).await.body;
        assert!(body.contains(expected) && body.contains("set by operator from 127.0.0.1"), "{page}: {body}");
    }
    for page in ["/", "/streams", JOB, "/events", "/system"] {
        let page = port.get(page).await.body;
        assert!(
            page.contains("Every job is paused until") && page.contains("maintenance &lt;b&gt;of&lt;/b&gt;"),
            "{page}"
        );
    }
    assert_eq!(port.act("/system/resume", "").await.status, 303);
    assert_eq!(port.act("/jobs/lynn/resume", "").await.status, 303);
    assert_eq!(port.get("/jobs/lynn/resume").await.status, 409);
    assert_eq!(port.get("/connections/acme/unblock").await.status, 409, "nothing is blocked");
    assert_eq!(port.get("/streams/acme/navigation_marks/release").await.status, 409, "nothing is held");
    assert_eq!(port.get("/streams/acme/nothing/release").await.status, 404);
    sqlx::raw_sql(
        "insert into tidegate.problem (kind, scope, connection, opened_at, summary)
         values ('failed', 'acme', 'acme', now(), 'credential refused')",
    )
    .execute(&world.database.pool())
    .await
    .unwrap();
    assert_eq!(port.act("/problems/1/mute", "days=7").await.place(), "/problems");
    let muted = port.get("/problems/1/mute").await.body;
    let already = muted.contains("It is muted already, until ") && muted.contains("by operator from 127.0.0.1");
    assert!(already, "{muted}");
    assert_eq!(port.post("/problems/1/mute", &format!("{}&days=8", request(1))).await.status, 422);
    assert_eq!(port.act("/system/notify/oncall/test", "").await.place(), "/system");
    let due: i64 = world.scalar("select count(*) from tidegate.notification where kind = 'test'").await;
    assert_eq!(due, 1);
    let muted: bool = world.scalar("select muted_until > now() + interval '6 days' from tidegate.problem").await;
    assert!(muted);
    let events: Vec<String> =
        sqlx::query_scalar("select kind || ' ' || actor || ': ' || summary from tidegate.event order by id")
            .fetch_all(&world.database.pool())
            .await
            .unwrap();
    let by = "action operator from 127.0.0.1: ";
    let done: Vec<&str> = events.iter().map(|event| event.strip_prefix(by).unwrap()).collect();
    assert_eq!(done.len(), 8, "{events:?}");
    assert!(done[0].starts_with("run 1 of lynn was requested"), "{done:?}");
    assert_eq!(done[1], "run 1 was cancelled");
    assert!(done[2].starts_with("lynn is paused until") && done[3].starts_with("everything is paused"), "{done:?}");
    assert!(done[6].starts_with("failed of acme was muted until"), "{done:?}");
    assert!(port.get(run.place()).await.body.contains("run 1 was cancelled"), "the page of the run has its events");
}

#[tokio::test]
async fn a_pause_has_an_end_within_30_days_and_a_reason() {
    let (world, port) = world().await;
    let now = chrono::Utc::now();
    let at = |days: i64| (now + chrono::TimeDelta::days(days)).format("%Y-%m-%dT%H:%M").to_string();
    for (until, reason) in [
        (at(31), "x"),
        (at(-1), "x"),
        ("2026-13-01".to_owned(), "x"),
        (format!("{}:60Z", at(1)), "x"),
        (String::new(), "x"),
        (at(1), ""),
        // Only invisible characters, and blank ones.
        (at(1), "%E2%80%8B%20%E2%81%A0"),
        (at(1), "%E2%A0%80"),
        (at(1), "%E3%85%A4"),
        (at(1), "%EF%B8%8F"),
        (at(1), &*"x".repeat(201)),
    ] {
        let response = port.post("/jobs/lynn/pause", &format!("{}&until={until}&reason={reason}", request(1))).await;
        assert_eq!(response.status, 422, "{until} {reason}: {}", response.body);
        let leads = ["href=\"/jobs/lynn/pause\">Back to the form", "href=\"/jobs/lynn\">Show the present state"];
        assert!(leads.iter().all(|link| response.body.contains(link)), "{}", response.body);
    }
    assert_eq!(port.get("/jobs/nothing/pause").await.status, 404);
    assert_eq!(world.scalar::<i64>("select count(*) from tidegate.pause").await, 0);
    // An emoji can be seen.
    let paused = port.act("/jobs/lynn/pause", &format!("until={}&reason=%F0%9F%94%A7", at(1))).await;
    assert_eq!(paused.status, 303, "{}", paused.body);
    assert_eq!(world.scalar::<String>("select reason from tidegate.pause").await, "🔧");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_cancels_at_once_one_is_done_and_the_others_name_the_state() {
    let (world, one) = world().await;
    let two = Port::open(world.database.pool(), world.config(), true).await;
    for _ in 0..5 {
        let run = one.act("/jobs/lynn/runs", "").await;
        let (path, body) = (format!("{}/cancel", run.place()), json!({}));
        let calls = (0..10).map(|n| if n % 2 == 0 { one.api(&path, &body) } else { two.api(&path, &body) });
        let replies = futures_util::future::join_all(calls).await;
        let (done, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
        assert_eq!((done.len(), refused.len()), (1, 9));
        for reply in refused {
            let detail = reply.json()["detail"].as_str().unwrap().to_owned();
            assert!(reply.status == 409 && detail.ends_with("has ended: cancelled"), "{} {detail}", reply.status);
        }
    }
}

#[tokio::test]
async fn the_api_acts_with_the_token_and_names_what_is_wrong() {
    let (world, port) = world().await;
    let id = uuid::Uuid::from_u128(5).to_string();
    let body = json!({ "stream": "navigation_marks", "request": id });
    let first = port.api("/jobs/lynn/runs", &body).await.json();
    assert_eq!((&first["repeated"], &first["place"]), (&json!(false), &json!("/runs/1")), "{first}");
    let again = port.api("/jobs/lynn/runs", &body).await.json();
    assert_eq!((&again["repeated"], &again["run_id"]), (&json!(true), &json!(1)), "{again}");
    let actor: String = world.scalar("select actor from tidegate.event").await;
    assert_eq!(actor, "operator with the token from 127.0.0.1");
    for (path, body, status) in [
        ("/jobs/lynn/runs", json!([]), 400),
        ("/jobs/lynn/runs", json!({ "stream": ["a"] }), 400),
        ("/jobs/lynn/runs", json!({ "stream": "a" }), 422),
        ("/jobs/lynn/runs", json!({ "strem": "navigation_marks" }), 422),
        ("/jobs/lynn/runs", json!({ "request": "a" }), 422),
        ("/jobs/none/runs", json!({}), 404),
        ("/runs/99/cancel", json!({}), 404),
        ("/runs/x/cancel", json!({}), 404),
        ("/problems/1/mute", json!({ "days": 1 }), 404),
        ("/connections/acme/unblock", json!({}), 409),
        ("/connections/none/unblock", json!({}), 404),
        ("/system/notify/none/test", json!({}), 404),
    ] {
        let response = port.api(path, &body).await;
        assert_eq!(response.status, status, "{path} {body}: {}", response.body);
        assert!(response.head.contains("content-type: application/problem+json"), "{}", response.head);
        assert_eq!(response.json()["status"], json!(status));
    }
    let (from, to) = (ago(2).date_naive(), ago(1).date_naive());
    let until = (chrono::Utc::now() + chrono::TimeDelta::days(1)).to_rfc3339();
    let streams = json!(["navigation_marks"]);
    for (path, body, parameter, allowed) in [
        ("/jobs/lynn/runs", json!({ "stream": "navigation_mark" }), "stream", Some(&streams)),
        ("/jobs/lynn/backfills", json!({ "from": from, "to": to, "stream": "nothing" }), "stream", Some(&streams)),
        ("/jobs/lynn/backfills", json!({ "to": to }), "from", None),
        ("/jobs/lynn/backfills", json!({ "from": from }), "to", None),
        ("/jobs/lynn/backfills", json!({}), "from", None),
        ("/jobs/lynn/backfills", json!({ "from": to, "to": from }), "from", None),
        ("/jobs/lynn/backfills", json!({ "from": from, "to": "2999-01-01" }), "to", None),
        ("/jobs/lynn/pause", json!({ "reason": "x" }), "until", None),
        ("/jobs/lynn/pause", json!({ "until": "2999-01-01", "reason": "x" }), "until", None),
        ("/jobs/lynn/pause", json!({ "until": until }), "reason", None),
        ("/jobs/lynn/pause", json!({ "until": until, "reason": "\u{2800}" }), "reason", None),
        ("/streams/acme/navigation_marks/release", json!({ "name": "x" }), "name", None),
        ("/jobs/lynn/runs", json!({ "request": "a" }), "request", None),
    ] {
        let response = port.api(path, &body).await;
        let problem = response.json();
        assert_eq!((response.status, &problem["parameter"]), (422, &json!(parameter)), "{path} {body}: {problem}");
        assert_eq!(problem.get("allowed"), allowed, "{path} {body}: {problem}");
    }
}
