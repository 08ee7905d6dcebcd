//! The vendors, in a process of their own: bytes that were made beforehand, served over loopback.
//!
//! They speak as much of Lynn's Reporting API and of Khoros's exports as the real vendor modules need. A row's revision is
//! one digit, so that changed rows are the first ones with some bytes replaced.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::Context as _;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::routing::{get, post};
use futures_util::stream;
use serde_json::Value;

use crate::workload::Workload;

/// The argument that makes this program the vendor.
pub const ROLE: &str = "vendor";
pub const ROWS_PER_PAGE: u64 = 10_000;
/// Rows are spread over this day.
pub const DAY: [&str; 2] = ["2026-03-01", "2026-03-02"];

/// Which rows differ from those that were first told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Revision {
    First,
    /// Every tenth row.
    Tenth,
    /// Every row, also from [`Revision::Tenth`].
    All,
}

impl Revision {
    const fn digit_of(self, row: usize) -> u8 {
        match self {
            Self::Tenth if row % 10 == 3 => b'1',
            Self::First | Self::Tenth => b'0',
            Self::All => b'2',
        }
    }

    const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::First,
            1 => Self::Tenth,
            _ => Self::All,
        }
    }
}

/// The vendor's process, from outside.
pub struct Vendor {
    child: Child,
    pub base_url: String,
}

impl Vendor {
    pub fn start(workload: Workload, rows: u64) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([ROLE, workload.name(), &rows.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("the vendor's output")?).read_line(&mut line)?;
        Ok(Self { child, base_url: line.trim().to_owned() })
    }

