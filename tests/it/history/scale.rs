//! A long history: frequent queries read as few rows of it as on the first day.
//!
//! Time is not measured, because it depends on the machine. Postgres counts the rows that a transaction has read of
//! each table, sequentially or by an index, and the count is compared with a limit. The statements are the product's
//! own.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tidegate::quota::{CallKind, Calls, Grant, Ledger, LedgerKey, Limit, Request, Settlement, Unit, wake};
use tidegate::schedule::enqueue_due;
use tidegate::store::history::{self, RunFilter};
use tidegate::store::run;
use tidegate::store::status::{Configured, Streams};
use tidegate::store::task::{self, Progress, TaskEnd};
use tidegate::store::{cursor, prune, push, reading, status};
use url::Url;
use uuid::Uuid;

use crate::support::{TestDatabase, World};

/// Tables that grow with time, or with the number of credentials.
const GROWING: &[&str] =
    &["run", "task", "slice", "rejected_record", "schema_change", "push_batch", "push_row", "quota_use", "quota_limit"];
/// The most rows that one query may read: 1,000 runs are searched for failures.
const ROWS_MAX: i64 = 2_000;
const LEASE: Duration = Duration::from_mins(1);

/// 100,000 runs of 50 jobs.
const RUNS: &str = "
    insert into tidegate.run (job, connection, kind, state, scheduled_for, due_at, created_at, started_at, finished_at)
    select
        'job-' || n % 50, 'connection-' || n % 10, 'schedule', case when n % 100 = 0 then 'failed' else 'succeeded' end,
        at, at, at, at, at
    from generate_series(0, 99999) as n
    cross join lateral (select now() - (100000 - n) * interval '3 minutes' as at) as moment;
    analyze tidegate.run;
";

/// 200,000 tasks, 100,000 slices of 20 streams, 100,000 rejected records, and rows of all other growing tables.
const REST: &str = "
    -- The keys are right: they need not be looked up one by one.
    set session_replication_role = replica;
    insert into tidegate.task (run_id, stream, state, finished_at)
    select id, 'stream_' || s, case when s = 1 then state else 'succeeded' end, finished_at
    from tidegate.run cross join generate_series(0, 1) as s;
    insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice)
    select 'connection-' || c, 'stream_' || s, 'lynn', 'stream_' || s, '2020-01-01', 'UTC', '1h'
    from generate_series(0, 9) as c cross join generate_series(0, 1) as s;
    insert into tidegate.slice (connection, stream, window_start, window_end, read_until, finished_run, finished_at)
    select 'connection-' || c, 'stream_' || s, at, at + interval '1 hour', at + interval '1 hour', 1, at
    from generate_series(1, 5000) as n
    cross join generate_series(0, 9) as c cross join generate_series(0, 1) as s
    cross join lateral (select date_trunc('hour', now()) - n * interval '1 hour' as at) as moment;
    insert into tidegate.rejected_record (run_id, connection, stream, window_start, reason, record)
    select n, 'connection-' || n % 10, 'stream_' || n % 2, now() - n * interval '1 minute', 'no number', '{}'
    from generate_series(1, 100000) as n;
    insert into tidegate.schema_change (table_schema, table_name, column_name, change)
    select 'lynn', 'stream_' || n % 100, 'column_' || n, 'add_column' from generate_series(1, 10000) as n;
    insert into tidegate.push_batch (job, connection, campaign_id, template_id, rows, state, task_id)
    select 'job-' || n % 50, 'connection-1', 'c', 't', 10, 'done', 'task' from generate_series(1, 20000) as n;
    insert into tidegate.push_row (job, row_key, batch_id)
    select 'job-' || id % 50, gen_random_uuid(), id from tidegate.push_batch cross join generate_series(1, 5);
    insert into tidegate.quota_ledger (key) select 'key ' || n from generate_series(1, 1000) as n;
    insert into tidegate.quota_limit (ledger_id, name, unit, amount, per, reach, width)
    select id, 'requests', 'calls', 100, '1 day', '1 day', '0' from tidegate.quota_ledger;
    insert into tidegate.quota_use (limit_id, ends_at, used)
    select id, now() - n * interval '1 minute', 1 from tidegate.quota_limit cross join generate_series(1, 100) as n;
    insert into tidegate.quota_spent (limit_id, used, first_ends_at, last_ends_at)
    select limit_id, sum(used), min(ends_at), max(ends_at) from tidegate.quota_use group by limit_id;
    set session_replication_role = origin;
