//! Pages by number and size, read until their rows match the vendor's count (`facts/jaicp.md §4`).
//!
//! The order of the rows is not documented, so pages may shift while data arrives. A part of the window is complete
//! when the number of distinct ids equals the vendor's count. Otherwise it is read again; if that does not help, in two
//! halves, and so on down to a second. The cursor holds the ids of the part, in bounded space: a part with too many
//! rows is halved before it is read, which also avoids deep pages.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chrono::{DateTime, Datelike as _, SubsecRound as _, TimeDelta, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::xxh3_64;

use super::super::{StepError, Window};
use super::page::Page;
use super::status::Statuses;
use super::times;

/// A part with more rows is halved.
pub(super) const ROWS_MAX: u64 = 5_000;
/// Maximum number of ids in a part that cannot be halved any more.
const IDS_MAX: usize = 20_000;
/// How often a part is read before it is halved.
const READINGS_MAX: u32 = 3;
/// Maximum number of pages of a part, of any size.
const PAGES_MAX: u64 = 20_000;
/// The documented default. After status 400, smaller pages are not requested.
const SIZE_DOCUMENTED: u32 = 20;

/// Progress within a window. Stored as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// The part that is read.
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
    pub(super) page: u64,
    /// Rows requested per page: at most the vendor's maximum.
    pub(super) size: u32,
    /// Rows of the pages that were read, including duplicates.
    rows: u64,
    ids: Ids,
    /// Hash of the ids of the page before.
    last: u64,
    /// Readings of this part that did not match the vendor's count.
    unsteady: u32,
    /// Present while the statuses of the part's messages are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) statuses: Option<Statuses>,
}

/// Hashes of the ids in the part: eight bytes each, as base64.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Ids(HashSet<u64>);

impl Serialize for Ids {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut ids: Vec<u64> = self.0.iter().copied().collect();
        ids.sort_unstable();
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        serializer.serialize_str(&STANDARD_NO_PAD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Ids {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD_NO_PAD.decode(text).map_err(serde::de::Error::custom)?;
        let (ids, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(serde::de::Error::custom("half an id"));
        }
        Ok(Self(ids.iter().map(|id| u64::from_le_bytes(*id)).collect()))
    }
}

/// What follows a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    Page(Cursor),
    /// The part is complete.
    Complete(Cursor),
}

impl Cursor {
    pub(super) fn begin(window: Window, size: u32) -> Self {
        Self {
            from: window.start,
            to: window.end,
            page: 0,
            size,
            rows: 0,
            ids: Ids::default(),
            last: 0,
            unsteady: 0,
            statuses: None,
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, StepError> {
        let cursor: Option<Self> = serde_json::from_str(text).ok();
        // Times of other years cannot be formatted and computed.
        let is_shown = |at: DateTime<Utc>| (1..=9999).contains(&at.year());
        cursor
            .filter(|cursor| is_shown(cursor.from) && is_shown(cursor.to) && cursor.from < cursor.to)
            .filter(|cursor| cursor.size > 0 && cursor.page <= PAGES_MAX)
            .ok_or(StepError::CursorUnknown)
    }

    pub(super) fn text(&self) -> Result<String, StepError> {
        serde_json::to_string(self).map_err(|_| StepError::CursorUnknown)
    }

    pub(super) const fn part(&self) -> Window {
        Window { start: self.from, end: self.to }
    }

    /// The cursor for the statuses of the part, which is complete; its ids are no longer needed.
    pub(super) fn with_statuses(self) -> Self {
        Self { ids: Ids::default(), statuses: Some(Statuses::default()), ..self }
    }

    /// The cursor after a page.
    pub(super) fn after(mut self, page: &Page) -> Result<Next, StepError> {
        let given = u32::try_from(page.size).ok().filter(|given| *given > 0 && *given != self.size);
        if let Some(given) = given {
            self.size = given;
            if self.page > 0 {
                // The pages before had another size.
                return self.again(page.total);
            }
        }
        if page.total > ROWS_MAX
            && self.page == 0
            && let Some(half) = self.half()
        {
            tracing::debug!(rows = page.total, "the window holds many rows, reading half of it first");
            return Ok(Next::Page(half));
        }
        let bytes: Vec<u8> = page.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let last = xxh3_64(&bytes);
        if self.page > 0 && page.ids.len() > 1 && last == self.last {
            return Err(StepError::CursorStuck);
        }
        self.last = last;
        self.rows = self.rows.saturating_add(page.ids.len() as u64);
        self.ids.0.extend(&page.ids);
        if !page.ids.is_empty() && self.rows < page.total {
            if self.page >= PAGES_MAX || self.ids.0.len() > IDS_MAX {
                return Err(StepError::Endless(self.page));
            }
            self.page += 1;
            return Ok(Next::Page(self));
        }
        if self.ids.0.len() as u64 == page.total { Ok(Next::Complete(self)) } else { self.again(page.total) }
    }

    /// Restarts the part, or begins with half of it, because its rows did not match the vendor's count.
    fn again(mut self, announced: u64) -> Result<Next, StepError> {
        let found = self.ids.0.len() as u64;
        self.unsteady = self.unsteady.saturating_add(1);
        if self.unsteady < READINGS_MAX {
            tracing::debug!(found, announced, "the pages do not add up, reading them again");
            return Ok(Next::Page(self.restarted()));
        }
        match self.half() {
            Some(half) => {
                tracing::debug!(found, announced, "the pages do not add up, reading half of the window");
                Ok(Next::Page(half))
            }
            None => {
                Err(StepError::Unsteady { found, announced, start: times::text(self.from), end: times::text(self.to) })
            }
        }
    }

    fn restarted(self) -> Self {
        Self { page: 0, rows: 0, ids: Ids::default(), last: 0, ..self }
    }

    /// The first half of the part, in whole seconds. Returns `None` if the part is one second long.
    fn half(&self) -> Option<Self> {
        let middle = (self.from + (self.to - self.from) / 2).trunc_subsecs(0);
        let half = Window { start: self.from, end: middle };
        (middle > self.from && middle - self.from >= TimeDelta::seconds(1)).then(|| Self::begin(half, self.size))
    }

    /// The cursor after a refused page: smaller pages, or a shorter part instead of a deep page.
    pub(super) fn smaller(&self, status: u16) -> Option<Self> {
        let least = match status {
            400 => SIZE_DOCUMENTED,
            413 | 504 => 1,
            500 | 502 | 503 => u32::MAX,
            _ => return None,
        };
        if self.size > least {
            let size = (self.size / 2).max(least);
            return Some(Self { size, ..self.clone() }.restarted());
        }
        if self.page > 0 { self.half() } else { None }
    }

    /// The part after this one; `None` at the window's end. After a part with few rows, the next one is longer.
    pub(super) fn following(&self, window: Window) -> Option<Self> {
        if self.to >= window.end {
            return None;
        }
        let length = self.to - self.from;
        let length = if self.rows < ROWS_MAX / 3 { length * 2 } else { length };
        let end = (self.to + length).min(window.end);
        Some(Self::begin(Window { start: self.to, end }, self.size))
    }
}

#[cfg(test)]
#[path = "paging_tests.rs"]
mod tests;
