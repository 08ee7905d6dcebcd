//! A connection without a worker: its pages are read step by step, over real HTTP and with a real quota ledger.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use simulator::{Control, Options, Simulator};
use sqlx::PgPool;
use tidegate::catalogue::{Stream, Vendor};
use tidegate::connector::{self, AccountSettings, Expected, Outcome, Records, Source, StepError, StepRequest, Window};
use tidegate::decode::{DecodeError, Sink};
use tidegate::http::{Gate, Hosts, Retry};
use tidegate::quota::{Calls, Ledger, LedgerKey, Limit, Unit};
use url::Url;

use super::{TestDatabase, at};

const SECOND: Duration = Duration::from_secs(1);
/// More steps than any test needs.
const STEPS_MAX: usize = 5_000;

/// A connection's settings, and the database that its clients share.
pub struct Bench<S> {
    pub database: TestDatabase,
    /// The vendor, unless the test runs another server.
    simulator: Option<Simulator>,
    vendor: Vendor,
    pub base_url: Url,
    pub settings: S,
    pub limits: Vec<Limit>,
    /// Hosts that may be called in addition to the vendor's.
    pub allowed: Vec<String>,
    pub timeout: Duration,
    pub attempts_max: u32,
    /// Whether a record may be refused. Otherwise a refusal fails the test.
    pub may_refuse: bool,
}

impl<S: AccountSettings> Bench<S> {
    /// A connection to a server at `base_url`.
    pub async fn at(vendor: Vendor, base_url: &str, settings: S) -> Self {
        Self {
            database: TestDatabase::create().await,
            simulator: None,
            vendor,
            base_url: base_url.parse().unwrap(),
            settings,
            limits: vec![limit("requests", Calls::Data, Unit::Calls, 10_000, SECOND)],
            allowed: Vec::new(),
            timeout: 20 * SECOND,
            attempts_max: 3,
            may_refuse: false,
        }
    }

    /// A connection to a simulator, which serves the vendor at `path`.
    pub async fn simulated(vendor: Vendor, options: Options, path: &str, settings: S) -> Self {
        let simulator = simulator::start(options).await.unwrap();
        let bench = Self::at(vendor, &format!("{}{path}", simulator.base_url()), settings).await;
        Self { simulator: Some(simulator), ..bench }
    }

    pub fn simulator(&self) -> &Simulator {
        self.simulator.as_ref().unwrap()
    }

    pub fn control(&self) -> Control {
        self.simulator().control()
    }

    /// The connection as a new process has it. Clients share the database and the HTTP clients.
    pub async fn client(&self) -> Client {
        let retry = quick_retry(self.attempts_max);
        let (pool, credential) = (self.database.another_pool(4), self.settings.credential());
        let hosts = Hosts::new(&self.base_url, &[], &self.allowed);
        Client {
            gate: gate(pool, (&self.base_url, &credential), self.limits.clone(), hosts, self.timeout, retry).await,
            source: self.settings.source(&self.base_url),
            vendor: self.vendor,
            may_refuse: self.may_refuse,
        }
    }
}

/// A gate with a separate ledger for each base URL and credential.
pub async fn gate(
    pool: PgPool,
    (base_url, credential): (&Url, &[&str]),
    limits: Vec<Limit>,
    hosts: Hosts,
    timeout: Duration,
    retry: Retry,
) -> Gate {
    let key = LedgerKey::derive(&pool, base_url, credential).await.unwrap();
    let ledger = Ledger::open(pool, "this", &key, "acme", limits).await.unwrap();
    Gate::new(ledger, hosts, timeout, retry).unwrap()
}

/// Retries that wait for milliseconds.
pub fn quick_retry(attempts_max: u32) -> Retry {
    Retry { attempts_max, initial: Duration::from_millis(1), max: Duration::from_millis(20) }
}

pub fn limit(name: &str, calls: Calls, unit: Unit, amount: u64, per: Duration) -> Limit {
    Limit { name: name.to_owned(), calls, unit, amount, per }
}

/// The connection in one process.
pub struct Client {
    pub gate: Gate,
    pub source: Box<dyn Source>,
    vendor: Vendor,
    may_refuse: bool,
}

impl Client {
    pub async fn step(
        &self,
        stream: &Stream,
        window: Window,
        cursor: Option<&str>,
        page: &mut Page,
    ) -> Result<Outcome, StepError> {
        self.step_expecting(stream, window, cursor, Expected::default(), page).await
    }

