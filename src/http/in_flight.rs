//! A call between its grant and its end: tells the ledger when it left and what it cost.

use std::time::{Duration, Instant};

use reqwest::{Client, Request, Response};

use super::HttpError;
use super::outcome::CallOutcome;
use super::sent_at::Departure;
use super::session::{CallRecord, Session};
use crate::quota::{CallKind, LedgerError, Reservation, Settlement};

/// First line and headers of one direction, counted against a bandwidth limit.
const HEADER_BYTES: u64 = 1_000;
/// A request that left later than this after its grant has its departure moved in the ledger at once.
const LATE: Duration = Duration::from_millis(10);

/// How much of an answer was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    Whole,
    Part,
}

/// A call that may be sent and has not ended.
#[derive(Debug)]
pub(super) struct InFlight<'s> {
    pub(super) session: &'s Session<'s>,
    pub(super) kind: CallKind,
    /// None for what is not a call of the vendor's API.
    pub(super) reservation: Option<Reservation>,
    /// Bytes of the request's body.
    pub(super) sent: u64,
    pub(super) received: u64,
    /// What the head of the answer says about the length of its body.
    pub(super) announced: Option<u64>,
    pub(super) expected: u64,
    /// Whether the departure is seen: only that of a body is.
    pub(super) watched: bool,
    pub(super) departure: Departure,
    pub(super) begun: Instant,
    pub(super) waited: Duration,
    pub(super) waited_for: Option<String>,
}

impl<'s> InFlight<'s> {
    /// One without a body, of which nothing is known.
    pub(super) fn new(
        session: &'s Session<'s>,
        kind: CallKind,
        reservation: Option<Reservation>,
        waited: Duration,
        waited_for: Option<String>,
    ) -> Self {
        Self {
            session,
            kind,
            reservation,
            sent: 0,
            received: 0,
            announced: None,
            expected: 0,
            watched: false,
            departure: Departure::default(),
            begun: Instant::now(),
            waited,
            waited_for,
        }
    }

    /// Sends the request and waits for the head of the answer, no longer than `patience`; a call that brings none is
    /// settled. `failed` names what went wrong.
    pub(super) async fn answer(
        mut self,
        client: &Client,
        request: Request,
        patience: Duration,
        failed: impl FnOnce(reqwest::Error) -> HttpError,
    ) -> Result<(Response, Self), HttpError> {
        let (outcome, error) = match tokio::time::timeout(patience, self.exchange(client, request)).await {
            Ok(Ok(Ok(response))) => return Ok((response, self)),
            Ok(Ok(Err(error))) => (CallOutcome::Transport, failed(error)),
            Ok(Err(error)) => (CallOutcome::Transport, error.into()),
            Err(_) => (CallOutcome::Timeout, HttpError::Transport { what: "it timed out", source: None }),
        };
        let read = self.read_of_nothing();
        self.settle(outcome, read).await?;
        Err(error)
    }

    /// Tells the ledger meanwhile if the request leaves late. One without a body may leave at any moment until its
    /// answer is there: that is when it left.
    async fn exchange(
        &mut self,
        client: &Client,
        request: Request,
    ) -> Result<Result<Response, reqwest::Error>, LedgerError> {
        let answer = client.execute(request);
        tokio::pin!(answer);
        let Some(reservation) = &mut self.reservation else { return Ok(answer.await) };
        let ledger = self.session.ledger();
        let renewal = reservation.renewal();
        let response = loop {
            tokio::select! {
                biased;
                outcome = &mut answer => match outcome {
                    Ok(response) => break Some(response),
                    Err(error) => return Ok(Err(error)),
                },
                () = self.departure.left() => break None,
                // It has not left yet. Without a word the next call would be granted before this one leaves.
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
            // The answer is not read meanwhile, but it is on its way; the ledger takes a moment.
            reservation.departed(ledger, offset).await?;
        }
        match response {
            Some(response) => Ok(Ok(response)),
            None => Ok(answer.await),
        }
    }

    /// Without an answer: a request that never left the machine took no bytes, any other may have cost all of them.
    fn read_of_nothing(&self) -> Read {
        if self.watched && self.departure.at().is_none() { Read::Whole } else { Read::Part }
    }

    /// Replaces the estimate by what the call cost; returns the bytes. What was on its way when we stopped reading was
    /// sent all the same.
    pub(super) async fn settle(self, outcome: CallOutcome, read: Read) -> Result<u64, HttpError> {
        let exact = self.sent + self.received + 2 * HEADER_BYTES;
        let bytes = match read {
            Read::Whole => exact,
            Read::Part => {
                let announced = self.sent + self.announced.unwrap_or(0) + 2 * HEADER_BYTES;
                exact.max(announced).max(self.expected)
            }
        };
        self.session.note(CallRecord {
            kind: self.kind,
            outcome,
            took: self.begun.elapsed(),
            waited: self.waited,
            waited_for: self.waited_for,
            bytes,
        });
        if let Some(reservation) = self.reservation {
            let sent_at_offset = Some(self.departure.offset(&reservation));
            reservation.settle(self.session.ledger(), Settlement { bytes, sent_at_offset }).await?;
        }
        Ok(bytes)
    }
}
