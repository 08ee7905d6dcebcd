//! Tables of windows that are divided into monthly partitions, and what is dropped when it is too old.

mod divide;
mod keep;
mod load;
mod whole;

use sqlx::{AssertSqlSafe, PgPool};
use tidegate::store::distribution::Distribution;

use crate::load::plant::Plant;

/// Divides the table of a plant.
async fn divided(plant: &Plant) -> bool {
    let mut session = plant.pool.acquire().await.unwrap();
    tidegate::load::divide::arrange(&mut session, &plant.stream, Distribution::None, true).await.unwrap()
}

async fn run(pool: &PgPool, statements: &str) {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(pool).await.unwrap();
}

/// The results of a query with one text per row.
async fn texts(pool: &PgPool, query: &str) -> Vec<String> {
    sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_all(pool).await.unwrap()
}

/// The partitions of a table with their bounds.
async fn partitions(pool: &PgPool, table: &str) -> Vec<String> {
    let query = format!(
        "select relname || ': ' || pg_get_expr(relpartbound, oid)
        from pg_inherits inner join pg_class on oid = inhrelid
        where inhparent = '{table}'::regclass and relispartition
        order by relname"
    );
    let bounds = texts(pool, &query).await;
    let shorter = |text: String| text.replace(" 00:00:00+00", "").replace("FOR VALUES FROM ", "").replace('\'', "");
    bounds.into_iter().map(shorter).collect()
}
