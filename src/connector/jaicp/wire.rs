//! Classifies JAICP's responses: the vendor documents only successes (`facts/jaicp.md §2`).

use serde::Deserialize;

use super::super::StepError;
use super::config::Api;
use crate::decode::DecodeError;
use crate::decode::json::Envelope;
use crate::http::{HttpError, Redactor};

/// The `paging` member of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Paging {
    /// The page size that the server used, which may be smaller than requested.
    pub(super) page_size: i64,
    pub(super) total_count: i64,
}

impl Paging {
    /// `member` holds the list's rows. Without rows or a count, an empty list could not be distinguished from a
    /// failure.
    pub(super) fn read(envelope: &Envelope, member: &'static str) -> Result<Self, StepError> {
        let paging: Self = envelope.parsed("paging").ok_or(StepError::Missing("paging"))?;
        if !envelope.has_records && paging.total_count != 0 {
            return Err(StepError::Missing(member));
        }
        Ok(paging)
    }

    pub(super) fn total(self) -> u64 {
        u64::try_from(self.total_count).unwrap_or(0)
    }
}

/// Classifies an HTTP error (`§2`).
pub(super) fn refusal(error: HttpError, api: Api, redactor: &Redactor) -> StepError {
    let HttpError::Status { status, excerpt } = error else { return error.into() };
    match status {
        401 => StepError::Credentials,
        403 => StepError::Forbidden,
        404 if api == Api::Legacy => StepError::Refused {
            what: "status 404".to_owned(),
            hint: "`token` is wrong, or `base_url` lacks a part: the default is `https://app.jaicp.com/api`, some \
                   installations have no `/api`",
        },
        400 | 422 => {
            let said = excerpt.said(&["error", "message"], redactor);
            let said = said.as_deref().unwrap_or("no reason given");
            StepError::Refused {
                what: format!("status {status}, {said}"),
                hint: "it does not accept the requested filters or pages: try another `page_size`; if that does not help, report it to us",
            }
        }
        404 | 405 | 501 => StepError::NotServed(status),
        status => HttpError::Status { status, excerpt }.into(),
    }
}

/// For an unknown path, the product's front end returns a web page (`§1`).
pub(super) fn unreadable(error: StepError) -> StepError {
    match error {
        StepError::Unreadable(DecodeError::NotJson("HTML or XML")) => StepError::Refused {
            what: "it returns a web page instead of data".to_owned(),
            hint: "check `base_url`: the default is `https://app.jaicp.com/api`, some installations have no `/api`",
        },
        other => other,
    }
}
