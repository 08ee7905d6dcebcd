//! Failures do not affect other streams, come with a hint, and cause no flood of calls.

use simulator::lynn::Account;
use simulator::{Action, Fault, Match};

use super::ago;
use crate::support::daemon::{Daemon, SOON, command};
use crate::support::world::Recipe;
use crate::support::{World, eventually};

async fn world(streams: &'static str) -> World {
    World::with(Recipe { streams, start: ago(1).date_naive(), ..Recipe::default() }).await
}

async fn task(world: &World, stream: &str) -> (String, Option<String>, Option<String>) {
    sqlx::query_as("select state, error, hint from tidegate.task where stream = $1 order by run_id desc limit 1")
        .bind(stream)
        .fetch_one(&world.database.pool())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_fails_does_not_stop_the_others() {
    let world = world("[menu_detail, navigation_marks, survey_result]").await;
    world.control().mischief(Fault::new(Match::report("navigation_marks"), Action::Status { status: 404 }).times(99));
    let output = command(&world, &[], &["sync"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("check that the report is enabled"), "{said}");
    let (state, error, hint) = task(&world, "navigation_marks").await;
    assert_eq!(state, "failed");
    assert!(error.unwrap().contains("404") && hint.unwrap().contains("enabled"));
    let calls = world.control().stats().reports.iter().filter(|call| call.report == "navigation_marks").count();
    assert_eq!(calls, 1, "asking again would not help");
    for stream in ["menu_detail", "survey_result"] {
        assert_eq!(task(&world, stream).await.0, "succeeded");
        let until =
            world.scalar(&format!("select max(read_until) from tidegate.slice where stream = '{stream}'")).await;
        world.assert_truth(stream, ago(1), until).await;
    }
    world.control().quiet();
    assert!(command(&world, &[], &["sync", "--stream", "navigation_marks"]).await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_temporary_error_is_retried_later() {
    let world = world("[navigation_marks]").await;
    // The vendor's 4 s, ten times as fast: retries keep the distance of the limit in force.
    world.edit_config(|text| {
        text.replace("requests: { limit: 10000, per: 10000ms }", "requests: { limit: 1, per: 400ms }")
    });
    assert_eq!(world.config().connections["acme"].limits.iter().filter(|limit| limit.amount == 1).count(), 1);
    world
        .control()
        .mischief(Fault::new(Match::report("navigation_marks").page(2), Action::Status { status: 503 }).times(3));
    let daemon = Daemon::start(&world).await;
    let run = world.enqueue(tidegate::schedule::ByHand::Manual).await;
    let waiting = "select state = 'waiting' and waiting_for = 'vendor' and attempts = 1 and waiting_until > now()
        from tidegate.task";
    eventually(SOON * 2, async || world.scalar::<bool>(waiting).await.then_some(())).await;
    let state = format!("select state from tidegate.run where id = {run}");
    eventually(SOON, async || (world.scalar::<String>(&state).await == "waiting").then_some(())).await;
    let (_, error, hint) = task(&world, "navigation_marks").await;
    assert!(error.unwrap().contains("503"));
    let said = command(&world, &[], &["runs", "--tasks"]).await.stdout;
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("  error: ") && said.contains("503"), "{said}");
    assert!(said.contains(&format!("  hint: {}", hint.unwrap())), "{said}");
    let calls = world.control().stats().reports;
    assert_eq!(calls.iter().filter(|call| call.status == 503).count(), 3);
    let tries: Vec<f64> = calls.iter().filter(|call| call.status == 503).map(|call| call.at_secs).collect();
    assert!(tries.windows(2).all(|pair| pair[1] - pair[0] >= 0.4), "the vendor's distance is kept: {tries:?}");
    for sql in ["update tidegate.task set waiting_until = now()", "update tidegate.run set due_at = now()"] {
        sqlx::query(sql).execute(&world.database.pool()).await.unwrap();
    }
    eventually(SOON, async || (world.scalar::<String>(&state).await == "succeeded").then_some(())).await;
    let attempts: i32 = world.scalar("select attempts from tidegate.task").await;
    assert_eq!(attempts, 0, "a page in between counts as progress");
    assert_eq!(task(&world, "navigation_marks").await, ("succeeded".to_owned(), None, None));
    let until = world.scalar("select max(read_until) from tidegate.slice").await;
    world.assert_truth("navigation_marks", ago(1), until).await;
    daemon.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_wrong_credentials_fail_every_stream_with_one_login() {
    let world = world("\"*\"").await;
    world.edit_config(|text| {
        // A refusal blocks logins for their pace: 20 s at the vendor's own limit.
        text.replace("create_token: { limit: 1000", "create_token: { limit: 3")
            .replace(&Account::default().access_token_secret, "mistyped-secret")
    });
    let output = command(&world, &[], &["sync"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let failed: i64 = world
        .scalar("select count(*) from tidegate.task where state = 'failed' and hint like 'check the credentials%'")
        .await;
    assert_eq!(failed, 8);
    let stats = world.control().stats();
    assert_eq!(stats.calls.get("create_token"), Some(&1), "{:?}", stats.calls);
    assert_eq!(stats.calls.get("execute_report"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_token_that_is_refused_repeatedly_is_renewed_once() {
    let world = world("[navigation_marks]").await;
    world.control().mischief(Fault::new(Match::endpoint("execute_report"), Action::Unauthorized).times(99));
    let tasks = world.sync().await;
    assert_eq!(tasks[0].state, "failed");
    assert!(tasks[0].hint.as_deref().unwrap().starts_with("check the credentials"), "{tasks:?}");
    let calls = world.control().stats().calls;
    assert_eq!((calls["create_token"], calls["execute_report"]), (2, 2));
    world.control().quiet();
    let tasks = world.sync().await;
    assert_eq!(tasks[0].state, "succeeded", "{tasks:?}");
}
