//! A complete run: the reports of every vendor, into distributed tables and into plain ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::TimeDelta;
use simulator::{Change, Rows};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use tidegate::config::{Config, Job};
use tidegate::schedule::{ByHand, enqueue_manual};
use tidegate::store::distribution::Distribution;
use tidegate::store::migrate;

use crate::mart::company::Warehouse;
use crate::support::ago;
use crate::support::world::{assert_equal, assert_succeeded, runs_to_end};

/// Runs every job once.
async fn run_all(config: &Arc<Config>, pool: &PgPool, by_hand: impl Fn(&Job) -> ByHand) {
    let mut runs = Vec::new();
    for job in config.jobs.values() {
        let streams: Vec<&str> = job.streams.iter().map(|stream| &*stream.stream.name).collect();
        let mut connection = pool.acquire().await.unwrap();
        runs.push(enqueue_manual(&mut connection, job, &streams, by_hand(job)).await.unwrap());
    }
    assert_succeeded(&runs_to_end(Arc::clone(config), pool.clone(), runs).await);
}

/// The rows of every table of reports, without what depends on the time of a run, such as the end of the newest slice.
async fn contents(pool: &PgPool) -> BTreeMap<String, Vec<String>> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', nspname, relname)
        from pg_class
        inner join pg_namespace on pg_namespace.oid = relnamespace
        inner join pg_attribute on attrelid = pg_class.oid and attname = '_run_id' and not attisdropped
        where nspname in ('lynn', 'khoros', 'lexer', 'jaicp') and relkind in ('r', 'p') and not relispartition",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let mut contents = BTreeMap::new();
    for table in tables {
        let rows = format!(
            "select (to_jsonb(t) - '{{_run_id,_loaded_at,_deleted_at,observed_at,extracted_at,window_end}}'::text[])::text
                || (coalesce(to_jsonb(t) ->> '_deleted_at', '') <> '')
            from {table} as t"
        );
        let mut rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(pool).await.unwrap();
        rows.sort();
        contents.insert(table, rows);
    }
    contents
}

async fn assert_same(plain: &PgPool, distributed: &PgPool) {
    let (plain, distributed) = (contents(plain).await, contents(distributed).await);
    assert!(plain.keys().eq(distributed.keys()));
    for (table, rows) in &plain {
        assert_equal(table, &distributed[table], rows);
    }
    assert!(plain.values().map(Vec::len).sum::<usize>() > 1_000);
}

/// Loads the reports of a company into the database of `distributed` and into one with plain tables: once, once more,
/// and again after the vendor has changed some.
async fn assert_loads_the_same(distributed: &PgPool) {
    migrate::migrate(distributed, Distribution::Citus).await.unwrap();
    let (from, to) = (ago(7), ago(1));
    let warehouse = Warehouse::between(from, to).await;
    let plain = (Arc::new(warehouse.world.config()), warehouse.world.database.pool());
    let mut config = warehouse.world.config();
    config.database.distribution = Distribution::Citus;
    let distributed = (Arc::new(config), distributed.clone());
    run_all(&distributed.0, &distributed.1, |_| ByHand::Manual).await;
    assert_same(&plain.1, &distributed.1).await;

    let control = warehouse.world.control();
    let rows = |report| Rows::between(report, from, to).first(30);
    let set = |field: &str, json: &str| Change::Set { field: field.to_owned(), json: json.to_owned() };
    control.lynn().change(rows("survey_result"), set("newField", "\"x\"")).unwrap();
    control.lynn().change(rows("navigation_marks"), set("markValue", "\"changed\"")).unwrap();
    let again = |job: &Job| {
        let windowed = job.streams.iter().all(|stream| stream.stream.windowed());
        if windowed { ByHand::Backfill { from, to: from + TimeDelta::days(5) } } else { ByHand::Manual }
    };
    for _ in 0..2 {
        run_all(&plain.0, &plain.1, again).await;
        run_all(&distributed.0, &distributed.1, again).await;
        assert_same(&plain.1, &distributed.1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_the_statements_for_distributed_tables_load_what_the_others_load() {
    let database = super::distributed().await;
    assert_loads_the_same(&database.pool()).await;
}

/// Empties the database that `TEST_CITUS_URL` names.
#[tokio::test(flavor = "multi_thread")]
async fn p4_a_cluster_ends_with_the_tables_of_one_server() {
    let Ok(url) = std::env::var("TEST_CITUS_URL") else {
        println!("skipped: TEST_CITUS_URL names no database on the coordinator of a Citus cluster (docs/citus.md)");
        return;
    };
    let pool = PgPoolOptions::new().max_connections(8).connect(&url).await.unwrap();
    sqlx::raw_sql("drop schema if exists mart, lynn, khoros, lexer, jaicp, tidegate cascade")
        .execute(&pool)
        .await
        .unwrap();
    assert_loads_the_same(&pool).await;
    let left: i64 = sqlx::query_scalar(
        "select count(*)
        from pg_class
        inner join pg_namespace on pg_namespace.oid = relnamespace
        inner join pg_attribute on attrelid = pg_class.oid and attname = '_run_id' and not attisdropped
        left join pg_dist_partition on logicalrelid = pg_class.oid
        where
            nspname in ('lynn', 'khoros', 'lexer', 'jaicp')
            and relkind in ('r', 'p')
            and not relispartition
            and logicalrelid is null",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(left, 0, "tables of reports that are not distributed");
}
