//! Lynn Reporting (`facts/lynn.md`).
//!
//! A token is created when first needed, shared by all streams, and renewed once when a call is refused with 401. A
//! report is read in pages of up to 10,000 rows; `lastDocument` leads from one page to the next and is kept byte for
//! byte. A window that would exceed the remaining bandwidth is read in parts, each with its own pages.

mod config;
mod cursor;
mod dates;
#[cfg(test)]
mod fuzz;
mod streams;
mod wire;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use url::Url;

pub use self::config::{HttpMethod, Settings};
use self::cursor::{Cursor, Query};
pub use self::streams::{VENDOR, extra_report};
use self::wire::Response;
use super::body;
pub use super::lynn_account::Product;
use super::lynn_account::{self, Tokens};
use super::request::Attempts;
use super::{Connector, Expected, Outcome, Records, Source, StepError, StepRequest, Window};
use crate::decode::json::Splitter;
use crate::http::{Call, HttpError, Payload, Redactor, Session};
use crate::quota::CallKind;
use crate::secret::Secret;

/// Entry of the list of connectors.
pub(super) const CONNECTOR: Connector = Connector {
    vendor: VENDOR,
    default_base_url: lynn_account::DEFAULT_BASE_URL,
    required_keys: &["vendor", "tenant", "access_token", "access_token_secret"],
    schema: config::schema,
    streams: streams::streams,
    read: config::check,
    takes_records: false,
    hint,
};

fn hint(error: &StepError, _windowed: bool) -> Option<&'static str> {
    Some(match error {
        StepError::NotServed(_) => {
            "check that the report is enabled for this environment, its id if it is one of `reports`, and \
             `paths.execute_report` and `method`"
        }
        StepError::DatesRefused { .. } => {
            "ask the vendor how it reads dates, then set `date_format` and `filter_timezone`"
        }
        StepError::Http(HttpError::TooLarge { .. }) => "make `page_size` smaller",
        error => return lynn_account::hint(error),
    })
}

/// Pages of a window (10,000 rows each); more are taken for an endless loop.
const PAGES_MAX: u64 = 10_000;
/// Full pages beyond the announced ones; more are taken for an endless loop.
const PROBES_MAX: u64 = 20;
/// Above the bandwidth of a whole period in any product.
const PAGE_BYTES_MAX: u64 = 1 << 30;
/// Expected size of a page until one was read.
const PAGE_BYTES_GUESS: u64 = 500_000;
/// Minimum length of a part of a window.
const PART_SECS_MIN: u64 = 60;
/// Share of the remaining bandwidth that a part may be expected to use.
const BUDGET_PERCENT: u64 = 90;

/// One Lynn account.
#[derive(Debug)]
struct Lynn {
    base_url: Url,
    settings: Settings,
    tokens: Tokens,
    redactor: Redactor,
}

#[async_trait]
impl Source for Lynn {
    async fn step(
        &self,
        session: &Session<'_>,
        request: StepRequest<'_>,
        records: &mut dyn Records,
    ) -> Result<Outcome, StepError> {
        let mut cursor = match request.cursor {
            Some(text) => Cursor::parse(text)?,
            None => Cursor::begin(request.window),
        };
        if cursor.page == 0 {
            self.plan_part(session, &request, &mut cursor).await?;
        }
        let (mut response, mut bytes) = self.page(session, &request, &cursor, records).await?;
        if cursor.page == 0
            && let Some(shorter) = self.shorter_end(session, &cursor, &response, bytes).await?
        {
            tracing::info!(until = %shorter, "the window exceeds the remaining bandwidth, reading a part of it first");
            cursor.to = shorter;
            let expected = Expected { page_bytes: Some(bytes), ..request.expected };
            let request = StepRequest { expected, ..request };
            (response, bytes) = self.page(session, &request, &cursor, records).await?;
        }
        let next = self.next(request.window, cursor, &response)?;
        Ok(Outcome::Page { next: next.map(|cursor| cursor.text()), bytes })
    }

