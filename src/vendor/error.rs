//! Why a step brought no page, named by what can be done about it.

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
    #[error("the vendor refused the subscription key")]
    SubscriptionKey,
    #[error("the vendor denied access (403)")]
    Forbidden,
    /// Whoever reads 24-hour dates otherwise must not be answered by another format in silence.
    #[error("the vendor refused the dates `{start}` to `{end}` (status 400)")]
    DatesRefused { start: String, end: String },
    /// The report is unknown or not enabled for the account.
    #[error("the vendor does not serve the report (status {0})")]
    NotServed(u16),
    /// The vendor ran the report and says that it failed.
    #[error("the vendor says that the report failed: {0}")]
    Failed(String),
    #[error("the page cursor did not move although rows came back")]
    CursorStuck,
    #[error("the vendor goes on beyond {0} pages of one window")]
    Endless(u64),
    #[error("the stored page cursor is none of ours")]
    CursorUnknown,
    /// Whoever takes the records has stopped.
    #[error("loading stopped")]
    LoadStopped,
}
