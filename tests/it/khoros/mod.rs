//! Khoros Care against its simulator: the rules for a careful connector, over real HTTP, with a real quota ledger and
//! with real tables.

mod create;
mod file;
mod hostile;
mod jobs;
mod kill;
mod runs;
mod secrets;
mod windows;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde_json::{Map, Value};
use simulator::khoros::Account;
use simulator::lynn::Volume;
use simulator::{Control, Options};
use tidegate::catalogue::Stream;
use tidegate::connector::export::Polling;
use tidegate::connector::khoros::{Method, ReportFormat, Settings, VENDOR};
use tidegate::connector::{self, AccountSettings as _, Expected, Outcome, StepError, StepRequest, Window};
use tidegate::decode::DecodeError;
use tidegate::http::{Gate, Hosts};
use tidegate::quota::{Calls, Limit, Unit};

use crate::support::bench::{self, Client, Page, Reading, quick_retry};
use crate::support::world::{QUICK_RETRY, assert_equal, assert_succeeded, canonical, columns};
use crate::support::{World, ago};

const SECOND: Duration = Duration::from_secs(1);
const ROWS: u64 = 40;

/// A simulator without limits whose jobs are done at once.
fn free() -> Options {
    let khoros = Account { job_time: Duration::ZERO, ..Account::default() };
    Options { khoros, volume: Volume::Exactly(ROWS), ..Options::default() }.limit("khoros.requests", 10_000, SECOND)
}

fn polling() -> Polling {
    Polling { initial: Duration::from_millis(1), max: Duration::from_millis(5), deadline: 60 * SECOND }
}

fn settings() -> Settings {
    let account = Account::default();
    Settings {
        polling: polling(),
        company_key: account.company_key.as_str().into(),
        username: account.username,
        password: account.password.as_str().into(),
        locale: "en".to_owned(),
        timezone_offset: 0,
        report_format: ReportFormat::Json,
        csv: connector::CsvForm::default(),
        method: None,
        metrics: BTreeMap::new(),
        parameters: BTreeMap::new(),
        history: Duration::from_hours(24 * 546),
    }
}

type Bench = bench::Bench<Settings>;

/// A vendor, and one client of it.
struct Scene {
    bench: Bench,
    client: Client,
}

impl Scene {
    async fn new() -> Self {
        Self::with(free(), settings()).await
    }

    async fn with(options: Options, settings: Settings) -> Self {
        Self::allowing(options, settings, None).await
    }

    /// `storage` is the host from which files may be fetched, if it is not the simulator's.
    async fn allowing(options: Options, settings: Settings, storage: Option<String>) -> Self {
        let mut bench = Bench::simulated(VENDOR, options, "/api/public", settings).await;
        bench.allowed = vec![storage.unwrap_or_else(|| bench.simulator().files_url().replace("http://", ""))];
        bench.timeout = 5 * SECOND;
        Self { client: bench.client().await, bench }
    }

    fn control(&self) -> Control {
        self.bench.control()
    }

    /// The connection under another quota, with a ledger of its own.
    async fn gate_with(&self, limit: Limit) -> Gate {
        let base_url = &self.bench.base_url;
        let (pool, hosts) = (self.bench.database.pool(), Hosts::new(base_url, &[], &[]));
        bench::gate(pool, (base_url, &["another"]), vec![limit], hosts, 5 * SECOND, quick_retry(3)).await
    }

    /// Reads a window to its end.
    async fn read(&self, stream: &str, window: Window) -> Result<Reading, StepError> {
        self.client.read(stream, window).await
    }

    /// Reads a window, which fails.
    async fn fault(&self, stream: &str, window: Window) -> StepError {
        self.read(stream, window).await.unwrap_err()
    }

    /// How often an endpoint was called.
    fn calls(&self, endpoint: &str) -> u64 {
        self.control().stats().calls.get(endpoint).copied().unwrap_or_default()
    }

    #[track_caller]
    fn assert_well_behaved(&self) {
        bench::assert_well_behaved(&self.control());
    }
}

fn named(name: &str) -> Stream {
    bench::stream(VENDOR, name)
}

/// The whole day that many days ago.
fn day(days_ago: i64) -> Window {
    Window { start: ago(days_ago), end: ago(days_ago - 1) }
}

/// The window with which the worker requests a list.
fn list() -> Window {
    Window { start: DateTime::UNIX_EPOCH, end: Utc::now() }
}

/// The configuration of a job.
struct Recipe {
    options: Options,
    /// Of the connection, as YAML lines.
    connection: Vec<String>,
    streams: &'static str,
    start: NaiveDate,
    /// Of the job, as YAML lines.
    job: Vec<String>,
    /// As YAML.
    quota: &'static str,
    polling: &'static str,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            options: free(),
            connection: Vec::new(),
            streams: "\"*\"",
            start: ago(2).date_naive(),
            job: Vec::new(),
            quota: "{ limit: 10000, per: 1s }",
            polling: "{ initial: 5ms, max: 50ms, deadline: 1m }",
        }
    }
}

impl Recipe {
    /// A world with a job `khoros`.
    async fn world(self) -> World {
        let account = self.options.khoros.clone();
        let world = World::of("khoros", self.options).await;
        let connection = format!(
            "vendor: khoros_care
base_url: {}/api/public
company_key: {}
username: {}
password: {}
allowed_hosts: [\"{}\"]
{QUICK_RETRY}
quotas: {{ requests: {} }}
polling: {}",
            world.simulator.base_url(),
            account.company_key,
            account.username,
            account.password,
            world.simulator.files_url().replace("http://", ""),
            self.quota,
            self.polling,
        );
        let connection = [vec![connection], self.connection].concat();
        let job = [vec![format!("streams: {}\nstart: {}", self.streams, self.start)], self.job].concat();
        world.configure("{ concurrency: 2, lease: 5s }", &connection, &job);
        world
    }
}

fn sorted(rows: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut rows: Vec<String> = rows.into_iter().collect();
    rows.sort();
    rows
}

/// The vendor's truth of an export as rows of its table, in the order of its files.
fn truth(world: &World, export: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Map<String, Value>> {
    let rows = world.control().khoros().data().rows(export, from, to).unwrap();
    rows.iter().map(|row| beside_times(columns(row))).collect()
}

/// A value that was changed into something other than a time is in the variant of its column.
fn beside_times(mut row: Map<String, Value>) -> Map<String, Value> {
    for name in ["action_time", "post_time"] {
        if row.get(name).is_some_and(|value| value == "corrected") {
            let value = row.remove(name).unwrap_or_default();
            row.insert(format!("{name}_text"), value);
        }
    }
    row
}

fn same(rows: Vec<Map<String, Value>>) -> Vec<String> {
    sorted(rows.into_iter().map(canonical))
}

/// Asserts that a table equals the vendor's truth as a multiset.
async fn assert_truth(world: &World, table: &str, export: &str, from: DateTime<Utc>, to: DateTime<Utc>) {
    let (found, wanted) = (world.rows(table).await, same(truth(world, export, from, to)));
    assert_equal(table, &found, &wanted);
}
