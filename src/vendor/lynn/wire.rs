//! What goes over the wire to ExecuteReport and back (`vendors/lynn.md §3`).

use serde::Serialize;
use serde_json::value::RawValue;

use super::super::StepError;
use super::cursor::Cursor;
use super::settings::Settings;
use crate::decode::json::Envelope;
use crate::http::{HttpError, Redactor};

/// The body of a query. Dates are 24-hour values in the configured filter zone (`§10.1, §10.2`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReportRequest<'a> {
    start_date: String,
    end_date: String,
    size: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_document: Option<&'a RawValue>,
}

impl<'a> ReportRequest<'a> {
    /// Consecutive windows share their boundary second (`§10.3`).
    pub(super) fn new(settings: &Settings, cursor: &'a Cursor) -> Self {
        let shown = |at: chrono::DateTime<chrono::Utc>| {
            at.with_timezone(&settings.filter_timezone).format(&settings.date_format).to_string()
        };
        Self {
            start_date: shown(cursor.from),
            end_date: shown(cursor.to),
            size: settings.page_size.clamp(1, 10_000),
            last_document: cursor.last_document.as_deref(),
        }
    }

    pub(super) fn body(&self) -> Result<Vec<u8>, HttpError> {
        serde_json::to_vec(self).map_err(|error| HttpError::Request(error.to_string()))
    }
}

/// What a page says beside its rows.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) page_count: u64,
    pub(super) rows: u64,
    pub(super) last_document: Option<Box<RawValue>>,
}

impl Answer {
    /// Judges an answer (`§8.4, §10.21, §10.22`).
    pub(super) fn read(envelope: &Envelope, settings: &Settings, redactor: &Redactor) -> Result<Self, StepError> {
        let valid = envelope.parsed::<bool>("isValid");
        let errors = envelope.member("errors").filter(|errors| !says_nothing(errors.get()));
        if valid == Some(false) {
            let text = errors.map_or("no reason given", RawValue::get);
            return Err(StepError::Failed(redactor.clean(text)));
        }
        if let Some(errors) = errors {
            let text = redactor.clean(errors.get());
            if settings.fail_on_errors {
                return Err(StepError::Failed(text));
            }
            tracing::warn!(errors = text, "the vendor reports errors in a valid answer");
        }
        if !envelope.has_records && !envelope.has("result") {
            return Err(StepError::Missing("result"));
        }
        Ok(Self {
            page_count: page_count(envelope),
            rows: envelope.records,
            last_document: envelope.member("lastDocument").map(ToOwned::to_owned),
        })
    }

    pub(super) fn last_document_text(&self) -> Option<&str> {
        self.last_document.as_deref().map(RawValue::get)
    }
}

/// Absent or unreadable counts as none; a count may come as a string.
fn page_count(envelope: &Envelope) -> u64 {
    let number = envelope.parsed::<i64>("pageCount");
    let text = || envelope.parsed::<String>("pageCount").and_then(|text| text.trim().parse().ok());
    u64::try_from(number.or_else(text).unwrap_or(0)).unwrap_or(0)
}

fn says_nothing(errors: &str) -> bool {
    matches!(errors.split_whitespace().collect::<String>().as_str(), "null" | "\"\"" | "[]" | "{}")
}

/// An HTTP refusal of a data call as what it means here (`§8.4, §10.17`).
pub(super) fn classify(error: HttpError) -> StepError {
    match error {
        HttpError::Status { status: 403, .. } => StepError::Forbidden,
        HttpError::Status { status: status @ (400 | 404 | 405 | 406..=428 | 430..=499), .. } if status != 408 => {
            StepError::NotServed(status)
        }
        other => other.into(),
    }
}
