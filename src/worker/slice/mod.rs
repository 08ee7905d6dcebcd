//! Reads one slice: pages are fetched ahead while the page before is merged.
//!
//! Two halves run side by side and meet in a short queue. The fetching half asks the vendor and normalises; the loading
//! half keeps a page in memory until it is complete, so that no transaction waits for a vendor, and makes it durable
//! with its cursor. A page too large for that is staged while it arrives. Dropped at any await, nothing half-done stays.

mod fetch;
mod load;
mod memory_budget;
mod queue;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use fetch::{Fetch, PageRecords};
use load::Load;
pub use memory_budget::Room;
use queue::Arriving;

use super::policy::TaskError;
use super::report::Reporter;
use crate::connector::{Expected, Source, Window};
use crate::http::Session;
use crate::load::LoadError;
use crate::load::loader::{Loader, Reading};
use crate::load::transaction::PageEnd;
use crate::rows::fingerprint::Prints;
use crate::rows::page::{Chunk, PageWriter};

/// A page under way when the process is asked to stop may end within this.
const DRAIN: Duration = Duration::from_secs(5);

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
    pub source: &'r dyn Source,
    pub session: &'r Session<'r>,
    pub loader: &'r mut Loader<'l>,
    pub writer: &'r mut PageWriter,
    pub reporter: &'r Reporter<'r>,
    pub expected: Expected,
    pub room: &'r Room,
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
        // What waits is kept by the loading half, which knows how much it may be.
        let (sender, receiver) = mpsc::channel(1);
        let window = Window { start: reading.slice.window_start, end: reading.until };
        let cursor = reading.slice.position.cursor.clone();
        let stream = self.loader.stream.clone();
        self.loader.compare(&reading.slice);
        let first = reading.slice.position.batches.filter(|_| self.loader.comparing);
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
            records: PageRecords::new(self.writer, pool, slice, sender),
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
        let arriving = Arriving::new(receiver, self.room.part());
        let loading = Load { loader: self.loader, connection: None, reading, arriving, reporter: self.reporter };
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

/// Prepares a slice to be read: goes on where an earlier reading stopped, or begins again.
pub async fn prepare(loader: &Loader<'_>, reading: &mut Reading) -> Result<(), LoadError> {
    if reading.slice.position.run.is_some() {
        let whole = reading.slice.position.pages == 0 || loader.seen_is_whole(&reading.slice).await?;
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
