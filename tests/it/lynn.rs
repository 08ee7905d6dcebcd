//! Lynn Reporting against its simulator: every rule of `facts/lynn.md` that says what a careful connector does, over
//! real HTTP and a real quota ledger.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use simulator::lynn::{Account, Volume};
use simulator::{Control, Options, Simulator};
use tidegate::catalogue::Stream;
use tidegate::connector::lynn::{HttpMethod, Product, Settings};
use tidegate::connector::{
    self, AccountSettings as _, Expected, Outcome, Records, Source, StepError, StepRequest, Window,
};
use tidegate::decode::{DecodeError, Sink};
use tidegate::http::{Gate, Hosts, Retry};
use tidegate::quota::{Calls, Ledger, LedgerKey, Limit, Unit};
use url::Url;

use crate::support::TestDatabase;

mod answers;
mod bandwidth;
mod credentials;
mod faults;
mod pace;
mod paging;
mod refusals;
mod token;
mod windows;

const SECOND: Duration = Duration::from_secs(1);
const MARKS: &str = "navigation_marks";
/// Rows of a day, and of a page.
const ROWS: u64 = 50;
const PAGE: u32 = 20;

/// A vendor, an account there, and a ledger for it.
struct World {
    database: TestDatabase,
    base_url: Url,
    settings: Settings,
    limits: Vec<Limit>,
    timeout: Duration,
    attempts_max: u32,
}

impl World {
    /// With the account that the simulator knows.
    async fn at(base_url: &str) -> Self {
        Self {
            database: TestDatabase::create().await,
            base_url: base_url.parse().unwrap(),
            settings: settings(),
            limits: free_limits(),
            timeout: 20 * SECOND,
            attempts_max: 5,
        }
    }

    /// The connection as a process has it: nothing is shared but the database.
    async fn process(&self) -> Process {
        let pool = self.database.another_pool(4);
        let settings = &self.settings;
        let key = LedgerKey::derive(&pool, &self.base_url, &settings.credential()).await.unwrap();
        let ledger = Ledger::open(pool, "this", &key, "acme-lynn", self.limits.clone()).await.unwrap();
        let (initial, max) = (Duration::from_millis(1), Duration::from_millis(20));
        let retry = Retry { attempts_max: self.attempts_max, initial, max };
        Process {
            gate: Gate::new(ledger, Hosts::new(&self.base_url, &[], &[]), self.timeout, retry).unwrap(),
            source: settings.source(&self.base_url),
        }
    }
}

/// A simulator without limits, 50 rows a day, and one process.
async fn start() -> (Simulator, Control, World, Process) {
    start_with(free()).await
}

async fn start_with(options: Options) -> (Simulator, Control, World, Process) {
    let simulator = simulator::start(options).await.unwrap();
    let control = simulator.control();
    let world = World::at(&simulator.base_url()).await;
    let process = world.process().await;
    (simulator, control, world, process)
}

fn free() -> Options {
    let options = Options { volume: Volume::Exactly(ROWS), ..Options::default() };
    let limits = ["create_token", "requests", "period_calls", "period_bandwidth"];
    limits.into_iter().fold(options, |options, name| options.limit(name, u64::MAX, SECOND))
}

fn settings() -> Settings {
    let account = Account::default();
    Settings {
        account: connector::lynn_account::Account {
            tenant: account.tenant,
            access_token: account.access_token.as_str().into(),
            access_token_secret: account.access_token_secret.as_str().into(),
            product: Product::Basic,
            subscription_key: None,
            create_token_path: "/api/LynnReporting/CreateToken".to_owned(),
            authorization_scheme: "bearer".to_owned(),
        },
        execute_report_path: "/api/LynnReporting/ExecuteReport/{tenant}/{report_id}".to_owned(),
        execute_report_method: HttpMethod::Post,
        filter_timezone: Tz::UTC,
        date_format: "%Y-%m-%d %H:%M:%S".to_owned(),
        page_size: PAGE,
        probe_full_page: false,
        fail_on_errors: true,
    }
}

fn limit(name: &str, calls: Calls, unit: Unit, amount: u64, per: Duration) -> Limit {
    Limit { name: name.to_owned(), calls, unit, amount, per }
}