";

/// Counts the rows that one session's transaction reads.
struct Meter {
    before: i64,
    dear: Vec<String>,
}

impl Meter {
    async fn begin(connection: impl sqlx::PgExecutor<'_>) -> Self {
        Self { before: rows_read(connection).await, dear: Vec::new() }
    }

    async fn look(&mut self, what: &str, connection: impl sqlx::PgExecutor<'_>) {
        let now = rows_read(connection).await;
        if now - self.before > ROWS_MAX {
            self.dear.push(format!("{what} reads {} rows", now - self.before));
        }
        self.before = now;
    }
}

/// Rows of growing tables that this transaction has read so far.
async fn rows_read(connection: impl sqlx::PgExecutor<'_>) -> i64 {
    sqlx::query_scalar(
        "select sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint
        from pg_stat_xact_user_tables
        where schemaname = 'tidegate' and relname = any ($1)",
    )
    .bind(GROWING)
    .fetch_one(connection)
    .await
    .unwrap()
}

/// Searches of indexes that this transaction has begun so far.
async fn searches(connection: impl sqlx::PgExecutor<'_>) -> i64 {
    sqlx::query_scalar(
        "select sum(coalesce(idx_scan, 0))::bigint from pg_stat_xact_user_tables where schemaname = 'tidegate'",
    )
    .fetch_one(connection)
    .await
    .unwrap()
}

/// A session that plans as if it had asked often (`force_generic_plan`), or for the first time (`force_custom_plan`).
async fn session(database: &TestDatabase, plans: &str) -> PgConnection {
    let mut connection = database.connect().await;
    sqlx::query(AssertSqlSafe(format!("set plan_cache_mode = {plans}"))).execute(&mut connection).await.unwrap();
    connection
}

/// The queries of the status page, the metrics and the commands that show the same.
async fn readers(connection: &mut PgConnection) -> Vec<String> {
    let jobs: Vec<String> = (0..50).map(|job| format!("job-{job}")).collect();
    let mut meter = Meter::begin(&mut *connection).await;
    macro_rules! cheap {
        ($what:literal, $asks:expr) => {{
            $asks.await.unwrap();
            meter.look($what, &mut *connection).await;
        }};
    }
    let configured = Configured {
        jobs: jobs.clone(),
        streams: Streams { connections: vec!["connection-1".to_owned()], names: vec!["stream_1".to_owned()] },
    };
    cheap!("last_runs", status::last_runs(connection, &jobs));
    cheap!("streams", status::streams(connection, &configured.streams));
    cheap!("retired", status::retired(connection));
    cheap!("failures", status::failures(connection, &configured, 20));
    cheap!("unfinished", status::unfinished(connection, &configured.jobs));
    cheap!("ongoing", status::ongoing(connection, None));
    cheap!("ongoing of a job", status::ongoing(connection, Some(&jobs[..1])));
    cheap!("waiting", history::waiting(&mut *connection));
    cheap!("tasks that wait for a limit", wake(&mut *connection));
    cheap!("ever_ran", history::ever_ran(&mut *connection, "job-7"));
    cheap!("tasks", history::tasks(&mut *connection, &[5, 500, 50_000]));
    cheap!("push tally", push::tally(&mut *connection, &jobs[..1]));
    cheap!("open pushes", push::open(&mut *connection, "job-7"));
    cheap!("lost pushes", push::give_up_lost(&mut *connection, "job-7"));
    cheap!("known pushes", push::known(&mut *connection, "job-7", &[Uuid::nil()]));
    cheap!("pruned runs", prune::runs(&mut *connection, Duration::from_hours(24 * 3_000), 500));
    cheap!("pruned rejects", prune::rejects(&mut *connection, Duration::from_hours(24 * 3_000), 500));
    meter.dear
}

