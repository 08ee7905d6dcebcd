//! A reader's transaction stays open while a vendor adds a field (promise 12).

use simulator::{Change, Rows};
use sqlx::Connection as _;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_reader_that_locks_a_table_stops_no_load_and_the_column_is_added_later() {
    // `faketime` shows the real time to a signal handler that interrupts `epoll_wait`, so Postgres, whose shifted clock
    // is ahead, takes the alarm that ends a wait for a lock for one that came too early, and `lock_timeout` never
    // passes.
    if std::env::var_os("FAKETIME").is_some() {
        println!("skipped: the clock is shifted");
        return;
    }
    let world = World::with(Recipe {
        start: ago(2).date_naive(),
        streams: "[current_interactions]",
        job: vec!["lookback: 5d".to_owned()],
        ..Recipe::default()
    })
    .await;
    assert_eq!(world.sync().await[0].state, "succeeded");
    let day = Rows::between("current_interactions", ago(1), ago(0)).first(50);
    let change = Change::Set { field: "newField".to_owned(), json: "\"x\"".to_owned() };
    let changed = i64::try_from(world.control().lynn().change(day, change).unwrap()).unwrap();
    assert!(changed > 0);
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
