//! Lynn Reporting (`vendors/lynn.md`): what is special about this vendor.
//!
//! A token is minted lazily, shared by all streams and renewed once when a call is refused with 401. A report is read in
//! pages of up to 10,000 rows; `lastDocument` leads from one to the next and is kept byte for byte. A window that would
//! outgrow the bandwidth left is read in parts, each with its own pages.

mod cursor;
mod settings;
mod token;
mod wire;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use url::Url;

use self::cursor::Cursor;
pub use self::settings::{DEFAULT_BASE_URL, Product, Settings};
use self::token::Tokens;
use self::wire::{Answer, ReportRequest};
use super::{Outcome, Records, StepError, StepRequest, Window};
use crate::decode::json::Splitter;
use crate::http::{Call, CallOutcome, HttpError, Redactor, Session};
use crate::quota::CallKind;

/// Retries keep the vendor's distance even where no limit is configured (`§8.4`).
const RETRY_PAUSE_MIN: Duration = Duration::from_secs(4);
/// A window of more pages is an endless loop: 10,000 pages of 10,000 rows.
const PAGES_MAX: u64 = 10_000;
/// What a page may take before one was seen.
const PAGE_BYTES_GUESS: u64 = 500_000;
/// A window is not split into parts shorter than this.
const PART_SECS_MIN: u64 = 60;
/// Share of the bandwidth left that a part may be expected to use.
const BUDGET_PERCENT: u64 = 90;

/// One Lynn account.
#[derive(Debug)]
pub struct Lynn {
    base_url: Url,
    settings: Settings,
    tokens: Tokens,
    redactor: Redactor,
}

impl Lynn {
    pub fn new(base_url: Url, settings: Settings, redactor: Redactor) -> Self {
        Self { base_url, settings, tokens: Tokens::default(), redactor }
    }

    /// Mints a token unless a good one is at hand; sends nothing else.
    pub async fn log_in(&self, session: &Session<'_>) -> Result<(), StepError> {
        self.tokens.get(session, &self.base_url, &self.settings).await.map(|_| ())
    }

    /// Reads one page of a report.
    pub async fn step(
        &self,
        session: &Session<'_>,
        request: StepRequest<'_>,
        records: &mut impl Records,
    ) -> Result<Outcome, StepError> {
        let mut cursor = match request.cursor {
            Some(text) => Cursor::parse(text)?,
            None => Cursor::begin(request.window),
        };
        if cursor.page == 0 {
            self.plan_part(session, &request, &mut cursor).await?;
        }
        let (mut answer, mut bytes) = self.page(session, &request, &cursor, records).await?;
        if cursor.page == 0
            && let Some(shorter) = self.outgrows(session, &cursor, &answer, bytes).await?
        {
            tracing::info!(until = %shorter, "window outgrows the bandwidth left, reading a part of it first");
            cursor.to = shorter;
            (answer, bytes) = self.page(session, &request, &cursor, records).await?;
        }
        let next = self.next(request.window, cursor, &answer)?;
        Ok(Outcome::Page { next: next.map(|cursor| cursor.text()), bytes })
    }

