//! How complete the data of each connection are: its worst state, its last days, and the quota that is blocked or
//! fullest.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Days, NaiveDate, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::types::Json;

use super::day::{DaySpan, spans};
use super::quotas::{self, LimitState, Urgency};
use super::streams::StreamRow;
use super::{Reading, state};
use crate::config::Config;
use crate::quota::{LedgerUse, Usage};
use crate::store::session::Deadline as _;

/// Connections shown because something is wrong with them, and because their quotas are nearly used up.
const CONNECTIONS_MAX: usize = 20;
const FULLEST_MAX: usize = 10;
/// Days of a connection's bar.
const DAYS: u64 = 30;

/// A connection, and how complete its streams are.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ConnectionSummary {
    pub connection: String,
    /// The worst state of its streams.
    pub state: String,
    pub streams: i64,
    /// Everything was read up to here, in every stream that has windows. Without any, when the list was read that was
    /// read first.
    pub complete_until: Option<DateTime<Utc>>,
    /// The last 30 days in UTC, as far as the streams with windows are read without a gap: `held` if a slice of the day
    /// is held, `complete` if every stream has all that its jobs ask for of the day, `missing` if none has any of it,
    /// else `partial`, as today. Days that no job asks for are left out, unless they were read.
    pub days: Vec<DaySpan>,
    /// The quota that matters most: one that is blocked, else the one that is used most.
    pub fullest: Option<LimitState>,
}

/// How many streams of a connection are in one state.
pub(super) struct Part {
    pub(super) connection: String,
    pub(super) state: String,
    pub(super) streams: i64,
}

/// What of a stream with windows its jobs ask for, and what was read.
#[derive(Debug, Clone, Copy)]
struct Extent {
    wanted_from: DateTime<Utc>,
    /// From when to when it is complete.
    read: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

impl Extent {
    /// `None` for a list, of which no range is wanted.
    fn new(
        wanted_from: Option<DateTime<Utc>>,
        covers_from: Option<DateTime<Utc>>,
        complete_until: Option<DateTime<Utc>>,
    ) -> Option<Self> {
        wanted_from.map(|wanted_from| Self { wanted_from, read: covers_from.zip(complete_until) })
    }
}

/// A stream of a connection that is shown.
pub(super) struct ShownStream {
    connection: String,
    state: String,
    /// `None` for a list.
    extent: Option<Extent>,
    /// Of a list, when it was read.
    complete_until: Option<DateTime<Utc>>,
    /// What was read of the held slices of the last days.
    held: Vec<Range>,
}

/// From when to when.
pub(super) type Range = (DateTime<Utc>, DateTime<Utc>);

/// The streams of these connections, without those that no job reads; and how many totals of vendors differ from the
/// number of our rows.
pub(super) async fn streams_and_differences(
    conn: &mut PgConnection,
    connections: &[String],
) -> Result<(Vec<ShownStream>, i64), sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select
            total.differences as "differences!",
            state.connection as "connection?",
            state.state as "state?",
            state.wanted_from,
            state.covers_from,
            state.complete_until,
            case
                when state.held_slices > 0
                    then (
                        select json_agg(json_build_array(held_range.window_start, held_range.read_until))
                        from tidegate.held_range
                        where held_range.connection = state.connection and held_range.stream = state.stream
                    )
            end as "held: Json<Vec<Range>>"
        from (select coalesce(sum(differences), 0)::bigint as differences from tidegate.reconciliation) as total
        left join tidegate.stream_state as state on state.connection = any($1) and state.state <> 'retired'
        "#,
        connections,
    )
    .fetch_all(conn)
    .in_time()
    .await?;
    let differences = rows.first().map_or(0, |row| row.differences);
    let streams = rows.into_iter().filter_map(|row| {
        Some(ShownStream {
            connection: row.connection?,
            state: row.state?,
            extent: Extent::new(row.wanted_from, row.covers_from, row.complete_until),
            complete_until: row.complete_until,
            held: row.held.map(|held| held.0).unwrap_or_default(),
        })
    });
    Ok((streams.collect(), differences))
}

