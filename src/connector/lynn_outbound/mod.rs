//! Lynn Outbound (`facts/lynn.md §6`).
//!
//! Three lists can be read, each as a whole. The calls are the closed list of [`ListReading`] and, only for
//! `tidegate push`, one writing method and the state of its tasks ([`load`]); the configuration cannot change that. The
//! blacklist is read contact by contact: the cursor keeps the contact, and the contacts are listed again after a
//! restart.

mod config;
mod dnd;
#[cfg(test)]
mod fuzz;
pub mod load;
pub(super) mod streams;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reqwest::Method;
use tokio::sync::Mutex;
use url::Url;

pub use self::config::{Settings, TaskWords};
pub use self::streams::VENDOR;
use super::body;
use super::lynn_account::{self, Tokens};
use super::request::Attempts;
use super::{Connector, Outcome, Records, Source, StepError, StepRequest, Window, export};
use crate::decode::json::Splitter;
use crate::http::{Call, HttpError, Payload, Redactor, Session};
use crate::secret::Secret;

/// Entry of the list of connectors.
pub(super) const CONNECTOR: Connector = Connector {
    vendor: VENDOR,
    default_base_url: lynn_account::DEFAULT_BASE_URL,
    required_keys: &["vendor", "tenant", "access_token", "access_token_secret"],
    schema: config::schema,
    streams: streams::streams,
    read: config::check,
    takes_records: true,
    hint,
};

fn hint(error: &StepError, windowed: bool) -> Option<&'static str> {
    match error {
        StepError::NotServed(_) => Some("check `paths` and `methods`: the vendor's Postman document has them"),
        error => lynn_account::hint(error).or_else(|| export::hint(error, windowed)),
    }
}

/// Path of the Reporting family's `CreateToken`.
const REPORTING_TOKEN: &str = "/api/LynnReporting/CreateToken";
/// Maximum size of a list in an object, which is held in memory; a bare array is parsed while it arrives.
const WRAPPER_BYTES_MAX: usize = 8 << 20;
/// Above the bandwidth of a whole period in any product.
const LIST_BYTES_MAX: u64 = 1 << 30;
/// The byte order mark that may precede JSON.
const BOM: &[u8] = b"\xEF\xBB\xBF";
/// Expected size of a list until one was read.
const LIST_BYTES_GUESS: u64 = 100_000;

/// One account.
#[derive(Debug)]
pub struct LynnOutbound {
    base_url: Url,
    settings: Settings,
    tokens: Tokens,
    redactor: Redactor,
    /// The contacts of the current reading of the blacklist.
    contacts: Mutex<Option<Contacts>>,
}

/// The time of a reading, and its contact ids in order.
type Contacts = (DateTime<Utc>, Arc<[String]>);

/// The calls that read; there are no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListReading<'a> {
    Campaigns,
    Contacts,
    /// The entries of one contact, or of all if the path has no placeholder for a contact.
    DndContacts(Option<&'a str>),
}

#[async_trait]
impl Source for LynnOutbound {
    async fn step(
        &self,
        session: &Session<'_>,
        request: StepRequest<'_>,
        records: &mut dyn Records,
    ) -> Result<Outcome, StepError> {
        let read = match &*request.stream.name {
            "campaigns" => ListReading::Campaigns,
            "contacts" => ListReading::Contacts,
            "dnd_contacts" => return self.dnd_step(session, &request, records).await,
            _ => return Err(StepError::Shape("a stream that this vendor does not have".to_owned())),
        };
        if request.cursor.is_some() {
            return Err(StepError::CursorUnknown);
        }
        let expected = request.expected.page_bytes.unwrap_or(LIST_BYTES_GUESS);
        let listed = self.list(session, read, expected, request.window, records).await?;
        wire::warn_if_page(&request.stream.name, listed.rows);
        Ok(Outcome::Page { next: None, bytes: listed.bytes })
    }

    async fn log_in(&self, session: &Session<'_>) -> Result<(), StepError> {
        self.token(session).await.map(|_| ())
    }

    async fn ask_quota(&self, session: &Session<'_>) -> Result<Option<serde_json::Value>, StepError> {
        lynn_account::info::ask(session, &self.base_url, &self.settings.account, REPORTING_TOKEN, &self.redactor)
            .await
            .map(Some)
    }
}

impl LynnOutbound {
    pub fn new(base_url: Url, settings: Settings, redactor: Redactor) -> Self {
        Self { base_url, settings, tokens: Tokens::default(), redactor, contacts: Mutex::default() }
    }

    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    async fn token(&self, session: &Session<'_>) -> Result<Secret, StepError> {
        self.tokens.get(session, &self.base_url, &self.settings.account).await
    }

