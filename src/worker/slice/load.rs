//! The loading half: keeps a page until it is complete, and makes it durable with its cursor.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sqlx::Postgres;
use sqlx::pool::PoolConnection;

use super::arriving::{Arriving, Met, Piece};
use crate::load::LoadError;
use crate::load::commit::{PageEnd, PageLoad};
use crate::load::loader::{Loader, Reading};
use crate::load::page::Chunk;
use crate::worker::policy::TaskError;
use crate::worker::report::Reporter;

/// A page that is complete joins a transaction that is not older.
const TOGETHER: Duration = Duration::from_secs(1);
/// A connection is kept for the next page for so long.
const HOLD: Duration = Duration::from_millis(250);

pub(super) struct Load<'r, 'l> {
    pub(super) loader: &'r mut Loader<'l>,
    /// Kept from page to page: a pool hands its connections out in turn, and each would have to get to know the table.
    pub(super) connection: Option<PoolConnection<Postgres>>,
    pub(super) reading: &'r mut Reading,
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
    async fn connection(&mut self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.loader.pool.acquire().await,
        }
    }

    /// Makes a page durable that is complete, together with those that are so by the time it is loaded: a commit has its
    /// price, and nothing is waited for.
    async fn pages(&mut self, end: PageEnd) -> Result<(), LoadError> {
        let Some(layout) = self.arriving.layout() else { return Ok(()) };
        let begun = Instant::now();
        let chunks = self.arriving.chunks();
        let mut connection = self.connection().await?;
        let beginning = PageLoad::begin(self.loader, &mut connection, &layout, usize::MAX);
        let mut page = self.arriving.meanwhile(weight(&chunks), beginning).await?;
        let mut behind = self.reading.clone();
        let mut is_last = end.next.is_none();
        self.arriving.meanwhile(weight(&chunks), turn(&mut page, chunks, end, &mut behind)).await?;
        while !is_last
            && begun.elapsed() < TOGETHER
            && let Some(end) = self.arriving.page_at_hand(|layout| page.holds(layout))
        {
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
        self.connection = Some(connection);
        *self.reading = behind;
        self.reporter.pages(&progress, begun.elapsed());
        Ok(())
    }

    /// Loads a page while it arrives, or drops it when it begins again.
    async fn large_page(&mut self) -> Result<(), LoadError> {
        let Some(layout) = self.arriving.layout() else { return Ok(()) };
        let begun = Instant::now();
        let mut connection = self.connection().await?;
        let mut page = PageLoad::begin(self.loader, &mut connection, &layout, self.arriving.room()).await?;
        let end = loop {
            match self.arriving.piece().await {
                Piece::Chunk(chunk) => {
                    let held = page.waiting() + chunk.weight();
                    self.arriving.meanwhile(held, page.copy(chunk, self.reading)).await?;
                }
                Piece::End(end) => break end,
                Piece::Void => return Ok(()),
            }
        };
        let progress = page.checkpoint(end, self.reading).await?;
        self.connection = Some(connection);
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
    reading: &mut Reading,
) -> Result<(), LoadError> {
    for chunk in chunks {
        page.copy(chunk, reading).await?;
    }
    page.turn(end, reading).await
}
