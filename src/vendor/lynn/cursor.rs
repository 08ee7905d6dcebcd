//! Where inside a window the reading of a report stands.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::{StepError, Window};

/// The part of the window that is being read, and the page inside it. Stored as JSON; `last_document` keeps the
/// vendor's own text (`vendors/lynn.md §3.1`).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Cursor {
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
    /// Pages of this part that are behind us.
    pub(super) page: u64,
    /// Pages that follow the first, fixed by the first answer.
    pub(super) planned: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_document: Option<Box<RawValue>>,
}

impl Cursor {
    pub(super) fn begin(window: Window) -> Self {
        Self { from: window.start, to: window.end, page: 0, planned: 0, last_document: None }
    }

    pub(super) fn parse(text: &str) -> Result<Self, StepError> {
        serde_json::from_str(text).map_err(|_| StepError::CursorUnknown)
    }

    pub(super) fn text(&self) -> String {
        // Strings, numbers and raw JSON always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(super) fn following(self, planned: u64, last_document: Option<Box<RawValue>>) -> Self {
        Self { page: self.page + 1, planned, last_document, ..self }
    }

    pub(super) fn last_document_text(&self) -> Option<&str> {
        self.last_document.as_deref().map(RawValue::get)
    }

    pub(super) fn secs(&self) -> u64 {
        u64::try_from((self.to - self.from).num_seconds()).unwrap_or(0)
    }
}
