//! Kills, stops and suspends the real binary at every point of a slice, from outside. Its successors must load
//! what an undisturbed run loads: nothing is lost, nothing is duplicated.

mod points;
mod postmaster;
mod random;
mod resume;
mod stop;
mod zombie;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use simulator::lynn::Volume;
use simulator::{Change, Edit, Hold, Options, Rows};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::completeness::summary::assert_summaries;
use super::support::world::{Recipe, assert_equal};
use super::support::{Process, TestDatabase, World, ago, eventually};

/// Far longer than anything here takes, even on a busy machine.
const LONG: Duration = Duration::from_mins(1);
const MARKS: &str = "navigation_marks";
const SURVEY: &str = "survey_result";

/// Midnight UTC, that many days from today.
fn midnight(days: i64) -> DateTime<Utc> {
    ago(-days)
}

/// A world with rows before today and none today, so that the open slice does not change.
async fn world(days: i64, rows: u64, page_size: u32, streams: &'static str, job: &[&str]) -> World {
    let defaults = Recipe::default();
    let world = World::with(Recipe {
        options: Options { volume: Volume::Exactly(rows), ..defaults.options },
        page_size,
        streams,
        start: midnight(-days).date_naive(),
        job: job.iter().map(|&line| line.to_owned()).collect(),
        ..Recipe::default()
    })
    .await;
    for stream in &world.config().jobs["lynn"].streams {
        world.control().lynn().vanish(Rows::between(&stream.stream.name, midnight(0), midnight(2))).unwrap();
    }
    world
}

/// A world, and a second database that only undisturbed runs fill.
struct Scene {
    world: World,
    reference: TestDatabase,
    streams: Vec<String>,
}

impl Scene {
    /// Two days of three pages and the open day, of two streams: one with documented columns, one without.
    async fn new() -> Self {
        let world = world(2, 250, 100, "[navigation_marks, survey_result]", &["lookback: 10d"]).await;
        Self { world, reference: TestDatabase::create().await, streams: vec![MARKS.to_owned(), SURVEY.to_owned()] }
    }

    /// Difficult records on both days: duplicates across pages, one on the boundary of two slices, some that cannot
    /// become rows.
    fn make_hard(&self) {
        let control = self.world.control();
        for report in &self.streams {
            let all = || Rows::between(report, midnight(-2), midnight(0));
            control.lynn().edit(Edit::Duplicate { rows: all().every(31), copies: 2, distance: 100 }).unwrap();
            control.lynn().insert(report, midnight(-1)).unwrap();
            for odd in odd(report) {
                control.lynn().change(odd, Change::Whole { json: "7".to_owned() }).unwrap();
            }
            control.lynn().change(all().every(9), Change::StringToObject { field: "session".to_owned() }).unwrap();
        }
    }

    /// Changes at the vendor: rows are deleted, changed and added, and a field is new.
    fn change_the_truth(&self) {
        let control = self.world.control();
        for report in &self.streams {
            let all = || Rows::between(report, midnight(-2), midnight(0));
            control.lynn().vanish(all().every(7)).unwrap();
            let set = Change::Set { field: "newField".to_owned(), json: "\"new\"".to_owned() };
            control.lynn().change(all().every(5), set).unwrap();
            for hour in 0..48 {
                control.lynn().insert(report, midnight(-2) + TimeDelta::minutes(60 * hour + 7)).unwrap();
            }
            // Otherwise nothing would be deleted: a reading with rejected records deletes nothing (promise 10).
            for odd in odd(report) {
                control.lynn().vanish(odd).unwrap();
            }
        }
    }

    /// A `sync` under way.
    fn begin(&self) -> Process {
        Process::start(&self.world.config_path(), &["sync"], &[])
    }

    /// An undisturbed `sync`, as soon as the lease of the killed process has expired.
    async fn sync(&self) {
        expire_leases(&self.world.database).await;
        is_done(self.begin()).await;
    }

    async fn sync_reference(&self) {
        let env = [("TIDEGATE__DATABASE__URL", self.reference.url())];
        is_done(Process::start(&self.world.config_path(), &["sync"], &env)).await;
    }

    async fn assert_equal(&self) {
        for query in self.queries() {
            let (found, wanted) = (texts(&self.world.database, &query).await, texts(&self.reference, &query).await);
            assert_equal(&query, &found, &wanted);
        }
        for stream in &self.streams {
            assert_counted(&self.world.database, stream).await;
        }
        assert_tidy(&self.world.database).await;
    }

