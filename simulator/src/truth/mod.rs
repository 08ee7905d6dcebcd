//! The truth behind every simulated report: rows as a function of seed, report, day and position, plus edits.
//!
//! Only the edits are stored, so a window of ten million rows costs no memory. A day's rows are numbered; their number,
//! and the time and content of each, follow from the seed. Times increase with positions. Independent of the vendor (a
//! `Source` is not) and of HTTP.

mod change;
mod clock;
mod dice;
mod edit;
mod record;
mod reports;
#[cfg(test)]
mod tests;
mod time;
mod volume;

use std::collections::btree_map::Range;
use std::iter::Peekable;
use std::ops::Bound;

pub use change::Change;
pub use clock::Clock;
pub use dice::Dice;
pub use edit::{Edit, Rows};
pub use record::Record;
pub use reports::Reports;
pub use time::{Span, TICKS_PER_DAY, TICKS_PER_SECOND, Ticks, date_text, moment_text, seconds_text, ticks};
pub use volume::Volume;

use self::edit::{Content, Edits, Insert};

/// The place of a row; rows are always served in this order. A row of the source has `sub` 0 and a position from 1; an
/// inserted row follows the row at its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Days since 1970, UTC.
    pub day: i32,
    pub position: u64,
    pub sub: u16,
}

/// One row of a source to be written.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub report: usize,
    pub day: i32,
    /// Position within the day, from 0.
    pub position: u64,
    pub at: Ticks,
    /// The vendor's present: what happens later is not known yet.
    pub now: Ticks,
}

/// A vendor's reports as functions.
pub trait Source: Send + Sync {
    fn seed(&self) -> u64;
    fn rows_on(&self, report: usize, day: i32) -> u64;

    /// The time of a row. Times increase with positions, and none is a whole second: only inserted rows are. `None`
    /// spreads the rows evenly over the day.
    fn moment(&self, _report: usize, _day: i32, _position: u64) -> Option<Ticks> {
        None
    }

    fn write(&self, row: Row, record: &mut Record);
}

/// There is no such report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the simulator has no report `{0}`")]
pub struct UnknownReport(pub String);

/// The rows of all reports of one vendor, after all edits so far.
pub struct Truth {
    source: Box<dyn Source>,
    edits: Vec<Edits>,
    clock: Clock,
}

impl Truth {
    pub fn new(source: Box<dyn Source>, reports: usize, clock: Clock) -> Self {
        Self { source, edits: (0..reports).map(|_| Edits::default()).collect(), clock }
    }

    /// Number of rows in the span at present.
    pub fn count(&self, report: usize, span: Span) -> u64 {
        let edits = &self.edits[report];
        let base: u64 = self.days(report, span, None).map(|day| day.until - day.from).sum();
        let visible = |&(place, insert): &(&Place, &Insert)| span.holds(insert.at) && !edits.hides(*place);
        let inserted = edits.inserted.iter().filter(visible).count() as u64;
        let hidden_base = |place: &&Place| place.sub == 0 && span.holds(self.moment(report, place.day, place.position));
        let hidden = edits.hidden_now().filter(hidden_base).count() as u64;
        base + inserted - hidden
    }

    /// Passes the rows of the span after `after`, in order, to `each` until it returns `false`.
    pub fn walk(&self, report: usize, span: Span, after: Option<Place>, each: &mut dyn FnMut(Place, &str) -> bool) {
        let mut record = Record::default();
        let mut text = String::new();
        self.places(report, span, after, &mut |place| {
            text.clear();
            self.write(report, place, &mut record, &mut text);
            each(place, &text)
        });
    }

    fn places(&self, report: usize, span: Span, after: Option<Place>, each: &mut dyn FnMut(Place) -> bool) {
        let edits = &self.edits[report];
        let lower = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut inserted = edits.inserted.range((lower, Bound::Unbounded)).peekable();
        for day in self.days(report, span, after) {
            for position in day.from + 1..=day.until {
                let place = Place { day: day.number, position, sub: 0 };
                if !serve_inserted(&mut inserted, edits, span, Some(place), each) {
                    return;
                }
                if !edits.hides(place) && !each(place) {
                    return;
                }
            }
        }
        serve_inserted(&mut inserted, edits, span, None, each);
    }

