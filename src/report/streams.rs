//! The list of streams: which tables can be trusted, those that need attention first.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::Serialize;

use super::day::{DaySpan, spans};
use super::overview::StateCount;
use super::parameters::{ANY_CONNECTION, SEARCH, parameter};
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
    pub newest_data_until: Option<DateTime<Utc>>,
    pub last_success_at: Option<DateTime<Utc>>,
    pub expected_by: Option<DateTime<Utc>>,
    pub last_error: Option<String>,
    /// The last 90 days. Empty for a list.
    pub days: Vec<DaySpan>,
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
        let counts = sqlx::query!(
            r#"
            select state as "state!", count(*) as "streams!"
            from tidegate.stream_state
            where
                ($1::text is null or connection = $1)
                and (
                    $2::text is null
                    or position(lower($2) in lower(connection || '/' || stream || ' ' || table_schema || '.' || table_name)) > 0
                )
            group by state
            "#,
            connection,
            pattern,
        )
        .fetch_all(&mut *reading.conn)
        .in_time()
        .await?;
        let counted = |name: &str| counts.iter().find(|count| count.state == name).map_or(0, |count| count.streams);
        let filter = Filter {
            state: query.text("state"),
            connection,
            pattern,
            after_connection,
            after_stream,
            limit: ROWS_MAX + 1,
        };
        let mut rows = rows(reading, filter).await?;
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

/// The streams of a connection, at most as many as a page shows.
pub(super) async fn of_connection(reading: &mut Reading<'_>, connection: &str) -> Result<Vec<StreamRow>, sqlx::Error> {
    let filter = Filter { connection: Some(connection), limit: ROWS_MAX, ..Filter::default() };
    let mut rows = rows(reading, filter).await?;
    read_days(reading, &mut rows).await?;
    Ok(rows)
}

#[expect(clippy::too_many_lines, reason = "one statement")]
async fn rows(reading: &mut Reading<'_>, filter: Filter<'_>) -> Result<Vec<StreamRow>, sqlx::Error> {
    sqlx::query!(
        r#"
        with known as (
        select
            state.connection,
            state.stream,
            state.table_schema || '.' || state.table_name as table_name,
            state.state,
            stream.timezone,
            state.covers_from,
            state.complete_until,
            state.newest_data_until,
            state.last_success_at,
            state.expected_by,
            state.last_error,
            array_position($1::text[], state.state) as rank,
            coalesce(state.complete_until, '-infinity') as until
        from tidegate.stream_state as state
        inner join tidegate.stream
            on stream.connection = state.connection and stream.stream = state.stream
        )

        select
        connection as "connection!",
        stream as "stream!",
        table_name as "table!",
        state as "state!",
        timezone as "timezone!",
        covers_from,
        complete_until,
        newest_data_until,
        last_success_at,
        expected_by,
        last_error
        from known
        where
        ($2::text is null and state <> 'retired' or state = $2)
        and ($3::text is null or connection = $3)
        and ($4::text is null or position(lower($4) in lower(connection || '/' || stream || ' ' || table_name)) > 0)
        and (
            $5::text is null
            or not exists (
                select from known as before where before.connection = $5 and before.stream = $6
            )
            or (rank, until, connection, stream) > (
                select before.rank, before.until, before.connection, before.stream
                from known as before
                where before.connection = $5 and before.stream = $6
            )
        )
        order by rank, until, connection, stream
        limit $7
        "#,
        &state::names(),
        filter.state,
        filter.connection,
        filter.pattern,
        filter.after_connection,
        filter.after_stream,
        i64::try_from(filter.limit).unwrap_or(i64::MAX),
    )
    .map(|row| StreamRow {
        connection: row.connection,
        stream: row.stream,
        table: row.table,
        state: row.state,
        timezone: row.timezone,
        covers_from: row.covers_from,
        complete_until: row.complete_until,
        newest_data_until: row.newest_data_until,
        last_success_at: row.last_success_at,
        expected_by: row.expected_by,
        last_error: row.last_error,
        days: Vec::new(),
    })
    .fetch_all(&mut *reading.conn)
    .in_time()
    .await
}

/// Reads the days of the bars. The days of the part without gaps are complete by its definition, so only the others are
/// read, which are few.
async fn read_days(reading: &mut Reading<'_>, rows: &mut [StreamRow]) -> Result<(), sqlx::Error> {
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
            days: Vec::new(),
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
