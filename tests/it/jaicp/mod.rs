//! JAICP Reporter against its simulator: every rule of `facts/jaicp.md` that says what a careful connector does, step by
//! step over real HTTP and a real quota ledger, and in whole runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};
use simulator::jaicp::{Account, Handle};
use simulator::lynn::Volume;
use simulator::{Control, Options, Simulator};
use tidegate::catalogue::Stream;
use tidegate::connector::export::Polling;
use tidegate::connector::jaicp::{Api, BySession, Interval, Settings};
use tidegate::connector::{
    self, AccountSettings as _, CsvForm, Expected, Outcome, Records, Source, StepError, StepRequest, Window,
};
use tidegate::decode::{DecodeError, Sink};
use tidegate::http::{Gate, Hosts, Retry};
use tidegate::quota::{Calls, Ledger, LedgerKey, Limit, Unit};

use crate::support::TestDatabase;

mod answers;
mod entities;
mod filters;
mod lists;
mod paging;
mod reports;
mod resume;
mod runs;
mod secrets;
mod site;
mod stats;
mod status;

const SECOND: Duration = Duration::from_secs(1);
/// Messages and clients of a day, and rows of a page.
const ROWS: u64 = 60;
const PAGE: u32 = 20;

/// A simulator, an account there, and a ledger for it.
struct Bench {
    database: TestDatabase,
    simulator: Simulator,
    settings: Settings,
    allowed: Vec<String>,
    attempts_max: u32,
    prefix: &'static str,
}

impl Bench {
    async fn new() -> Self {
        Self::with(Options { volume: Volume::Exactly(ROWS), ..Options::default() }).await
    }

    async fn with(options: Options) -> Self {
        Self {
            database: TestDatabase::create().await,
            simulator: simulator::start(options).await.unwrap(),
            settings: settings(),
            allowed: Vec::new(),
            attempts_max: 3,
            prefix: "/api",
        }
    }

    fn v1(mut self) -> Self {
        let account = Account::default();
        self.settings = Settings {
            api: Api::V1,
            token: account.unified_token.as_str().into(),
            project: Some(account.project),
            ..self.settings
        };
        self
    }

    fn control(&self) -> Control {
        self.simulator.control()
    }

    fn jaicp(&self) -> Handle {
        self.control().jaicp()
    }

    /// The connection as a process has it: nothing is shared but the database.
    async fn process(&self) -> Process {
        let pool = self.database.another_pool(4);
        let base_url = format!("{}{}", self.simulator.base_url(), self.prefix).parse().unwrap();
        let settings = &self.settings;
        let key = LedgerKey::derive(&pool, &base_url, &settings.credential()).await.unwrap();
        let limit =
            Limit { name: "requests".to_owned(), calls: Calls::Data, unit: Unit::Calls, amount: 10_000, per: SECOND };
        let ledger = Ledger::open(pool, "this", &key, "acme", vec![limit]).await.unwrap();
        let (initial, max) = (Duration::from_millis(1), Duration::from_millis(20));
        let retry = Retry { attempts_max: self.attempts_max, initial, max };
        Process {
            gate: Gate::new(ledger, Hosts::new(&base_url, &[], &self.allowed), 20 * SECOND, retry).unwrap(),
            source: settings.source(&base_url),
        }
    }

    /// The whole of a window.
    async fn read(&self, stream: &str, window: Window) -> Result<Reading, StepError> {
        self.process().await.read(stream, window, None).await
    }

    /// Nothing astray: no credential or call where none belongs, no limit broken.
    fn assert_proper(&self) {
        let stats = self.control().stats();
        assert!(stats.unexpected.is_empty(), "{:?}", stats.unexpected);
        assert_eq!(stats.violation_count, 0);
    }
}

fn settings() -> Settings {
    let polling = Polling { initial: Duration::from_millis(1), max: Duration::from_millis(5), deadline: 60 * SECOND };
    Settings {
        polling,
        token: Account::default().token.as_str().into(),
        api: Api::Legacy,
        project: None,
        page_size: PAGE,
        message_status: false,
        by_session_method: BySession::Auto,
        language: "en".to_owned(),
        timezone_offset: None,
        filters: BTreeMap::new(),
        stats_interval: Interval::Day,
        csv: CsvForm::default(),
    }
}