/// The connections of these names.
pub(super) async fn summarize(
    reading: &mut Reading<'_>,
    names: &[String],
    uses: &[LedgerUse],
) -> Result<Vec<ConnectionSummary>, sqlx::Error> {
    let (streams, _) = streams_and_differences(reading.conn, names).await?;
    Ok(summaries(names, (&parts_of(&streams), &streams), uses, (reading.config, reading.now)))
}

/// The connection that has these streams.
pub(super) fn summarize_one(
    reading: &Reading<'_>,
    connection: &str,
    streams: &[StreamRow],
    uses: &[LedgerUse],
) -> Option<ConnectionSummary> {
    let shown = |row: &StreamRow| ShownStream {
        connection: connection.to_owned(),
        state: row.state.clone(),
        extent: Extent::new(row.wanted_from, row.covers_from, row.complete_until),
        complete_until: row.complete_until,
        held: row.held.clone(),
    };
    let streams: Vec<ShownStream> = streams.iter().map(shown).collect();
    let names = [connection.to_owned()];
    summaries(&names, (&parts_of(&streams), &streams), uses, (reading.config, reading.now)).pop()
}

/// How many of the streams are in each state.
fn parts_of(streams: &[ShownStream]) -> Vec<Part> {
    let mut counts: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for stream in streams {
        *counts.entry((&stream.connection, &stream.state)).or_default() += 1;
    }
    let part = |((connection, state), streams): ((&str, &str), i64)| Part {
        connection: connection.to_owned(),
        state: state.to_owned(),
        streams,
    };
    counts.into_iter().map(part).collect()
}

/// The connections that are shown: those in the worst states, and those whose quotas are used most.
pub(super) fn shown(parts: &[Part], config: &Config, uses: &[LedgerUse]) -> Vec<String> {
    let worst = worst_states(parts, config);
    let mut by_state: Vec<(usize, &str)> = worst.into_iter().map(|(name, position)| (position, name)).collect();
    by_state.sort_unstable();
    let mut fullest: Vec<&LedgerUse> = uses.iter().collect();
    fullest.sort_by_key(|one| Reverse(urgency(&one.usage)));
    let fullest = fullest.into_iter().flat_map(|one| &one.connections).map(String::as_str);
    let mut names: Vec<String> = Vec::new();
    let mut seen = BTreeSet::new();
    let worst = by_state.into_iter().map(|(_, name)| name).take(CONNECTIONS_MAX);
    for name in worst.chain(fullest.filter(|name| config.connections.contains_key(*name)).take(FULLEST_MAX)) {
        if seen.insert(name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// The position of the worst state of each connection's streams. Without one, it was not read yet if a job reads it.
fn worst_states<'c>(parts: &[Part], config: &'c Config) -> BTreeMap<&'c str, usize> {
    let position = |name: &str| state::STATES.iter().position(|state| state.name == name);
    let read: BTreeSet<&str> = config.jobs.values().map(|job| &*job.connection).collect();
    let mut worst: BTreeMap<&str, usize> = BTreeMap::new();
    for part in parts {
        if let Some(at) = position(&part.state) {
            worst.entry(&part.connection).and_modify(|known| *known = at.min(*known)).or_insert(at);
        }
    }
    let of = |name: &'c String| {
        let without = if read.contains(&**name) { "pending" } else { "retired" };
        let at = worst.get(&**name).copied().or_else(|| position(without)).unwrap_or_default();
        (&**name, at)
    };
    config.connections.keys().map(of).collect()
}

pub(super) fn summaries(
    shown: &[String],
    (parts, streams): (&[Part], &[ShownStream]),
    uses: &[LedgerUse],
    (config, now): (&Config, DateTime<Utc>),
) -> Vec<ConnectionSummary> {
    let worst = worst_states(parts, config);
    let summary = |name: &String| {
        let own_parts = parts.iter().filter(|part| part.connection == *name);
        let own_streams: Vec<&ShownStream> = streams.iter().filter(|stream| stream.connection == *name).collect();
        let extents: Vec<Extent> = own_streams.iter().filter_map(|stream| stream.extent).collect();
        let held: Vec<Range> = own_streams.iter().flat_map(|stream| stream.held.iter().copied()).collect();
        let own = uses.iter().filter(|one| one.connections.contains(name)).map(|one| &one.usage);
        ConnectionSummary {
            connection: name.clone(),
            state: state::STATES[worst.get(&**name).copied().unwrap_or_default()].name.to_owned(),
            streams: own_parts.map(|part| part.streams).sum(),
            complete_until: complete_until(&own_streams),
            days: days(&extents, &held, now),
            fullest: own.max_by_key(|usage| urgency(usage)).map(LimitState::from),
        }
    };
    shown.iter().map(summary).collect()
}

