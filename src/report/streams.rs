//! The list of streams: which tables can be trusted, those that need attention first.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::types::Json;

use super::day::{DaySpan, spans};
use super::overview::StateCount;
use super::parameters::{ANY_CONNECTION, SEARCH, parameter};
use super::stream::StreamWait;
use super::summary::Range;
use super::{Document, Parameter, ParameterKind, Query, ROWS_MAX, ReadError, Reading, state};
use crate::store::session::Deadline as _;
use crate::store::status::STREAM_STATES;

/// Days of a stream's bar.
const DAYS: i32 = 90;

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Streams {
    pub at: DateTime<Utc>,
    /// How many streams that match the other parameters are in each state.
    pub states: Vec<StateCount>,
    pub connections: Vec<String>,
    pub streams: Vec<StreamRow>,
    /// The parameter `after` of the next page.
    pub next: Option<String>,
}

/// A stream that a job reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StreamRow {
    pub connection: String,
    pub stream: String,
    pub table: String,
    pub state: String,
    pub timezone: String,
    /// Start of the part without gaps. `None` for a list.
    pub covers_from: Option<DateTime<Utc>>,
    pub complete_until: Option<DateTime<Utc>>,
    /// How far the newest data reach that are not held.
    pub newest_data_until: Option<DateTime<Utc>>,
    pub last_success_at: Option<DateTime<Utc>>,
    pub expected_by: Option<DateTime<Utc>>,
    pub last_error: Option<String>,
    /// What it waits for, also if it is late or has a gap.
    pub waiting: Option<StreamWait>,
    /// The last 90 days. Empty for a list.
    pub days: Vec<DaySpan>,
    /// Start of the data that its jobs ask for. `None` for a list.
    #[serde(skip)]
    pub wanted_from: Option<DateTime<Utc>>,
    /// What was read of the held slices of the last days.
    #[serde(skip)]
    pub held: Vec<Range>,
}

impl Document for Streams {
    const PATH: &'static str = "/streams";
    const MEANING: &'static str = "The streams, those that need attention first.";
    const PARAMETERS: &'static [Parameter] = &[
        parameter("state", ParameterKind::OneOf(&STREAM_STATES), "only in this state; without it, all but `retired`"),
        ANY_CONNECTION,
        SEARCH,
        parameter("after", ParameterKind::Pair, "the field `next` of the part before"),
    ];

    async fn read(reading: &mut Reading<'_>, query: &Query) -> Result<Option<Self>, ReadError> {
        let (after_connection, after_stream) = query.pair("after")?.unzip();
        let (connection, pattern) = (query.text("connection"), query.text("q"));
        let filter = Filter {
            state: query.text("state"),
            connection,
            pattern,
            after_connection,
            after_stream,
            limit: ROWS_MAX + 1,
        };
        let (counts, mut rows) = rows(reading, filter).await?;
        let counted = |name: &str| counts.iter().find(|(state, _)| state == name).map_or(0, |(_, streams)| *streams);
        let next = if rows.len() > ROWS_MAX {
            rows.truncate(ROWS_MAX);
            rows.last().map(|row| format!("{}/{}", row.connection, row.stream))
        } else {
            None
        };
        read_days(reading, &mut rows).await?;
        Ok(Some(Self {
            at: reading.now,
            states: state::STATES
                .iter()
                .map(|state| StateCount { state: state.name, streams: counted(state.name) })
                .collect(),
            connections: reading.config.connections.keys().cloned().collect(),
            streams: rows,
            next,
        }))
    }
}

/// Which streams are listed, those that need attention first. `None` does not restrict.
#[derive(Default)]
struct Filter<'a> {
    state: Option<&'a str>,
    connection: Option<&'a str>,
    /// A part of the connection's, the stream's or the table's name.
    pattern: Option<&'a str>,
    /// The last stream that was shown.
    after_connection: Option<&'a str>,
    after_stream: Option<&'a str>,
    limit: usize,
}

/// All streams of a connection, without their days.
pub(super) async fn of_connection(reading: &mut Reading<'_>, connection: &str) -> Result<Vec<StreamRow>, sqlx::Error> {
    let filter = Filter { connection: Some(connection), limit: usize::MAX, ..Filter::default() };
    rows(reading, filter).await.map(|(_, rows)| rows)
}

/// How many streams are in a state.
type Counted = (String, i64);

