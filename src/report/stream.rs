//! One stream: from when to when it is complete, and why it is not.

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;

use super::day::{Day, Gap, UnusualDay, gaps, unusual};
use super::parameters::parameter;
use super::{Document, Parameter, ParameterKind, Query, QueryError, ReadError, Reading};
use crate::store::held::Release;
use crate::store::session::Deadline as _;

/// Tasks and changes shown; there may be more.
const TASKS_MAX: i64 = 20;
const CHANGES_MAX: i64 = 20;
/// Runs of the connection that are searched for tasks of the stream.
const RUNS_SEARCHED: i64 = 1_000;
/// Rejected records that are counted by reason.
const REJECTS_SEARCHED: i64 = 10_000;
/// Days that are read: eleven years.
const DAYS_MAX: usize = 4_000;
/// Ranges of days shown that are not complete, the newest first.
const GAPS_MAX: usize = 50;

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StreamPage {
    pub at: DateTime<Utc>,
    pub connection: String,
    pub stream: String,
    pub table: String,
    pub state: String,
    /// Why the last reading failed or is held. `None` after a success.
    pub last_error: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// The jobs that read it.
    pub jobs: Vec<String>,
    pub timezone: String,
    pub slice: String,
    /// Start of the data that its jobs ask for. `None` for a list.
    pub wanted_from: Option<DateTime<Utc>>,
    pub covers_from: Option<DateTime<Utc>>,
    pub complete_until: Option<DateTime<Utc>>,
    /// How far the newest data reach that are not held.
    pub newest_data_until: Option<DateTime<Utc>>,
    pub has_gap: bool,
    pub held_slices: i32,
    /// Slices that have values of new fields in `_extra`, because another session had locked the table. They are
    /// moved when the table has got its columns.
    pub slices_lacking_columns: i64,
    /// Since when.
    pub lacks_columns_since: Option<DateTime<Utc>>,
    /// Whether something is held that no operator has released. It is not in the document.
    #[serde(skip)]
    pub is_held: bool,
    /// The release of held slices: the next reading deletes the rows that the vendor does not report. `None` if nothing
    /// is released, or the release was used up.
    pub release: Option<Release>,
    pub failures: i32,
    pub last_success_at: Option<DateTime<Utc>>,
    /// Whether the last reading failed for a reason that only an operator can remove.
    pub needs_operator: bool,
    pub expected_by: Option<DateTime<Utc>>,
    pub expected_every_seconds: Option<i64>,
    /// The run that reads it now.
    pub reader_run: Option<i64>,
    /// What it waits for, also if it is late or has a gap.
    pub waiting: Option<StreamWait>,
    /// The year of `days`.
    pub year: i32,
    /// The years that have days.
    pub years: Vec<i32>,
    /// The days of the year that the stream covers. Empty for a list.
    pub days: Vec<Day>,
    /// The first day that `years`, `days` and `gaps` consider. `None` if they consider all.
    pub days_from: Option<NaiveDate>,
    /// Ranges of days that are not complete, newest first, without days that no job asks for, and without today unless
    /// it is held.
    pub gaps: Vec<Gap>,
    pub gaps_total: usize,
    /// Days of the last fortnight with no rows, although the same weekday usually has many. A note, not a state.
    pub unusual: Vec<UnusualDay>,
    pub tasks: Vec<StreamTask>,
    pub changes: Vec<Change>,
    pub rejects: Vec<Reason>,
}

/// What a stream waits for: the first task that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StreamWait {
    pub run_id: i64,
    pub job: String,
    /// `quota` and the name of the limit, `export`, `vendor` or another reason.
    pub waiting_for: Option<String>,
    /// `None` if the time has come and it waits for a worker.
    pub until: Option<DateTime<Utc>>,
    /// Temporary errors in a row.
    pub attempts: i32,
    /// The last temporary error, if it waits because of it.
    pub error: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A task of the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StreamTask {
    pub run_id: i64,
    pub job: String,
    pub kind: String,
    pub state: String,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub slices_done: i32,
    pub slices_planned: i32,
    pub calls: i64,
    pub bytes: i64,
    pub rows_inserted: i64,
    pub rows_updated: i64,
    pub rows_deleted: i64,
    pub rows_unchanged: i64,
    pub records_rejected: i64,
    /// Values that went to `_extra`.
    pub values_extra: i64,
    pub error: Option<String>,
    #[serde(skip)]
    pub hint: Option<String>,
}