/// The queries that a command executes once, so that they are always planned again.
async fn commands(connection: &mut PgConnection) -> Vec<String> {
    let streams = ["stream_0".to_owned()];
    let mut meter = Meter::begin(&mut *connection).await;
    for (what, job) in [("runs", None), ("runs of a job", Some("job-7"))] {
        history::runs(&mut *connection, RunFilter { job, limit: 20, ..RunFilter::default() }).await.unwrap();
        meter.look(what, &mut *connection).await;
    }
    for (what, of) in [("rejects", None), ("rejects of a stream", Some(("connection-4", &streams[..])))] {
        history::rejects(&mut *connection, of, 20, true).await.unwrap();
        meter.look(what, &mut *connection).await;
    }
    meter.dear
}

/// The queries of a worker, from the claim to the end of a run.
async fn worker(connection: &mut PgConnection) -> Vec<String> {
    let id: i64 = sqlx::query_scalar(
        "with run as (
            insert into tidegate.run (job, connection, kind) values ('job-3', 'connection-3', 'manual') returning id
        )
        insert into tidegate.task (run_id, stream) select id, 'stream_0' from run returning run_id",
    )
    .fetch_one(&mut *connection)
    .await
    .unwrap();
    let is_ours = |job: &str| job.starts_with("job-");
    let mut meter = Meter::begin(&mut *connection).await;
    let claim = run::claim(&mut *connection, "me", LEASE, is_ours, None).await.unwrap().expect("a run is due");
    assert_eq!(claim.id, id);
    meter.look("claim", &mut *connection).await;
    macro_rules! cheap {
        ($what:literal, $asks:expr) => {{
            let response = $asks.await.unwrap();
            meter.look($what, &mut *connection).await;
            response
        }};
    }
    assert!(cheap!("renew", run::renew(&mut *connection, claim.id, claim.fence, LEASE)));
    assert!(cheap!("hold_stream", run::hold_stream(&mut *connection, &claim, "stream_0")));
    cheap!("tasks of a run", task::due(&mut *connection, claim.id));
    cheap!("wanted", run::wanted(&mut *connection, &claim, "stream_0", is_ours));
    cheap!("grid", cursor::grid(&mut *connection, "connection-3", "stream_0"));
    let since = Utc::now() - TimeDelta::days(2);
    cheap!("recent slices", cursor::slices(&mut *connection, "connection-3", "stream_0", since));
    cheap!("exports_running", cursor::exports_running(&mut *connection, "connection-3", &["stream_0", "stream_1"]));
    let window = (Utc::now(), Utc::now() + TimeDelta::hours(1));
    cheap!("open_slice", cursor::open_slice(&mut *connection, "connection-3", "stream_0", window));
    cheap!("clear_rejects", reading::clear_rejects(&mut *connection, "connection-3", "stream_0", window));
    assert!(cheap!("begin_task", task::begin(&mut *connection, &claim, "stream_0", 1)));
    assert!(cheap!("pass_fence", run::pass_fence(&mut *connection, &claim, "stream_0", LEASE)));
    let progress = Progress::default();
    cheap!("add_progress", task::add_progress(&mut *connection, claim.id, "stream_0", &progress, window));
    cheap!("add_traffic", task::add_traffic(&mut *connection, claim.id, "stream_0", 1, 1));
    assert!(cheap!("end_task", task::end(&mut *connection, &claim, "stream_0", &TaskEnd::Succeeded)));
    cheap!("release_streams", run::release_streams(&mut *connection, &claim));
    let left = cheap!("end_run", run::end_run(&mut *connection, &claim, false));
    assert_eq!(left.map(|left| left.state).as_deref(), Some("succeeded"));
    meter.dear
}

