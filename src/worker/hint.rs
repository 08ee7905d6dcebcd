//! Hints that depend on the vendor, or on what is read: they name settings that exist there.
//!
//! [`policy::hint`](super::policy::hint) has the text of every error; those texts name no key that some vendor lacks.

use super::policy::{self, TaskError};
use crate::catalogue::Vendor;
use crate::connector::{self, StepError};
use crate::http::HttpError;

/// The context of an error, as far as a hint depends on it.
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

    /// A login, or another call outside a stream.
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

/// Advice about settings of one vendor.
fn of_vendor(error: &StepError, subject: Subject) -> Option<&'static str> {
    let vendor = subject.vendor?;
    let connector = connector::ALL.iter().find(|connector| connector.vendor == vendor)?;
    (connector.hint)(error, subject.windowed)
}

/// Advice to use a shorter or a later window.
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
