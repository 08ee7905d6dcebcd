//! Lexer's Activity API as in `facts/lexer.md`: lists, reports with an immediate response, and CSV files made by jobs
//! whose status is on a second host.

mod figures;
mod jobs;
mod request;
mod rows;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderName};
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use chrono::{DateTime, FixedOffset};
use serde_json::{Value, json};

use self::request::Asked;
use super::call::{Arrival, Gateway, Incoming, Reply};
use super::company::Company;
use super::limits::{Applies, Refusal, Refused, Rule, Unit};
use super::response::{JSON, PlannedResponse};
use super::stats::ReportCall;
use super::truth::Reports;
use super::{Control, Options, TruthHandle, Vendor, World, locked};

const LISTS: [(&str, &str); 3] = [("users", "lexer_users"), ("groups", "lexer_groups"), ("forms", "lexer_forms")];
const REPORTS: &str = "lexer_reports";
const STATUS: &str = "lexer_status";
const TOKEN: HeaderName = HeaderName::from_static("auth-api-token");

/// The only account of the simulated vendor, with an invented secret.
#[derive(Clone)]
pub struct Account {
    pub api_token: String,
    /// How long a job takes (before `speed`). With zero, the response that creates it reports it as complete.
    pub job_takes: Duration,
    /// Body fields that this account accepts beyond the documented ones (`facts/lexer.md §3`).
    pub filters: Vec<String>,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            api_token: "1d8a6c7e-30f5-4b92-8e41-6f2b9a07c553".to_owned(),
            job_takes: Duration::from_secs(20),
            filters: Vec::new(),
        }
    }
}

/// The vendor's state.
pub(super) struct Lexer {
    pub gateway: Gateway,
    pub data: Reports,
    account: Account,
    lists: Mutex<BTreeMap<&'static str, Vec<Value>>>,
    jobs: jobs::Jobs,
    /// Additional columns, by file.
    further: Mutex<BTreeMap<usize, Vec<String>>>,
}

impl Lexer {
    pub fn new(options: &Options, company: &Arc<Company>) -> Self {
        let source = rows::Rows(Arc::clone(company));
        Self {
            gateway: Gateway::new(options, &limit_rules(options), too_many),
            data: Reports::new(Box::new(source), rows::names(), options.hide_future),
            account: options.lexer.clone(),
            lists: Mutex::new(LISTS.map(|(name, _)| (name, rows::list(name))).into()),
            jobs: jobs::Jobs::new(options, &options.lexer),
            further: Mutex::default(),
        }
    }

    fn list(&self, name: &str) -> Vec<Value> {
        locked(&self.lists).get(name).cloned().unwrap_or_default()
    }

    fn further_columns(&self, file: usize) -> Vec<String> {
        locked(&self.further).get(&file).cloned().unwrap_or_default()
    }
}

/// `facts/lexer.md §1`; the hosts share the limits, which is the stricter reading.
fn limit_rules(options: &Options) -> [Rule; 2] {
    let rule = |name, amount, secs| {
        let (applies, unit, refused) = (Applies::Every, Unit::Calls, Refused::Rate);
        options.rule(Rule { name, applies, unit, refused, amount, period: Duration::from_secs(secs) })
    };
    [rule("lexer.requests", 100, 300), rule("lexer.burst", 10, 1)]
}

/// No `Retry-After` is documented (`facts/lexer.md §1`).
fn too_many(_: &Refusal) -> PlannedResponse {
    error(StatusCode::TOO_MANY_REQUESTS, "Rate limited exceeded")
}

/// `facts/lexer.md §7`; the body is not documented.
fn error(status: StatusCode, message: &str) -> PlannedResponse {
    PlannedResponse::new(status, JSON, json!({ "error": message }).to_string())
}

/// Test controls for Lexer beyond `Control`.
pub struct Handle(pub(super) Control);

impl Handle {
    pub fn data(&self) -> TruthHandle {
        self.0.data(Vendor::Lexer)
    }

    /// A list as it would be returned now.
    pub fn list(&self, name: &str) -> Vec<Value> {
        self.0.world.lexer.list(name)
    }

    /// Changes a list from now on.
    pub fn edit_list(&self, name: &str, change: impl FnOnce(&mut Vec<Value>)) {
        change(locked(&self.0.world.lexer.lists).get_mut(name).unwrap_or(&mut Vec::new()));
    }