/// The queries of the ledger. `pool` has one connection, within a transaction.
async fn ledger(pool: &PgPool, plans: &str) -> Vec<String> {
    let key = LedgerKey::derive(pool, &Url::parse("https://vendor.example").unwrap(), &["4411"]).await.unwrap();
    let per = Duration::from_hours(1);
    let limit = Limit { name: "requests".to_owned(), calls: Calls::Every, unit: Unit::Calls, amount: 100, per };
    let ledger = Ledger::open(pool.clone(), "this", &key, "acme", vec![limit.clone()]).await.unwrap();
    for statement in [format!("set plan_cache_mode = {plans}"), "begin".to_owned()] {
        sqlx::query(AssertSqlSafe(statement)).execute(pool).await.unwrap();
    }
    let mut meter = Meter::begin(pool).await;
    let due = Utc::now();
    let asks = Request { kind: CallKind::Data, bytes: 0, priority: 0, due, waiter: Uuid::from_u128(1) };
    let Grant::Now(reservation) = ledger.reserve(&asks).await.unwrap() else { panic!("nothing was used") };
    meter.look("reserve", pool).await;
    let sent_at_offset = Some(Duration::from_secs(2));
    reservation.settle(&ledger, Settlement { sent_at_offset, ..Settlement::default() }).await.unwrap();
    meter.look("settle", pool).await;
    ledger.usage().await.unwrap();
    meter.look("usage", pool).await;
    Ledger::peek(pool.clone(), &key, "acme", &[limit]).await.unwrap();
    meter.look("peek", pool).await;
    sqlx::query("rollback").execute(pool).await.unwrap();
    meter.dear
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_history_is_not_read_by_status_the_claim_a_checkpoint_or_the_ledger() {
    let database = TestDatabase::create().await;
    let mut filler = database.connect().await;
    for statements in [RUNS, REST, "vacuum analyze"] {
        sqlx::raw_sql(statements).execute(&mut filler).await.unwrap();
    }
    for plans in ["force_custom_plan", "force_generic_plan"] {
        let mut connection = session(&database, plans).await;
        let mut transaction = connection.begin().await.unwrap();
        assert_eq!(readers(&mut transaction).await, Vec::<String>::new(), "{plans}");
        if plans == "force_custom_plan" {
            assert_eq!(commands(&mut transaction).await, Vec::<String>::new());
        }
        assert_eq!(worker(&mut transaction).await, Vec::<String>::new(), "{plans}");
        transaction.rollback().await.unwrap();
        let options = PgPoolOptions::new().max_connections(1);
        let pool = options.connect(database.url()).await.unwrap();
        assert_eq!(ledger(&pool, plans).await, Vec::<String>::new(), "{plans}");
        pool.close().await;
    }
}

/// 2,000 jobs that each read a stream, with five runs each, and a job that ran only before them.
const JOBS: &str = "
    insert into tidegate.run (job, connection, kind, state) values ('rare', 'connection-1', 'manual', 'succeeded');
    insert into tidegate.run (job, connection, kind, state)
    select 'job-' || job, 'connection-' || job % 100, 'manual', case when n = 5 then 'failed' else 'succeeded' end
    from generate_series(1, 5) as n cross join generate_series(0, 1999) as job;
    insert into tidegate.run (job, connection, kind, state) values
        ('job-7', 'connection-7', 'schedule', 'queued'), ('other', 'connection-7', 'schedule', 'queued');
    insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice, jobs, failures)
    select 'connection-' || n % 100, 'stream_' || n, 'lynn', 'stream_' || n, '2020-01-01', 'UTC', '1d',
        array['job-' || n], n % 2
    from generate_series(0, 1999) as n;