    pub async fn step_expecting(
        &self,
        stream: &Stream,
        window: Window,
        cursor: Option<&str>,
        expected: Expected,
        page: &mut Page,
    ) -> Result<Outcome, StepError> {
        let session = self.gate.session(0, Utc::now());
        let step = self.source.step(&session, StepRequest { stream, window, cursor, expected }, page).await;
        assert!(self.may_refuse || page.refused.is_empty(), "{:?}", page.refused);
        step
    }

    /// Reads a window to its end.
    pub async fn read(&self, stream: &str, window: Window) -> Result<Reading, StepError> {
        self.read_on(stream, window, None).await
    }

    /// Reads a window from a cursor to its end.
    pub async fn read_on(&self, name: &str, window: Window, cursor: Option<String>) -> Result<Reading, StepError> {
        self.read_expecting(&stream(self.vendor, name), window, cursor, Expected::default()).await
    }

    /// The same with the expectations from earlier readings.
    pub async fn read_expecting(
        &self,
        stream: &Stream,
        window: Window,
        mut cursor: Option<String>,
        expected: Expected,
    ) -> Result<Reading, StepError> {
        let mut reading = Reading::default();
        for _ in 0..STEPS_MAX {
            let mut page = Page::default();
            let outcome = self.step_expecting(stream, window, cursor.as_deref(), expected, &mut page).await?;
            let next = match outcome {
                Outcome::Pending { until, cursor } => {
                    assert!(stream.exported, "only exports have to be waited for");
                    reading.pauses += 1;
                    tokio::time::sleep((until - Utc::now()).to_std().unwrap_or_default()).await;
                    Some(cursor)
                }
                Outcome::Page { next, bytes } => {
                    reading.pages.push(page.rows.len());
                    reading.bytes.push(bytes);
                    next
                }
            };
            reading.rows.append(&mut page.rows);
            reading.refused.append(&mut page.refused);
            reading.titles = page.titles;
            reading.parts.extend(page.part);
            let Some(next) = next else { return Ok(reading) };
            reading.cursors.push(next.clone());
            cursor = Some(next);
        }
        panic!("the window does not end within {STEPS_MAX} steps")
    }

    pub async fn log_in(&self) -> Result<(), StepError> {
        self.source.log_in(&self.gate.session(0, Utc::now())).await
    }
}

/// What was read of a window.
#[derive(Debug, Default)]
pub struct Reading {
    pub rows: Vec<String>,
    /// Of the last CSV file.
    pub titles: Vec<String>,
    /// Reason and text of each refused record.
    pub refused: Vec<String>,
    /// The number of rows of each page.
    pub pages: Vec<usize>,
    /// The bytes of each page.
    pub bytes: Vec<u64>,
    /// How often an export was not ready.
    pub pauses: usize,
    /// The cursor after each step except the last.
    pub cursors: Vec<String>,
    /// The part of the window that each page belongs to.
    pub parts: Vec<Window>,
}

/// Takes the records of one page, as the loader does.
#[derive(Debug, Default)]
pub struct Page {
    pub rows: Vec<String>,
    /// Of a CSV file.
    pub titles: Vec<String>,
    /// Reason and text of each refused record.
    pub refused: Vec<String>,
    /// The part of the window that the page belongs to.
    pub part: Option<Window>,
    /// How often the page was begun; more than once after a fault.
    pub begun: u32,
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

    fn refuse(&mut self, reason: &str, record: &[u8]) -> Result<(), DecodeError> {
        self.refused.push(format!("{reason}: {}", String::from_utf8_lossy(record)));
        Ok(())
    }
}

#[async_trait::async_trait]
impl Records for Page {
    fn begin(&mut self, window: Window) {
        *self = Self { part: Some(window), begun: self.begun + 1, ..Self::default() };
    }

    async fn flush(&mut self) -> Result<(), StepError> {
        Ok(())
    }
}

/// A stream of the catalogue.
pub fn stream(vendor: Vendor, name: &str) -> Stream {
    connector::streams(vendor).into_iter().find(|stream| stream.name == name).unwrap()
}

pub fn window(start: &str, end: &str) -> Window {
    Window { start: at(start), end: at(end) }
}

/// A day of March 2024.
pub fn day(day: i64) -> Window {
    let start = at("2024-03-01T00:00:00Z") + TimeDelta::days(day - 1);
    Window { start, end: start + TimeDelta::days(1) }
}

/// Asserts that the vendor received nothing that it should not have: no credential in a wrong place, no unknown call,
/// no call over a limit.
#[track_caller]
pub fn assert_well_behaved(control: &Control) {
    let stats = control.stats();
    assert_eq!((stats.unexpected, stats.violations, stats.violation_count), (vec![], vec![], 0));
}
