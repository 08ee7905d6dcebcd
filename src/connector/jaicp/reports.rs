//! Reports as CSV (`facts/jaicp.md §10`): a task (legacy) or a request (v1) is created, polled, and its file
//! downloaded.
//!
//! A creation is not idempotent. If its outcome is unknown, the account's tasks are searched for a new one with our
//! settings before another is created; the report of another window must never be taken for it. In v1 the response
//! names a request and not its task, so the tasks are listed before each creation. A file is fetched without
//! credentials, except from the connection's own host in v1.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::body;
use super::super::export::{ExportApi, JobState, Polling};
use super::super::{Records, StepError, StepRequest, request};
use super::config::Api;
use super::endpoint::{self, Endpoint, FILE_BYTES_MAX, Request};
use super::record::{OTHER, RecordWriter};
use super::{Jaicp, lists, times};
use crate::clock;
use crate::decode::object::Members;
use crate::decode::{DecodeError, list};
use crate::http::{Body, HttpError, Reply, Session};
use crate::quota::CallKind;

const REDIRECTS_MAX: usize = 3;
/// Maximum length of an id.
const ID_BYTES_MAX: usize = 300;
/// Maximum size of a response about one report, which is held in memory.
const RESPONSE_BYTES_MAX: u64 = 1 << 20;
const DELIMITER: &str = ",";
/// Differs from the default, so that Tidegate's tasks can be distinguished from those of users.
const DATE_TIME_FORMAT: &str = "yyyy-MM-dd'T'HH:mm:ss.SSS";
/// Maximum difference between the time of a task and the time when its creation was sent.
const CLOCKS_APART_MAX: TimeDelta = TimeDelta::minutes(5);
const FAILURES: [&str; 3] = ["STOPPED", "FAILED", "DELETED"];

/// The reports of an account.
pub(super) struct Reports<'a>(pub(super) &'a Jaicp);

/// What identifies a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Handle {
    Task(String),
    /// `time` is the vendor's text.
    Request {
        id: String,
        time: Option<String>,
    },
}

/// URL of a finished file: untrusted, and possibly sufficient to get the file.
pub(super) struct File(String);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Task {
    #[serde(rename = "taskId")]
    id: Text,
    status: Option<String>,
    report_type: Option<String>,
    project_short_name: Option<String>,
    creation_time: Option<String>,
    settings: Option<Box<RawValue>>,
    file_url: Option<String>,
}

/// An id: a string, or the digits of a number.
#[derive(Debug)]
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        Ok(Self(serde_json::from_str(raw).unwrap_or_else(|_| raw.to_owned())))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    is_ok: bool,
    request_id: Option<Text>,
    payload: Option<Value>,
    error: Option<Value>,
}

