//! Reads one slice: the next page is fetched while a page is loaded.
//!
//! Two halves run side by side and are connected by a short queue. The fetching half calls the vendor and encodes the
//! rows. The loading half keeps a page in memory until it is complete, so that no transaction waits for a vendor, and
//! commits it with its cursor. A page too large for that is loaded while it arrives. Cancel-safe: dropping the future
//! leaves nothing half done.

mod fetch;
mod load;
mod memory_budget;
mod queue;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use fetch::{Fetch, PageRecords};
use load::Load;
pub use memory_budget::MemoryBudget;
use queue::Queue;

use super::policy::TaskError;
use super::report::Reporter;
use crate::connector::{Expected, Source, Window};
use crate::http::Session;
use crate::load::LoadError;
use crate::load::loader::{Loader, SliceReading};
use crate::load::transaction::PageEnd;
use crate::rows::fingerprint::Fingerprinter;
use crate::rows::page::{Chunk, PageWriter};

/// Time for a page under way to end when the process is asked to stop. What follows has 3 s: complete pages are
/// committed, and the run is released.
const DRAIN: Duration = Duration::from_secs(4);

/// How the reading of a slice ended without an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    Finished,
    /// The vendor needs time. The reading resumes at `until`.
    Pending {
        until: DateTime<Utc>,
    },
    /// The process stops.
    Stopped,
    /// It was interrupted between two pages, to give the table columns that it lacks.
    Interrupted,
}

/// Everything that reading a slice needs.
pub(crate) struct SliceReader<'r, 'l> {
    pub source: &'r dyn Source,
    pub session: &'r Session<'r>,
    pub loader: &'r mut Loader<'l>,
    pub writer: &'r mut PageWriter,
    pub reporter: &'r Reporter<'r>,
    pub expected: Expected,
    pub memory: &'r MemoryBudget,
    pub shutdown: &'r CancellationToken,
    /// The reading is interrupted after the first page that ends later.
    pub interrupt_at: Option<Instant>,
}

enum Message {
    /// The page begins, or begins again: its chunks so far do not count.
    Begin,
    Chunk(Chunk),
    End(PageEnd),
    /// The vendor needs time. The reading resumes with this cursor.
    Park(String),
}

impl SliceReader<'_, '_> {
    /// Reads from the position of `reading` to the end of the slice.
    pub(crate) async fn read(self, reading: &mut SliceReading) -> Result<Ended, TaskError> {
        // The loading half keeps what waits, because it knows the memory budget.
        let (sender, receiver) = mpsc::channel(1);
        let window = Window { start: reading.slice.window_start, end: reading.until };
        let cursor = reading.slice.position.cursor.clone();
        let stream = self.loader.stream.clone();
        self.loader.compare(&reading.slice);
        let first = reading.slice.position.batches.filter(|_| self.loader.comparing);
        let fingerprinter = first
            .and_then(|first| u32::try_from(first).ok())
            .map(|first| Fingerprinter::new(first, self.writer.by_content(), Arc::clone(&self.loader.skipping)));
        self.writer.compare(fingerprinter);
        let (pool, slice) = (self.loader.pool, reading.slice.id);
        let mut fetch = Fetch {
            source: self.source,
            session: self.session,
            reporter: self.reporter,
            expected: self.expected,
            shutdown: self.shutdown,
            interrupt_at: self.interrupt_at,
            records: PageRecords::new(self.writer, pool, slice, sender),
        };
        let drained = drained(self.shutdown);
        let fetching = async move {
            let outcome = tokio::select! {
                outcome = fetch.pages(&stream, window, cursor) => outcome,
                () = drained => Ok(Ended::Stopped),
            };
            // Closing the queue lets the loading half finish the complete pages.
            drop(fetch);
            outcome
        };
        let queue = Queue::new(receiver, self.memory.share());
        let loading = Load { loader: self.loader, connection: None, reading, queue, reporter: self.reporter };
        let (fetched, loaded) = tokio::join!(fetching, loading.all());
        // If the loading half failed, the fetching half only found the queue closed.
        loaded?;
        fetched
    }
}

async fn drained(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(DRAIN).await;
}

/// Prepares a slice for reading: resumes an unfinished reading, or begins a new one.
pub(crate) async fn prepare(loader: &Loader<'_>, reading: &mut SliceReading) -> Result<(), LoadError> {
    if reading.slice.position.run.is_some() {
        let whole = reading.slice.position.pages == 0 || loader.seen_is_whole(&reading.slice).await?;
        if whole {
            return loader.resume_reading(reading).await;
        }
        tracing::warn!(
            window_start = %reading.slice.window_start,
            "the rows noted as seen are gone (Postgres crashed?), reading the slice from its first page again"
        );
    }
    loader.begin_reading(reading).await
}
