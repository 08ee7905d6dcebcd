//! Khoros Care Analytics Reports (`facts/khoros_care.md`).
//!
//! Every export is a job: created, polled, downloaded. Of the URLs in the vendor's responses only the token is used;
//! calls go to the configured base URL, with the job's ids. The exception is the location of a file: it is fetched
//! without credentials, if its host is allowed ([`crate::http::Hosts::foreign`]).

mod config;
mod create;
mod file;
#[cfg(test)]
mod fuzz;
mod method;
mod parameters;
mod streams;
mod wire;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::Value;
use url::Url;

use self::config::DEFAULT_BASE_URL;
pub use self::config::{Method, ReportFormat, Settings};
use self::create::JobPart;
use self::method::Served;
pub use self::streams::{VENDOR, marketing_export};
pub(super) use self::wire::Handle;
use self::wire::Progress;
use super::body;
use super::export::{self, ExportApi, JobState, Polling};
use super::request::{self, Attempts, below};
use super::{Connector, Outcome, Records, Source, StepError, StepRequest};
use crate::catalogue::Mode;
use crate::clock;
use crate::decode::DecodeError;
use crate::decode::json::Splitter;
use crate::http::{Call, HttpError, Redactor, Session};
use crate::secret::Secret;

/// Entry of the list of connectors.
pub(super) const CONNECTOR: Connector = Connector {
    vendor: VENDOR,
    default_base_url: DEFAULT_BASE_URL,
    required_keys: &["vendor", "company_key", "username", "password"],
    schema: config::schema,
    streams: streams::streams,
    read: config::check,
    takes_records: false,
    hint,
};

fn hint(error: &StepError, windowed: bool) -> Option<&'static str> {
    Some(match error {
        StepError::Credentials => {
            "check `username` and `password`. A running daemon loads a corrected file as soon as it is saved"
        }
        StepError::NotServed(_) => "check `base_url`, and that the export is enabled for the company",
        error => return export::hint(error, windowed),
    })
}

const TEAMS: &str = "teams";
/// Responses that are neither a file nor a list of teams have a few kilobytes.
const RESPONSE_BYTES_MAX: u64 = 1 << 20;
const LIST_BYTES_MAX: u64 = 64 << 20;
/// Polls of a finished job for its URL, before the URL is built from its ids (`§3.2`).
const URL_POLLS: u32 = 3;
/// Number of jobs that are remembered; the memory only saves calls.
const JOBS_MAX: usize = 1000;

/// One account.
#[derive(Debug)]
struct Khoros {
    base_url: Url,
    settings: Settings,
    redactor: Redactor,
    /// State of the running jobs, by run id. Lost at a restart.
    jobs: Mutex<HashMap<String, Remembered>>,
    /// The HTTP method that the tenant supports, if `method` is `auto`. Lost at a restart, which costs one call.
    served: Mutex<Served>,
}

/// State of a job that is never stored.
#[derive(Debug, Clone, Default)]
struct Remembered {
    /// Token of the last URL that the vendor sent for the job, unchanged.
    token: Option<Secret>,
    /// How often the job was reported as done without a URL.
    url_missing: u32,
}

/// Location of a finished job's file.
#[derive(Debug)]
pub(super) struct File {
    handle: Handle,
    token: Option<Secret>,
}

#[async_trait]
impl Source for Khoros {
    async fn step(
        &self,
        session: &Session<'_>,
        request: StepRequest<'_>,
        records: &mut dyn Records,
    ) -> Result<Outcome, StepError> {
        if request.stream.name == TEAMS {
            return self.teams(session, &request, records).await;
        }
        export::step(self, session, request, records).await
    }

    async fn log_in(&self, session: &Session<'_>) -> Result<(), StepError> {
        let query = self.settings.company();
        let asked = self.ask(session, TEAMS, &query, LIST_BYTES_MAX, |_| Ok(())).await;
        let ((), body) = asked.map_err(|error| self.explained(error))?;
        match wire::result(&body, &self.redactor)? {
            Value::Array(_) => Ok(()),
            _ => Err(StepError::Shape("`result` is not a list of teams".to_owned())),
        }
    }
}

impl Khoros {
    fn new(base_url: Url, settings: Settings, redactor: Redactor) -> Self {
        Self { base_url, settings, redactor, jobs: Mutex::default(), served: Mutex::default() }
    }

