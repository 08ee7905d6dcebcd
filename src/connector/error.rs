//! Why a step returned no page, classified by what can be done about it.

use std::time::Duration;

use crate::decode::DecodeError;
use crate::http::HttpError;

/// Messages hold no vendor data except the vendor's own error messages and states, redacted and in the form of
/// [`crate::text::of_vendor`].
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A response with status 200 that cannot be parsed.
    #[error("the response cannot be read: {0}")]
    Unreadable(#[from] DecodeError),
    #[error("the response has no `{0}`")]
    Missing(&'static str),
    /// The credentials are wrong or no longer valid.
    #[error("the vendor refused the credentials")]
    Credentials,
    #[error("the vendor denied access (403)")]
    Forbidden,
    /// The vendor refused the format of the dates. No other format is tried: the vendor could read it as other dates.
    #[error("the vendor refused the dates `{start}` to `{end}` (status 400)")]
    DatesRefused { start: String, end: String },
    /// The report is unknown, or not enabled for the account.
    #[error("the vendor does not serve the report (status {0})")]
    NotServed(u16),
    /// The vendor ran the report and states that it failed.
    #[error("the report failed at the vendor: {0}")]
    Failed(String),
    /// The vendor refused the request for a known reason. `hint` says what to do about it.
    #[error("the vendor refused: {what}")]
    Refused { what: String, hint: &'static str },
    /// A success whose shape differs from the documented ones.
    #[error("the response differs from the vendor's documentation: {0}")]
    Shape(String),
    /// An export job failed in each attempt.
    #[error("the vendor's export job failed {times} times: {said}")]
    ExportFailed { times: u32, said: String },
    /// An export job is neither ready nor failed after the deadline.
    #[error("the vendor's export job is not ready after {deadline:?}; its last state was {said}")]
    ExportOverdue { deadline: Duration, said: String },
    /// The rows of the pages do not match the vendor's count, although they were read repeatedly and in smaller
    /// windows.
    #[error("the pages do not add up: {found} of {announced} rows between {start} and {end}")]
    Unsteady { found: u64, announced: u64, start: String, end: String },
    /// The vendor announced pages that cannot be read. So the window is incomplete: no row of it is deleted, and it is
    /// read again.
    #[error("the response is incomplete: page {page} of {pages} {why}")]
    PagesMissing { page: u64, pages: u64, why: &'static str },
    #[error("the page cursor did not advance although the page has rows")]
    CursorStuck,
    #[error("one window has more than {0} pages")]
    Endless(u64),
    #[error("the stored page cursor is not one that this program wrote")]
    CursorUnknown,
    /// The receiver of the records has stopped.
    #[error("loading stopped")]
    LoadStopped,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Redactor;
    use crate::text::without_vendor_text;

    #[test]
    fn p7_what_a_vendor_wrote_is_removed_from_every_error_that_has_a_text() {
        let personal = "maria@example.com” said";
        let said = || Redactor::default().quote(personal);
        let errors = [
            StepError::Http(HttpError::Host { host: personal.to_owned(), why: "it is not https" }),
            StepError::Unreadable(DecodeError::UnknownCharset(said())),
            StepError::Failed(said()),
            StepError::Refused { what: format!("status 400, {}", said()), hint: "ask" },
            StepError::Shape(said()),
            StepError::ExportFailed { times: 3, said: said() },
            StepError::ExportOverdue { deadline: Duration::from_hours(6), said: said() },
        ];
        for error in &errors {
            let written = error.to_string();
            assert!(written.contains("maria@example.com"), "{written}");
            let sent = without_vendor_text(&written);
            assert!(!sent.contains("maria") && !sent.contains("said") && sent.contains("“…”"), "{sent}");
        }
        for error in &errors {
            match error {
                // Those above have text of a vendor. A new variant that has some belongs there.
                StepError::Unreadable(_)
                | StepError::Failed(_)
                | StepError::Refused { .. }
                | StepError::Shape(_)
                | StepError::ExportFailed { .. }
                | StepError::ExportOverdue { .. } => {}
                StepError::Http(error) => match error {
                    HttpError::Host { .. } => {}
                    HttpError::OwnQuota { .. }
                    | HttpError::RefusedForQuota { .. }
                    | HttpError::Status { .. }
                    | HttpError::Transport { .. }
                    | HttpError::TooLarge { .. }
                    | HttpError::Encoding(_)
                    | HttpError::Ledger(_)
                    | HttpError::Request(_) => panic!("{error}"),
                },
                StepError::Missing(_)
                | StepError::Credentials
                | StepError::Forbidden
                | StepError::DatesRefused { .. }
                | StepError::NotServed(_)
                | StepError::Unsteady { .. }
                | StepError::PagesMissing { .. }
                | StepError::CursorStuck
                | StepError::Endless(_)
                | StepError::CursorUnknown
                | StepError::LoadStopped => panic!("{error}"),
            }
        }
    }
}
