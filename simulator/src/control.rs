//! The handle on a running simulator: reads what it saw, scripts its misbehaviour, knows the truth.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::lynn::Shape;
use super::mischief::{Fault, Hold, Match, Point};
use super::stats::Stats;
use super::truth::{Change, Edit, Rows, UnknownReport};
use super::{FileBody, TruthHandle, Vendor, World, jaicp, khoros, lexer, locked, lynn};

/// Cheap to clone; works as long as the simulator runs, and reads on after it stopped.
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

    /// Queues a fault for the next call that matches.
    pub fn next(&self, on: Match, action: super::Action) {
        self.mischief(Fault::new(on, action));
    }

    /// Holds the next call that matches.
    pub fn hold(&self, on: Match, point: Point) -> Hold {
        self.hold_after(on, 0, point)
    }

    /// Holds the call that matches after `after` others have.
    pub fn hold_after(&self, on: Match, after: u32, point: Point) -> Hold {
        self.world.mischief.hold(on, after, point).1
    }

    /// Forgets queued faults and the fates of exports, and releases held calls. Edits of the truth stay: they are the truth
    /// now.
    pub fn quiet(&self) {
        self.world.mischief.quiet();
        self.world.khoros.quiet();
    }

    /// Faults that no call has met yet.
    pub fn pending(&self) -> usize {
        self.world.mischief.pending()
    }

    /// The truth of a vendor's reports. Lynn's has shorter ways below.
    pub fn data(&self, vendor: Vendor) -> TruthHandle {
        TruthHandle { world: Arc::clone(&self.world), vendor }
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

    /// Stores a file at the storage and gives a link to it that is good for `ttl`. The name goes into the URL as it is.
    pub fn put_file(&self, name: &str, content_type: &str, body: impl Into<FileBody>, ttl: Duration) -> String {
        self.world.files.put(name, content_type, body, ttl)
    }

    fn lynn(&self) -> TruthHandle {
        self.data(Vendor::Lynn)
    }

    /// Changes how Lynn's answers look from now on.
    pub fn shape(&self, change: impl FnOnce(&mut Shape)) {
        change(&mut self.world.lynn.shape.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Makes every token of Lynn's expire now, without a word.
    pub fn expire_tokens(&self) {
        self.world.lynn.expire_tokens();
    }

    /// Edits Lynn's truth and says how many rows that concerned (0 for changes that concern rows as they are read).
    pub fn edit(&self, edit: Edit) -> Result<u64, UnknownReport> {
        self.lynn().edit(edit)
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

    /// Every late row appears.
    pub fn release_late(&self) {
        self.lynn().release_late();
    }

    /// How many rows a full, undisturbed read of `[from, to)` would give now.
    pub fn count(&self, report: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<u64, UnknownReport> {
        self.lynn().count(report, from, to)
    }

    /// The rows that a full, undisturbed read of `[from, to)` would give now, in order. Only records that are objects
    /// and that serde_json can read; `truth_text` has them all.
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

    /// The same one by one, for windows that memory should not hold.
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
