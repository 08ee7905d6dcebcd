//! Export jobs of every vendor that has them: submit, poll, download.
//!
//! The handle of a running job is part of the cursor, so a restart polls the existing job instead of starting another.
//! A slice may take several jobs, one after another (`parts`: report types, forms). Pauses between polls grow. A job
//! that fails is submitted again a bounded number of times, and a job that exceeds the deadline is given up.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Outcome, Records, StepError, StepRequest};
use crate::clock;
use crate::http::Session;

/// Jobs submitted for one file until the slice fails.
const ATTEMPTS_MAX: u32 = 3;
/// Maximum number of jobs of one slice.
const PARTS_MAX: usize = 10_000;

/// How often and for how long jobs are polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polling {
    /// Pause from the submission to the first poll; doubles with every poll.
    pub initial: Duration,
    /// Longest pause.
    pub max: Duration,
    /// A job that takes longer is given up.
    pub deadline: Duration,
}

impl Default for Polling {
    fn default() -> Self {
        Self { initial: Duration::from_secs(5), max: Duration::from_mins(1), deadline: Duration::from_hours(6) }
    }
}

impl Polling {
    fn pause(&self, polls: u32) -> TimeDelta {
        let pause = self.initial.saturating_mul(1_u32.checked_shl(polls).unwrap_or(u32::MAX)).min(self.max);
        TimeDelta::from_std(pause).unwrap_or(TimeDelta::MAX / 2)
    }
}

/// The state of a job.
#[derive(Debug)]
pub(super) enum JobState<F> {
    /// Not ready; what the vendor reported, for an operator.
    Running(String),
    Ready(F),
    /// It failed, or the vendor does not know it any more.
    Failed(String),
}

/// The result of a submission.
pub(super) enum Started<H, F> {
    /// A job to be polled.
    Job(H),
    /// The file is available immediately.
    Ready(F),
}

/// The vendor-specific part of export jobs.
pub(super) trait ExportApi: Sync {
    /// What identifies a job. It is stored, so it holds no URL, and no token unless it is sealed ([`super::sealed`]).
    type Handle: Serialize + DeserializeOwned + Send + Sync;
    /// Location of the file of a finished job; never stored.
    type File: Send;

    fn polling(&self) -> Polling;

    /// The jobs of the window, in order; called once when the window starts. Empty if there is nothing to read.
    fn parts(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
    ) -> impl Future<Output = Result<Vec<String>, StepError>> + Send;

    /// Starts the job of a part. Not idempotent, so it is sent once.
    fn submit(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        part: &str,
    ) -> impl Future<Output = Result<Self::Handle, StepError>> + Send;

    /// Like `submit`, for a vendor that may return the file immediately.
    fn start(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        part: &str,
    ) -> impl Future<Output = Result<Started<Self::Handle, Self::File>, StepError>> + Send {
        async move { self.submit(session, request, part).await.map(Started::Job) }
    }

    /// Polls a job.
    fn poll(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        handle: &Self::Handle,
    ) -> impl Future<Output = Result<JobState<Self::File>, StepError>> + Send;

    /// Passes the records of a finished job's file to `records`. Returns the bytes of the file.
    fn download(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        part: &str,
        file: Self::File,
        records: &mut dyn Records,
    ) -> impl Future<Output = Result<u64, StepError>> + Send;
}

/// What an operator can do about an export of a stream without windows. A stream with windows can have shorter slices.
pub(super) const fn hint(error: &StepError, windowed: bool) -> Option<&'static str> {
    match error {
        StepError::ExportOverdue { .. } if !windowed => {
            Some("ask the vendor, or raise `polling.deadline`; a new export is requested")
        }
        _ => None,
    }
}

/// Progress within a window; stored as JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Cursor<H> {
    parts: Vec<String>,
    /// Index of the current part.
    part: usize,
    /// Jobs submitted for the part, including the running one.
    attempt: u32,
    /// `None`: to be submitted.
    job: Option<Job<H>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Job<H> {
    handle: H,
    submitted_at: DateTime<Utc>,
    polls: u32,
}

impl<H: Serialize + DeserializeOwned> Cursor<H> {
    fn parse(text: &str) -> Result<Self, StepError> {
        let cursor: Option<Self> = serde_json::from_str(text).ok();
        cursor.filter(|cursor| cursor.parts.len() <= PARTS_MAX).ok_or(StepError::CursorUnknown)
    }

    fn text(&self) -> Result<String, StepError> {
        serde_json::to_string(self).map_err(|_| StepError::CursorUnknown)
    }
}