/// A change of the table.
#[expect(clippy::struct_field_names, reason = "the names are those of the API")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    pub changed_at: DateTime<Utc>,
    pub column: Option<String>,
    pub change: String,
    pub old_type: Option<String>,
    pub new_type: Option<String>,
}

/// How many records were rejected for a reason.
#[expect(clippy::struct_field_names, reason = "the names are those of the API")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    pub reason: String,
    pub records: i64,
    pub newest_at: DateTime<Utc>,
}

impl StreamWait {
    /// From columns that are null together.
    pub(super) fn of(
        (run_id, job): (Option<i64>, Option<String>),
        (waiting_for, until): (Option<String>, Option<DateTime<Utc>>),
        attempts: Option<i32>,
        (error, hint): (Option<String>, Option<String>),
    ) -> Option<Self> {
        Some(Self { run_id: run_id?, job: job?, waiting_for, until, attempts: attempts?, error, hint })
    }
}

impl Document for StreamPage {
    const PATH: &'static str = "/streams/{connection}/{stream}";
    const MEANING: &'static str = "One stream: from when to when it is complete, and why it is not.";
    const PARAMETERS: &'static [Parameter] =
        &[parameter("year", ParameterKind::Number(1, 9_999), "the year of `days`, one of `years`")];

    #[expect(clippy::too_many_lines, reason = "a statement, and a field for each of its columns")]
    async fn read(reading: &mut Reading<'_>, query: &Query) -> Result<Option<Self>, ReadError> {
        let (connection, stream) = (query.name("connection"), query.name("stream"));
        let asked = query.number("year")?;
        let known = sqlx::query!(
            r#"
            select
                state.table_schema as "schema!",
                state.table_name as "name!",
                state.state as "state!",
                state.last_error,
                stream.jobs as "jobs?",
                stream.timezone as "timezone!",
                stream.day_zone,
                stream.slice as "slice!",
                stream.wanted_from,
                state.covers_from,
                state.complete_until,
                state.newest_data_until,
                state.has_gap as "has_gap!",
                state.held_slices as "held_slices!",
                state.is_held as "is_held!",
                stream.failures as "failures!",
                state.last_success_at,
                stream.needs_operator as "needs_operator!",
                state.expected_by,
                state.expected_every_seconds,
                lacking.slices as "lacking_slices!",
                lacking.since as lacking_since,
                released.slices as "released_slices!",
                released.at as released_at,
                released.by as released_by,
                reader.id as "reader_run?",
                waits.run_id as "waiting_run?",
                waits.job as "waiting_job?",
                waits.waiting_for as "waiting_for?",
                waits.waiting_until as "waiting_until?",
                waits.attempts as "waiting_attempts?",
                waits.error as "waiting_error?",
                waits.hint as "waiting_hint?"
            from tidegate.stream_state as state
            inner join tidegate.stream on stream.connection = state.connection and stream.stream = state.stream
            left join tidegate.run as reader
                on
                    reader.id = stream.holder_run
                    and reader.state = 'running'
                    and reader.lease_until > statement_timestamp()
            cross join lateral (
                select
                    count(*) as slices,
                    max(released_at) as at,
                    (array_agg(released_by order by released_at desc nulls last))[1] as by
                from tidegate.slice
                where
                    slice.connection = state.connection
                    and slice.stream = state.stream
                    and slice.held_since is not null
                    and slice.released
            ) as released
            cross join lateral (
                select count(*) as slices, min(lacks_columns_since) as since
                from tidegate.slice
                where
                    slice.connection = state.connection
                    and slice.stream = state.stream
                    and slice.lacks_columns_since is not null
            ) as lacking
            left join tidegate.stream_wait as waits
                on waits.connection = state.connection and waits.stream = state.stream
            where state.connection = $1 and state.stream = $2
            "#,
            connection,
            stream,
        )
        .fetch_optional(&mut *reading.conn)
        .in_time()
        .await?;
        let Some(known) = known else { return Ok(None) };
        let waiting = StreamWait::of(
            (known.waiting_run, known.waiting_job),
            (known.waiting_for, known.waiting_until),
            known.waiting_attempts,
            (known.waiting_error, known.waiting_hint),
        );
        let release = Release { slices: known.released_slices, at: known.released_at, by: known.released_by };
        let table = format!("{}.{}", known.schema, known.name);
        let mut days = days(reading, connection, &table).await?;
        let is_cut = days.len() > DAYS_MAX;
        days.drain(..days.len().saturating_sub(DAYS_MAX));
        let timezone = known.day_zone.unwrap_or(known.timezone);
        let zone: Tz = timezone.parse().unwrap_or(Tz::UTC);
        let tasks = tasks(reading, connection, stream).await?;
        let (changes, rejects) =
            changes_and_rejects(reading, (&known.schema, &known.name), (connection, stream)).await?;
        let newest = days.last().map_or(reading.now.date_naive(), |day| day.day);
        let mut years: Vec<i32> = days.iter().map(|day| chrono::Datelike::year(&day.day)).collect();
        years.dedup();
        let asked = asked.and_then(|year| i32::try_from(year).ok());
        let year = asked.unwrap_or_else(|| chrono::Datelike::year(&newest));
        if asked.is_some() && !years.contains(&year) {
            let known: Vec<String> = years.iter().map(ToString::to_string).collect();
            let known = known.iter().map(String::as_str);
            let error = QueryError::not_one_of("year", &year.to_string(), "a year that has days", known);
            return Err(error.into());
        }
        let unusual = unusual(&days);
        // Not that of a task which has waited or begun since.
        let last_trouble =
            tasks.iter().find(|task| matches!(&*task.state, "failed" | "held")).filter(|_| known.last_error.is_some());
        let wanted = known.wanted_from.map(|from| from.with_timezone(&zone).date_naive());
        let mut gaps = gaps(&days, wanted, newest);
        let gaps_total = gaps.len();
        gaps.truncate(GAPS_MAX);
        Ok(Some(Self {
            at: reading.now,
            connection: connection.to_owned(),
            stream: stream.to_owned(),
            table,
            state: known.state,
            // A release is the decision that a hint asks for.
            hint: last_trouble.filter(|task| known.is_held || task.state != "held").and_then(|task| task.hint.clone()),
            last_error: known.last_error,
            jobs: known.jobs.unwrap_or_default(),
            timezone,
            slice: known.slice,
            wanted_from: known.wanted_from,
            covers_from: known.covers_from,
            complete_until: known.complete_until,
            newest_data_until: known.newest_data_until,
            has_gap: known.has_gap,
            held_slices: known.held_slices,
            slices_lacking_columns: known.lacking_slices,
            lacks_columns_since: known.lacking_since,
            is_held: known.is_held,
            release: Some(release).filter(|release| release.slices > 0),
            failures: known.failures,
            last_success_at: known.last_success_at,
            needs_operator: known.needs_operator,
            expected_by: known.expected_by,
            expected_every_seconds: known.expected_every_seconds,
            reader_run: known.reader_run,
            waiting,
            year,
            years,
            days_from: days.first().filter(|_| is_cut).map(|day| day.day),
            days: days.into_iter().filter(|day| chrono::Datelike::year(&day.day) == year).collect(),
            gaps,
            gaps_total,
            unusual,
            tasks,
            changes,
            rejects,
        }))
    }
}

