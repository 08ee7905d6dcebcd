//! A reader's transaction stays open while a vendor adds a field (promise 12).

use std::time::Duration;

use sqlx::Connection as _;
use tidegate::schedule::end_waits;

use super::*;
use crate::support::daemon::SOON;
use crate::support::{clock, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_reader_that_locks_a_table_stops_no_load_and_the_column_is_added_later() {
    if clock::is_shifted() {
        return;
    }
    let world = World::with(Recipe::of_undocumented_report()).await;
    assert_eq!(world.sync().await[0].state, "succeeded");
    let changed = world.give_rows_a_new_field();
    let mut reader = world.database.connect().await;
    let mut transaction = reader.begin().await.unwrap();
    let _: i64 = sqlx::query_scalar("select count(*) from lynn.current_interactions")
        .fetch_one(&mut *transaction)
        .await
        .unwrap();

    world.sync_ok().await;
    let extra = "select count(*) from lynn.current_interactions where _extra ->> 'newField' = 'x'";
    assert_eq!(world.scalar::<i64>(extra).await, changed);

    transaction.rollback().await.unwrap();
    assert_eq!(world.sync().await[0].state, "succeeded");
    let column = "select count(*) from lynn.current_interactions where new_field = 'x' and _extra is null";
    assert_eq!(world.scalar::<i64>(column).await, changed, "the next run brings the values to their column");
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_column_that_was_dropped_from_a_locked_table_is_waited_for_and_the_error_names_the_lock() {
    let world = World::with(Recipe { start: ago(1).date_naive(), ..Recipe::default() }).await;
    world.sync_ok().await;
    let before: i64 = world.scalar("select count(*) from lynn.navigation_marks").await;
    let pool = world.database.pool();
    sqlx::raw_sql("alter table lynn.navigation_marks drop column intent cascade").execute(&pool).await.unwrap();
    let mut reader = world.database.connect().await;
    let mut transaction = reader.begin().await.unwrap();
    sqlx::raw_sql("lock table lynn.navigation_marks in access share mode").execute(&mut *transaction).await.unwrap();
    let (tasks, ()) = tokio::join!(world.sync_ok(), async {
        let waits = "select error || '; ' || hint from tidegate.task
            where waiting_for = 'table' and error like '%lynn.navigation_marks%has locked it%'";
        let said: String =
            eventually(SOON, async || sqlx::query_scalar(waits).fetch_optional(&pool).await.unwrap()).await;
        assert!(said.contains("end the transaction that keeps the table locked"), "{said}");
        transaction.rollback().await.unwrap();
        end_waits(&mut world.database.connect().await).await.unwrap();
    });
    assert_eq!(tasks[0].state, "succeeded");
    assert_eq!(world.scalar::<i64>("select count(*) from lynn.navigation_marks").await, before);
}

const LACKING: &str = "select count(*) from tidegate.slice where lacks_columns_since is not null";
const IN_EXTRA: &str = "select count(*) from lynn.current_interactions where _extra is not null";
/// Runs that added columns.
const GROWN: &str = "select count(distinct run_id) from tidegate.schema_change where change = 'add_column'";
/// What a reader's transaction holds.
const LOCK: &str = "lock table lynn.current_interactions in access share mode";

/// A job that reads the slices of the last days, each once.
fn days(days: i64) -> Recipe {
    Recipe {
        start: ago(days).date_naive(),
        streams: "[current_interactions]",
        job: vec!["lookback: 0s".to_owned()],
        ..Recipe::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_values_that_were_read_while_the_table_was_locked_come_to_their_columns_without_a_lookback() {
    if clock::is_shifted() {
        return;
    }
    let world = World::with(days(4)).await;
    let mut reader = world.database.connect().await;
    let mut transaction = reader.begin().await.unwrap();
    sqlx::raw_sql(LOCK).execute(&mut *transaction).await.unwrap();
    let tasks = world.sync_ok().await;
    assert!(tasks[0].slices_done >= 4 && tasks[0].values_extra > 0, "{tasks:?}");
    // The slice of today may have no rows yet.
    assert!(world.scalar::<i64>(LACKING).await >= 4);
    assert!(world.scalar::<i64>(IN_EXTRA).await > 0);

    // As long as the table is locked, the values stay where they are.
    let tasks = world.sync_ok().await;
    assert!(tasks[0].slices_done <= 1, "{tasks:?}");
    assert!(world.scalar::<i64>(LACKING).await >= 4);

    transaction.rollback().await.unwrap();
    let tasks = world.sync_ok().await;
    assert!(tasks[0].slices_done <= 1, "no slice is read again for its columns: {tasks:?}");
    assert_eq!((world.scalar::<i64>(LACKING).await, world.scalar::<i64>(IN_EXTRA).await), (0, 0));
    world.assert_truth("current_interactions", ago(4), tasks[0].last_window_end.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_table_gets_its_columns_with_the_next_slice_after_a_lock_has_ended() {
    if clock::is_shifted() {
        return;
    }
    let world = World::with(days(4)).await;
    let mut reader = world.database.connect().await;
    let mut transaction = reader.begin().await.unwrap();
    sqlx::raw_sql(LOCK).execute(&mut *transaction).await.unwrap();
    let (tasks, ()) = tokio::join!(world.sync_ok(), async {
        eventually(SOON, async || (world.scalar::<i64>(LACKING).await > 0).then_some(())).await;
        transaction.rollback().await.unwrap();
    });
    assert!(tasks[0].slices_done >= 4 && tasks[0].values_extra > 0, "{tasks:?}");
    assert_eq!(world.scalar::<i64>(GROWN).await, 1, "the run that found the table locked adds the columns");
    assert_eq!((world.scalar::<i64>(LACKING).await, world.scalar::<i64>(IN_EXTRA).await), (0, 0));
    world.assert_truth("current_interactions", ago(4), tasks[0].last_window_end.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_table_gets_its_columns_between_the_pages_of_a_slice_after_a_lock_has_ended() {
    if clock::is_shifted() {
        return;
    }
    let recipe = days(1);
    // A page per second.
    let options = recipe.options.clone().limit("requests", 1, Duration::from_secs(1));
    let world = World::with(Recipe { page_size: 25, options, ..recipe }).await;
    let mut reader = world.database.connect().await;
    let mut transaction = reader.begin().await.unwrap();
    sqlx::raw_sql(LOCK).execute(&mut *transaction).await.unwrap();
    let (tasks, ()) = tokio::join!(world.sync_ok(), async {
        eventually(SOON, async || (world.scalar::<i64>(LACKING).await > 0).then_some(())).await;
        transaction.rollback().await.unwrap();
    });
    assert!(tasks[0].values_extra > 0, "{tasks:?}");
    let within = "select min(changed_at) < (select min(finished_at) from tidegate.slice) from tidegate.schema_change
        where change = 'add_column'";
    assert!(world.scalar::<bool>(within).await, "the rest of the first slice has its columns");
    assert_eq!((world.scalar::<i64>(LACKING).await, world.scalar::<i64>(IN_EXTRA).await), (0, 0));
    world.assert_truth("current_interactions", ago(1), tasks[0].last_window_end.unwrap()).await;
}
