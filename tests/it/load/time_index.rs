//! Tables of many rows: the index by business time, and the parameters of autovacuum.

use sqlx::AssertSqlSafe;
use tidegate::load::upkeep::{self, Upkeep};

use super::plant::{Plant, numbered, whole};
use crate::support::daemon::SOON;
use crate::support::eventually;

const INDEX: &str = "navigation_marks_timestamp_time";
const SCALES: [&str; 3] = [
    "autovacuum_analyze_scale_factor=0.02",
    "autovacuum_vacuum_insert_scale_factor=0.05",
    "autovacuum_vacuum_scale_factor=0.05",
];

fn marks() -> Vec<String> {
    (10..20).map(|hour| format!(r#"{{"timestamp":"2024-03-01T{hour}:00:00Z","session":"{hour}"}}"#)).collect()
}

impl Plant {
    async fn run_sql(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&self.pool).await.unwrap();
    }

    /// Valid indexes of a table of the schema `lynn` that are not its key.
    async fn indexes_of(&self, table: &str) -> Vec<String> {
        sqlx::query_scalar(
            "select class.relname::text
            from pg_index inner join pg_class as class on class.oid = indexrelid
            where indrelid = to_regclass('lynn.' || $1) and indisvalid and not indisprimary order by 1",
        )
        .bind(table)
        .fetch_all(&self.pool)
        .await
        .unwrap()
    }

    async fn indexes(&self) -> Vec<String> {
        self.indexes_of(&self.stream.name).await
    }

    async fn parameters_of(&self, table: &str) -> Vec<String> {
        sqlx::query_scalar(
            "select entry from pg_class, unnest(reloptions) as entry where oid = to_regclass('lynn.' || $1) order by 1",
        )
        .bind(table)
        .fetch_all(&self.pool)
        .await
        .unwrap()
    }

    async fn keep_up(&self) -> Upkeep {
        upkeep::keep_up(&self.pool, &[&self.stream]).await.unwrap()
    }

    /// A plant whose table has rows, no index and no parameters, as from an earlier version.
    async fn grown() -> Self {
        let plant = Self::documented().await;
        plant.read(whole(0), &[marks()]).await;
        assert_eq!((plant.indexes().await, plant.parameters_of("navigation_marks").await), (vec![], vec![]));
        plant
    }
}

#[tokio::test]
async fn a_new_table_has_its_index_and_its_parameters_from_the_beginning() {
    let plant = Plant::documented().await;
    plant.run_sql("drop table lynn.navigation_marks").await;
    plant.read(whole(0), &[marks()]).await;
    assert_eq!(plant.indexes().await, [INDEX]);
    assert_eq!(plant.parameters_of("navigation_marks").await, SCALES);
    assert_eq!(plant.keep_up().await, Upkeep::default());
}

#[tokio::test]
async fn an_empty_table_gets_the_index_with_the_first_column_of_times_and_no_second_one() {
    let plant = Plant::new().await;
    let record = |field: &str, value: &str| vec![format!(r#"{{"n":1,"{field}":"{value}"}}"#)];
    plant.read(whole(0), &[record("date", "2024-03-01T10:00:00Z")]).await;
    assert_eq!(plant.indexes().await, ["survey_result_date_time"]);
    plant.read(whole(1), &[record("timestamp", "2024-03-02T10:00:00Z")]).await;
    assert_eq!(plant.column("timestamp").await.as_deref(), Some("timestamp with time zone"));
    assert_eq!(plant.keep_up().await, Upkeep { parameters: 1, ..Upkeep::default() });
    assert_eq!(plant.indexes().await, ["survey_result_date_time"]);
}

#[tokio::test]
async fn a_column_of_text_or_without_a_name_of_a_time_is_not_indexed() {
    let plant = Plant::new().await;
    let record = r#"{"date":"1 March 2024","seen":"2024-03-01T10:00:00Z"}"#;
    plant.read(whole(0), &[vec![record.to_owned()]]).await;
    assert_eq!(plant.keep_up().await.indexes, 0);
    assert_eq!(plant.indexes().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_table_that_has_rows_gets_both_once() {
    let plant = Plant::grown().await;
    assert_eq!(plant.keep_up().await, Upkeep { indexes: 1, parameters: 1, busy: 0 });
    assert_eq!(
        (plant.indexes().await, plant.parameters_of("navigation_marks").await),
        (vec![INDEX.to_owned()], SCALES.map(str::to_owned).to_vec())
    );
    assert_eq!(plant.keep_up().await, Upkeep::default());
    // What the operator does not want stays away.
    plant.run_sql("drop index lynn.navigation_marks_timestamp_time").await;
    plant
        .run_sql(
            "alter table lynn.navigation_marks reset (autovacuum_vacuum_scale_factor,
            autovacuum_analyze_scale_factor, autovacuum_vacuum_insert_scale_factor)",
        )
        .await;
    assert_eq!(plant.keep_up().await, Upkeep::default());
    assert_eq!((plant.indexes().await, plant.parameters_of("navigation_marks").await), (vec![], vec![]));
    // A column that was created again has lost its index.
    plant.run_sql("alter table lynn.navigation_marks drop column \"timestamp\"").await;
    plant.read(whole(0), &[marks()]).await;
    assert_eq!(plant.keep_up().await, Upkeep { indexes: 1, ..Upkeep::default() });
    // A table that was created again is a new one.
    plant
        .run_sql(
            "create table lynn.copy (like lynn.navigation_marks including constraints);
            drop table lynn.navigation_marks; alter table lynn.copy rename to navigation_marks",
        )
        .await;
    assert_eq!(plant.keep_up().await, Upkeep { indexes: 1, parameters: 1, busy: 0 });
}

#[tokio::test]
async fn indexes_and_parameters_of_the_operator_are_left_alone() {
    let plant = Plant::grown().await;
    plant.run_sql("create index mine on lynn.navigation_marks (\"timestamp\", session)").await;
    plant.run_sql("alter table lynn.navigation_marks set (autovacuum_vacuum_threshold = 7)").await;
    assert_eq!(plant.keep_up().await, Upkeep::default());
    assert_eq!(plant.indexes().await, ["mine"]);
    assert_eq!(plant.parameters_of("navigation_marks").await, ["autovacuum_vacuum_threshold=7"]);
    plant.run_sql("drop index lynn.mine").await;
    assert_eq!(plant.keep_up().await, Upkeep::default());
}

#[tokio::test]
async fn an_invalid_index_of_a_build_that_failed_is_replaced() {
    let plant = Plant::grown().await;
    plant.run_sql("create index navigation_marks_timestamp_time on lynn.navigation_marks (\"timestamp\")").await;
    plant
        .run_sql(
            "update pg_index set indisvalid = false
            where indexrelid = 'lynn.navigation_marks_timestamp_time'::regclass",
        )
        .await;
    assert_eq!(plant.keep_up().await.indexes, 1);
    assert_eq!(plant.indexes().await, [INDEX]);
    assert_eq!(plant.count("select count(*) from pg_index where not indisvalid").await, 0);
}

#[tokio::test]
async fn an_invalid_index_of_the_operator_stays() {
    let plant = Plant::grown().await;
    plant.run_sql("create index mine on lynn.navigation_marks (\"timestamp\")").await;
    plant.run_sql("update pg_index set indisvalid = false where indexrelid = 'lynn.mine'::regclass").await;
    assert_eq!(plant.keep_up().await.indexes, 1);
    assert_eq!(plant.indexes().await, [INDEX]);
    assert_eq!(plant.count("select count(*) from pg_index where indexrelid = to_regclass('lynn.mine')").await, 1);
}

#[tokio::test]
async fn p12_an_index_whose_build_fails_is_begun_again_after_ever_longer_pauses() {
    let plant = Plant::grown().await;
    plant
        .run_sql(
            "create function public.refuse() returns event_trigger language plpgsql as $$ begin
                raise exception 'no space left';
            end $$;
            create event trigger refuse on ddl_command_start when tag in ('CREATE INDEX')
                execute function public.refuse()",
        )
        .await;
    let fails = async || upkeep::keep_up(&plant.pool, &[&plant.stream]).await.is_err();
    let pause = async || {
        plant
            .count("select (extract(epoch from next_attempt_at - clock_timestamp()) / 60)::bigint from tidegate.table_upkeep")
            .await
    };
    let end_pause = "update tidegate.table_upkeep set next_attempt_at = clock_timestamp()";
    for minutes in [20, 40, 80] {
        assert!(fails().await);
        assert!((minutes - 1..=minutes).contains(&pause().await), "{minutes}: {}", pause().await);
        assert!(!fails().await, "it is not begun before");
        plant.run_sql(end_pause).await;
    }
    plant.run_sql("drop event trigger refuse").await;
    assert_eq!(plant.keep_up().await.indexes, 1);
    assert_eq!(
        plant.count("select failures::bigint from tidegate.table_upkeep where next_attempt_at is null").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_build_whose_process_ended_is_begun_again_after_a_pause() {
    let plant = Plant::grown().await;
    let mut loading = plant.pool.begin().await.unwrap();
    sqlx::query("update lynn.navigation_marks set mark_value = 'x' where session = '10'")
        .execute(&mut *loading)
        .await
        .unwrap();
    let (pool, stream) = (plant.database.another_pool(2), plant.stream.clone());
    let building = tokio::spawn(async move { upkeep::keep_up(&pool, &[&stream]).await });
    let waits = "select count(*) from pg_stat_activity
        where datname = current_database() and query like 'create index concurrently%' and wait_event_type = 'Lock'";
    eventually(SOON, async || (plant.count(waits).await == 1).then_some(())).await;
    building.abort();
    plant
        .run_sql(
            "select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and query like 'create index concurrently%' and pid <> pg_backend_pid()",
        )
        .await;
    loading.commit().await.unwrap();
    // Its lock expires.
    plant.run_sql("update tidegate.lock set held_until = clock_timestamp() where name = 'index build'").await;
    assert_eq!(plant.keep_up().await, Upkeep::default(), "it is not begun before");
    plant.run_sql("update tidegate.table_upkeep set next_attempt_at = clock_timestamp()").await;
    assert_eq!(plant.keep_up().await.indexes, 1);
    assert_eq!(plant.indexes().await, [INDEX]);
}

#[tokio::test]
async fn one_process_at_a_time_builds_indexes() {
    let plant = Plant::grown().await;
    let hold =
        "insert into tidegate.lock (name, held_until) values ('index build', clock_timestamp() + interval '4 min')";
    plant.run_sql(hold).await;
    assert_eq!(plant.keep_up().await, Upkeep { indexes: 0, parameters: 1, busy: 1 });
    assert_eq!(plant.indexes().await, Vec::<String>::new());
    plant.run_sql("update tidegate.lock set held_until = clock_timestamp() where name = 'index build'").await;
    assert_eq!(plant.keep_up().await, Upkeep { indexes: 1, ..Upkeep::default() });
    assert_eq!(plant.count("select count(*) from tidegate.lock where held_until is not null").await, 0);
}

#[tokio::test]
async fn a_partition_with_another_index_of_the_column_gets_the_usual_one_without_a_lock() {
    let plant = Plant::grown().await;
    plant
        .run_sql(
            "create index mine on lynn.navigation_marks (\"timestamp\");
            alter table lynn.navigation_marks rename to one;
            create table lynn.navigation_marks (like lynn.one including constraints) partition by range (_window_start);
            alter table lynn.navigation_marks add primary key (_connection, _window_start, _row_key);
            alter table lynn.navigation_marks
                attach partition lynn.one for values from ('2024-03-01Z') to ('2024-03-05Z')",
        )
        .await;
    assert_eq!(plant.keep_up().await.indexes, 1);
    // The index of the table took over the one that was built, and created none.
    assert_eq!(plant.indexes_of("one").await, ["mine", "one_timestamp_time"]);
    assert_eq!(plant.indexes().await, [INDEX]);
    let attached = "select count(*) from pg_inherits
        where inhrelid = 'lynn.one_timestamp_time'::regclass
            and inhparent = 'lynn.navigation_marks_timestamp_time'::regclass";
    assert_eq!(plant.count(attached).await, 1);
    assert_eq!(plant.keep_up().await, Upkeep::default());
}

#[tokio::test]
async fn an_index_whose_name_is_taken_gets_another_one() {
    for is_new in [true, false] {
        let plant = Plant::documented().await;
        plant.run_sql("create view lynn.navigation_marks_timestamp_time as select 1 as one").await;
        if is_new {
            plant.run_sql("drop table lynn.navigation_marks").await;
        }
        plant.read(whole(0), &[marks()]).await;
        assert_eq!(plant.keep_up().await.indexes, u64::from(!is_new));
        let indexes = plant.indexes().await;
        assert!(indexes.len() == 1 && indexes[0].ends_with("_time") && indexes[0] != INDEX, "{indexes:?}");
    }
}

#[tokio::test]
async fn the_partitions_of_a_divided_table_have_the_index_and_later_ones_get_it() {
    let plant = Plant::grown().await;
    assert_eq!(plant.keep_up().await.indexes, 1);
    plant
        .run_sql(
            "alter table lynn.navigation_marks rename to one;
            create table lynn.navigation_marks (like lynn.one including constraints) partition by range (_window_start);
            alter table lynn.navigation_marks add primary key (_connection, _window_start, _row_key);
            alter table lynn.navigation_marks
                attach partition lynn.one for values from ('2024-03-01Z') to ('2024-03-05Z');
            create table lynn.two partition of lynn.navigation_marks
                for values from ('2024-03-05Z') to ('2024-03-10Z')",
        )
        .await;
    assert_eq!(plant.keep_up().await, Upkeep { indexes: 1, parameters: 1, busy: 0 }, "those of the second partition");
    plant
        .run_sql(
            "create table lynn.three partition of lynn.navigation_marks
            for values from ('2024-03-10Z') to ('2024-03-15Z')",
        )
        .await;
    for table in ["navigation_marks", "one", "two", "three"] {
        assert_eq!(plant.indexes_of(table).await.len(), 1, "{table}");
    }
    assert_eq!(plant.parameters_of("two").await, SCALES);
    assert_eq!(plant.keep_up().await, Upkeep::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_continue_while_an_index_is_built_and_another_process_leaves_it_alone() {
    let plant = Plant::grown().await;
    let mut loading = plant.pool.begin().await.unwrap();
    sqlx::query("update lynn.navigation_marks set mark_value = 'x' where session = '10'")
        .execute(&mut *loading)
        .await
        .unwrap();
    let (pool, stream) = (plant.database.another_pool(2), plant.stream.clone());
    let building = tokio::spawn(async move { upkeep::keep_up(&pool, &[&stream]).await.unwrap() });
    let waits = "select count(*) from pg_stat_activity
        where datname = current_database() and query like 'create index concurrently%' and wait_event_type = 'Lock'";
    eventually(SOON, async || (plant.count(waits).await == 1).then_some(())).await;
    // Neither a load nor a reader waits.
    plant
        .run_sql(
            "set lock_timeout = '5s';
            insert into lynn.navigation_marks (_connection, _window_start, _row_key, _run_id, _loaded_at)
            values ('other', now(), gen_random_uuid(), 1, now())",
        )
        .await;
    assert_eq!(plant.count("select count(*) from lynn.navigation_marks").await, 11);
    let other = upkeep::keep_up(&plant.database.another_pool(2), &[&plant.stream]).await.unwrap();
    assert_eq!(other, Upkeep::default());
    loading.commit().await.unwrap();
    assert_eq!(building.await.unwrap().indexes, 1);
    assert_eq!(plant.indexes().await, [INDEX]);
    assert_eq!(plant.keep_up().await, Upkeep::default());
}

#[tokio::test]
async fn a_query_by_time_uses_the_index_and_reads_few_blocks() {
    let plant = Plant::documented().await;
    plant.run_sql("drop table lynn.navigation_marks").await;
    plant.read(whole(0), &[numbered([1])]).await;
    // Two connections that are loaded at a time, each at another day of its history.
    plant
        .run_sql(
            "insert into lynn.navigation_marks (
                _connection, _window_start, _row_key, \"timestamp\", mark_value, _run_id, _loaded_at
            )
            select 'connection ' || n % 2, date_trunc('day', at), gen_random_uuid(), at, repeat('x', 100), 1, now()
            from generate_series(1, 200000) as n
            cross join lateral (
                select timestamptz '2020-01-01Z' + ((n + n % 2 * 90000) % 200000) * interval '10 minutes' as at
            ) as moment
            order by n / 500, n % 2",
        )
        .await;
    plant.run_sql("vacuum analyze lynn.navigation_marks").await;
    let plan: serde_json::Value = sqlx::query_scalar(
        "explain (analyze, buffers, format json)
        select count(*) from lynn.navigation_marks
        where \"timestamp\" >= '2021-06-01Z' and \"timestamp\" < '2021-06-02Z'",
    )
    .fetch_one(&plant.pool)
    .await
    .unwrap();
    let blocks = ["Shared Hit Blocks", "Shared Read Blocks"].map(|of| plan[0]["Plan"][of].as_i64().unwrap());
    assert!(plan.to_string().contains(INDEX), "{plan}");
    let all = plant.count("select pg_relation_size('lynn.navigation_marks') / 8192").await;
    assert!(blocks.iter().sum::<i64>() < all / 10, "{blocks:?} of {all}");
}
