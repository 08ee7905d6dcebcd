//! A large table: reading a slice again costs the same as with few rows, with any statistics.
//!
//! Postgres counts the rows, entries of indexes and blocks that sessions have read of a table. The counts are compared
//! with the number of records, because times depend on the machine.

use std::borrow::Cow;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tidegate::catalogue::{Column, ColumnType, Key, Mode, Stream};

use super::fingerprints;
use super::plant::{CONNECTION, Plant, stream, whole};
use crate::support::daemon::SOON;
use crate::support::eventually;

const FEW: u32 = 10_000;
const MANY: u32 = 1_000_000;
/// Records of a reading, in two pages. There are enough for fingerprints.
const RECORDS: u32 = 2_400;
/// Rows and entries of indexes, and blocks, that may be read for each record.
const PER_RECORD_MAX: i64 = 20;

/// What sessions have read of a table.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// Rows, and entries of indexes.
    rows: i64,
    blocks: i64,
}

/// What the planner knows of a table.
#[derive(Debug, Clone, Copy)]
enum Statistics {
    /// From before the first row of the connection.
    Old,
    None,
    Current,
}

/// Readings that are measured, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Unchanged,
    SomeChanged,
    /// Without fingerprints.
    Compared,
    /// The next slice, with records in the second that both have.
    SharedSecond,
}

fn pages(records: &[String]) -> [Vec<String>; 2] {
    let (first, second) = records.split_at(records.len() / 2);
    [first.to_vec(), second.to_vec()]
}

