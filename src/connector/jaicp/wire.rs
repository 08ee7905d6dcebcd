//! What JAICP's answers mean: the vendor documents successes only (`facts/jaicp.md §2`).

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
    /// As the server has it: it may give less than it was asked for.
    pub(super) page_size: i64,
    pub(super) total_count: i64,
}

impl Paging {
    /// `member` are the list's rows: without them, or without a count, nobody could tell an empty list from a failure.
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

/// A refusal as what it means here (`§2`).
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
            let said = if said.is_empty() { "no reason given" } else { &said };
            StepError::Refused {
                what: format!("status {status}, {said}"),
                hint: "it does not take the filters or pages as they are asked for: try another `page_size`, then tell us",
            }
        }
        404 | 405 | 501 => StepError::NotServed(status),
        status => HttpError::Status { status, excerpt }.into(),
    }
}

/// A web page in the place of data is what the product's front end answers to an unknown path (`§1`).
pub(super) fn unreadable(error: StepError) -> StepError {
    match error {
        StepError::Unreadable(DecodeError::NotJson("HTML or XML")) => StepError::Refused {
            what: "it answers with a web page instead of data".to_owned(),
            hint: "check `base_url`: the default is `https://app.jaicp.com/api`, some installations have no `/api`",
        },
        other => other,
    }
}
