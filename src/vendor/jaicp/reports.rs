//! Reports as CSV (`vendors/jaicp.md §10`): a task (legacy) or a request (v1) that is made, asked after, and fetched.
//!
//! Making one is not idempotent. When nobody knows whether it succeeded, a fresh task of ours is looked for before another
//! is made. A file is fetched without credential, but from the connection's own host in v1.

use std::sync::Mutex;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::export::{ExportApi, JobState, Polling};
use super::super::{Records, StepError, StepRequest, Window};
use super::endpoint::{self, Ask, Endpoint, FILE_BYTES_MAX};
use super::record::{OTHER, Shaper};
use super::settings::Api;
use super::{Jaicp, lists, times};
use crate::decode::csv::CsvSplitter;
use crate::decode::object::Members;
use crate::http::{Answered, Body, CallOutcome, HttpError, Session};
use crate::quota::CallKind;

const REDIRECTS_MAX: usize = 3;
/// The vendor's clock may differ from ours by so much.
const SKEW: TimeDelta = TimeDelta::minutes(2);
/// Ids are short; what is longer is none.
const ID_BYTES_MAX: usize = 300;
const DELIMITER: &str = ",";
/// Unlike the default that people get, so that our own tasks can be told from theirs.
const DATE_TIME_FORMAT: &str = "yyyy-MM-dd'T'HH:mm:ss.SSS";
const FAILURES: [&str; 3] = ["STOPPED", "FAILED", "DELETED"];

/// The reports of an account.
pub(super) struct Reports<'a>(pub(super) &'a Jaicp);

/// What a job is known by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Handle {
    Task(String),
    Request { id: String, time: Option<String> },
}

/// Where a finished file is: untrusted, and perhaps all that is needed to get it.
pub(super) struct File(String);

/// Windows for which a task may have been made though no answer came: the next try looks for it first.
#[derive(Debug, Default)]
pub(super) struct Uncertain(Mutex<Vec<(String, Window, DateTime<Utc>)>>);

impl Uncertain {
    const ENTRIES_MAX: usize = 100;

    fn note(&self, stream: &str, window: Window, since: DateTime<Utc>) {
        if let Ok(mut entries) = self.0.lock()
            && !entries.iter().any(|(name, at, _)| name == stream && *at == window)
            && entries.len() < Self::ENTRIES_MAX
        {
            entries.push((stream.to_owned(), window, since));
        }
    }

    fn since(&self, stream: &str, window: Window) -> Option<DateTime<Utc>> {
        let entries = self.0.lock().ok()?;
        entries.iter().find(|(name, at, _)| name == stream && *at == window).map(|(_, _, since)| *since)
    }