/// Failures in a row after which a stream is `failed`, as in `tidegate.stream_state`.
const FAILURES: i32 = 3;

impl StreamPage {
    /// Which of the conditions of the state `failed` hold, as sentences. Empty in another state.
    pub fn why_failed(&self) -> Vec<String> {
        if self.state != "failed" {
            return Vec::new();
        }
        let mut why = Vec::new();
        if self.needs_operator {
            why.push("The last reading failed for a reason that only an operator can remove.".to_owned());
        }
        if self.failures >= FAILURES {
            why.push(format!("The last {} readings failed.", self.failures));
        }
        if self.last_success_at.is_none() {
            why.push("No reading has succeeded yet.".to_owned());
        }
        if why.is_empty() {
            why.push("No reading has succeeded since the stream was reset.".to_owned());
        }
        why
    }
}

async fn days(reading: &mut Reading<'_>, connection: &str, table: &str) -> Result<Vec<Day>, sqlx::Error> {
    let mut days = sqlx::query_as!(
        Day,
        r#"
        select day as "day!", state as "state!", rows, last_read_at
        from mart.day_status
        where connection = $1 and table_name = $2
        order by day desc
        limit $3
        "#,
        connection,
        table,
        // One more shows whether there are more.
        i64::try_from(DAYS_MAX + 1).unwrap_or(i64::MAX),
    )
    .fetch_all(&mut *reading.conn)
    .in_time()
    .await?;
    days.reverse();
    Ok(days)
}

