//! A table that has rows becomes a partitioned one without copying, and keeps everything that belongs to it.

use std::time::Duration;

use chrono::{Datelike as _, Months, NaiveDate, Utc};
use sqlx::{Connection as _, Executor as _};
use tidegate::store::distribution::Distribution;

use tidegate::load::upkeep::{self, Upkeep};

use super::{divided, partitions, run, texts};
use crate::load::fingerprints;
use crate::load::plant::{Plant, numbered, whole};
use crate::support::world::{Recipe, assert_equal};
use crate::support::{Process, World, ago, eventually};

const TABLE: &str = "lynn.survey_result";
const LONG: Duration = Duration::from_mins(1);

/// A plant with some days of rows.
async fn plant() -> Plant {
    let plant = Plant::new().await;
    for number in [0, 1, 40] {
        fingerprints::read(&plant, whole(number), &[numbered(0..150)], 1).await;
    }
    plant
}

/// The first day of the month after this one, as in names and bounds.
fn next_month() -> NaiveDate {
    Utc::now().date_naive().with_day(1).unwrap() + Months::new(1)
}

async fn rows(plant: &Plant) -> Vec<String> {
    texts(&plant.pool, "select to_jsonb(t)::text from lynn.survey_result as t order by 1").await
}

/// What a statement on the table sees of its surroundings.
async fn surroundings(plant: &Plant) -> Vec<String> {
    texts(
        &plant.pool,
        "select 'grant ' || grantee || ' ' || privilege_type || ' ' || is_grantable
        from information_schema.role_table_grants
        where table_schema = 'lynn' and table_name = 'survey_result'
        union all
        select 'grant ' || grantee || ' ' || privilege_type || ' ' || column_name
        from information_schema.column_privileges
        where table_schema = 'lynn' and table_name = 'survey_result' and grantee = 'partition_clerk'
        union all
        select 'column ' || attname || ' ' || atttypid::regtype || ' ' || attnotnull || ' '
            || coalesce(col_description(attrelid, attnum), '-')
        from pg_attribute
        where attrelid = 'lynn.survey_result'::regclass and attnum > 0 and not attisdropped
        union all
        select 'table ' || obj_description('lynn.survey_result'::regclass)
        union all
        select 'index ' || relname || ' ' || replace(pg_get_indexdef(oid), ' ON ONLY ', ' ON ') || ' '
            || coalesce(obj_description(oid), '-')
        from pg_index inner join pg_class on oid = indexrelid
        where indrelid = 'lynn.survey_result'::regclass
        union all
        select 'key ' || conname || ' ' || pg_get_constraintdef(oid)
        from pg_constraint
        where conrelid = 'lynn.survey_result'::regclass
        union all
        select 'view ' || viewname || ' ' || definition from pg_views where schemaname = 'public' and viewname like 'part%'
        union all
        select 'rights ' || relname || ' ' || relacl::text || coalesce(reloptions::text, '')
        from pg_class where relname like 'partition_view%'
        order by 1",
    )
    .await
}

#[tokio::test]
async fn a_table_with_rows_is_divided_with_all_that_belongs_to_it() {
    let plant = plant().await;
    run(
        &plant.pool,
        "do $$ begin create role partition_clerk; exception when duplicate_object then null; end $$;
        revoke select on lynn.survey_result from tidegate_reader;
        grant select, delete on lynn.survey_result to partition_clerk with grant option;
        grant update (n) on lynn.survey_result to partition_clerk;
        create index survey_by_number on lynn.survey_result (n) where n > 3;
        comment on index lynn.survey_by_number is 'For a report';
        create view public.partition_view as
            select _connection, count(*) as rows, max(n) as n from lynn.survey_result group by _connection;
        create view public.partition_view_of_view with (security_barrier) as select rows + 1 as more from public.partition_view;
        grant select on public.partition_view, public.partition_view_of_view to partition_clerk;",
    )
    .await;
    let (before, belongs) = (rows(&plant).await, surroundings(&plant).await);
    let filenode = "select pg_relation_filenode(oid)::text from pg_class where relname like 'survey_result%' and relkind = 'r' order by oid limit 1";
    let file = texts(&plant.pool, filenode).await;
    assert!(divided(&plant).await);
    assert_eq!(texts(&plant.pool, filenode).await, file, "the rows were not copied");
    assert_eq!(rows(&plant).await, before);
    assert_eq!(surroundings(&plant).await, belongs);
    let next = next_month();
    let (name, bound) = (next.format("%Y_%m"), next.format("%Y-%m-%d"));
    let after = (next + Months::new(1)).format("%Y-%m-%d").to_string();
    assert_eq!(
        partitions(&plant.pool, TABLE).await,
        [
            format!("survey_result_{name}: ({bound}) TO ({after})"),
            format!("survey_result_until_{name}: (MINVALUE) TO ({bound})"),
        ]
    );
    let count =
        "select rows::text || ' ' || (select more from public.partition_view_of_view) from public.partition_view";
    assert_eq!(texts(&plant.pool, count).await, ["450 451"], "the views read the new table");
    plant.read(whole(2), &[numbered(0..50)]).await;
    assert_eq!(texts(&plant.pool, count).await, ["500 501"]);
    // Rows that are read again are known by their fingerprints.
    let again = fingerprints::read(&plant, whole(0), &[numbered(0..150)], 1).await;
    assert_eq!((again.rows_unchanged, again.rows_inserted), (150, 0));
    let event = texts(&plant.pool, "select summary from tidegate.event where kind = 'table'").await;
    assert_eq!(event, ["the table lynn.survey_result was divided into monthly partitions by _window_start"]);
    let checks = "select conname::text from pg_constraint where contype = 'c' and conname like 'tidegate_until%'";
    assert_eq!(texts(&plant.pool, checks).await, [""; 0]);
}