struct Process {
    gate: Gate,
    source: Box<dyn Source>,
}

/// What was read of a window.
#[derive(Debug, Default)]
struct Reading {
    rows: Vec<String>,
    /// Of its last CSV file.
    titles: Vec<String>,
    refused: Vec<String>,
    /// The cursor behind each step but the last.
    cursors: Vec<String>,
    /// The part of the window that each page belongs to.
    parts: Vec<Window>,
}

impl Reading {
    /// Each record once, its members in order: a vendor may list one on several pages.
    fn distinct(&self) -> BTreeSet<String> {
        canonical(self.rows.iter().map(|row| serde_json::from_str(row).unwrap()))
    }
}

/// Spelled alike if they are alike.
fn canonical(rows: impl IntoIterator<Item = Value>) -> BTreeSet<String> {
    rows.into_iter().map(|row| row.to_string()).collect()
}

impl Process {
    async fn step(
        &self,
        stream: &Stream,
        window: Window,
        cursor: Option<&str>,
        page: &mut Page,
    ) -> Result<Outcome, StepError> {
        let session = self.gate.session(0, Utc::now());
        let expected = Expected::default();
        self.source.step(&session, StepRequest { stream, window, cursor, expected }, page).await
    }

    /// Every step of a window, from a cursor on; waits for exports without a pause.
    async fn read(&self, name: &str, window: Window, mut cursor: Option<String>) -> Result<Reading, StepError> {
        let (mut reading, stream) = (Reading::default(), stream(name));
        loop {
            let mut page = Page::default();
            let outcome = self.step(&stream, window, cursor.as_deref(), &mut page).await?;
            reading.rows.append(&mut page.rows);
            reading.titles = std::mem::take(&mut page.titles);
            reading.refused.append(&mut page.refused);
            reading.parts.extend(page.part);
            match outcome {
                Outcome::Page { next: None, .. } => return Ok(reading),
                Outcome::Page { next: Some(next), .. } | Outcome::Pending { cursor: next, .. } => {
                    reading.cursors.push(next.clone());
                    cursor = Some(next);
                }
            }
            assert!(reading.cursors.len() < 5_000, "it does not end");
        }
    }

    async fn log_in(&self) -> Result<(), StepError> {
        self.source.log_in(&self.gate.session(0, Utc::now())).await
    }
}

/// Takes the records of one step, as the loader does.
#[derive(Debug, Default)]
struct Page {
    rows: Vec<String>,
    /// Of a CSV file.
    titles: Vec<String>,
    refused: Vec<String>,
    part: Option<Window>,
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
        *self = Self { part: Some(window), ..Self::default() };
    }

    async fn flush(&mut self) -> Result<(), StepError> {
        Ok(())
    }
}

fn stream(name: &str) -> Stream {
    connector::streams(connector::jaicp::VENDOR).into_iter().find(|stream| stream.name == name).unwrap()
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A day of March 2024.
fn day(day: i64) -> Window {
    let start = at("2024-03-01T00:00:00Z") + TimeDelta::days(day - 1);
    Window { start, end: start + TimeDelta::days(1) }
}

fn days(first: i64, last: i64) -> Window {
    Window { start: day(first).start, end: day(last).end }
}

/// Messages of a window as the bulk list has them.
fn messages(jaicp: &Handle, window: Window) -> BTreeSet<String> {
    let rows = jaicp.data().rows("messages", window.start, window.end).unwrap();
    canonical(rows.into_iter().map(|row| without(row, "status")))
}

fn sessions(jaicp: &Handle, window: Window) -> BTreeSet<String> {
    canonical(jaicp.sessions(window.start, window.end).into_iter().map(Value::Object))
}

fn clients(jaicp: &Handle, window: Window) -> BTreeSet<String> {
    canonical(jaicp.data().rows("clients", window.start, window.end).unwrap().into_iter().map(Value::Object))
}

fn without(mut row: Map<String, Value>, field: &str) -> Value {
    row.remove(field);
    Value::Object(row)
}
