//! The loading half: keeps a page until it is complete, and makes it durable with its cursor.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sqlx::Postgres;
use sqlx::pool::PoolConnection;

use super::queue::{Arriving, Met, Piece};
use crate::load::LoadError;
use crate::load::loader::{Loader, SliceReading};
use crate::load::transaction::{PageEnd, PageLoad};
use crate::rows::page::Chunk;
use crate::store::session::{self, watched};
use crate::worker::policy::TaskError;
use crate::worker::report::Reporter;

/// A page that is complete joins a transaction that is not older.
const TOGETHER: Duration = Duration::from_secs(1);
/// A connection is kept for the next page for so long.
const HOLD: Duration = Duration::from_millis(250);

/// A connection, and the process at the server that it leads to.
pub(super) type Session = (PoolConnection<Postgres>, i32);

pub(super) struct Load<'r, 'l> {
    pub(super) loader: &'r mut Loader<'l>,
    /// Kept from page to page: a pool hands its connections out in turn, and each would have to get to know the table.
    pub(super) connection: Option<Session>,
    pub(super) reading: &'r mut SliceReading,
    pub(super) arriving: Arriving<'r>,
    pub(super) reporter: &'r Reporter<'r>,
}

impl Load<'_, '_> {
    /// Loads what arrives, to the end of the queue.
    pub(super) async fn all(mut self) -> Result<(), TaskError> {
        while let Some(met) = self.next().await {
            let loaded = match met {
                Met::Page(end) => self.pages(end).await,
                Met::Large => self.large_page().await,
                Met::Park(cursor) => {
                    // A pool of one has no other.
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

    /// The next thing to do; while it is long in coming, others may have the connection.
    async fn next(&mut self) -> Option<Met> {
        if let Ok(met) = tokio::time::timeout(HOLD, self.arriving.next()).await {
            return met;
        }
        self.connection = None;
        self.arriving.rest();
        self.arriving.next().await
    }

    /// The connection of the page before. Dropped with a page that came to nothing, which it still may hold locks for.
    async fn connection(&mut self) -> Result<Session, sqlx::Error> {
        if let Some(session) = self.connection.take() {
            return Ok(session);
        }
        let mut connection = self.loader.pool.acquire().await?;
        let backend = session::backend(&mut connection).await?;
        Ok((connection, backend))
    }

    /// Makes a page durable that is complete, together with those that are so by the time it is loaded: a commit has its
    /// price, and nothing is waited for.
    async fn pages(&mut self, end: PageEnd) -> Result<(), LoadError> {
        let Some(layout) = self.arriving.layout() else { return Ok(()) };
        let begun = Instant::now();
        let chunks = self.arriving.chunks();
        let pool = self.loader.pool;
        let (mut connection, backend) = self.connection().await?;
        let beginning = watched(pool, backend, PageLoad::begin(self.loader, &mut connection, &layout, usize::MAX));
        let mut page = self.arriving.meanwhile(weight(&chunks), beginning).await?;
        let mut behind = self.reading.clone();
        let mut is_last = end.next.is_none();
        let weighs = weight(&chunks);
        let turning = watched(pool, backend, turn(&mut page, chunks, end, &mut behind));
        self.arriving.meanwhile(weighs, turning).await?;
        while !is_last
            && begun.elapsed() < TOGETHER
            && let Some(end) = self.arriving.page_at_hand(|layout| page.holds(layout))
        {
            is_last = end.next.is_none();
            let savepoint = watched(pool, backend, page.savepoint()).await?;
            let mut further = behind.clone();
            let chunks = self.arriving.chunks();
            let weighs = weight(&chunks);
            let turning = watched(pool, backend, turn(&mut page, chunks, end, &mut further));
            if let Err(error) = self.arriving.meanwhile(weighs, turning).await {
                if matches!(&error, LoadError::Database(error) if session::is_lost(error)) {
                    return Err(error);
                }
                let progress = watched(pool, backend, page.commit_to(savepoint, &behind)).await?;
                *self.reading = behind;
                self.reporter.pages(&progress, begun.elapsed());
                return Err(error);
            }
            behind = further;
        }
        let progress = self.arriving.meanwhile(0, watched(pool, backend, page.commit(&behind))).await?;
        self.connection = Some((connection, backend));
        *self.reading = behind;
        self.reporter.pages(&progress, begun.elapsed());
        Ok(())
    }

    /// Loads a page while it arrives, or drops it when it begins again.
    async fn large_page(&mut self) -> Result<(), LoadError> {
        let Some(layout) = self.arriving.layout() else { return Ok(()) };
        let begun = Instant::now();
        let pool = self.loader.pool;
        let (mut connection, backend) = self.connection().await?;
        let room = self.arriving.room();
        let beginning = PageLoad::begin(self.loader, &mut connection, &layout, room);
        let mut page = watched(pool, backend, beginning).await?;
        let end = loop {
            match self.arriving.piece().await {
                Piece::Chunk(chunk) => {
                    let held = page.waiting() + chunk.weight();
                    let copying = watched(pool, backend, page.copy(chunk, self.reading));
                    self.arriving.meanwhile(held, copying).await?;
                }
                Piece::End(end) => break end,
                Piece::Void => return Ok(()),
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

/// Loads a page that is complete, into a transaction that is open.
async fn turn(
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