    pub async fn tell(&self, revision: Revision) -> anyhow::Result<()> {
        let address = self.base_url.trim_start_matches("http://");
        let stream = tokio::net::TcpStream::connect(address).await?;
        let request = format!(
            "POST /revision/{} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            revision as u8
        );
        let (mut reader, mut writer) = stream.into_split();
        tokio::io::AsyncWriteExt::write_all(&mut writer, request.as_bytes()).await?;
        let mut answer = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut reader, &mut answer).await?;
        anyhow::ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Ok(())
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        // Its input closes, and it ends.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

struct Pages {
    pages: Vec<Page>,
    revision: AtomicU8,
}

/// A page, or a part of a file.
struct Page {
    bytes: Bytes,
    /// Where each row's revision stands.
    digits: Vec<usize>,
}

impl Page {
    fn at(&self, revision: Revision) -> Bytes {
        if revision == Revision::First {
            return self.bytes.clone();
        }
        let mut bytes = self.bytes.to_vec();
        for (row, &at) in self.digits.iter().enumerate() {
            bytes[at] = revision.digit_of(row);
        }
        bytes.into()
    }
}

/// The vendor's process, from inside: says where it is, and ends with its parent, which holds the other end of its input.
pub async fn serve(workload: Workload, rows: u64) -> anyhow::Result<()> {
    let count = rows.div_ceil(ROWS_PER_PAGE);
    let pages = (0..count).map(|number| match workload {
        Workload::Json => json_page(number, count, rows),
        Workload::Csv => csv_part(number, rows),
    });
    let pages = Arc::new(Pages { pages: pages.collect(), revision: AtomicU8::new(0) });
    let router = Router::new()
        .route("/revision/{number}", post(revise))
        .route("/api/LynnReporting/CreateToken", post(async || r#"{"token":"a.b.c"}"#))
        .route("/api/LynnReporting/ExecuteReport/{tenant}/{report}", post(report))
        .route("/reports/report/{export}", post(async || CREATED))
        .route("/reports/report/w/r/status", get(async || COMPLETED))
        .route("/reports/report/w/r/download", get(file))
        .with_state(pages);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let parent_is_gone = async {
        let read = tokio::task::spawn_blocking(|| std::io::stdin().lock().read_line(&mut String::new()));
        let _ = read.await;
    };
    tokio::select! {
        served = axum::serve(listener, router) => served?,
        () = parent_is_gone => {}
    }
    Ok(())
}

async fn revise(State(pages): State<Arc<Pages>>, Path(number): Path<u8>) {
    pages.revision.store(number, Ordering::Relaxed);
}

/// `lastDocument` is the number of the next page.
async fn report(State(pages): State<Arc<Pages>>, body: Bytes) -> Bytes {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let number = request["lastDocument"].as_u64().unwrap_or(0);
    let revision = Revision::from_number(pages.revision.load(Ordering::Relaxed));
    let page = usize::try_from(number).ok().and_then(|number| pages.pages.get(number));
    page.map_or(Bytes::from_static(br#"{"isValid":true,"result":[],"pageCount":0}"#), |page| page.at(revision))
}

const CREATED: &str = r#"{"status":"PASS","result":{"workflowId":"w","runId":"r"}}"#;
const COMPLETED: &str = r#"{"status":"PASS","result":{"jobInfo":{"workflowId":"w","runId":"r","downloadUrl":"/file"},"result":{"runnerState":"CLOSED","detail":"COMPLETED"}}}"#;

/// The export's file, part by part.
async fn file(State(pages): State<Arc<Pages>>) -> Body {
    let revision = Revision::from_number(pages.revision.load(Ordering::Relaxed));
    let parts = (0..pages.pages.len()).map(move |number| Ok::<_, std::io::Error>(pages.pages[number].at(revision)));
    Body::from_stream(stream::iter(parts))
}

fn json_page(number: u64, count: u64, rows: u64) -> Page {
    let (mut text, mut digits) = (String::from("{\"result\":["), Vec::new());
    for row in number * ROWS_PER_PAGE..rows.min((number + 1) * ROWS_PER_PAGE) {
        if row > number * ROWS_PER_PAGE {
            text.push(',');
        }
        digits.push(push_object(row, rows, &mut text));
    }
    let _ = write!(
        text,
        r#"],"isValid":true,"executionTime":12,"idReporting":"BENCH","errors":null,"pageCount":{},"lastDocument":{}}}"#,
        count - 1,
        number + 1
    );
    Page { bytes: text.into(), digits }
}

/// A part of the file, the header with the first.
fn csv_part(number: u64, rows: u64) -> Page {
    let (mut text, mut digits) = (String::new(), Vec::new());
    if number == 0 {
        text.push_str(
            "State ID,Agent ID,Agent Name,Agent Email,Team,Skill,State,Previous State,Reason,Start Time,End Time,Duration,\
             Channel,Queue,Cases Open,Cases Closed,Logged In,Device,Note,Locale\n",
        );
    }
    for row in number * ROWS_PER_PAGE..rows.min((number + 1) * ROWS_PER_PAGE) {
        digits.push(push_line(row, rows, &mut text));
    }
    Page { bytes: text.into(), digits }
}

/// Twenty columns, some 200 bytes. Answers where the revision stands.
fn push_line(row: u64, rows: u64, text: &mut String) -> usize {
    let noise = mix(row);
    let agent = noise % 400;
    let micros = 86_400_000_000 / rows.max(1) * row;
    let pick = |from: &[&'static str], shift: u32| from[usize::try_from(noise >> shift).unwrap_or(0) % from.len()];
    let _ = write!(
        text,
        "AS-{row:010},{agent},Agent {agent},agent.{agent}@care.example,{},{},{},{},{},{},{},{},",
        pick(&["North", "South", "Night shift"], 3),
        pick(&INTENTS, 6),
        pick(&STATES, 9),
        pick(&STATES, 12),
        pick(&["", "lunch", "\"meeting, weekly\""], 15),
        time(micros),
        time((micros + noise % 900_000_000).min(86_399_000_000)),
        noise % 900,
    );
    let _ = write!(
        text,
        "{},Q{},{},{},{},{},",
        pick(&["twitter", "facebook", "sms"], 18),
        noise % 12,
        noise >> 20 & 15,
        noise >> 24 & 15,
        noise.is_multiple_of(3),
        pick(&["web", "ios", "android"], 28),
    );
    let digit = text.len();
    let _ = writeln!(text, "0 of {}: {},en_US", noise % 1000, pick(&["as planned", "sin respuesta", "não"], 31));
    digit
}

/// Twelve columns: five texts, two ids, two times, two numbers, a truth. Answers where the revision stands.
fn push_object(row: u64, rows: u64, text: &mut String) -> usize {
    let noise = mix(row);
    let micros = 86_400_000_000 / rows.max(1) * row;
    let _ = write!(
        text,
        r#"{{"recordId":"{:08x}-{:04x}-4{:03x}-8{:03x}-{row:012x}","timestamp":"{}","session":"{:08x}-{:04x}-4000-8000-{:012x}","#,
        noise >> 32,
        noise >> 16 & 0xffff,
        noise >> 4 & 0xfff,
        noise & 0xfff,
        time(micros),
        mix(row / 7) >> 32,
        mix(row / 7) & 0xffff,
        row / 7,
    );
    let _ = write!(
        text,
        r#""channelId":{},"division":"{}","intent":"{}","markName":"{}","markValue":" -> step "#,
        20 + noise % 9,
        noise % 3,
        INTENTS[usize::try_from(noise % 7).unwrap_or(0)],
        MARKS[usize::try_from(noise % 5).unwrap_or(0)],
    );
    let digit = text.len();
    let _ = write!(
        text,
        r#"0 of {}: {}","durationSeconds":{}.{:03},"isContained":{},"endedAt":"{}","steps":{}}}"#,
        noise % 1000,
        WORDS[usize::try_from(noise % 4).unwrap_or(0)],
        noise % 900,
        noise >> 10 & 511,
        noise.is_multiple_of(3),
        time((micros + noise % 900_000_000).min(86_399_000_000)),
        noise % 40,
    );
    digit
}

const STATES: [&str; 5] = ["Available", "Busy", "Away", "On break", "Offline"];
const INTENTS: [&str; 7] =
    ["greet", "order_status", "refund_request", "talk_to_agent", "opening_hours", "complaint", "farewell"];
const MARKS: [&str; 5] = ["START_SESSION", "END_SESSION", "MENU_OPTION", "TRANSFER", "SURVEY_ANSWER"];
const WORDS: [&str; 4] = ["the order arrived", "sin respuesta del cliente", "não entendi", r#"said \"call back\""#];

fn time(micros: u64) -> String {
    let secs = micros / 1_000_000;
    let (hour, minute, second) = (secs / 3600, secs / 60 % 60, secs % 60);
    format!("{}T{hour:02}:{minute:02}:{second:02}.{:03}0000Z", DAY[0], micros / 1000 % 1000)
}

/// The same for every run (splitmix64).
const fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
