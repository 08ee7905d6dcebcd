//! The HTTP access of one connection ([`Gate`]), and of one task through it ([`Session`]).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use reqwest::header::{LOCATION, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use uuid::Uuid;

use super::body::Body;
use super::call::{self, Call};
use super::client;
use super::error::{Excerpt, HttpError};
use super::hosts::{Hosts, Vetted};
use super::in_flight::InFlight;
use super::outcome::CallOutcome;
use super::recorder::{CallRecord, Recorder};
use super::retry::{Retry, RetryState, WORKER_WAIT_MAX};
use super::sent_at::Departure;
use crate::clock;
use crate::quota::{self, CallKind, Calls, Grant, Ledger, Limit, Request, Reservation, Unit, parse_wait};

/// Enough of an error body to find a wait or a cause.
const EXCERPT_BYTES_MAX: u64 = 64 << 10;
/// The body of a redirect is not used; a small one is read so that the connection can be reused.
const REDIRECT_BYTES_MAX: u64 = 16 << 10;

/// One connection's hosts and quota ledger, shared by all its tasks. The HTTP clients are those of the process.
#[derive(Debug)]
pub struct Gate {
    client: &'static reqwest::Client,
    /// For hosts that the operator has not configured.
    foreign: &'static reqwest::Client,
    ledger: Ledger,
    hosts: Hosts,
    timeout: Duration,
    retry: Retry,
}

impl Gate {
    /// `timeout` bounds the wait for a response's headers and every silence in its body.
    pub fn new(ledger: Ledger, hosts: Hosts, timeout: Duration, retry: Retry) -> Result<Self, HttpError> {
        Ok(Self { client: client::own()?, foreign: client::foreign()?, ledger, hosts, timeout, retry })
    }

    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The session of one task or one check. Higher `priority` and older `due` go first when a quota is scarce.
    pub fn session(&self, priority: i32, due: DateTime<Utc>) -> Session<'_> {
        self.session_for(Uuid::new_v4(), priority, due)
    }

    /// The same under a stable name: a postponed task that comes back as the same `waiter` keeps its place in the queue
    /// and takes no second one.
    pub const fn session_for(&self, waiter: Uuid, priority: i32, due: DateTime<Utc>) -> Session<'_> {
        Session { gate: self, priority, due, waiter, recorder: Recorder::new() }
    }
}

/// The result of a call that may be redirected.
#[expect(clippy::large_enum_variant, reason = "one per call, and taken apart at once")]
pub enum Reply<'a> {
    Body(Body<'a>),
    /// The location of the file: absolute if it can be parsed, untrusted, to be checked by [`Hosts`] before anything is
    /// sent there. Do not show or store it, since it may be enough to get the file.
    Redirect(String),
}

impl std::fmt::Debug for Reply<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Body(_) => "Body",
            Self::Redirect(_) => "Redirect",
        })
    }
}

/// A call with a reservation, ready to be sent. If dropped instead, it stays counted.
pub struct ReservedCall<'s> {
    session: &'s Session<'s>,
    request: reqwest::Request,
    in_flight: InFlight<'s>,
    bytes_max: u64,
}

/// A call that did not succeed.
#[derive(Debug)]
pub struct SendFailure {
    pub error: HttpError,
    /// Whether the vendor may have processed the request. `false` only if it certainly was not sent, or if a response
    /// says that it was refused.
    pub may_be_taken: bool,
}

/// What one task sends.
#[derive(Debug)]
pub struct Session<'a> {
    gate: &'a Gate,
    priority: i32,
    due: DateTime<Utc>,
    waiter: Uuid,
    recorder: Recorder,
}

