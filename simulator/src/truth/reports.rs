//! One vendor's reports by name, behind a lock: read by its endpoints and edited by tests.

use std::sync::{PoisonError, RwLock};

use chrono::{DateTime, Utc};

use super::{Clock, Edit, Source, Span, Truth, UnknownReport};

/// All reports of one vendor.
pub struct Reports {
    /// All names of each report, by its number.
    names: Vec<Vec<String>>,
    truth: RwLock<Truth>,
    clock: Clock,
}

impl Reports {
    /// A report's number for the source is its index in `names`, which ignore case.
    pub fn new(source: Box<dyn Source>, names: Vec<Vec<String>>, hide_future: bool) -> Self {
        let clock = Clock::new(hide_future);
        Self { truth: RwLock::new(Truth::new(source, names.len(), clock.clone())), names, clock }
    }

    /// Hides everything after this time, however much time passes.
    pub fn freeze(&self, at: DateTime<Utc>) {
        self.clock.freeze(at);
    }

    pub fn number(&self, wanted: &str) -> Result<usize, UnknownReport> {
        let named = |names: &Vec<String>| names.iter().any(|name| name.eq_ignore_ascii_case(wanted));
        self.names.iter().position(named).ok_or_else(|| UnknownReport(wanted.to_owned()))
    }

    /// The part of a span that has passed, if the future is hidden.
    pub fn visible(&self, span: Span) -> Span {
        Span { until: span.until.min(self.clock.now()), ..span }
    }

    pub fn with_truth<T>(&self, read: impl FnOnce(&Truth) -> T) -> T {
        read(&self.truth.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn edit(&self, edit: Edit) -> Result<u64, UnknownReport> {
        let report = self.number(edit.report())?;
        Ok(self.truth.write().unwrap_or_else(PoisonError::into_inner).edit(report, edit))
    }

    pub fn release_late(&self) {
        self.truth.write().unwrap_or_else(PoisonError::into_inner).release_late();
    }

    pub fn count(&self, report: &str, span: Span) -> Result<u64, UnknownReport> {
        let report = self.number(report)?;
        Ok(self.with_truth(|truth| truth.count(report, self.visible(span))))
    }

    /// All rows of the span, in order. Edits wait meanwhile, so slow senders should read in parts with `with_truth`,
    /// each after the place of the last one.
    pub fn walk(&self, report: &str, span: Span, each: &mut dyn FnMut(&str)) -> Result<(), UnknownReport> {
        let report = self.number(report)?;
        self.with_truth(|truth| {
            truth.walk(report, self.visible(span), None, &mut |_, text| {
                each(text);
                true
            });
        });
        Ok(())
    }
}
