//! A call between its reservation and its end: reports to the ledger when it was sent and what it cost.

use std::time::{Duration, Instant};

use reqwest::{Client, Request, Response};

use super::HttpError;
use super::outcome::CallOutcome;
use super::recorder::{CallRecord, Recorder};
use super::sent_at::Departure;
use crate::quota::{CallKind, Ledger, LedgerError, Reservation, Settlement};

/// First line and headers of one direction, counted against a bandwidth limit.
const HEADER_BYTES: u64 = 1_000;
/// If a request is sent later than this after its reservation, the ledger is updated at once.
const LATE: Duration = Duration::from_millis(10);

/// How much of a response was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyRead {
    Whole,
    Part,
}

/// A call that may be sent and has not ended.
#[derive(Debug)]
pub(super) struct InFlight<'s> {
    pub(super) ledger: &'s Ledger,
    pub(super) recorder: &'s Recorder,
    pub(super) kind: CallKind,
    /// `None` for a request that is not a call of the vendor's API.
    pub(super) reservation: Option<Reservation>,
    /// Bytes of the request's body.
    pub(super) sent: u64,
    pub(super) received: u64,
    /// The body length that the response's headers announce.
    pub(super) announced: Option<u64>,
    pub(super) expected: u64,
    /// Whether the time of sending is observed, which only a request with a body allows.
    pub(super) observes_sending: bool,
    pub(super) departure: Departure,
    pub(super) begun: Instant,
    /// `false` if no connection could be made.
    pub(super) was_sent: bool,
}

/// Counts a call when it is dropped, so that a call that is given up before its response counts as well.
struct Counting<'s>(Option<&'s Recorder>);

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        if let Some(recorder) = self.0 {
            recorder.sent();
        }
    }
}

impl<'s> InFlight<'s> {
    /// A call without a body, of which nothing is known yet.
    pub(super) fn new(
        ledger: &'s Ledger,
        recorder: &'s Recorder,
        kind: CallKind,
        reservation: Option<Reservation>,
    ) -> Self {
        Self {
            ledger,
            recorder,
            kind,
            reservation,
            sent: 0,
            received: 0,
            announced: None,
            expected: 0,
            observes_sending: false,
            departure: Departure::default(),
            begun: Instant::now(),
            was_sent: true,
        }
    }

    /// Sends the request and waits at most `patience` for the response's headers; without a response, the call is
    /// settled. `failed` classifies the error. A call for which no connection could be made does not count as sent.
    pub(super) async fn response(
        mut self,
        client: &Client,
        request: Request,
        patience: Duration,
        failed: impl FnOnce(reqwest::Error) -> HttpError,
    ) -> Result<(Response, Self), HttpError> {
        let mut counting = Counting(Some(self.recorder));
        let (outcome, error) = match tokio::time::timeout(patience, self.exchange(client, request)).await {
            Ok(Ok(Ok(response))) => return Ok((response, self)),
            Ok(Ok(Err(error))) => {
                self.was_sent = !error.is_connect();
                counting.0 = counting.0.filter(|_| self.was_sent);
                (CallOutcome::Transport, failed(error))
            }
            Ok(Err(error)) => (CallOutcome::Transport, error.into()),
            Err(_) => (CallOutcome::Timeout, HttpError::Transport { what: "it timed out", source: None }),
        };
        drop(counting);
        let read = self.read_of_nothing();
        self.settle(outcome, read).await?;
        Err(error)
    }

    /// Sends the request and tells the ledger meanwhile if it is sent late. A request without a body may be sent at any
    /// time until its response arrives; that time is then used.
    async fn exchange(
        &mut self,
        client: &Client,
        request: Request,
    ) -> Result<Result<Response, reqwest::Error>, LedgerError> {
        let sending = client.execute(request);
        tokio::pin!(sending);
        let Some(reservation) = &mut self.reservation else { return Ok(sending.await) };
        let ledger = self.ledger;
        let renewal = reservation.renewal();
        let response = loop {
            tokio::select! {
                biased;
                outcome = &mut sending => match outcome {
                    Ok(response) => break Some(response),
                    Err(error) => return Ok(Err(error)),
                },
                () = self.departure.left() => break None,
                // It has not been sent yet. If the ledger were not told, it would grant the next call before this one
                // is sent.
                () = tokio::time::sleep(renewal) => {
                    let offset = reservation.age() + 2 * renewal;
                    reservation.departed(ledger, offset).await?;
                }
            }
        };
        if response.is_some() {
            self.departure.not_later();
        }
        let offset = self.departure.offset(reservation);
        if offset > LATE {
            // The response is not read meanwhile, but it is in transit; the ledger takes only a moment.
            reservation.departed(ledger, offset).await?;
        }
        match response {
            Some(response) => Ok(Ok(response)),
            None => Ok(sending.await),
        }
    }

    /// Settles a call without a response: a request that never left the machine cost nothing, any other may have cost
    /// everything.
    fn read_of_nothing(&self) -> BodyRead {
        if self.observes_sending && self.departure.at().is_none() { BodyRead::Whole } else { BodyRead::Part }
    }

    /// Replaces the estimate by what the call cost. Returns the bytes, including those in transit when reading stopped,
    /// since they were sent.
    pub(super) async fn settle(self, outcome: CallOutcome, read: BodyRead) -> Result<u64, HttpError> {
        let exact = self.sent + self.received + 2 * HEADER_BYTES;
        let bytes = match read {
            BodyRead::Whole => exact,
            BodyRead::Part => {
                let announced = self.sent + self.announced.unwrap_or(0) + 2 * HEADER_BYTES;
                exact.max(announced).max(self.expected)
            }
        };
        self.recorder.note(CallRecord {
            kind: self.kind,
            outcome,
            took: self.begun.elapsed(),
            // The ledger keeps its estimate, which is on the safe side.
            bytes: if self.was_sent { bytes } else { 0 },
            was_sent: self.was_sent,
        });
        if let Some(reservation) = self.reservation {
            let sent_at_offset = Some(self.departure.offset(&reservation));
            reservation.settle(self.ledger, Settlement { bytes, sent_at_offset }).await?;
        }
        Ok(bytes)
    }
}