";

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_jobs_and_streams_are_read_at_once_and_not_searched_one_by_one() {
    let database = TestDatabase::create().await;
    let mut filler = database.connect().await;
    for statements in [JOBS, "vacuum analyze"] {
        sqlx::raw_sql(statements).execute(&mut filler).await.unwrap();
    }
    let jobs: Vec<String> = (0..2_000).map(|job| format!("job-{job}")).chain(["rare".to_owned()]).collect();
    let (connections, names) = (0..2_000).map(|n| (format!("connection-{}", n % 100), format!("stream_{n}"))).unzip();
    let mut connection = session(&database, "force_custom_plan").await;
    let mut transaction = connection.begin().await.unwrap();
    let (searched, read) = (searches(&mut *transaction).await, rows_read(&mut *transaction).await);

    let last = status::last_runs(&mut transaction, &jobs).await.unwrap();
    assert_eq!(last.len(), jobs.len());
    let state_of = |job: &str| &*last.iter().find(|run| run.job == job).unwrap().state;
    assert_eq!(["rare", "job-7", "job-1999"].map(state_of), ["succeeded", "queued", "failed"]);
    // The newest runs, and one of the job that has none among them.
    let rows = rows_read(&mut *transaction).await - read;
    assert!(rows <= 2 * 2_001 + 10, "{rows} rows");

    let streams = status::streams(&mut transaction, &Streams { connections, names }).await.unwrap();
    assert_eq!(streams.len(), 2_000);
    assert!(streams.is_sorted_by_key(|stream| (&stream.connection, &stream.stream)));

    let failing = status::failing(&mut transaction, &jobs[..10]).await.unwrap();
    let mut failing: Vec<(&str, i64)> = failing.iter().map(|of| (&*of.job, of.streams)).collect();
    failing.sort_unstable();
    assert_eq!((failing.len(), failing[..2].to_vec()), (10, vec![("job-0", 0), ("job-1", 1)]));

    let unfinished = status::unfinished(&mut transaction, &jobs).await.unwrap();
    let unfinished: Vec<(&str, i64)> = unfinished.iter().map(|of| (&*of.state, of.runs)).collect();
    assert_eq!(unfinished, [("queued", 1), ("running", 0), ("waiting", 0)], "without those of other jobs");
    assert_eq!(status::ongoing(&mut transaction, None).await.unwrap().len(), 2);
    let ongoing = status::ongoing(&mut transaction, Some(jobs.as_slice())).await.unwrap();
    assert_eq!(ongoing.keys().collect::<Vec<_>>(), ["job-7"]);

    let searched = searches(&mut *transaction).await - searched;
    assert!(searched <= 20, "{searched} searches");
    transaction.rollback().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_history_is_not_read_to_find_what_is_due() {
    let world = World::with(crate::support::world::Recipe {
        job: vec!["schedule: \"* * * * *\"".to_owned()],
        ..Default::default()
    })
    .await;
    let config = world.config();
    let jobs: Vec<_> = config.jobs.values().collect();
    let mut filler = world.database.connect().await;
    let runs = RUNS.replace("'job-' || n % 50", "'lynn'");
    sqlx::raw_sql(AssertSqlSafe(runs)).execute(&mut filler).await.unwrap();
    let now = Utc::now();
    for plans in ["force_custom_plan", "force_generic_plan"] {
        let mut connection = session(&world.database, plans).await;
        let mut transaction = connection.begin().await.unwrap();
        assert!(enqueue_due(&mut transaction, &jobs, now - TimeDelta::hours(1)).await.unwrap().is_empty());
        let mut meter = Meter::begin(&mut *transaction).await;
        assert_eq!(enqueue_due(&mut transaction, &jobs, now).await.unwrap().len(), 1);
        meter.look("enqueue_due", &mut *transaction).await;
        assert_eq!(meter.dear, Vec::<String>::new(), "{plans}");
        transaction.rollback().await.unwrap();
    }
}
