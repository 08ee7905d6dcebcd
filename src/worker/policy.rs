//! Turns the kind of an error into a decision, and into a hint for the operator. The only place that does.

use chrono::{DateTime, TimeDelta, Utc};

use super::accounts::AccountError;
use crate::connector::StepError;
use crate::decode::DecodeError;
use crate::http::HttpError;
use crate::load::{self, LoadError, passes};
use crate::quota::{self, LedgerError};
use crate::store::session;

/// Pauses after the first, second, … temporary error without progress. After the last one the task fails.
const PAUSES_MINUTES: &[i64] = &[1, 5, 15, 60];
/// An additional first pause after an error of the database.
const FIRST_PAUSE_DATABASE: TimeDelta = TimeDelta::seconds(5);

/// Why a task stopped before its end.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    #[error(transparent)]
    Step(#[from] StepError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("{}", session::summary(.0))]
    Database(#[from] sqlx::Error),
    #[error("the stream's rows are on a grid of {stored} slices, the job needs {wanted}")]
    Grid { stored: String, wanted: String },
    #[error("the stream is not offered by the connection any more")]
    UnknownStream,
    /// Nothing was read: the rows of one account would replace another's.
    #[error("the connection belongs to another account: {0}")]
    OtherAccount(String),
    #[error("the run took longer than the job's timeout")]
    Timeout,
}

impl TaskError {
    /// The error of the database, if it is one.
    pub const fn of_database(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Load(LoadError::Database(error)) | Self::Database(error) => Some(error),
            Self::Step(StepError::Http(HttpError::Ledger(LedgerError::Database { source, .. }))) => Some(source),
            _ => None,
        }
    }
}

impl From<AccountError> for TaskError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Database(error) => Self::Database(error),
            AccountError::Ledger(error) => Self::Step(HttpError::from(error).into()),
            AccountError::Http(error) => Self::Step(error.into()),
            AccountError::Other(difference) => Self::OtherAccount(difference),
        }
    }
}

/// What to do about an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Release the worker and resume at `until`.
    Wait { until: DateTime<Utc>, waiting_for: String, attempt: bool },
    /// Leave it to the next firing. The cursor is kept.
    Fail,
    /// Leave it to the next firing, which reads the slice from its first page.
    FailAndRestart,
    /// Another worker holds the run now: change nothing.
    Abandon,
}

/// `attempts`: temporary errors in a row, without a page in between.
pub fn decide(error: &TaskError, attempts: i32, now: DateTime<Utc>) -> Decision {
    match error {
        TaskError::Step(error) => decide_step(error, attempts, now),
        TaskError::Load(LoadError::Fenced | LoadError::Moved) => Decision::Abandon,
        // At once: the next attempt finds that the notes are missing, and reads the slice from its first page.
        TaskError::Load(LoadError::SeenLost | LoadError::Rearranged) => {
            Decision::Wait { until: now, waiting_for: "database".to_owned(), attempt: false }
        }
        TaskError::Load(LoadError::Database(error)) | TaskError::Database(error) => {
            if passes(error) {
                put_off_for_database(attempts, now)
            } else {
                Decision::Fail
            }
        }
        // The next attempt reads the structure of the table again.
        TaskError::Load(LoadError::Altered { .. }) if attempts == 0 => {
            Decision::Wait { until: now, waiting_for: "table".to_owned(), attempt: true }
        }
        TaskError::Load(LoadError::Altered { .. } | LoadError::Locked { .. }) => put_off(attempts, now, "table"),
        TaskError::Load(
            LoadError::Unfit { .. }
            | LoadError::Key { .. }
            | LoadError::NotATable { .. }
            | LoadError::Required { .. }
            | LoadError::Rule { .. },
        )
        | TaskError::Grid { .. }
        | TaskError::UnknownStream
        | TaskError::OtherAccount(_)
        | TaskError::Timeout => Decision::Fail,
    }
}

