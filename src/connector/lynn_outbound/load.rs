//! The only call that writes: it sends records for a campaign, and a task of the vendor loads them
//! (`facts/lynn.md §6.1`).
//!
//! The call may cause messages to customers, so it is sent once. The caller gets a [`Ready`] load that has token and
//! quota, stores what is about to be sent, and sends. An error tells whether the records may have arrived.

use serde::{Serialize, Serializer};

use super::super::StepError;
use super::super::lynn_account;
use super::super::request::{self, Attempts};
use super::{LynnOutbound, wire};
use crate::decode::object::Members;
use crate::decode::raw;
use crate::http::{Call, HttpError, Payload, Redactor, ReservedCall, SendFailure, Session};
use crate::secret::Secret;

/// Responses here are a few hundred bytes.
const RESPONSE_BYTES_MAX: u64 = 1 << 20;
const RESPONSE_BYTES_GUESS: u64 = 2_000;
/// Members that may name a load task, by column name. The response is not documented.
const TASK_IDS: &[&str] = &["task_id", "id_task", "task", "id", "result"];
/// Members that may hold the state of a task.
const TASK_STATES: &[&str] =
    &["status", "state", "task_status", "task_state", "status_name", "status_code", "estado", "result"];
/// Flags that may tell that a task has ended.
const TASK_ENDS: &[&str] = &["is_completed", "completed", "is_finished", "finished", "is_done", "done"];

/// The body of a call. The keys are the vendor's, including the misspelled one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Load<'a> {
    #[serde(rename = "campaingId")]
    pub campaign_id: &'a str,
    pub template_id: &'a str,
    pub type_of_data: i64,
    pub data: Data<'a>,
}

/// Records: a value for each label. All values are strings, as in the vendor's sample.
pub struct Data<'a> {
    pub labels: &'a [String],
    pub rows: &'a [Vec<String>],
}

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.rows.iter().map(|values| Record { labels: self.labels, values }))
    }
}

struct Record<'a> {
    labels: &'a [String],
    values: &'a [String],
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.labels.iter().zip(self.values))
    }
}

/// A load that is ready to be sent.
#[derive(Debug)]
pub struct Ready<'s> {
    granted: ReservedCall<'s>,
    token: Secret,
    redactor: Redactor,
}

/// The result of a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// It was accepted. `task` may be unknown; then `said` is the response.
    Taken { task: Option<String>, said: Option<String> },
    /// The vendor reports a failure. Some of the records may have been accepted.
    Failed { said: String },
}

/// A load without a valid response.
#[derive(Debug)]
pub struct NotLoaded {
    pub error: StepError,
    /// Whether records may have arrived nevertheless.
    pub may_be_taken: bool,
    /// The token, if it was refused.
    pub token_refused: Option<Secret>,
}

/// The state of a load task, in the vendor's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    Running(String),
    Done(String),
    Failed(String),
}

impl Ready<'_> {
    /// Sends the load once.
    pub async fn send(self) -> Result<Loaded, NotLoaded> {
        let Self { granted, token, redactor } = self;
        let response = match granted.send().await {
            Ok(body) => body.small().await.map_err(|error| NotLoaded::lost(error.into()))?,
            Err(failure) => return Err(NotLoaded::of(failure, token)),
        };
        taken(&response, &redactor).map_err(NotLoaded::lost)
    }
}

impl NotLoaded {
    const fn lost(error: StepError) -> Self {
        Self { error, may_be_taken: true, token_refused: None }
    }

    fn of(failure: SendFailure, token: Secret) -> Self {
        let SendFailure { error, may_be_taken } = failure;
        let (error, token_refused) = match error {
            HttpError::Status { status: 401, ref excerpt } if !lynn_account::is_about_key(excerpt) => {
                (StepError::Credentials, Some(token))
            }
            // Not `wire::classify`: the other refusals concern a load, and a load is not a report.
            error => (lynn_account::denied(error), None),
        };
        Self { error, may_be_taken, token_refused }
    }
}

impl LynnOutbound {
    /// Obtains token and quota for a load; sends none of it.
    pub async fn ready<'s>(&self, session: &'s Session<'_>, load: &Load<'_>) -> Result<Ready<'s>, StepError> {
        let endpoint = &self.settings.add_campaign_data;
        let body = serde_json::to_vec(load).map_err(|error| HttpError::Request(error.to_string()))?;
        let token = self.token(session).await?;
        let call = Call {
            bytes_expected: body.len() as u64 + RESPONSE_BYTES_GUESS,
            bytes_max: RESPONSE_BYTES_MAX,
            ..self.call(&endpoint.path, &endpoint.method, Payload::Json(body), &token)?
        };
        let granted = session.reserve_call(call).await?;
        Ok(Ready { granted, redactor: self.redactor.and(&token), token })
    }

    /// Drops a token that was refused.
    pub async fn forget(&self, token: &Secret) {
        self.tokens.forget(token).await;
    }

    /// Reads the state of a task, and repeats the call if necessary.
    pub async fn task(&self, session: &Session<'_>, task: &str) -> Result<TaskState, StepError> {
        let endpoint = &self.settings.get_task_status;
        let path = wire::with_id(&endpoint.path, "{task_id}", task)?;
        let (mut attempts, mut renewed) = (Attempts::new(session), false);
        loop {
            let token = self.token(session).await?;
            let call = Call {
                bytes_expected: RESPONSE_BYTES_GUESS,
                bytes_max: RESPONSE_BYTES_MAX,
                ..self.call(&path, &endpoint.method, Payload::None, &token)?
            };
            match request::whole(session, call).await.map_err(StepError::from) {
                Ok(response) => return self.state(&response, &self.redactor.and(&token)),
                Err(StepError::Http(HttpError::Status { status: 401, excerpt })) => {
                    self.tokens.renew(&excerpt, &mut renewed, &token).await?;
                }
                Err(error) if attempts.again(&error).await => {}
                Err(error) => return Err(lynn_account::classify(error)),
            }
        }
    }

    pub(super) fn state(&self, response: &[u8], redactor: &Redactor) -> Result<TaskState, StepError> {
        if let Some(problem) = wire::not_json(response) {
            return Err(problem.into());
        }
        let text = String::from_utf8_lossy(response);
        let said = match raw::value(text.as_bytes()) {
            Ok(raw) => match Members::parse(raw.get().as_bytes()) {
                Some(members) => {
                    if let Some(said) = wire::complaint(&members, redactor) {
                        return Ok(TaskState::Failed(said));
                    }
                    if let Some(end) = wire::member(&members, TASK_ENDS) {
                        let said = redactor.clean(end.get());
                        return Ok(if end.get() == "true" { TaskState::Done(said) } else { TaskState::Running(said) });
                    }
                    within(&members, TASK_STATES)
                }
                None => wire::word(raw),
            },
            Err(_) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        };
        let said = redactor.clean(said.as_deref().unwrap_or("nothing known"));
        let word = said.to_lowercase();
        let words = &self.settings.task_words;
        Ok(if words.done.contains(&word) {
            TaskState::Done(said)
        } else if words.failed.contains(&word) {
            TaskState::Failed(said)
        } else {
            TaskState::Running(said)
        })
    }
}