    /// The list of teams (`§6`).
    async fn teams(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        records: &mut dyn Records,
    ) -> Result<Outcome, StepError> {
        let mut attempts = Attempts::new(session);
        loop {
            records.begin(request.window);
            match self.read_teams(session, &attempts, records).await {
                Ok(bytes) => return Ok(Outcome::Page { next: None, bytes }),
                Err(error) if attempts.again(&error).await => {}
                Err(error) => return Err(self.explained(error)),
            }
        }
    }

    async fn read_teams(
        &self,
        session: &Session<'_>,
        attempts: &Attempts,
        records: &mut dyn Records,
    ) -> Result<u64, StepError> {
        let body = session.send(self.get(TEAMS, &self.settings.company(), LIST_BYTES_MAX)?).await?;
        let accept_empty = attempts.accept_empty(body.is_no_content());
        let mut splitter = Splitter::new("result");
        let arrived = body::read(body, records, |chunk, records| splitter.feed(chunk, records)).await?;
        let (envelope, bytes) = arrived.end_or_empty(splitter.finish(), accept_empty).await?;
        if let Some(envelope) = envelope {
            file::check_list(&envelope, &self.redactor)?;
        }
        Ok(bytes)
    }

    fn get(&self, path: &str, query: &str, bytes_max: u64) -> Result<Call, HttpError> {
        let url = below(&self.base_url, path, Some(query))?;
        Ok(Call { authorization: Some(self.settings.authorization()), bytes_max, ..Call::get(url) })
    }

    /// Sends a GET whose response is small, and reads the response. Returns the body too.
    async fn ask<T>(
        &self,
        session: &Session<'_>,
        path: &str,
        query: &str,
        bytes_max: u64,
        read: impl Fn(&[u8]) -> Result<T, StepError>,
    ) -> Result<(T, Vec<u8>), StepError> {
        let call = || Ok(self.get(path, query, bytes_max)?);
        request::small(session, Attempts::new(session), call, read, None).await
    }

    /// Classifies an error.
    fn explained(&self, error: StepError) -> StepError {
        match error {
            StepError::Http(error) => self.refused(error),
            other => other,
        }
    }

    /// Classifies an HTTP error; the vendor documents none of them (`§9`).
    fn refused(&self, error: HttpError) -> StepError {
        let HttpError::Status { status, excerpt } = error else { return error.into() };
        let hint = match status {
            401 => {
                "check `username` and `password`, which are case-sensitive, and `base_url`, which depends on the tenant's \
                 region; the user must be of type Analytics, enabled by Khoros Support and created outside SSO"
            }
            403 => {
                "check `company_key`, which is case-sensitive, and that the user is of type Analytics and enabled for \
                 this company"
            }
            300..=399 => "check `base_url`: the API never redirects",
            _ => "",
        };
        if !hint.is_empty() {
            let what = match status {
                401 => "the credentials (status 401)".to_owned(),
                403 => "access (status 403)".to_owned(),
                other => format!("it redirects (status {other})"),
            };
            return StepError::Refused { what, hint };
        }
        if let Some(what) = wire::words(excerpt.text(), &self.redactor) {
            let hint =
                "check `metrics`, `parameters` and `locale` of the connection; if they are right, ask the vendor";
            return StepError::Refused { what: format!("{what} (status {status})"), hint };
        }
        match status {
            404 | 405 => StepError::Refused { what: format!("the call (status {status})"), hint: "check `base_url`" },
            400..=499 if status != 408 && status != 429 => StepError::NotServed(status),
            _ => HttpError::Status { status, excerpt }.into(),
        }
    }