    fn forget(&self, stream: &str, window: Window) {
        if let Ok(mut entries) = self.0.lock() {
            entries.retain(|(name, at, _)| name != stream || *at != window);
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Task {
    #[serde(rename = "taskId")]
    id: Text,
    status: Option<String>,
    report_type: Option<String>,
    creation_time: Option<String>,
    settings: Option<Value>,
    file_url: Option<String>,
}

/// An id: a string, or a number by its digits.
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
    payload: Option<Value>,
    error: Option<Value>,
}

impl Reports<'_> {
    fn api(&self) -> Api {
        self.0.settings.api
    }

    /// What makes the report of a window. Its rows belong to one window only, so ranges do not overlap.
    fn creation(request: &StepRequest<'_>) -> Result<Ask, StepError> {
        let (from, to) = (request.window.start, times::last(request.window));
        let (endpoint, key) = match &*request.stream.vendor_id {
            "sessions" => (Endpoint::SessionsReport, "SESSION_START_TIME"),
            "messages" => (Endpoint::MessagesReport, "MESSAGE_TIME"),
            "clients" => (Endpoint::ClientsReport, "CLIENT_LAST_ACTIVITY_TIME"),
            "telephony" => {
                let ask = Ask::new(Endpoint::TelephonyReport);
                return Ok(ask.query("startTime", times::text(from)).query("endTime", times::text(to)));
            }
            _ => return Err(StepError::NotServed(501)),
        };
        let body = json!({ "filters": times::filter(key, from, to), "settings": settings() });
        Ok(Ask::new(endpoint).body(serde_json::to_vec(&body).map_err(|_| StepError::CursorUnknown)?))
    }

    /// A fresh task that must be the one whose creation brought no answer: the only one of its kind and of our settings.
    async fn find(&self, session: &Session<'_>, kind: &str, since: DateTime<Utc>) -> Result<Option<Handle>, StepError> {
        if self.api() == Api::V1 {
            return Ok(None);
        }
        let (tasks, _) = self.0.small(session, &Ask::new(Endpoint::Tasks), tasks).await?;
        let is_ours = |task: &&Task| {
            let created = task.creation_time.as_deref().and_then(times::parse);
            let is_fresh = created.is_some_and(|at| at >= since - SKEW);
            let of_kind = task.report_type.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(kind));
            let failed = task.status.as_deref().is_some_and(|status| FAILURES.contains(&status));
            let with_ours = kind == "telephony" || task.settings.as_ref().is_some_and(like_ours);
            is_fresh && of_kind && with_ours && !failed
        };
        let mut found = tasks.iter().filter(is_ours);
        match (found.next(), found.next()) {
            (Some(task), None) => {
                tracing::info!("the report whose creation brought no answer is there");
                Ok(Some(Handle::Task(id(&task.id.0)?)))
            }
            _ => Ok(None),
        }
    }