/// The streams that are listed; and how many there are in each state, whatever state and place the filter has.
#[expect(clippy::too_many_lines, reason = "one statement")]
async fn rows(reading: &mut Reading<'_>, filter: Filter<'_>) -> Result<(Vec<Counted>, Vec<StreamRow>), sqlx::Error> {
    let found = sqlx::query!(
        r#"
        with known as materialized (
            select
                connection,
                stream,
                table_schema || '.' || table_name as table_name,
                state,
                timezone,
                covers_from,
                complete_until,
                newest_data_until,
                last_success_at,
                expected_by,
                last_error,
                wanted_from,
                held_slices,
                array_position($1::text[], state) as rank,
                coalesce(complete_until, '-infinity') as until
            from tidegate.stream_state
            where
                ($3::text is null or connection = $3)
                and (
                    $4::text is null
                    or position(lower($4) in lower(connection || '/' || stream || ' ' || table_schema || '.' || table_name)) > 0
                )
        ),

        before as materialized (
            select
                array_position($1::text[], state) as rank,
                coalesce(complete_until, '-infinity') as until,
                connection,
                stream
            from tidegate.stream_state
            where connection = $5 and stream = $6
        ),

        counted as (
            select coalesce(array_agg(state), '{}') as states, coalesce(array_agg(streams), '{}') as streams
            from (select state, count(*) as streams from known group by state) as counted
        ),

        listed as (
            select *
            from known
            where
                ($2::text is null and state <> 'retired' or state = $2)
                and (
                    not exists (select from before)
                    or (rank, until, connection, stream) > (select rank, until, connection, stream from before)
                )
            order by rank, until, connection, stream
            limit $7
        )

        select
            counted.states as "states!",
            counted.streams as "streams!",
            listed.connection as "connection?",
            listed.stream as "stream?",
            listed.table_name as "table?",
            listed.state as "state?",
            listed.timezone as "timezone?",
            listed.covers_from,
            listed.complete_until,
            listed.newest_data_until,
            listed.last_success_at,
            listed.expected_by,
            listed.last_error,
            listed.wanted_from,
            case
                when listed.held_slices > 0
                    then (
                        select json_agg(json_build_array(held_range.window_start, held_range.read_until))
                        from tidegate.held_range
                        where held_range.connection = listed.connection and held_range.stream = listed.stream
                    )
            end as "held: Json<Vec<Range>>",
            waits.run_id as "waiting_run?",
            waits.job as "waiting_job?",
            waits.waiting_for as "waiting_for?",
            waits.waiting_until as "waiting_until?",
            waits.attempts as "waiting_attempts?",
            waits.error as "waiting_error?",
            waits.hint as "waiting_hint?"
        from counted
        left join listed on true
        left join tidegate.stream_wait as waits
            on waits.connection = listed.connection and waits.stream = listed.stream
        order by listed.rank, listed.until, listed.connection, listed.stream
        "#,
        &state::names(),
        filter.state,
        filter.connection,
        filter.pattern,
        filter.after_connection,
        filter.after_stream,
        i64::try_from(filter.limit).unwrap_or(i64::MAX),
    )
    .fetch_all(&mut *reading.conn)
    .in_time()
    .await?;
    let mut counted = Vec::new();
    let mut rows = Vec::new();
    for row in found {
        if counted.is_empty() {
            counted = row.states.into_iter().zip(row.streams).collect();
        }
        // Without any stream there is still a row, of the counts.
        let named = (row.connection, row.stream, row.table, row.state, row.timezone);
        let (Some(connection), Some(stream), Some(table), Some(state), Some(timezone)) = named else { continue };
        rows.push(StreamRow {
            connection,
            stream,
            table,
            state,
            timezone,
            covers_from: row.covers_from,
            complete_until: row.complete_until,
            newest_data_until: row.newest_data_until,
            last_success_at: row.last_success_at,
            expected_by: row.expected_by,
            last_error: row.last_error,
            waiting: StreamWait::of(
                (row.waiting_run, row.waiting_job),
                (row.waiting_for, row.waiting_until),
                row.waiting_attempts,
                (row.waiting_error, row.waiting_hint),
            ),
            days: Vec::new(),
            wanted_from: row.wanted_from,
            held: row.held.map(|held| held.0).unwrap_or_default(),
        });
    }
    Ok((counted, rows))
}

