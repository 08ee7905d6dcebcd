//! Catalogue, migrations and conventions agree on the live schema.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sqlx::{Connection, Executor};
use tidegate::catalogue::{self, Column, Mode, Stream};
use tidegate::connector;
use tidegate::store::migrations;

use crate::support::TestDatabase;

/// A table according to the catalogue: schema, name, meaning, key, system columns and its own columns.
struct Wanted {
    schema: &'static str,
    name: String,
    meaning: String,
    key: Vec<String>,
    system: Vec<&'static str>,
    columns: Vec<Column>,
}

/// Every schema that the migrations create, the one of the control tables first.
fn schemas() -> Vec<String> {
    migrations::schemas().into_iter().map(|schema| schema.name).collect()
}

fn wanted() -> Vec<Wanted> {
    connector::all_streams().iter().flat_map(with_children).collect()
}

fn with_children(stream: &Stream) -> Vec<Wanted> {
    let key: Vec<String> = stream.primary_key().into_iter().map(ToOwned::to_owned).collect();
    let mut system = vec!["_connection"];
    system.extend((stream.mode == Mode::ReplaceWindow).then_some("_window_start"));
    system.extend(key.iter().any(|name| name == "_row_key").then_some("_row_key"));
    system.extend(["_extra", "_run_id", "_loaded_at"]);
    system.extend((stream.mode == Mode::Snapshot).then_some("_deleted_at"));
    let (schema, name, meaning) = (stream.schema, stream.name.to_string(), stream.meaning.to_string());
    let parent = Wanted { schema, name, meaning, key, system, columns: stream.columns.to_vec() };
    let children = stream.children.iter().map(|child| {
        let of_parent = child.parent.iter().map(|(theirs, ours)| {
            let column = stream.columns.iter().find(|column| column.name == *theirs).unwrap();
            Column { name: ours.clone(), ..column.clone() }
        });
        let columns: Vec<Column> = of_parent.chain(child.columns.iter().cloned()).collect();
        let key = columns[..=child.parent.len()].iter().map(|column| column.name.to_string());
        Wanted {
            schema: stream.schema,
            name: child.name.to_string(),
            meaning: child.meaning.to_string(),
            key: ["_connection".to_owned()].into_iter().chain(key).collect(),
            system: vec!["_connection", "_extra", "_run_id", "_loaded_at"],
            columns,
        }
    });
    [parent].into_iter().chain(children).collect()
}

fn system_type(name: &str) -> &'static str {
    match name {
        "_connection" => "text",
        "_row_key" => "uuid",
        "_extra" => "jsonb",
        "_run_id" => "bigint",
        _ => "timestamp with time zone",
    }
}

#[tokio::test]
async fn every_catalogue_stream_has_its_table_with_its_columns_types_and_comments() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    for wanted in wanted() {
        let name = format!("{}.{}", wanted.schema, wanted.name);
        let columns: Vec<(String, String, Option<String>)> = sqlx::query_as(
            "select attname::text, format_type(atttypid, atttypmod), col_description(attrelid, attnum)
            from pg_attribute
            where attrelid = to_regclass(format('%I.%I', $1, $2)) and attnum > 0 and not attisdropped
            order by attnum",
        )
        .bind(wanted.schema)
        .bind(&wanted.name)
        .fetch_all(&pool)
        .await
        .unwrap();
        let (system, fields): (Vec<_>, Vec<_>) = columns.into_iter().partition(|(name, ..)| name.starts_with('_'));
        let system: Vec<(&str, &str)> = system.iter().map(|(name, kind, _)| (name.as_str(), kind.as_str())).collect();
        let expected: Vec<_> = wanted.system.iter().map(|name| (*name, system_type(name))).collect();
        assert_eq!(system, expected, "{name}");
        let found: Vec<_> =
            fields.iter().map(|(name, kind, comment)| (&**name, kind.clone(), comment.as_deref())).collect();
        let expected: Vec<_> = wanted
            .columns
            .iter()
            .map(|column| {
                let kind = column.kind.sql().replace("timestamptz", "timestamp with time zone");
                (&*column.name, kind, Some(&*column.meaning))
            })
            .collect();
        assert_eq!(found, expected, "{name}");
        let comment: Option<String> =
            sqlx::query_scalar("select obj_description(to_regclass(format('%I.%I', $1, $2)))")
                .bind(wanted.schema)
                .bind(&wanted.name)
                .fetch_one(&pool)
                .await
                .unwrap();
        assert!(comment.unwrap().starts_with(&wanted.meaning), "{name}");
        let key: Vec<String> = sqlx::query_scalar(
            "select attname::text
            from pg_index, unnest(indkey) with ordinality as part (number, place)
            inner join pg_attribute on attnum = part.number
            where indrelid = to_regclass(format('%I.%I', $1, $2)) and indisprimary and attrelid = indrelid
            order by part.place",
        )
        .bind(wanted.schema)
        .bind(&wanted.name)
        .fetch_all(&pool)
        .await
        .unwrap();
        assert_eq!(key, wanted.key, "{name}");
    }
    let mut made: Vec<String> =
        sqlx::query_scalar("select schemaname || '.' || tablename from pg_tables where schemaname = any($1)")
            .bind(&schemas()[1..])
            .fetch_all(&pool)
            .await
            .unwrap();
    let mut named: Vec<String> = wanted().iter().map(|table| format!("{}.{}", table.schema, table.name)).collect();
    made.sort();
    named.sort();
    assert_eq!(made, named, "a table for every stream and no other");
}

