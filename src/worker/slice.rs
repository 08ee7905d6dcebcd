//! Reads one slice: pages are fetched ahead while the page before is merged.
//!
//! Two halves run side by side and meet in a short queue. The fetching half asks the vendor and normalises; the loading
//! half keeps a page in memory until it is complete, so that no transaction waits for a vendor, and makes it durable
//! with its cursor. A page too large for that is staged while it arrives. Dropped at any await, nothing half-done stays.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::policy::TaskError;
use super::report::Reporter;
use crate::decode::{DecodeError, Sink};
use crate::http::Session;
use crate::load::LoadError;
use crate::load::commit::{Loader, PageEnd, Reading};
use crate::load::page::{CHUNK_BYTES, Chunk, PageWriter, RowWindow};
use crate::vendor::{Expected, Outcome, Records, Source, StepError, StepRequest, Window};

/// What all runs of a process may hold of pages, together and each (promise 6).
const PROCESS_BYTES_MAX: usize = 24 << 20;
const RUN_BYTES_MAX: usize = 12 << 20;
/// A shorter wait for the vendor does not give the worker back.
const PARK_MIN: Duration = Duration::from_secs(2);
/// A page under way when the process is asked to stop may end within this.
const DRAIN: Duration = Duration::from_secs(5);

/// What one run may hold in memory of the pages that it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// A page is kept whole up to this, then staged while it arrives.
    page_bytes: usize,
    /// Chunks between the halves: what is fetched ahead.
    queue_chunks: usize,
}

impl Room {
    /// The share of each, where up to `runs` are under way at a time.
    pub fn share(runs: usize) -> Self {
        let bytes = (PROCESS_BYTES_MAX / runs.max(1)).min(RUN_BYTES_MAX);
        let queue_chunks = (bytes / 3 / CHUNK_BYTES).max(1);
        Self { page_bytes: bytes.saturating_sub(queue_chunks * CHUNK_BYTES), queue_chunks }
    }
}

/// How the reading of a slice ended, short of a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    Finished,
    /// The vendor needs time; go on at `until`.
    Pending {
        until: DateTime<Utc>,
    },
    /// The process stops.
    Stopped,
}

/// What it takes to read a slice.
pub struct SliceReader<'r, 'l> {
    pub source: &'r Source,
    pub session: &'r Session<'r>,
    pub loader: &'r mut Loader<'l>,
    pub writer: &'r mut PageWriter,
    pub reporter: &'r Reporter<'r>,
    pub expected: Expected,
    pub room: Room,
    pub shutdown: &'r CancellationToken,
}

enum Message {
    /// The page begins, or begins again: what came of it before is void.
    Begin,
    Chunk(Chunk),
    End(PageEnd),
    /// Nothing follows for now; the reading goes on with this cursor.
    Park(String),
}

impl SliceReader<'_, '_> {
    /// Reads from where `reading` stands to the slice's end.
    pub async fn read(self, reading: &mut Reading) -> Result<Ended, TaskError> {
        let (sender, receiver) = mpsc::channel(self.room.queue_chunks);
        let window = Window { start: reading.slice.window_start, end: reading.until };
        let cursor = reading.slice.cursor.clone();
        let stream = self.loader.stream.clone();
        let mut fetch = Fetch {
            source: self.source,
            session: self.session,
            reporter: self.reporter,
            expected: self.expected,
            shutdown: self.shutdown,
            records: PageRecords { writer: self.writer, sender, begun: false },
        };
        let drained = drained(self.shutdown);
        let fetching = async move {
            let outcome = tokio::select! {
                outcome = fetch.pages(&stream, window, cursor) => outcome,
                () = drained => Ok(Ended::Stopped),
            };
            // Closing the queue lets the loading half finish what is complete.
            drop(fetch);
            outcome
        };
        let loading = load_pages(self.loader, reading, receiver, self.reporter, self.room.page_bytes);
        let (fetched, loaded) = tokio::join!(fetching, loading);
        // The loading half's fault is the cause when the fetching half only found the queue closed.
        loaded?;
        fetched
    }
}

async fn drained(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(DRAIN).await;
}

struct Fetch<'r> {
    source: &'r Source,
    session: &'r Session<'r>,
    reporter: &'r Reporter<'r>,
    expected: Expected,
    shutdown: &'r CancellationToken,
    records: PageRecords<'r>,
}

impl Fetch<'_> {
    async fn pages(
        &mut self,
        stream: &crate::catalogue::Stream,
        window: Window,
        mut cursor: Option<String>,
    ) -> Result<Ended, TaskError> {
        loop {
            if self.shutdown.is_cancelled() {
                return Ok(Ended::Stopped);
            }
            let request = StepRequest { stream, window, cursor: cursor.as_deref(), expected: self.expected };
            let outcome = self.source.step(self.session, request, &mut self.records).await;
            self.reporter.calls(self.session).await?;
            match outcome? {
                Outcome::Page { next, bytes } => {
                    self.records.end(PageEnd { next: next.clone(), bytes }).await?;
                    match next {
                        None => return Ok(Ended::Finished),
                        next => cursor = next,
                    }
                }
                Outcome::Pending { until, cursor: waiting } => {
                    self.records.send(Message::Park(waiting.clone())).await?;
                    match (until - Utc::now()).to_std().unwrap_or_default() {
                        pause if pause > PARK_MIN => return Ok(Ended::Pending { until }),
                        pause => tokio::time::sleep(pause).await,
                    }
                    cursor = Some(waiting);
                }
            }
        }
    }
}