impl Session<'_> {
    /// Counts the attempts of one call of this kind. They keep the distance of [`Session::pace`], whatever is
    /// configured.
    pub fn retry(&self, kind: CallKind) -> RetryState {
        RetryState::new(&self.gate.retry, self.pace(kind))
    }

    /// The longest that a page which began to arrive may bring nothing: a stalled body, and the wait before the next
    /// attempt.
    pub const fn longest_wait(&self) -> Duration {
        self.gate.timeout.saturating_add(self.gate.retry.max)
    }

    /// The average distance between calls of this kind under the limits in force: 4 s for 1 per 4 s, 20 s for 3 per
    /// minute.
    pub fn pace(&self, kind: CallKind) -> Duration {
        let own =
            |limit: &&Limit| limit.unit == Unit::Calls && limit.calls != Calls::Every && limit.calls.include(kind);
        self.ledger().limits().filter(own).map(Limit::pace).max().unwrap_or_default()
    }

    pub const fn ledger(&self) -> &Ledger {
        &self.gate.ledger
    }

    /// The checks for URLs from the vendor.
    pub const fn hosts(&self) -> &Hosts {
        &self.gate.hosts
    }

    /// Calls and bytes since the last time this was called.
    pub fn take_traffic(&self) -> (u64, u64) {
        self.recorder.take_traffic()
    }

    /// The calls since the last time this was called.
    pub fn take_records(&self) -> Vec<CallRecord> {
        self.recorder.take_records()
    }

    /// How long calls waited for each limit since the last time this was called, also those that were given up.
    pub fn take_waits(&self) -> BTreeMap<String, Duration> {
        self.recorder.take_waits()
    }

    /// Reserves, sends, and returns the body of a success. Everything else is an error; quota refusals are recorded in
    /// the ledger.
    pub async fn send(&self, call: Call) -> Result<Body<'_>, HttpError> {
        let bytes_max = call.bytes_max;
        let (response, in_flight) = self.exchange(call).await?;
        if is_body(&response) {
            return Ok(Body::new(response, in_flight, self.gate.timeout, bytes_max));
        }
        Err(self.refused(response, in_flight).await?)
    }

    /// Only reserves, for a call that must be recorded before it is sent.
    pub async fn reserve_call(&self, call: Call) -> Result<ReservedCall<'_>, HttpError> {
        let bytes_max = call.bytes_max;
        let (request, in_flight) = self.prepare(call).await?;
        Ok(ReservedCall { session: self, request, in_flight, bytes_max })
    }

    /// The same for a call that may be redirected (`facts/khoros_care.md §3.3`).
    pub async fn send_or_redirect(&self, call: Call) -> Result<Reply<'_>, HttpError> {
        let bytes_max = call.bytes_max;
        let (response, in_flight) = self.exchange(call).await?;
        self.reply(response, in_flight, bytes_max).await
    }

    /// Fetches a file from a vendor's URL, without credential or vendor headers. The host is not the vendor's API, so
    /// the fetch needs no quota and is not blocked by refusals; calls and bytes are still counted.
    pub async fn fetch(&self, target: &Vetted, bytes_max: u64) -> Result<Reply<'_>, HttpError> {
        let client = if target.is_trusted() { self.gate.client } else { self.gate.foreign };
        let request = client.get(target.url().clone()).build().map_err(HttpError::transport)?;
        let in_flight = InFlight::new(self.ledger(), &self.recorder, CallKind::Data, None);
        let failed = |error| HttpError::foreign(error, target.place());
        let (response, in_flight) = in_flight.response(client, request, self.gate.timeout, failed).await?;
        self.reply(response, in_flight, bytes_max).await
    }

    /// Reserves, sends, and waits for the response's headers.
    async fn exchange(&self, call: Call) -> Result<(Response, InFlight<'_>), HttpError> {
        let (request, in_flight) = self.prepare(call).await?;
        in_flight.response(self.gate.client, request, self.gate.timeout, HttpError::transport).await
    }

    /// Reserves quota for a call.
    async fn prepare(&self, call: Call) -> Result<(reqwest::Request, InFlight<'_>), HttpError> {
        let (kind, expected, sent) = (call.kind, call.bytes_expected, call.body.len());
        let departure = Departure::default();
        let request = call::build(self.gate.client, call, &departure)?;
        let reservation = self.reserve(kind, expected).await?;
        let in_flight = InFlight {
            sent,
            expected,
            observes_sending: sent > 0,
            departure,
            ..InFlight::new(self.ledger(), &self.recorder, kind, Some(reservation))
        };
        Ok((request, in_flight))
    }

    /// Returns the body or the redirect; everything else is an error.
    async fn reply<'s>(
        &'s self,
        response: Response,
        in_flight: InFlight<'s>,
        bytes_max: u64,
    ) -> Result<Reply<'s>, HttpError> {
        if is_body(&response) {
            return Ok(Reply::Body(Body::new(response, in_flight, self.gate.timeout, bytes_max)));
        }
        let Some(location) = location(&response) else { return Err(self.refused(response, in_flight).await?) };
        Body::new(response, in_flight, self.gate.timeout, REDIRECT_BYTES_MAX).excerpt(|_| CallOutcome::Ok).await?;
        Ok(Reply::Redirect(location))
    }

    async fn reserve(&self, kind: CallKind, bytes: u64) -> Result<Reservation, HttpError> {
        let request = Request { kind, bytes, priority: self.priority, due: self.due, waiter: self.waiter };
        let mut patience = WORKER_WAIT_MAX;
        loop {
            match self.gate.ledger.reserve(&request).await? {
                Grant::Now(reservation) => return Ok(reservation),
                Grant::Wait { until, wait, limit } => {
                    // Not `until`, which is on the database's clock. The ledger does not report a `wait` beyond some
                    // minutes exactly.
                    if wait > WORKER_WAIT_MAX || patience.is_zero() {
                        self.gate.ledger.cancel_wait(self.waiter).await?;
                        return Err(HttpError::OwnQuota { limit, until });
                    }
                    // Never zero, or this loop might not end.
                    let wait = wait.max(Duration::from_micros(100));
                    patience = patience.saturating_sub(wait);
                    let begun = Instant::now();
                    tokio::time::sleep(wait).await;
                    self.recorder.waited(limit, begun.elapsed());
                }
            }
        }
    }

    /// Classifies an unsuccessful response by what the caller can do about it.
    async fn refused(&self, response: Response, in_flight: InFlight<'_>) -> Result<HttpError, HttpError> {
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let reason = response.status().canonical_reason().unwrap_or_default();
        let (kind, reserved) = (in_flight.kind, in_flight.reservation.is_some());
        let limits: Vec<Limit> = self.ledger().limits().filter(|_| reserved).cloned().collect();
        let mut hit = None;
        let body = Body::new(response, in_flight, self.gate.timeout, EXCERPT_BYTES_MAX);
        let excerpt = body
            .excerpt(|excerpt| {
                let refusal = parse_wait(status, retry_after.as_deref(), reason, excerpt, clock::now());
                hit = refusal.limit(kind, &limits).map(|limit| (limit.name.clone(), refusal.wait()));
                if hit.is_some() { CallOutcome::Quota } else { CallOutcome::of_status(status) }
            })
            .await?;
        if let Some((limit, wait)) = hit {
            let until = self.ledger().block(&limit, wait).await?;
            return Ok(HttpError::RefusedForQuota { status, limit, until });
        }
        let retry_after = retry_after.and_then(|value| quota::header_wait(&value, clock::now()));
        Ok(HttpError::Status { status, excerpt: Excerpt::new(&excerpt).after(retry_after) })
    }
}

