//! What the daemon costs while nothing is due, how quickly it starts, and how large it is.
//!
//! ```sh
//! cargo build --profile dist --bins --examples
//! target/dist/examples/idle                    # 1,000 jobs, 30 s each way
//! target/dist/examples/idle 5000 60            # other numbers of jobs and seconds
//! ```
//!
//! An embedded Postgres and the real binary run as separate processes (`TIDEGATE_BIN`, or the binary next to this
//! program's folder). Once the daemon has read all its jobs, its processor time is read from `/proc` before and after
//! an interval without firings, and so is that of all Postgres processes. Its peak memory is the kernel's `VmHWM`,
//! including the start. Transactions are those that Postgres counts. Exits with 1 if the daemon uses 1 % of a core or
//! 40 MiB. A start lasts from the launch of the program until `/readyz` reports ready, on a migrated database.
//!
//! `many` then measures the memory of a daemon with 10,000 jobs, idle and after two reloads, and the program exits with
//! 1 if its peak is above 64 MiB.

mod many;
mod process;
#[path = "../support/program.rs"]
mod program;

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use chrono::{Timelike as _, Utc};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tidegate::postgres::Embedded;
use tokio_util::sync::CancellationToken;

use self::many::Many;

const DATABASE: &str = "idle";
const JOBS: u32 = 1_000;
const SECONDS: u64 = 30;
/// Number of jobs of the daemon whose start is measured.
const FEW_JOBS: u32 = 10;
/// The promises: a hundredth of a core, …
const SHARE_MAX: f64 = 0.01;
/// … and 40 MiB.
const PEAK_KIB_MAX: u64 = 40 << 10;
/// The daemon reads its jobs once a second; by then it has read all of them twice.
const SETTLE: Duration = Duration::from_secs(5);
const START_WITHIN: Duration = Duration::from_mins(1);
const STARTS: usize = 5;
const VERSIONS: usize = 20;

/// When the jobs fire.
#[derive(Debug, Clone, Copy)]
enum Schedules {
    Yearly,
    /// Spread over the minutes of an hour that do not occur during the measurement.
    Hourly,
    /// Spread over all minutes of a later hour.
    Daily,
}

struct Idle {
    what: String,
    share: f64,
    postgres_share: f64,
    transactions_per_s: f64,
    peak_kib: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let jobs = arguments.first().map_or(Ok(JOBS), |text| text.parse()).context("jobs")?;
    let seconds = arguments.get(1).map_or(Ok(SECONDS), |text| text.parse()).context("seconds")?;
    let binary = program::binary()?;
    let folder = tempfile::tempdir()?;
    let postgres = Embedded::start(&folder.path().join("postgres"), &CancellationToken::new()).await?;
    let measured = measure(&binary, folder.path(), &postgres, jobs, Duration::from_secs(seconds)).await;
    postgres.stop().await;
    let (idle, starts, many) = measured?;
    println!("{}", table(&idle));
    println!("{starts}");
    println!("{}", many.table());
    let kept = idle.iter().all(|idle| idle.share < SHARE_MAX && idle.peak_kib <= PEAK_KIB_MAX) && many.is_kept();
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(
    binary: &Path,
    folder: &Path,
    postgres: &Embedded,
    jobs: u32,
    length: Duration,
) -> anyhow::Result<(Vec<Idle>, String, Many)> {
    let mut admin = PgConnection::connect(postgres.superuser_url().expose()).await?;
    let server = process::parent_of(sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut admin).await?)?;
    let mut idle = Vec::new();
    for (schedules, jobs) in
        [(Schedules::Yearly, jobs), (Schedules::Hourly, jobs), (Schedules::Daily, jobs), (Schedules::Yearly, FEW_JOBS)]
    {
        new_database(&mut admin).await?;
        let site = Site::new(folder, postgres, schedules, jobs)?;
        idle.push(site.idle(binary, &mut admin, server, length).await?);
    }
    let site = Site::new(folder, postgres, Schedules::Yearly, FEW_JOBS)?;
    let starts = starts(binary, &site)?;
    new_database(&mut admin).await?;
    let many = Many::measure(binary, folder, postgres).await?;
    Ok((idle, starts, many))
}

/// Makes the database anew.
async fn new_database(admin: &mut PgConnection) -> anyhow::Result<()> {
    sqlx::query(AssertSqlSafe(format!("drop database if exists {DATABASE} with (force)"))).execute(&mut *admin).await?;
    sqlx::query(AssertSqlSafe(format!("create database {DATABASE} owner tidegate"))).execute(&mut *admin).await?;
    Ok(())
}

/// The sections `database` and `server` of a configuration, and the address of the status port.
fn sections(postgres: &Embedded) -> anyhow::Result<(String, SocketAddr)> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut url = url::Url::parse(postgres.url().expose())?;
    url.set_path(DATABASE);
    Ok((format!("database: {{ url: \"{url}\" }}\nserver: {{ listen: \"{address}\" }}\n"), address))
}

/// A configuration and the address of its daemon.
struct Site {
    config: PathBuf,
    log: PathBuf,
    address: SocketAddr,
    what: String,
}

