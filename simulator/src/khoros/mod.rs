//! Khoros Care's Analytics Reports API as in `facts/khoros_care.md`: exports that are jobs, and two lists.

mod create;
mod file;
mod job;
mod rows;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::{Response, StatusCode};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{Offset as _, TimeZone as _, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};

use super::call::{Arrival, Gateway, Incoming, Reply};
use super::company::Company;
use super::limits::{Applies, Refusal, Refused, Rule, Unit};
use super::response::PlannedResponse;
use super::stats::ReportCall;
use super::truth::{Dice, Reports, Span};
use super::{Control, Options, TruthHandle, Vendor, World, locked};

pub use create::Submitted;
pub use job::{Fate, Methods, Shape};

const TEAMS: &str = "khoros_teams";
const TIMEZONES: &str = "khoros_timezones";
const CREATE: &str = "khoros_create";
const STATUS: &str = "khoros_status";
const DOWNLOAD: &str = "khoros_download";
/// Many JSON responses are declared as text (`facts/khoros_care.md §3.1`).
const CONTENT_TYPE: &str = "text/plain;charset=UTF-8";

/// The only account of the simulated vendor, with invented secrets.
#[derive(Clone)]
pub struct Account {
    pub company_key: String,
    pub username: String,
    pub password: String,
    /// How long a job takes, before `speed`.
    pub job_time: Duration,
    /// How long a link to a file is valid, before `speed`.
    pub link_life: Duration,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            company_key: "harbour-k7".to_owned(),
            username: "reports-api".to_owned(),
            password: "5f0c-Tide-9b21".to_owned(),
            job_time: Duration::from_secs(20),
            link_life: Duration::from_mins(5),
        }
    }
}

/// The vendor's state.
pub(super) struct Khoros {
    pub gateway: Gateway,
    pub data: Reports,
    account: Account,
    dice: Mutex<Dice>,
    shape: Mutex<Shape>,
    /// Fates of jobs to come, by export.
    fates: Mutex<Vec<(String, Fate)>>,
    jobs: Mutex<Vec<job::Job>>,
    submitted: Mutex<Vec<Submitted>>,
}

impl Khoros {
    pub fn new(options: &Options, company: &Arc<Company>) -> Self {
        let source = rows::Rows(Arc::clone(company));
        Self {
            gateway: Gateway::new(options, &[limit(options)], too_many),
            data: Reports::new(Box::new(source), rows::names(), options.hide_future),
            account: options.khoros.clone(),
            dice: Mutex::new(Dice::new(options.seed, &[37])),
            shape: Mutex::default(),
            fates: Mutex::default(),
            jobs: Mutex::default(),
            submitted: Mutex::default(),
        }
    }

    fn shape(&self) -> Shape {
        locked(&self.shape).clone()
    }

    /// Lets existing and future jobs succeed from now on, even one that has already reported a failure.
    pub fn quiet(&self) {
        locked(&self.fates).clear();
        locked(&self.jobs).iter_mut().for_each(job::Job::mend);
    }

    fn next_fate(&self, export: &str) -> Fate {
        let mut fates = locked(&self.fates);
        let next = fates.iter().position(|(wanted, _)| wanted == export);
        next.map(|next| fates.remove(next).1).unwrap_or_default()
    }
}

/// `facts/khoros_care.md §8`
fn limit(options: &Options) -> Rule {
    options.rule(Rule {
        name: "khoros.requests",
        applies: Applies::Every,
        unit: Unit::Calls,
        refused: Refused::Rate,
        amount: 20,
        period: Duration::from_mins(1),
    })
}

/// Neither `Retry-After` nor a body is documented (`facts/khoros_care.md §8`).
fn too_many(_: &Refusal) -> PlannedResponse {
    PlannedResponse::empty(StatusCode::TOO_MANY_REQUESTS)
}

/// Test controls for Khoros beyond `Control`.
pub struct Handle(pub(super) Control);

impl Handle {
    pub fn data(&self) -> TruthHandle {
        self.0.data(Vendor::Khoros)
    }

    /// Sets the fate of the next job of that export without one.
    pub fn next_job(&self, export: &str, fate: Fate) {
        locked(&self.0.world.khoros.fates).push((export.to_owned(), fate));
    }

    /// Changes the shape of responses from now on.
    pub fn shape(&self, change: impl FnOnce(&mut Shape)) {
        change(&mut locked(&self.0.world.khoros.shape));
    }

    /// Every job that was started, and its request.
    pub fn submitted(&self) -> Vec<Submitted> {
        locked(&self.0.world.khoros.submitted).clone()
    }

    /// Makes all jobs 24 hours old.
    pub fn forget_jobs(&self) {
        locked(&self.0.world.khoros.jobs).iter_mut().for_each(|job| job.forgotten = true);
    }

    /// The tokens of all jobs, which must not appear in a log or a table.
    pub fn secrets(&self) -> Vec<String> {
        locked(&self.0.world.khoros.jobs).iter().map(job::Job::secret).collect()
    }
}

