//! CSV files made by jobs (`facts/lexer.md §6`): requested from one host, status from a second, download from a
//! third. The file of cases has those that were opened or closed in the range.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use axum::http::StatusCode;
use chrono::NaiveDateTime;
use serde_json::json;

use super::super::call::{Arrival, Reply};
use super::super::export::{csv, fields, pieces};
use super::super::response::PlannedResponse;
use super::super::stats::ReportCall;
use super::super::truth::{Dice, Span, TICKS_PER_SECOND};
use super::super::{FileBody, Options, Vendor, World, locked};
use super::figures::submitted;
use super::request::Asked;
use super::rows::{CASE_SECS_MAX, CASES, SUBMISSIONS, columns};
use super::{Account, error};

/// How long a link to a file is valid.
const LINK: Duration = Duration::from_mins(10);
const CSV: &str = "text/csv; charset=utf-8";

struct Job {
    asked: Asked,
    /// Time since the simulator's start.
    ready_at: Duration,
}

/// The jobs by token.
pub(super) struct Jobs {
    dice: Mutex<Dice>,
    known: Mutex<HashMap<String, Job>>,
    takes: Duration,
    link: Duration,
}

impl Jobs {
    pub fn new(options: &Options, account: &Account) -> Self {
        let dice = Mutex::new(Dice::new(options.seed, &[41]));
        Self { dice, known: Mutex::default(), takes: options.scaled(account.job_takes), link: options.scaled(LINK) }
    }

    /// Starts a job; one that takes no time is complete at once.
    pub fn submit(&self, arrival: &Arrival, asked: Asked) -> PlannedResponse {
        let token = locked(&self.dice).guid();
        let job = Job { asked, ready_at: arrival.at + self.takes };
        let response = self.tell(arrival, &token, &job);
        locked(&self.known).insert(token, job);
        response
    }

    /// The status of a job. A complete one gets a new link with every response.
    pub fn status(&self, arrival: &Arrival) -> Result<Reply, PlannedResponse> {
        let token = arrival.query("token").unwrap_or_default();
        let jobs = locked(&self.known);
        let Some(job) = jobs.get(&token) else { return Err(error(StatusCode::NOT_FOUND, "Not found")) };
        let report = ReportCall { report: job.asked.kind.to_owned(), ..ReportCall::default() };
        Ok(Reply::new(self.tell(arrival, &token, job), arrival.meet(&[job.asked.kind], None)).reported(report))
    }

    /// The tokens of all known jobs.
    pub fn tokens(&self) -> Vec<String> {
        locked(&self.known).keys().cloned().collect()
    }

    /// Forgets every job, as a vendor may after some time.
    pub fn forget(&self) {
        locked(&self.known).clear();
    }

    fn tell(&self, arrival: &Arrival, token: &str, job: &Job) -> PlannedResponse {
        if arrival.world.now() < job.ready_at {
            return PlannedResponse::json(json!({ "status": "pending", "url": null, "token": token }).to_string());
        }
        let body = body(Arc::downgrade(&arrival.world), job.asked.clone());
        let url = arrival.world.files.put(&format!("activity_{token}"), CSV, body, self.link);
        PlannedResponse::json(json!({ "status": "complete", "url": url, "token": token }).to_string())
    }
}

/// Generated while it is sent, from the rows at that time.
fn body(world: Weak<World>, asked: Asked) -> FileBody {
    FileBody::made(move || {
        let file = match asked.kind {
            "mention_sla_export" => super::rows::MENTIONS,
            "case_details" => CASES,
            _ => SUBMISSIONS,
        };
        let (mut titles, span) =
            (columns(file).iter().map(|&title| title.to_owned()).collect::<Vec<_>>(), asked.span());
        let Some(alive) = world.upgrade() else { return csv(titles, Vec::new().into_iter().boxed()) };
        let span = alive.data(Vendor::Lexer).visible(span);
        titles.extend(alive.lexer.further_columns(file));
        let (of_file, of_cases) = (asked.clone(), asked.clone());
        let own = move |row: &String| file != SUBMISSIONS || is_of(&of_file, row);
        let rows = pieces(world.clone(), Vendor::Lexer, file, span);
        let rows = rows.map(move |piece| piece.into_iter().filter(&own).collect());
        // A file of an exact volume has each case once, in the range in which it was opened.
        if file != CASES || alive.company.lexer_is_even() {
            return csv(titles, rows.boxed());
        }
        let before = pieces(world.clone(), Vendor::Lexer, file, opened_before(span));
        let closed = move |row: &String| closed_in(&of_cases, row);
        csv(titles, before.map(move |piece| piece.into_iter().filter(&closed).collect()).chain(rows).boxed())
    })
}

/// The time in which the cases were opened that may have been closed within the span.
fn opened_before(span: Span) -> Span {
    let secs = i64::try_from(CASE_SECS_MAX).unwrap_or_default();
    Span { from: span.from - secs * TICKS_PER_SECOND, until: span.from.min(span.until) }
}

/// Whether a case was closed within the range.
fn closed_in(asked: &Asked, row: &str) -> bool {
    let fields = fields(row);
    let closed = fields.iter().find(|(name, _)| name == "Closed (UTC)");
    let closed = closed.and_then(|(_, text)| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").ok());
    closed.is_some_and(|at| (asked.from..=asked.to).contains(&at.and_utc().fixed_offset()))
}

fn is_of(asked: &Asked, row: &str) -> bool {
    let fields = fields(row);
    let get = |name: &str| fields.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value);
    submitted(asked.form, &asked.category, get("Form ID"), get("Score"))
}

/// In that case both branches above have the same type.
trait Boxed: Iterator<Item = Vec<String>> + Send + Sized + 'static {
    fn boxed(self) -> Box<dyn Iterator<Item = Vec<String>> + Send> {
        Box::new(self)
    }
}

impl<I: Iterator<Item = Vec<String>> + Send + 'static> Boxed for I {}