/// Reads the response to a load.
pub(super) fn taken(response: &[u8], redactor: &Redactor) -> Result<Loaded, StepError> {
    if let Some(problem) = wire::not_json(response) {
        return Err(problem.into());
    }
    let text = String::from_utf8_lossy(response);
    let text = text.trim_start_matches('\u{feff}').trim();
    let raw = raw::value(text.as_bytes()).ok();
    if raw.is_some_and(|raw| raw.get() == "false") {
        return Ok(Loaded::Failed { said: "false".to_owned() });
    }
    let members = raw.and_then(|raw| Members::parse(raw.get().as_bytes()));
    if let Some(said) = members.as_ref().and_then(|members| wire::complaint(members, redactor)) {
        return Ok(Loaded::Failed { said });
    }
    let task = match (&members, raw) {
        (Some(members), _) => within(members, TASK_IDS),
        (None, Some(raw)) => wire::word(raw),
        (None, None) => Some(text.to_owned()),
    };
    // A sentence is not an id, and a text that must be redacted cannot be stored as one: it is shown, redacted,
    // instead.
    let task = task.filter(|task| {
        let is_word = !task.is_empty() && task.len() <= 200 && !task.contains(char::is_whitespace);
        is_word && redactor.clean(task) == *task
    });
    let said = if task.is_some() || text.is_empty() { None } else { Some(redactor.clean(text)) };
    Ok(Loaded::Taken { task, said })
}

/// The first of these members that is a string or a number, also inside an object.
fn within(members: &Members<'_>, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| {
        let raw = wire::member(members, &[name])?;
        wire::word(raw).or_else(|| {
            let inner = Members::parse(raw.get().as_bytes())?;
            names.iter().find_map(|name| wire::word(wire::member(&inner, &[name])?))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_written_as_in_the_vendors_sample() {
        let labels = ["Name".to_owned(), "Due Date".to_owned()];
        let rows = [vec!["Ana \"A\"".to_owned(), String::new()]];
        let data = Data { labels: &labels, rows: &rows };
        let load = Load { campaign_id: "c-1", template_id: "t-1", type_of_data: 0, data };
        assert_eq!(
            serde_json::to_string(&load).unwrap(),
            r#"{"campaingId":"c-1","templateId":"t-1","typeOfData":0,"data":[{"Name":"Ana \"A\"","Due Date":""}]}"#
        );
    }

    #[test]
    fn a_task_is_found_in_any_likely_response() {
        let task = |response: &str| match taken(response.as_bytes(), &Redactor::default()).unwrap() {
            Loaded::Taken { task, .. } => task.unwrap_or_else(|| "none".to_owned()),
            Loaded::Failed { said } => format!("failed: {said}"),
        };
        for (response, expected) in [
            (r#""9d0c-1""#, "9d0c-1"),
            ("12345678901234567890", "12345678901234567890"),
            ("9d0c-1", "9d0c-1"),
            (r#"{"TaskID": 17}"#, "17"),
            (r#"{"ok":true,"taskId":"a"}"#, "a"),
            (r#"{"isValid":true,"errors":[],"result":{"id":"b"}}"#, "b"),
            (r#"{"result":"c"}"#, "c"),
            ("", "none"),
            ("true", "none"),
            ("[1]", "none"),
            (r#""the records are loaded""#, "none"),
            ("{}", "none"),
            (r#"{"isValid":false,"errors":"unknown template"}"#, "failed: unknown template"),
            ("false", "failed: false"),
        ] {
            assert_eq!(task(response), expected, "{response}");
        }
        assert!(taken(b" <html>", &Redactor::default()).is_err());
    }

    #[test]
    fn p7_an_id_with_control_characters_or_a_credential_is_not_used_as_a_task() {
        let redactor = Redactor::new(vec!["t0ken-value".into()]);
        for response in ["9d0c\0", "\u{1b}[2J", "\u{202e}9d0c", "t0ken-value", r#"{"taskId":"T0KEN-value"}"#] {
            match taken(response.as_bytes(), &redactor).unwrap() {
                Loaded::Taken { task: None, said: Some(said) } => {
                    assert_eq!(redactor.clean(&said), said, "{response:?}");
                }
                other => panic!("{response:?}: {other:?}"),
            }
        }
    }
}
