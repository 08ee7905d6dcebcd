//! One connection's way out ([`Gate`]) and what one task sends through it ([`Session`]).

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use reqwest::header::{AUTHORIZATION, HeaderMap, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode};
use url::Url;
use uuid::Uuid;

use super::body::Body;
use super::departure::Departure;
use super::error::{Excerpt, HttpError};
use super::outcome::CallOutcome;
use super::retry::{Retry, RetryState};
use crate::quota::{CallKind, Calls, Grant, Ledger, Limit, Request, Reservation, Settlement, Unit, parse_wait};
use crate::secret::Secret;

/// A run that has to wait longer for a quota gives its worker back.
pub const WORKER_WAIT_MAX: Duration = Duration::from_mins(1);
/// Enough of an error body to find a wait or a cause in.
const EXCERPT_BYTES_MAX: usize = 64 << 10;
/// Request line and headers of both directions, counted against a bandwidth limit.
const HEADER_BYTES: u64 = 1_000;
/// A request that left later than this after its grant has its departure moved in the ledger at once.
const LATE: Duration = Duration::from_millis(10);

/// One connection's HTTP client and quota ledger, shared by everything that reads it.
#[derive(Debug)]
pub struct Gate {
    client: reqwest::Client,
    ledger: Ledger,
    timeout: Duration,
    retry: Retry,
}

impl Gate {
    /// `timeout` bounds the wait for an answer's head and every silence in its body.
    pub fn new(ledger: Ledger, timeout: Duration, retry: Retry) -> Result<Self, HttpError> {
        Ok(Self { client: super::client()?, ledger, timeout, retry })
    }

    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What one task, or one check, sends; higher `priority` and older `due` go first when a quota is scarce.
    pub fn session(&self, priority: i32, due: DateTime<Utc>) -> Session<'_> {
        self.session_for(Uuid::new_v4(), priority, due)
    }

    /// The same under a name that lasts: a task that was put off and comes back as the same `waiter` takes its own
    /// place in the queue, not one more.
    pub const fn session_for(&self, waiter: Uuid, priority: i32, due: DateTime<Utc>) -> Session<'_> {
        Session {
            gate: self,
            priority,
            due,
            waiter,
            calls: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            records: Mutex::new(Vec::new()),
        }
    }
}

/// One request to a vendor. Its body may hold credentials, so it does not print.
pub struct Call {
    pub kind: CallKind,
    pub method: Method,
    pub url: Url,
    /// Sent as they are; marked sensitive.
    pub headers: Vec<(&'static str, Secret)>,
    /// Scheme and credential of the Authorization header.
    pub authorization: Option<(String, Secret)>,
    pub json: Option<Vec<u8>>,
    /// Bytes that request and answer are expected to take.
    pub bytes_expected: u64,
    /// Uncompressed bytes of an answer beyond this are not read.
    pub bytes_max: u64,
}

/// What one call came to, for metrics.
#[derive(Debug, Clone)]
pub struct CallRecord {
    pub kind: CallKind,
    pub outcome: CallOutcome,
    pub took: Duration,
    pub waited: Duration,
    pub waited_for: Option<String>,
    pub bytes: u64,
}

/// What one task sends.
#[derive(Debug)]
pub struct Session<'a> {
    gate: &'a Gate,
    priority: i32,
    due: DateTime<Utc>,
    waiter: Uuid,
    calls: AtomicU64,
    bytes: AtomicU64,
    records: Mutex<Vec<CallRecord>>,
}

