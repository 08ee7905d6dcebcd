//! Work that is cancelled while its transaction begins.

use std::time::Duration;

use futures_util::FutureExt as _;
use sqlx::{Connection as _, Row as _};
use tidegate::store::session::pool_options;
use tokio::time::timeout;

use crate::support::TestDatabase;

const TIMES: u64 = 100;

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_transaction_whose_begin_was_cancelled_is_not_left_to_the_next_user_of_the_session() {
    let database = TestDatabase::create().await;
    let options = pool_options(Duration::from_mins(1)).max_connections(1);
    let pool = options.connect(database.url()).await.unwrap();
    sqlx::raw_sql("create table kept (n bigint)").execute(&pool).await.unwrap();
    for turn in 0..TIMES {
        let mut session = pool.acquire().await.unwrap();
        // Dropped at any moment until the response of the database is read.
        if turn % 2 == 0 {
            drop(session.begin().now_or_never());
        } else {
            drop(timeout(Duration::from_micros(10 * turn), session.begin()).await);
        }
        drop(session);
        let mut next = pool.acquire().await.unwrap();
        let is_open = sqlx::raw_sql("select now() <> statement_timestamp()").fetch_one(&mut *next).await.unwrap();
        assert!(!is_open.get::<bool, _>(0), "in turn {turn}");
        sqlx::query("insert into kept values (1)").execute(&mut *next).await.unwrap();
    }
    pool.close().await;
    let kept: i64 = sqlx::query_scalar("select count(*) from kept").fetch_one(&database.pool()).await.unwrap();
    assert_eq!(kept, 100, "all is committed");
}
