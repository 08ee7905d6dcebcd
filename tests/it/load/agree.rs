//! Catalogue, migrations and conventions agree on the live schema.

use std::collections::BTreeMap;

use sqlx::{Connection, Executor};
use tidegate::catalogue::{self, Key};
use tidegate::vendor::Vendor;

use crate::support::TestDatabase;

const SYSTEM: [(&str, &str); 6] = [
    ("_connection", "text"),
    ("_window_start", "timestamp with time zone"),
    ("_row_key", "uuid"),
    ("_extra", "jsonb"),
    ("_run_id", "bigint"),
    ("_loaded_at", "timestamp with time zone"),
];

#[tokio::test]
async fn every_catalogue_stream_has_its_table_with_its_columns_types_and_comments() {
    let database = TestDatabase::create().await;
    let mut tables = 0;
    for stream in Vendor::ALL.iter().flat_map(|vendor| catalogue::streams(*vendor)) {
        let columns: Vec<(String, String, bool, Option<String>)> = sqlx::query_as(
            "select attname::text, format_type(atttypid, atttypmod), attnotnull, col_description(attrelid, attnum)
            from pg_attribute
            where attrelid = to_regclass(format('%I.%I', $1, $2)) and attnum > 0 and not attisdropped
            order by attnum",
        )
        .bind(stream.schema)
        .bind(&*stream.name)
        .fetch_all(&database.pool())
        .await
        .unwrap();
        let (system, fields): (Vec<_>, Vec<_>) = columns.into_iter().partition(|(name, ..)| name.starts_with('_'));
        let system: Vec<(&str, &str)> = system.iter().map(|(name, kind, ..)| (name.as_str(), kind.as_str())).collect();
        assert_eq!(system, SYSTEM, "{}", stream.name);
        let found: Vec<_> =
            fields.iter().map(|(name, kind, _, comment)| (&**name, &**kind, comment.as_deref())).collect();
        let wanted: Vec<_> = stream
            .columns
            .iter()
            .map(|column| {
                let kind = column.kind.sql().replace("timestamptz", "timestamp with time zone");
                (&*column.name, kind, Some(&*column.meaning))
            })
            .collect();
        assert_eq!(found, wanted.iter().map(|(n, k, m)| (*n, &**k, *m)).collect::<Vec<_>>(), "{}", stream.name);
        for column in stream.columns.iter() {
            assert_eq!(column.name, catalogue::column_name(&column.field), "{}", stream.name);
        }
        let comment: Option<String> =
            sqlx::query_scalar("select obj_description(to_regclass(format('%I.%I', $1, $2)))")
                .bind(stream.schema)
                .bind(&*stream.name)
                .fetch_one(&database.pool())
                .await
                .unwrap();
        assert!(comment.unwrap().starts_with(&*stream.meaning), "{}", stream.name);
        let key: Vec<String> = sqlx::query_scalar(
            "select attname::text
            from pg_index, unnest(indkey) with ordinality as part (number, place)
            inner join pg_attribute on attnum = part.number
            where indrelid = to_regclass(format('%I.%I', $1, $2)) and indisprimary and attrelid = indrelid
            order by part.place",
        )
        .bind(stream.schema)
        .bind(&*stream.name)
        .fetch_all(&database.pool())
        .await
        .unwrap();
        let mut wanted = vec!["_connection".to_owned()];
        wanted.extend(stream.windowed().then(|| "_window_start".to_owned()));
        match &stream.key {
            Key::RowHash | Key::Fields(_) => wanted.push("_row_key".to_owned()),
            Key::Columns(columns) => wanted.extend(columns.iter().map(ToString::to_string)),
        }
        assert_eq!(key, wanted, "{}", stream.name);
        tables += 1;
    }
    let made: i64 = sqlx::query_scalar("select count(*) from pg_tables where schemaname = 'lynn'")
        .fetch_one(&database.pool())
        .await
        .unwrap();
    assert_eq!(made, tables, "a table for every stream and no other");
}

