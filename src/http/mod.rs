//! The only place that sends. Sending consumes a quota reservation; what came back settles it.
//!
//! **Where credentials go.** To the connection's own hosts and nowhere else. A URL that a vendor hands out passes
//! [`Hosts`] before anything is sent to it: as one of our own ([`Hosts::own`], for [`Session::send`]) or as a stranger's
//! ([`Hosts::foreign`], for [`Session::fetch`], which sends no credential and, unless the operator named the host,
//! connects to public addresses only). A fetch takes no reservation: storage is not the vendor's API.
//!
//! **What no client does.** It follows no redirect: each hop is judged by the caller. It keeps no cookie. It sends
//! nothing in plain text through a proxy, which would see the credentials; over TLS, calls to hosts that the operator named
//! go through `HTTPS_PROXY`. Strangers' hosts are never reached through a proxy: it would look up names by itself, where
//! nobody looks at what they lead to.
//!
//! **When a call counts.** From when it left, which is seen of a request with a body only. Any other may leave until its
//! answer is there, and until then the ledger is told that it has not left yet.

mod address;
mod body;
mod call;
mod client;
mod coding;
mod error;
mod hosts;
mod in_flight;
mod outcome;
mod redact;
mod resolver;
mod retry;
mod sent_at;
mod session;

pub use body::Body;
pub use call::{Call, Payload, basic};
pub use client::client;
pub use error::{Excerpt, HttpError};
pub use hosts::{Hosts, Vetted};
pub use outcome::CallOutcome;
pub use redact::Redactor;
pub use retry::{Retry, RetryState};
pub use session::{Answered, CallRecord, Gate, ReservedCall, SendFailure, Session};