    /// Shortens the part ahead so that it fits into the bandwidth left, as far as earlier readings tell (`§9`).
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
        let expected = slice_bytes * cursor.secs() / request.expected.slice_secs.max(1);
        if let Some(to) = fitting(cursor, expected, left) {
            cursor.to = to;
        }
        Ok(())
    }

    /// The end of the part that fits, when the first page shows that this one does not.
    async fn outgrows(
        &self,
        session: &Session<'_>,
        cursor: &Cursor,
        answer: &Answer,
        bytes: u64,
    ) -> Result<Option<DateTime<Utc>>, StepError> {
        let following = answer.page_count.min(PAGES_MAX);
        match self.bandwidth_left(session).await? {
            Some(left) if following > 0 && following * bytes > left * BUDGET_PERCENT / 100 => {
                Ok(fitting(cursor, (following + 1) * bytes, left))
            }
            _ => Ok(None),
        }
    }

    async fn bandwidth_left(&self, session: &Session<'_>) -> Result<Option<u64>, StepError> {
        Ok(session.ledger().remaining_bytes().await.map_err(HttpError::from)?)
    }

    /// Sends the query, again if a fault passes, and hands its rows over.
    async fn page(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        cursor: &Cursor,
        records: &mut impl Records,
    ) -> Result<(Answer, u64), StepError> {
        let mut retry = session.retry(RETRY_PAUSE_MIN);
        let (mut renewed, mut reread) = (false, false);
        loop {
            records.begin(Window { start: cursor.from, end: cursor.to });
            let token = self.tokens.get(session, &self.base_url, &self.settings).await?;
            match self.attempt(session, request, cursor, &token, records).await {
                Ok(page) => return Ok(page),
                Err(StepError::Http(HttpError::Status { status: 401, excerpt })) => {
                    if excerpt.mentions("subscription key") {
                        return Err(StepError::SubscriptionKey);
                    }
                    if renewed {
                        return Err(StepError::Credentials);
                    }
                    self.tokens.forget(&token).await;
                    renewed = true;
                }
                Err(StepError::Http(error)) => {
                    if !retry.again(&error).await {
                        return Err(wire::classify(error));
                    }
                }
                Err(error @ (StepError::Unreadable(_) | StepError::Missing(_))) => {
                    if reread {
                        return Err(error);
                    }
                    reread = true;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn attempt(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        cursor: &Cursor,
        token: &crate::secret::Secret,
        records: &mut impl Records,
    ) -> Result<(Answer, u64), StepError> {
        let query = ReportRequest::new(&self.settings, cursor);
        let call = Call {
            kind: CallKind::Data,
            method: Method::from_bytes(self.settings.execute_report_method.as_bytes())
                .map_err(|_| HttpError::Request("method is none of HTTP's".to_owned()))?,
            url: self.settings.execute_report_url(&self.base_url, &request.stream.vendor_id)?,
            headers: self.settings.subscription_header(),
            authorization: Some((self.settings.authorization_scheme.clone(), token.clone())),
            json: Some(query.body()?),
            bytes_expected: request.expected.page_bytes.unwrap_or(PAGE_BYTES_GUESS),
        };
        let mut body = session.send(call).await?;
        let mut splitter = Splitter::new("result");
        loop {
            let chunk = match body.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => {
                    body.abandon(CallOutcome::Transport).await?;
                    return Err(error.into());
                }
            };
            if let Err(error) = splitter.feed(&chunk, records) {
                body.abandon(CallOutcome::Unreadable).await?;
                return Err(error.into());
            }
            records.flush().await?;
        }
        let bytes = body.finish().await?;
        let answer = Answer::read(&splitter.finish()?, &self.settings, &self.redactor)?;
        Ok((answer, bytes))
    }

    /// Where the page after this one begins (`§3.1`).
    fn next(&self, window: Window, cursor: Cursor, answer: &Answer) -> Result<Option<Cursor>, StepError> {
        let planned = if cursor.page == 0 { answer.page_count } else { cursor.planned };
        if planned > PAGES_MAX || cursor.page >= PAGES_MAX {
            return Err(StepError::Endless(PAGES_MAX));
        }
        let stuck = cursor.last_document.is_some() && cursor.last_document_text() == answer.last_document_text();
        if stuck && answer.rows > 0 {
            return Err(StepError::CursorStuck);
        }
        let full = answer.rows >= u64::from(self.settings.page_size);
        let more = answer.rows > 0
            && answer.last_document.is_some()
            && (cursor.page < planned || (self.settings.probe_full_page && full));
        if more {
            if cursor.page >= planned {
                tracing::warn!(page = cursor.page, "the last announced page is full, asking for one more");
            }
            return Ok(Some(cursor.following(planned, answer.last_document.clone())));
        }
        Ok((cursor.to < window.end).then(|| Cursor::begin(Window { start: cursor.to, end: window.end })))
    }
}

/// The end of the part of `cursor`'s window that uses no more than its share of `left`; none when all of it fits.
fn fitting(cursor: &Cursor, expected: u64, left: u64) -> Option<DateTime<Utc>> {
    let budget = left / 100 * BUDGET_PERCENT;
    if expected <= budget || cursor.secs() <= PART_SECS_MIN {
        return None;
    }
    let share = u128::from(cursor.secs()) * u128::from(budget) / u128::from(expected.max(1));
    let secs = u64::try_from(share).unwrap_or(u64::MAX).clamp(PART_SECS_MIN, cursor.secs() - 1);
    Some(cursor.from + TimeDelta::seconds(i64::try_from(secs).ok()?))
}