impl<'s> ReservedCall<'s> {
    /// Sends once and returns the body of a success. The caller decides whether a second attempt could do harm.
    pub async fn send(self) -> Result<Body<'s>, SendFailure> {
        let Self { session, request, in_flight, bytes_max } = self;
        let (departure, observes_sending) = (in_flight.departure.clone(), in_flight.observes_sending);
        let gate = session.gate;
        let sent = in_flight.response(gate.client, request, gate.timeout, HttpError::transport).await;
        let (response, in_flight) =
            sent.map_err(|error| SendFailure { error, may_be_taken: !observes_sending || departure.at().is_some() })?;
        // A write may also return 201 or 202.
        if response.status().is_success() {
            return Ok(Body::new(response, in_flight, gate.timeout, bytes_max));
        }
        // A refusal is certain; a server that failed or timed out may have processed the request before.
        let status = response.status().as_u16();
        let may_be_taken = status == 408 || !matches!(status, 300..=499);
        match session.refused(response, in_flight).await {
            Ok(error) | Err(error) => Err(SendFailure { error, may_be_taken }),
        }
    }
}

/// The request may contain credentials and rows, so it does not print.
impl std::fmt::Debug for ReservedCall<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ReservedCall")
    }
}

/// Whether the response is complete: a whole body, or status 204.
fn is_body(response: &Response) -> bool {
    matches!(response.status(), StatusCode::OK | StatusCode::NO_CONTENT)
}

/// The target of a redirect, as an absolute URL if it can be parsed.
fn location(response: &Response) -> Option<String> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    Some(response.url().join(location).map_or_else(|_| location.to_owned(), String::from))
}
