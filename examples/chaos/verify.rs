//! What must hold after the storm.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tidegate::connector::all_streams;

/// The result of one check.
pub struct Finding {
    pub what: String,
    pub fault: Option<String>,
}

impl Finding {
    pub fn new(what: impl Into<String>, fault: Option<String>) -> Self {
        Self { what: what.into(), fault }
    }
}

/// Columns that describe the reading, not the data.
const OF_THE_READING: &[&str] = &["_connection", "_row_key", "_run_id", "_loaded_at", "_deleted_at", "window_end"];
/// Columns with the time of an observation.
const OF_THE_MOMENT: &[&str] = &["observed_at", "extracted_at", "cleaned_at"];

/// Every warehouse table that has a row.
pub async fn tables(connection: &mut PgConnection) -> anyhow::Result<Vec<String>> {
    let names =
        "select schemaname || '.' || quote_ident(tablename) from pg_tables where schemaname = any($1) order by 1";
    let schemas: Vec<&str> = all_streams().iter().map(|stream| stream.schema).collect();
    Ok(sqlx::query_scalar(names).bind(schemas).fetch_all(connection).await?)
}

/// How a table is compared.
#[derive(Debug, Clone, Copy)]
pub struct Rows {
    /// Entities that vanished at the vendor may remain.
    pub stay: bool,
    /// Every run has rows, and only those of the last one are compared.
    pub last_run: bool,
}

/// A table's rows as a multiset, without columns that describe the reading. Rows of lists that are marked as deleted
/// are left out.
async fn rows(connection: &mut PgConnection, table: &str, last_run: bool) -> anyhow::Result<BTreeMap<String, u64>> {
    let without: Vec<String> = OF_THE_READING.iter().chain(OF_THE_MOMENT).map(|name| (*name).to_owned()).collect();
    let last = if last_run { format!("and _run_id = (select max(_run_id) from {table})") } else { String::new() };
    // Nulls are ignored: a column that only one of the two databases has is null everywhere.
    let query = format!(
        "select jsonb_strip_nulls(to_jsonb(t) - $1::text[])::text from {table} as t
        where to_jsonb(t) ->> '_deleted_at' is null {last}"
    );
    let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(query)).bind(without).fetch_all(connection).await?;
    Ok(rows.into_iter().fold(BTreeMap::new(), |mut set, row| {
        *set.entry(row).or_default() += 1;
        set
    }))
}

/// Whether the table equals that of an undisturbed run.
pub async fn same_rows(
    stormy: &mut PgConnection,
    calm: &mut PgConnection,
    table: &str,
    Rows { stay, last_run }: Rows,
) -> anyhow::Result<Finding> {
    let (found, wanted) = (rows(stormy, table, last_run).await?, rows(calm, table, last_run).await?);
    let count = |of: &BTreeMap<String, u64>| of.values().sum::<u64>();
    let lacking: Vec<&String> =
        wanted.iter().filter(|(row, n)| found.get(*row).unwrap_or(&0) < n).map(|p| p.0).collect();
    let surplus: Vec<&String> =
        found.iter().filter(|(row, n)| wanted.get(*row).unwrap_or(&0) < n).map(|pair| pair.0).collect();
    let fault = (!lacking.is_empty() || !(stay || surplus.is_empty())).then(|| {
        let show = |rows: &[&String]| rows.first().map_or_else(String::new, |row| row.chars().take(300).collect());
        format!("{} missing ({}), {} unexpected ({})", lacking.len(), show(&lacking), surplus.len(), show(&surplus))
    });
    let of_which = if last_run { " of the last run" } else { "" };
    Ok(Finding::new(format!("{table}: {} rows{of_which} as of an undisturbed run", count(&wanted)), fault))
}