impl Reports<'_> {
    fn api(&self) -> Api {
        self.0.settings.api
    }

    /// The request that creates the report of a window. Each row belongs to one window, so ranges do not overlap.
    fn creation(&self, request: &StepRequest<'_>) -> Result<Request, StepError> {
        let (from, to) = (request.window.start, times::last(request.window));
        let (endpoint, key) = match &*request.stream.vendor_id {
            "sessions" => (Endpoint::SessionsReport, "SESSION_START_TIME"),
            "messages" => (Endpoint::MessagesReport, "MESSAGE_TIME"),
            "clients" => (Endpoint::ClientsReport, "CLIENT_LAST_ACTIVITY_TIME"),
            "telephony" => {
                let ask = Request::new(Endpoint::TelephonyReport);
                return Ok(ask.query("startTime", times::text(from)).query("endTime", times::text(to)));
            }
            _ => return Err(StepError::NotServed(501)),
        };
        let filters = self.0.settings.filters(&request.stream.name, times::filter(key, from, to));
        let body = json!({ "filters": filters, "settings": settings() });
        Ok(Request::new(endpoint).body(serde_json::to_vec(&body).map_err(|_| StepError::CursorUnknown)?))
    }

    /// Lists the existing tasks before one is created: once if responses name their task, else each time.
    async fn learn(&self, session: &Session<'_>) -> Result<(), StepError> {
        if self.api() == Api::Legacy && self.0.known_tasks.are_listed() {
            return Ok(());
        }
        match self.0.small_unclassified(session, &Request::new(Endpoint::Tasks), tasks, None).await {
            Ok((tasks, _)) => self.0.known_tasks.learn(tasks.iter().map(|task| &*task.id.0)),
            Err(StepError::Http(error)) if !matches!(error, HttpError::Status { .. }) => return Err(error.into()),
            // Then no task can be recognised as new.
            Err(error) => {
                self.0.known_tasks.forget();
                tracing::debug!(%error, "the list of reports cannot be read");
            }
        }
        Ok(())
    }

    /// Finds the task whose creation had no response: the only new one with that kind, project and time and our
    /// settings.
    async fn find(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        sent_at: DateTime<Utc>,
    ) -> Result<Option<Handle>, StepError> {
        let (kind, project) = (&*request.stream.vendor_id, self.0.settings.project.as_deref());
        let known = &self.0.known_tasks;
        if !known.are_listed() || known.may_be_others(&request.stream.name, request.window) {
            return Ok(None);
        }
        let (tasks, _) = self.0.small(session, &Request::new(Endpoint::Tasks), tasks).await?;
        let is_ours = |task: &&Task| {
            let of_kind = task.report_type.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(kind));
            let failed = task.status.as_deref().is_some_and(|status| FAILURES.contains(&status));
            let with_ours = kind == "telephony" || task.settings.as_deref().is_some_and(like_ours);
            let elsewhere = project.zip(task.project_short_name.as_deref()).is_some_and(|(ours, its)| ours != its);
            let made_at = task.creation_time.as_deref().and_then(times::parse);
            let then = made_at.is_none_or(|at| (at - sent_at).abs() <= CLOCKS_APART_MAX);
            known.is_new(&task.id.0) && of_kind && with_ours && then && !failed && !elsewhere
        };
        let mut found = tasks.iter().filter(is_ours);
        match (found.next(), found.next()) {
            (Some(task), None) => {
                tracing::info!("found the report whose creation had no response");
                Ok(Some(Handle::Task(id(&task.id.0)?)))
            }
            _ => Ok(None),
        }
    }

    fn handle(&self, body: &[u8]) -> Result<Handle, StepError> {
        let members = Members::parse(body).ok_or_else(|| unlike(body, "a report"))?;
        match self.api() {
            Api::Legacy => {
                let task = members.text("taskId").ok_or(StepError::Missing("taskId"))?;
                Ok(Handle::Task(id(&task)?))
            }
            Api::V1 => {
                let request = members.text("requestId").ok_or(StepError::Missing("requestId"))?;
                let time = members.text("requestTime").map(|time| id(&time)).transpose()?;
                Ok(Handle::Request { id: id(&request)?, time })
            }
        }
    }

    fn task_state(&self, task: Task) -> JobState<File> {
        let status = task.status.unwrap_or_default();
        match (status.as_str(), task.file_url.filter(|url| !url.trim().is_empty())) {
            ("COMPLETED", Some(url)) => JobState::Ready(File(url)),
            ("COMPLETED", None) => JobState::Failed("COMPLETED without a file".to_owned()),
            (failed, _) if FAILURES.contains(&failed) => JobState::Failed(status),
            // Any other state is not final.
            _ => JobState::Running(self.0.redactor.quote(&status)),
        }
    }

    fn event_state(&self, event: Option<Event>) -> Result<JobState<File>, StepError> {
        let Some(event) = event else { return Ok(JobState::Running("no event".to_owned())) };
        if !event.is_ok {
            let said = event.error.as_ref();
            let said = said.and_then(|error| self.0.redactor.quote_members(error, &["error", "message"]));
            return Ok(JobState::Failed(said.unwrap_or_else(|| "no reason given".to_owned())));
        }
        // The payload is not documented: it is the link, or contains it.
        let payload = event.payload.as_ref();
        let url = payload.and_then(|payload| match payload {
            Value::String(text) => Some(text.clone()),
            other => ["fileUrl", "url"].iter().find_map(|name| other.get(*name)?.as_str().map(ToOwned::to_owned)),
        });
        match url.filter(|url| !url.trim().is_empty()) {
            Some(url) => Ok(JobState::Ready(File(url))),
            None => Err(StepError::Shape("a finished report without the link to its file".to_owned())),
        }
    }

    /// Opens the file: with the bearer token at the connection's own host in v1, else without credentials. Each
    /// redirect is checked.
    async fn open<'s>(&self, session: &'s Session<'_>, url: &str) -> Result<Body<'s>, StepError> {
        let mut url = url.to_owned();
        for _ in 0..=REDIRECTS_MAX {
            let own = session.hosts().own(&url).ok().filter(|_| self.api() == Api::V1);
            let reply = match own {
                Some(own) => session.send_or_redirect(endpoint::file(own, &self.0.settings)).await?,
                None => session.fetch(&session.hosts().foreign(&url)?, FILE_BYTES_MAX).await?,
            };
            match reply {
                Reply::Body(body) => return Ok(body),
                Reply::Redirect(next) => url = next,
            }
        }
        Err(StepError::Shape(format!("more than {REDIRECTS_MAX} redirects to the report's file")))
    }
}

