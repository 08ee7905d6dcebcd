//! Reads one slice: pages are fetched ahead while the page before is merged.
//!
//! Two halves run side by side and meet in a short queue. The fetching half asks the vendor and normalises; the loading
//! half keeps a page in memory until it is complete, so that no transaction waits for a vendor, and makes it durable
//! with its cursor. A page too large for that is staged while it arrives. Dropped at any await, nothing half-done stays.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::policy::TaskError;
use super::report::Reporter;
use crate::catalogue::Stream;
use crate::decode::{DecodeError, Flat, Sink};
use crate::http::Session;
use crate::load::LoadError;
use crate::load::commit::{Loader, PageEnd, PageLoad, Reading};
use crate::load::page::{CHUNK_BYTES, Chunk, PageWriter, RowWindow};
use crate::load::print::Prints;
use crate::store::fingerprint;
use crate::vendor::{Expected, Outcome, Records, Source, StepError, StepRequest, Window};

/// What all runs of a process may hold of pages, together and each (promise 6).
const PROCESS_BYTES_MAX: usize = 16 << 20;
const RUN_BYTES_MAX: usize = 12 << 20;
/// A shorter wait for the vendor does not give the worker back.
const PARK_MIN: Duration = Duration::from_secs(2);
/// A page that is complete joins a transaction that is not older.
const TOGETHER: Duration = Duration::from_secs(1);
/// Calls are counted in the task's row this often, and at the end.
const COUNT_EVERY: Duration = Duration::from_millis(500);
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
        self.loader.compare(&reading.slice);
        let first = reading.slice.reading_batches.filter(|_| self.loader.comparing);
        let prints = first
            .and_then(|first| u32::try_from(first).ok())
            .map(|first| Prints::new(first, self.writer.by_content(), Arc::clone(&self.loader.skipping)));
        self.writer.compare(prints);
        let (pool, slice) = (self.loader.pool, reading.slice.id);
        let mut fetch = Fetch {
            source: self.source,
            session: self.session,
            reporter: self.reporter,
            expected: self.expected,
            shutdown: self.shutdown,
            records: PageRecords { writer: self.writer, pool, slice, fault: None, sender, begun: false },
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
        let bytes_max = self.room.page_bytes;
        let arriving = Arriving { receiver, chunks: Vec::new(), bytes: 0, bytes_max, met: None, closed: false };
        let loading = Load { loader: self.loader, reading, arriving, reporter: self.reporter };
        let (fetched, loaded) = tokio::join!(fetching, loading.all());
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
    async fn pages(&mut self, stream: &Stream, window: Window, mut cursor: Option<String>) -> Result<Ended, TaskError> {
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
            let outcome = self.source.step(self.session, request, &mut self.records).await;
            if counted.elapsed() > COUNT_EVERY {
                self.reporter.calls(self.session).await?;
                counted = Instant::now();
            }
            if let Some(fault) = self.records.fault.take() {
                return Err(fault.into());
            }
            match outcome? {
                Outcome::Page { next, bytes } => {
                    self.records.end(PageEnd { next: next.clone(), bytes }).await?;
                    match next {
                        None => return Ok(Ended::Finished),
                        next => *cursor = next,
                    }
                }
                Outcome::Pending { until, cursor: waiting } => {
                    self.records.send(Message::Park(waiting.clone())).await?;
                    match (until - Utc::now()).to_std().unwrap_or_default() {
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
struct PageRecords<'r> {
    writer: &'r mut PageWriter,
    /// Where the fingerprints are that the writer compares rows with.
    pool: &'r sqlx::PgPool,
    slice: i64,
    /// Why the last of them could not be had.
    fault: Option<sqlx::Error>,
    sender: mpsc::Sender<Message>,
    /// Whether the loading half knows that the page began (again).
    begun: bool,
}

impl PageRecords<'_> {
    async fn send(&mut self, message: Message) -> Result<(), StepError> {
        self.sender.send(message).await.map_err(|_| StepError::LoadStopped)
    }

    /// Hands the writer the fingerprints that it needs next.
    async fn provide(&mut self) -> Result<(), sqlx::Error> {
        while let Some(prints) = self.writer.prints()
            && let Some(batch) = prints.wanted()
        {
            prints.provide(batch, fingerprint::read(self.pool, self.slice, batch).await?);
        }
        Ok(())
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

    fn flat_record(&mut self, flat: Flat<'_>) -> Result<(), DecodeError> {
        self.writer.flat_record(flat)
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
            // Both halves are one task: while there is something to read, Postgres would wait for what it could have.
            tokio::task::yield_now().await;
        }
        if let Err(fault) = self.provide().await {
            self.fault = Some(fault);
            return Err(StepError::LoadStopped);
        }
        Ok(())
    }
}

/// The loading half.
struct Load<'r, 'l> {
    loader: &'r mut Loader<'l>,
    reading: &'r mut Reading,
    arriving: Arriving,
    reporter: &'r Reporter<'r>,
}

/// The loading half's end of the queue.
struct Arriving {
    receiver: mpsc::Receiver<Message>,
    /// Of the page that is under way or complete.
    chunks: Vec<Chunk>,
    bytes: usize,
    bytes_max: usize,
    /// What was met and is not dealt with.
    met: Option<Met>,
    /// Nothing more will come.
    closed: bool,
}

/// What the queue came to.
enum Met {
    /// A page is complete.
    Page(PageEnd),
    /// A page is larger than what is kept in memory.
    Large,
    Park(String),
}

impl Arriving {
    /// The next thing to do; none at the end of the queue.
    async fn next(&mut self) -> Option<Met> {
        loop {
            if let Some(met) = self.at_hand() {
                return Some(met);
            }
            let message = self.receiver.recv().await?;
            self.take(message);
        }
    }

    /// Takes what arrives while something else is done that holds so many bytes itself.
    async fn meanwhile<T>(&mut self, bytes: usize, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            let takes = !self.closed && self.met.is_none() && self.bytes + bytes <= self.bytes_max;
            tokio::select! {
                biased;
                done = &mut work => return done,
                message = self.receiver.recv(), if takes => match message {
                    Some(message) => self.take(message),
                    None => self.closed = true,
                },
            }
        }
    }

    /// The next thing to do, if it has arrived.
    fn at_hand(&mut self) -> Option<Met> {
        while self.met.is_none() && self.bytes <= self.bytes_max {
            let Ok(message) = self.receiver.try_recv() else { return None };
            self.take(message);
        }
        self.met.take().or(Some(Met::Large))
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Begin => {
                self.chunks.clear();
                self.bytes = 0;
            }
            Message::Chunk(chunk) => {
                self.bytes += chunk.weight();
                self.chunks.push(chunk);
            }
            Message::End(end) => self.met = Some(Met::Page(end)),
            Message::Park(cursor) => self.met = Some(Met::Park(cursor)),
        }
    }

    /// The chunks so far.
    fn chunks(&mut self) -> Vec<Chunk> {
        self.bytes = 0;
        std::mem::take(&mut self.chunks)
    }
}

impl Load<'_, '_> {
    /// Loads what arrives, to the end of the queue.
    async fn all(mut self) -> Result<(), TaskError> {
        while let Some(met) = self.arriving.next().await {
            let loaded = match met {
                Met::Page(end) => self.pages(end).await,
                Met::Large => self.large_page().await,
                Met::Park(cursor) => self.loader.park(cursor, self.reading).await,
            };
            if matches!(loaded, Err(LoadError::Rearranged)) {
                self.loader.start_over(&self.reading.slice).await?;
            }
            loaded?;
        }
        Ok(())
    }

    /// Makes a page durable that is complete, together with those that are so by the time it is loaded: a commit has its
    /// price, and nothing is waited for.
    async fn pages(&mut self, end: PageEnd) -> Result<(), LoadError> {
        let chunks = self.arriving.chunks();
        // The last chunk's layout has every field that the ones before it have.
        let Some(widest) = chunks.last() else { return Ok(()) };
        let begun = Instant::now();
        let mut page = self.loader.begin(widest).await?;
        let mut behind = self.reading.clone();
        let mut is_last = end.next.is_none();
        self.arriving.meanwhile(weight(&chunks), turn(&mut page, chunks, end, &mut behind)).await?;
        while !is_last && begun.elapsed() < TOGETHER {
            let end = match self.arriving.at_hand() {
                Some(Met::Page(end)) if self.arriving.chunks.last().is_some_and(|widest| page.holds(widest)) => end,
                other => {
                    self.arriving.met = other;
                    break;
                }
            };
            is_last = end.next.is_none();
            let mark = page.mark().await?;
            let mut further = behind.clone();
            let chunks = self.arriving.chunks();
            let turned = self.arriving.meanwhile(weight(&chunks), turn(&mut page, chunks, end, &mut further)).await;
            if let Err(error) = turned {
                let progress = page.commit_to(mark, &behind).await?;
                *self.reading = behind;
                self.reporter.pages(&progress, begun.elapsed());
                return Err(error);
            }
            behind = further;
        }
        let progress = self.arriving.meanwhile(0, page.commit(&behind)).await?;
        *self.reading = behind;
        self.reporter.pages(&progress, begun.elapsed());
        Ok(())
    }

    /// Loads a page while it arrives, or drops it when it begins again.
    async fn large_page(&mut self) -> Result<(), LoadError> {
        let chunks = self.arriving.chunks();
        let Some(widest) = chunks.last() else { return Ok(()) };
        let begun = Instant::now();
        let mut page = self.loader.begin(widest).await?;
        for chunk in chunks {
            page.copy(chunk, self.reading).await?;
        }
        let end = loop {
            match self.arriving.receiver.recv().await {
                // Or a step that came to nothing, which hands no records over.
                None | Some(Message::Begin | Message::Park(_)) => return Ok(()),
                Some(Message::Chunk(chunk)) => page.copy(chunk, self.reading).await?,
                Some(Message::End(end)) => break end,
            }
        };
        let progress = page.checkpoint(end, self.reading).await?;
        self.reporter.pages(&progress, begun.elapsed());
        Ok(())
    }
}

fn weight(chunks: &[Chunk]) -> usize {
    chunks.iter().map(Chunk::weight).sum()
}

/// Loads a page that is complete, into a transaction that is open.
async fn turn(
    page: &mut PageLoad<'_, '_>,
    chunks: Vec<Chunk>,
    end: PageEnd,
    reading: &mut Reading,
) -> Result<(), LoadError> {
    for chunk in chunks {
        page.copy(chunk, reading).await?;
    }
    page.turn(end, reading).await
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
