//! Promise 6, measured: the daemon's peak memory during a load, and during ten times that load.
//!
//! ```sh
//! cargo build --profile dist --bins --examples
//! target/dist/examples/memory                  # 20 and 200 pages of 10,000 rows
//! target/dist/examples/memory 100 1000         # other numbers of pages
//! ```
//!
//! Three more processes run: an embedded Postgres, the simulator with limits so wide that they do not matter, and the
//! real binary (`TIDEGATE_BIN`, or the binary next to this program's folder), whose `VmHWM` is read from `/proc` until
//! it ends. Each size is read twice: into an empty slice, and again over unchanged rows, which takes another path
//! through the loader. Finally four runs load concurrently, as many as a process does by default, and together about as
//! much as the largest size. Exits with 1 if a peak is above 64 MiB. All files are in a temporary folder that is
//! deleted at the end.

#[path = "support/program.rs"]
mod program;

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use chrono::{TimeDelta, Utc};
use serde::Deserialize;
use simulator::{Options, lynn};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tidegate::postgres::Embedded;
use tokio_util::sync::CancellationToken;

const ROWS_PER_PAGE: u64 = 10_000;
const PAGES: [u64; 2] = [20, 200];
/// The promised maximum.
const PEAK_KIB_MAX: u64 = 64 << 10;
/// One day has all rows, so that all pages belong to one slice.
const DAY: [&str; 2] = ["2026-03-01", "2026-03-02"];
/// The streams read concurrently: one run for each, as many as the default of `worker.concurrency`.
const AT_A_TIME: [&str; 4] = ["navigation_marks", "show_dialogs", "menu_detail", "detail_performance"];
const SAMPLE_EVERY: Duration = Duration::from_millis(20);
/// The argument that makes this program the simulator.
const SIMULATOR: &str = "simulator";

/// The binary's report of a load.
#[derive(Deserialize)]
struct Summary {
    tasks: Vec<Task>,
}

#[derive(Deserialize)]
struct Task {
    pages: u64,
    rows_read: u64,
    rows_inserted: u64,
}

struct Load {
    what: &'static str,
    tasks: Vec<Task>,
    took: Duration,
    peak_kib: u64,
}