/// Lynn's four limits, out of the way. Pauses follow from them, so those are short too.
fn free_limits() -> Vec<Limit> {
    vec![
        limit("create_token", Calls::Login, Unit::Calls, 1_000, SECOND),
        limit("requests", Calls::Data, Unit::Calls, 1_000, SECOND),
        limit("period_calls", Calls::Every, Unit::Calls, 1_000_000, Duration::from_hours(12)),
        limit("period_bandwidth", Calls::Every, Unit::Bytes, 1 << 40, Duration::from_hours(12)),
    ]
}

struct Process {
    gate: Gate,
    source: Box<dyn Source>,
}

/// What was read of a window.
#[derive(Debug, Default)]
struct Reading {
    rows: Vec<String>,
    /// Rows of each page.
    pages: Vec<usize>,
    /// The cursor behind each page but the last.
    cursors: Vec<String>,
    /// The part of the window that each page belongs to.
    parts: Vec<Window>,
    bytes: Vec<u64>,
}

impl Process {
    async fn step(&self, window: Window, cursor: Option<&str>, page: &mut Page) -> Result<Outcome, StepError> {
        self.step_of(&stream(MARKS), window, cursor, Expected::default(), page).await
    }

    async fn step_of(
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

    /// The first page of 1 March only.
    async fn first_page(&self) -> Result<(Vec<String>, Outcome), StepError> {
        let mut page = Page::default();
        let outcome = self.step(day(1), None, &mut page).await?;
        Ok((page.rows, outcome))
    }

    /// Every page of a window, from a cursor on.
    async fn read_on(&self, window: Window, cursor: Option<String>) -> Result<Reading, StepError> {
        self.read_expecting(window, cursor, Expected::default()).await
    }

    async fn read_expecting(
        &self,
        window: Window,
        mut cursor: Option<String>,
        expected: Expected,
    ) -> Result<Reading, StepError> {
        let (mut reading, marks) = (Reading::default(), stream(MARKS));
        loop {
            let mut page = Page::default();
            let outcome = self.step_of(&marks, window, cursor.as_deref(), expected, &mut page).await?;
            reading.pages.push(page.rows.len());
            reading.rows.append(&mut page.rows);
            reading.parts.extend(page.part);
            match outcome {
                Outcome::Page { next: Some(next), bytes } => {
                    reading.bytes.push(bytes);
                    reading.cursors.push(next.clone());
                    cursor = Some(next);
                }
                Outcome::Page { next: None, bytes } => {
                    reading.bytes.push(bytes);
                    return Ok(reading);
                }
                Outcome::Pending { .. } => panic!("Lynn has no exports"),
            }
        }
    }

    async fn read(&self, window: Window) -> Result<Reading, StepError> {
        self.read_on(window, None).await
    }

    /// Until when a limit is blocked, if it is.
    async fn blocked(&self, limit: &str) -> Option<DateTime<Utc>> {
        let usage = self.gate.ledger().usage().await.unwrap();
        usage.into_iter().find(|usage| usage.limit == limit).unwrap().blocked_until
    }
}

/// Takes the records of one page, as the loader does.
#[derive(Debug, Default)]
struct Page {
    rows: Vec<String>,
    part: Option<Window>,
    begun: u32,
}

impl Sink for Page {
    fn header(&mut self, _: &[String], _: &[&str]) -> Result<(), DecodeError> {
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
    fn begin(&mut self, window: Window) {
        self.rows.clear();
        self.part = Some(window);
        self.begun += 1;
    }

    async fn flush(&mut self) -> Result<(), StepError> {
        Ok(())
    }
}

fn stream(name: &str) -> Stream {
    connector::streams(connector::lynn::VENDOR).into_iter().find(|stream| stream.name == name).unwrap()
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn window(start: &str, end: &str) -> Window {
    Window { start: at(start), end: at(end) }
}

/// A day of March 2024.
fn day(day: i64) -> Window {
    let start = at("2024-03-01T00:00:00Z") + TimeDelta::days(day - 1);
    Window { start, end: start + TimeDelta::days(1) }
}

fn truth(control: &Control, window: Window) -> Vec<String> {
    control.truth_text(MARKS, window.start, window.end).unwrap()
}

fn is_of_subscription_key(error: &StepError) -> bool {
    matches!(error, StepError::Refused { what, hint } if what == "the subscription key" && hint.contains("`subscription_key`"))
}
