//! Responses of Khoros. Their Content-Type is ignored, because it is often wrong (`§3.1, §3.2, §9`).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::StepError;
use crate::decode::DecodeError;
use crate::http::Redactor;
use crate::secret::Secret;
use crate::text::of_vendor;

/// A job's ids are a UUID and base64; a token is base64.
const ID_BYTES_MAX: usize = 512;
const TOKEN_BYTES_MAX: usize = 4096;
/// Maximum length of a state or detail in a message.
const WORD_CHARS_MAX: usize = 80;

/// Hint for a refused request.
const ASKED_WRONG: &str =
    "check `metrics`, `parameters` and `locale` of the connection, and that the export is enabled for the company";

/// What identifies a job. Its URLs and its token are not stored (`§12`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::connector) struct Handle {
    pub(super) workflow: String,
    pub(super) run: String,
}

impl Handle {
    /// The path of a resource of the job, below the base URL.
    pub(super) fn path(&self, what: &str) -> String {
        format!("reports/report/{}/{}/{what}", encoded(&self.workflow), encoded(&self.run))
    }
}

/// The state of a job, by the table of `§3.2`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Not ready, or an unknown state; what the vendor reported.
    Running(String),
    /// Done; `false` without a download URL.
    Done(bool),
    Failed(String),
}

/// The `result` of a response.
pub(super) fn result(body: &[u8], redactor: &Redactor) -> Result<Value, StepError> {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let Ok(Value::Object(mut members)) = serde_json::from_slice::<Value>(body) else {
        return Err(match body.trim_ascii_start().first() {
            None => DecodeError::Empty,
            Some(b'<') => DecodeError::NotJson("HTML or XML"),
            Some(b'{') => DecodeError::Cut,
            Some(_) => DecodeError::NotJson("another value than an object"),
        }
        .into());
    };
    let said = |value: Option<&Value>| value.and_then(Value::as_str).map(|text| redactor.quote(text));
    if let Some(what) = said(members.get("result")) {
        return Err(StepError::Refused { what, hint: ASKED_WRONG });
    }
    match members.get("status").and_then(Value::as_str) {
        Some("PASS") => {}
        Some(other) => {
            let what = said(members.get("message")).unwrap_or_else(|| format!("status {}", word(redactor, other)));
            return Err(StepError::Refused { what, hint: ASKED_WRONG });
        }
        None => return Err(StepError::Missing("status")),
    }
    match members.remove("result") {
        None | Some(Value::Null) => Err(StepError::Missing("result")),
        Some(Value::Array(list)) if list.is_empty() => Ok(Value::Array(list)),
        Some(result) => Ok(result),
    }
}

/// The message of a response that is not a success, if it has one.
pub(super) fn words(body: &str, redactor: &Redactor) -> Option<String> {
    match result(body.as_bytes(), redactor) {
        Err(StepError::Refused { what, .. }) => Some(what),
        _ => None,
    }
}

/// Reads the response to a create call: the job, and the token of its status URL.
pub(super) fn created(body: &[u8], redactor: &Redactor) -> Result<(Handle, Option<Secret>), StepError> {
    let mut result = result(body, redactor)?;
    if let Value::Array(list) = &mut result
        && list.len() == 1
    {
        result = list.remove(0);
    }
    let id = |name: &'static str| match result.get(name).and_then(Value::as_str) {
        Some(id) if is_id(id) => Ok(id.to_owned()),
        Some(_) => Err(StepError::Shape(format!("`{name}` is not an id"))),
        None => Err(StepError::Missing(name)),
    };
    Ok((Handle { workflow: id("workflowId")?, run: id("runId")? }, token(result.get("statusUrl"))))
}