    /// Everything that a load stores, except what differs from run to run.
    fn queries(&self) -> Vec<String> {
        let tables = self.streams.iter().map(|table| {
            format!("select (to_jsonb(t) - '{{_run_id,_loaded_at}}'::text[])::text from lynn.{table} as t")
        });
        let control = [
            "select (connection, stream, window_start, reason, record)::text from tidegate.rejected_record",
            // How far the open slice was read depends on the clock.
            "select (
                connection, stream, window_start, window_end, read_until = window_end, finished_run is not null,
                rows_total, reading_run, reading_until, reading_fresh, reading_pages, reading_rows, reading_seen,
                reading_bytes, cursor
            )::text
            from tidegate.slice",
            "select (table_name, column_name, field, kind)::text from tidegate.table_column",
        ];
        tables.chain(control.map(str::to_owned)).map(|query| format!("{query} order by 1")).collect()
    }
}

/// The rejected records of each day, without those that occur several times.
fn odd(report: &str) -> [Rows; 2] {
    [-2, -1].map(|day| Rows::between(report, midnight(day) + TimeDelta::hours(1), midnight(day + 1)).every(40))
}

async fn texts(database: &TestDatabase, query: &str) -> Vec<String> {
    sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_all(&database.pool()).await.unwrap()
}

/// The statistics were committed with the rows: they add up to what the table holds.
async fn assert_counted(database: &TestDatabase, stream: &str) {
    let query = format!(
        "select (coalesce(sum(rows_inserted - rows_deleted), 0), (select count(*) from lynn.{stream}))::text
        from tidegate.task
        where stream = '{stream}'"
    );
    let counted = texts(database, &query).await.remove(0);
    let (net, held) = counted.trim_matches(['(', ')']).split_once(',').unwrap();
    assert_eq!(net, held, "{stream}: what the tasks counted, what the table holds");
}

/// Nothing half done is left: no noted row, no cursor inside a slice, no open transaction.
async fn assert_tidy(database: &TestDatabase) {
    let pool = database.pool();
    let left: i64 = sqlx::query_scalar(
        "select (select count(*) from tidegate.seen_row)
            + (select count(*) from tidegate.slice where cursor is not null or reading_run is not null)",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(left, 0, "rows noted as seen and unfinished slices");
    assert_summaries(&pool).await;
    // Postgres may not have noticed yet that the killed processes are gone.
    eventually(LONG, async || {
        let open: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
            where datname = current_database() and state like 'idle in transaction%'",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        (open == 0).then_some(())
    })
    .await;
}

/// Lets the leases of the killed processes expire.
async fn expire_leases(database: &TestDatabase) {
    sqlx::query("update tidegate.run set lease_until = clock_timestamp() - interval '1 ms' where state = 'running'")
        .execute(&database.pool())
        .await
        .unwrap();
}

async fn succeeds(mut process: Process) {
    let status = process.wait(LONG).await;
    assert!(status.success(), "{status}: {}", process.said());
}

/// The sync is done. Slices with rejected records may be held: those that the killed process had read are read again.
async fn is_done(mut process: Process) {
    let status = process.wait(LONG).await;
    assert!(matches!(status.code(), Some(0 | 3)), "{status}: {}", process.said());
}

/// Waits until a call of `process` is held.
async fn reached(hold: &Hold, process: &mut Process) {
    eventually(LONG, async || {
        assert!(!process.has_ended(), "it ended too soon: {}", process.said());
        hold.is_reached().then_some(())
    })
    .await;
}

/// Waits until a statement of the daemon like `query` waits for a lock that someone holds.
async fn blocked(database: &TestDatabase, query: &str) {
    let waiting = "select exists (
        select from pg_stat_activity
        where datname = current_database()
            and query ilike $1
            and state = 'active'
            and cardinality(pg_blocking_pids(pid)) > 0
    )";
    let pool = database.pool();
    eventually(LONG, async || {
        sqlx::query_scalar::<_, bool>(waiting).bind(query).fetch_one(&pool).await.unwrap().then_some(())
    })
    .await;
}

/// A session of the test that holds what `statement` locks, until it is released.
struct Obstacle(PgConnection);

impl Obstacle {
    async fn new(database: &TestDatabase, statement: &str) -> Self {
        let mut connection = database.connect().await;
        connection.execute("begin").await.unwrap();
        connection.execute(AssertSqlSafe(statement.to_owned())).await.unwrap();
        Self(connection)
    }

    async fn release(mut self) {
        self.0.execute("rollback").await.unwrap();
        self.0.close().await.unwrap();
    }
}
