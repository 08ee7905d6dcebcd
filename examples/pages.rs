//! What pages, metrics, JSON API and some commands cost with 500 connections, 10,000 jobs and streams, 4 million slices
//! and 1 million tasks.
//!
//! ```sh
//! cargo build --profile dist --bin tidegate --example pages
//! target/dist/examples/pages                   # a table for docs/performance.md
//! target/dist/examples/pages 50                # a fiftieth of the rows, for a first look
//! ```
//!
//! Rows are written directly into an embedded Postgres, and this program serves the port itself. Each page is read
//! three times by a port that has read nothing, over one database connection. The first byte is the median from the
//! connection of the client until the status line; the time in Postgres is what Postgres counts as active, and
//! statements are those that sqlx sends, without `begin` and `rollback`. The floor is the same page of a database with
//! one stream, in the same run. A later scrape of the metrics is the eighth. Commands are run as processes, including
//! their start and the reading of the configuration. Exits with 1 if a budget is exceeded. All files are in a temporary
//! folder that is deleted at the end.

#[path = "support/program.rs"]
mod program;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tempfile::TempDir;
use tidegate::app::names;
use tidegate::config::Config;
use tidegate::metrics::{Detail, Metrics};
use tidegate::postgres::Embedded;
use tidegate::quota::LedgerKeys;
use tidegate::server::{Health, StatusSources, bind, serve};
use tidegate::store::distribution::Distribution;
use tidegate::store::migrate;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use url::Url;

const TIMES: usize = 3;
/// Between the first and the later scrape of the metrics.
const SCRAPES_BEFORE: usize = 6;
/// Postgres writes what it counted at the end of a transaction, at most once a second.
const COUNTED_AFTER: Duration = Duration::from_millis(1_100);
/// The budgets: of a list and of a stream until the first byte, and of any page in Postgres.
const LIST_MAX: Duration = Duration::from_millis(150);
const STREAM_MAX: Duration = Duration::from_millis(100);
const POSTGRES_MAX: Duration = Duration::from_millis(50);
/// The budgets of the overview, and of any other page: statements, and the size of its HTML.
const OVERVIEW_STATEMENTS_MAX: usize = 6;
const STATEMENTS_MAX: usize = 5;
const OVERVIEW_BYTES_MAX: usize = 60 << 10;
const PAGE_BYTES_MAX: usize = 120 << 10;
/// The budgets of a scrape, of `/status.json` and of a command; and of values per connection.
const WHOLE_MAX: Duration = Duration::from_millis(500);
const VALUES_MAX: usize = 20_000;
const COMMANDS: [&[&str]; 3] = [&["status"], &["status", "--json"], &["check", "--offline"]];
/// More memory of this process after all pages.
const MEMORY_KIB_MAX: u64 = 4 << 10;
const STREAMS_PER_CONNECTION: usize = 20;

const PATHS: [&str; 18] = [
    "/",
    "/streams",
    "/streams?after=c0250%2Fr07",
    "/streams?q=c0250",
    "/streams/c0007/r07",
    "/jobs",
    "/jobs/c0007-r07",
    "/runs",
    "/runs/7",
    "/quotas",
    "/connections",
    "/connections/c0007",
    "/problems",
    "/events",
    "/rejects",
    "/schema",
    "/pushes",
    "/system",
];

/// Statements that sqlx has sent, without the end of a transaction.
static STATEMENTS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

impl<S: tracing::Subscriber> Layer<S> for Counting {
    fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
        let mut summary = Summary::default();
        event.record(&mut summary);
        let is_counted = !summary.0.to_ascii_lowercase().contains("rollback");
        STATEMENTS.fetch_add(usize::from(is_counted), Ordering::Relaxed);
    }
}

/// The first words of a statement, as sqlx records them.
#[derive(Default)]
struct Summary(String);

impl Visit for Summary {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "summary" {
            self.0 = format!("{value:?}");
        }
    }
}