impl ExportApi for Reports<'_> {
    type Handle = Handle;
    type File = File;

    fn polling(&self) -> Polling {
        self.0.settings.polling
    }

    async fn parts(&self, _: &Session<'_>, _: &StepRequest<'_>) -> Result<Vec<String>, StepError> {
        Ok(vec!["file".to_owned()])
    }

    async fn submit(&self, session: &Session<'_>, request: &StepRequest<'_>, _: &str) -> Result<Handle, StepError> {
        let (stream, window) = (&*request.stream.name, request.window);
        let known = &self.0.known_tasks;
        if let Some(sent_at) = known.uncertain_since(stream, window)
            && let Some(handle) = self.find(session, request, sent_at).await?
        {
            known.settle(stream, window, &handle);
            return Ok(handle);
        }
        self.learn(session).await?;
        let sent_at = clock::now();
        let outcome = request::whole(session, self.0.call(&self.creation(request)?)?).await;
        let handle = match outcome {
            Ok(body) => self.handle(&body),
            Err(error) if error.is_transient() => Err(error.into()),
            Err(error) => return Err(self.0.explained(error.into())),
        };
        let handle = match handle {
            Ok(handle) => handle,
            // The task may exist nevertheless: the response was lost, or cannot be read.
            Err(error) => {
                known.note_uncertain(stream, window, sent_at);
                self.find(session, request, sent_at).await?.ok_or_else(|| self.0.explained(error))?
            }
        };
        known.settle(stream, window, &handle);
        Ok(handle)
    }

    async fn poll(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        handle: &Handle,
    ) -> Result<JobState<File>, StepError> {
        match handle {
            Handle::Task(id) => {
                let ask =
                    Request { id: Some(id.clone()), bytes_max: RESPONSE_BYTES_MAX, ..Request::new(Endpoint::Task) };
                match self.0.small_unclassified(session, &ask, task, None).await {
                    Ok((task, _)) => Ok(self.task_state(task)),
                    Err(StepError::Http(HttpError::Status { status: 404, .. })) => {
                        Ok(JobState::Failed("the vendor does not know it any more".to_owned()))
                    }
                    Err(error) => Err(self.0.explained(error)),
                }
            }
            Handle::Request { id, time } => {
                let mut ask = Request::new(Endpoint::Events).query("requestId", id.as_str()).query("timeout", "1");
                if let Some(at) = time.as_deref().and_then(millis) {
                    ask = ask.query("startTime", at.to_string());
                }
                ask.bytes_max = RESPONSE_BYTES_MAX;
                let (event, _) = self.0.small(session, &ask, |body| event(body, id)).await?;
                self.0.known_tasks.note_running(&request.stream.name, id, event.is_none());
                self.event_state(event)
            }
        }
    }

    async fn download(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        _: &str,
        File(url): File,
        records: &mut dyn Records,
    ) -> Result<u64, StepError> {
        let mut retry = session.retry(CallKind::Data);
        loop {
            records.begin(request.window);
            match self.attempt(session, request, &url, records).await {
                Err(StepError::Http(error)) if retry.again(&error).await => {}
                outcome => return outcome,
            }
        }
    }
}

