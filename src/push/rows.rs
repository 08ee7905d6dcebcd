//! The rows of a push: which are sent, and which were sent before.

use std::collections::HashMap;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::query::{QueryCursor, Row};
use super::{Order, PushError};
use crate::store::push as store;

/// Byte limit of one value. A value in a message is much smaller.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// Counts of the query's rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All rows.
    pub query: u64,
    /// Rows that were to be sent.
    pub new: u64,
    /// Rows that this push has sent.
    pub sent: u64,
    /// Rows that an earlier push has sent.
    pub sent_before: u64,
    /// Rows of an earlier push whose response was lost or reported a failure.
    pub held_back: u64,
    /// Rows whose key another row of the query has too.
    pub repeated: u64,
}

/// The rows of one batch.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) keys: Vec<Uuid>,
    /// Values by label; null is an empty text.
    pub(super) values: Vec<Vec<String>>,
}

/// The state of a row after earlier pushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    New,
    SentBefore,
    HeldBack,
    Repeated,
}

/// The rows of the query with their known state.
pub(super) struct Rows<'a, 'c> {
    order: Order<'a>,
    source: QueryCursor<'c>,
    salt: String,
    /// New rows that were fetched and not sent yet.
    waiting: Vec<(Uuid, Vec<String>)>,
    at_end: bool,
}

impl<'a, 'c> Rows<'a, 'c> {
    pub(super) async fn new(order: Order<'a>, source: QueryCursor<'c>) -> Result<Self, PushError> {
        let salt = store::salt(order.pool).await?;
        Ok(Self { order, source, salt, waiting: Vec::new(), at_end: false })
    }

    pub(super) async fn close(self) {
        self.source.close().await;
    }

    /// Counts every row and returns the first new ones too. Returns to the first row afterwards.
    pub(super) async fn count(&mut self, first_max: usize) -> Result<(Counts, Vec<Vec<String>>), PushError> {
        let (mut counts, mut first) = (Counts::default(), Vec::new());
        loop {
            let rows = self.fetch().await?;
            if rows.is_empty() {
                break;
            }
            for (fate, _, values) in rows {
                counts.query += 1;
                match fate {
                    Fate::New => {
                        counts.new += 1;
                        if first.len() < first_max {
                            first.push(values);
                        }
                    }
                    Fate::SentBefore => counts.sent_before += 1,
                    Fate::HeldBack => counts.held_back += 1,
                    Fate::Repeated => counts.repeated += 1,
                }
            }
        }
        self.source.rewind().await?;
        Ok((counts, first))
    }

    /// The next batch of new rows; empty when all have been sent.
    pub(super) async fn next_batch(&mut self) -> Result<Option<Outgoing>, PushError> {
        let size = self.order.push.batch_size;
        while self.waiting.len() < size && !self.at_end {
            let rows = self.fetch().await?;
            self.at_end = rows.is_empty();
            let new = rows.into_iter().filter(|(fate, ..)| *fate == Fate::New);
            self.waiting.extend(new.map(|(_, key, values)| (key, values)));
        }
        let (keys, values) = self.waiting.drain(..size.min(self.waiting.len())).unzip();
        let batch = Outgoing { keys, values };
        Ok((!batch.keys.is_empty()).then_some(batch))
    }

    async fn fetch(&mut self) -> Result<Vec<(Fate, Uuid, Vec<String>)>, PushError> {
        let fetched = self.order.cancel.run_until_cancelled(self.source.fetch()).await;
        let rows = fetched.ok_or(PushError::Interrupted)??;
        let mut keyed = Vec::with_capacity(rows.len());
        for row in rows {
            keyed.push((self.key(&row)?, row.repeated, self.values(row)?));
        }
        let keys: Vec<Uuid> = keyed.iter().map(|(key, ..)| *key).collect();
        let known = store::known(self.order.pool, &self.order.job.name, &keys).await?;
        let known: HashMap<Uuid, String> = known.into_iter().map(|known| (known.row_key, known.state)).collect();
        let fate = |key: &Uuid, repeated: bool| match known.get(key).map(String::as_str) {
            _ if repeated => Fate::Repeated,
            None => Fate::New,
            // For a process that only reads, a batch in progress may be a lost one.
            Some("unknown" | "failed" | "sending") if self.order.resend => Fate::New,
            Some("unknown" | "failed" | "sending") => Fate::HeldBack,
            Some(_) => Fate::SentBefore,
        };
        Ok(keyed.into_iter().map(|(key, repeated, values)| (fate(&key, repeated), key, values)).collect())
    }

    /// A salted hash: the key columns may hold telephone numbers, which an unsalted hash would not hide.
    fn key(&self, row: &Row) -> Result<Uuid, PushError> {
        let mut hash = Sha256::new();
        hash.update(&self.salt);
        for (value, column) in row.key.iter().zip(&self.order.push.key) {
            let value = value.as_deref().ok_or_else(|| PushError::NoKey(column.clone()))?;
            // The length separates adjacent values.
            hash.update((value.len() as u64).to_be_bytes());
            hash.update(value);
        }
        let mut key = [0; 16];
        key.copy_from_slice(&hash.finalize()[..16]);
        Ok(Uuid::from_bytes(key))
    }

    fn values(&self, row: Row) -> Result<Vec<String>, PushError> {
        let of_column = |(value, column): (Option<String>, &String)| {
            let value = value.unwrap_or_default();
            if value.len() > VALUE_BYTES_MAX {
                return Err(PushError::TooLarge { column: column.clone(), max: VALUE_BYTES_MAX });
            }
            Ok(value)
        };
        row.values.into_iter().zip(self.order.push.columns.values()).map(of_column).collect()
    }
}
