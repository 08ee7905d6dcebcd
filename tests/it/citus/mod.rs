//! Tables that are distributed with Citus. What Tidegate asks of Citus is tested with a stand-in for its functions on
//! plain Postgres. `TEST_CITUS_URL` names a database on the coordinator of a real cluster, for a complete run there.

mod complete;
mod stand_in;

use tidegate::store::distribution::Distribution;
use tidegate::store::migrate;

use crate::support::TestDatabase;

/// Sets `database.distribute`.
const CITUS: (&str, &str) = ("TIDEGATE__DATABASE__DISTRIBUTE", "citus");

/// Gives a database the stand-in for Citus.
async fn give_stand_in(database: &TestDatabase) {
    let mut connection = database.connect().await;
    sqlx::raw_sql(include_str!("stand_in.sql")).execute(&mut connection).await.unwrap();
}

/// A database with the stand-in, whose tables of reports are distributed.
async fn distributed() -> TestDatabase {
    let database = TestDatabase::create().await;
    give_stand_in(&database).await;
    migrate::migrate(&database.pool(), Distribution::Citus).await.unwrap();
    database
}
