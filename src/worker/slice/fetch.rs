//! The fetching half: requests page after page from the vendor and encodes the records as rows.

use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Ended, Message};
use crate::catalogue::Stream;
use crate::clock;
use crate::connector::{Expected, Outcome, Records, Source, StepError, StepRequest, Window};
use crate::decode::{DecodeError, Flat, Sink};
use crate::http::Session;
use crate::load::transaction::PageEnd;
use crate::rows::page::{PageWriter, RowWindow};
use crate::store::fingerprint;
use crate::worker::policy::TaskError;
use crate::worker::report::{COUNT_EVERY, Reporter};

/// A longer wait for the vendor releases the worker.
const PARK_MIN: Duration = Duration::from_secs(2);

pub(super) struct Fetch<'r> {
    pub(super) source: &'r dyn Source,
    pub(super) session: &'r Session<'r>,
    pub(super) reporter: &'r Reporter<'r>,
    pub(super) expected: Expected,
    pub(super) shutdown: &'r CancellationToken,
    pub(super) interrupt_at: Option<tokio::time::Instant>,
    pub(super) records: PageRecords<'r>,
}

impl Fetch<'_> {
    pub(super) async fn pages(
        &mut self,
        stream: &Stream,
        window: Window,
        mut cursor: Option<String>,
    ) -> Result<Ended, TaskError> {
        let outcome = self.pages_uncounted(stream, window, &mut cursor).await;
        self.reporter.calls(self.session).await?;
        outcome
    }

    async fn pages_uncounted(
        &mut self,
        stream: &Stream,
        window: Window,
        cursor: &mut Option<String>,
    ) -> Result<Ended, TaskError> {
        let mut counted = Instant::now();
        loop {
            if self.shutdown.is_cancelled() {
                return Ok(Ended::Stopped);
            }
            self.records.provide().await?;
            let request = StepRequest { stream, window, cursor: cursor.as_deref(), expected: self.expected };
            let step = self.source.step(self.session, request, &mut self.records);
            let outcome = self.reporter.calls_during(self.session, step).await;
            if counted.elapsed() > COUNT_EVERY {
                self.reporter.calls(self.session).await?;
                counted = Instant::now();
            }
            if let Some(error) = self.records.error.take() {
                return Err(error.into());
            }
            match outcome? {
                Outcome::Page { next, bytes } => {
                    self.records.end(PageEnd { next: next.clone(), bytes }).await?;
                    match next {
                        None => return Ok(Ended::Finished),
                        next => *cursor = next,
                    }
                    if self.interrupt_at.is_some_and(|at| tokio::time::Instant::now() >= at) {
                        return Ok(Ended::Interrupted);
                    }
                }
                Outcome::Pending { until, cursor: waiting } => {
                    self.records.send(Message::Park(waiting.clone())).await?;
                    match (until - clock::now()).to_std().unwrap_or_default() {
                        pause if pause > PARK_MIN => return Ok(Ended::Pending { until }),
                        pause => tokio::time::sleep(pause).await,
                    }
                    *cursor = Some(waiting);
                }
            }
        }
    }
}

/// The fetching half's end of the queue.
pub(super) struct PageRecords<'r> {
    writer: &'r mut PageWriter,
    /// For reading the fingerprints that the writer compares rows with.
    pool: &'r PgPool,
    slice: i64,
    /// The error of the last attempt to read them.
    error: Option<sqlx::Error>,
    sender: mpsc::Sender<Message>,
    /// Whether the loading half was told that the page began (again).
    begun: bool,
}

impl<'r> PageRecords<'r> {
    pub(super) fn new(writer: &'r mut PageWriter, pool: &'r PgPool, slice: i64, sender: mpsc::Sender<Message>) -> Self {
        Self { writer, pool, slice, error: None, sender, begun: false }
    }

    async fn send(&mut self, message: Message) -> Result<(), StepError> {
        self.sender.send(message).await.map_err(|_| StepError::LoadStopped)
    }

    /// Gives the writer the fingerprints that it needs next.
    async fn provide(&mut self) -> Result<(), sqlx::Error> {
        while let Some(fingerprinter) = self.writer.fingerprinter()
            && let Some(batch) = fingerprinter.wanted()
        {
            fingerprinter.provide(batch, fingerprint::read(self.pool, self.slice, batch).await?);
        }
        Ok(())
    }

    async fn end(&mut self, end: PageEnd) -> Result<(), StepError> {
        self.flush().await?;
        for chunk in self.writer.finish()? {
            self.send(Message::Chunk(chunk)).await?;
        }
        self.send(Message::End(end)).await
    }
}

impl Sink for PageRecords<'_> {
    fn header(&mut self, titles: &[String], added: &[&str]) -> Result<(), DecodeError> {
        self.writer.header(titles, added)
    }

    fn record(&mut self, record: &[u8]) -> Result<(), DecodeError> {
        self.writer.record(record)
    }

    fn flat_record(&mut self, flat: Flat<'_>) -> Result<(), DecodeError> {
        self.writer.flat_record(flat)
    }

    fn refuse(&mut self, reason: &str, record: &[u8]) -> Result<(), DecodeError> {
        self.writer.refuse(reason, record)
    }
}

#[async_trait::async_trait]
impl Records for PageRecords<'_> {
    fn begin(&mut self, window: Window) {
        self.writer.begin(Some(RowWindow { start: window.start, end: window.end }));
        self.begun = false;
    }

    async fn flush(&mut self) -> Result<(), StepError> {
        if !self.begun {
            self.begun = true;
            self.send(Message::Begin).await?;
        }
        for chunk in self.writer.take_ready() {
            self.send(Message::Chunk(chunk)).await?;
        }
        // Both halves share one task. Without this, the loading half would wait until there is nothing to read.
        tokio::task::yield_now().await;
        if let Err(error) = self.provide().await {
            self.error = Some(error);
            return Err(StepError::LoadStopped);
        }
        Ok(())
    }
}
