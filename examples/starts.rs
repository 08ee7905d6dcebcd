//! How soon 200 runs start that are due in the same second, with 1, 2 and 4 processes, among 10,000 jobs.
//!
//! ```sh
//! cargo build --profile dist --bins --examples
//! target/dist/examples/starts                  # 200 of 10,000 jobs
//! target/dist/examples/starts 1000 1000        # other numbers: due at once, in all
//! ```
//!
//! An embedded Postgres with fsync on, and the real binary (`TIDEGATE_BIN`, or the binary next to this program's
//! folder) as separate processes, each with the default `worker.concurrency` of 4. The jobs that are due fire twice,
//! minutes after the start. Each job has a stream of its own, and there is a connection for every twenty. `start` lies
//! in the future, so that a run does all that every run does to start and to end, and reads nothing. The first firing
//! also makes a table for each stream; the second one does not.
//!
//! A run has started when its first worker has claimed it. Times are seconds after the firing, of the database's clock.
//! Exits with 1 if a firing did not become exactly one run of each job.

#[path = "support/program.rs"]
mod program;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Datelike as _, DurationRound as _, TimeDelta, Timelike as _, Utc};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tidegate::postgres::Embedded;
use tokio_util::sync::CancellationToken;

const DATABASE: &str = "starts";
const DUE: u32 = 200;
const JOBS: u32 = 10_000;
const PROCESSES: [usize; 3] = [1, 2, 4];
const JOBS_PER_CONNECTION: u32 = 20;
/// How long until all jobs and limits are stored.
const READY_WITHIN: Duration = Duration::from_mins(3);
/// What a daemon stores after its start takes less than this.
const SETTLE: Duration = Duration::from_secs(20);
/// From the minute of the start to the first firing, and from there to the second.
const FIRST_AFTER: TimeDelta = TimeDelta::minutes(3);
const SECOND_AFTER: TimeDelta = TimeDelta::minutes(1);
const ENDED_WITHIN: Duration = Duration::from_secs(50);
const LOOK: Duration = Duration::from_millis(500);

/// The runs of one firing, in seconds after it.
#[derive(sqlx::FromRow)]
struct Firing {
    runs: i64,
    jobs: i64,
    enqueued: f64,
    first: f64,
    half: f64,
    last: f64,
    ended: f64,
}