async fn tasks(reading: &mut Reading<'_>, connection: &str, stream: &str) -> Result<Vec<StreamTask>, sqlx::Error> {
    sqlx::query_as!(
        StreamTask,
        r#"
        select
            run.id as "run_id!", run.job as "job!", run.kind as "kind!", task.state as "state!", task.started_at,
            task.finished_at, task.slices_done as "slices_done!", task.slices_planned as "slices_planned!",
            task.calls as "calls!", task.bytes as "bytes!", task.rows_inserted as "rows_inserted!",
            task.rows_updated as "rows_updated!", task.rows_deleted as "rows_deleted!",
            task.rows_unchanged as "rows_unchanged!", task.records_rejected as "records_rejected!",
            task.values_extra as "values_extra!", task.error, task.hint
        from (
            select id, job, kind
            from tidegate.run
            where connection = $1
            order by id desc
            limit $3
        ) as run
        inner join tidegate.task on task.run_id = run.id and task.stream = $2
        order by run.id desc
        limit $4
        "#,
        connection,
        stream,
        RUNS_SEARCHED,
        TASKS_MAX,
    )
    .fetch_all(&mut *reading.conn)
    .in_time()
    .await
}

/// The newest changes of the table, and why records of the stream were rejected.
async fn changes_and_rejects(
    reading: &mut Reading<'_>,
    (schema, table): (&str, &str),
    (connection, stream): (&str, &str),
) -> Result<(Vec<Change>, Vec<Reason>), sqlx::Error> {
    let found = sqlx::query!(
        r#"
        select
            changes.list as "changes!: Json<Vec<Change>>",
            rejects.list as "rejects!: Json<Vec<Reason>>"
        from (
            select coalesce(json_agg(newest order by newest.id desc), '[]') as list
            from (
                select id, changed_at, column_name as "column", change, old_type, new_type
                from tidegate.schema_change
                where table_schema = $1 and table_name = $2
                order by id desc
                limit $3
            ) as newest
        ) as changes
        cross join (
            select coalesce(json_agg(counted order by counted.records desc, counted.reason), '[]') as list
            from (
                select reason, count(*) as records, max(rejected_at) as newest_at
                from (
                    select reason, rejected_at
                    from tidegate.rejected_record
                    where connection = $4 and stream = $5
                    limit $6
                ) as rejected
                group by reason
                order by count(*) desc, reason
                limit 20
            ) as counted
        ) as rejects
        "#,
        schema,
        table,
        CHANGES_MAX,
        connection,
        stream,
        REJECTS_SEARCHED,
    )
    .fetch_one(&mut *reading.conn)
    .in_time()
    .await?;
    Ok((found.changes.0, found.rejects.0))
}
