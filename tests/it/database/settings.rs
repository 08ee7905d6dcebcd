//! Settings of the role and of the environment do not affect a run.

use std::time::Duration;

use tidegate::schedule::ByHand;
use tidegate::store::run;
use tidegate::store::task::{self, TaskEnd};

use super::role::Role;
use super::{command_at, execute, expect, small_world};
use crate::support::{TestDatabase, ago, daemon};

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_the_role_do_not_affect_a_run() {
    let (world, role) = (small_world().await, Role::create("superuser").await);
    let mut admin = TestDatabase::superuser().await;
    for setting in [
        "statement_timeout = 1",
        "lock_timeout = 1",
        "default_transaction_isolation = serializable",
        "\"DateStyle\" = 'German'",
        "\"IntervalStyle\" = 'sql_standard'",
        "\"TimeZone\" = 'Asia/Kathmandu'",
        "extra_float_digits = 0",
        "bytea_output = escape",
        "search_path = nowhere",
        "transform_null_equals = on",
        "quote_all_identifiers = on",
        "default_transaction_read_only = on",
    ] {
        execute(&mut admin, format!("alter role \"{}\" set {setting}", role.name)).await;
    }
    let name = world.database.name();
    let reads_only = format!("alter role \"{}\" in database {name} set default_transaction_read_only = on", role.name);
    execute(&mut admin, reads_only).await;
    let url = role.url(&world.database);
    for args in [&["check"][..], &["migrate"], &["sync"], &["status"]] {
        expect(&command_at(&world, &url, args).await, 0);
    }
    let until = world.scalar("select max(read_until) from tidegate.slice").await;
    world.assert_truth("navigation_marks", ago(2), until).await;
    drop(world);
    role.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pgoptions_is_refused_because_it_would_change_every_session() {
    let world = small_world().await;
    for args in [&["check"][..], &["sync"], &["run"]] {
        let output = daemon::command(&world, &[("PGOPTIONS", "-c default_transaction_read_only=on")], args).await;
        let (_, said) = expect(&output, 1);
        assert!(said.contains("PGOPTIONS is set") && said.contains("env -u PGOPTIONS"), "{args:?}: {said}");
    }
    expect(&daemon::command(&world, &[("PGOPTIONS", "")], &["check"]).await, 0);
}

#[tokio::test]
async fn an_error_with_characters_that_postgres_cannot_store_ends_the_task() {
    let world = small_world().await;
    world.enqueue(ByHand::Manual).await;
    let pool = world.database.pool();
    let mut conn = pool.acquire().await.unwrap();
    let claimed = run::claim(&mut conn, "worker", Duration::from_secs(30), |job| job == "lynn", None).await;
    let claim = claimed.unwrap().unwrap();
    let end = TaskEnd::Failed { error: "it says a\0b".to_owned(), hint: "ask\0".to_owned(), needs_operator: false };
    assert!(task::end(&pool, &claim, "navigation_marks", &end).await.unwrap());
    let stored: String = world.scalar("select state || error || hint from tidegate.task").await;
    assert_eq!(stored, "failedit says a\u{fffd}bask\u{fffd}");
}