const MEASURE: &str = "
    with timed as (
        select
            job,
            extract(epoch from created_at - scheduled_for)::float8 as enqueued,
            extract(epoch from started_at - scheduled_for)::float8 as started,
            extract(epoch from finished_at - scheduled_for)::float8 as ended
        from tidegate.run
        where scheduled_for = $1
    )
    select
        count(*) as runs,
        count(distinct job) as jobs,
        max(enqueued) as enqueued,
        min(started) as first,
        percentile_disc(0.5) within group (order by started) as half,
        max(started) as last,
        max(ended) as ended
    from timed";

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u32>());
    let due = numbers.next().unwrap_or(Ok(DUE)).context("jobs that are due at once")?;
    let jobs = numbers.next().unwrap_or(Ok(JOBS)).context("jobs")?.max(due);
    let binary = program::binary()?;
    let folder = tempfile::tempdir()?;
    let postgres = Embedded::start(&folder.path().join("postgres"), &CancellationToken::new()).await?;
    let measured = measure(&binary, folder.path(), &postgres, due, jobs).await;
    postgres.stop().await;
    let (table, is_exact) = measured?;
    println!("{due} of {jobs} jobs are due\n\n{table}");
    Ok(if is_exact { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(
    binary: &Path,
    folder: &Path,
    postgres: &Embedded,
    due: u32,
    jobs: u32,
) -> anyhow::Result<(String, bool)> {
    let mut table = String::from(
        "| processes | firing | enqueued by, s | first start | half | last start | last end | runs/s |\n\
         |--:|---|--:|--:|--:|--:|--:|--:|\n",
    );
    let mut is_exact = true;
    let mut admin = PgConnection::connect(postgres.superuser_url().expose()).await?;
    let mut url = url::Url::parse(postgres.url().expose())?;
    url.set_path(DATABASE);
    for processes in PROCESSES {
        for statement in ["drop database if exists starts with (force)", "create database starts owner tidegate"] {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut admin).await?;
        }
        let first = Utc::now().duration_trunc(TimeDelta::minutes(1))? + FIRST_AFTER;
        let firings = [("first", first), ("second", first + SECOND_AFTER)];
        let mut daemons = Vec::new();
        for process in 0..processes {
            let config = folder.join(format!("config-{processes}-{process}"));
            let minutes = firings.map(|(_, at)| at.minute().to_string()).join(",");
            write_config(&config, url.as_str(), (due, &format!("{minutes} * * * *")), jobs)?;
            daemons.push(Daemon::start(binary, &config, &folder.join("daemon.log"))?);
        }
        let mut database = connected(&url).await?;
        until_known(&mut database, i64::from(jobs)).await?;
        for (which, at) in firings {
            let firing = measured(&mut database, at, i64::from(due)).await?;
            is_exact &= (firing.runs, firing.jobs) == (i64::from(due), i64::from(due));
            let Firing { enqueued, first, half, last, ended, .. } = firing;
            let per_second = f64::from(due) / (last - first).max(0.001);
            writeln!(
                table,
                "| {processes} | {which} | {enqueued:.2} | {first:.2} | {half:.2} | {last:.2} | {ended:.2} | \
                 {per_second:.0} |"
            )?;
        }
    }
    Ok((table, is_exact))
}

/// Connects once the daemon has made the schema.
async fn connected(url: &url::Url) -> anyhow::Result<PgConnection> {
    let mut database = PgConnection::connect(url.as_str()).await?;
    let begun = Instant::now();
    while !sqlx::query_scalar::<_, bool>("select to_regclass('tidegate.job') is not null")
        .fetch_one(&mut database)
        .await?
    {
        ensure!(begun.elapsed() < READY_WITHIN, "the daemon makes no schema");
        tokio::time::sleep(LOOK).await;
    }
    Ok(database)
}

/// Waits until the daemons have stored all jobs, and have nothing else to store.
async fn until_known(database: &mut PgConnection, jobs: i64) -> anyhow::Result<()> {
    let begun = Instant::now();
    while count(database, "select count(*) from tidegate.job").await? < jobs {
        ensure!(begun.elapsed() < READY_WITHIN, "the daemons do not store all jobs");
        tokio::time::sleep(LOOK).await;
    }
    tokio::time::sleep(SETTLE).await;
    Ok(())
}

async fn count(database: &mut PgConnection, statement: &'static str) -> anyhow::Result<i64> {
    Ok(sqlx::query_scalar(statement).fetch_one(database).await?)
}

/// Waits for the firing, and until its runs have ended.
async fn measured(database: &mut PgConnection, firing: DateTime<Utc>, due: i64) -> anyhow::Result<Firing> {
    let wait = (firing - Utc::now()).to_std().context("the daemons were not ready in time, or runs take too long")?;
    tokio::time::sleep(wait).await;
    let begun = Instant::now();
    let ended = "select count(*) from tidegate.run where scheduled_for = $1 and finished_at is not null";
    while sqlx::query_scalar::<_, i64>(ended).bind(firing).fetch_one(&mut *database).await? < due {
        ensure!(begun.elapsed() < ENDED_WITHIN, "the runs of {firing} do not end");
        tokio::time::sleep(LOOK).await;
    }
    Ok(sqlx::query_as(MEASURE).bind(firing).fetch_one(database).await?)
}

/// A file for each connection with its jobs. The first `due` jobs have that schedule, the others fire in half a year.
/// The jobs that are due are spread over the connections.
fn write_config(config: &Path, url: &str, (due, often): (u32, &str), jobs: u32) -> anyhow::Result<()> {
    std::fs::create_dir_all(config.join("jobs"))?;
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let text =
        format!("database: {{ url: \"{url}\" }}\nserver: {{ listen: \"127.0.0.1:{port}\" }}\nlog: {{ level: warn }}\n");
    std::fs::write(config.join("tidegate.yaml"), text)?;
    let connections = jobs.div_ceil(JOBS_PER_CONNECTION).max(1);
    let later = (Utc::now().month() + 5) % 12 + 1;
    for connection in 0..connections {
        let (mut reports, mut text) = (String::new(), String::new());
        for job in (connection..jobs).step_by(usize::try_from(connections)?) {
            let schedule = if job < due { often.to_owned() } else { format!("0 3 1 {later} *") };
            writeln!(reports, "      r{job:05}: 00000000-0000-0000-0000-{job:012}")?;
            writeln!(
                text,
                "  j{job:05}: {{ connection: c{connection:03}, streams: [r{job:05}], start: 2099-01-01, \
                 schedule: \"{schedule}\" }}"
            )?;
        }
        let text = format!(
            "connections:\n  c{connection:03}:\n    vendor: lynn_reporting\n    tenant: {}\n    access_token: a\n    \
             access_token_secret: b{connection}\n    reports:\n{reports}jobs:\n{text}",
            connection + 1,
        );
        std::fs::write(config.join(format!("jobs/c{connection:03}.yaml")), text)?;
    }
    Ok(())
}

/// Stops when it is dropped.
struct Daemon {
    child: Child,
}

impl Daemon {
    fn start(binary: &Path, config: &Path, log: &Path) -> anyhow::Result<Self> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = Command::new(binary);
        command.arg("--config").arg(config).arg("run").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Self { child: command.spawn()? })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
