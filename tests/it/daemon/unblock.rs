//! An operator removes the block that a vendor's refusal caused.

use serde_json::Value;
use simulator::{Action, Match, Quota};
use tidegate::schedule::ByHand;

use crate::support::daemon::{Daemon, SOON, command};
use crate::support::world::Recipe;
use crate::support::{World, ago, eventually};

async fn said(world: &World, args: &[&str], code: i32) -> String {
    let output = command(world, &[], args).await;
    assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_wait_for_a_block_continue_at_once_when_it_is_removed() {
    let world = World::with(Recipe { start: ago(1).date_naive(), ..Recipe::default() }).await;
    let out = Action::OutOfQuota { quota: Quota::Calls, replenished_in: "06:00:00".to_owned(), retry_after: None };
    world.control().next(Match::report("navigation_marks").page(2), out);
    let daemon = Daemon::start(&world).await;
    let run = world.enqueue(ByHand::Manual).await;
    let state = format!("select state from tidegate.run where id = {run}");
    eventually(SOON, async || (world.scalar::<String>(&state).await == "waiting").then_some(())).await;

    let refused = said(&world, &["quota", "unblock", "acme", "requests"], 0).await;
    assert_eq!(refused, "the limit `requests` of `acme` is not blocked\n");
    assert_eq!(world.scalar::<String>(&state).await, "waiting", "another limit is blocked");
    let lifted = said(&world, &["quota", "unblock", "acme", "--json"], 0).await;
    let lifted: Value = serde_json::from_str(&lifted).unwrap();
    assert_eq!(lifted["lifted"].as_array().unwrap().len(), 1, "{lifted}");
    assert_eq!(
        (&lifted["lifted"][0]["limit"], &lifted["streams_due"]),
        (&"period_calls".into(), &1.into()),
        "{lifted}"
    );
    eventually(SOON, async || (world.scalar::<String>(&state).await == "succeeded").then_some(())).await;
    assert_eq!(said(&world, &["quota", "unblock", "acme"], 0).await, "no limit of `acme` is blocked\n");
    daemon.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_is_removed_once_and_an_unknown_name_is_refused_with_the_known_ones() {
    let world = World::new().await;
    said(&world, &["quota", "unblock", "acme"], 0).await;
    // A daemon states its limits at its start.
    let daemon = Daemon::start(&world).await;
    let rows = "select count(*) from tidegate.quota_limit";
    eventually(SOON, async || (world.scalar::<i64>(rows).await > 0).then_some(())).await;
    daemon.kill().await;
    let block = "update tidegate.quota_limit set blocked_until = now() + interval '1 hour', blocked_for = '1 hour'";
    sqlx::query(block).execute(&world.database.pool()).await.unwrap();
    for (args, expected) in [
        (&["quota", "unblock", "acne"][..], "unknown connection `acne`; did you mean `acme`?"),
        (&["quota", "unblock", "zzzzzz"], "unknown connection `zzzzzz`; known here: acme"),
        (&["quota", "unblock", "acme", "request"], "has no limit `request`; did you mean `requests`?"),
        (&["quota", "unblock", "acme", "x"], "known here: create_token, requests, period_calls, period_bandwidth"),
    ] {
        let refused = said(&world, args, 2).await;
        assert!(refused.contains(expected), "{args:?}: {refused}");
    }
    let blocked = "select count(*) from tidegate.quota_limit where blocked_until > now()";
    assert_eq!(world.scalar::<i64>(blocked).await, 4);
    let one = said(&world, &["quota", "unblock", "acme", "period_calls"], 0).await;
    assert!(one.contains("WAS BLOCKED UNTIL") && one.contains("period_calls") && one.lines().count() == 2, "{one}");
    assert_eq!(world.scalar::<i64>(blocked).await, 3);
    assert_eq!(said(&world, &["quota", "unblock", "acme"], 0).await.lines().count(), 4);
    let left = "select count(*) from tidegate.quota_limit where blocked_until is not null or blocked_for is not null";
    assert_eq!(world.scalar::<i64>(left).await, 0);
}