#[tokio::test]
async fn a_table_to_which_something_is_bound_stays_as_it_is() {
    for (obstacle, removal) in [
        ("create materialized view public.m as select n from lynn.survey_result", "drop materialized view public.m"),
        (
            "create function public.f() returns setof lynn.survey_result language sql as 'select * from lynn.survey_result'",
            "drop function public.f()",
        ),
        ("create table public.r (row lynn.survey_result)", "drop table public.r"),
        (
            "create function public.t() returns trigger language plpgsql as 'begin return new; end';
            create trigger t before insert on lynn.survey_result for each row execute function public.t()",
            "drop function public.t() cascade",
        ),
        (
            "alter table lynn.survey_result add column place bigint generated always as identity",
            "alter table lynn.survey_result drop column place",
        ),
        ("create unique index u on lynn.survey_result (_loaded_at, _row_key)", "drop index lynn.u"),
        ("create publication p for table lynn.survey_result", "drop publication p"),
        ("create table public.c () inherits (lynn.survey_result)", "drop table public.c"),
        (
            "alter table lynn.survey_result enable row level security",
            "alter table lynn.survey_result disable row level security",
        ),
    ] {
        let plant = plant().await;
        run(&plant.pool, obstacle).await;
        let belongs = surroundings(&plant).await;
        assert!(!divided(&plant).await, "{obstacle}");
        assert_eq!(surroundings(&plant).await, belongs, "{obstacle}");
        assert_eq!(partitions(&plant.pool, TABLE).await, [""; 0]);
        run(&plant.pool, removal).await;
        // Postgres notices later that the last trigger or heir is gone.
        run(&plant.pool, "vacuum lynn.survey_result").await;
        assert!(divided(&plant).await, "{removal}");
    }
}

#[tokio::test]
async fn a_table_in_use_is_divided_later_and_its_readers_do_not_wait() {
    let plant = plant().await;
    let mut reader = plant.database.connect().await;
    reader.execute("begin; select from lynn.survey_result limit 1").await.unwrap();
    assert!(!divided(&plant).await);
    // What was prepared refuses no row of this month, and nothing is left behind once it is not wanted.
    plant.read(whole(3), &[numbered(0..10)]).await;
    assert!(!divided(&plant).await);
    reader.execute("rollback").await.unwrap();
    assert!(divided(&plant).await);
    reader.close().await.unwrap();
}

#[tokio::test]
async fn p1_a_division_that_was_interrupted_leaves_nothing_that_refuses_rows() {
    let plant = plant().await;
    let checks = "select conname::text from pg_constraint where contype = 'c' and conname like 'tidegate_until%'";
    run(
        &plant.pool,
        "alter table lynn.survey_result add constraint tidegate_until_2024_04 check (_window_start < '2024-04-01Z') not valid",
    )
    .await;
    let claim = plant.claim().await;
    let mut reader = plant.reader(&claim, whole(50)).await;
    let error = reader.page(&numbered(0..3), None).await.unwrap_err().about(TABLE);
    assert!(error.to_string().contains("is being divided"), "it is tried again: {error}");
    let mut session = plant.pool.acquire().await.unwrap();
    assert!(!tidegate::load::divide::arrange(&mut session, &plant.stream, Distribution::None, false).await.unwrap());
    assert_eq!(texts(&plant.pool, checks).await, [""; 0]);
    plant.read(whole(50), &[numbered(0..3)]).await;
    // One of an earlier month is replaced.
    run(
        &plant.pool,
        "alter table lynn.survey_result add constraint tidegate_until_2024_05 check (_window_start < '2024-05-01Z') not valid",
    )
    .await;
    assert!(divided(&plant).await);
    assert_eq!(texts(&plant.pool, checks).await, [""; 0]);
}

