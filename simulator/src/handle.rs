//! The truth of one vendor's reports, to be read and edited while it is served.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::truth::{Change, Edit, Reports, Rows, Span, UnknownReport};
use super::{Vendor, World};

/// Cheap to clone; works as long as the simulator runs, and reads on after it stopped.
#[derive(Clone)]
pub struct TruthHandle {
    pub(super) world: Arc<World>,
    pub(super) vendor: Vendor,
}

impl TruthHandle {
    fn reports(&self) -> &Reports {
        self.world.data(self.vendor)
    }

    /// Edits the truth and says how many rows that concerned (0 for changes that concern rows as they are read).
    pub fn edit(&self, edit: Edit) -> Result<u64, UnknownReport> {
        self.reports().edit(edit)
    }

    /// The rows read differently from now on.
    pub fn change(&self, rows: Rows, change: Change) -> Result<u64, UnknownReport> {
        self.edit(Edit::Change { rows, change })
    }

    /// The rows are gone from now on.
    pub fn vanish(&self, rows: Rows) -> Result<u64, UnknownReport> {
        self.edit(Edit::Vanish { rows })
    }

    /// The rows are not there until `release_late`.
    pub fn late(&self, rows: Rows) -> Result<u64, UnknownReport> {
        self.edit(Edit::Late { rows, for_ms: None })
    }

    /// One more row at exactly that moment, such as the report has.
    pub fn insert(&self, report: &str, at: DateTime<Utc>) -> Result<u64, UnknownReport> {
        self.edit(Edit::Insert { report: report.to_owned(), at, json: None })
    }

    /// Nothing is there beyond this moment from now on, however much time goes by.
    pub fn freeze(&self, at: DateTime<Utc>) {
        self.reports().freeze(at);
    }

    /// Every late row appears.
    pub fn release_late(&self) {
        self.reports().release_late();
    }

    /// How many rows a full, undisturbed read of `[from, to)` would give now.
    pub fn count(&self, report: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<u64, UnknownReport> {
        self.reports().count(report, Span::new(from, to))
    }

    /// The rows that a full, undisturbed read of `[from, to)` would give now, in order. Only records that are objects
    /// and that serde_json can read; `text` has them all.
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

    /// The same one by one, for windows that memory should not hold.
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