/// Up to when every stream was read. Lists count only if there is nothing else: they are read as a whole. `None` if one
/// that counts was not read yet.
fn complete_until(streams: &[&ShownStream]) -> Option<DateTime<Utc>> {
    let has_windows = streams.iter().any(|stream| stream.extent.is_some());
    let counted = streams.iter().filter(|stream| stream.extent.is_some() == has_windows);
    let until = |stream: &&ShownStream| match stream.extent {
        Some(extent) => extent.read.map(|(_, until)| until),
        None => stream.complete_until,
    };
    let until: Option<Vec<_>> = counted.map(until).collect();
    until.unwrap_or_default().into_iter().min()
}

fn urgency(usage: &Usage) -> Urgency {
    quotas::urgency(usage.blocked_until, usage.ratio(), usage.per.as_secs_f64())
}

/// The last days, and what of each was read. As in `mart.day_status`, a day is complete at its end, so that today never
/// is, and is missing only if it is wanted and nothing of it was read. A day of a held slice is held.
fn days(extents: &[Extent], held: &[Range], now: DateTime<Utc>) -> Vec<DaySpan> {
    let today = now.date_naive();
    let Some(first) = today.checked_sub_days(Days::new(DAYS - 1)) else { return Vec::new() };
    let days = first.iter_days().take_while(|day| *day <= today);
    spans(days.filter_map(|day| Some((day, day_state(extents, held, day)?))))
}