impl Site {
    fn new(folder: &Path, postgres: &Embedded, schedules: Schedules, jobs: u32) -> anyhow::Result<Self> {
        let (mut yaml, address) = sections(postgres)?;
        yaml.push_str(
            "connections:\n  vendor:\n    vendor: lynn_reporting\n    tenant: 1\n    access_token: a\n    \
             access_token_secret: b\njobs:\n",
        );
        let now = Utc::now();
        for job in 0..jobs {
            let schedule = match schedules {
                Schedules::Yearly => yearly(job),
                // From ten minutes after now to five minutes before now.
                Schedules::Hourly => format!("{} * * * *", (now.minute() + 10 + job % 45) % 60),
                Schedules::Daily => format!("{} {} * * *", job % 60, (now.hour() + 2 + job % 20) % 24),
            };
            let _ = writeln!(
                yaml,
                "  job-{job}: {{ connection: vendor, streams: [navigation_marks, show_dialogs], start: 2026-01-01, \
                 schedule: \"{schedule}\", timezone: America/Santiago }}"
            );
        }
        let config = folder.join("tidegate.yaml");
        std::fs::write(&config, yaml)?;
        let what = format!("{jobs} jobs, {schedules:?}").to_lowercase();
        Ok(Self { config, log: folder.join("daemon.log"), address, what })
    }

    fn start(&self, binary: &Path) -> anyhow::Result<Daemon> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let began = Instant::now();
        let mut command = Command::new(binary);
        command.arg("--config").arg(&self.config).arg("run");
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let mut daemon = Daemon { child, ready_after: Duration::ZERO };
        while !is_ready(self.address) {
            let ended = daemon.child.try_wait()?;
            ensure!(
                ended.is_none() && began.elapsed() < START_WITHIN,
                "no daemon: {ended:?}, see {}",
                self.log.display()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        daemon.ready_after = began.elapsed();
        Ok(daemon)
    }

    async fn idle(
        self,
        binary: &Path,
        admin: &mut PgConnection,
        server: u32,
        length: Duration,
    ) -> anyhow::Result<Idle> {
        let daemon = self.start(binary)?;
        tokio::time::sleep(SETTLE).await;
        let id = daemon.id();
        let look = async |admin: &mut PgConnection| -> anyhow::Result<_> {
            Ok((Instant::now(), process::cpu(id)?, process::cpu_of_children(server)?, transactions(admin).await?))
        };
        let before = look(admin).await?;
        tokio::time::sleep(length).await;
        let after = look(admin).await?;
        let seconds = (after.0 - before.0).as_secs_f64();
        Ok(Idle {
            what: self.what,
            share: after.1.saturating_sub(before.1).as_secs_f64() / seconds,
            postgres_share: after.2.saturating_sub(before.2).as_secs_f64() / seconds,
            transactions_per_s: (after.3 - before.3) / seconds,
            peak_kib: process::peak_kib(id)?,
        })
    }
}

/// Stops when it is dropped.
struct Daemon {
    child: Child,
    ready_after: Duration,
}

impl Daemon {
    fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In the sixth month from now, which is farthest from now.
fn yearly(job: u32) -> String {
    let month = (chrono::Datelike::month(&Utc::now()) + 5) % 12 + 1;
    format!("{} {} {} {month} *", job % 60, job % 24, 1 + job % 28)
}

fn is_ready(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let mut response = String::new();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").is_ok()
        && stream.read_to_string(&mut response).is_ok()
        && response.starts_with("HTTP/1.1 200")
}

async fn transactions(admin: &mut PgConnection) -> anyhow::Result<f64> {
    let count = "select xact_commit::float8 from pg_stat_database where datname = $1";
    Ok(sqlx::query_scalar(count).bind(DATABASE).fetch_one(admin).await?)
}

/// How long the program takes to start, and how large it is.
fn starts(binary: &Path, site: &Site) -> anyhow::Result<String> {
    let mut ready = Vec::new();
    for _ in 0..STARTS {
        ready.push(site.start(binary)?.ready_after);
    }
    let mut versions = Vec::new();
    for _ in 0..VERSIONS {
        let began = Instant::now();
        let output = Command::new(binary).arg("--version").output()?;
        ensure!(output.status.success(), "--version: {}", output.status);
        versions.push(began.elapsed());
    }
    let bytes = std::fs::metadata(binary)?.len();
    Ok(format!(
        "| | |\n|---|--:|\n| the binary | {:.1} MiB |\n| `--version` | {:.1} ms |\n| `run`, until `/readyz` says yes | {:.0} ms |\n",
        process::mib(bytes >> 10),
        median(versions).as_secs_f64() * 1e3,
        median(ready).as_secs_f64() * 1e3,
    ))
}

fn median(mut of: Vec<Duration>) -> Duration {
    of.sort_unstable();
    of[of.len() / 2]
}

fn table(idle: &[Idle]) -> String {
    let mut text = String::from("| idle | of a core | peak RSS, MiB | transactions/s | Postgres, of a core |\n");
    text.push_str("|---|--:|--:|--:|--:|\n");
    for Idle { what, share, postgres_share, transactions_per_s, peak_kib } in idle {
        let _ = writeln!(
            text,
            "| {what} | {:.2} % | {:.1} | {transactions_per_s:.1} | {:.2} % |",
            share * 100.0,
            process::mib(*peak_kib),
            postgres_share * 100.0,
        );
    }
    text
}
