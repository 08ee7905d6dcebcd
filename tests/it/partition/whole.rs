//! The reports of all vendors, in plain and in partitioned tables.

use chrono::{DateTime, TimeDelta, Utc};

use super::texts;
use crate::mart::company::Warehouse;
use crate::support::ago;
use crate::support::world::assert_equal;

/// Every row of every table, without what depends on the time of the run.
async fn rows(warehouse: &Warehouse) -> Vec<String> {
    let pool = warehouse.world.database.pool();
    let tables = texts(
        &pool,
        "select attrelid::regclass::text
        from pg_attribute inner join pg_class on pg_class.oid = attrelid
        where
            attname = '_run_id' and relkind in ('r', 'p') and not relispartition
            and relnamespace::regnamespace::text in ('lynn', 'khoros', 'lexer', 'jaicp')
        order by 1",
    )
    .await;
    assert!(tables.len() > 40, "{tables:?}");
    let mut rows = Vec::new();
    for table in tables {
        let query = format!(
            "select '{table} ' || (to_jsonb(t) - '{{_run_id,_loaded_at,observed_at,cleaned_at,window_end,extracted_at}}'::text[])::text from {table} as t order by 1"
        );
        rows.extend(texts(&pool, &query).await);
    }
    rows
}

async fn divided_tables(warehouse: &Warehouse) -> usize {
    let query = "select oid::regclass::text from pg_class where relkind = 'p'";
    texts(&warehouse.world.database.pool(), query).await.len()
}

fn days() -> (DateTime<Utc>, DateTime<Utc>) {
    (ago(5), ago(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_the_reports_of_all_vendors_are_equal_in_plain_and_in_partitioned_tables() {
    let (from, to) = days();
    let plain = Warehouse::between(from, to).await;
    let divided = Warehouse::with("warehouse: { partition: month }\n", from, to).await;
    assert!(divided_tables(&divided).await > 20);
    assert_equal("first reading", &rows(&divided).await, &rows(&plain).await);
    let read = async |warehouse: &Warehouse| warehouse.sync().await;
    tokio::join!(read(&plain), read(&divided));
    assert_equal("read again", &rows(&divided).await, &rows(&plain).await);
    // Now the plain tables, which have rows, views of the mart and rights, are divided.
    plain.world.edit_config(|text| format!("{text}warehouse: {{ partition: month }}\n"));
    let all = divided_tables(&divided).await;
    // A table that is in use is divided with a later task.
    for _ in 0..5 {
        tokio::join!(read(&plain), read(&divided));
        if divided_tables(&plain).await == all {
            break;
        }
    }
    assert_eq!(divided_tables(&plain).await, all);
    assert_equal("divided with rows", &rows(&divided).await, &rows(&plain).await);
    let mart = "select (conversation_key, started_at, messages)::text from mart.conversations order by 1";
    let shown = texts(&plain.world.database.pool(), mart).await;
    assert!(!shown.is_empty());
    assert_eq!(texts(&divided.world.database.pool(), mart).await, shown);
    assert!(from + TimeDelta::days(4) == to);
}
