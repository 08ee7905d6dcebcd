//! A vendor's response as a stream of bytes: decompressed, counted and bounded.

use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;

use super::coding::Coding;
use super::in_flight::{BodyRead, InFlight};
use super::{CallOutcome, HttpError};

/// A body that arrives slower than this, in bytes per second, is treated as failed.
const PACE_MIN: u64 = 1_000;

/// The body of a successful response. It must be [`Body::finish`]ed so that the ledger records its real cost; if
/// dropped, the estimate stays counted.
pub struct Body<'a> {
    response: reqwest::Response,
    in_flight: InFlight<'a>,
    coding: Coding,
    /// Bytes that have arrived and are not decompressed yet.
    packed: Bytes,
    /// Longer silence between two chunks means a broken connection.
    silence_max: Duration,
    /// More bytes are refused, both decompressed (against gzip bombs) and compressed (against endless empty members).
    bytes_max: u64,
    /// Compressed bytes that have arrived.
    bytes_arrived: u64,
    /// Time spent waiting for chunks.
    waited: Duration,
}

impl<'a> Body<'a> {
    pub(super) fn new(
        response: reqwest::Response,
        mut in_flight: InFlight<'a>,
        silence_max: Duration,
        bytes_max: u64,
    ) -> Self {
        let coding = Coding::of(response.headers());
        // The quota counts decompressed bytes, and gzip does not announce their number.
        in_flight.announced = if matches!(coding, Coding::Gzip(_)) { None } else { response.content_length() };
        Self {
            response,
            in_flight,
            coding,
            packed: Bytes::new(),
            silence_max,
            bytes_max,
            bytes_arrived: 0,
            waited: Duration::ZERO,
        }
    }

    /// Whether the response has no content (status 204).
    pub fn is_no_content(&self) -> bool {
        self.response.status() == StatusCode::NO_CONTENT
    }

    /// The content type of the body, if it is text.
    pub fn content_type(&self) -> Option<&str> {
        self.response.headers().get(CONTENT_TYPE)?.to_str().ok()
    }

    /// Maximum number of bytes read from the body.
    pub const fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// The next chunk, decompressed; `None` at the end. One network chunk may yield several.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        let chunk = match &self.coding {
            Coding::Identity => self.arrived().await?,
            Coding::Gzip(_) => self.unpacked().await?,
            Coding::Other(name) => return Err(HttpError::Encoding(name)),
        };
        if let Some(chunk) = &chunk {
            self.in_flight.received += chunk.len() as u64;
            if self.in_flight.received > self.bytes_max {
                return Err(HttpError::TooLarge { max: self.bytes_max });
            }
        }
        Ok(chunk)
    }

    async fn unpacked(&mut self) -> Result<Option<Bytes>, HttpError> {
        loop {
            let Coding::Gzip(gunzip) = &mut self.coding else { return Ok(None) };
            let mut packed = &self.packed[..];
            let unpacked = gunzip.take(&mut packed).map_err(HttpError::packed)?;
            let taken = self.packed.len() - packed.len();
            self.packed.advance(taken);
            if !unpacked.is_empty() {
                return Ok(Some(unpacked.into()));
            }
            if let Some(arrived) = self.arrived().await? {
                self.packed = arrived;
                continue;
            }
            let Coding::Gzip(gunzip) = &mut self.coding else { return Ok(None) };
            let last = gunzip.finish().map_err(HttpError::packed)?;
            return Ok((!last.is_empty()).then(|| last.into()));
        }
    }

    /// The next chunk from the network.
    async fn arrived(&mut self) -> Result<Option<Bytes>, HttpError> {
        let asked = Instant::now();
        let next = tokio::time::timeout(self.silence_max, self.response.chunk()).await;
        self.waited += asked.elapsed();
        let piece = match next {
            Err(_) => return Err(HttpError::Transport { what: "the body stopped arriving", source: None }),
            Ok(outcome) => outcome.map_err(HttpError::transport)?,
        };
        if let Some(piece) = &piece {
            self.bytes_arrived += piece.len() as u64;
            if self.bytes_arrived > self.bytes_max {
                return Err(HttpError::TooLarge { max: self.bytes_max });
            }
            // A byte now and then never exceeds the silence limit and would continue forever.
            let patience = self.silence_max + Duration::from_secs(self.bytes_arrived / PACE_MIN);
            if self.waited > patience {
                return Err(HttpError::Transport { what: "the body arrives too slowly", source: None });
            }
        }
        Ok(piece)
    }

    /// The whole body, for responses that are small. The caller reads it; what cannot be a document at all is recorded
    /// as unreadable here.
    pub async fn small(mut self) -> Result<Vec<u8>, HttpError> {
        let mut bytes = Vec::new();
        loop {
            let chunk = match self.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => {
                    self.abandon(CallOutcome::of(&error)).await?;
                    return Err(error);
                }
            };
            bytes.extend_from_slice(&chunk);
        }
        let is_readable = self.is_no_content() || may_be_read(&bytes);
        let outcome = if is_readable { CallOutcome::Ok } else { CallOutcome::Unreadable };
        self.end(outcome, BodyRead::Whole).await?;
        Ok(bytes)
    }

    /// Records what the call cost. Returns the bytes of request and response together.
    pub async fn finish(self) -> Result<u64, HttpError> {
        self.finish_as(CallOutcome::Ok).await
    }

    /// The same for a body that arrived whole, with the outcome of reading it.
    pub async fn finish_as(self, outcome: CallOutcome) -> Result<u64, HttpError> {
        self.in_flight.settle(outcome, BodyRead::Whole).await
    }

    /// Ends a call whose body was useless or not read to its end. The vendor counts all that it sent, so at least the
    /// expected size is counted.
    pub async fn abandon(self, outcome: CallOutcome) -> Result<(), HttpError> {
        self.end(outcome, BodyRead::Part).await
    }

    /// The beginning of an unexpected body. Ends the call with the outcome that `outcome` derives from it.
    pub(super) async fn excerpt(mut self, outcome: impl FnOnce(&[u8]) -> CallOutcome) -> Result<Vec<u8>, HttpError> {
        let mut excerpt = Vec::new();
        let read = loop {
            match self.chunk().await {
                Ok(Some(chunk)) => excerpt.extend_from_slice(&chunk),
                Ok(None) => break BodyRead::Whole,
                Err(_) => break BodyRead::Part,
            }
        };
        self.end(outcome(&excerpt), read).await?;
        Ok(excerpt)
    }

    async fn end(self, outcome: CallOutcome, read: BodyRead) -> Result<(), HttpError> {
        self.in_flight.settle(outcome, read).await.map(|_| ())
    }
}

/// Whether a body can be what was asked for: plain text or complete JSON, and not the page of a proxy.
fn may_be_read(body: &[u8]) -> bool {
    let text = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body).trim_ascii();
    match text.first() {
        None | Some(b'<') => false,
        Some(b'{' | b'[') => serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok(),
        Some(_) => true,
    }
}

/// The response contains its URL, which may be enough to get a file, so it does not print.
impl std::fmt::Debug for Body<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Body({} bytes read)", self.in_flight.received)
    }
}