/// Queries that return nothing if all is well.
const NOTHING: &[(&str, &str)] = &[
    (
        "no run is unfinished",
        "select 'run ' || id || ' is ' || state from tidegate.run where state in ('queued', 'running', 'waiting')",
    ),
    (
        "no firing ran twice",
        "select job || ' ' || scheduled_for from tidegate.run where scheduled_for is not null
         group by job, scheduled_for having count(*) > 1",
    ),
    ("no note of a reading is left", "select 'slice ' || slice_id from tidegate.seen_row"),
    (
        "no slice is left unfinished",
        "select connection || '/' || stream || ' ' || window_start from tidegate.slice where reading_run is not null",
    ),
    (
        "no slice is still held",
        "select connection || '/' || stream || ': ' || held_reason from tidegate.slice where held_since is not null or released",
    ),
    (
        "no total of a vendor differs from the rows",
        "select connection || ' ' || metric || ' ' || bucket_start || ': ' || vendor_total || ', ours ' || our_count
         from mart.reconciliation where difference <> 0",
    ),
    (
        "the totals of Lexer and JAICP can be compared",
        "select name from unnest(array['jaicp', 'lexer']) as vendor (name)
         where not exists (
             select from mart.reconciliation as total where total.source = vendor.name and comparable and our_count > 0
         )",
    ),
    ("no record was refused", "select connection || '/' || stream || ': ' || reason from tidegate.rejected_record"),
];

pub async fn nothing_left(connection: &mut PgConnection) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (what, query) in NOTHING {
        let left: Vec<String> = sqlx::query_scalar(*query).fetch_all(&mut *connection).await?;
        let fault = left.first().map(|first| format!("{} left, {first}", left.len()));
        findings.push(Finding::new(*what, fault));
    }
    Ok(findings)
}

/// After all daemons have disconnected: no sessions, locks or temporary tables of theirs remain.
pub async fn nothing_held(url: &str, database: &str) -> anyhow::Result<Vec<Finding>> {
    const WITHIN: Duration = Duration::from_mins(1);
    let held = [
        (
            "no session is left in the database",
            "select 'backend ' || pid || ' ' || state from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()
             and backend_type = 'client backend'",
        ),
        (
            "no lock is left",
            "select mode || ' by ' || pid from pg_locks
             where database = (select oid from pg_database where datname = $1) and pid <> pg_backend_pid()
             and pid in (select pid from pg_stat_activity where backend_type = 'client backend')",
        ),
        (
            "no temporary table is left",
            "select relname from pg_class where relpersistence = 't' and relkind = 'r' and $1 <> ''",
        ),
    ];
    let mut connection = PgConnection::connect(url).await?;
    let mut findings = Vec::new();
    for (what, query) in held {
        let began = Instant::now();
        // The server notices within moments that a client is gone; autovacuum drops what a crash left.
        let left = loop {
            let left: Vec<String> = sqlx::query_scalar(query).bind(database).fetch_all(&mut connection).await?;
            if left.is_empty() || began.elapsed() > WITHIN {
                break left;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        };
        findings.push(Finding::new(what, left.first().map(|first| format!("{} left, {first}", left.len()))));
    }
    connection.close().await?;
    Ok(findings)
}

/// Records every statement that deletes rows of a windowed table, with the number of rows left in the slice and the
/// number before the reading: evidence for promise 10 that shares no code with the daemon.
pub async fn audit(url: &str) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(
        "
        create schema audit;
        create table audit.deletion (
            place text, window_start timestamptz, present bigint, deleted bigint, remaining bigint, released boolean
        );

        create function audit.note() returns trigger language plpgsql as $$
        declare
            loss record;
            remaining bigint;
        begin
            for loss in
                select gone._connection, gone._window_start, count(*) as deleted,
                    max(slice.reading_present) as present, bool_or(slice.released) as released
                from gone
                left join tidegate.slice as slice
                    on slice.connection = gone._connection
                    and slice.stream = tg_table_name
                    and slice.window_start = gone._window_start
                group by 1, 2
            loop
                execute format('select count(*) from %I.%I where _connection = $1 and _window_start = $2', tg_table_schema, tg_table_name)
                into remaining using loss._connection, loss._window_start;
                insert into audit.deletion
                values (
                    tg_table_schema || '.' || tg_table_name, loss._window_start, loss.present, loss.deleted, remaining,
                    coalesce(loss.released, false)
                );
            end loop;
            return null;
        end $$;

        do $$
        declare
            place record;
        begin
            for place in
                select table_schema, table_name
                from information_schema.columns
                where column_name = '_window_start'
            loop
                execute format('create trigger audit after delete on %I.%I referencing old table as gone
                    for each statement execute function audit.note()', place.table_schema, place.table_name);
            end loop;
        end $$;
        ",
    )
    .execute(&mut connection)
    .await?;
    Ok(connection.close().await?)
}

/// Promise 10: no reading deleted a large part of a slice, unless it was released, which is done only after the storm.
pub async fn no_sharp_loss(url: &str) -> anyhow::Result<Finding> {
    let mut connection = PgConnection::connect(url).await?;
    let sharp: Vec<String> = sqlx::query_scalar(
        "select place || ' ' || window_start || ': ' || deleted || ' of ' || present || ' went, ' || remaining || ' are left'
        from audit.deletion
        where not released and (remaining = 0 or (remaining < present * 0.8 and present - remaining >= 20))",
    )
    .fetch_all(&mut connection)
    .await?;
    let all: i64 = sqlx::query_scalar("select coalesce(sum(deleted), 0)::bigint from audit.deletion")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    let fault = sharp.first().map(|first| format!("{}, {first}", sharp.len()));
    Ok(Finding::new(format!("no slice lost a large part of its rows at once ({all} rows were deleted)"), fault))
}

/// Connections (jobs have the same names) and streams with a held slice.
pub async fn held(url: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut connection = PgConnection::connect(url).await?;
    let held = "select distinct connection, stream from tidegate.slice where held_since is not null order by 1, 2";
    let held = sqlx::query_as(held).fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok(held)
}

/// Connections with a slice that is held since `began` or later.
pub async fn held_since(url: &str, began: DateTime<Utc>) -> anyhow::Result<Vec<String>> {
    let mut connection = PgConnection::connect(url).await?;
    let held = "select distinct connection from tidegate.slice where held_since >= $1 order by 1";
    let held = sqlx::query_scalar(held).bind(began).fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok(held)
}

/// Whether a stream is in the state `failed`.
pub async fn has_failed(url: &str, name: &str, stream: &str) -> anyhow::Result<bool> {
    let mut connection = PgConnection::connect(url).await?;
    let failed = sqlx::query_scalar(
        "select exists (
            select from tidegate.stream_state where connection = $1 and stream = $2 and state = 'failed'
        )",
    )
    .bind(name)
    .bind(stream)
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    Ok(failed)
}

