//! Promise 6, measured: the daemon's peak memory over a load, and over ten times the load.
//!
//! ```sh
//! cargo build --release --bins --examples
//! target/release/examples/memory                  # 20 and 200 pages of 10,000 rows
//! target/release/examples/memory 100 1000         # other numbers of pages
//! ```
//!
//! Three processes beside this one: an embedded Postgres, the simulator with its limits widened so far that they do not
//! matter, and the real binary (`TIDEGATE_BIN`, else the one beside this program's folder), whose `VmHWM` is read from
//! `/proc` until it ends. Each size is read twice: into an empty slice, and again over rows that did not change, which
//! takes another path through the loader. Exits with 1 if a peak is above 64 MiB. Everything lies in a temporary folder
//! that is deleted at the end: 2 million rows take about 2 GB of disk.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tidegate::postgres::Embedded;
use tidegate::simulator::{self, Options, lynn};
use tokio_util::sync::CancellationToken;

const ROWS_PER_PAGE: u64 = 10_000;
const PAGES: [u64; 2] = [20, 200];
/// The promise.
const PEAK_KIB_MAX: u64 = 64 << 10;
/// One day holds all rows, so that all pages are of one slice.
const DAY: [&str; 2] = ["2026-03-01", "2026-03-02"];
const SAMPLE_EVERY: Duration = Duration::from_millis(20);
/// The argument that makes this program the simulator.
const SIMULATOR: &str = "simulator";

/// What the binary says of a load.
#[derive(Deserialize)]
struct Summary {
    tasks: Vec<Task>,
}

#[derive(Deserialize)]
struct Task {
    state: String,
    pages: u64,
    rows_read: u64,
    rows_inserted: u64,
}

struct Load {
    what: &'static str,
    task: Task,
    took: Duration,
    peak_kib: u64,
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
    let loads = runtime.block_on(measure(&binary()?, &pages))?;
    println!("{}", table(&loads));
    let kept = loads.iter().all(|load| load.peak_kib <= PEAK_KIB_MAX);
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The simulator's process: says where it is, and ends with its parent, which holds the other end of its input.
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

fn binary() -> anyhow::Result<PathBuf> {
    let path = match std::env::var_os("TIDEGATE_BIN") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.with_file_name("../tidegate"),
    };
    ensure!(path.is_file(), "{} is missing: cargo build --release, or set TIDEGATE_BIN", path.display());
    Ok(path.canonicalize()?)
}

async fn measure(binary: &Path, pages: &[u64]) -> anyhow::Result<Vec<Load>> {
    let folder = tempfile::tempdir()?;
    let postgres = Embedded::start(&folder.path().join("postgres"), &CancellationToken::new()).await?;
    let mut loads = Vec::new();
    for pages in pages {
        let outcome = measure_size(binary, folder.path(), &postgres, *pages, &mut loads).await;
        if let Err(error) = outcome {
            postgres.stop().await;
            return Err(error);
        }
    }
    postgres.stop().await;
    Ok(loads)
}

/// One number of pages, in a database and with a simulator of its own.
async fn measure_size(
    binary: &Path,
    folder: &Path,
    postgres: &Embedded,
    pages: u64,
    loads: &mut Vec<Load>,
) -> anyhow::Result<()> {
    let name = format!("pages_{pages}");
    let mut connection = PgConnection::connect(postgres.url().expose()).await?;
    sqlx::query(AssertSqlSafe(format!("create database {name}"))).execute(&mut connection).await?;
    let mut url = url::Url::parse(postgres.url().expose())?;
    url.set_path(&name);

    let rows = pages * ROWS_PER_PAGE;
    let mut simulator = Command::new(std::env::current_exe()?)
        .args([SIMULATOR, &rows.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut base_url = String::new();
    BufReader::new(simulator.stdout.take().context("the simulator's output")?).read_line(&mut base_url)?;
    let config = folder.join(format!("{name}.yaml"));
    std::fs::write(&config, configuration(url.as_str(), base_url.trim()))?;

    for what in ["first time", "unchanged"] {
        let load = load(binary, &config, what)?;
        ensure!(load.task.state == "succeeded", "{name}, {what}: {}", load.task.state);
        ensure!(load.task.rows_read == rows, "{name}, {what}: {} of {rows} rows", load.task.rows_read);
        loads.push(load);
    }
    // Its input closes, and it ends.
    drop(simulator.stdin.take());
    simulator.wait()?;
    sqlx::query(AssertSqlSafe(format!("drop database {name} with (force)"))).execute(&mut connection).await?;
    Ok(())
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
  benchmark: {{ connection: benchmark, streams: [navigation_marks], start: {} }}
",
        account.tenant, account.access_token, account.access_token_secret, DAY[0]
    )
}

/// Runs the binary over the day and watches its memory.
fn load(binary: &Path, config: &Path, what: &'static str) -> anyhow::Result<Load> {
    let began = Instant::now();
    let mut daemon = Command::new(binary)
        .arg("--config")
        .arg(config)
        .args(["backfill", "benchmark", "--from", DAY[0], "--to", DAY[1], "--json"])
        .stdout(Stdio::piped())
        .spawn()?;
    let peak_kib = watch(&mut daemon)?;
    let took = began.elapsed();
    let output = daemon.wait_with_output()?;
    let summary: Summary = serde_json::from_slice(&output.stdout).context("the binary's answer")?;
    let task = summary.tasks.into_iter().next().context("no task")?;
    Ok(Load { what, task, took, peak_kib })
}

/// The most memory that the process ever had resident. Its answer is short enough to wait in the pipe.
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
    for Load { what, task, took, peak_kib } in loads {
        let rows_per_sec = u128::from(task.rows_read) * 1000 / took.as_millis().max(1);
        let _ = writeln!(
            text,
            "| {what} | {} | {} | {} | {}.{} | {rows_per_sec} | {}.{} |",
            task.pages,
            task.rows_read,
            task.rows_inserted,
            took.as_secs(),
            took.subsec_millis() / 100,
            peak_kib >> 10,
            ((peak_kib & 1023) * 10) >> 10,
        );
    }
    text
}