#[tokio::test]
async fn a_load_goes_on_while_its_table_is_divided() {
    let plant = plant().await;
    let claim = plant.claim().await;
    let mut reader = plant.reader(&claim, whole(5)).await;
    reader.page(&numbered(0..10), Some("more")).await.unwrap();
    assert!(divided(&plant).await);
    reader.page(&numbered(10..20), None).await.unwrap();
    assert_eq!(plant.rows(whole(5)).await.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_kill_while_a_table_is_divided_loses_nothing() {
    // While the constraint is checked, and before the transaction ends that puts the other table in its place.
    for lock in ["lock table lynn.navigation_marks in share update exclusive mode", "lock table tidegate.event"] {
        let world = World::with(Recipe { start: ago(3).date_naive(), ..Recipe::default() }).await;
        world.sync_ok().await;
        let before = world.rows_where("navigation_marks", "_window_start < date_trunc('day', now())").await;
        world.edit_config(|text| format!("warehouse: {{ partition: month }}\n{text}"));
        let mut obstacle = world.database.connect().await;
        obstacle.execute(sqlx::AssertSqlSafe(format!("begin; {lock}"))).await.unwrap();
        let mut process = Process::start(&world.config_path(), &["sync"], &[]);
        let waits = "select exists (
            select from pg_stat_activity
            where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0
        )";
        eventually(LONG, async || (process.has_ended() || world.scalar::<bool>(waits).await).then_some(())).await;
        process.kill();
        obstacle.execute("rollback").await.unwrap();
        obstacle.close().await.unwrap();
        run(
            &world.database.pool(),
            "update tidegate.run set lease_until = now() - interval '1 ms' where state = 'running'",
        )
        .await;
        world.sync_ok().await;
        let kind = "select relkind::text from pg_class where oid = 'lynn.navigation_marks'::regclass";
        assert_eq!(world.scalar::<String>(kind).await, "p", "{lock}");
        let checks = "select count(*) from pg_constraint where contype = 'c' and conname like 'tidegate_until%'";
        assert_eq!(world.scalar::<i64>(checks).await, 0);
        let after = world.rows_where("navigation_marks", "_window_start < date_trunc('day', now())").await;
        assert_equal("navigation_marks", &after, &before);
    }
}

/// The valid indexes by time of a table and its partitions.
async fn time_indexes(plant: &Plant) -> Vec<String> {
    texts(
        &plant.pool,
        "select indrelid::regclass::text || case when inhparent is null then '' else ', of its table' end
        from pg_index
        inner join pg_class on pg_class.oid = indexrelid
        inner join pg_am on pg_am.oid = relam and amname = 'brin'
        left join pg_inherits on inhrelid = indexrelid
        where indisvalid and indrelid in (select relid from pg_partition_tree('lynn.navigation_marks'))
        order by 1",
    )
    .await
}

#[tokio::test]
async fn the_index_by_time_is_that_of_the_table_and_of_each_partition() {
    let next = next_month().format("%Y_%m").to_string();
    let expected = [
        "lynn.navigation_marks".to_owned(),
        format!("lynn.navigation_marks_{next}, of its table"),
        format!("lynn.navigation_marks_until_{next}, of its table"),
    ];
    let record = [vec![r#"{"timestamp":"2024-03-01T10:00:00Z","session":"1"}"#.to_owned()]];
    for is_first in [true, false] {
        let plant = Plant::documented().await;
        plant.read(whole(0), &record).await;
        let keep_up = async || upkeep::keep_up(&plant.pool, &[&plant.stream]).await.unwrap();
        if is_first {
            assert_eq!(keep_up().await.indexes, 1);
            assert!(divided(&plant).await);
        } else {
            assert!(divided(&plant).await);
            assert_eq!(keep_up().await.indexes, 2);
        }
        assert_eq!(time_indexes(&plant).await, expected, "the index first: {is_first}");
        assert_eq!(keep_up().await, Upkeep::default(), "it has everything");
        let without = "select count(*)::text from pg_class
            where oid in (select relid from pg_partition_tree('lynn.navigation_marks') where isleaf)
            and coalesce(reloptions::text, '') not like '%autovacuum_vacuum_scale_factor=0.05%'";
        assert_eq!(texts(&plant.pool, without).await, ["0"], "the parameters are those of partitions");
        // What the operator removes stays away, also after the division.
        run(&plant.pool, "drop index lynn.navigation_marks_timestamp_time").await;
        assert_eq!(keep_up().await, Upkeep::default());
    }
}

#[tokio::test]
async fn p7_no_other_role_reads_a_partition_by_itself() {
    let plant = plant().await;
    run(
        &plant.pool,
        "alter default privileges in schema lynn grant select on tables to public;
        grant select on lynn.survey_result to public",
    )
    .await;
    assert!(divided(&plant).await);
    plant.read(whole(70), &[numbered(0..3)]).await;
    run(&plant.pool, "revoke select on lynn.survey_result from public").await;
    let readable = "select relid::regclass::text from pg_partition_tree('lynn.survey_result')
        where has_table_privilege('pg_monitor', relid, 'select')";
    assert_eq!(texts(&plant.pool, readable).await, [""; 0]);
    let by_reader = "select relid::regclass::text from pg_partition_tree('lynn.survey_result')
        where has_table_privilege('tidegate_reader', relid, 'select')";
    assert_eq!(texts(&plant.pool, by_reader).await, ["lynn.survey_result"]);
}
