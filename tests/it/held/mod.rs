//! Promise 10: doubtful evidence deletes nothing. Complete runs and the real commands.

mod account;
mod operator;

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use serde_json::Value;
use simulator::{Action, Fault, Match, Rows};
use tidegate::store::progress::TaskState;

use crate::support::World;
use crate::support::daemon::command;
use crate::support::world::{Recipe, assert_succeeded};

const STREAM: &str = "navigation_marks";
/// Rows of each day.
const DAY_ROWS: i64 = 250;

/// Midnight this many days before today.
fn ago(days: i64) -> DateTime<Utc> {
    (Utc::now() - TimeDelta::days(days)).date_naive().and_time(NaiveTime::MIN).and_utc()
}

/// A world in which two past days have been loaded.
async fn loaded(job: &[&str]) -> World {
    let job = job.iter().map(|line| (*line).to_owned()).collect();
    let world = World::with(Recipe { start: ago(2).date_naive(), job, ..Recipe::default() }).await;
    assert_succeeded(&world.backfill(ago(2), ago(0)).await);
    assert_eq!(rows(&world).await, 2 * DAY_ROWS);
    world
}

/// Reads the two days again.
async fn read_again(world: &World) -> TaskState {
    let tasks = world.backfill(ago(2), ago(0)).await;
    assert_eq!(tasks.len(), 1);
    tasks.into_iter().next().unwrap()
}

async fn rows(world: &World) -> i64 {
    world.scalar(&format!("select count(*) from lynn.{STREAM}")).await
}

