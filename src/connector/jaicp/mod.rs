//! JAICP Reporter (`vendors/jaicp.md`), in both generations of its interface.
//!
//! Sessions, messages and clients are read by ranges of time, page by page, until the pages add up (`paging`). Everything
//! that can be sent is a line of one table, and none of it writes (`endpoint`). Rows pass `record` on their way.

mod columns;
mod config;
mod endpoint;
mod entities;
#[cfg(test)]
mod fuzz;
mod interval;
mod lists;
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

pub use self::config::{Api, BySession, DATE_FILTERS, DEFAULT_BASE_URL, Settings};
use self::endpoint::{Endpoint, Request};
use self::entities::{KnownVerb, Shaped};
pub use self::interval::Interval;
use self::paging::Page;
use self::record::{RecordWriter, TokenFinder};
pub use self::streams::VENDOR;
use self::tasks::KnownTasks;
use self::wire::Paging;
use super::body;
use super::request::{self, Attempts};
use super::{Connector, Outcome, Records, Source, StepError, StepRequest, export};
use crate::decode::DecodeError;
use crate::decode::json::Splitter;
use crate::http::{Call, HttpError, Redactor, Session};

/// What the list of connectors says of this one.
pub const CONNECTOR: Connector = Connector {
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
            "check `token`: it is of the project for `api: legacy`, and of the account for `api: v1`"
        }
        StepError::NotServed(_) => "check `base_url` and `api`, and that this installation has the report",
        StepError::Http(HttpError::TooLarge { .. }) => "make `page_size` smaller",
        error => return export::hint(error, windowed),
    })
}

/// One account.
#[derive(Debug)]
pub struct Jaicp {
    base_url: Url,
    settings: Settings,
    redactor: Redactor,
    token: TokenFinder,
    by_session: KnownVerb,
    /// Whether experiments are under the path that is spelled right.
    spelled_right: AtomicBool,
    /// Whether it was said that times lack a zone.
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
    pub fn new(base_url: Url, settings: Settings, redactor: Redactor) -> Self {
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

    /// A fault in this vendor's words.
    fn told(&self, error: StepError) -> StepError {
        match error {
            StepError::Http(error) => wire::refusal(error, self.settings.api, &self.redactor),
            other => wire::unreadable(other),
        }
    }

    /// Sends a call whose answer is small, again if a fault passes, and reads it; returns its bytes too. What cannot be read
    /// is asked for once more (`§2`). Faults of HTTP are as they came.
    async fn small<T>(
        &self,
        session: &Session<'_>,
        ask: &Request,
        read: impl Fn(&[u8]) -> Result<T, StepError>,
    ) -> Result<(T, u64), StepError> {
        let answer = self.small_as_it_came(session, ask, read, None).await;
        answer.map_err(|error| self.told(error))
    }

    /// The same for an answer of rows: without a body it has none.
    async fn small_rows<T: Default>(
        &self,
        session: &Session<'_>,
        ask: &Request,
        read: impl Fn(&[u8]) -> Result<T, StepError>,
    ) -> Result<(T, u64), StepError> {
        let answer = self.small_as_it_came(session, ask, read, Some(T::default)).await;
        answer.map_err(|error| self.told(error))
    }

    /// `none` is what an answer without a body comes to, where it may be one.
    async fn small_as_it_came<T>(
        &self,
        session: &Session<'_>,
        ask: &Request,
        read: impl Fn(&[u8]) -> Result<T, StepError>,
        none: Option<fn() -> T>,
    ) -> Result<(T, u64), StepError> {
        let attempts = Attempts::new(session).repeating_incomplete();
        let (answer, body) = request::small(session, attempts, || self.call(ask), read, none).await?;
        Ok((answer, body.len() as u64))
    }

    /// Sends for a page, again if a fault passes, and hands its rows over while they arrive. Where the page can be made
    /// smaller, a gateway's timeout is not a fault that passes.
    async fn page(
        &self,
        session: &Session<'_>,
        ask: &Request,
        can_shrink: bool,
        shaped: Shaped<'_>,
        records: &mut dyn Records,
    ) -> Result<Page, StepError> {
        let mut attempts = Attempts::new(session).repeating_incomplete();
        loop {
            records.begin(shaped.window);
            match self.attempt(session, ask, shaped, &attempts, records).await {
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
        shaped: Shaped<'_>,
        attempts: &Attempts,
        records: &mut dyn Records,
    ) -> Result<Page, StepError> {
        let body = session.send(self.call(ask)?).await?;
        let accept_empty = attempts.accept_empty(body.is_no_content());
        let mut splitter = Splitter::new(shaped.member);
        let shaper = RecordWriter::new(records, shaped.kind, &self.token, &self.warned);
        let mut shaper = shaper.of(shaped.page, shaped.of_session);
        let bytes = body::read(body, &mut shaper, |chunk, shaper| splitter.feed(chunk, shaper)).await?;
        let paging = match splitter.finish() {
            Err(DecodeError::Empty) if accept_empty => return Ok(Page { ids: Vec::new(), size: 0, total: 0, bytes }),
            envelope => Paging::read(&envelope?, shaped.member)?,
        };
        Ok(Page { ids: shaper.ids, size: paging.page_size, total: paging.total(), bytes })
    }
}