    async fn log_in(&self, session: &Session<'_>) -> Result<(), StepError> {
        self.tokens.get(session, &self.base_url, &self.settings.account).await.map(|_| ())
    }

    async fn ask_quota(&self, session: &Session<'_>) -> Result<Option<serde_json::Value>, StepError> {
        let account = &self.settings.account;
        lynn_account::info::ask(session, &self.base_url, account, &account.create_token_path, &self.redactor)
            .await
            .map(Some)
    }
}

impl Lynn {
    fn new(base_url: Url, settings: Settings, redactor: Redactor) -> Self {
        Self { base_url, settings, tokens: Tokens::default(), redactor }
    }

    /// Shortens the next part so that it fits into the remaining bandwidth, judging by earlier readings (`§9`).
    async fn plan_part(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        cursor: &mut Cursor,
    ) -> Result<(), StepError> {
        let (Some(slice_bytes), Some(left)) = (request.expected.slice_bytes, self.bandwidth_left(session).await?)
        else {
            return Ok(());
        };
        let expected = share(slice_bytes, cursor.secs(), request.expected.slice_secs);
        // A page is the minimum: if it does not fit now, its call waits for the quota.
        let budget = budget(left).max(request.expected.page_bytes.unwrap_or(0));
        if let Some(to) = self.fitting(cursor, expected, budget) {
            cursor.to = to;
        }
        Ok(())
    }

    /// The end of the part that fits, if the first page shows that the current part does not. Returns `None` also if
    /// not even a page fits any more: then the page is kept, and the next one waits for the quota.
    async fn shorter_end(
        &self,
        session: &Session<'_>,
        cursor: &Cursor,
        response: &Response,
        bytes: u64,
    ) -> Result<Option<DateTime<Utc>>, StepError> {
        let following = response.page_count.unwrap_or(0).min(PAGES_MAX);
        match self.bandwidth_left(session).await? {
            Some(left) if following.saturating_mul(bytes) > budget(left) && budget(left) >= bytes => {
                Ok(self.fitting(cursor, (following + 1).saturating_mul(bytes), budget(left)))
            }
            _ => Ok(None),
        }
    }

    /// The end of the part of `cursor`'s window that uses no more than `budget`. Returns `None` if the whole window
    /// fits, or if it cannot be split: a part never ends at a local time that occurs twice, because both parts would
    /// have the rows of that time.
    fn fitting(&self, cursor: &Cursor, expected: u64, budget: u64) -> Option<DateTime<Utc>> {
        if expected <= budget || cursor.secs() <= PART_SECS_MIN {
            return None;
        }
        let secs = share(cursor.secs(), budget, expected).clamp(PART_SECS_MIN, cursor.secs() - 1);
        let to = cursor.from + TimeDelta::seconds(i64::try_from(secs).ok()?);
        Some(dates::unambiguous(to, self.settings.filter_timezone)).filter(|to| *to < cursor.to)
    }

    async fn bandwidth_left(&self, session: &Session<'_>) -> Result<Option<u64>, StepError> {
        Ok(session.ledger().remaining_bytes().await.map_err(HttpError::from)?)
    }

    /// Sends the query, repeats it if necessary, and passes its rows to `records`.
    async fn page(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        cursor: &Cursor,
        records: &mut dyn Records,
    ) -> Result<(Response, u64), StepError> {
        let query = cursor.query(&self.settings);
        let (mut attempts, mut renewed) = (Attempts::new(session).repeating_incomplete(), false);
        loop {
            records.begin(Window { start: cursor.from, end: cursor.to });
            let token = self.tokens.get(session, &self.base_url, &self.settings.account).await?;
            let call = self.call(request, cursor, &query, &token)?;
            match self.attempt(session, call, &token, &attempts, records).await {
                Ok(page) => return Ok(page),
                Err(StepError::Http(HttpError::Status { status: 401, excerpt })) => {
                    self.tokens.renew(&excerpt, &mut renewed, &token).await?;
                }
                Err(error) if attempts.again(&error).await => {}
                Err(error) => return Err(wire::classify(error, &query)),
            }
        }
    }