    /// The days of a span, with the positions (from 0, end exclusive) that are in it and after `after`.
    fn days(&self, report: usize, span: Span, after: Option<Place>) -> impl Iterator<Item = Day> {
        let last = span.until.saturating_sub(1);
        let (first_day, last_day) = if span.is_empty() { (1, 0) } else { (day_of(span.from), day_of(last)) };
        let first_day = after.map_or(first_day, |after| first_day.max(after.day));
        (first_day..=last_day).map(move |day| {
            let rows = self.source.rows_on(report, day);
            let starts = i64::from(day) * TICKS_PER_DAY;
            let position_at = |at: Ticks| first_position(rows, |k| self.base_moment(report, day, k, rows) >= at);
            let mut from = if span.from <= starts { 0 } else { position_at(span.from) };
            let until = if span.until >= starts + TICKS_PER_DAY { rows } else { position_at(span.until) };
            if let Some(after) = after.filter(|after| after.day == day) {
                from = from.max(after.position);
            }
            Day { number: day, from: from.min(until), until }
        })
    }

    /// The time of the row at a place (of the source, `position` from 1).
    fn moment(&self, report: usize, day: i32, position: u64) -> Ticks {
        self.base_moment(report, day, position.saturating_sub(1), self.source.rows_on(report, day))
    }

    fn base_moment(&self, report: usize, day: i32, position: u64, rows: u64) -> Ticks {
        const MILLIS: u64 = 86_400_000;
        if let Some(at) = self.source.moment(report, day, position) {
            return at;
        }
        let mut dice = Dice::new(self.source.seed(), &[report as u64, u64::from(day.cast_unsigned()), position, 7]);
        let width = (MILLIS / rows.max(1)).max(2);
        let within = dice.below(width);
        let mut millis = position * width + within;
        if millis.is_multiple_of(1000) {
            millis = if within == 0 { millis + 1 } else { millis - 1 };
        }
        let ticks = i64::try_from(millis * 10_000 + dice.below(10_000)).unwrap_or(i64::MAX);
        i64::from(day) * TICKS_PER_DAY + ticks
    }

    fn write(&self, report: usize, place: Place, record: &mut Record, text: &mut String) {
        let edits = &self.edits[report];
        let insert = edits.inserted.get(&place);
        let at = insert.map_or_else(|| self.moment(report, place.day, place.position), |insert| insert.at);
        let origin = edits.origin(place);
        record.clear();
        let position = match edits.inserted.get(&origin).map(|insert| &insert.content) {
            Some(Content::Json(json)) => return text.push_str(json),
            Some(Content::Made(position)) => *position,
            Some(Content::CopyOf(_)) | None => origin.position.saturating_sub(1),
        };
        self.source.write(Row { report, day: origin.day, position, at, now: self.clock.now() }, record);
        for alteration in &edits.alterations {
            if alteration.concerns(origin, at) {
                alteration.change.apply(record);
            }
        }
        record.write_to(text);
    }

    /// Applies an edit. Returns the number of rows concerned (0 for edits that apply when rows are read).
    pub fn edit(&mut self, report: usize, edit: Edit) -> u64 {
        edit::apply(self, report, edit)
    }

    /// Shows every late row.
    pub fn release_late(&mut self) {
        for edits in &mut self.edits {
            edits.release_late();
        }
    }

    /// Where a row with that time is inserted: after the last source row before it.
    fn place_at(&self, report: usize, at: Ticks) -> Place {
        let day = day_of(at);
        let rows = self.source.rows_on(report, day);
        let position = first_position(rows, |k| self.base_moment(report, day, k, rows) > at);
        self.edits[report].free_after(Place { day, position, sub: 0 })
    }
}

/// The requested positions of a day: from 0, end exclusive.
struct Day {
    number: i32,
    from: u64,
    until: u64,
}

/// Serves the inserted rows before `upto` (all if `None`).
fn serve_inserted(
    inserted: &mut Peekable<Range<'_, Place, Insert>>,
    edits: &Edits,
    span: Span,
    upto: Option<Place>,
    each: &mut dyn FnMut(Place) -> bool,
) -> bool {
    while let Some((&place, insert)) = inserted.next_if(|(place, _)| upto.is_none_or(|upto| **place < upto)) {
        if span.holds(insert.at) && !edits.hides(place) && !each(place) {
            return false;
        }
    }
    true
}

fn day_of(at: Ticks) -> i32 {
    i32::try_from(at.div_euclid(TICKS_PER_DAY)).unwrap_or(i32::MAX)
}

/// The first of `0..count` for which the monotonic predicate holds, or `count`.
fn first_position(count: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}