pub(super) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/api/public/config/timezones", get(timezones))
        .route("/api/public/teams", get(teams))
        .route("/api/public/reports/report/{export}", get(create_by_get).post(create_by_post))
        .route("/api/public/reports/report/marketing/{export}", get(marketing_by_get).post(marketing_by_post))
        .route("/api/public/reports/report/{workflow}/{run}/status", get(status))
        .route("/api/public/reports/report/{workflow}/{run}/download", get(download))
}

async fn create_by_get(Path(export): Path<String>, incoming: Incoming) -> Response<Body> {
    started(incoming, "GET", export).await
}

async fn create_by_post(Path(export): Path<String>, incoming: Incoming) -> Response<Body> {
    started(incoming, "POST", export).await
}

async fn marketing_by_get(Path(export): Path<String>, incoming: Incoming) -> Response<Body> {
    started(incoming, "GET", format!("marketing/{export}")).await
}

async fn marketing_by_post(Path(export): Path<String>, incoming: Incoming) -> Response<Body> {
    started(incoming, "POST", format!("marketing/{export}")).await
}

async fn started(incoming: Incoming, method: &'static str, path: String) -> Response<Body> {
    incoming.serve(Vendor::Khoros, CREATE, move |arrival, body| create::create(arrival, method, &path, body)).await
}

async fn status(Path((workflow, run)): Path<(String, String)>, incoming: Incoming) -> Response<Body> {
    incoming.serve(Vendor::Khoros, STATUS, move |arrival, _| job::status(arrival, &workflow, &run)).await
}

async fn download(Path((workflow, run)): Path<(String, String)>, incoming: Incoming) -> Response<Body> {
    incoming.serve(Vendor::Khoros, DOWNLOAD, move |arrival, _| job::download(arrival, &workflow, &run)).await
}

async fn timezones(incoming: Incoming) -> Response<Body> {
    incoming
        .serve(Vendor::Khoros, TIMEZONES, |arrival, _| {
            authorize(arrival)?;
            let zones = [Tz::UTC, Tz::America__Santiago, Tz::Europe__Lisbon, Tz::Asia__Kathmandu].map(zone);
            Ok(list(arrival, "timezones", &zones))
        })
        .await
}

/// The rows of the first day are the list.
async fn teams(incoming: Incoming) -> Response<Body> {
    incoming
        .serve(Vendor::Khoros, TEAMS, |arrival, _| {
            authorize(arrival)?;
            let mut teams = Vec::new();
            let all = Span { from: 0, until: file::DAY };
            let read = arrival.world.khoros.data.walk("teams", all, &mut |team| {
                teams.extend(serde_json::from_str::<Value>(team).ok());
            });
            read.map_err(|_| PlannedResponse::empty(StatusCode::NOT_FOUND))?;
            Ok(list(arrival, "teams", &teams))
        })
        .await
}

/// A list's response, logged as a report.
fn list(arrival: &Arrival, report: &str, elements: &[Value]) -> Reply {
    let response = pass(&json!(elements));
    let rows = elements.len() as u64;
    Reply::new(response, arrival.meet(&[report], None)).reported(ReportCall {
        report: report.to_owned(),
        rows,
        ..ReportCall::default()
    })
}

/// The envelope of every successful response.
fn pass(result: &Value) -> PlannedResponse {
    let body = json!({ "status": "PASS", "request": null, "message": null, "result": result });
    PlannedResponse::new(StatusCode::OK, CONTENT_TYPE, body.to_string())
}

/// A refusal: `result` is a text. `status` and the HTTP status are not documented (`§9`).
fn failed(what: &str) -> PlannedResponse {
    let body = json!({ "status": "FAIL", "request": null, "message": null, "result": what });
    PlannedResponse::new(StatusCode::OK, CONTENT_TYPE, body.to_string())
}

/// HTTP Basic (`facts/khoros_care.md §2`); the refusal is not documented.
fn authenticate(arrival: &Arrival) -> Result<(), PlannedResponse> {
    arrival.unexpected_headers(&[COOKIE]);
    let account = &arrival.world.khoros.account;
    let wanted = format!("{}:{}", account.username, account.password);
    let sent = arrival.header(&AUTHORIZATION).and_then(|value| value.strip_prefix("Basic "));
    if sent.and_then(|sent| STANDARD.decode(sent).ok()).as_deref() != Some(wanted.as_bytes()) {
        return Err(arrival.unauthorized(PlannedResponse::empty(StatusCode::UNAUTHORIZED)));
    }
    Ok(())
}

/// Also checks the company's key.
fn authorize(arrival: &Arrival) -> Result<(), PlannedResponse> {
    authenticate(arrival)?;
    if arrival.query("companyKey").as_ref() != Some(&arrival.world.khoros.account.company_key) {
        return Err(arrival.unauthorized(PlannedResponse::empty(StatusCode::FORBIDDEN)));
    }
    Ok(())
}

/// The offset that is current at that time (`facts/khoros_care.md §6`).
fn zone(zone: Tz) -> Value {
    let offset = zone.offset_from_utc_datetime(&Utc::now().naive_utc());
    let seconds = offset.fix().local_minus_utc();
    let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
    json!({
        "id": zone.name(),
        "name": zone.name().replace(['/', '_'], " "),
        "shortName": offset.to_string(),
        "offsetString": format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60),
        "offsetMillis": seconds * 1000,
    })
}

#[cfg(test)]
mod tests;
