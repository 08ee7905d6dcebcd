//! Tables of earlier versions get their index by time from a daemon; `tidegate migrate` says how many wait for it.

use crate::support::daemon::{Daemon, SOON, command};
use crate::support::{World, eventually};

const INDEXES: &str = "select count(*) from pg_index
    where indrelid = 'lynn.navigation_marks'::regclass and indisvalid and not indisprimary";
const PARAMETERS: &str = "select count(*) from pg_class
    where oid = 'lynn.navigation_marks'::regclass and reloptions @> '{autovacuum_vacuum_scale_factor=0.05}'";

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_builds_the_index_of_a_table_that_has_none() {
    let world = World::new().await;
    assert_eq!(world.scalar::<i64>(INDEXES).await, 0);
    let _daemon = Daemon::start(&world).await;
    eventually(SOON, async || (world.scalar::<i64>(INDEXES).await == 1).then_some(())).await;
    assert_eq!(world.scalar::<i64>(PARAMETERS).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_says_which_tables_wait_for_their_index_and_builds_none() {
    let world = World::new().await;
    let said = async || {
        let migrated = command(&world, &[], &["migrate"]).await;
        assert!(migrated.status.success(), "{migrated:?}");
        String::from_utf8(migrated.stdout).unwrap()
    };
    assert!(!said().await.contains("index"), "a table without rows gets it with its first ones");
    let row = "insert into lynn.navigation_marks (_connection, _window_start, _row_key, _run_id, _loaded_at)
        values ('acme', now(), gen_random_uuid(), 1, now())";
    sqlx::raw_sql(row).execute(&world.database.pool()).await.unwrap();
    let waiting = said().await;
    assert!(waiting.contains("1 table gets its index by time from the daemon"), "{waiting}");
    assert_eq!((world.scalar::<i64>(INDEXES).await, world.scalar::<i64>(PARAMETERS).await), (0, 0));
}