    /// The response of a report to these bounds now (the end inclusive to the second); `None` if a job makes it.
    pub fn figures(
        &self,
        kind: &'static str,
        from: DateTime<FixedOffset>,
        to: DateTime<FixedOffset>,
        nps: Option<(i64, &str)>,
    ) -> Option<Value> {
        let (form, category) = nps.unzip();
        let asked = Asked { kind, from, to, form, category: category.unwrap_or_default().to_owned() };
        figures::compute(&self.0.world.lexer.data, &asked)
    }

    /// Adds a column to files of that type from now on; edits of the truth set its content.
    pub fn add_column(&self, file: &str, title: &str) {
        let Ok(number) = self.0.world.lexer.data.number(file) else { return };
        locked(&self.0.world.lexer.further).entry(number).or_default().push(title.to_owned());
    }

    /// The tokens of the jobs so far, which must not appear anywhere.
    pub fn job_tokens(&self) -> Vec<String> {
        self.0.world.lexer.jobs.tokens()
    }

    /// Forgets all jobs.
    pub fn forget_jobs(&self) {
        self.0.world.lexer.jobs.forget();
    }
}

/// `api.lexer.io`
pub(super) fn routes() -> Router<Arc<World>> {
    let lists = LISTS.into_iter().fold(Router::new(), |router, (name, endpoint)| {
        let handler = move |incoming: Incoming| async move { serve_list(incoming, name, endpoint).await };
        router.route(&format!("/v1/{name}"), get(handler))
    });
    lists.route("/v1/activity/reports", post(reports))
}

/// `clients.lexer.io`
pub(super) fn client_routes() -> Router<Arc<World>> {
    Router::new().route("/api/public/v1/activity/reports/status", get(status))
}

async fn serve_list(incoming: Incoming, name: &'static str, endpoint: &'static str) -> Response<Body> {
    incoming
        .serve(Vendor::Lexer, endpoint, move |arrival, _| {
            authorize(arrival)?;
            let elements = arrival.world.lexer.list(name);
            let report = ReportCall { report: name.to_owned(), rows: elements.len() as u64, ..ReportCall::default() };
            let response = PlannedResponse::json(json!(elements).to_string());
            Ok(Reply::new(response, arrival.meet(&[name], None)).reported(report))
        })
        .await
}

async fn reports(incoming: Incoming) -> Response<Body> {
    incoming.serve(Vendor::Lexer, REPORTS, report).await
}

fn report(arrival: &Arrival, body: &[u8]) -> Result<Reply, PlannedResponse> {
    authorize(arrival)?;
    let is_json = arrival.header(&CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json"));
    arrival.unexpected_if(!is_json, "a body that is not called JSON");
    let lexer = &arrival.world.lexer;
    let asked = Asked::read(arrival, body, &lexer.account.filters)?;
    let call = ReportCall {
        report: asked.kind.to_owned(),
        start_date: asked.from.to_rfc3339(),
        end_date: asked.to.to_rfc3339(),
        page: asked.form.and_then(|form| u32::try_from(form).ok()).unwrap_or_default(),
        ..ReportCall::default()
    };
    let action = arrival.meet(&[asked.kind], None);
    let response = match figures::compute(&lexer.data, &asked) {
        Some(figures) => PlannedResponse::json(figures.to_string()),
        None => lexer.jobs.submit(arrival, asked),
    };
    Ok(Reply::new(response, action).reported(call))
}

async fn status(incoming: Incoming) -> Response<Body> {
    incoming
        .serve(Vendor::Lexer, STATUS, |arrival, _| {
            authorize(arrival)?;
            arrival.world.lexer.jobs.status(arrival)
        })
        .await
}

/// The header with the token, on both hosts (`facts/lexer.md §1`).
fn authorize(arrival: &Arrival) -> Result<(), PlannedResponse> {
    arrival.unexpected_headers(&[AUTHORIZATION, COOKIE]);
    let refused = |message| Err(arrival.unauthorized(error(StatusCode::UNAUTHORIZED, message)));
    match arrival.header(&TOKEN) {
        Some(token) if token == arrival.world.lexer.account.api_token => Ok(()),
        Some(_) => refused("Unauthorized - api token not matching"),
        None => refused("Unauthorized"),
    }
}

#[cfg(test)]
mod tests;
