//! How calls end, as a closed set for metrics.

use super::HttpError;

/// How a request to a vendor ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    Ok,
    /// The vendor reports that a limit is used up.
    Quota,
    Unauthorized,
    /// Any other response to a wrong request.
    Refused,
    /// The vendor failed.
    ServerError,
    Timeout,
    /// No complete response arrived.
    Transport,
    /// A success with an unexpected body.
    Unreadable,
}

impl CallOutcome {
    pub const ALL: [Self; 8] = [
        Self::Ok,
        Self::Quota,
        Self::Unauthorized,
        Self::Refused,
        Self::ServerError,
        Self::Timeout,
        Self::Transport,
        Self::Unreadable,
    ];

    /// The name in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Quota => "quota",
            Self::Unauthorized => "unauthorized",
            Self::Refused => "refused",
            Self::ServerError => "server_error",
            Self::Timeout => "timeout",
            Self::Transport => "transport",
            Self::Unreadable => "unreadable",
        }
    }

    /// The outcome of a response whose body failed with this error.
    pub(crate) const fn of(error: &HttpError) -> Self {
        match error {
            HttpError::TooLarge { .. } | HttpError::Encoding(_) => Self::Unreadable,
            _ => Self::Transport,
        }
    }

    /// The outcome of an unsuccessful response that is not about a limit.
    pub(super) const fn of_status(status: u16) -> Self {
        match status {
            401 => Self::Unauthorized,
            408 | 500.. => Self::ServerError,
            _ => Self::Refused,
        }
    }
}
