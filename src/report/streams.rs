//! The list of streams: which tables can be trusted, those that need attention first.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::day::{DaySpan, spans};
use super::overview::StateCount;
use super::{Document, Query, ROWS_MAX, ReadError, Reading, state};
use crate::store::session::Deadline as _;

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

async fn read_days(reading: &mut Reading<'_>, rows: &mut [StreamRow]) -> Result<(), sqlx::Error> {
    let (connections, tables): (Vec<String>, Vec<String>) =
        rows.iter().map(|row| (row.connection.clone(), row.table.clone())).unzip();
    let days = sqlx::query!(
        r#"
        select connection as "connection!", table_name as "table!", day as "day!", state as "state!"
        from mart.day_status
        where (connection, table_name) in (select * from unnest($1::text[], $2::text[])) and day > current_date - $3::integer
        order by connection, table_name, day
        "#,
        &connections,
        &tables,
        DAYS,
    )
    .fetch_all(&mut *reading.conn)
    .in_time()
    .await?;
    for row in rows {
        let of_row = days.iter().filter(|day| day.connection == row.connection && day.table == row.table);
        row.days = spans(of_row.map(|day| (day.day, day.state.as_str())));
    }
    Ok(())
}