impl Session<'_> {
    /// Counts the attempts of one call of that kind. They keep the distance of [`Session::pace`], whatever is configured.
    pub fn retry(&self, kind: CallKind) -> RetryState {
        RetryState::new(&self.gate.retry, self.pace(kind))
    }

    /// The distance that calls of that kind keep from each other on average under the limits in force that are made
    /// for them: 4 s where 1 per 4 s is allowed, 20 s where 3 per minute are.
    pub fn pace(&self, kind: CallKind) -> Duration {
        let own =
            |limit: &&Limit| limit.unit == Unit::Calls && limit.calls != Calls::Every && limit.calls.include(kind);
        self.ledger().limits().filter(own).map(Limit::pace).max().unwrap_or_default()
    }

    pub const fn ledger(&self) -> &Ledger {
        &self.gate.ledger
    }

    /// Calls and bytes since this was last asked.
    pub fn take_traffic(&self) -> (u64, u64) {
        (self.calls.swap(0, Ordering::Relaxed), self.bytes.swap(0, Ordering::Relaxed))
    }

    /// The calls since this was last asked.
    pub fn take_records(&self) -> Vec<CallRecord> {
        self.records.lock().map(|mut records| std::mem::take(&mut *records)).unwrap_or_default()
    }

    /// Reserves, sends, and answers the body of a success; everything else is an error, quota refusals noted in the
    /// ledger.
    pub async fn send(&self, call: Call) -> Result<Body<'_>, HttpError> {
        let departure = Departure::default();
        let request = build(&self.gate.client, &call, &departure)?;
        let waiting = Instant::now();
        let (reservation, waited_for) = self.reserve(call.kind, call.bytes_expected).await?;
        let waited = waiting.elapsed();
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut in_flight = InFlight {
            session: self,
            kind: call.kind,
            reservation,
            sent: HEADER_BYTES + call.json.as_ref().map_or(0, |json| json.len() as u64),
            received: 0,
            announced: None,
            expected: call.bytes_expected,
            watched: call.json.is_some(),
            departure,
            begun: Instant::now(),
            waited,
            waited_for,
        };
        let outcome = tokio::time::timeout(self.gate.timeout, in_flight.exchange(request)).await;
        let response = match outcome {
            Err(_) => {
                let read = in_flight.read_of_nothing();
                in_flight.settle(CallOutcome::Timeout, read).await?;
                return Err(HttpError::Transport { what: "it timed out", source: None });
            }
            Ok(Err(error)) => {
                let read = in_flight.read_of_nothing();
                in_flight.settle(CallOutcome::Transport, read).await?;
                return Err(error);
            }
            Ok(Ok(response)) => response,
        };
        if response.status() == StatusCode::OK {
            return Ok(Body::new(response, in_flight, self.gate.timeout, call.bytes_max));
        }
        Err(self.refused(call.kind, response, in_flight).await?)
    }

    async fn reserve(&self, kind: CallKind, bytes: u64) -> Result<(Reservation, Option<String>), HttpError> {
        let request = Request { kind, bytes, priority: self.priority, due: self.due, waiter: self.waiter };
        let mut waited_for = None;
        let mut patience = WORKER_WAIT_MAX;
        loop {
            match self.gate.ledger.reserve(&request).await? {
                Grant::Now(reservation) => return Ok((reservation, waited_for)),
                Grant::Wait { until, wait, limit } => {
                    // Not `until`, which is on the database's clock. Beyond some minutes `wait` says no more than that.
                    if wait > WORKER_WAIT_MAX || patience.is_zero() {
                        self.gate.ledger.leave(self.waiter).await?;
                        return Err(HttpError::Quota { limit, until });
                    }
                    waited_for = Some(limit);
                    let pause = wait.max(Duration::from_millis(1));
                    patience = patience.saturating_sub(pause);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Turns an answer that is no success into what the caller can do about it.
    async fn refused(
        &self,
        kind: CallKind,
        response: Response,
        in_flight: InFlight<'_>,
    ) -> Result<HttpError, HttpError> {
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let reason = status.canonical_reason().unwrap_or_default();
        let mut body = Body::new(response, in_flight, self.gate.timeout, EXCERPT_BYTES_MAX as u64);
        let mut excerpt = Vec::new();
        let whole = loop {
            match body.chunk().await {
                Ok(Some(chunk)) => excerpt.extend_from_slice(&chunk),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        let answer = parse_wait(status.as_u16(), retry_after.as_deref(), reason, &excerpt, Utc::now());
        let limited = answer.limit(kind, &self.gate.ledger.limits().cloned().collect::<Vec<_>>()).cloned();
        let outcome = if limited.is_some() { CallOutcome::Quota } else { CallOutcome::of_status(status.as_u16()) };
        body.end(outcome, if whole { Read::Whole } else { Read::Part }).await?;
        if let Some(limit) = limited {
            let until = self.gate.ledger.block(&limit.name, answer.wait()).await?;
            return Ok(HttpError::LimitHit { status: status.as_u16(), limit: limit.name, until });
        }
        let excerpt = Excerpt::new(String::from_utf8_lossy(&excerpt).into_owned());
        Ok(HttpError::Status { status: status.as_u16(), excerpt })
    }
}

/// How much of an answer was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    Whole,
    Part,
}

/// A call that was granted and has not ended.
#[derive(Debug)]
pub(super) struct InFlight<'s> {
    session: &'s Session<'s>,
    kind: CallKind,
    reservation: Reservation,
    sent: u64,
    pub(super) received: u64,
    /// What the head of the answer says about the length of its body.
    pub(super) announced: Option<u64>,
    expected: u64,
    /// Whether the departure is seen: only that of a body is.
    watched: bool,
    departure: Departure,
    begun: Instant,
    waited: Duration,
    waited_for: Option<String>,
}

impl InFlight<'_> {
    /// Sends the request and waits for the head of the answer; tells the ledger if the request left late.
    async fn exchange(&mut self, request: reqwest::Request) -> Result<Response, HttpError> {
        let answer = self.session.gate.client.execute(request);
        tokio::pin!(answer);
        if !self.watched {
            return answer.await.map_err(HttpError::transport);
        }
        let ledger = &self.session.gate.ledger;
        let renewal = self.reservation.renewal();
        loop {
            tokio::select! {
                biased;
                outcome = &mut answer => return outcome.map_err(HttpError::transport),
                () = self.departure.left() => break,
                // The connection is not open yet. Without a word the next call would be granted before this one leaves.
                () = tokio::time::sleep(renewal) => {
                    let offset = self.reservation.age() + 2 * renewal;
                    self.reservation.departed(ledger, offset).await?;
                }
            }
        }
        let offset = self.departure_offset();
        if offset > LATE {
            // The answer is not read meanwhile, but it is on its way; the ledger takes a moment.
            self.reservation.departed(ledger, offset).await?;
        }
        answer.await.map_err(HttpError::transport)
    }

    /// Without an answer: a request that never left the machine took no bytes, any other may have cost all of them.
    fn read_of_nothing(&self) -> Read {
        if self.watched && self.departure.at().is_none() { Read::Whole } else { Read::Part }
    }

    /// How long after the grant the request left; until now when it is not known.
    fn departure_offset(&self) -> Duration {
        let age = self.reservation.age();
        self.departure.at().map_or(age, |at| age.saturating_sub(at.elapsed()))
    }

    /// Replaces the estimate by what the call cost; answers the bytes. What was on its way when we stopped reading was
    /// sent all the same.
    pub(super) async fn settle(self, outcome: CallOutcome, read: Read) -> Result<u64, HttpError> {
        let exact = self.sent + self.received + HEADER_BYTES;
        let bytes = match read {
            Read::Whole => exact,
            Read::Part => {
                let announced = self.sent + self.announced.unwrap_or(0) + HEADER_BYTES;
                exact.max(announced).max(self.expected)
            }
        };
        let settlement = Settlement { bytes, sent_at_offset: Some(self.departure_offset()) };
        self.session.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Ok(mut records) = self.session.records.lock() {
            records.push(CallRecord {
                kind: self.kind,
                outcome,
                took: self.begun.elapsed(),
                waited: self.waited,
                waited_for: self.waited_for,
                bytes,
            });
        }
        self.reservation.settle(&self.session.gate.ledger, settlement).await?;
        Ok(bytes)
    }
}

fn build(client: &reqwest::Client, call: &Call, departure: &Departure) -> Result<reqwest::Request, HttpError> {
    let unfit = |what: &str| HttpError::Request(format!("{what} holds characters that a header cannot carry"));
    let mut headers = HeaderMap::new();
    if let Some((scheme, credential)) = &call.authorization {
        let mut value: reqwest::header::HeaderValue =
            format!("{scheme} {}", credential.expose()).parse().map_err(|_| unfit("the credential"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    for (name, secret) in &call.headers {
        let mut value: reqwest::header::HeaderValue = secret.expose().parse().map_err(|_| unfit(name))?;
        value.set_sensitive(true);
        headers.insert(*name, value);
    }
    let mut request = client.request(call.method.clone(), call.url.clone()).headers(headers);
    if let Some(json) = &call.json {
        request = request
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .body(reqwest::Body::wrap(departure.watch(json.clone())));
    }
    request.build().map_err(HttpError::transport)
}
