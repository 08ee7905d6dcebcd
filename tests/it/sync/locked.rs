//! A reader's transaction stays open while a vendor adds a field (promise 12).

use sqlx::Connection as _;

use super::*;
use crate::support::clock;

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
    assert_eq!(world.scalar::<i64>(column).await, changed, "the next reading brings the values to their column");
}