async fn held(world: &World) -> Vec<Value> {
    let output = command(world, &[], &["held", "--json"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    document["held"].as_array().unwrap().clone()
}

fn assert_held(task: &TaskState, why: &str) {
    assert_eq!((task.state.as_str(), task.run_state.as_str()), ("held", "held"), "{task:#?}");
    assert!(task.error.as_deref().unwrap().contains(why), "{task:#?}");
    assert!(task.hint.as_deref().unwrap().contains("tidegate held"), "{task:#?}");
}

fn respond(world: &World, action: Action) {
    world.control().mischief(Fault::new(Match::report(STREAM), action).times(99));
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_valid_response_without_rows_deletes_nothing_and_is_held() {
    let world = loaded(&[]).await;
    let empty = r#"{"isValid":true,"pageCount":0,"result":[],"errors":null,"lastDocument":null}"#;
    for action in [Action::ResultNull, Action::Json { status: 200, body: empty.to_owned() }] {
        // As the only page: a page count that announces more would be another error.
        world.control().shape(|shape| shape.page_count = simulator::lynn::PageCount::FirstOnly);
        let body = empty.replace("[]", if action == Action::ResultNull { "null" } else { "[]" });
        respond(&world, Action::Json { status: 200, body });
        assert_held(&read_again(&world).await, "none of 250 rows");
        assert_eq!(rows(&world).await, 2 * DAY_ROWS);
        let held = held(&world).await;
        assert_eq!(held.len(), 2);
        for slice in held {
            assert_eq!((slice["rows_there"].as_i64(), slice["rows_reported"].as_i64()), (Some(DAY_ROWS), Some(0)));
            assert_eq!((slice["connection"].as_str(), slice["stream"].as_str()), (Some("acme"), Some(STREAM)));
        }
        // The next complete reading ends the hold.
        world.control().quiet();
        assert_succeeded(&[read_again(&world).await]);
        assert_eq!(rows(&world).await, 2 * DAY_ROWS);
    }
    assert!(held(&world).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_half_of_the_rows_is_held_while_new_and_changed_rows_are_applied() {
    let world = loaded(&[]).await;
    let day = || Rows::between(STREAM, ago(1), ago(0));
    assert_eq!(world.control().lynn().vanish(day().every(2)).unwrap(), 125);
    world.control().lynn().insert(STREAM, ago(1) + TimeDelta::hours(5)).unwrap();
    let task = read_again(&world).await;
    assert_held(&task, "126 rows where there were 250, less than 80 %");
    assert_eq!((task.rows_inserted, task.rows_deleted), (1, 0));
    assert_eq!(rows(&world).await, 2 * DAY_ROWS + 1);
    // The same again: the slice stays held, since the same time.
    let since: DateTime<Utc> = world.scalar("select held_since from tidegate.slice where held_since is not null").await;
    assert_held(&read_again(&world).await, "126 rows where there were 250");
    let still: DateTime<Utc> = world.scalar("select held_since from tidegate.slice where held_since is not null").await;
    assert_eq!(since, still);
    let total: i64 = world.scalar("select rows_total from tidegate.slice where held_since is not null").await;
    assert_eq!(total, DAY_ROWS + 1, "the rows in the table, not those reported");
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_small_loss_is_accepted() {
    let world = loaded(&[]).await;
    assert!(world.control().lynn().vanish(Rows::between(STREAM, ago(1), ago(0)).every(10)).unwrap() >= 20);
    let task = read_again(&world).await;
    assert_succeeded(std::slice::from_ref(&task));
    assert_eq!(task.rows_deleted, 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_announced_pages_that_cannot_be_read_fail_the_slice_and_delete_nothing() {
    let world = loaded(&[]).await;
    world.control().next(Match::report(STREAM).page(2), Action::NoLastDocument);
    let task = read_again(&world).await;
    assert_eq!(task.state, "failed", "{task:#?}");
    assert!(task.error.as_deref().unwrap().contains("page 3 of 3"), "{task:#?}");
    assert_eq!(rows(&world).await, 2 * DAY_ROWS);
    let empty = r#"{"isValid":true,"pageCount":2,"result":[],"errors":null,"lastDocument":[1]}"#;
    world.control().next(Match::report(STREAM).page(2), Action::Json { status: 200, body: empty.to_owned() });
    let task = read_again(&world).await;
    assert!(task.error.as_deref().unwrap().contains("page 2 of 3 is empty"), "{task:#?}");
    assert_eq!(rows(&world).await, 2 * DAY_ROWS);
    // A reading that was begun is finished the next time.
    assert_succeeded(&[read_again(&world).await]);
    assert_eq!(rows(&world).await, 2 * DAY_ROWS);
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_full_page_without_a_count_or_a_next_page_fails_the_slice() {
    let world = loaded(&[]).await;
    let row = r#"{"timestamp":"2026-01-01T00:00:00Z","session":"s"}"#;
    let full = vec![row; 100].join(",");
    respond(&world, Action::Json { status: 200, body: format!(r#"{{"isValid":true,"result":[{full}]}}"#) });
    let task = read_again(&world).await;
    assert_eq!(task.state, "failed", "{task:#?}");
    assert!(task.error.as_deref().unwrap().contains("the page before has no lastDocument"), "{task:#?}");
    assert_eq!(rows(&world).await, 2 * DAY_ROWS);
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_reading_with_a_rejected_record_deletes_nothing_even_without_the_share_check() {
    let world = loaded(&["hold_below: 0%"]).await;
    assert_eq!(world.control().lynn().vanish(Rows::between(STREAM, ago(2), ago(1)).first(5)).unwrap(), 5);
    world.control().next(Match::report(STREAM).page(2), Action::OddRow);
    let task = read_again(&world).await;
    assert_held(&task, "1 record was refused");
    assert_eq!((task.rows_deleted, task.records_rejected, rows(&world).await), (0, 1, 2 * DAY_ROWS));
    let task = read_again(&world).await;
    assert_succeeded(std::slice::from_ref(&task));
    assert_eq!((task.rows_deleted, rows(&world).await), (5, 2 * DAY_ROWS - 5), "now every record was valid");
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_first_reading_with_a_rejected_record_is_held() {
    let world = World::with(Recipe { start: ago(2).date_naive(), ..Recipe::default() }).await;
    world.control().next(Match::report(STREAM), Action::OddRow);
    let task = read_again(&world).await;
    assert_held(&task, "1 record was refused");
    assert_eq!((task.records_rejected, rows(&world).await), (1, 2 * DAY_ROWS));
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_records_without_a_value_are_rejected_in_any_number() {
    let world = loaded(&[]).await;
    for record in ["{}", r#"{"timestamp":null,"session":null}"#] {
        let result = vec![record; 250].join(",");
        let body = format!(r#"{{"isValid":true,"pageCount":0,"result":[{result}]}}"#);
        respond(&world, Action::Json { status: 200, body });
        assert_held(&read_again(&world).await, "250 records were refused");
        assert_eq!(rows(&world).await, 2 * DAY_ROWS);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_job_may_disable_the_share_check() {
    let world = loaded(&["hold_below: 0%"]).await;
    world.control().lynn().vanish(Rows::between(STREAM, ago(1), ago(0))).unwrap();
    let task = read_again(&world).await;
    assert_succeeded(std::slice::from_ref(&task));
    assert_eq!((task.rows_deleted, rows(&world).await), (DAY_ROWS, DAY_ROWS));
}