#[test]
fn columns_are_named_by_the_rule_and_keys_are_columns() {
    for stream in connector::all_streams() {
        for column in stream.columns.iter() {
            assert_eq!(column.name, catalogue::column_name(&column.field), "{}", stream.name);
        }
        for name in stream.primary_key().into_iter().filter(|name| !name.starts_with('_')) {
            assert!(stream.columns.iter().any(|column| column.name == name), "{}.{name}", stream.name);
        }
        for child in stream.children.iter() {
            let parents: Vec<&str> = child.parent.iter().map(|(theirs, _)| &**theirs).collect();
            assert_eq!(stream.primary_key()[1..], parents, "{}", child.name);
            assert!(!stream.columns.iter().any(|column| column.field == child.field), "{}", child.name);
        }
    }
}

#[tokio::test]
async fn every_schema_table_and_column_has_a_comment() {
    let database = TestDatabase::create().await;
    let silent: Vec<String> = sqlx::query_scalar(
        "select nspname::text from pg_namespace
        where nspname = any($1) and obj_description(oid, 'pg_namespace') is null
        union all
        select relname::text from pg_class inner join pg_namespace as n on n.oid = relnamespace
        where nspname = any($1) and relkind in ('r', 'v', 'm', 'p')
            and obj_description(pg_class.oid, 'pg_class') is null
        union all
        select relname || '.' || attname
        from pg_attribute
        inner join pg_class on pg_class.oid = attrelid
        inner join pg_namespace as n on n.oid = relnamespace
        where nspname = any($1) and relkind in ('r', 'v', 'm', 'p') and attnum > 0 and not attisdropped
            and coalesce(col_description(attrelid, attnum), '') = ''",
    )
    .bind(schemas())
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
        where nspname = any($1) and relkind = 'r'
            and not exists (select from pg_index where indrelid = pg_class.oid and indisprimary)
        union all
        select relname || '.' || attname || ' is part of a key and may be null'
        from pg_index
        inner join pg_class on pg_class.oid = indrelid
        inner join pg_namespace as n on n.oid = relnamespace
        inner join pg_attribute on attrelid = indrelid and attnum = any(indkey)
        where nspname = any($1) and indisprimary and not attnotnull
        union all
        select table_name || '.' || column_name || ' is a timestamp without a zone'
        from information_schema.columns
        where table_schema = any($1) and data_type = 'timestamp without time zone'",
    )
    .bind(schemas())
    .fetch_all(&database.pool())
    .await
    .unwrap();
    assert_eq!(faults, Vec::<String>::new());
}

#[tokio::test]
async fn the_reader_role_can_read_the_warehouse_but_not_the_control_schema() {
    let database = TestDatabase::create().await;
    let rights: Vec<(String, String, bool, bool)> = sqlx::query_as(
        "select schemaname::text, tablename::text,
            has_schema_privilege('tidegate_reader', schemaname, 'usage')
                and has_table_privilege('tidegate_reader', format('%I.%I', schemaname, tablename), 'select'),
            has_table_privilege('tidegate_reader', format('%I.%I', schemaname, tablename), 'insert, update, delete, truncate')
        from pg_tables where schemaname = any($1)",
    )
    .bind(schemas())
    .fetch_all(&database.pool())
    .await
    .unwrap();
    let mut counts = BTreeMap::new();
    for (schema, table, reads, writes) in rights {
        assert_eq!(reads, schema != "tidegate", "{schema}.{table}");
        assert!(!writes, "{schema}.{table}");
        *counts.entry(schema).or_insert(0) += 1;
    }
    assert!(counts["lynn"] >= 8);
    assert!(counts["tidegate"] > 5);
    // Tried, and not only read from Postgres's catalogue.
    let mut session = database.connect().await;
    session.execute("set role tidegate_reader").await.unwrap();
    session.execute("select * from lynn.navigation_marks").await.unwrap();
    assert!(session.execute("select * from tidegate.run").await.is_err());
    assert!(session.execute("delete from lynn.navigation_marks").await.is_err());
    session.close().await.unwrap();
}

#[tokio::test]
async fn p7_the_reader_role_can_create_change_and_run_nothing() {
    let database = TestDatabase::create().await;
    let mut session = database.connect().await;
    session.execute("set role tidegate_reader").await.unwrap();
    for statement in [
        "create table lynn.mine (x int)",
        "create function lynn.mine() returns int language sql as 'select 1'",
        "create schema mine",
        "alter table lynn.navigation_marks add column mine int",
        "comment on table lynn.navigation_marks is 'mine'",
        "create index mine on lynn.navigation_marks (session)",
        "truncate lynn.navigation_marks",
        "copy lynn.navigation_marks to program 'true'",
        "copy lynn.navigation_marks from '/etc/passwd'",
        "select pg_read_file('/etc/passwd')",
        "select * from tidegate.rejected_record",
        "select * from tidegate.slice",
        "select * from tidegate._sqlx_migrations",
        "select tidegate.quota_reserve(null)",
    ] {
        let refused = session.execute(statement).await.unwrap_err();
        let code = refused.as_database_error().and_then(|error| error.code().map(Cow::into_owned));
        assert_eq!(code.as_deref(), Some("42501"), "{statement}: {refused}");
    }
    session.close().await.unwrap();
}
