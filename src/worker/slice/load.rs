//! The loading half: keeps a page in memory until it is complete, and commits it with its cursor.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sqlx::Postgres;
use sqlx::pool::PoolConnection;

use super::queue::{Event, PagePart, Queue};
use crate::load::LoadError;
use crate::load::loader::{Loader, SliceReading};
use crate::load::transaction::{PageEnd, PageLoad};
use crate::rows::page::Chunk;
use crate::store::session::{self, watched};
use crate::worker::policy::TaskError;
use crate::worker::report::Reporter;

/// A complete page joins the open transaction if that is not older.
const TOGETHER: Duration = Duration::from_secs(1);
/// How long a connection is kept for the next page.
const HOLD: Duration = Duration::from_millis(250);

/// A connection, and the id of the server process that serves it.
pub(super) type PageConnection = (PoolConnection<Postgres>, i32);

pub(super) struct Load<'r, 'l> {
    pub(super) loader: &'r mut Loader<'l>,
    /// Kept from page to page: each new connection would first have to read the structure of the table.
    pub(super) connection: Option<PageConnection>,
    pub(super) reading: &'r mut SliceReading,
    pub(super) queue: Queue<'r>,
    pub(super) reporter: &'r Reporter<'r>,
}

impl Load<'_, '_> {
    /// Loads everything that arrives, until the end of the queue.
    pub(super) async fn all(mut self) -> Result<(), TaskError> {
        while let Some(event) = self.next().await {
            let loaded = match event {
                Event::Page(end) => self.pages(end).await,
                Event::LargePage => self.large_page().await,
                Event::Park(cursor) => {
                    // The pool may have no other connection.
                    self.connection = None;
                    self.loader.park(cursor, self.reading).await
                }
            };
            if matches!(loaded, Err(LoadError::Rearranged)) {
                self.loader.start_over(&self.reading.slice).await?;
            }
            loaded?;
        }
        Ok(())
    }

    /// Waits for the next event. After a while, gives the connection and the spare memory back.
    async fn next(&mut self) -> Option<Event> {
        if let Ok(event) = tokio::time::timeout(HOLD, self.queue.next()).await {
            return event;
        }
        self.connection = None;
        self.queue.release_spare();
        self.queue.next().await
    }

    /// The connection of the page before, or a new one. After an error the connection is dropped, as it may still hold
    /// locks.
    async fn connection(&mut self) -> Result<PageConnection, sqlx::Error> {
        if let Some(session) = self.connection.take() {
            return Ok(session);
        }
        let mut connection = self.loader.pool.acquire().await?;
        let backend = session::backend(&mut connection).await?;
        Ok((connection, backend))
    }

    /// Loads a complete page, and the pages that are complete by then, in one transaction: fewer commits, and no page
    /// waits for another.
    async fn pages(&mut self, end: PageEnd) -> Result<(), LoadError> {
        let Some(layout) = self.queue.layout() else { return Ok(()) };
        let begun = Instant::now();
        let chunks = self.queue.take_chunks();
        let pool = self.loader.pool;
        let (mut connection, backend) = self.connection().await?;
        let beginning = watched(pool, backend, PageLoad::begin(self.loader, &mut connection, &layout, usize::MAX));
        let mut page = self.queue.receive_during(weight(&chunks), beginning).await?;
        let mut after = self.reading.clone();
        let mut is_last = end.next.is_none();
        let held = weight(&chunks);
        let loading = watched(pool, backend, load_page(&mut page, chunks, end, &mut after));
        self.queue.receive_during(held, loading).await?;
        while !is_last
            && begun.elapsed() < TOGETHER
            && let Some(end) = self.queue.try_next_page(|layout| page.holds(layout))
        {
            is_last = end.next.is_none();
            let savepoint = watched(pool, backend, page.savepoint()).await?;
            let mut after_next = after.clone();
            let chunks = self.queue.take_chunks();
            let held = weight(&chunks);
            let loading = watched(pool, backend, load_page(&mut page, chunks, end, &mut after_next));
            if let Err(error) = self.queue.receive_during(held, loading).await {
                if matches!(&error, LoadError::Database(error) if session::is_lost(error)) {
                    return Err(error);
                }
                let progress = watched(pool, backend, page.commit_to(savepoint, &after)).await?;
                *self.reading = after;
                self.reporter.pages(&progress, begun.elapsed());
                return Err(error);
            }
            after = after_next;
        }
        let progress = self.queue.receive_during(0, watched(pool, backend, page.commit(&after))).await?;
        self.connection = Some((connection, backend));
        *self.reading = after;
        self.reporter.pages(&progress, begun.elapsed());
        Ok(())
    }

    /// Loads a page while it arrives. Rolls back if it begins again.
    async fn large_page(&mut self) -> Result<(), LoadError> {
        let Some(layout) = self.queue.layout() else { return Ok(()) };
        let begun = Instant::now();
        let pool = self.loader.pool;
        let (mut connection, backend) = self.connection().await?;
        let capacity = self.queue.capacity();
        let beginning = PageLoad::begin(self.loader, &mut connection, &layout, capacity);
        let mut page = watched(pool, backend, beginning).await?;
        watched(pool, backend, page.wait_for_vendor()).await?;
        let end = loop {
            match self.queue.next_part().await {
                Some(PagePart::Chunk(chunk)) => {
                    let held = page.waiting() + chunk.weight();
                    let copying = watched(pool, backend, page.copy(chunk, self.reading));
                    self.queue.receive_during(held, copying).await?;
                }
                Some(PagePart::End(end)) => break end,
                None => return Ok(()),
            }
        };
        let progress = watched(pool, backend, page.checkpoint(end, self.reading)).await?;
        self.connection = Some((connection, backend));
        self.reporter.pages(&progress, begun.elapsed());
        Ok(())
    }
}

fn weight(chunks: &VecDeque<Chunk>) -> usize {
    chunks.iter().map(Chunk::weight).sum()
}

/// Loads a complete page into an open transaction.
async fn load_page(
    page: &mut PageLoad<'_, '_>,
    chunks: VecDeque<Chunk>,
    end: PageEnd,
    reading: &mut SliceReading,
) -> Result<(), LoadError> {
    for chunk in chunks {
        page.copy(chunk, reading).await?;
    }
    page.end_page(end, reading).await
}
