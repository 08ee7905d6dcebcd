//! How much of a limit four processes use together, and how close their calls are (promise 2).
//!
//! ```sh
//! cargo build --profile dist --examples
//! target/dist/examples/quota                   # 1 call per second, 20 s
//! target/dist/examples/quota 5 4000 60         # calls, per milliseconds, for seconds
//! ```
//!
//! An embedded Postgres with fsync on, and four processes of this program that share the ledger of one credential, each
//! with its own pool. All request calls, wait as told, and record when they could send; nothing is sent. Times come
//! from the kernel's clock, which the processes share. Exits with 1 if any period had more calls than the limit allows.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use sqlx::postgres::PgPoolOptions;
use tidegate::postgres::Embedded;
use tidegate::quota::{CallKind, Calls, Grant, Ledger, LedgerKey, Limit, Request, Settlement, Unit};
use tidegate::store::distribution::Distribution;
use tidegate::store::migrate;
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

const PROCESSES: u128 = 4;
/// The argument that starts this program as one of the processes.
const WORKER: &str = "worker";
/// By then all have their connections.
const START_AFTER: Duration = Duration::from_secs(2);

/// The limit, and how long it is used.
#[derive(Debug, Clone, Copy)]
struct Trial {
    amount: u64,
    per: Duration,
    length: Duration,
}

impl Trial {
    fn read(arguments: &[String]) -> anyhow::Result<Self> {
        let number = |place: usize, default: u64| -> anyhow::Result<u64> {
            arguments
                .get(place)
                .map_or(Ok(default), |text| text.parse().with_context(|| format!("{text} is not a number")))
        };
        Ok(Self {
            amount: number(0, 1)?,
            per: Duration::from_millis(number(1, 1_000)?),
            length: Duration::from_secs(number(2, 20)?),
        })
    }

    fn limit(&self) -> Limit {
        let name = "requests".to_owned();
        Limit { name, calls: Calls::Every, unit: Unit::Calls, amount: self.amount, per: self.per }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let [role, url, number, start, rest @ ..] = arguments.as_slice()
        && role == WORKER
    {
        let (trial, start) = (Trial::read(rest)?, start.parse()?);
        return runtime.block_on(work(url, number.parse()?, start, trial)).map(|()| ExitCode::SUCCESS);
    }
    let trial = Trial::read(&arguments)?;
    let mut departures = runtime.block_on(measure(trial))?;
    departures.sort_unstable();
    Ok(report(trial, &departures))
}

/// One process: requests calls continuously and prints when it could send, in nanoseconds.
async fn work(url: &str, number: u128, start: DateTime<Utc>, trial: Trial) -> anyhow::Result<()> {
    let pool = PgPoolOptions::new().max_connections(4).connect(url).await?;
    let base_url = Url::parse("https://vendor.example")?;
    let key = LedgerKey::derive(&pool, &base_url, &["4411", "secret"]).await?;
    let ledger = Ledger::open(pool, &format!("worker {number}"), &key, "benchmark", vec![trial.limit()]).await?;
    let mut departures = String::new();
    tokio::time::sleep((start - Utc::now()).to_std().unwrap_or_default()).await;
    let end = Instant::now() + trial.length;
    while Instant::now() < end {
        // A run's task requests each of its calls; at equal priority the older one goes first.
        let asks = Request {
            kind: CallKind::Data,
            bytes: 0,
            priority: 0,
            due: Utc::now(),
            waiter: Uuid::from_u128(number + 1),
        };
        let reservation = loop {
            match ledger.reserve(&asks).await? {
                Grant::Now(reservation) => break reservation,
                Grant::Wait { wait, .. } => tokio::time::sleep(wait).await,
            }
        };
        let departed = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let age = Some(reservation.age());
        // Writing to a String cannot fail.
        let _ = writeln!(departures, "{}", departed.as_nanos());
        reservation.settle(&ledger, Settlement { bytes: 0, sent_at_offset: age }).await?;
    }
    ledger.cancel_wait(Uuid::from_u128(number + 1)).await?;
    std::io::stdout().write_all(departures.as_bytes())?;
    Ok(())
}

async fn measure(trial: Trial) -> anyhow::Result<Vec<i128>> {
    let folder = tempfile::tempdir()?;
    let postgres = Embedded::start(&folder.path().join("postgres"), &CancellationToken::new()).await?;
    let departures = run_all(&postgres, trial).await;
    postgres.stop().await;
    departures
}

async fn run_all(postgres: &Embedded, trial: Trial) -> anyhow::Result<Vec<i128>> {
    let pool = PgPoolOptions::new().connect(postgres.url().expose()).await?;
    migrate::migrate(&pool, Distribution::None).await?;
    let start = Utc::now() + START_AFTER;
    let workers = (0..PROCESSES)
        .map(|number| {
            Command::new(std::env::current_exe()?)
                .args([WORKER, postgres.url().expose(), &number.to_string(), &start.to_rfc3339()])
                .args(
                    [trial.amount, u64::try_from(trial.per.as_millis()).unwrap_or(1), trial.length.as_secs()]
                        .map(|n| n.to_string()),
                )
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
        })
        .collect::<Result<Vec<Child>, _>>()?;
    tokio::task::spawn_blocking(|| {
        let mut departures = Vec::new();
        for worker in workers {
            let output = worker.wait_with_output()?;
            ensure!(output.status.success(), "a process ended with {}", output.status);
            for line in String::from_utf8(output.stdout)?.lines() {
                departures.push(line.parse::<i128>()?);
            }
        }
        Ok(departures)
    })
    .await?
}

#[expect(clippy::cast_precision_loss, reason = "shares and times to print")]
fn report(trial: Trial, departures: &[i128]) -> ExitCode {
    let amount = usize::try_from(trial.amount).unwrap_or(usize::MAX);
    // The first call of every round marks how long the previous rounds took.
    let rounds = departures.len().saturating_sub(1) / amount;
    let took = departures.get(rounds * amount).zip(departures.first()).map_or(0, |(last, first)| last - first);
    let used = rounds as f64 * trial.per.as_nanos() as f64 * 100.0 / took as f64;
    // The distances between calls that must be a period apart.
    let mut distances: Vec<i128> = departures.windows(amount + 1).map(|calls| calls[amount] - calls[0]).collect();
    distances.sort_unstable();
    let at = |share: usize| distances.get(distances.len() * share / 100).map_or(0.0, |nanos| *nanos as f64 / 1e6);
    let per = trial.per.as_secs_f64() * 1e3;
    println!("| limit | processes | calls | of what is permitted | smallest distance | median distance |");
    println!("|---|--:|--:|--:|--:|--:|");
    println!(
        "| {} per {per:.0} ms | {PROCESSES} | {} | {used:.1} % | {:.3} ms | {:.3} ms |",
        trial.amount,
        departures.len(),
        at(0),
        at(50),
    );
    if at(0) < per { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