fn decide_step(error: &StepError, attempts: i32, now: DateTime<Utc>) -> Decision {
    match error {
        StepError::Http(HttpError::OwnQuota { limit, until } | HttpError::RefusedForQuota { limit, until, .. }) => {
            Decision::Wait { until: *until, waiting_for: quota::waiting_for(limit), attempt: false }
        }
        StepError::Http(HttpError::Ledger(LedgerError::Database { .. } | LedgerError::Timeout { .. })) => {
            put_off_for_database(attempts, now)
        }
        StepError::Http(error @ (HttpError::Transport { .. } | HttpError::Status { .. })) if error.is_transient() => {
            put_off(attempts, now, "vendor")
        }
        StepError::Http(
            HttpError::Ledger(
                LedgerError::InvalidLimit { .. } | LedgerError::UnknownLimit { .. } | LedgerError::Gone { .. },
            )
            | HttpError::Transport { .. }
            | HttpError::Status { .. }
            | HttpError::TooLarge { .. }
            | HttpError::Encoding(_)
            | HttpError::Request(_)
            | HttpError::Host { .. },
        )
        | StepError::Unreadable(_)
        | StepError::Missing(_)
        | StepError::Refused { .. }
        | StepError::Shape(_)
        | StepError::Credentials
        | StepError::Forbidden => Decision::Fail,
        StepError::ExportFailed { .. }
        | StepError::ExportOverdue { .. }
        | StepError::Unsteady { .. }
        | StepError::NotServed(_)
        | StepError::DatesRefused { .. }
        | StepError::Failed(_)
        | StepError::CursorStuck
        | StepError::PagesMissing { .. }
        | StepError::Endless(_)
        | StepError::CursorUnknown => Decision::FailAndRestart,
        StepError::LoadStopped => Decision::Abandon,
    }
}

/// Whether a task that failed for this reason fails again until an operator puts something right.
pub const fn needs_operator(error: &TaskError) -> bool {
    match error {
        TaskError::Step(error) => match error {
            StepError::Credentials
            | StepError::Forbidden
            | StepError::Refused { .. }
            | StepError::DatesRefused { .. }
            | StepError::NotServed(_)
            | StepError::Http(
                HttpError::Ledger(LedgerError::InvalidLimit { .. } | LedgerError::UnknownLimit { .. })
                | HttpError::Host { .. },
            ) => true,
            StepError::Http(
                HttpError::OwnQuota { .. }
                | HttpError::RefusedForQuota { .. }
                | HttpError::Ledger(
                    LedgerError::Database { .. } | LedgerError::Timeout { .. } | LedgerError::Gone { .. },
                )
                | HttpError::Transport { .. }
                | HttpError::Status { .. }
                | HttpError::TooLarge { .. }
                | HttpError::Encoding(_)
                | HttpError::Request(_),
            )
            | StepError::Unreadable(_)
            | StepError::Missing(_)
            | StepError::Shape(_)
            | StepError::ExportFailed { .. }
            | StepError::ExportOverdue { .. }
            | StepError::Unsteady { .. }
            | StepError::Failed(_)
            | StepError::CursorStuck
            | StepError::PagesMissing { .. }
            | StepError::Endless(_)
            | StepError::CursorUnknown
            | StepError::LoadStopped => false,
        },
        TaskError::Load(
            LoadError::Unfit { .. }
            | LoadError::Key { .. }
            | LoadError::NotATable { .. }
            | LoadError::Required { .. }
            | LoadError::Rule { .. },
        )
        | TaskError::Grid { .. }
        | TaskError::UnknownStream
        | TaskError::OtherAccount(_) => true,
        TaskError::Load(
            LoadError::Fenced
            | LoadError::Moved
            | LoadError::SeenLost
            | LoadError::Rearranged
            | LoadError::Database(_)
            | LoadError::Altered { .. }
            | LoadError::Locked { .. },
        )
        | TaskError::Database(_)
        | TaskError::Timeout => false,
    }
}

/// A lost connection is replaced at once, and most failovers take seconds, so the first pause is short.
fn put_off_for_database(attempts: i32, now: DateTime<Utc>) -> Decision {
    if attempts > 0 {
        return put_off(attempts - 1, now, "database");
    }
    Decision::Wait { until: now + FIRST_PAUSE_DATABASE, waiting_for: "database".to_owned(), attempt: true }
}

fn put_off(attempts: i32, now: DateTime<Utc>, waiting_for: &str) -> Decision {
    match usize::try_from(attempts).ok().and_then(|attempt| PAUSES_MINUTES.get(attempt)) {
        Some(minutes) => Decision::Wait {
            until: now + TimeDelta::minutes(*minutes),
            waiting_for: waiting_for.to_owned(),
            attempt: true,
        },
        None => Decision::Fail,
    }
}

