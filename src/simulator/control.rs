//! The handle on a running simulator: reads what it saw, scripts its misbehaviour, knows the truth.

use std::sync::{Arc, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::lynn::Shape;
use super::mischief::{Fault, Hold, Match, Point};
use super::stats::Stats;
use super::truth::{Change, Edit, Rows, Span, UnknownReport};
use super::{World, locked};

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
        stats.limits = self.world.lynn.limit_stats();
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

    /// Forgets queued faults and releases held calls. Edits of the truth stay: they are the truth now.
    pub fn quiet(&self) {
        self.world.mischief.quiet();
    }

    /// Faults that no call has met yet.
    pub fn pending(&self) -> usize {
        self.world.mischief.pending()
    }

    /// Changes how answers look from now on.
    pub fn shape(&self, change: impl FnOnce(&mut Shape)) {
        change(&mut self.world.lynn.shape.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Makes every token expire now, without a word.
    pub fn expire_tokens(&self) {
        self.world.lynn.expire_tokens();
    }

    /// Edits the truth and says how many rows that concerned (0 for changes that concern rows as they are read).
    pub fn edit(&self, edit: Edit) -> Result<u64, UnknownReport> {
        self.world.lynn.edit(edit)
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
        self.world.lynn.release_late();
    }

    /// How many rows a full, undisturbed read of `[from, to)` would give now.
    pub fn count(&self, report: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<u64, UnknownReport> {
        self.world.lynn.count(report, Span::new(from, to))
    }

    /// The rows that a full, undisturbed read of `[from, to)` would give now, in order. Only records that are objects
    /// and that serde_json can read; `truth_text` has them all.
    pub fn truth(
        &self,
        report: &str,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<Map<String, Value>>, UnknownReport> {
        let mut rows = Vec::new();
        self.truth_each(report, from, to, &mut |text| rows.extend(serde_json::from_str(text).ok()))?;
        Ok(rows)
    }

    /// The same as raw JSON text, every record.
    pub fn truth_text(
        &self,
        report: &str,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<String>, UnknownReport> {
        let mut rows = Vec::new();
        self.truth_each(report, from, to, &mut |text| rows.push(text.to_owned()))?;
        Ok(rows)
    }

    /// The same one by one, for windows that memory should not hold.
    pub fn truth_each(
        &self,
        report: &str,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        each: &mut dyn FnMut(&str),
    ) -> Result<(), UnknownReport> {
        self.world.lynn.walk(report, Span::new(from, to), each)
    }
}