/// Rows of `$1` connections with 20 streams each. The summaries that triggers would keep are written directly.
const FILL: &str = "
    set session_replication_role = replica;
    set synchronous_commit = off;
    insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice, jobs, day_zone,
        wanted_from, covers_from, complete_until, newest_data_until, has_gap, last_success_at, expected_after, expected_by,
        expected_every_seconds, failures, last_error)
    select c, r, 'lynn', r, current_date - 400, 'America/Santiago', '1d', array[c || '-' || r], 'America/Santiago',
        now() - interval '400 days', now() - interval '400 days', now() - interval '20 minutes', now() - interval '20 minutes',
        s = 3, now() - interval '15 minutes', now() - interval '1 hour', now() + interval '1 hour', 3600,
        case when s = 5 and n % 100 = 0 then 3 else 0 end, case when s = 5 then 'the vendor refused the credentials' end
    from generate_series(0, $connections - 1) as n cross join generate_series(0, 19) as s
    cross join lateral (select 'c' || to_char(n, 'FM0000') as c, 'r' || to_char(s, 'FM00') as r) as names;
    insert into tidegate.slice (connection, stream, window_start, window_end, read_until, finished_run, finished_at, rows_total)
    select connection, stream, at, at + interval '1 day', least(at + interval '1 day', now()), 1, now(), 100
    from tidegate.stream
    cross join generate_series((current_date - $days)::timestamp at time zone 'America/Santiago', now(), interval '1 day') as at;
    insert into tidegate.run (job, connection, kind, state, scheduled_for, due_at, created_at, started_at, finished_at)
    select connection || '-' || stream, connection, 'schedule', case when n % 50 = 0 then 'failed' else 'succeeded' end,
        at, at, at, at, at + interval '1 minute'
    from tidegate.stream cross join generate_series(1, 100) as n
    cross join lateral (select now() - (101 - n) * interval '1 hour' as at) as moment;
    insert into tidegate.task (run_id, stream, state, started_at, finished_at, slices_planned, slices_done, calls, rows_read)
    select id, split_part(job, '-', 2), state, started_at, finished_at, 1, 1, 3, 100 from tidegate.run;
    insert into tidegate.run (job, connection, kind, state, created_at, started_at, lease_until)
    select connection || '-' || stream, connection, 'schedule', case when stream = 'r01' then 'running' else 'waiting' end, now(), now(),
        now() + interval '1 hour'
    from tidegate.stream where stream in ('r01', 'r02') limit 400;
    insert into tidegate.task (run_id, stream, state, waiting_for, waiting_until, slices_planned, slices_done)
    select id, split_part(job, '-', 2), state, 'quota requests', now() + interval '1 hour', 12, 7
    from tidegate.run where finished_at is null;
    insert into tidegate.quota_ledger (key, connections) select 'key ' || connection, array[connection]
    from tidegate.stream where stream = 'r00';
    insert into tidegate.quota_limit (ledger_id, name, unit, amount, per, reach, width)
    select id, name, 'calls', 10000, '12 hours', '12 hours', '1 minute'
    from tidegate.quota_ledger cross join unnest(array['requests', 'period_calls', 'period_bandwidth']) as name;
    insert into tidegate.quota_use (limit_id, ends_at, used)
    select id, now() - n * interval '7 minutes', 60 from tidegate.quota_limit cross join generate_series(0, 99) as n;
    insert into tidegate.quota_spent (limit_id, used, first_ends_at, last_ends_at)
    select limit_id, sum(used), min(ends_at), max(ends_at) from tidegate.quota_use group by limit_id;
    insert into tidegate.quota_hour (connection, hour, calls, bytes, waited_seconds, refused)
    select connection, date_trunc('hour', now()) - n * interval '1 hour', n, 1000 * n, n, 0
    from tidegate.stream cross join generate_series(1, 168) as n where stream = 'r00';
    insert into tidegate.problem (kind, scope, connection, stream, opened_at, summary)
    select 'gap', connection || '/' || stream, connection, stream, now(), 'days are missing'
    from tidegate.stream where stream = 'r03';
    insert into tidegate.event (kind, connection, stream, summary)
    select 'gap', connection, stream, 'days are missing' from tidegate.stream cross join generate_series(1, 10);
    insert into tidegate.rejected_record (run_id, connection, stream, window_start, reason, record)
    select 1, connection, stream, now(), 'lacks its key', '{}' from tidegate.stream cross join generate_series(1, 20);
    insert into tidegate.schema_change (table_schema, table_name, column_name, change)
    select 'lynn', stream, 'column_' || connection, 'add_column' from tidegate.stream;
    set session_replication_role = origin;
";

/// What a page or a scrape cost.
struct Cost {
    first_byte: Duration,
    postgres: Duration,
    statements: usize,
    bytes: usize,
}

