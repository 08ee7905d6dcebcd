//! Errors of a call, classified by what the caller can do.

use std::error::Error;
use std::io;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::address::NOT_PUBLIC;
use super::redact::Redactor;
use super::resolver::NoPublicAddress;
use crate::decode::gzip::GzipError;
use crate::quota::LedgerError;
use crate::text::of_vendor;

/// Why a call returned no body. Messages contain no URL, header or body.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Tidegate's own ledger has no quota left for a while; nothing was sent.
    #[error("quota `{limit}` is used up until {until}")]
    OwnQuota { limit: String, until: DateTime<Utc> },
    /// The vendor refused the call for a quota: another client uses the credential, or a limit is lower than
    /// configured.
    #[error("the vendor refused with status {status} for quota `{limit}`, until {until}")]
    RefusedForQuota { status: u16, limit: String, until: DateTime<Utc> },
    /// Any other unsuccessful response. The excerpt of its body is for classification, never for display.
    #[error("the vendor responded with status {status}")]
    Status { status: u16, excerpt: Excerpt },
    #[error("no complete response: {what}")]
    Transport { what: &'static str, source: Option<Box<reqwest::Error>> },
    #[error("the response is larger than {max} bytes")]
    TooLarge { max: u64 },
    /// The body has an encoding that was not offered.
    #[error("the response has a Content-Encoding that was not offered: {0}")]
    Encoding(&'static str),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("the request cannot be built: {0}")]
    Request(String),
    /// A URL from the vendor that nothing is sent to. `host` is `host` or `host:port`, or empty if it cannot be
    /// determined.
    #[error("the vendor handed out {}: {why}", shown(host))]
    Host { host: String, why: &'static str },
}

/// Why a TLS connection was not made although the other side was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFault {
    /// Its certificate is not accepted: self-signed, expired, or for another name.
    Certificate,
    /// The other side does not speak TLS, or none of our versions of it.
    Handshake,
}

/// The TLS fault that a call failed with, if it was one.
pub fn tls_fault(error: &reqwest::Error) -> Option<TlsFault> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(fault) = cause.downcast_ref::<rustls::Error>() {
            let is_certificate = matches!(fault, rustls::Error::InvalidCertificate(_));
            return Some(if is_certificate { TlsFault::Certificate } else { TlsFault::Handshake });
        }
        // The source of an I/O error is that of the error inside it.
        let inside = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = if let Some(inside) = inside { Some(inside) } else { cause.source() };
    }
    None
}

fn shown(host: &str) -> String {
    if host.is_empty() { "an unreadable URL".to_owned() } else { format!("a URL to {}", of_vendor(host)) }
}

/// An unsuccessful response: the beginning of its body, and the wait that it requests. It may contain anything, so it
/// does not print.
#[derive(Clone, Default)]
pub struct Excerpt {
    text: String,
    retry_after: Option<Duration>,
}

impl Excerpt {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self { text: String::from_utf8_lossy(bytes).into_owned(), retry_after: None }
    }

    /// Adds the wait from the response's `Retry-After`.
    pub(super) fn after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }

    /// The wait that the vendor requests.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The raw text: untrusted, and must be redacted before it is shown.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the text contains `words`, ignoring case.
    pub fn mentions(&self, words: &str) -> bool {
        self.text.to_lowercase().contains(&words.to_lowercase())
    }

    /// The texts of these members of a JSON error, redacted and quoted. `None` if the error has another shape.
    pub fn said(&self, members: &[&str], redactor: &Redactor) -> Option<String> {
        redactor.quote_members(&serde_json::from_str(&self.text).unwrap_or_default(), members)
    }
}

impl std::fmt::Debug for Excerpt {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "[{} bytes]", self.text.len())
    }
}

impl HttpError {
    /// A fetch from `host` that failed without a response.
    pub(super) fn foreign(error: reqwest::Error, host: String) -> Self {
        let causes = std::iter::successors(error.source(), |error| (*error).source());
        if causes.into_iter().any(<dyn Error>::is::<NoPublicAddress>) {
            return Self::Host { host, why: NOT_PUBLIC };
        }
        Self::transport(error)
    }

    pub(super) fn transport(error: reqwest::Error) -> Self {
        let what = if error.is_timeout() {
            "it timed out"
        } else if let Some(fault) = tls_fault(&error) {
            match fault {
                TlsFault::Certificate => "the certificate was not accepted (TLS)",
                TlsFault::Handshake => "the TLS handshake failed",
            }
        } else if error.is_connect() {
            "the connection could not be made"
        } else if error.is_decode() {
            "it was truncated"
        } else if error.is_builder() {
            "no client could be created; check that CA certificates are installed (package `ca-certificates`)"
        } else {
            "the connection broke"
        };
        // The URL may contain a secret.
        Self::Transport { what, source: Some(Box::new(error.without_url())) }
    }

    /// A body whose gzip data cannot be read.
    pub(super) const fn packed(error: GzipError) -> Self {
        let what = match error {
            GzipError::Broken => "its gzip data is corrupt or truncated",
            GzipError::Trailing => "bytes that are not gzip follow its last gzip member",
        };
        Self::Transport { what, source: None }
    }

    /// Whether the same call may succeed within seconds.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Transport { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500 | 502..=599),
            Self::OwnQuota { .. }
            | Self::RefusedForQuota { .. }
            | Self::TooLarge { .. }
            | Self::Encoding(_)
            | Self::Ledger(_)
            | Self::Request(_)
            | Self::Host { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fuzz::{SECRET, assert_decent, damaged, redactor};

    const ERRORS: &[&[u8]] = &[
        br#"{"error":"bad_filter","message":"no s3cret-value\nhere","data":{"a":[1]}}"#,
        b"{ \"statusCode\": 401, \"message\": \"Access denied due to invalid SUBSCRIPTION key s3cret-value.\" }",
        b"<html><body>s3cret-value\x1b[2J</body></html>",
    ];

    proptest! {
        #[test]
        fn p7_a_damaged_refusal_says_what_may_be_shown(body in damaged(ERRORS)) {
            let excerpt = Excerpt::new(&body);
            assert_decent(&excerpt.said(&["error", "message"], &redactor()).unwrap_or_default());
            let debugged = format!("{excerpt:?}");
            prop_assert!(!debugged.contains(SECRET));
            prop_assert!(!excerpt.mentions("subscription key") || excerpt.mentions("SUBSCRIPTION KEY"));
            let error = HttpError::Status { status: 401, excerpt };
            assert_decent(&error.to_string());
            let debugged = format!("{error:?}");
            prop_assert!(!debugged.contains(SECRET));
        }
    }
}
