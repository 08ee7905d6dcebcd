//! The only place that sends. Sending consumes a quota reservation; what came back settles it.
//!
//! Credentials go to the connection's own host and nowhere else: redirects are never followed by the client.

mod body;
mod client;
mod departure;
mod error;
mod outcome;
mod redact;
mod retry;
mod session;

pub use body::Body;
pub use client::client;
pub use error::{Excerpt, HttpError};
pub use outcome::CallOutcome;
pub use redact::Redactor;
pub use retry::{Retry, RetryState};
pub use session::{Call, CallRecord, Gate, Session};