impl Reports<'_> {
    async fn attempt(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        url: &str,
        records: &mut dyn Records,
    ) -> Result<u64, StepError> {
        let body = self.open(session, url).await?;
        // The delimiter of the telephony report is not documented.
        let delimiter = (&*request.stream.vendor_id != "telephony").then_some(DELIMITER.as_bytes()[0]);
        let form = &self.0.settings.csv;
        let mut splitter = form.splitter(delimiter);
        let mut writer = RecordWriter::new(records, OTHER, &self.0.token, &self.0.warned);
        let arrived =
            body::read_file(body, form, &self.0.redactor, &mut writer, |text, writer: &mut RecordWriter<'_, _>| {
                writer.ids.clear();
                splitter.feed(text, writer)
            })
            .await?;
        let (_, bytes) = arrived.end(splitter.finish(&mut writer)).await?;
        Ok(bytes)
    }
}

fn settings() -> Value {
    json!({ "fileType": "CSV", "withHeader": true, "delimiter": DELIMITER, "dateTimeFormat": DATE_TIME_FORMAT })
}

fn like_ours(settings: &RawValue) -> bool {
    let Ok(settings) = serde_json::from_str::<Value>(settings.get()) else { return false };
    let ours = super::reports::settings();
    ["fileType", "delimiter", "dateTimeFormat"].iter().all(|name| settings.get(*name) == ours.get(*name))
}

fn id(text: &str) -> Result<String, StepError> {
    // `.` and `..` cannot be segments of a path.
    if matches!(text, "" | "." | "..") || text.len() > ID_BYTES_MAX || text.contains(char::is_control) {
        return Err(StepError::Shape("a report's id is not valid".to_owned()));
    }
    Ok(text.to_owned())
}

fn unlike(body: &[u8], what: &str) -> StepError {
    if body.trim_ascii().is_empty() {
        return DecodeError::Empty.into();
    }
    StepError::Shape(format!("a response that is not {what}"))
}

fn task(body: &[u8]) -> Result<Task, StepError> {
    serde_json::from_slice(body).map_err(|_| unlike(body, "a report's task"))
}

fn tasks(body: &[u8]) -> Result<Vec<Task>, StepError> {
    Ok(lists::rows(body)?.iter().filter_map(|task| serde_json::from_str(task).ok()).collect())
}

/// The time of a request in milliseconds since 1970: events are requested with an integer, although the response that
/// names the request has a text. Returns `None` if it is not a time; then all events are requested.
fn millis(time: &str) -> Option<i64> {
    let at = if times::is_naive(time) { times::parse(&format!("{time}Z")) } else { times::parse(time) };
    at.or_else(|| times::epoch(time)).map(|at| at.timestamp_millis())
}

/// The first event of the request.
fn event(body: &[u8], request: &str) -> Result<Option<Event>, StepError> {
    let unlike = || unlike(body, "events");
    let members = Members::parse(body).ok_or_else(unlike)?;
    let response = members.get("response").ok_or(StepError::Missing("response"))?;
    let events = list::elements(response).map_err(|_| unlike())?;
    for event in events {
        let event: Event = serde_json::from_str(event.get()).map_err(|_| unlike())?;
        if event.request_id.as_ref().is_none_or(|id| id.0 == request) {
            return Ok(Some(event));
        }
    }
    Ok(None)
}

#[cfg(test)]
#[path = "reports_fuzz.rs"]
mod fuzz;