/// What an operator can do about slices that are held.
pub const HELD_HINT: &str = "see `tidegate held` and ask the vendor. A held slice is read again once a day, or by `tidegate backfill`. If the vendor \
     did delete the rows, run `tidegate held release JOB --stream S` to let the next reading delete them";

const LOCKED_HINT: &str = "end the transaction that keeps the table locked; the task is retried";

/// One sentence for the operator that is correct for every vendor, and for lists as well as windows.
/// [`super::hint::hint`] is more specific.
pub fn hint(error: &TaskError) -> &'static str {
    if error.of_database().is_some_and(session::is_read_only) {
        return session::ONLY_READS_HINT;
    }
    if error.of_database().and_then(load::code).as_deref() == Some(load::LOCK_TIMEOUT) {
        return LOCKED_HINT;
    }
    match error {
        TaskError::Step(error) => hint_step(error),
        TaskError::Load(LoadError::Fenced | LoadError::Moved) => {
            "nothing to do: the run was cancelled, or another worker has taken over"
        }
        TaskError::Load(LoadError::SeenLost | LoadError::Rearranged) => {
            "nothing to do: the slice is read from its first page again"
        }
        TaskError::Load(LoadError::Altered { .. }) => {
            "no action is needed: the task is retried with the new structure of the table; if the error persists, compare the columns with `tidegate streams`"
        }
        TaskError::Load(LoadError::Unfit { .. }) => {
            "run the statement, then the job again. If the statement renames the table, Tidegate creates a new one, and \
             `tidegate cursors reset` reads the rows that the vendor still has"
        }
        TaskError::Load(LoadError::Locked { .. }) => LOCKED_HINT,
        TaskError::Load(LoadError::Key { .. }) => {
            "state the key that the table has; or, to load the table anew with another key, drop or rename it: the next run \
             creates it and reads all its slices"
        }
        TaskError::Load(LoadError::NotATable { .. }) => "free the name; the next run creates the table",
        TaskError::Load(LoadError::Rule { .. }) => {
            "drop the constraint, index or trigger; or, if the rows violate it only during a load, declare the constraint as \
             `deferrable initially deferred`"
        }
        TaskError::Load(LoadError::Required { .. }) => {
            "give the column a default, or run `alter table … alter column … drop not null`"
        }
        TaskError::Load(LoadError::Database(_)) | TaskError::Database(_) => {
            "check the database and its log: is it running, does it have disk space, may this user write?"
        }
        TaskError::Grid { .. } => {
            "set `slice` and `timezone` back, or run `tidegate cursors reset JOB --stream S` to read again on the new grid"
        }
        TaskError::UnknownStream => "add the stream to the connection again, or remove it from the job",
        TaskError::OtherAccount(_) => {
            "give the new account a connection of its own name; or, if its rows may replace those of the first, run \
             `tidegate connections forget NAME`"
        }
        TaskError::Timeout => "raise the job's `timeout`, or let it run more often; the next run continues from here",
    }
}

