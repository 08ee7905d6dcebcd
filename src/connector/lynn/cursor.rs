//! The position of a report's reading inside a window.

use chrono::{DateTime, Datelike as _, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::{StepError, Window};
use super::config::Settings;
use super::dates;

/// The part of the window that is being read, and the page inside it. Stored as JSON; `last_document` keeps the
/// vendor's text unchanged (`facts/lynn.md §3.1`).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Cursor {
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
    /// Pages of this part that are complete.
    pub(super) page: u64,
    /// Pages that follow the first, from the first response; `None` if it has no count.
    pub(super) planned: Option<u64>,
    /// The query of the first page; used for every page, even if the configuration changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    query: Option<Query>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_document: Option<Box<RawValue>>,
}

/// The query, without the page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Query {
    pub(super) start_date: String,
    pub(super) end_date: String,
    pub(super) size: u32,
}

impl Cursor {
    pub(super) fn begin(window: Window) -> Self {
        Self { from: window.start, to: window.end, page: 0, planned: None, query: None, last_document: None }
    }

    pub(super) fn parse(text: &str) -> Result<Self, StepError> {
        let cursor: Self = serde_json::from_str(text).map_err(|_| StepError::CursorUnknown)?;
        // Local times cannot be computed for other years.
        let is_shown = |at: DateTime<Utc>| (1..=9999).contains(&at.year());
        if is_shown(cursor.from) && is_shown(cursor.to) { Ok(cursor) } else { Err(StepError::CursorUnknown) }
    }

    pub(super) fn text(&self) -> String {
        // Strings, numbers and raw JSON can always be serialised.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Consecutive windows share their boundary second (`§10.3`); the size is clamped (`§10.23`).
    pub(super) fn query(&self, settings: &Settings) -> Query {
        self.query.clone().unwrap_or_else(|| Query {
            start_date: dates::start(self.from, settings.filter_timezone, &settings.date_format),
            end_date: dates::end(self.to, settings.filter_timezone, &settings.date_format),
            size: settings.page_size.clamp(1, 10_000),
        })
    }

    pub(super) fn following(self, query: Query, planned: Option<u64>, last_document: Option<Box<RawValue>>) -> Self {
        Self { page: self.page + 1, planned, query: Some(query), last_document, ..self }
    }

    pub(super) fn last_document_text(&self) -> Option<&str> {
        self.last_document.as_deref().map(RawValue::get)
    }

    pub(super) fn secs(&self) -> u64 {
        u64::try_from((self.to - self.from).num_seconds()).unwrap_or(0)
    }
}
