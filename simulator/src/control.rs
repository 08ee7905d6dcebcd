//! The handle of a running simulator: reads what it saw, scripts its misbehaviour, and knows the truth.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::company::Company;
use super::lynn::Shape;
use super::mischief::{Fault, Hold, Match, Point};
use super::stats::Stats;
use super::truth::{Change, Edit, Rows, UnknownReport};
use super::{FileBody, TruthHandle, Vendor, World, jaicp, khoros, lexer, locked, lynn};

/// Cheap to clone. Works while the simulator runs, and can still be read after it stopped.
#[derive(Clone)]
pub struct Control {
    pub(super) world: Arc<World>,
}

impl Control {
    /// Everything seen so far.
    pub fn stats(&self) -> Stats {
        let mut stats = locked(&self.world.stats).clone();
        stats.uptime_secs = self.world.now().as_secs_f64();
        stats.limits = Vendor::ALL.iter().flat_map(|&vendor| self.world.gateway(vendor).stats()).collect();
        stats
    }

    /// Queues a fault.
    pub fn mischief(&self, fault: Fault) {
        self.world.mischief.add(fault);
    }

    /// Queues a fault for the next matching call.
    pub fn next(&self, on: Match, action: super::Action) {
        self.mischief(Fault::new(on, action));
    }

    /// Holds the next matching call.
    pub fn hold(&self, on: Match, point: Point) -> Hold {
        self.hold_after(on, 0, point)
    }

    /// Holds the matching call after `after` others.
    pub fn hold_after(&self, on: Match, after: u32, point: Point) -> Hold {
        self.world.mischief.hold(on, after, point).1
    }

    /// Removes queued faults and export fates, and releases held calls. Edits of the truth stay.
    pub fn quiet(&self) {
        self.world.mischief.quiet();
        self.world.khoros.quiet();
    }

    /// Number of queued faults that no call has met yet.
    pub fn pending(&self) -> usize {
        self.world.mischief.pending()
    }

    /// The truth of a vendor's reports. The methods below are shortcuts for Lynn's.
    pub fn data(&self, vendor: Vendor) -> TruthHandle {
        TruthHandle { world: Arc::clone(&self.world), vendor }
    }

    /// The facts behind the rows of all vendors, without edits.
    pub fn company(&self) -> &Company {
        &self.world.company
    }

    pub fn outbound(&self) -> lynn::outbound::Handle {
        lynn::outbound::Handle(self.clone())
    }

    pub fn khoros(&self) -> khoros::Handle {
        khoros::Handle(self.clone())
    }

    pub fn lexer(&self) -> lexer::Handle {
        lexer::Handle(self.clone())
    }

    pub fn jaicp(&self) -> jaicp::Handle {
        jaicp::Handle(self.clone())
    }

    /// Stores a file in the storage and returns a link that is valid for `ttl`. The name is used in the URL unchanged.
    pub fn put_file(&self, name: &str, content_type: &str, body: impl Into<FileBody>, ttl: Duration) -> String {
        self.world.files.put(name, content_type, body, ttl)
    }

    fn lynn(&self) -> TruthHandle {
        self.data(Vendor::Lynn)
    }

    /// Changes the shape of Lynn's responses from now on.
    pub fn shape(&self, change: impl FnOnce(&mut Shape)) {
        change(&mut self.world.lynn.shape.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Makes every token of Lynn expire now, without notice.
    pub fn expire_tokens(&self) {
        self.world.lynn.expire_tokens();
    }

    /// Edits Lynn's truth. Returns the number of rows concerned (0 for changes that apply when rows are read).
    pub fn edit(&self, edit: Edit) -> Result<u64, UnknownReport> {
        self.lynn().edit(edit)
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

    /// Shows every late row.
    pub fn release_late(&self) {
        self.lynn().release_late();
    }

    /// Number of rows that a complete, undisturbed read of `[from, to)` would return now.
    pub fn count(&self, report: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<u64, UnknownReport> {
        self.lynn().count(report, from, to)
    }

    /// The rows that a complete, undisturbed read of `[from, to)` would return now, in order. Only records that are
    /// objects and that serde_json can parse; `truth_text` returns all.
    pub fn truth(
        &self,
        report: &str,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<Map<String, Value>>, UnknownReport> {
        self.lynn().rows(report, from, to)
    }

    /// The same as raw JSON text, every record.
    pub fn truth_text(
        &self,
        report: &str,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<String>, UnknownReport> {
        self.lynn().text(report, from, to)
    }

    /// The same one by one, for windows too large for memory.
    pub fn truth_each(
        &self,
        report: &str,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        each: &mut dyn FnMut(&str),
    ) -> Result<(), UnknownReport> {
        self.lynn().each(report, from, to, each)
    }
}
