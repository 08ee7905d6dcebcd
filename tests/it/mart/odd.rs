//! No value, type or structure of a table makes a view fail.

use super::{Mart, natural, tables};

const TYPES: [&str; 9] =
    ["text", "timestamptz", "bigint", "double precision", "date", "numeric", "boolean", "jsonb", "timestamp"];

#[tokio::test]
async fn p5_no_value_and_no_type_makes_a_view_fail_or_changes_its_columns() {
    let mart = Mart::new().await;
    let columns = mart.columns().await;
    // Each round gives every field another type.
    for round in 0..TYPES.len() {
        mart.add_columns(|number, _| TYPES[(number + round) % TYPES.len()]).await;
        mart.refresh().await;
        assert_eq!(mart.columns().await, columns);
        mart.fill(60, true).await;
        mart.read_all().await;
        drop_columns(&mart).await;
    }
    mart.refresh().await;
    assert_eq!(mart.columns().await, columns);
    mart.read_all().await;
}

/// Drops the columns that the data brought, and with them every view that reads them.
async fn drop_columns(mart: &Mart) {
    let dropping: Vec<String> = sqlx::query_scalar(
        "select format('alter table %s drop column %I cascade', attrelid::regclass, attname)
        from pg_attribute
        where attrelid = any(select unnest($1::text[])::regclass) and attnum > 0 and not attisdropped
            and attname !~ '^_' and col_description(attrelid, attnum) is null",
    )
    .bind(tables())
    .fetch_all(&mart.pool)
    .await
    .unwrap();
    assert!(!dropping.is_empty());
    mart.run(dropping.join(";")).await;
}

#[tokio::test]
async fn p5_a_table_that_was_dropped_or_renamed_is_empty_in_the_views_until_it_is_made_again() {
    let mart = Mart::new().await;
    mart.add_columns(natural).await;
    mart.fill(5, false).await;
    mart.refresh().await;
    let columns = mart.columns().await;
    let all = mart.read_all().await;
    mart.run("alter table khoros.response rename to response_old; drop table lynn.show_dialogs cascade").await;
    mart.refresh().await;
    assert_eq!(mart.columns().await, columns);
    assert_eq!(mart.read_all().await["messages"], all["messages"] - 10);
    mart.run("create table khoros.response (like khoros.response_old including all)").await;
    mart.run("insert into khoros.response select * from khoros.response_old limit 2").await;
    mart.refresh().await;
    assert_eq!(mart.read_all().await["messages"], all["messages"] - 8);
}

#[tokio::test]
async fn p12_a_documented_column_that_was_dropped_breaks_only_the_views_that_need_it() {
    let mart = Mart::new().await;
    mart.run("alter table lexer.nps_summary drop column total_passives cascade").await;
    mart.refresh().await;
    let left = "select count(*) from pg_views where schemaname = 'mart' and viewname in ('nps_days', 'conversations', 'messages')";
    assert_eq!(mart.count(left).await, 2, "mart.nps_days cannot be made");
    mart.run("alter table lexer.nps_summary add column total_passives bigint").await;
    mart.refresh().await;
    assert_eq!(mart.count(left).await, 3);
}
