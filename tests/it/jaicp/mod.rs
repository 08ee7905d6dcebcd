//! JAICP Reporter against its simulator: the rules for a careful connector, step by step over real HTTP and with a real
//! quota ledger, and in whole runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};
use simulator::Options;
use simulator::jaicp::{Account, Handle};
use simulator::lynn::Volume;
use tidegate::catalogue::Stream;
use tidegate::connector::export::Polling;
use tidegate::connector::jaicp::{Api, BySession, Interval, Settings, VENDOR};
use tidegate::connector::{CsvForm, Outcome, StepError, Window};
use tidegate::decode::DecodeError;

use crate::support::at;
use crate::support::bench::{self, Page, Reading, assert_well_behaved, day};

mod entities;
mod filters;
mod lists;
mod paging;
mod reports;
mod responses;
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

type Bench = bench::Bench<Settings>;

impl Bench {
    async fn new() -> Self {
        Self::with(Options { volume: Volume::Exactly(ROWS), ..Options::default() }).await
    }

    async fn with(options: Options) -> Self {
        Self::simulated(VENDOR, options, "/api", settings()).await
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

    fn jaicp(&self) -> Handle {
        self.control().jaicp()
    }

    /// Reads a whole window with a new client.
    async fn read(&self, stream: &str, window: Window) -> Result<Reading, StepError> {
        self.client().await.read(stream, window).await
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

impl Reading {
    /// Each record once, with its members in order: a vendor may return a record on several pages.
    fn distinct(&self) -> BTreeSet<String> {
        canonical(self.rows.iter().map(|row| serde_json::from_str(row).unwrap()))
    }
}

/// One spelling for equal records.
fn canonical(rows: impl IntoIterator<Item = Value>) -> BTreeSet<String> {
    rows.into_iter().map(|row| row.to_string()).collect()
}

fn stream(name: &str) -> Stream {
    bench::stream(VENDOR, name)
}

fn days(first: i64, last: i64) -> Window {
    Window { start: day(first).start, end: day(last).end }
}

/// Messages of a window as the bulk list returns them.
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
