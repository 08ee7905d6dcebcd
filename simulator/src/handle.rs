//! The truth of one vendor's reports, readable and editable while it is served.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::truth::{Change, Edit, Reports, Rows, Span, UnknownReport};
use super::{Vendor, World};

/// Cheap to clone. Works while the simulator runs, and can still be read after it stopped.
#[derive(Clone)]
pub struct TruthHandle {
    pub(super) world: Arc<World>,
    pub(super) vendor: Vendor,
}

impl TruthHandle {
    fn reports(&self) -> &Reports {
        self.world.data(self.vendor)
    }

    /// Edits the truth. Returns the number of rows concerned (0 for changes that apply when rows are read).
    pub fn edit(&self, edit: Edit) -> Result<u64, UnknownReport> {
        self.reports().edit(edit)
    }

    /// Changes the content of the rows from now on.
    pub fn change(&self, rows: Rows, change: Change) -> Result<u64, UnknownReport> {
        self.edit(Edit::Change { rows, change })
    }

    /// Removes the rows from now on.
    pub fn vanish(&self, rows: Rows) -> Result<u64, UnknownReport> {
        self.edit(Edit::Vanish { rows })
    }

    /// Hides the rows until `release_late`.
    pub fn late(&self, rows: Rows) -> Result<u64, UnknownReport> {
        self.edit(Edit::Late { rows, for_ms: None })
    }

    /// Adds a row at exactly that time, with content such as the report has.
    pub fn insert(&self, report: &str, at: DateTime<Utc>) -> Result<u64, UnknownReport> {
        self.edit(Edit::Insert { report: report.to_owned(), at, json: None })
    }

    /// Hides everything after this time, however much time passes.
    pub fn freeze(&self, at: DateTime<Utc>) {
        self.reports().freeze(at);
    }

    /// Shows every late row.
    pub fn release_late(&self) {
        self.reports().release_late();
    }

    /// Number of rows that a complete, undisturbed read of `[from, to)` would return now.
    pub fn count(&self, report: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<u64, UnknownReport> {
        self.reports().count(report, Span::new(from, to))
    }

    /// The rows that a complete, undisturbed read of `[from, to)` would return now, in order. Only records that are
    /// objects and that serde_json can parse; `text` returns all.
    pub fn rows(
        &self,
        report: &str,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<Map<String, Value>>, UnknownReport> {
        let mut rows = Vec::new();
        self.each(report, from, to, &mut |text| rows.extend(serde_json::from_str(text).ok()))?;
        Ok(rows)
    }

    /// The same as raw JSON text, every record.
    pub fn text(&self, report: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Vec<String>, UnknownReport> {
        let mut rows = Vec::new();
        self.each(report, from, to, &mut |text| rows.push(text.to_owned()))?;
        Ok(rows)
    }

    /// The same one by one, for windows too large for memory.
    pub fn each(
        &self,
        report: &str,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        each: &mut dyn FnMut(&str),
    ) -> Result<(), UnknownReport> {
        self.reports().walk(report, Span::new(from, to), each)
    }
}
