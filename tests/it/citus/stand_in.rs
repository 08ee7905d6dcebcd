//! What Tidegate asks of Citus, and which databases it refuses.

use std::process::Output;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor as _};

use super::{CITUS, distributed, give_stand_in};
use crate::support::world::Recipe;
use crate::support::{TestDatabase, World, ago, daemon};

/// The tables of reports.
const TABLES: &str = "
    pg_class as class
    inner join pg_namespace as namespace on namespace.oid = class.relnamespace
    inner join pg_attribute on attrelid = class.oid and attname = '_run_id' and not attisdropped
    left join pg_dist_partition on logicalrelid = class.oid
    where nspname in ('lynn', 'khoros', 'lexer', 'jaicp') and relkind = 'r'";

async fn small_world() -> World {
    World::with(Recipe { start: ago(2).date_naive(), ..Recipe::default() }).await
}

async fn command(world: &World, args: &[&str]) -> Output {
    daemon::command(world, &[CITUS], args).await
}

#[track_caller]
fn expect(output: &Output, code: i32) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let said = format!("{}\n{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

async fn count(database: &TestDatabase, query: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(&database.pool()).await.unwrap()
}

async fn change(database: &TestDatabase, statement: &str) {
    let statement = format!("set allow_system_table_mods = on; {statement}");
    database.connect().await.execute(AssertSqlSafe(statement)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_database_without_citus_is_refused_with_the_remedy() {
    let world = small_world().await;
    for args in [&["check"][..], &["migrate"], &["sync"], &["run"]] {
        let said = expect(&command(&world, args).await, 1);
        let hint =
            if said.contains("create extension citus;") { "a superuser runs in the database" } else { "install Citus" };
        assert!(said.contains("the database has no extension citus") && said.contains(hint), "{args:?}: {said}");
    }
    assert_eq!(count(&world.database, "select count(*) from tidegate.run").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_of_reports_is_distributed_once_by_its_connection() {
    let world = small_world().await;
    give_stand_in(&world.database).await;
    change(
        &world.database,
        "insert into lynn.navigation_marks (_connection, _window_start, _row_key, _run_id, _loaded_at)
        values ('former', '2020-01-01', gen_random_uuid(), 1, now())",
    )
    .await;
    let before = expect(&command(&world, &["check"]).await, 0);
    assert!(
        before.contains("Citus 13.2-1, 2 nodes hold rows, ") && before.contains(" tables are to be distributed"),
        "{before}"
    );
    for _ in 0..2 {
        expect(&command(&world, &["migrate"]).await, 0);
        let tables = count(&world.database, &format!("select count(*) from {TABLES}")).await;
        assert!(tables > 30, "{tables}");
        let distributed = "select count(*) from pg_dist_partition where partkey = '_connection' and colocationid = 1";
        assert_eq!(count(&world.database, distributed).await, tables, "each once, and all in one group");
        assert_eq!(
            count(&world.database, "select count(*) from pg_dist_partition").await,
            tables,
            "and no other table"
        );
    }
    // Only a table that had rows has a copy of them on the coordinator.
    let emptied = "select count(*) from pg_dist_truncated where logicalrelid <> 'lynn.navigation_marks'::regclass";
    assert_eq!(count(&world.database, emptied).await, 0);
    assert!(count(&world.database, "select count(*) from pg_dist_truncated").await > 0);
    let after = expect(&command(&world, &["check"]).await, 0);
    assert!(after.contains("Citus 13.2-1, 2 nodes hold rows\n"), "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_a_table_that_is_in_use_are_removed_by_a_later_start() {
    let world = small_world().await;
    give_stand_in(&world.database).await;
    change(
        &world.database,
        "create or replace function pg_catalog.truncate_local_data_after_distributing_table(function_name regclass)
        returns void language plpgsql as $$ begin
            execute format('lock table %s', function_name);
            insert into pg_catalog.pg_dist_truncated values (function_name);
        end $$;
        insert into lynn.navigation_marks (_connection, _window_start, _row_key, _run_id, _loaded_at)
        values ('former', '2020-01-01', gen_random_uuid(), 1, now())",
    )
    .await;
    let truncated = "select count(*) from pg_dist_truncated where logicalrelid = 'lynn.navigation_marks'::regclass";
    // The reader begins when the table has been distributed.
    expect(&command(&world, &["migrate"]).await, 0);
    change(&world.database, "truncate pg_catalog.pg_dist_truncated").await;
    let pool = world.database.pool();
    let mut reader = pool.begin().await.unwrap();
    sqlx::query("select from lynn.navigation_marks").execute(&mut *reader).await.unwrap();
    let said = expect(&command(&world, &["migrate"]).await, 0);
    assert!(said.contains("the table is in use"), "{said}");
    assert_eq!(count(&world.database, truncated).await, 0);
    reader.commit().await.unwrap();
    expect(&command(&world, &["migrate"]).await, 0);
    assert_eq!(count(&world.database, truncated).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_a_run_creates_is_distributed_with_the_others() {
    let world = small_world().await;
    give_stand_in(&world.database).await;
    expect(&command(&world, &["migrate"]).await, 0);
    change(
        &world.database,
        "delete from pg_dist_partition where logicalrelid = 'lynn.navigation_marks'::regclass;
        drop table lynn.navigation_marks cascade",
    )
    .await;
    expect(&command(&world, &["sync"]).await, 0);
    assert!(count(&world.database, "select count(*) from lynn.navigation_marks").await > 0);
    let found = "select count(*) from pg_dist_partition
        where logicalrelid = 'lynn.navigation_marks'::regclass and partkey = '_connection' and colocationid = 1";
    assert_eq!(count(&world.database, found).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_distributed_tables_are_refused_without_the_setting() {
    let (world, database) = (small_world().await, distributed().await);
    for args in [&["check"][..], &["migrate"], &["sync"], &["run"]] {
        let url = [("TIDEGATE__DATABASE__URL", database.url())];
        let said = expect(&daemon::command(&world, &url, args).await, 1);
        assert!(said.contains("distributed with Citus, but `database.distribute` is `none`"), "{args:?}: {said}");
        assert!(said.contains(r#"select undistribute_table('"lynn"."navigation_marks"');"#), "{args:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_cluster_that_cannot_hold_the_tables_is_refused_with_the_remedy() {
    let (world, database) = (small_world().await, distributed().await);
    let env = [CITUS, ("TIDEGATE__DATABASE__URL", database.url())];
    for (broken, mended, problem, remedy) in [
        (
            "update pg_dist_local_group set groupid = 2",
            "update pg_dist_local_group set groupid = 0",
            "this server is a worker of the Citus cluster",
            "name the coordinator",
        ),
        (
            "update pg_dist_node set isactive = false",
            "update pg_dist_node set isactive = true",
            "no active node of the Citus cluster may hold rows",
            "citus_add_node",
        ),
        (
            "update pg_dist_partition set partkey = 'id' where logicalrelid = 'lexer.users'::regclass",
            "update pg_dist_partition set partkey = '_connection'",
            "the table lexer.users is distributed, but not by `_connection`",
            r#"select undistribute_table('"lexer"."users"');"#,
        ),
    ] {
        change(&database, broken).await;
        for args in [&["check", "--json"][..], &["migrate"], &["run"]] {
            let said = expect(&daemon::command(&world, &env, args).await, 1);
            // Quotes are escaped in JSON.
            let said = said.replace('\\', "");
            assert!(said.contains(problem) && said.contains(remedy), "{args:?}: {said}");
        }
        change(&database, mended).await;
        expect(&daemon::command(&world, &env, &["migrate"]).await, 0);
    }
    let document = daemon::command(&world, &env, &["check", "--json"]).await;
    let document: Value = serde_json::from_slice(&document.stdout).unwrap();
    assert_eq!(document["database"]["state"], "ok", "{document}");
    assert!(
        document["database"]["detail"].as_str().unwrap().ends_with("Citus 13.2-1, 2 nodes hold rows"),
        "{document}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_divided_is_distributed_with_the_others_and_one_that_is_not_distributed_waits() {
    let world = small_world().await;
    give_stand_in(&world.database).await;
    expect(&command(&world, &["migrate"]).await, 0);
    expect(&command(&world, &["sync"]).await, 0);
    world.edit_config(|text| format!("warehouse: {{ partition: month }}\n{text}"));
    change(
        &world.database,
        "create table public.kept as table pg_catalog.pg_dist_partition;
        delete from pg_dist_partition where logicalrelid = 'lynn.navigation_marks'::regclass",
    )
    .await;
    let waits = "lynn.navigation_marks will not be divided: it is not distributed yet";
    let said = expect(&command(&world, &["check"]).await, 0);
    assert!(said.contains(waits), "{said}");
    change(
        &world.database,
        "insert into pg_dist_partition
        select * from public.kept where logicalrelid = 'lynn.navigation_marks'::regclass",
    )
    .await;
    expect(&command(&world, &["sync"]).await, 0);
    let divided = "select count(*) from pg_class inner join pg_dist_partition on logicalrelid = pg_class.oid
        where oid = 'lynn.navigation_marks'::regclass and relkind = 'p' and colocationid = 1";
    assert_eq!(count(&world.database, divided).await, 1, "in the group of the others");
    let rows = "select count(*) from lynn.navigation_marks";
    assert!(count(&world.database, rows).await > 0);
}