    fn handle(&self, body: &[u8]) -> Result<Handle, StepError> {
        let members = Members::parse(body).ok_or_else(|| unlike("a report"))?;
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
            // Whatever it may be, it is not the end yet.
            _ => JobState::Running(self.0.redactor.clean(&status)),
        }
    }

    fn event_state(&self, events: &[Event]) -> Result<JobState<File>, StepError> {
        let Some(event) = events.first() else { return Ok(JobState::Running("no event".to_owned())) };
        if !event.is_ok {
            let said = event.error.as_ref().map(|error| {
                ["error", "message"].iter().filter_map(|name| error.get(*name)?.as_str()).collect::<Vec<_>>().join(": ")
            });
            return Ok(JobState::Failed(self.0.redactor.clean(&said.unwrap_or_default())));
        }
        // The payload is not documented: the link itself, or something around it.
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

    /// Opens the file: with the bearer token at the connection's own host in v1, else with nothing. Each redirect is judged anew.
    async fn open<'s>(&self, session: &'s Session<'_>, url: &str) -> Result<Body<'s>, StepError> {
        let mut url = url.to_owned();
        for _ in 0..=REDIRECTS_MAX {
            let own = session.hosts().own(&url).ok().filter(|_| self.api() == Api::V1);
            let answered = match own {
                Some(own) => session.send_or_redirect(endpoint::file(own, &self.0.settings)).await?,
                None => session.fetch(&session.hosts().foreign(&url)?, FILE_BYTES_MAX).await?,
            };
            match answered {
                Answered::Body(body) => return Ok(body),
                Answered::Redirect(next) => url = next,
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
        let (stream, kind) = (&*request.stream.name, &*request.stream.vendor_id);
        let uncertain = &self.0.uncertain;
        if let Some(since) = uncertain.since(stream, request.window)
            && let Some(handle) = self.find(session, kind, since).await?
        {
            uncertain.forget(stream, request.window);
            return Ok(handle);
        }
        let (ask, sent) = (Self::creation(request)?, Utc::now());
        let outcome = match session.send(self.0.call(&ask)?).await {
            Ok(body) => body.small().await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(body) => {
                uncertain.forget(stream, request.window);
                self.handle(&body)
            }
            // It may have been made all the same.
            Err(error) if error.is_transient() => {
                uncertain.note(stream, request.window, sent);
                match self.find(session, kind, sent).await? {
                    Some(handle) => {
                        uncertain.forget(stream, request.window);
                        Ok(handle)
                    }
                    None => Err(error.into()),
                }
            }
            Err(error) => Err(self.0.told(error.into())),
        }
    }

    async fn poll(
        &self,
        session: &Session<'_>,
        _: &StepRequest<'_>,
        handle: &Handle,
    ) -> Result<JobState<File>, StepError> {
        match handle {
            Handle::Task(id) => {
                let ask = Ask { id: Some(id.clone()), ..Ask::new(Endpoint::Task) };
                match self.0.small_as_it_came(session, &ask, task).await {
                    Ok((task, _)) => Ok(self.task_state(task)),
                    Err(StepError::Http(HttpError::Status { status: 404, .. })) => {
                        Ok(JobState::Failed("it is known no more".to_owned()))
                    }
                    Err(error) => Err(self.0.told(error)),
                }
            }
            Handle::Request { id, time } => {
                let mut ask = Ask::new(Endpoint::Events).query("requestId", id.as_str()).query("timeout", "1");
                if let Some(time) = time {
                    ask = ask.query("startTime", time.as_str());
                }
                let (events, _) = self.0.small(session, &ask, events).await?;
                self.event_state(&events)
            }
        }
    }

    async fn download(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        _: &str,
        File(url): File,
        records: &mut impl Records,
    ) -> Result<u64, StepError> {
        let mut retry = session.retry(CallKind::Data);
        loop {
            records.begin(request.window);
            match self.attempt(session, request, &url, records).await {
                Err(StepError::Http(error)) => {
                    if !retry.again(&error).await {
                        return Err(error.into());
                    }
                }
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
        records: &mut impl Records,
    ) -> Result<u64, StepError> {
        let mut body = self.open(session, url).await?;
        // Of the telephony report nobody can say what separates its fields.
        let delimiter = (&*request.stream.vendor_id != "telephony").then_some(DELIMITER.as_bytes()[0]);
        let mut splitter = CsvSplitter::new(delimiter);
        let mut shaper = Shaper::new(records, OTHER, &self.0.token, &self.0.warned);
        loop {
            let chunk = match body.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => {
                    body.abandon(CallOutcome::of(&error)).await?;
                    return Err(error.into());
                }
            };
            if let Err(error) = splitter.feed(&chunk, &mut shaper) {
                body.abandon(CallOutcome::Unreadable).await?;
                return Err(error.into());
            }
            shaper.ids.clear();
            shaper.flush().await?;
        }
        let bytes = body.finish().await?;
        splitter.finish(&mut shaper)?;
        Ok(bytes)
    }
}

fn settings() -> Value {
    json!({ "fileType": "CSV", "withHeader": true, "delimiter": DELIMITER, "dateTimeFormat": DATE_TIME_FORMAT })
}

fn like_ours(settings: &Value) -> bool {
    let ours = super::reports::settings();
    ["fileType", "delimiter", "dateTimeFormat"].iter().all(|name| settings.get(*name) == ours.get(*name))
}

fn id(text: &str) -> Result<String, StepError> {
    if text.is_empty() || text.len() > ID_BYTES_MAX || text.contains(char::is_control) {
        return Err(StepError::Shape("the id of a report is none".to_owned()));
    }
    Ok(text.to_owned())
}

fn unlike(what: &str) -> StepError {
    StepError::Shape(format!("something else than {what}"))
}

fn task(body: &[u8]) -> Result<Task, StepError> {
    serde_json::from_slice(body).map_err(|_| unlike("a report's task"))
}

fn tasks(body: &[u8]) -> Result<Vec<Task>, StepError> {
    Ok(lists::rows(body)?.iter().filter_map(|task| serde_json::from_str(task.get()).ok()).collect())
}

fn events(body: &[u8]) -> Result<Vec<Event>, StepError> {
    let members = Members::parse(body).ok_or_else(|| unlike("events"))?;
    let response = members.get("response").ok_or(StepError::Missing("response"))?;
    serde_json::from_str(response.get()).map_err(|_| unlike("events"))
}