impl Load {
    fn sum(&self, of: impl Fn(&Task) -> u64) -> u64 {
        self.tasks.iter().map(of).sum()
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let [role, rows] = arguments.as_slice()
        && role == SIMULATOR
    {
        let rows = rows.parse()?;
        return runtime.block_on(simulate(rows)).map(|()| ExitCode::SUCCESS);
    }
    let pages = arguments.iter().map(|pages| pages.parse()).collect::<Result<Vec<u64>, _>>().context("pages")?;
    let pages = if pages.is_empty() { PAGES.to_vec() } else { pages };
    let loads = runtime.block_on(measure(&program::binary()?, &pages))?;
    println!("{}", table(&loads));
    let kept = loads.iter().all(|load| load.peak_kib <= PEAK_KIB_MAX);
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The simulator's process. Prints its address, and ends with its parent, which holds the other end of its input.
async fn simulate(rows: u64) -> anyhow::Result<()> {
    let options = Options { volume: lynn::Volume::Exactly(rows), ..Options::default() }
        .limit("create_token", 1_000, Duration::from_mins(1))
        .limit("requests", 100_000, Duration::from_secs(10))
        .limit("period_calls", 10_000_000, Duration::from_hours(12))
        .limit("period_bandwidth", 1_000_000_000_000, Duration::from_hours(12));
    let simulator = simulator::start(options).await?;
    println!("{}", simulator.base_url());
    tokio::task::spawn_blocking(|| std::io::stdin().lock().read_line(&mut String::new())).await??;
    simulator.stop().await;
    Ok(())
}

async fn measure(binary: &Path, pages: &[u64]) -> anyhow::Result<Vec<Load>> {
    let folder = tempfile::tempdir()?;
    let postgres = Embedded::start(&folder.path().join("postgres"), &CancellationToken::new()).await?;
    let loads = measure_all(binary, folder.path(), &postgres, pages).await;
    postgres.stop().await;
    loads
}

async fn measure_all(binary: &Path, folder: &Path, postgres: &Embedded, pages: &[u64]) -> anyhow::Result<Vec<Load>> {
    let mut loads = Vec::new();
    for pages in pages {
        let rows = pages * ROWS_PER_PAGE;
        let site = Site::open(folder, postgres, rows).await?;
        let config = site.configure(&AT_A_TIME[..1], DAY[0])?;
        for what in ["first time", "unchanged"] {
            let job = AT_A_TIME[0];
            let load = load(binary, &config, &["backfill", job, "--from", DAY[0], "--to", DAY[1], "--json"], what)?;
            let read = load.sum(|task| task.rows_read);
            ensure!(read == rows, "{what}: {read} of {rows} rows");
            loads.push(load);
        }
        site.close().await?;
    }
    let largest = pages.iter().max().copied().unwrap_or_default();
    let site = Site::open(folder, postgres, largest * ROWS_PER_PAGE / AT_A_TIME.len() as u64).await?;
    // Yesterday completely, and today so far.
    let yesterday = Utc::now().date_naive() - TimeDelta::days(1);
    let config = site.configure(&AT_A_TIME, &yesterday.to_string())?;
    loads.push(load(binary, &config, &["sync", "--json"], "four at a time")?);
    site.close().await?;
    Ok(loads)
}

/// A database and a simulator for one measurement.
struct Site {
    folder: PathBuf,
    admin: PgConnection,
    url: url::Url,
    simulator: Child,
    base_url: String,
}

impl Site {
    const DATABASE: &str = "measured";

    async fn open(folder: &Path, postgres: &Embedded, rows_per_day: u64) -> anyhow::Result<Self> {
        let mut admin = PgConnection::connect(postgres.superuser_url().expose()).await?;
        sqlx::query(AssertSqlSafe(format!("create database {} owner tidegate", Self::DATABASE)))
            .execute(&mut admin)
            .await?;
        let mut url = url::Url::parse(postgres.url().expose())?;
        url.set_path(Self::DATABASE);
        let mut simulator = Command::new(std::env::current_exe()?)
            .args([SIMULATOR, &rows_per_day.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(simulator.stdout.take().context("the simulator's output")?).read_line(&mut line)?;
        let (folder, base_url) = (folder.to_owned(), line.trim().to_owned());
        Ok(Self { folder, admin, url, simulator, base_url })
    }

    /// A file with one job per stream, named after it.
    fn configure(&self, streams: &[&str], start: &str) -> anyhow::Result<PathBuf> {
        let mut yaml = configuration(self.url.as_str(), &self.base_url);
        for stream in streams {
            let _ = writeln!(yaml, "  {stream}: {{ connection: benchmark, streams: [{stream}], start: {start} }}");
        }
        let path = self.folder.join("tidegate.yaml");
        std::fs::write(&path, yaml)?;
        Ok(path)
    }

    async fn close(mut self) -> anyhow::Result<()> {
        // Its input closes, and it ends.
        drop(self.simulator.stdin.take());
        self.simulator.wait()?;
        let drop = format!("drop database {} with (force)", Self::DATABASE);
        sqlx::query(AssertSqlSafe(drop)).execute(&mut self.admin).await?;
        Ok(())
    }
}

fn configuration(database: &str, base_url: &str) -> String {
    let account = lynn::Account::default();
    format!(
        "\
database: {{ url: \"{database}\" }}
log: {{ level: error }}
connections:
  benchmark:
    vendor: lynn_reporting
    base_url: {base_url}
    tenant: {}
    access_token: {}
    access_token_secret: {}
    quotas:
      create_token: {{ limit: 1000, per: 1m }}
      requests: {{ limit: 100000, per: 10s }}
      period_calls: {{ limit: 10000000, per: 12h }}
      period_bandwidth: {{ limit: 1000GB, per: 12h }}
jobs:
",
        account.tenant, account.access_token, account.access_token_secret
    )
}

/// Runs the binary to its end and monitors its memory.
fn load(binary: &Path, config: &Path, command: &[&str], what: &'static str) -> anyhow::Result<Load> {
    let began = Instant::now();
    let mut daemon = Command::new(binary).arg("--config").arg(config).args(command).stdout(Stdio::piped()).spawn()?;
    let peak_kib = watch(&mut daemon)?;
    let took = began.elapsed();
    let output = daemon.wait_with_output()?;
    ensure!(output.status.success(), "{what}: {}", output.status);
    let summary: Summary = serde_json::from_slice(&output.stdout).context("the output of the binary")?;
    Ok(Load { what, tasks: summary.tasks, took, peak_kib })
}

/// The peak resident memory of the process. Its output is short enough to fit into the pipe.
fn watch(daemon: &mut Child) -> anyhow::Result<u64> {
    let status = format!("/proc/{}/status", daemon.id());
    let mut peak_kib = 0;
    while daemon.try_wait()?.is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak_kib = kib.unwrap_or(peak_kib);
        std::thread::sleep(SAMPLE_EVERY);
    }
    Ok(peak_kib)
}

fn table(loads: &[Load]) -> String {
    let mut text = String::from("| load | pages | rows | written | seconds | rows/s | peak RSS, MiB |\n");
    text.push_str("|---|--:|--:|--:|--:|--:|--:|\n");
    for load in loads {
        let Load { what, took, peak_kib, .. } = load;
        let rows = load.sum(|task| task.rows_read);
        let rows_per_sec = u128::from(rows) * 1000 / took.as_millis().max(1);
        let _ = writeln!(
            text,
            "| {what} | {} | {rows} | {} | {}.{} | {rows_per_sec} | {}.{} |",
            load.sum(|task| task.pages),
            load.sum(|task| task.rows_inserted),
            took.as_secs(),
            took.subsec_millis() / 100,
            peak_kib >> 10,
            ((peak_kib & 1023) * 10) >> 10,
        );
    }
    text
}
