//! Jobs: their progress, their status, and where their files are (`facts/khoros_care.md §3.2, §3.3`).

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::LOCATION;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::call::{Arrival, Reply};
use super::super::files::FileBody;
use super::super::locked;
use super::super::response::PlannedResponse;
use super::super::truth::{Dice, Span};
use super::rows::EXPORTS;
use super::{authenticate, file, pass};

/// How long a job and its file exist (`§8`).
const LIFE: Duration = Duration::from_hours(24);

/// How a job ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is done after its time.
    #[default]
    Done,
    Failed,
    /// It never ends.
    Endless,
    /// It closes with this detail, or without one.
    Closed(Option<String>),
    /// It is done and returns its file's URL, but closes without a detail.
    NoDetail,
    /// It stays in this state, or has none.
    State(Option<String>),
    /// It is done, but this many polls return no URL.
    NoUrl(u32),
    /// It is unknown.
    Gone,
    /// Once its time is over, each poll meets the next of these, and a download meets that of the next poll; after the
    /// last it is done. A nested `Flapping` counts as done.
    Flapping(Vec<Fate>),
}

/// How a tenant allows jobs to be started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Methods {
    /// As in the reference: every export by POST, some by GET too.
    #[default]
    Documented,
    PostOnly,
    GetOnly,
    /// By neither: the tenant offers no export.
    Neither,
}

/// The shape of responses where the vendor's documents leave it open or warn.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shape {
    /// The prefix of returned URLs, instead of the base URL (`§11.12`).
    pub url_base: Option<String>,
    /// A status that is an array contains other jobs too.
    pub with_others: bool,
    /// `details` instead of `detail` (`§3.4`).
    pub details: bool,
    /// This many links of the next downloads are already expired.
    pub links_expired: u32,
    /// Titles of CSV files are metric ids.
    pub plain_titles: bool,
    /// Fields of JSON files are named by their titles.
    pub titled_json: bool,
    /// How jobs can be started (`§11.3`).
    pub methods: Methods,
}

/// What a job exports.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    pub span: Span,
    pub csv: bool,
    /// The requested metrics; all if empty.
    pub metrics: Vec<String>,
    /// The type of conversations.
    pub report_type: Option<&'static str>,
}

#[derive(Debug, Clone)]
pub(super) struct Job {
    pub workflow: String,
    pub run: String,
    pub export: usize,
    pub selection: Selection,
    token: String,
    created: Duration,
    fate: Fate,
    /// How often its status was requested.
    asked: usize,
    /// How often a status reported it as done.
    done_said: u32,
    pub forgotten: bool,
}

impl Job {
    pub fn new(arrival: &Arrival, export: usize, selection: Selection, fate: Fate) -> Self {
        let mut dice = locked(&arrival.world.khoros.dice);
        let part = |dice: &mut Dice| dice.guid().replace('-', "")[..8].to_owned();
        // Contains every character that is in base64 but not in a path.
        let run = format!("{}+{}/{}=", part(&mut dice), part(&mut dice), part(&mut dice));
        let token = format!("{}/{}==", part(&mut dice), part(&mut dice));
        let workflow = dice.guid();
        Self {
            workflow,
            run,
            export,
            selection,
            token,
            created: arrival.at,
            fate,
            asked: 0,
            done_said: 0,
            forgotten: false,
        }
    }

    /// A URL of the job as the vendor returns it.
    pub fn url(&self, arrival: &Arrival, shape: &Shape, what: &str, query: &str) -> String {
        let own = format!("{}/api/public", arrival.world.urls.main);
        let base = shape.url_base.as_ref().unwrap_or(&own);
        format!("{base}/reports/report/{}/{}/{what}?{query}", self.workflow, encoded(&self.run))
    }

    fn name(&self) -> &'static str {
        EXPORTS[self.export].id
    }

    fn token(&self) -> String {
        format!("analyticsAccessToken={}", encoded(&self.token))
    }

    /// The token that grants access to the job's URLs.
    pub fn secret(&self) -> String {
        self.token.clone()
    }

    fn is_known(&self, arrival: &Arrival) -> bool {
        let gone = arrival.at.saturating_sub(self.created) > arrival.world.options.scaled(LIFE);
        !gone && !self.forgotten && *self.fate() != Fate::Gone
    }

    /// The state that a request sees now.
    fn fate(&self) -> &Fate {
        match &self.fate {
            Fate::Flapping(fates) => fates.get(self.asked).unwrap_or(&Fate::Done),
            steady => steady,
        }
    }

    /// Lets the job succeed from now on.
    pub fn mend(&mut self) {
        self.fate = Fate::Done;
    }

    fn is_over(&self, arrival: &Arrival) -> bool {
        let takes = arrival.world.options.scaled(arrival.world.khoros.account.job_time);
        arrival.at.saturating_sub(self.created) >= takes
    }

    /// State and detail, and whether a URL is returned.
    fn status(&self, arrival: &Arrival) -> (Value, Value, bool) {
        let running = (json!("RUNNING"), json!(""), false);
        if !self.is_over(arrival) {
            return running;
        }
        match self.fate() {
            Fate::Done | Fate::Gone | Fate::Flapping(_) => (json!("CLOSED"), json!("COMPLETED"), true),
            Fate::NoUrl(times) => (json!("CLOSED"), json!("COMPLETED"), self.done_said >= *times),
            Fate::NoDetail => (json!("CLOSED"), Value::Null, true),
            Fate::Failed => (json!("CLOSED"), json!("FAILED"), false),
            Fate::Closed(detail) => (json!("CLOSED"), json!(detail), false),
            Fate::State(state) => (json!(state), json!(""), false),
            Fate::Endless => running,
        }
    }

    fn is_done(&self, arrival: &Arrival) -> bool {
        self.is_over(arrival) && matches!(self.fate(), Fate::Done | Fate::NoUrl(_) | Fate::NoDetail)
    }
}