/// The state of a day. `None` if no job asks for it and nothing of it was read.
fn day_state(extents: &[Extent], held: &[Range], day: NaiveDate) -> Option<&'static str> {
    let begin = day.and_time(chrono::NaiveTime::MIN).and_utc();
    let end = begin + Days::new(1);
    if held.iter().any(|(from, until)| *from < end && begin < *until) {
        return Some("held");
    }
    let is_read = |one: &&Extent| one.read.is_some_and(|(from, until)| from < end && begin < until);
    let has_all =
        |one: &&Extent, since: DateTime<Utc>| one.read.is_some_and(|(from, until)| from <= since && end <= until);
    let wanted: Vec<&Extent> = extents.iter().filter(|one| one.wanted_from < end).collect();
    let is_complete = match wanted[..] {
        // What a backfill has read before the jobs' start.
        [] => extents.iter().filter(is_read).all(|one| has_all(&one, begin)),
        _ => wanted.iter().all(|one| has_all(one, begin.max(one.wanted_from))),
    };
    match (wanted.is_empty(), extents.iter().any(|one| is_read(&one))) {
        (true, false) => None,
        (false, false) => Some("missing"),
        (_, true) if is_complete => Some("complete"),
        (_, true) => Some("partial"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(wanted_from: &str, from: &str, until: &str) -> Extent {
        let read = (from.parse().unwrap(), until.parse().unwrap());
        Extent { wanted_from: wanted_from.parse().unwrap(), read: Some(read) }
    }

    /// The states of the last three days; empty for a day that is left out.
    fn lately(extents: &[Extent]) -> [String; 3] {
        lately_with(extents, &[])
    }

    fn lately_with(extents: &[Extent], held: &[Range]) -> [String; 3] {
        let spans = days(extents, held, "2026-11-30T10:00:00Z".parse().unwrap());
        ["2026-11-28", "2026-11-29", "2026-11-30"].map(|day| {
            let day: NaiveDate = day.parse().unwrap();
            let span = spans.iter().find(|span| span.from <= day && day <= span.to);
            span.map(|span| span.state.clone()).unwrap_or_default()
        })
    }

    #[test]
    fn p11_today_is_partial_and_a_day_is_missing_only_if_no_stream_has_read_of_it() {
        let begin = "2026-10-01T00:00:00Z";
        let healthy = extent(begin, begin, "2026-11-30T09:45:00Z");
        assert_eq!(lately(&[healthy, healthy]), ["complete", "complete", "partial"]);
        let behind = extent(begin, begin, "2026-11-28T12:00:00Z");
        assert_eq!(lately(&[behind]), ["partial", "missing", "missing"]);
        assert_eq!(lately(&[healthy, behind]), ["partial", "partial", "partial"]);
        let unread = Extent { read: None, ..healthy };
        assert_eq!(lately(&[healthy, unread]), ["partial", "partial", "partial"]);
        assert_eq!(lately(&[unread]), ["missing", "missing", "missing"]);
        let new = extent(begin, "2026-11-29T00:00:00Z", "2026-11-30T00:00:00Z");
        assert_eq!(lately(&[new]), ["missing", "complete", "missing"]);
    }

    #[test]
    fn p11_a_day_of_a_held_slice_is_held() {
        let begin = "2026-10-01T00:00:00Z";
        let healthy = extent(begin, begin, "2026-11-30T09:45:00Z");
        let held = |from: &str, until: &str| (from.parse().unwrap(), until.parse().unwrap());
        let past = held("2026-11-28T00:00:00Z", "2026-11-29T00:00:00Z");
        let today = held("2026-11-30T00:00:00Z", "2026-11-30T09:45:00Z");
        assert_eq!(lately_with(&[healthy, healthy], &[past, today]), ["held", "complete", "held"]);
        let of_zone = held("2026-11-28T03:00:00Z", "2026-11-29T03:00:00Z");
        assert_eq!(lately_with(&[healthy], &[of_zone]), ["held", "held", "partial"]);
    }

    #[test]
    fn a_connection_of_lists_is_complete_until_its_oldest_reading() {
        let at = |text: &str| Some(text.parse::<DateTime<Utc>>().unwrap());
        let list = |complete_until| ShownStream {
            connection: "demo-outbound".to_owned(),
            state: "on time".to_owned(),
            extent: None,
            complete_until,
            held: Vec::new(),
        };
        let (older, newer) = (list(at("2026-11-30T09:00:00Z")), list(at("2026-11-30T10:00:00Z")));
        assert_eq!(complete_until(&[&newer, &older]), at("2026-11-30T09:00:00Z"));
        assert_eq!(complete_until(&[&newer, &list(None)]), None, "one was never read");
        assert_eq!(complete_until(&[]), None);
        let begin = "2026-10-01T00:00:00Z";
        let windows = ShownStream {
            extent: Some(extent(begin, begin, "2026-11-30T09:45:00Z")),
            ..list(at("2026-11-30T09:45:00Z"))
        };
        assert_eq!(complete_until(&[&older, &windows]), at("2026-11-30T09:45:00Z"), "a list is read as a whole");
    }

    #[test]
    fn p11_a_day_that_no_job_asks_for_is_not_missing() {
        let (begin, until) = ("2026-11-29T03:00:00Z", "2026-11-30T09:45:00Z");
        let new = extent(begin, begin, until);
        assert_eq!(lately(&[new]), ["", "complete", "partial"], "the first day begins with what is asked for");
        assert_eq!(lately(&[Extent { read: None, ..new }]), ["", "missing", "missing"]);
        let old = extent("2026-10-01T00:00:00Z", "2026-10-01T00:00:00Z", until);
        assert_eq!(lately(&[new, old]), ["complete", "complete", "partial"], "one stream is newer than another");
        assert_eq!(lately(&[new, Extent { read: None, ..old }]), ["missing", "partial", "partial"]);
        assert_eq!(lately(&[extent(begin, "2026-11-28T12:00:00Z", until)]), ["partial", "complete", "partial"]);
        assert_eq!(lately(&[extent(begin, "2026-11-28T00:00:00Z", until)]), ["complete", "complete", "partial"]);
        assert_eq!(lately(&[]), ["", "", ""], "a connection of lists has no days");
    }
}