fn main() -> anyhow::Result<ExitCode> {
    let part: usize = std::env::args().nth(1).map_or(Ok(1), |part| part.parse()).context("a part")?;
    let counting = tracing_subscriber::filter::Targets::new().with_target("sqlx::query", tracing::Level::TRACE);
    tracing_subscriber::registry().with(Counting.with_filter(counting)).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(500 / part.max(1)))
}

async fn measure(connections: usize) -> anyhow::Result<ExitCode> {
    let folder = tempfile::tempdir()?;
    let postgres = Embedded::start(&folder.path().join("postgres"), &CancellationToken::new()).await?;
    let done = compare(&postgres, connections).await;
    postgres.stop().await;
    done
}

async fn compare(postgres: &Embedded, connections: usize) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let small = Site::fill(postgres, "small", 1, 1).await?;
    let large = Site::fill(postgres, "large", connections, 400).await?;
    eprintln!("filled in {:.0} s", began.elapsed().as_secs_f64());
    let pages = pages(&small, &large).await?;
    let whole = whole(&large).await?;
    Ok(if pages && whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures the pages. Returns whether all budgets are kept.
async fn pages(small: &Site, large: &Site) -> anyhow::Result<bool> {
    let mut is_kept = true;
    let mut table = String::from(
        "| page | first byte, ms | with one stream | in Postgres, ms | with one stream | statements | page, kB | JSON, kB |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    // The first page of a process costs what every first page costs.
    large.cost("/").await?;
    let before = resident_kib()?;
    for path in PATHS {
        let cost = large.cost(path).await?;
        let floor = small.cost(&path.replace("c0007", "c0000").replace("r07", "r00")).await?;
        let document = if path == "/" { "/api/v1/overview".to_owned() } else { format!("/api/v1{path}") };
        let (_, json) = request(large.serve().await?.address, &document).await?;
        let first_byte_max = if path.starts_with("/streams/") { STREAM_MAX } else { LIST_MAX };
        is_kept &= cost.first_byte <= first_byte_max && cost.postgres <= POSTGRES_MAX;
        let (statements_max, bytes_max) = match path {
            "/" => (OVERVIEW_STATEMENTS_MAX, OVERVIEW_BYTES_MAX),
            _ => (STATEMENTS_MAX, PAGE_BYTES_MAX),
        };
        is_kept &= cost.statements <= statements_max && cost.bytes <= bytes_max;
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        writeln!(
            table,
            "| `{path}` | {:.1} | {:.1} | {:.1} | {:.1} | {} | {:.1} | {:.1} |",
            ms(cost.first_byte),
            ms(floor.first_byte),
            ms(cost.postgres),
            ms(floor.postgres),
            cost.statements,
            kilobytes(cost.bytes),
            kilobytes(json.len()),
        )?;
    }
    let more = resident_kib()?.saturating_sub(before);
    is_kept &= more <= MEMORY_KIB_MAX;
    println!("{table}\nmemory: {more} KiB more after all pages\n");
    Ok(is_kept)
}

/// Measures what covers the whole configuration: metrics, `/status.json` and commands. Returns whether all budgets are
/// kept.
async fn whole(large: &Site) -> anyhow::Result<bool> {
    let mut is_kept = true;
    let mut table = String::from(
        "| what | time, ms | in Postgres, ms | statements | size, kB | values |\n|---|--:|--:|--:|--:|--:|\n",
    );
    for detail in [Detail::Streams, Detail::Connections] {
        let metrics = Metrics::new(detail);
        metrics.configure(names(&large.config));
        let served = large.serve_with(metrics).await?;
        for scrape in ["first", "later"] {
            // Postgres may choose other plans for statements that a session has sent some times.
            for _ in 0..if scrape == "later" { SCRAPES_BEFORE } else { 0 } {
                tokio::time::sleep(COUNTED_AFTER).await;
                large.cost_of(&served, "/metrics").await?;
            }
            tokio::time::sleep(COUNTED_AFTER).await;
            let (cost, text) = large.cost_of(&served, "/metrics").await?;
            let values = text.lines().filter(|line| !line.starts_with('#')).count();
            is_kept &= cost.first_byte <= WHOLE_MAX && (detail == Detail::Streams || values < VALUES_MAX);
            is_kept &= text.contains("tidegate_quota_used_ratio{");
            let what = format!("`/metrics`, {scrape} scrape, {detail:?}");
            row(&mut table, &what, &cost, &values.to_string())?;
        }
    }
    let (cost, _) = large.cost_of(&large.serve().await?, "/status.json").await?;
    is_kept &= cost.first_byte <= WHOLE_MAX;
    row(&mut table, "`/status.json`", &cost, "")?;
    let binary = program::binary()?;
    for words in COMMANDS {
        let mut times = Vec::new();
        let mut bytes = 0;
        for _ in 0..TIMES {
            let began = Instant::now();
            let output = Command::new(&binary)
                .arg("--config")
                .arg(large.folder.path())
                .args(words)
                .stderr(Stdio::inherit())
                .output()?;
            times.push(began.elapsed());
            anyhow::ensure!(output.status.success(), "{words:?}");
            bytes = output.stdout.len();
        }
        times.sort_unstable();
        let took = times[TIMES / 2];
        is_kept &= took <= WHOLE_MAX;
        let took = took.as_secs_f64() * 1_000.0;
        writeln!(table, "| `tidegate {}` | {took:.0} | | | {:.0} | |", words.join(" "), kilobytes(bytes))?;
    }
    println!("{table}");
    Ok(is_kept)
}

fn row(table: &mut String, what: &str, cost: &Cost, values: &str) -> std::fmt::Result {
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    let (first, postgres, size) = (ms(cost.first_byte), ms(cost.postgres), kilobytes(cost.bytes));
    writeln!(table, "| {what} | {first:.0} | {postgres:.0} | {} | {size:.0} | {values} |", cost.statements)
}

#[expect(clippy::cast_precision_loss, reason = "a size to print")]
fn kilobytes(bytes: usize) -> f64 {
    bytes as f64 / 1_000.0
}

/// A database and its configuration.
struct Site {
    pool: PgPool,
    /// For what Postgres counted.
    options: PgConnectOptions,
    config: Arc<Config>,
    folder: TempDir,
}

/// The port of a process that has read nothing yet.
struct Served {
    address: SocketAddr,
    token: CancellationToken,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

impl Site {
    async fn fill(postgres: &Embedded, name: &str, connections: usize, days: usize) -> anyhow::Result<Self> {
        let mut url: Url = postgres.superuser_url().expose().parse()?;
        let mut admin = PgConnection::connect(url.as_str()).await?;
        url.set_path(name);
        let folder = tempfile::tempdir()?;
        let streams = if connections == 1 { 1 } else { STREAMS_PER_CONNECTION };
        let config = configuration(folder.path(), url.as_str(), connections, streams)?;
        sqlx::raw_sql(AssertSqlSafe(format!("create database {name}"))).execute(&mut admin).await?;
        let options: PgConnectOptions = url.as_str().parse()?;
        let pool = PgPoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
        migrate::migrate(&pool, Distribution::None).await?;
        let mut filler = PgConnection::connect_with(&options).await?;
        let streams = if connections == 1 { "delete from tidegate.stream where stream <> 'r00';" } else { "" };
        let fill = FILL.replace("$connections", &connections.to_string()).replace("$days", &days.to_string());
        let fill = fill.replacen("insert into tidegate.slice", &format!("{streams}\ninsert into tidegate.slice"), 1);
        sqlx::raw_sql(AssertSqlSafe(fill)).execute(&mut filler).await?;
        let keys = LedgerKeys::read(&pool).await?;
        for connection in config.connections.values() {
            let key = keys.key(&connection.base_url, &connection.settings.credential());
            sqlx::query("update tidegate.quota_ledger set key = $1 where connections = array[$2]")
                .bind(key.as_str())
                .bind(&connection.name)
                .execute(&mut filler)
                .await?;
        }
        sqlx::raw_sql("vacuum analyze").execute(&mut filler).await?;
        // Otherwise the server writes what was filled while the first pages are measured.
        sqlx::raw_sql("checkpoint").execute(&mut filler).await?;
        Ok(Self { pool, options, config, folder })
    }

    async fn serve(&self) -> anyhow::Result<Served> {
        self.serve_with(Metrics::default()).await
    }

    async fn serve_with(&self, metrics: Metrics) -> anyhow::Result<Served> {
        let (_sender, config) = watch::channel(Arc::clone(&self.config));
        let sources = StatusSources {
            pool: self.pool.clone(),
            metrics: Arc::new(metrics),
            health: Arc::new(Health::default()),
            pulse: Arc::default(),
            outgoing: Arc::default(),
            config,
        };
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let (address, token) = (listener.local_addr()?, CancellationToken::new());
        tokio::spawn(serve(listener, sources.router(), token.clone()));
        Ok(Served { address, token })
    }

    /// The median of several readings.
    async fn cost(&self, path: &str) -> anyhow::Result<Cost> {
        let (mut first, mut active, mut statements, mut bytes) = (Vec::new(), Vec::new(), 0, 0);
        for _ in 0..TIMES {
            tokio::time::sleep(COUNTED_AFTER).await;
            let (cost, _) = self.cost_of(&self.serve().await?, path).await?;
            active.push(cost.postgres);
            first.push(cost.first_byte);
            (statements, bytes) = (cost.statements, cost.bytes);
        }
        first.sort_unstable();
        active.sort_unstable();
        Ok(Cost { first_byte: first[TIMES / 2], postgres: active[TIMES / 2], statements, bytes })
    }

    /// Of one request.
    async fn cost_of(&self, served: &Served, path: &str) -> anyhow::Result<(Cost, String)> {
        let mut admin = PgConnection::connect_with(&self.options.clone().database("postgres")).await?;
        let before = self.active(&mut admin).await?;
        STATEMENTS.store(0, Ordering::Relaxed);
        let (first_byte, body) = request(served.address, path).await?;
        // Sqlx does not record `begin`. What this program asks is sent before and after.
        let statements = STATEMENTS.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let active = (self.active(&mut admin).await? - before).max(0.0);
        let postgres = Duration::from_secs_f64(active / 1_000.0);
        Ok((Cost { first_byte, postgres, statements, bytes: body.len() }, body))
    }

    /// Milliseconds for which sessions of the database were active.
    async fn active(&self, admin: &mut PgConnection) -> anyhow::Result<f64> {
        let name = self.options.get_database().context("a database")?;
        let query = "select active_time from pg_stat_database where datname = $1";
        Ok(sqlx::query_scalar(query).bind(name).fetch_one(admin).await?)
    }
}

/// A file for each connection with its jobs.
fn configuration(folder: &Path, url: &str, connections: usize, streams: usize) -> anyhow::Result<Arc<Config>> {
    std::fs::write(folder.join("tidegate.yaml"), format!("database: {{ url: \"{url}\" }}\n"))?;
    std::fs::create_dir(folder.join("jobs"))?;
    for connection in 0..connections {
        let mut reports = String::new();
        let mut jobs = String::from("jobs:\n");
        for stream in 0..streams {
            write!(reports, "r{stream:02}: 00000000-0000-0000-0000-{:012}, ", stream + 1)?;
            writeln!(
                jobs,
                "  c{connection:04}-r{stream:02}: {{ connection: c{connection:04}, streams: [r{stream:02}], \
                 schedule: \"{} * * * *\", timezone: America/Santiago, start: 2025-01-01 }}",
                (connection + stream) % 60,
            )?;
        }
        let text = format!(
            "connections:\n  c{connection:04}: {{ vendor: lynn_reporting, tenant: {}, access_token: \"7c01d94ab3e2f5{connection}\", \
             access_token_secret: \"0b6f2f4e-52a1-4c0e-9d61-3a7a4be0c111\", reports: {{ {reports} }} }}\n{jobs}",
            connection + 1,
        );
        std::fs::write(folder.join(format!("jobs/c{connection:04}.yaml")), text)?;
    }
    let config = Config::load(folder, &std::collections::BTreeMap::new());
    Ok(Arc::new(config.map_err(|faults| anyhow!("{faults}"))?))
}

/// The time until the first byte of a response, and its body.
async fn request(address: SocketAddr, path: &str) -> anyhow::Result<(Duration, String)> {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await?;
    let mut response = vec![0; 1];
    stream.read_exact(&mut response).await?;
    let first = began.elapsed();
    stream.read_to_end(&mut response).await?;
    let response = String::from_utf8(response)?;
    let (head, body) = response.split_once("\r\n\r\n").context("a response")?;
    anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {head} {body}");
    Ok((first, body.to_owned()))
}

/// What this process has in memory.
fn resident_kib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