fn hint_step(error: &StepError) -> &'static str {
    match error {
        StepError::Http(error) => match error {
            HttpError::OwnQuota { .. } => "nothing to do: reading resumes when the quota is replenished",
            HttpError::RefusedForQuota { .. } => {
                "someone else uses this credential, or the vendor's limit is lower: lower it under `quotas`"
            }
            HttpError::Status { .. } => "the vendor is in trouble or `base_url` is wrong; see its status page",
            HttpError::Transport { source: Some(error), .. } if error.is_connect() => {
                "check that base_url is right and that the host can be reached from here"
            }
            HttpError::Transport { source: Some(error), .. } if error.is_timeout() => {
                "the vendor did not respond in time: raise `request_timeout` if it needs more time"
            }
            HttpError::Transport { .. } => {
                "the response was incomplete or damaged, and the request is repeated; if the error persists, check proxies between \
                 Tidegate and the vendor, then ask the vendor"
            }
            HttpError::TooLarge { .. } => "ask the vendor: no response of this kind should be so large",
            HttpError::Encoding(_) => {
                "only gzip is offered: ask the vendor, or the operator of a proxy on the way, to send gzip or no encoding"
            }
            HttpError::Ledger(_) => "look at the database's log",
            HttpError::Request(_) => "correct the connection's settings",
            HttpError::Host { .. } => "if you trust that host, add it under the connection's `allowed_hosts`",
        },
        // Where rows are expected, an empty response is an empty reading. Where a job or its state is expected, it is
        // an error.
        StepError::Unreadable(DecodeError::Empty) => {
            "the vendor sent nothing where a job or its state is expected: check base_url and the vendor's status page; if \
             the error persists, ask the vendor. The next run tries again"
        }
        StepError::Unreadable(DecodeError::ForeignHeader | DecodeError::ForeignRecords { .. }) => {
            "nothing was deleted. If the vendor has renamed the fields, name the new ones in `types` of the stream; else it \
             sent another report, or a file that does not begin with its titles: ask the vendor"
        }
        StepError::Unreadable(error) if error.is_of_settings() => {
            "ask the vendor in which charset its files are, then write it under the connection: `csv: { charset: … }`"
        }
        StepError::Unreadable(_) | StepError::Missing(_) => {
            "the vendor sent something other than a report: try again later, then ask the vendor"
        }
        StepError::Credentials => {
            "check the credentials. A running daemon loads a corrected file as soon as it is saved"
        }
        StepError::Forbidden => "the credential lacks a permission; ask the account's administrator",
        StepError::NotServed(_) => "check `base_url`, and that the account has the report",
        StepError::DatesRefused { .. } => "ask the vendor how it reads dates",
        StepError::Refused { hint, .. } => hint,
        StepError::Shape(_) => {
            "check `base_url`; if it is right, the vendor has changed its responses: report their structure to us"
        }
        StepError::ExportFailed { .. } => {
            "ask the vendor about the export; no data was lost, and a new export is requested"
        }
        StepError::ExportOverdue { .. } => "ask the vendor about the export; a new export is requested",
        StepError::PagesMissing { .. } => {
            "nothing was deleted, and the next run reads it from its first page; if that does not help, ask the vendor for \
             the complete pages"
        }
        StepError::Unsteady { .. } => "no action is needed: the list changed while it was read, and is read again",
        StepError::Failed(_) => "ask the vendor about it; nothing was lost, it is read again",
        StepError::CursorStuck | StepError::Endless(_) => "the vendor's paging is broken: ask the vendor",
        StepError::CursorUnknown => "the cursor was written by a newer version; the data is read again",
        StepError::LoadStopped => "see the error before this one",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_errors_are_retried_after_growing_pauses_and_then_fail() {
        let now = Utc::now();
        let error = || TaskError::Step(StepError::Http(HttpError::Transport { what: "it timed out", source: None }));
        let pauses: Vec<_> = (0..5)
            .map(|attempts| match decide(&error(), attempts, now) {
                Decision::Wait { until, attempt: true, .. } => (until - now).num_minutes(),
                _ => 0,
            })
            .collect();
        assert_eq!(pauses, [1, 5, 15, 60, 0]);
    }

    #[test]
    fn p12_an_altered_table_is_opened_again_at_once_and_then_after_growing_pauses() {
        let now = Utc::now();
        let error = TaskError::Load(LoadError::Altered { table: "lynn.t".to_owned(), detail: String::new() });
        let at_once = Decision::Wait { until: now, waiting_for: "table".to_owned(), attempt: true };
        assert_eq!(decide(&error, 0, now), at_once);
        let later =
            Decision::Wait { until: now + TimeDelta::minutes(5), waiting_for: "table".to_owned(), attempt: true };
        assert_eq!(decide(&error, 1, now), later);
        assert_eq!(decide(&error, 4, now), Decision::Fail);
        assert!(!hint(&error).contains("disk"));
    }

    #[test]
    fn p2_waiting_for_a_quota_is_not_an_error() {
        let until = Utc::now() + TimeDelta::hours(3);
        let error = TaskError::Step(StepError::Http(HttpError::OwnQuota { limit: "period_calls".to_owned(), until }));
        let waits = Decision::Wait { until, waiting_for: "quota period_calls".to_owned(), attempt: false };
        assert_eq!(decide(&error, 99, Utc::now()), waits);
    }
}