/// The fetching half's end of the queue.
struct PageRecords<'r> {
    writer: &'r mut PageWriter,
    sender: mpsc::Sender<Message>,
    /// Whether the loading half knows that the page began (again).
    begun: bool,
}

impl PageRecords<'_> {
    async fn send(&mut self, message: Message) -> Result<(), StepError> {
        self.sender.send(message).await.map_err(|_| StepError::LoadStopped)
    }

    async fn end(&mut self, end: PageEnd) -> Result<(), StepError> {
        self.flush().await?;
        for chunk in self.writer.finish() {
            self.send(Message::Chunk(chunk)).await?;
        }
        self.send(Message::End(end)).await
    }
}

impl Sink for PageRecords<'_> {
    fn record(&mut self, record: &[u8]) -> Result<(), DecodeError> {
        self.writer.record(record)
    }

    fn refuse(&mut self, reason: &str, record: &[u8]) -> Result<(), DecodeError> {
        self.writer.refuse(reason, record)
    }
}

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
        Ok(())
    }
}

async fn load_pages(
    loader: &mut Loader<'_>,
    reading: &mut Reading,
    mut receiver: mpsc::Receiver<Message>,
    reporter: &Reporter<'_>,
    bytes_max: usize,
) -> Result<(), TaskError> {
    while load_page(loader, reading, &mut receiver, reporter, bytes_max).await? {}
    Ok(())
}

/// Loads the next page, or drops it when it begins again; false at the end of the queue.
async fn load_page(
    loader: &mut Loader<'_>,
    reading: &mut Reading,
    receiver: &mut mpsc::Receiver<Message>,
    reporter: &Reporter<'_>,
    bytes_max: usize,
) -> Result<bool, TaskError> {
    let (mut chunks, mut bytes) = (Vec::<Chunk>::new(), 0);
    let mut end = None;
    while end.is_none() && bytes <= bytes_max {
        match receiver.recv().await {
            None => return Ok(false),
            Some(Message::Begin) => {
                chunks.clear();
                bytes = 0;
            }
            Some(Message::Chunk(chunk)) => {
                bytes += chunk.weight();
                chunks.push(chunk);
            }
            Some(Message::End(page_end)) => end = Some(page_end),
            Some(Message::Park(cursor)) => {
                loader.park(cursor, reading).await?;
                return Ok(true);
            }
        }
    }
    // The last chunk's layout has every field that the ones before it have.
    let Some(widest) = chunks.last() else { return Ok(true) };
    let begun = std::time::Instant::now();
    let mut page = loader.begin(widest).await?;
    for chunk in chunks {
        page.copy(chunk, reading).await?;
    }
    let end = match end {
        Some(end) => end,
        None => loop {
            match receiver.recv().await {
                None => return Ok(false),
                // Or a step that came to nothing, which hands no records over.
                Some(Message::Begin | Message::Park(_)) => return Ok(true),
                Some(Message::Chunk(chunk)) => page.copy(chunk, reading).await?,
                Some(Message::End(end)) => break end,
            }
        },
    };
    let progress = page.checkpoint(end, reading).await?;
    reporter.page(&progress, begun.elapsed());
    Ok(true)
}

/// Prepares a slice to be read: goes on where an earlier reading stopped, or begins anew.
pub async fn prepare(loader: &Loader<'_>, reading: &mut Reading) -> Result<(), LoadError> {
    if reading.slice.reading_run.is_some() {
        let whole = reading.slice.reading_pages == 0 || loader.seen_is_whole(&reading.slice).await?;
        if whole {
            return Ok(());
        }
        tracing::warn!(
            window_start = %reading.slice.window_start,
            "the rows noted as seen are gone (Postgres crashed?), reading the slice from its first page again"
        );
    }
    loader.begin_reading(reading).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p6_the_runs_of_a_process_share_its_memory() {
        for runs in 1..=32 {
            let Room { page_bytes, queue_chunks } = Room::share(runs);
            assert!(runs * (page_bytes + queue_chunks * CHUNK_BYTES) <= PROCESS_BYTES_MAX, "{runs}");
            assert!(page_bytes >= CHUNK_BYTES && queue_chunks >= 1, "{runs}");
        }
        assert_eq!(Room::share(1), Room { page_bytes: 8 << 20, queue_chunks: 16 });
        assert_eq!(Room::share(usize::MAX), Room { page_bytes: 0, queue_chunks: 1 });
        assert_eq!(Room::share(0), Room::share(1));
    }
}