/// Encoded as a segment of a path.
fn encoded(id: &str) -> String {
    id.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

/// The query of a URL that is valid for a company.
pub(super) fn key(arrival: &Arrival) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .append_pair("companyKey", &arrival.world.khoros.account.company_key)
        .finish()
}

/// The job of a path, if the client may see it: with the company's key or the token from a response (`§2`).
fn find(arrival: &Arrival, workflow: &str, run: &str) -> Result<Job, PlannedResponse> {
    authenticate(arrival)?;
    let job = locked(&arrival.world.khoros.jobs).iter().find(|job| job.run == run).cloned();
    let job = job.filter(|job| job.workflow == workflow && job.is_known(arrival));
    let Some(job) = job else { return Err(PlannedResponse::empty(StatusCode::NOT_FOUND)) };
    arrival.unexpected_if(!arrival.path().contains(&encoded(run)), "an id that is encoded otherwise");
    let query = arrival.raw_query();
    if query != key(arrival) && query != job.token() {
        arrival.unexpected_if(true, "a query that was not handed out");
        return Err(arrival.unauthorized(PlannedResponse::empty(StatusCode::FORBIDDEN)));
    }
    Ok(job)
}

pub(super) fn status(arrival: &Arrival, workflow: &str, run: &str) -> Result<Reply, PlannedResponse> {
    let khoros = &arrival.world.khoros;
    let found = find(arrival, workflow, run);
    if let Some(job) = locked(&khoros.jobs).iter_mut().find(|job| job.run == run) {
        job.asked += usize::from(job.is_over(arrival));
        job.done_said += u32::from(found.as_ref().is_ok_and(|job| job.is_done(arrival)));
    }
    let job = found?;
    let shape = khoros.shape();
    let (state, detail, has_url) = job.status(arrival);
    let is_done = job.is_done(arrival);
    let detail_name = if shape.details { "details" } else { "detail" };
    let download = if has_url { job.url(arrival, &shape, "download", &job.token()) } else { String::new() };
    let element = json!({
        "jobInfo": {
            "workflowId": job.workflow,
            "runId": job.run,
            "downloadUrl": download,
            "statusUrl": job.url(arrival, &shape, "status", &job.token()),
        },
        "result": {
            "runnerState": state,
            "reason": null,
            detail_name: detail,
            "currentCount": null,
            "totalCount": null,
            "lastAcknowledgeTime": null,
        },
    });
    // An object when it is done, an array before that and when it failed (`§3.2`).
    let result = if is_done && !shape.with_others {
        element
    } else if shape.with_others {
        let mut other = element.clone();
        other["jobInfo"]["workflowId"] = json!("7d0c1e52-4b1a-3f60-9a77-1c2d3e4f5a6b");
        other["jobInfo"]["runId"] = json!("another=");
        other["result"]["runnerState"] = json!("CLOSED");
        other["result"][detail_name] = json!("FAILED");
        json!([other, element])
    } else {
        json!([element])
    };
    Ok(Reply::new(pass(&result), arrival.meet(&[job.name()], None)))
}

/// Redirects to the storage, with a new link each time (`§3.3`).
pub(super) fn download(arrival: &Arrival, workflow: &str, run: &str) -> Result<Reply, PlannedResponse> {
    let job = find(arrival, workflow, run)?;
    if !job.is_done(arrival) {
        return Err(PlannedResponse::empty(StatusCode::NOT_FOUND));
    }
    let world = &arrival.world;
    let khoros = &world.khoros;
    let expired = {
        let mut shape = locked(&khoros.shape);
        let expired = shape.links_expired > 0;
        shape.links_expired = shape.links_expired.saturating_sub(1);
        expired
    };
    let life = if expired { Duration::ZERO } else { world.options.scaled(khoros.account.link_life) };
    let (extension, content_type) = if job.selection.csv { ("csv", "text/csv") } else { ("json", "application/json") };
    let name = format!("{}-{}.{extension}", job.name(), job.workflow);
    let (weak, shape) = (Arc::downgrade(world), khoros.shape());
    let (export, selection) = (job.export, job.selection.clone());
    let body = FileBody::made(move || file::parts(weak.clone(), export, &selection, &shape));
    let location = world.files.put(&name, content_type, body, life);
    let response = PlannedResponse::empty(StatusCode::TEMPORARY_REDIRECT).header(LOCATION, &location);
    Ok(Reply::new(response, arrival.meet(&[job.name()], None)))
}