/// Reads the days of the bars. The days of the part without gaps are complete by its definition, so only the others are
/// read, which are few.
pub(super) async fn read_days(reading: &mut Reading<'_>, rows: &mut [StreamRow]) -> Result<(), sqlx::Error> {
    let (connections, tables): (Vec<String>, Vec<String>) =
        rows.iter().map(|row| (row.connection.clone(), row.table.clone())).unzip();
    let (firsts, lasts): (Vec<Option<NaiveDate>>, Vec<Option<NaiveDate>>) = rows.iter().map(complete_days).unzip();
    let days = sqlx::query!(
        r#"
        select
            shown.connection as "connection!",
            shown.table_name as "table!",
            other.day as "day!",
            other.state as "state!"
        from unnest($1::text[], $2::text[], $3::date[], $4::date[])
            as shown (connection, table_name, first_complete, last_complete)
        inner join mart.day_status as other
            on
                other.connection = shown.connection
                and other.table_name = shown.table_name
                and (shown.last_complete is null or other.day < shown.first_complete or other.day > shown.last_complete)
        where other.day > current_date - $5::integer
        order by shown.connection, shown.table_name, other.day
        "#,
        &connections,
        &tables,
        &firsts as _,
        &lasts as _,
        DAYS,
    )
    .fetch_all(&mut *reading.conn)
    .in_time()
    .await?;
    let oldest = reading.now.date_naive() - TimeDelta::days(i64::from(DAYS) - 1);
    for (row, (first, last)) in rows.iter_mut().zip(firsts.into_iter().zip(lasts)) {
        let complete = first.zip(last).filter(|(first, last)| first <= last);
        let complete = complete.into_iter().flat_map(|(first, last)| {
            first.max(oldest).iter_days().take_while(move |day| *day <= last).map(|day| (day, "complete"))
        });
        let others = days.iter().filter(|day| day.connection == row.connection && day.table == row.table);
        let mut all: Vec<(NaiveDate, &str)> = complete.chain(others.map(|day| (day.day, &*day.state))).collect();
        all.sort_unstable_by_key(|(day, _)| *day);
        row.days = spans(all);
    }
    Ok(())
}

/// The first and the last whole day of the part without gaps, in the zone of the stream. `None` for a list, and if no
/// day is complete.
fn complete_days(row: &StreamRow) -> (Option<NaiveDate>, Option<NaiveDate>) {
    let zone: Tz = row.timezone.parse().unwrap_or(Tz::UTC);
    let bounds = row.covers_from.zip(row.complete_until).and_then(|(from, until)| {
        let (from, until) = (from.with_timezone(&zone), until.with_timezone(&zone));
        let first = if from.time() == NaiveTime::MIN { from.date_naive() } else { from.date_naive().succ_opt()? };
        Some((first, until.date_naive().pred_opt()?)).filter(|(first, last)| first <= last)
    });
    bounds.unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(zone: &str, from: Option<&str>, until: Option<&str>) -> StreamRow {
        StreamRow {
            connection: String::new(),
            stream: String::new(),
            table: String::new(),
            state: String::new(),
            timezone: zone.to_owned(),
            covers_from: from.map(|at| at.parse().unwrap()),
            complete_until: until.map(|at| at.parse().unwrap()),
            newest_data_until: None,
            last_success_at: None,
            expected_by: None,
            last_error: None,
            waiting: None,
            days: Vec::new(),
            wanted_from: None,
            held: Vec::new(),
        }
    }

    #[test]
    fn p11_the_complete_days_are_whole_days_of_the_zone() {
        let days = |zone, from, until| {
            let (first, last) = complete_days(&row(zone, Some(from), Some(until)));
            first.zip(last).map(|(first, last)| format!("{first} {last}")).unwrap_or_default()
        };
        assert_eq!(days("UTC", "2026-11-01T00:00:00Z", "2026-11-03T00:00:00Z"), "2026-11-01 2026-11-02");
        assert_eq!(days("UTC", "2026-11-01T00:00:01Z", "2026-11-03T23:59:59Z"), "2026-11-02 2026-11-02");
        assert_eq!(days("America/Santiago", "2026-11-01T03:00:00Z", "2026-11-03T03:00:00Z"), "2026-11-01 2026-11-02");
        assert_eq!(days("UTC", "2026-11-01T12:00:00Z", "2026-11-02T12:00:00Z"), "");
        assert_eq!(complete_days(&row("UTC", None, Some("2026-11-03T00:00:00Z"))), (None, None));
    }
}
