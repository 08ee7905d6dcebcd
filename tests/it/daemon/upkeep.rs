//! Tables of earlier versions get their index by time from a daemon, or from `tidegate migrate`.

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
async fn migrate_builds_the_index_of_a_table_that_has_none() {
    let world = World::new().await;
    let migrated = command(&world, &[], &["migrate"]).await;
    assert!(migrated.status.success(), "{migrated:?}");
    assert_eq!((world.scalar::<i64>(INDEXES).await, world.scalar::<i64>(PARAMETERS).await), (1, 1));
}
