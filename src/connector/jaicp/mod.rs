//! JAICP Reporter (`facts/jaicp.md`), in both generations of its API.
//!
//! Sessions, messages and clients are read by ranges of time, page by page, until the rows match the vendor's count
//! (`paging`). All calls are listed in one table, and none of them writes (`endpoint`). All rows pass through `record`.

mod columns;
mod config;
mod endpoint;
mod entities;
#[cfg(test)]
mod fuzz;
mod interval;
mod lists;
mod page;
mod paging;
mod record;
mod reports;
mod stats;
mod status;
mod streams;
mod tasks;
mod times;
mod wire;

use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use url::Url;

use self::config::DEFAULT_BASE_URL;
pub use self::config::{Api, BySession, Settings};
use self::endpoint::{Endpoint, Request};
use self::entities::{KnownVerb, PageFormat};
pub use self::interval::Interval;
use self::page::Page;
use self::record::{RecordWriter, TokenFinder};
pub use self::streams::VENDOR;
use self::tasks::KnownTasks;
use self::wire::Paging;
use super::body;
use super::request::{self, Attempts};
use super::{Connector, Outcome, Records, Source, StepError, StepRequest, export};
use crate::decode::json::Splitter;
use crate::http::{Call, HttpError, Redactor, Session};

/// Entry of the list of connectors.
pub(super) const CONNECTOR: Connector = Connector {
    vendor: VENDOR,
    default_base_url: DEFAULT_BASE_URL,
    required_keys: &["vendor", "token"],
    schema: config::schema,
    streams: streams::streams,
    read: config::check,
    takes_records: false,
    hint,
};

fn hint(error: &StepError, windowed: bool) -> Option<&'static str> {
    Some(match error {
        StepError::Credentials => {
            "check `token`: it is of the project for `api: legacy`, and of the account for `api: v1`. A running daemon loads a \
             corrected file as soon as it is saved"
        }
        StepError::NotServed(_) => "check `base_url` and `api`, and that this installation has the report",
        StepError::Http(HttpError::TooLarge { .. }) => "make `page_size` smaller",
        error => return export::hint(error, windowed),
    })
}

/// One account.
#[derive(Debug)]
struct Jaicp {
    base_url: Url,
    settings: Settings,
    redactor: Redactor,
    token: TokenFinder,
    by_session: KnownVerb,
    /// Whether experiments are under the correctly spelled path.
    spelled_right: AtomicBool,
    /// Whether the warning about times without a zone was logged.
    warned: AtomicBool,
    known_tasks: KnownTasks,
}

#[async_trait]
impl Source for Jaicp {
    async fn step(
        &self,
        session: &Session<'_>,
        request: StepRequest<'_>,
        records: &mut dyn Records,
    ) -> Result<Outcome, StepError> {
        if request.stream.exported {
            return export::step(&reports::Reports(self), session, request, records).await;
        }
        if let Some(outcome) = self.entity_step(session, &request, records).await {
            return outcome;
        }
        match &*request.stream.name {
            "stats_series" => self.series_step(session, &request, records).await,
            "telephony_daily" => self.telephony_step(session, &request, records).await,
            _ => self.whole_step(session, &request, records).await,
        }
    }

    async fn log_in(&self, session: &Session<'_>) -> Result<(), StepError> {
        let ask = Request::new(Endpoint::Filters).query("analyticsSection", "SESSIONS");
        self.small(session, &ask, |body| lists::rows(body).map(|_| ())).await.map(|_| ())
    }
}

impl Jaicp {
    fn new(base_url: Url, settings: Settings, redactor: Redactor) -> Self {
        Self {
            token: TokenFinder::new(&settings.token),
            base_url,
            settings,
            redactor,
            by_session: KnownVerb::default(),
            spelled_right: AtomicBool::default(),
            warned: AtomicBool::default(),
            known_tasks: KnownTasks::default(),
        }
    }

    fn call(&self, ask: &Request) -> Result<Call, StepError> {
        endpoint::call(&self.base_url, &self.settings, ask)
    }

    /// Classifies an error.
    fn explained(&self, error: StepError) -> StepError {
        match error {
            StepError::Http(error) => wire::refusal(error, self.settings.api, &self.redactor),
            other => wire::unreadable(other),
        }
    }

    /// Sends a call whose response is small, and reads the response. Returns its bytes too.
    async fn small<T>(
        &self,
        session: &Session<'_>,
        ask: &Request,
        read: impl Fn(&[u8]) -> Result<T, StepError>,
    ) -> Result<(T, u64), StepError> {
        let response = self.small_unclassified(session, ask, read, None).await;
        response.map_err(|error| self.explained(error))
    }

    /// Like `small`, for a response with rows: without a body it has no rows.
    async fn small_rows<T: Default>(
        &self,
        session: &Session<'_>,
        ask: &Request,
        read: impl Fn(&[u8]) -> Result<T, StepError>,
    ) -> Result<(T, u64), StepError> {
        let response = self.small_unclassified(session, ask, read, Some(T::default)).await;
        response.map_err(|error| self.explained(error))
    }

    /// Like `small`, but returns HTTP errors unclassified. `none` is the result of a response without a body, if the
    /// call may have one.
    async fn small_unclassified<T>(
        &self,
        session: &Session<'_>,
        ask: &Request,
        read: impl Fn(&[u8]) -> Result<T, StepError>,
        none: Option<fn() -> T>,
    ) -> Result<(T, u64), StepError> {
        let attempts = Attempts::new(session).repeating_incomplete();
        let (response, body) = request::small(session, attempts, || self.call(ask), read, none).await?;
        Ok((response, body.len() as u64))
    }

    /// Requests a page, repeats the request if necessary, and passes on the rows while they arrive. If the page can be
    /// made smaller, a timeout of the gateway (504) is not repeated.
    async fn page(
        &self,
        session: &Session<'_>,
        ask: &Request,
        can_shrink: bool,
        format: PageFormat<'_>,
        records: &mut dyn Records,
    ) -> Result<Page, StepError> {
        let mut attempts = Attempts::new(session).repeating_incomplete();
        loop {
            records.begin(format.window);
            match self.attempt(session, ask, format, &attempts, records).await {
                Err(StepError::Http(error @ HttpError::Status { status: 504, .. })) if can_shrink => {
                    return Err(error.into());
                }
                Err(error) if attempts.again(&error).await => {}
                outcome => return outcome,
            }
        }
    }

    async fn attempt(
        &self,
        session: &Session<'_>,
        ask: &Request,
        format: PageFormat<'_>,
        attempts: &Attempts,
        records: &mut dyn Records,
    ) -> Result<Page, StepError> {
        let body = session.send(self.call(ask)?).await?;
        let accept_empty = attempts.accept_empty(body.is_no_content());
        let mut splitter = Splitter::new(format.member);
        let writer = RecordWriter::new(records, format.kind, &self.token, &self.warned);
        let mut writer = writer.of(format.page, format.of_session);
        let arrived = body::read(body, &mut writer, |chunk, writer| splitter.feed(chunk, writer)).await?;
        let (envelope, bytes) = arrived.end_or_empty(splitter.finish(), accept_empty).await?;
        let Some(envelope) = envelope else { return Ok(Page { ids: Vec::new(), size: 0, total: 0, bytes }) };
        let paging = Paging::read(&envelope, format.member)?;
        Ok(Page { ids: writer.ids, size: paging.page_size, total: paging.total(), bytes })
    }
}
