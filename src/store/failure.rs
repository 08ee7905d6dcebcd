//! What an error of the database means to the people who waited for the result. The status port and the actions have
//! their texts from here.

use std::fmt;
use std::io;

use super::session::{self, ONLY_READS, ONLY_READS_HINT};

/// Of a statement that took longer than `statement_timeout`.
const CANCELED: &str = "57014";
/// Of a lock that was not free in time.
const LOCKED: &str = "55P03";
/// Of a table, and of a schema, that does not exist.
const NO_TABLE: &str = "42P01";
const NO_SCHEMA: &str = "3F000";

/// Why the database did not do what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It does not respond.
    Gone,
    /// It responds, but this took too long.
    Slow,
    /// It is a standby, or was made read-only.
    OnlyReads,
    /// It has no such table.
    Missing,
    /// It refused a statement or a login.
    Refused,
    /// It lacks something that it needs itself, or is damaged.
    Unable,
    /// Its response is not one of a database of this version.
    Unexpected,
    /// It was not asked: other requests are waited for.
    Busy,
}

impl Failure {
    /// The meaning of an error.
    pub fn of(error: &sqlx::Error) -> Self {
        match error {
            error if session::is_read_only(error) => Self::OnlyReads,
            error if session::is_lost(error) => Self::Gone,
            sqlx::Error::Database(refusal) => Self::of_code(&refusal.code().unwrap_or_default()),
            sqlx::Error::Tls(_) | sqlx::Error::PoolClosed | sqlx::Error::Configuration(_) => Self::Gone,
            _ => Self::Unexpected,
        }
    }

    /// The meaning of an error of a session that had responded before: one that comes too late means that the database
    /// is slow.
    pub fn in_session(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(late) if late.kind() == io::ErrorKind::TimedOut => Self::Slow,
            _ => Self::of(error),
        }
    }

    fn of_code(code: &str) -> Self {
        match code {
            CANCELED | LOCKED => Self::Slow,
            NO_TABLE | NO_SCHEMA => Self::Missing,
            _ => match code.get(..2) {
                // Of a pooler that has lost the server.
                Some("08") => Self::Gone,
                Some("53" | "58" | "XX") => Self::Unable,
                _ => Self::Refused,
            },
        }
    }

    /// What is wrong, as a sentence without a final point.
    pub const fn what(self) -> &'static str {
        match self {
            Self::Gone => "the database did not respond",
            Self::Slow => "the database responds, but this took too long: it is busy, or another session holds a lock",
            Self::OnlyReads => ONLY_READS,
            Self::Missing => "the database responds, but tables of Tidegate are missing",
            Self::Refused => "the database refused a statement",
            Self::Unable => "the database was not able to do this: it may lack memory, disk space or connections",
            Self::Unexpected => "the database returned something else than expected",
            Self::Busy => "other requests take long",
        }
    }

    /// What to do about it, likewise.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Gone | Self::Unexpected => "see the log of the daemon",
            Self::Slow => "`pg_stat_activity` shows which",
            Self::OnlyReads => ONLY_READS_HINT,
            Self::Missing | Self::Refused => "see /readyz and the log of the daemon",
            Self::Unable => "see the logs of Postgres and of the daemon",
            Self::Busy => "try again in a few seconds",
        }
    }

    /// What is wrong, what follows from it, and what to do about it.
    pub fn with(self, consequence: &str) -> String {
        format!("{}; {consequence}; {}", self.what(), self.remedy())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}; {}", self.what(), self.remedy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_kit::PostgresError;

    #[test]
    fn p12_a_refusal_is_a_response_and_no_refusal_is_called_silence() {
        let of = |code| Failure::of(&sqlx::Error::Database(Box::new(PostgresError(code))));
        assert_eq!(["42P01", "3F000"].map(of), [Failure::Missing; 2]);
        assert_eq!(["57P01", "57P03", "08P01"].map(of), [Failure::Gone; 3]);
        assert_eq!(of("25006"), Failure::OnlyReads);
        assert_eq!(["42501", "28P01", "3D000", "42703", ""].map(of), [Failure::Refused; 5]);
        assert_eq!(["53100", "53300", "58030", "XX000"].map(of), [Failure::Unable; 4]);
        assert_eq!(["57014", "55P03"].map(of), [Failure::Slow; 2]);
        assert_eq!(Failure::of(&sqlx::Error::PoolTimedOut), Failure::Gone);
        assert_eq!(Failure::of(&sqlx::Error::RowNotFound), Failure::Unexpected);
    }

    #[test]
    fn p12_a_late_response_of_a_session_that_had_responded_is_slowness() {
        let late = session::silent(std::time::Duration::from_secs(3));
        assert_eq!((Failure::of(&late), Failure::in_session(&late)), (Failure::Gone, Failure::Slow));
        assert_eq!(Failure::in_session(&sqlx::Error::PoolTimedOut), Failure::Gone);
    }

    #[test]
    fn every_failure_has_a_text_of_its_own() {
        let all = [
            Failure::Gone,
            Failure::Slow,
            Failure::OnlyReads,
            Failure::Missing,
            Failure::Refused,
            Failure::Unable,
            Failure::Unexpected,
            Failure::Busy,
        ];
        let texts: std::collections::BTreeSet<&str> = all.iter().map(|failure| failure.what()).collect();
        assert_eq!(texts.len(), all.len());
        let text = Failure::Gone.with("this call has done nothing");
        assert_eq!(text, "the database did not respond; this call has done nothing; see the log of the daemon");
    }
}
