//! What a transaction counts.

use super::statement::signed;
use crate::rows::chunk::RecordCounts;
use crate::store::task::Progress;

/// `progress` covers all pages of the transaction; the private counts cover the current page, and are zero between
/// pages.
#[derive(Debug, Default)]
pub(super) struct PageCounts {
    pub(super) progress: Progress,
    pub(super) batches_merged: u32,
    rows: i64,
    seen: i64,
    rejected: i64,
    astray: u64,
    /// Values that are in `_extra` until their fields get columns.
    waiting: u64,
}

impl PageCounts {
    pub(super) fn add_records(&mut self, counts: RecordCounts, rejects: usize) {
        self.progress.rows_read += signed(counts.read);
        self.progress.rows_outside += signed(counts.outside);
        self.progress.values_extra += signed(counts.extra);
        self.astray += counts.astray;
        self.waiting += counts.waiting;
        self.rejected += signed(rejects as u64);
    }

    pub(super) const fn add_written(&mut self, inserted: i64, updated: i64) {
        self.progress.rows_inserted += inserted;
        self.progress.rows_updated += updated;
    }

    pub(super) const fn add_rows(&mut self, rows: i64) {
        self.rows += rows;
    }

    pub(super) const fn add_seen(&mut self, entries: i64) {
        self.seen += entries;
    }

    pub(super) const fn rows(&self) -> i64 {
        self.rows
    }

    pub(super) const fn seen(&self) -> i64 {
        self.seen
    }

    pub(super) const fn waiting(&self) -> u64 {
        self.waiting
    }

    pub(super) const fn rejected(&self) -> i64 {
        self.rejected
    }

    /// Ends the page, whose records are all written, rejected or left out now. Returns how many of its rows lie far
    /// outside their window.
    pub(super) const fn end_page(&mut self) -> u64 {
        let Progress { rows_read, rows_inserted, rows_updated, rows_outside, records_rejected, .. } = self.progress;
        self.progress.rows_unchanged = rows_read - rows_inserted - rows_updated - rows_outside - records_rejected;
        self.progress.pages += 1;
        (self.rows, self.seen, self.rejected, self.waiting) = (0, 0, 0, 0);
        std::mem::replace(&mut self.astray, 0)
    }
}