/// Reads the state of the job, and the token of the last URL that the vendor sent for it.
pub(super) fn status(
    body: &[u8],
    handle: &Handle,
    redactor: &Redactor,
) -> Result<(Progress, Option<Secret>), StepError> {
    let job = job_of(result(body, redactor)?, handle)?;
    let info = |name: &str| job.get("jobInfo").and_then(|info| info.get(name));
    let leaf = job.get("result").ok_or(StepError::Missing("result.result"))?;
    let text = |name: &str| leaf.get(name).and_then(Value::as_str);
    let word_of = |name: &str| text(name).map(str::trim).filter(|text| !text.is_empty());
    let (state, detail) = (word_of("runnerState"), word_of("detail").or_else(|| word_of("details")));
    let is = |word: Option<&str>, wanted: &str| word.is_some_and(|word| word.eq_ignore_ascii_case(wanted));
    let shown = |value: Option<&str>| value.map_or_else(|| "nothing".to_owned(), |text| word(redactor, text));
    let has_url = info("downloadUrl").and_then(Value::as_str).is_some_and(|url| !url.is_empty());
    let progress = if is(state, "CLOSED") {
        // A job that closed without a detail is complete if it has a download URL and no reason for a failure.
        let has_reason = word_of("reason").is_some();
        if is(detail, "COMPLETED") || (detail.is_none() && has_url && !has_reason) {
            Progress::Done(has_url)
        } else {
            let reason = text("reason").map(|reason| format!(": {}", redactor.quote(reason))).unwrap_or_default();
            Progress::Failed(format!("CLOSED with {}{reason}", shown(detail)))
        }
    } else if is(state, "RUNNING") {
        Progress::Running("RUNNING".to_owned())
    } else {
        let said = match detail {
            Some(_) => format!("{} as its state, with {}", shown(state), shown(detail)),
            None => shown(state),
        };
        tracing::warn!(said, "the job's state is unknown, polling again");
        Progress::Running(said)
    };
    let url = if matches!(progress, Progress::Done(true)) { "downloadUrl" } else { "statusUrl" };
    Ok((progress, token(info(url))))
}

/// `result` of a status response is an object, or an array of one or more (`§11.1`).
fn job_of(result: Value, handle: &Handle) -> Result<Value, StepError> {
    let Value::Array(mut list) = result else { return Ok(result) };
    let is_ours = |job: &Value| {
        let id = |name: &str| job.get("jobInfo").and_then(|info| info.get(name)).and_then(Value::as_str);
        id("workflowId") == Some(&handle.workflow) && id("runId") == Some(&handle.run)
    };
    match (list.iter().position(is_ours), list.len()) {
        (Some(ours), _) => Ok(list.swap_remove(ours)),
        (None, 1) => Ok(list.swap_remove(0)),
        (None, 0) => Err(StepError::Shape("a status without a job".to_owned())),
        (None, others) => Err(StepError::Shape(format!("the status of {others} other jobs"))),
    }
}

/// The token in a URL, byte for byte. Nothing else of the URL is used, because its host cannot be trusted
/// (`§11.12, §12`).
fn token(url: Option<&Value>) -> Option<Secret> {
    let url = url?.as_str()?;
    let query = url.split_once('?')?.1.split('#').next()?;
    let token = query.split('&').find_map(|pair| pair.strip_prefix("analyticsAccessToken="))?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"%+/=-._~:".contains(&byte);
    ((1..=TOKEN_BYTES_MAX).contains(&token.len()) && token.bytes().all(fits)).then(|| Secret::new(token))
}

/// Whether a text can be a segment of a path.
fn is_id(text: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && text.bytes().any(|byte| byte.is_ascii_alphanumeric())
}

/// Percent-encodes an id as one segment of a path, including `+`, `/` and `=`, as the vendor does.
fn encoded(id: &str) -> String {
    let mut segment = String::with_capacity(id.len() + 16);
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = std::fmt::Write::write_fmt(&mut segment, format_args!("%{byte:02X}"));
        }
    }
    segment
}

fn word(redactor: &Redactor, text: &str) -> String {
    of_vendor(&redactor.clean(text).chars().take(WORD_CHARS_MAX).collect::<String>())
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
