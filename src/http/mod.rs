//! The only module that sends to vendors. Sending consumes a quota reservation; the response settles it.
//!
//! **Where credentials are sent.** Only to the connection's own hosts. A URL from a vendor passes [`Hosts`] before
//! anything is sent to it: as an own URL ([`Hosts::own`], for [`Session::send`]) or as a foreign one
//! ([`Hosts::foreign`], for [`Session::fetch`], which sends no credential and, unless the operator configured the host,
//! connects to public addresses only). A fetch takes no reservation: storage is not the vendor's API.
//!
//! **What no client does.** It follows no redirect: the caller checks each hop. It keeps no cookie. It sends nothing in
//! plain text through a proxy, which would see the credentials; over TLS, calls to configured hosts go through
//! `HTTPS_PROXY`. Foreign hosts are never reached through a proxy, which would resolve names itself without the address
//! check.
//!
//! **When a call counts.** From the time it is sent, which can be observed only for a request with a body. Any other
//! request may be sent until its response arrives, and until then the ledger counts it as not sent.

mod address;
mod body;
mod call;
mod client;
mod coding;
mod error;
mod hosts;
mod in_flight;
mod outcome;
mod recorder;
mod redact;
mod resolver;
mod retry;
mod sent_at;
mod session;

pub use body::Body;
pub use call::{Call, Payload, basic};
pub use client::client;
pub use error::{Excerpt, HttpError, TlsFault, tls_fault};
pub use hosts::{Hosts, Vetted};
pub use outcome::CallOutcome;
pub use recorder::CallRecord;
pub use redact::Redactor;
pub use retry::{Retry, RetryState};
pub use session::{Gate, Reply, ReservedCall, SendFailure, Session};