    fn call(
        &self,
        request: &StepRequest<'_>,
        cursor: &Cursor,
        query: &Query,
        token: &Secret,
    ) -> Result<Call, StepError> {
        Ok(Call {
            kind: CallKind::Data,
            method: self.settings.execute_report_method.verb(),
            url: self.settings.execute_report_url(&self.base_url, &request.stream.vendor_id)?,
            headers: self.settings.account.subscription_header(),
            authorization: Some(self.settings.account.authorization(token)),
            body: Payload::Json(wire::request_body(query, cursor.last_document.as_deref())?),
            bytes_expected: request.expected.page_bytes.unwrap_or(PAGE_BYTES_GUESS),
            bytes_max: PAGE_BYTES_MAX,
        })
    }

    async fn attempt(
        &self,
        session: &Session<'_>,
        call: Call,
        token: &Secret,
        attempts: &Attempts,
        records: &mut dyn Records,
    ) -> Result<(Response, u64), StepError> {
        let body = session.send(call).await?;
        let accept_empty = attempts.accept_empty(body.is_no_content());
        let mut splitter = Splitter::new("result");
        let arrived = body::read(body, records, |chunk, records| splitter.feed(chunk, records)).await?;
        let (envelope, bytes) = arrived.end_or_empty(splitter.finish(), accept_empty).await?;
        let response = match envelope {
            None => Response::empty(),
            Some(envelope) => Response::read(&envelope, &self.settings, &self.redactor.and(token))?,
        };
        Ok((response, bytes))
    }

    /// The cursor of the next page (`§3.1`).
    fn next(&self, window: Window, cursor: Cursor, response: &Response) -> Result<Option<Cursor>, StepError> {
        let planned = if cursor.page == 0 { response.page_count } else { cursor.planned };
        if planned.is_some_and(|planned| planned > PAGES_MAX) || cursor.page >= PAGES_MAX {
            return Err(StepError::Endless(PAGES_MAX));
        }
        let stuck = cursor.last_document.is_some() && cursor.last_document_text() == response.last_document_text();
        if stuck && response.rows > 0 {
            return Err(StepError::CursorStuck);
        }
        let query = cursor.query(&self.settings);
        let full = response.rows >= u64::from(query.size);
        // Without a count, only a page that is not full is known to be the last: a full page without `lastDocument` is
        // an error.
        let announced = planned.map_or(full, |planned| cursor.page < planned);
        let beyond = planned.map_or(0, |planned| cursor.page.saturating_sub(planned));
        if beyond > 0 && response.rows > 0 {
            tracing::warn!(rows = response.rows, "the vendor has more pages than it announced");
        }
        let probe = !announced && full && self.settings.probe_full_page;
        if probe && beyond >= PROBES_MAX {
            return Err(StepError::Endless(cursor.page));
        }
        // `pageCount` does not include the first page.
        let (page, pages) = (cursor.page + 1, planned.map_or(cursor.page + 2, |planned| planned + 1));
        if announced && response.rows == 0 {
            return Err(StepError::PagesMissing { page, pages, why: "is empty although more follow" });
        }
        match &response.last_document {
            Some(_) if announced || (probe && response.rows > 0) => {
                return Ok(Some(cursor.following(query, planned, response.last_document.clone())));
            }
            None if announced => {
                return Err(StepError::PagesMissing {
                    page: page + 1,
                    pages,
                    why: "cannot be requested: the page before has no lastDocument",
                });
            }
            _ => {}
        }
        Ok((cursor.to < window.end).then(|| Cursor::begin(Window { start: cursor.to, end: window.end })))
    }
}

/// The part of the remaining bandwidth that may be planned.
const fn budget(left: u64) -> u64 {
    left / 100 * BUDGET_PERCENT
}

/// `whole` × `part` / `of`.
fn share(whole: u64, part: u64, of: u64) -> u64 {
    u64::try_from(u128::from(whole) * u128::from(part) / u128::from(of.max(1))).unwrap_or(u64::MAX)
}