/// Records of a report. `change` distinguishes versions of every tenth.
fn reports(day: u32, change: &str) -> [Vec<String>; 2] {
    let record = |n: u32| {
        let (hour, minute) = (n * 24 / RECORDS, n % 60);
        let version = if n % 10 == 3 { change } else { "" };
        format!(r#"{{"at":"2024-03-0{day}T{hour:02}:{minute:02}:30Z","n":{n},"v":"x{version}"}}"#)
    };
    pages(&(0..RECORDS).map(record).collect::<Vec<_>>())
}

/// Records of the second slice, some of which the first slice could have as well.
fn shared() -> [Vec<String>; 2] {
    let [mut first, second] = reports(2, "");
    first.extend((0..20).map(|n| format!(r#"{{"at":"2024-03-02T00:00:00Z","n":{n},"v":"shared"}}"#)));
    [first, second]
}

fn entities(change: &str) -> [Vec<String>; 2] {
    let name = |id: u32| if id % 10 == 3 { change } else { "" };
    pages(&(0..RECORDS).map(|id| format!(r#"{{"id":{id},"name":"x{}"}}"#, name(id))).collect::<Vec<_>>())
}

/// Entities, which belong to no window.
fn entity_stream() -> Stream {
    const COLUMNS: &[Column] =
        &[Column::new("id", "id", ColumnType::Bigint, "Id"), Column::new("name", "name", ColumnType::Text, "Name")];
    Stream {
        name: "entity".into(),
        mode: Mode::Upsert,
        key: Key::Columns(vec![Cow::Borrowed("id")].into()),
        columns: COLUMNS.into(),
        documented: true,
        row_time: None,
        business_time: &[],
        ..stream("survey_result")
    }
}

impl Plant {
    async fn statements(&self, statements: &str) {
        let mut session = self.database.connect().await;
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut session).await.unwrap();
        session.close().await.unwrap();
    }

    /// Adds rows of another connection, about which there are statistics, and then `rows` of this one: `values` is a
    /// query for them by a number `n`.
    async fn enlarge(&self, columns: &str, values: &str, rows: u32) {
        let table = self.table();
        let insert = |connection: &str, rows: u32| {
            format!(
                "insert into {table} (_connection, {columns}, _run_id, _loaded_at)
                select '{connection}', {values}, 1, now() from generate_series(1, {rows}) as n;"
            )
        };
        self.statements(&format!(
            "create table public.marker (n integer);
            alter table {table} set (autovacuum_enabled = off);
            delete from {table};
            {}
            analyze {table};
            {}",
            insert("other", 1_000),
            insert(CONNECTION, rows),
        ))
        .await;
    }

    async fn set(&self, statistics: Statistics) {
        let table = self.table();
        let set = match statistics {
            // As `enlarge` left them.
            Statistics::Old => String::new(),
            Statistics::None => format!(
                "delete from pg_statistic where starelid = '{table}'::regclass;
                update pg_class set reltuples = -1, relpages = 0 where oid = '{table}'::regclass"
            ),
            Statistics::Current => format!("vacuum analyze {table}"),
        };
        self.statements(&set).await;
    }

    /// What `read` reads of the table. Its sessions end, because only then all of their counts are reported.
    async fn cost(&mut self, read: impl AsyncFnOnce(&Self)) -> Cost {
        let mut session = self.database.connect().await;
        let others = sessions(&mut session).await;
        let before = counted(&mut session, &self.table()).await;
        let kept = std::mem::replace(&mut self.pool, self.database.another_pool(3));
        read(&*self).await;
        std::mem::replace(&mut self.pool, kept).close().await;
        eventually(SOON, async || (sessions(&mut session).await <= others).then_some(())).await;
        // Reports arrive in the order in which they were sent.
        let marked = marks(&mut session).await;
        self.statements("insert into public.marker values (1)").await;
        eventually(SOON, async || (marks(&mut session).await > marked).then_some(())).await;
        let after = counted(&mut session, &self.table()).await;
        Cost { rows: after.rows - before.rows, blocks: after.blocks - before.blocks }
    }
}

/// How many other sessions the database has.
async fn sessions(session: &mut PgConnection) -> i64 {
    let others = "select count(*) from pg_stat_activity
        where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()";
    sqlx::query_scalar(others).fetch_one(session).await.unwrap()
}

async fn marks(session: &mut PgConnection) -> i64 {
    let marks = "select n_tup_ins from pg_stat_user_tables where relid = 'public.marker'::regclass";
    sqlx::query_scalar(marks).fetch_one(session).await.unwrap()
}

async fn counted(session: &mut PgConnection, table: &str) -> Cost {
    let counts = "select
            (
                coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)
                + (select coalesce(sum(entries.idx_tup_read), 0) from pg_stat_user_indexes as entries
                    where entries.relid = tables.relid)
            )::bigint,
            (
                coalesce(heap_blks_read, 0) + coalesce(heap_blks_hit, 0)
                + coalesce(idx_blks_read, 0) + coalesce(idx_blks_hit, 0)
            )::bigint
        from pg_stat_user_tables as tables
        inner join pg_statio_user_tables as blocks using (relid)
        where tables.relid = $1::regclass";
    let (rows, blocks) = sqlx::query_as(counts).bind(table).fetch_one(session).await.unwrap();
    Cost { rows, blocks }
}

async fn read_report(plant: &Plant, reading: Reading, change: &str) {
    match reading {
        Reading::Unchanged | Reading::SomeChanged => {
            fingerprints::read(plant, whole(0), &reports(1, change), 1).await;
        }
        Reading::Compared => {
            plant.read(whole(0), &reports(1, change)).await;
        }
        Reading::SharedSecond => {
            plant.read(whole(1), &shared()).await;
        }
    }
}

/// The costs of all readings of a report in a table of this size, with what they are.
async fn reports_in(rows: u32) -> Vec<(String, Cost)> {
    let mut plant = Plant::new().await;
    // Creates the columns.
    plant.read(whole(5), &[vec![r#"{"at":"2024-03-06T00:00:01Z","n":1,"v":"x"}"#.to_owned()]]).await;
    let values = "timestamptz '2020-01-01Z' + n / 1000 * interval '1 day', md5(n::text)::uuid, now(), n, 'x'";
    plant.enlarge("_window_start, _row_key, at, n, v", values, rows).await;
    read_report(&plant, Reading::SharedSecond, "").await;
    let mut costs = Vec::new();
    for (number, statistics) in [Statistics::Old, Statistics::None, Statistics::Current].into_iter().enumerate() {
        let mut version = format!("{number}");
        read_report(&plant, Reading::Unchanged, &version).await;
        plant.set(statistics).await;
        for reading in [Reading::Unchanged, Reading::SomeChanged, Reading::SharedSecond, Reading::Compared] {
            if matches!(reading, Reading::SomeChanged | Reading::Compared) {
                version.push('c');
            }
            let cost = plant.cost(async |plant| read_report(plant, reading, &version).await).await;
            costs.push((format!("{reading:?}, statistics: {statistics:?}"), cost));
        }
    }
    let lost = plant.count("select count(*) from lynn.survey_result").await - i64::from(rows);
    assert_eq!(lost, 1_000 + 2 * i64::from(RECORDS) + 20, "no reading touches other rows");
    costs
}

async fn entities_in(rows: u32) -> Vec<(String, Cost)> {
    let mut plant = Plant::of(entity_stream(), false).await;
    plant.read(whole(0), &entities("")).await;
    plant.enlarge("id, name", "1000000 + n, 'x'", rows).await;
    plant.read(whole(0), &entities("")).await;
    let mut costs = Vec::new();
    for statistics in [Statistics::Old, Statistics::None, Statistics::Current] {
        plant.set(statistics).await;
        let change = format!("{statistics:?}");
        let cost = plant
            .cost(async |plant| {
                plant.read(whole(0), &entities(&change)).await;
            })
            .await;
        costs.push((format!("entities, statistics: {statistics:?}"), cost));
    }
    assert_eq!(plant.count("select count(*) from lynn.entity").await, i64::from(rows) + 1_000 + i64::from(RECORDS));
    costs
}

/// What reads more than the records explain, or more than in a table of few rows.
fn dear(few: &[(String, Cost)], many: &[(String, Cost)]) -> Vec<String> {
    let max = PER_RECORD_MAX * i64::from(RECORDS);
    let is_dear = |few: Cost, many: Cost| many.rows > max || many.blocks > max || many.rows > few.rows + max / 2;
    few.iter()
        .zip(many)
        .filter(|((_, few), (_, many))| is_dear(*few, *many))
        .map(|((_, few), (what, many))| format!("{what}: {many:?}; in a small table {few:?}"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_is_read_again_at_the_same_cost_in_a_table_of_a_hundred_times_the_rows() {
    let (few, many) = (reports_in(FEW).await, reports_in(MANY).await);
    assert_eq!(dear(&few, &many), Vec::<String>::new(), "{few:#?} {many:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn entities_are_read_again_at_the_same_cost_in_a_table_of_a_hundred_times_the_rows() {
    let (few, many) = (entities_in(FEW).await, entities_in(MANY).await);
    assert_eq!(dear(&few, &many), Vec::<String>::new(), "{few:#?} {many:#?}");
}
