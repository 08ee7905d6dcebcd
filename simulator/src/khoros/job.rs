//! Jobs: how they fare, what their status says, and where their files are (`facts/khoros_care.md §3.2, §3.3`).

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::LOCATION;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::answer::Answer;
use super::super::call::{Arrival, Reply};
use super::super::files::FileBody;
use super::super::locked;
use super::super::truth::{Dice, Span};
use super::rows::EXPORTS;
use super::{authenticate, file, pass};

/// A job and its file are gone after that (`§8`).
const LIFE: Duration = Duration::from_hours(24);

/// What becomes of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is done after its time.
    #[default]
    Done,
    Failed,
    /// It runs for ever.
    Endless,
    /// It closes with this detail, or none.
    Closed(Option<String>),
    /// It is done and says where its file is, but closes without a detail.
    NoDetail,
    /// It is in this state for ever, or in none.
    State(Option<String>),
    /// It is done, but for so many questions says nothing of a URL.
    NoUrl(u32),
    /// Nobody knows of it.
    Gone,
    /// Once its time is over, each question after it meets the next of these, and a download that of the question to
    /// come; behind the last it is done. One of these that flaps itself is done, too.
    Flapping(Vec<Fate>),
}

/// How a tenant lets jobs be started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Methods {
    /// As the reference has it: every export by POST, some by GET too.
    #[default]
    Documented,
    PostOnly,
    GetOnly,
    /// By neither: the tenant serves no export.
    Neither,
}

/// How answers look, where the vendor's documents leave it open or warn.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shape {
    /// What the URLs that are handed out begin with, instead of the base (`§11.12`).
    pub url_base: Option<String>,
    /// A status that is an array holds other jobs too.
    pub with_others: bool,
    /// `details` instead of `detail` (`§3.4`).
    pub details: bool,
    /// So many links of the next downloads have expired when they are given.
    pub links_expired: u32,
    /// Titles of CSV files are metric ids.
    pub plain_titles: bool,
    /// Fields of JSON files are called by their titles.
    pub titled_json: bool,
    /// How jobs can be started (`§11.3`).
    pub methods: Methods,
}

/// What a job is to bring.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    pub span: Span,
    pub csv: bool,
    /// All of them, if there is none.
    pub metrics: Vec<String>,
    /// Of conversations.
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
    /// How often its status was asked for.
    asked: usize,
    /// How often a status said that it is done.
    done_said: u32,
    pub forgotten: bool,
}

impl Job {
    pub fn new(arrival: &Arrival, export: usize, selection: Selection, fate: Fate) -> Self {
        let mut dice = locked(&arrival.world.khoros.dice);
        let part = |dice: &mut Dice| dice.guid().replace('-', "")[..8].to_owned();
        // Everything that base64 has and a path has not.
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

    /// A URL of the job as the vendor hands it out.
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

    /// What opens the job's URLs.
    pub fn secret(&self) -> String {
        self.token.clone()
    }

    fn is_known(&self, arrival: &Arrival) -> bool {
        let gone = arrival.at.saturating_sub(self.created) > arrival.world.options.scaled(LIFE);
        !gone && !self.forgotten && *self.fate() != Fate::Gone
    }

    /// As a request sees it now.
    fn fate(&self) -> &Fate {
        match &self.fate {
            Fate::Flapping(fates) => fates.get(self.asked).unwrap_or(&Fate::Done),
            steady => steady,
        }
    }

    /// It fares well from now on.
    pub fn mend(&mut self) {
        self.fate = Fate::Done;
    }

    fn is_over(&self, arrival: &Arrival) -> bool {
        let takes = arrival.world.options.scaled(arrival.world.khoros.account.job_time);
        arrival.at.saturating_sub(self.created) >= takes
    }

    /// State and detail, and whether a URL is told.
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

/// As a segment of a path.
fn encoded(id: &str) -> String {
    id.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

/// The query of a URL that is good for a company.
pub(super) fn key(arrival: &Arrival) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .append_pair("companyKey", &arrival.world.khoros.account.company_key)
        .finish()
}

/// The job of a path, if the client may see it: with the company's key or the token that an answer brought (`§2`).
fn find(arrival: &Arrival, workflow: &str, run: &str) -> Result<Job, Answer> {
    authenticate(arrival)?;
    let job = locked(&arrival.world.khoros.jobs).iter().find(|job| job.run == run).cloned();
    let job = job.filter(|job| job.workflow == workflow && job.is_known(arrival));
    let Some(job) = job else { return Err(Answer::empty(StatusCode::NOT_FOUND)) };
    arrival.unexpected_if(!arrival.path().contains(&encoded(run)), "an id that is encoded otherwise");
    let query = arrival.raw_query();
    if query != key(arrival) && query != job.token() {
        arrival.unexpected_if(true, "a query that was not handed out");
        return Err(arrival.unauthorized(Answer::empty(StatusCode::FORBIDDEN)));
    }
    Ok(job)
}

pub(super) fn status(arrival: &Arrival, workflow: &str, run: &str) -> Result<Reply, Answer> {
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
    // An object when it is done, an array before and when it failed (`§3.2`).
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

/// Leads to the storage, by another link each time (`§3.3`).
pub(super) fn download(arrival: &Arrival, workflow: &str, run: &str) -> Result<Reply, Answer> {
    let job = find(arrival, workflow, run)?;
    if !job.is_done(arrival) {
        return Err(Answer::empty(StatusCode::NOT_FOUND));
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
    let answer = Answer::empty(StatusCode::TEMPORARY_REDIRECT).header(LOCATION, &location);
    Ok(Reply::new(answer, arrival.meet(&[job.name()], None)))
}