    /// Requests a list, repeats the request if necessary, and passes the rows to `records`.
    async fn list(
        &self,
        session: &Session<'_>,
        read: ListReading<'_>,
        bytes_expected: u64,
        window: Window,
        records: &mut dyn Records,
    ) -> Result<Listed, StepError> {
        let (mut attempts, mut renewed) = (Attempts::new(session), false);
        loop {
            records.begin(window);
            let token = self.token(session).await?;
            let call = Call { bytes_expected, bytes_max: LIST_BYTES_MAX, ..self.read_call(read, &token)? };
            match self.attempt(session, call, &token, &attempts, records).await {
                Ok(listed) => return Ok(listed),
                Err(StepError::Http(HttpError::Status { status: 401, excerpt })) => {
                    self.tokens.renew(&excerpt, &mut renewed, &token).await?;
                }
                Err(error) if attempts.again(&error).await => {}
                Err(error) => return Err(lynn_account::classify(error)),
            }
        }
    }

    fn read_call(&self, read: ListReading<'_>, token: &Secret) -> Result<Call, StepError> {
        let endpoint = match read {
            ListReading::Campaigns => &self.settings.get_campaigns,
            ListReading::Contacts => &self.settings.get_contacts,
            ListReading::DndContacts(_) => &self.settings.get_dnd_contacts,
        };
        let path = match read {
            ListReading::DndContacts(Some(contact)) => wire::with_id(&endpoint.path, dnd::PLACEHOLDER, contact)?,
            _ => endpoint.path.clone(),
        };
        self.call(&path, &endpoint.method, Payload::None, token)
    }

    fn call(&self, path: &str, method: &Method, body: Payload, token: &Secret) -> Result<Call, StepError> {
        let account = &self.settings.account;
        Ok(Call {
            method: method.clone(),
            headers: account.subscription_header(),
            authorization: Some(account.authorization(token)),
            body,
            ..Call::get(account.url(&self.base_url, path)?)
        })
    }

    /// Passes on the rows of a body: of a bare array while it arrives, of any other body when it is complete.
    async fn attempt(
        &self,
        session: &Session<'_>,
        call: Call,
        token: &Secret,
        attempts: &Attempts,
        records: &mut dyn Records,
    ) -> Result<Listed, StepError> {
        let body = session.send(call).await?;
        let accept_empty = attempts.accept_empty(body.is_no_content());
        let mut reader = ListReader::begin();
        let arrived = body::read(body, records, |chunk, records| reader.feed(chunk, records)).await?;
        let (rows, bytes) = arrived.end_or_empty(self.ended(reader, token, records), accept_empty).await?;
        records.flush().await?;
        Ok(Listed { bytes, rows: rows.unwrap_or_default() })
    }

    fn ended(&self, reader: ListReader, token: &Secret, records: &mut dyn Records) -> Result<u64, StepError> {
        match reader {
            ListReader::Array(splitter) => Ok(splitter.finish()?.records),
            ListReader::Whole(whole) => self.whole(&whole, token, records),
            ListReader::Unknown(start) => self.whole(&start, token, records),
        }
    }

    fn whole(&self, body: &[u8], token: &Secret, records: &mut dyn Records) -> Result<u64, StepError> {
        let rows = wire::wrapped(body, &self.redactor.and(token))?;
        for row in &rows {
            records.record(row.get().as_bytes())?;
        }
        Ok(rows.len() as u64)
    }
}

/// The size of a list.
#[derive(Debug, Clone, Copy)]
struct Listed {
    bytes: u64,
    rows: u64,
}

/// Reads a body in the way that its first character requires.
enum ListReader {
    /// Only a byte order mark and white space so far.
    Unknown(Vec<u8>),
    Array(Splitter),
    Whole(Vec<u8>),
}

impl ListReader {
    const fn begin() -> Self {
        Self::Unknown(Vec::new())
    }

    fn feed(&mut self, chunk: &[u8], records: &mut dyn Records) -> Result<(), StepError> {
        let Self::Unknown(start) = self else { return self.feed_known(chunk, records) };
        start.extend_from_slice(chunk);
        let text = start.strip_prefix(BOM).unwrap_or(start);
        match text.trim_ascii_start().first() {
            None => start.truncate(BOM.len()),
            Some(_) if BOM.starts_with(start) => {}
            Some(first) => {
                let known = if *first == b'[' { Self::Array(Splitter::bare()) } else { Self::Whole(Vec::new()) };
                let start = std::mem::take(start);
                *self = known;
                return self.feed_known(&start, records);
            }
        }
        Ok(())
    }

    fn feed_known(&mut self, chunk: &[u8], records: &mut dyn Records) -> Result<(), StepError> {
        match self {
            Self::Unknown(_) => {}
            Self::Array(splitter) => splitter.feed(chunk, records)?,
            Self::Whole(body) if body.len() + chunk.len() > WRAPPER_BYTES_MAX => {
                return Err(HttpError::TooLarge { max: WRAPPER_BYTES_MAX as u64 }.into());
            }
            Self::Whole(body) => body.extend_from_slice(chunk),
        }
        Ok(())
    }
}
