//! Edits of the truth: rows that come late, change, vanish, or are added to those of the source.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Change, Place, Span, Ticks, Truth, ticks};

/// Maximum number of rows that one edit selects individually.
const PICKED_MAX: u64 = 100_000;

/// The rows of a report that an edit concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rows {
    /// Any of its names.
    pub report: String,
    /// From this time on; without it, from the beginning.
    #[serde(default)]
    pub from: Option<DateTime<Utc>>,
    /// Before this time; without it, without end. Only a `Change` may leave the bounds open.
    #[serde(default)]
    pub to: Option<DateTime<Utc>>,
    /// Only rows whose position in their day is a multiple of this; 0 and 1 mean all.
    #[serde(default)]
    pub every: u64,
    /// At most this many, from the first.
    #[serde(default)]
    pub first: Option<u64>,
}

impl Rows {
    /// All rows of a report in `[from, to)`.
    pub fn between(report: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        Self { report: report.to_owned(), from: Some(from), to: Some(to), every: 1, first: None }
    }

    /// All rows of a report from a time on.
    pub fn since(report: &str, from: DateTime<Utc>) -> Self {
        Self { report: report.to_owned(), from: Some(from), to: None, every: 1, first: None }
    }

    /// Only rows whose position in their day is a multiple of `every`.
    #[must_use]
    pub fn every(self, every: u64) -> Self {
        Self { every, ..self }
    }

    /// Only the first `count` of them.
    #[must_use]
    pub fn first(self, count: u64) -> Self {
        Self { first: Some(count), ..self }
    }

    fn span(&self) -> Span {
        Span { from: self.from.map_or(Ticks::MIN, ticks), until: self.to.map_or(Ticks::MAX, ticks) }
    }
}

/// A change of the truth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Edit {
    /// The rows have other content from now on.
    Change { rows: Rows, change: Change },
    /// The rows are removed.
    Vanish { rows: Rows },
    /// The rows are hidden until `release_late`, or for this many real milliseconds.
    Late {
        rows: Rows,
        #[serde(default)]
        for_ms: Option<u64>,
    },
    /// Identical copies of the rows, `distance` rows later (0: directly after; a page's size: on the next page).
    Duplicate {
        rows: Rows,
        copies: u16,
        #[serde(default)]
        distance: u64,
    },
    /// One more row at exactly that time: `json`, or a row such as the source makes.
    Insert {
        report: String,
        at: DateTime<Utc>,
        #[serde(default)]
        json: Option<String>,
    },
}

