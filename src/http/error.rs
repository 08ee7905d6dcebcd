//! What can go wrong with a call, named by what the caller can do about it.

use chrono::{DateTime, Utc};

use crate::quota::LedgerError;

/// Why a call brought no body. Messages hold no URL, header or body.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Our own ledger has no room for a while; nothing was sent.
    #[error("quota `{limit}` is used up until {until}")]
    Quota { limit: String, until: DateTime<Utc> },
    /// The vendor refused for a quota all the same: someone else uses the credential, or a limit is lower than configured.
    #[error("the vendor refused with status {status} for quota `{limit}`, until {until}")]
    LimitHit { status: u16, limit: String, until: DateTime<Utc> },
    /// An answer that is no success. The excerpt of its body is for classification, never for display.
    #[error("the vendor answered with status {status}")]
    Status { status: u16, excerpt: Excerpt },
    #[error("no complete answer: {what}")]
    Transport { what: &'static str, source: Option<Box<reqwest::Error>> },
    #[error("the answer is larger than {max} bytes")]
    TooLarge { max: u64 },
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("the request cannot be built: {0}")]
    Request(String),
}

/// The beginning of an error body. It may hold anything, so it does not print.
#[derive(Clone, Default)]
pub struct Excerpt(String);

impl Excerpt {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// Whether the text holds `words`, in any case.
    pub fn mentions(&self, words: &str) -> bool {
        self.0.to_lowercase().contains(&words.to_lowercase())
    }
}

impl std::fmt::Debug for Excerpt {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "[{} bytes]", self.0.len())
    }
}

impl HttpError {
    pub(super) fn transport(error: reqwest::Error) -> Self {
        let what = if error.is_timeout() {
            "it timed out"
        } else if error.is_connect() {
            "the connection could not be made"
        } else if error.is_decode() {
            "its compression is broken or it was cut"
        } else {
            "the connection broke"
        };
        // The URL may hold a secret.
        Self::Transport { what, source: Some(Box::new(error.without_url())) }
    }

    /// Whether the same call may succeed within seconds.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Transport { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 500 | 502..=599),
            Self::Quota { .. } | Self::LimitHit { .. } | Self::TooLarge { .. } | Self::Ledger(_) | Self::Request(_) => {
                false
            }
        }
    }
}
