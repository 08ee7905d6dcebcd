//! Hints that depend on the vendor, or on what is read: they name settings that are there.
//!
//! [`policy::hint`](super::policy::hint) has the text of every error; it names no key that some vendor lacks.

use super::policy::{self, TaskError};
use crate::connector::{StepError, Vendor};
use crate::http::HttpError;

/// What was being done when an error occurred, as far as a hint depends on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Subject {
    /// `None` if the connection is not configured any more.
    pub vendor: Option<Vendor>,
    /// Whether a stream is read window by window. A list has neither `slice` nor `settle`.
    pub windowed: bool,
}

impl Subject {
    pub const fn stream(vendor: Vendor, windowed: bool) -> Self {
        Self { vendor: Some(vendor), windowed }
    }

    /// A login, or another call that reads no stream.
    pub const fn login(vendor: Vendor) -> Self {
        Self { vendor: Some(vendor), windowed: false }
    }
}

/// One sentence for the operator.
pub fn hint(error: &TaskError, subject: Subject) -> &'static str {
    let own = match error {
        TaskError::Step(StepError::Refused { hint, .. }) => Some(*hint),
        TaskError::Step(error) => of_vendor(error, subject).or_else(|| subject.windowed.then(|| of_window(error))?),
        _ => None,
    };
    own.unwrap_or_else(|| policy::hint(error))
}

/// Replaces the placeholders in a hint: `JOB`, the stream `S` and the connection `NAME`.
pub fn named(hint: &str, job: &str, stream: &str, connection: &str) -> String {
    let mut hint = hint.replace(" JOB", &format!(" {job}"));
    for (placeholder, name) in [("--stream S", stream), ("forget NAME", connection)] {
        let (option, _) = placeholder.split_once(' ').unwrap_or_default();
        hint = hint.replace(placeholder, &format!("{option} {name}"));
    }
    hint
}

/// What only one vendor's settings can change.
fn of_vendor(error: &StepError, subject: Subject) -> Option<&'static str> {
    let vendor = subject.vendor?;
    let is_lynn = matches!(vendor, Vendor::LynnReporting | Vendor::LynnOutbound);
    Some(match error {
        StepError::Credentials => match vendor {
            Vendor::LynnReporting | Vendor::LynnOutbound => "check the credentials; they are issued per environment",
            Vendor::KhorosCare => "check `username` and `password`",
            Vendor::LexerActivity => "check `api_token`",
            Vendor::JaicpReporter => {
                "check `token`: it is of the project for `api: legacy`, and of the account for `api: v1`"
            }
        },
        StepError::SubscriptionKey if is_lynn => "check `subscription_key`, and whether `product` is `premium`",
        StepError::Forbidden if is_lynn => {
            "the credential lacks a permission or a division; ask the tenant's administrator"
        }
        StepError::NotServed(_) => match vendor {
            Vendor::LynnReporting => {
                "check that the report is enabled for this environment, its id if it is one of `reports`, and \
                 `paths.execute_report` and `method`"
            }
            Vendor::LynnOutbound => "check `paths` and `methods`: the vendor's Postman document has them",
            Vendor::KhorosCare => "check `base_url`, and that the export is enabled for the company",
            Vendor::LexerActivity => "check `base_url`, and that the account has the report",
            Vendor::JaicpReporter => "check `base_url` and `api`, and that this installation has the report",
        },
        StepError::DatesRefused { .. } if vendor == Vendor::LynnReporting => {
            "ask the vendor how it reads dates, then set `date_format` and `filter_timezone`"
        }
        StepError::Http(HttpError::TooLarge { .. })
            if matches!(vendor, Vendor::LynnReporting | Vendor::JaicpReporter) =>
        {
            "make `page_size` smaller"
        }
        StepError::ExportOverdue { .. } if !subject.windowed && vendor != Vendor::LynnReporting => {
            "ask the vendor, or raise `polling.deadline`; a new export is requested"
        }
        _ => return None,
    })
}

/// What a shorter or a later window can change.
const fn of_window(error: &StepError) -> Option<&'static str> {
    match error {
        StepError::Http(HttpError::TooLarge { .. }) => Some("make the `slice` shorter"),
        StepError::ExportOverdue { .. } => {
            Some("make the `slice` shorter, or ask the vendor; a new export is requested")
        }
        StepError::Unsteady { .. } => {
            Some("raise `settle`: rows still arrive while the window is read; it is read again")
        }
        StepError::Failed(_) => Some("ask the vendor about the report; nothing was lost, the window is read again"),
        StepError::CursorStuck | StepError::Endless(_) => {
            Some("the vendor's paging is broken: make the `slice` shorter")
        }
        StepError::CursorUnknown => Some("the cursor was written by a newer version; the slice is read again"),
        _ => None,
    }
}

#[cfg(test)]
#[path = "hint_tests.rs"]
mod tests;
