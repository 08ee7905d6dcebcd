//! Khoros Care against its simulator: every rule of `facts/khoros_care.md` that says what a careful connector does, over
//! real HTTP, a real quota ledger and real tables.

mod create;
mod file;
mod hostile;
mod jobs;
mod kill;
mod runs;
mod secrets;
mod windows;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde_json::{Map, Value};
use simulator::khoros::Account;
use simulator::lynn::Volume;
use simulator::{Control, Options, Simulator};
use sqlx::AssertSqlSafe;
use tidegate::app::Foreground;
use tidegate::catalogue::Stream;
use tidegate::connector::export::Polling;
use tidegate::connector::khoros::{Method, ReportFormat, Settings};
use tidegate::connector::{
    self, AccountSettings as _, Expected, Outcome, Records, Source, StepError, StepRequest, Window,
};
use tidegate::decode::{DecodeError, Sink};
use tidegate::http::{Gate, Hosts, Retry};
use tidegate::quota::{Calls, Ledger, LedgerKey, Limit, Unit};
use tidegate::schedule::ByHand;
use tidegate::store::progress::TaskState;
use url::Url;

use crate::support::world::{canonical, columns};
use crate::support::{TestDatabase, World, ago};

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

/// A vendor, and one process with an account there.
struct Scene {
    database: TestDatabase,
    simulator: Simulator,
    gate: Gate,
    source: Box<dyn Source>,
}

impl Scene {
    async fn new() -> Self {
        Self::with(free(), settings()).await
    }

    async fn with(options: Options, settings: Settings) -> Self {
        let simulator = simulator::start(options).await.unwrap();
        let storage = simulator.files_url().replace("http://", "");
        Self::at(simulator, settings, &[storage]).await
    }

    /// `allowed`: hosts that the operator has named.
    async fn at(simulator: Simulator, settings: Settings, allowed: &[String]) -> Self {
        let database = TestDatabase::create().await;
        let base_url: Url = format!("{}/api/public", simulator.base_url()).parse().unwrap();
        let pool = database.pool();
        let key = LedgerKey::derive(&pool, &base_url, &settings.credential()).await.unwrap();
        let limit =
            Limit { name: "requests".to_owned(), calls: Calls::Data, unit: Unit::Calls, amount: 10_000, per: SECOND };
        let ledger = Ledger::open(pool, "this", &key, "acme", vec![limit]).await.unwrap();
        let retry = Retry { attempts_max: 3, initial: Duration::from_millis(1), max: Duration::from_millis(20) };
        Self {
            gate: Gate::new(ledger, Hosts::new(&base_url, &[], allowed), 5 * SECOND, retry).unwrap(),
            source: settings.source(&base_url),
            database,
            simulator,
        }
    }

    fn control(&self) -> Control {
        self.simulator.control()
    }

    /// The connection under another quota, of its own ledger.
    async fn gate_with(&self, limit: Limit) -> Gate {
        let base_url: Url = format!("{}/api/public", self.simulator.base_url()).parse().unwrap();
        let pool = self.database.pool();
        let key = LedgerKey::derive(&pool, &base_url, &["another"]).await.unwrap();
        let ledger = Ledger::open(pool, "this", &key, "narrow", vec![limit]).await.unwrap();
        let retry = Retry { attempts_max: 3, initial: Duration::from_millis(1), max: Duration::from_millis(20) };
        Gate::new(ledger, Hosts::new(&base_url, &[], &[]), 5 * SECOND, retry).unwrap()
    }

    async fn step(
        &self,
        stream: &Stream,
        window: Window,
        cursor: Option<&str>,
        expected: Expected,
        page: &mut Page,
    ) -> Result<Outcome, StepError> {
        let session = self.gate.session(0, Utc::now());
        self.source.step(&session, StepRequest { stream, window, cursor, expected }, page).await
    }

    /// Reads a window to its end.
    async fn read(&self, stream: &str, window: Window) -> Result<Reading, StepError> {
        self.read_expecting(&named(stream), window, Expected::default()).await
    }

    async fn read_expecting(&self, stream: &Stream, window: Window, expected: Expected) -> Result<Reading, StepError> {
        let (mut reading, mut cursor) = (Reading::default(), None);
        loop {
            let mut page = Page::default();
            match self.step(stream, window, cursor.as_deref(), expected, &mut page).await? {
                Outcome::Pending { until, cursor: next } => {
                    reading.pauses += 1;
                    reading.cursors.push(next.clone());
                    cursor = Some(next);
                    tokio::time::sleep((until - Utc::now()).to_std().unwrap_or_default()).await;
                }
                Outcome::Page { next, .. } => {
                    reading.pages += 1;
                    reading.rows.append(&mut page.rows);
                    reading.titles = std::mem::take(&mut page.titles);
                    let Some(next) = next else { return Ok(reading) };
                    cursor = Some(next);
                }
            }
        }
    }

    /// The error that a window comes to.
    async fn fault(&self, stream: &str, window: Window) -> StepError {
        self.read(stream, window).await.unwrap_err()
    }

    /// How often an endpoint was called.
    fn calls(&self, endpoint: &str) -> u64 {
        self.control().stats().calls.get(endpoint).copied().unwrap_or_default()
    }