impl Edit {
    pub fn report(&self) -> &str {
        match self {
            Self::Insert { report, .. } => report,
            Self::Change { rows, .. }
            | Self::Vanish { rows }
            | Self::Late { rows, .. }
            | Self::Duplicate { rows, .. } => &rows.report,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Hidden {
    Gone,
    Late,
    LateUntil(Instant),
}

#[derive(Debug)]
pub(super) enum Content {
    CopyOf(Place),
    /// Written by the source as if it were at this position.
    Made(u64),
    Json(String),
}

#[derive(Debug)]
pub(super) struct Insert {
    pub at: Ticks,
    pub content: Content,
}

#[derive(Debug)]
pub(super) struct Alteration {
    span: Span,
    every: u64,
    only: Option<BTreeSet<Place>>,
    pub change: Change,
}

impl Alteration {
    pub fn concerns(&self, place: Place, at: Ticks) -> bool {
        match &self.only {
            Some(only) => only.contains(&place),
            None => self.span.holds(at) && place.position.is_multiple_of(self.every.max(1)),
        }
    }
}

/// The edits of one report.
#[derive(Debug, Default)]
pub(super) struct Edits {
    pub inserted: BTreeMap<Place, Insert>,
    pub alterations: Vec<Alteration>,
    hidden: BTreeMap<Place, Hidden>,
}

impl Edits {
    pub fn hides(&self, place: Place) -> bool {
        // Most reports have nothing hidden, and a lookup per row would be slow over millions of rows.
        !self.hidden.is_empty() && self.hidden.get(&place).is_some_and(|hidden| is_hidden(*hidden))
    }

    pub fn hidden_now(&self) -> impl Iterator<Item = &Place> {
        self.hidden.iter().filter(|(_, hidden)| is_hidden(**hidden)).map(|(place, _)| place)
    }

    pub fn release_late(&mut self) {
        self.hidden.retain(|_, hidden| *hidden == Hidden::Gone);
    }

    /// The row that a copy was made of, otherwise the row itself.
    pub fn origin(&self, place: Place) -> Place {
        match self.inserted.get(&place) {
            Some(Insert { content: Content::CopyOf(origin), .. }) => *origin,
            _ => place,
        }
    }

    /// The next free place after a row and the rows inserted there.
    pub fn free_after(&self, row: Place) -> Place {
        let last = Place { sub: u16::MAX, ..row };
        let taken = self.inserted.range(row..=last).next_back().map_or(0, |(place, _)| place.sub);
        Place { sub: taken.saturating_add(1), ..row }
    }
}

fn is_hidden(hidden: Hidden) -> bool {
    match hidden {
        Hidden::Gone | Hidden::Late => true,
        Hidden::LateUntil(until) => Instant::now() < until,
    }
}

pub(super) fn apply(truth: &mut Truth, report: usize, edit: Edit) -> u64 {
    match edit {
        Edit::Change { rows, change } => alter(truth, report, &rows, change),
        Edit::Vanish { rows } => hide(truth, report, &rows, Hidden::Gone),
        Edit::Late { rows, for_ms } => {
            let until = for_ms.map(|for_ms| Instant::now() + Duration::from_millis(for_ms));
            hide(truth, report, &rows, until.map_or(Hidden::Late, Hidden::LateUntil))
        }
        Edit::Duplicate { rows, copies, distance } => duplicate(truth, report, &rows, copies, distance),
        Edit::Insert { at, json, .. } => insert(truth, report, ticks(at), json),
    }
}

fn picked(truth: &Truth, report: usize, rows: &Rows) -> Vec<Place> {
    let (Some(_), Some(_)) = (rows.from, rows.to) else {
        return Vec::new();
    };
    let most = rows.first.unwrap_or(PICKED_MAX).min(PICKED_MAX);
    let mut places = Vec::new();
    truth.places(report, rows.span(), None, &mut |place| {
        if (places.len() as u64) < most && place.position.is_multiple_of(rows.every.max(1)) {
            places.push(place);
        }
        (places.len() as u64) < most
    });
    places
}

fn alter(truth: &mut Truth, report: usize, rows: &Rows, change: Change) -> u64 {
    let only: Option<BTreeSet<Place>> = rows.first.map(|_| picked(truth, report, rows).into_iter().collect());
    let concerned = only.as_ref().map_or(0, BTreeSet::len) as u64;
    truth.edits[report].alterations.push(Alteration { span: rows.span(), every: rows.every, only, change });
    concerned
}

fn hide(truth: &mut Truth, report: usize, rows: &Rows, how: Hidden) -> u64 {
    let places = picked(truth, report, rows);
    truth.edits[report].hidden.extend(places.iter().map(|&place| (place, how)));
    places.len() as u64
}

fn duplicate(truth: &mut Truth, report: usize, rows: &Rows, copies: u16, distance: u64) -> u64 {
    let places = picked(truth, report, rows);
    for &place in &places {
        let origin = truth.edits[report].origin(place);
        let at = match truth.edits[report].inserted.get(&origin) {
            Some(insert) => insert.at,
            None => truth.moment(report, origin.day, origin.position),
        };
        let rows_on_day = truth.source.rows_on(report, origin.day);
        let position = (origin.position + distance).min(rows_on_day.max(origin.position));
        for _ in 0..copies {
            let place = truth.edits[report].free_after(Place { position, sub: 0, ..origin });
            truth.edits[report].inserted.insert(place, Insert { at, content: Content::CopyOf(origin) });
        }
    }
    places.len() as u64
}

fn insert(truth: &mut Truth, report: usize, at: Ticks, json: Option<String>) -> u64 {
    let place = truth.place_at(report, at);
    // A position that no row of the source has, so that a new row is equal to none of them.
    let made = Content::Made(u64::from(place.sub) << 40 | place.position);
    let content = json.map_or(made, Content::Json);
    truth.edits[report].inserted.insert(place, Insert { at, content });
    1
}