/// One step of a stream that is read by export jobs (see [`super::Source::step`]).
pub(super) async fn step<A: ExportApi>(
    api: &A,
    session: &Session<'_>,
    request: StepRequest<'_>,
    records: &mut dyn Records,
) -> Result<Outcome, StepError> {
    let mut cursor: Cursor<A::Handle> = if let Some(text) = request.cursor {
        Cursor::parse(text)?
    } else {
        let parts = api.parts(session, &request).await?;
        if parts.len() > PARTS_MAX {
            return Err(StepError::Endless(PARTS_MAX as u64));
        }
        Cursor { parts, part: 0, attempt: 0, job: None }
    };
    let Some(part) = cursor.parts.get(cursor.part).cloned() else {
        records.begin(request.window);
        return Ok(Outcome::Page { next: None, bytes: 0 });
    };
    let Some(mut job) = cursor.job.take() else {
        return match api.start(session, &request, &part).await? {
            Started::Ready(file) => finish(api, session, &request, cursor, (&part, file), records).await,
            Started::Job(handle) => {
                cursor.attempt = cursor.attempt.saturating_add(1);
                cursor.job = Some(Job { handle, submitted_at: clock::now(), polls: 0 });
                pending(&cursor, api.polling().pause(0))
            }
        };
    };
    match api.poll(session, &request, &job.handle).await? {
        JobState::Running(said) => {
            let Polling { deadline, .. } = api.polling();
            let age = (clock::now() - job.submitted_at).to_std().unwrap_or_default();
            if age > deadline {
                return Err(StepError::ExportOverdue { deadline, said });
            }
            tracing::debug!(part, polls = job.polls, "the export is not ready");
            job.polls = job.polls.saturating_add(1);
            let pause = api.polling().pause(job.polls);
            cursor.job = Some(job);
            pending(&cursor, pause)
        }
        JobState::Failed(said) if cursor.attempt >= ATTEMPTS_MAX => {
            Err(StepError::ExportFailed { times: cursor.attempt, said })
        }
        JobState::Failed(said) => {
            tracing::warn!(part, attempt = cursor.attempt, said, "the export failed, submitting another job");
            pending(&cursor, api.polling().pause(cursor.attempt))
        }
        JobState::Ready(file) => finish(api, session, &request, cursor, (&part, file), records).await,
    }
}

/// Passes on the records of a file and advances to the next part.
async fn finish<A: ExportApi>(
    api: &A,
    session: &Session<'_>,
    request: &StepRequest<'_>,
    mut cursor: Cursor<A::Handle>,
    (part, file): (&str, A::File),
    records: &mut dyn Records,
) -> Result<Outcome, StepError> {
    records.begin(request.window);
    let bytes = api.download(session, request, part, file, records).await?;
    cursor.part += 1;
    cursor.attempt = 0;
    cursor.job = None;
    let next = (cursor.part < cursor.parts.len()).then(|| cursor.text()).transpose()?;
    Ok(Outcome::Page { next, bytes })
}

fn pending<H: Serialize + DeserializeOwned>(cursor: &Cursor<H>, pause: TimeDelta) -> Result<Outcome, StepError> {
    Ok(Outcome::Pending { until: clock::now() + pause, cursor: cursor.text()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::khoros;
    use super::*;
    use crate::fuzz::damaged_text;

    const CURSORS: &[&[u8]] = &[
        br#"{"parts":["CREATED 1/1","CLOSED 1/1"],"part":1,"attempt":2,"job":{"handle":{"workflow":"w","run":"r+/="},"submitted_at":"2026-03-01T00:00:00Z","polls":7}}"#,
        br#"{"parts":[""],"part":18446744073709551615,"attempt":4294967295,"job":{"handle":"s1.AAAA","submitted_at":"-262143-01-01T00:00:00Z","polls":4294967295}}"#,
        br#"{"parts":[],"part":0,"attempt":0,"job":null}"#,
    ];

    /// Checks a damaged cursor whose handles are of type `H`.
    fn assert_round_trips_or_refused<H: Serialize + DeserializeOwned>(text: &str) {
        let cursor = match Cursor::<H>::parse(text) {
            Ok(cursor) => cursor,
            Err(error) => return assert!(matches!(error, StepError::CursorUnknown), "{error:?}"),
        };
        let shown = cursor.text().unwrap();
        assert_eq!(Cursor::<H>::parse(&shown).unwrap().text().unwrap(), shown);
        assert!(cursor.parts.len() <= PARTS_MAX && shown.len() <= 6 * text.len() + 200, "{shown}");
        let Some(job) = cursor.job else { return };
        let polling = Polling::default();
        let pause = polling.pause(job.polls);
        assert!(pause >= TimeDelta::seconds(5) && pause <= TimeDelta::minutes(1), "{pause}");
        // The age can be computed for any time of submission.
        let _ = (Utc::now() - job.submitted_at).to_std();
    }

    proptest! {
        #[test]
        fn p3_a_damaged_cursor_of_an_export_is_refused_or_round_trips(text in damaged_text(CURSORS)) {
            assert_round_trips_or_refused::<String>(&text);
            assert_round_trips_or_refused::<khoros::Handle>(&text);
        }
    }

    #[test]
    fn p6_a_cursor_with_more_parts_than_a_slice_may_have_is_refused() {
        let of = |parts: usize| {
            let parts = vec![String::new(); parts];
            Cursor::<String> { parts, part: 0, attempt: 0, job: None }.text().unwrap()
        };
        assert!(Cursor::<String>::parse(&of(PARTS_MAX)).is_ok());
        assert!(Cursor::<String>::parse(&of(PARTS_MAX + 1)).is_err());
    }
}
