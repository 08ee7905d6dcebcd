//! Why a step brought no page, named by what can be done about it.

use std::time::Duration;

use crate::decode::DecodeError;
use crate::http::HttpError;

/// Messages hold no vendor data but what a vendor says about an error, redacted.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A 200 that is not what the vendor promised.
    #[error("the answer cannot be read: {0}")]
    Unreadable(#[from] DecodeError),
    #[error("the answer has no `{0}`")]
    Missing(&'static str),
    /// The credentials are wrong, or no longer right.
    #[error("the vendor refused the credentials")]
    Credentials,
    #[error("the vendor denied access (403)")]
    Forbidden,
    /// A vendor that reads 24-hour dates in another way must not silently be sent another format.
    #[error("the vendor refused the dates `{start}` to `{end}` (status 400)")]
    DatesRefused { start: String, end: String },
    /// The report is unknown or not enabled for the account.
    #[error("the vendor does not serve the report (status {0})")]
    NotServed(u16),
    /// The vendor ran the report and says that it failed.
    #[error("the vendor says that the report failed: {0}")]
    Failed(String),
    /// The vendor refuses what is asked for, for a reason that it documents; `hint` says what to do about it.
    #[error("the vendor refused: {what}")]
    Refused { what: String, hint: &'static str },
    /// A success whose shape is none that the vendor documents.
    #[error("the answer is not what the vendor documents: {0}")]
    Shape(String),
    /// An export job came to a bad end as often as it was tried.
    #[error("the vendor's export job failed {times} times: {said}")]
    ExportFailed { times: u32, said: String },
    /// An export job is neither ready nor failed after a time that no job takes.
    #[error("the vendor's export job is not ready after {deadline:?}; it last said {said}")]
    ExportOverdue { deadline: Duration, said: String },
    /// Pages that were read again and again, in ever smaller windows, do not add up to what the vendor counts.
    #[error("the pages do not add up: {found} of {announced} rows between {start} and {end}")]
    Unsteady { found: u64, announced: u64, start: String, end: String },
    /// The vendor announced pages that cannot be read, so the window is incomplete: nothing of it may be taken
    /// for gone, and it is read again.
    #[error("the answer is incomplete: page {page} of {pages} {why}")]
    PagesMissing { page: u64, pages: u64, why: &'static str },
    #[error("the page cursor did not move although rows came back")]
    CursorStuck,
    #[error("the vendor goes on beyond {0} pages of one window")]
    Endless(u64),
    #[error("the stored page cursor is none of ours")]
    CursorUnknown,
    /// The receiver of the records has stopped.
    #[error("loading stopped")]
    LoadStopped,
}