    fn remembered(&self) -> MutexGuard<'_, HashMap<String, Remembered>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, handle: &Handle) {
        self.remembered().remove(&handle.run);
    }

    /// Keeps the token of the last URL, if it has one.
    fn remember(&self, handle: &Handle, token: Option<Secret>) {
        let mut jobs = self.remembered();
        if jobs.len() >= JOBS_MAX {
            jobs.clear();
        }
        let job = jobs.entry(handle.run.clone()).or_default();
        job.token = token.or(job.token.take());
    }

    /// The query of a job's URL: the last token, or the company's key (`§11.2`).
    fn query(&self, token: Option<&Secret>) -> String {
        token.map_or_else(|| self.settings.company(), |token| format!("analyticsAccessToken={}", token.expose()))
    }

    /// Whether to poll a finished job once more for the URL of its file.
    fn url_may_come(&self, handle: &Handle) -> bool {
        let mut jobs = self.remembered();
        let job = jobs.entry(handle.run.clone()).or_default();
        job.url_missing += 1;
        job.url_missing <= URL_POLLS
    }

    async fn progress(
        &self,
        session: &Session<'_>,
        handle: &Handle,
        token: Option<&Secret>,
    ) -> Result<(Progress, Option<Secret>), StepError> {
        let redactor = token.map_or_else(|| self.redactor.clone(), |token| self.redactor.and(token));
        let (path, query) = (handle.path("status"), self.query(token));
        let read = |body: &[u8]| wire::status(body, handle, &redactor);
        match self.ask(session, &path, &query, RESPONSE_BYTES_MAX, read).await {
            Ok((progress, _)) => Ok(progress),
            // Jobs are kept for a day (`§8`).
            Err(StepError::Http(HttpError::Status { status: status @ (404 | 410), .. })) => {
                Ok((Progress::Failed(format!("the vendor does not know it any more (status {status})")), None))
            }
            // The token may have expired before the job ended.
            Err(StepError::Http(HttpError::Status { status: 401 | 403, .. })) if token.is_some() => {
                self.forget(handle);
                Box::pin(self.progress(session, handle, None)).await
            }
            Err(error) => Err(self.explained(error)),
        }
    }
}

impl ExportApi for Khoros {
    type Handle = Handle;
    type File = File;

    fn polling(&self) -> Polling {
        self.settings.polling
    }

    /// Empty for a window before the vendor's history. The rows that an earlier reading stored for such a window cannot
    /// be read again, so they are kept.
    async fn parts(&self, _: &Session<'_>, request: &StepRequest<'_>) -> Result<Vec<String>, StepError> {
        let window = request.window;
        let served = if request.stream.windowed() {
            create::served(&self.settings, window, clock::now())
        } else {
            Some(window.start)
        };
        if served == Some(window.start) {
            return Ok(JobPart::all(request));
        }
        let days = self.settings.history.as_secs() / 86_400;
        let (start, end) = (window.start, window.end);
        if request.stream.mode == Mode::ReplaceWindow && !request.expected.fresh {
            return Err(StepError::Refused {
                what: format!("the window from {start} to {end} begins before its history of {days} days"),
                hint: "nothing to do: the rows of that window stay as they are. Ask for a later range, or raise `history` \
                       if your contract has more",
            });
        }
        match served {
            None => {
                tracing::warn!(%start, %end, days, "the window is before the vendor's history and is skipped");
            }
            Some(from) => {
                tracing::warn!(%start, %from, days, "the vendor's history begins within the window, reading from its beginning");
            }
        }
        Ok(if served.is_some() { JobPart::all(request) } else { Vec::new() })
    }

    async fn submit(&self, session: &Session<'_>, request: &StepRequest<'_>, part: &str) -> Result<Handle, StepError> {
        let part = JobPart::read(part)?;
        let body = self.create(session, request, &part).await?;
        let (handle, token) = wire::created(&body, &self.redactor)?;
        self.remember(&handle, token);
        Ok(handle)
    }

    async fn poll(
        &self,
        session: &Session<'_>,
        _: &StepRequest<'_>,
        handle: &Handle,
    ) -> Result<JobState<File>, StepError> {
        let token = self.remembered().get(&handle.run).and_then(|job| job.token.clone());
        let (progress, token) = self.progress(session, handle, token.as_ref()).await?;
        self.remember(handle, token);
        Ok(match progress {
            Progress::Running(said) => JobState::Running(said),
            Progress::Done(false) if self.url_may_come(handle) => {
                JobState::Running("COMPLETED without a URL".to_owned())
            }
            Progress::Done(_) => {
                let token = self.remembered().remove(&handle.run).and_then(|job| job.token);
                JobState::Ready(File { handle: handle.clone(), token })
            }
            Progress::Failed(said) => {
                self.forget(handle);
                JobState::Failed(said)
            }
        })
    }

    async fn download(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        _: &str,
        file: File,
        records: &mut dyn Records,
    ) -> Result<u64, StepError> {
        self.fetch(session, request, &file, records).await
    }
}

/// Whether another attempt may succeed: the file was cut, or an error page came in its place.
const fn may_pass(error: &DecodeError) -> bool {
    matches!(error, DecodeError::Cut | DecodeError::Packed(_) | DecodeError::NotJson(_) | DecodeError::NotCsv(_))
}