    /// Nothing was sent where it does not belong, and no limit was broken.
    fn assert_well_behaved(&self) {
        let stats = self.control().stats();
        assert_eq!(stats.unexpected, []);
        assert_eq!(stats.violations, []);
    }
}

/// What was read of a window.
#[derive(Debug, Default)]
struct Reading {
    rows: Vec<String>,
    /// Of its last CSV file.
    titles: Vec<String>,
    pages: usize,
    pauses: usize,
    cursors: Vec<String>,
}

/// Takes the records of one page, as the loader does.
#[derive(Debug, Default)]
struct Page {
    rows: Vec<String>,
    /// Of a CSV file.
    titles: Vec<String>,
}

impl Sink for Page {
    fn header(&mut self, titles: &[String], _: &[&str]) -> Result<(), DecodeError> {
        self.titles = titles.to_vec();
        Ok(())
    }

    fn record(&mut self, record: &[u8]) -> Result<(), DecodeError> {
        self.rows.push(String::from_utf8_lossy(record).into_owned());
        Ok(())
    }

    fn refuse(&mut self, reason: &str, _: &[u8]) -> Result<(), DecodeError> {
        unreachable!("refused: {reason}")
    }
}

#[async_trait::async_trait]
impl Records for Page {
    fn begin(&mut self, _: Window) {
        self.rows.clear();
    }

    async fn flush(&mut self) -> Result<(), StepError> {
        Ok(())
    }
}

fn named(name: &str) -> Stream {
    connector::streams(connector::khoros::VENDOR).into_iter().find(|stream| stream.name == name).unwrap()
}

/// So many days ago, a whole day.
fn day(days_ago: i64) -> Window {
    Window { start: ago(days_ago), end: ago(days_ago - 1) }
}

/// As the worker asks for a list.
fn list() -> Window {
    Window { start: DateTime::UNIX_EPOCH, end: Utc::now() }
}

/// What a job's configuration says.
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
        let database = TestDatabase::create().await;
        let account = self.options.khoros.clone();
        let simulator = simulator::start(self.options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut yaml = format!(
            "database: {{ url: \"{}\", max_connections: 6 }}
server: {{ listen: 127.0.0.1:0 }}
worker: {{ concurrency: 2, lease: 5s }}
connections:
  acme:
    vendor: khoros_care
    base_url: {}/api/public
    company_key: {}
    username: {}
    password: {}
    allowed_hosts: [\"{}\"]
    retry: {{ max_attempts: 3, initial: 20ms, max: 100ms }}
    quotas: {{ requests: {} }}
    polling: {}
",
            database.url(),
            simulator.base_url(),
            account.company_key,
            account.username,
            account.password,
            simulator.files_url().replace("http://", ""),
            self.quota,
            self.polling,
        );
        for line in &self.connection {
            let _ = writeln!(yaml, "    {line}");
        }
        let _ = writeln!(
            yaml,
            "jobs:\n  khoros:\n    connection: acme\n    streams: {}\n    start: {}",
            self.streams, self.start
        );
        for line in &self.job {
            let _ = writeln!(yaml, "    {line}");
        }
        std::fs::write(folder.path().join("tidegate.yaml"), yaml).unwrap();
        World { database, simulator, folder }
    }
}

/// Runs the job once, in this process, to its end.
async fn sync(world: &World) -> Vec<TaskState> {
    let run = world.enqueue_job("khoros", ByHand::Manual).await;
    let pool = world.database.pool();
    let foreground = Foreground::start(std::sync::Arc::new(world.config()), pool.clone(), vec![run]);
    let tasks = tokio::time::timeout(Duration::from_mins(1), foreground.follow(|_| {})).await;
    foreground.stop().await;
    tasks.expect("a run ends").unwrap()
}

#[track_caller]
fn assert_succeeded(tasks: &[TaskState]) {
    for task in tasks {
        assert_eq!((task.state.as_str(), task.error.as_deref()), ("succeeded", None), "{}", task.stream);
    }
}

/// Every row of a table as a JSON object without the columns that Tidegate adds, sorted.
async fn rows(world: &World, table: &str) -> Vec<String> {
    let query = format!(
        "select to_jsonb(t) - '{{_connection,_window_start,_row_key,_run_id,_loaded_at}}'::text[]
        from khoros.\"{table}\" as t"
    );
    let rows: Vec<Value> = sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&world.database.pool()).await.unwrap();
    sorted(rows.into_iter().map(|row| canonical(row.as_object().unwrap().clone())))
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

/// What was changed into no time at all stands in the variant of its column.
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
    let (found, wanted) = (rows(world, table).await, same(truth(world, export, from, to)));
    assert_equal(table, &found, &wanted);
}

#[track_caller]
fn assert_equal(table: &str, found: &[String], wanted: &[String]) {
    let extra: Vec<_> = found.iter().filter(|row| !wanted.contains(row)).take(3).collect();
    let lost: Vec<_> = wanted.iter().filter(|row| !found.contains(row)).take(3).collect();
    assert!(
        found == wanted,
        "{table}: {} rows, the vendor has {}; too much: {extra:#?}; lost: {lost:#?}",
        found.len(),
        wanted.len()
    );
}