#[tokio::test]
async fn every_schema_table_and_column_says_what_it_means() {
    let database = TestDatabase::create().await;
    let silent: Vec<String> = sqlx::query_scalar(
        "select nspname::text from pg_namespace
        where nspname in ('tidegate', 'lynn') and obj_description(oid, 'pg_namespace') is null
        union all
        select relname::text from pg_class inner join pg_namespace as n on n.oid = relnamespace
        where nspname in ('tidegate', 'lynn') and relkind in ('r', 'v', 'm', 'p')
            and obj_description(pg_class.oid, 'pg_class') is null
        union all
        select relname || '.' || attname
        from pg_attribute
        inner join pg_class on pg_class.oid = attrelid
        inner join pg_namespace as n on n.oid = relnamespace
        where nspname in ('tidegate', 'lynn') and relkind in ('r', 'v', 'm', 'p') and attnum > 0 and not attisdropped
            and coalesce(col_description(attrelid, attnum), '') = ''",
    )
    .fetch_all(&database.pool())
    .await
    .unwrap();
    assert_eq!(silent, Vec::<String>::new());
}

#[tokio::test]
async fn every_table_has_a_primary_key_and_named_constraints_and_no_bare_timestamp() {
    let database = TestDatabase::create().await;
    let faults: Vec<String> = sqlx::query_scalar(
        "select relname || ' has no primary key'
        from pg_class inner join pg_namespace as n on n.oid = relnamespace
        where nspname in ('tidegate', 'lynn') and relkind = 'r'
            and not exists (select from pg_index where indrelid = pg_class.oid and indisprimary)
        union all
        select relname || '.' || attname || ' is part of a key and may be null'
        from pg_index
        inner join pg_class on pg_class.oid = indrelid
        inner join pg_namespace as n on n.oid = relnamespace
        inner join pg_attribute on attrelid = indrelid and attnum = any(indkey)
        where nspname in ('tidegate', 'lynn') and indisprimary and not attnotnull
        union all
        select table_name || '.' || column_name || ' is a timestamp without a zone'
        from information_schema.columns
        where table_schema in ('tidegate', 'lynn') and data_type = 'timestamp without time zone'",
    )
    .fetch_all(&database.pool())
    .await
    .unwrap();
    assert_eq!(faults, Vec::<String>::new());
}

#[tokio::test]
async fn the_reader_role_sees_the_warehouse_and_nothing_of_the_control_schema() {
    let database = TestDatabase::create().await;
    let rights: Vec<(String, String, bool, bool)> = sqlx::query_as(
        "select schemaname::text, tablename::text,
            has_schema_privilege('tidegate_reader', schemaname, 'usage')
                and has_table_privilege('tidegate_reader', format('%I.%I', schemaname, tablename), 'select'),
            has_table_privilege('tidegate_reader', format('%I.%I', schemaname, tablename), 'insert, update, delete, truncate')
        from pg_tables where schemaname in ('tidegate', 'lynn')",
    )
    .fetch_all(&database.pool())
    .await
    .unwrap();
    let mut counts = BTreeMap::new();
    for (schema, table, reads, writes) in rights {
        assert_eq!(reads, schema == "lynn", "{schema}.{table}");
        assert!(!writes, "{schema}.{table}");
        *counts.entry(schema).or_insert(0) += 1;
    }
    assert_eq!(counts["lynn"], 8);
    assert!(counts["tidegate"] > 5);
    // Not only by what the catalogue says.
    let mut session = database.connect().await;
    session.execute("set role tidegate_reader").await.unwrap();
    session.execute("select * from lynn.navigation_marks").await.unwrap();
    assert!(session.execute("select * from tidegate.run").await.is_err());
    assert!(session.execute("delete from lynn.navigation_marks").await.is_err());
    session.close().await.unwrap();
}