/// Whether a connection has read something, and so belongs to its account.
pub async fn was_read(url: &str, name: &str) -> anyhow::Result<bool> {
    let mut connection = PgConnection::connect(url).await?;
    let pinned = sqlx::query_scalar(
        "select exists (select from tidegate.slice where connection = $1 and finished_run is not null)",
    )
    .bind(name)
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    Ok(pinned)
}

/// Number of Lynn's pages in checkpoints.
pub async fn pages_of_lynn(url: &str) -> anyhow::Result<usize> {
    let mut connection = PgConnection::connect(url).await?;
    let pages = "select coalesce(sum(pages), 0)::bigint from tidegate.task
        inner join tidegate.run on run.id = task.run_id where connection = 'lynn'";
    let pages: i64 = sqlx::query_scalar(pages).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(usize::try_from(pages)?)
}

/// Makes postponed work due now.
pub async fn hurry(url: &str) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    let hurry = "with task as (
            update tidegate.task set waiting_until = now() where state = 'waiting' and waiting_for <> 'export'
        )
        update tidegate.run set due_at = now() where state = 'waiting'";
    sqlx::query(hurry).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

/// What the sessions of the database do, the tasks in progress, and the leases.
pub async fn sessions(url: &str) -> anyhow::Result<Vec<String>> {
    let mut connection = PgConnection::connect(url).await?;
    let sessions = "select concat_ws(
            ' ', 'session', pid, state, wait_event_type, wait_event, clock_timestamp() - state_change,
            pg_blocking_pids(pid), regexp_replace(left(query, 200), '\\s+', ' ', 'g')
        )
        from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()
        union all
        select concat('task ', task) from tidegate.task where state not in ('succeeded', 'failed', 'held', 'cancelled')
        union all
        select concat('run ', run) from tidegate.run where finished_at is null";
    let sessions = sqlx::query_scalar(sessions).fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok(sessions)
}

/// The runs in progress, each with how often it was claimed and what it waits for. Makes postponed ones due.
pub async fn open_runs(url: &str) -> anyhow::Result<Vec<String>> {
    hurry(url).await?;
    let mut connection = PgConnection::connect(url).await?;
    let open = "select concat_ws(' ', job, run.state, 'in claim', fence, (
            select 'for ' || string_agg(distinct waiting_for, ' and ') from tidegate.task
            where run_id = run.id and task.state = 'waiting'
        )) from tidegate.run where run.state in ('queued', 'waiting', 'running') order by run.id";
    let open = sqlx::query_scalar(open).fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok(open)
}
