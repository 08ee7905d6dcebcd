//! From facts to numbered rows: how many there are on a day, in which order, and when.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::super::locked;
use super::super::truth::{TICKS_PER_SECOND, Ticks, Volume};
use super::calendar;

/// A day of the company has at most about this many rows of the vendor's largest report. A larger volume repeats the
/// day's rows with other ids, so that a day of any size needs little memory.
const ROWS_MAX: u64 = 2_000;
/// How many days of a vendor are kept.
const DAYS_MAX: usize = 48;

/// How much happens, of one vendor.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    /// Rows of every report, if all have equally many.
    exactly: Option<u64>,
    /// Rows of the largest report on an average day.
    around: u64,
    copies: u64,
    /// So many rows of each report have one more copy.
    rest: u64,
}

impl Plan {
    pub fn new(seed: u64, volume: Volume) -> Self {
        let (Volume::Around(rows) | Volume::Exactly(rows)) = volume;
        let copies = (rows / ROWS_MAX).max(1);
        match volume {
            Volume::Around(rows) => Self { seed, exactly: None, around: rows / copies, copies, rest: 0 },
            Volume::Exactly(rows) => {
                let base = rows.min(ROWS_MAX);
                Self { seed, exactly: Some(base), around: base, copies, rest: if base > 0 { rows % base } else { 0 } }
            }
        }
    }

    /// Whether all reports have equally many rows, spread evenly over each day, and rows are final from the beginning:
    /// for tests that count.
    pub fn is_even(&self) -> bool {
        self.exactly.is_some()
    }

    /// Rows of every report and day, if all have equally many.
    pub fn exact_rows(&self) -> Option<u64> {
        self.exactly.map(|rows| rows * self.copies + self.rest)
    }

    /// Number of facts of a kind on a day: `share` per thousand rows of the largest report. With an exact volume, one
    /// for every `rows_each` rows.
    pub fn facts(&self, day: i32, share: u64, rows_each: u64) -> u64 {
        match self.exactly {
            Some(rows) => rows.div_ceil(rows_each),
            None => self.around * share / 1000 * calendar::load(self.seed, day) / 1000,
        }
    }

    /// Number of rows of a report that belong to the `number`th of `facts`: `natural`, or the even share of the exact
    /// number of rows.
    pub fn rows_of(&self, number: usize, facts: usize, natural: u64) -> u64 {
        let Some(rows) = self.exactly else { return natural };
        let upto = |number: usize| number as u64 * rows / (facts as u64).max(1);
        upto(number + 1) - upto(number)
    }

    /// The rows of a report in order. `events` are in the order of their facts.
    pub fn timeline(&self, events: Vec<Event>) -> Timeline {
        let mut numbered: Vec<(u64, Event)> = (0..).zip(events).collect();
        numbered.sort_by_key(|(number, event)| (event.at, *number));
        let mut rows = 0;
        let mut starts = Vec::with_capacity(numbered.len());
        for (number, _) in &numbered {
            starts.push(rows);
            // The same facts of all reports have one more copy, so that these join too.
            rows += self.copies + u64::from(*number < self.rest);
        }
        Timeline { events: numbered.into_iter().map(|(_, event)| event).collect(), starts, rows, copies: self.copies }
    }
}

/// A row: when, of which fact, and which one of the fact's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Event {
    pub at: Ticks,
    pub of: usize,
    pub rank: usize,
}

/// The rows of a report on one day.
#[derive(Debug, Default)]
pub struct Timeline {
    events: Vec<Event>,
    /// The position of each event's first row.
    starts: Vec<u64>,
    rows: u64,
    copies: u64,
}

/// A row by its position.
#[derive(Debug, Clone, Copy)]
pub struct Spot {
    pub event: Event,
    /// 0 is the original. Copies have other ids.
    pub copy: u64,
}

impl Timeline {
    pub fn len(&self) -> u64 {
        self.rows
    }

    /// Any position has a row, but only those below `len` are rows of the report. `None` only without events.
    pub fn spot(&self, position: u64) -> Option<Spot> {
        let number = self.events.len() as u64;
        if number == 0 {
            return None;
        }
        let (event, copy) =
            if position < self.len() { self.original(position) } else { self.inserted(position, number) };
        Some(Spot { event: self.events[index(event)], copy })
    }

    /// Rows that were inserted have positions of 2^40 and more (`truth/edit.rs`). No row of the report, and no other
    /// inserted one, has the same number of its copy.
    fn inserted(&self, position: u64, number: u64) -> (u64, u64) {
        let (place, nth) = (position & ((1 << 40) - 1), position >> 40);
        (place % number, self.copies + 1 + nth * (self.copies + 2) + place / number)
    }

    /// The row that is at a position, or copied there, and the number of the copy.
    fn original(&self, position: u64) -> (u64, u64) {
        let event = self.starts.partition_point(|&start| start <= position).saturating_sub(1);
        (event as u64, position - self.starts.get(event).copied().unwrap_or_default())
    }

    /// The time of a row of the report. Copies follow their original within a second and before the next one.
    pub fn at(&self, position: u64) -> Option<Ticks> {
        let (event, copy) = self.original(position);
        let at = self.events.get(index(event))?.at;
        let most = at + TICKS_PER_SECOND;
        let next = self.events.get(index(event + 1)).map_or(most, |event| event.at.min(most));
        let step = i128::from(next - at) * i128::from(copy) / i128::from(self.copies + 1);
        let later = at + i64::try_from(step).unwrap_or_default();
        Some(if later % TICKS_PER_SECOND == 0 { later - 1 } else { later })
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or_default()
}

/// Days that were needed lately.
#[derive(Debug)]
pub struct Days<T>(Mutex<BTreeMap<i32, Arc<T>>>);

impl<T> Default for Days<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Days<T> {
    pub fn get(&self, day: i32, make: impl FnOnce() -> T) -> Arc<T> {
        if let Some(known) = locked(&self.0).get(&day) {
            return Arc::clone(known);
        }
        // Made without the lock, since a day may need the one before.
        let made = Arc::new(make());
        let mut known = locked(&self.0);
        if known.len() >= DAYS_MAX {
            known.pop_first();
        }
        known.insert(day, Arc::clone(&made));
        made
    }
}
