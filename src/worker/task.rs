//! Works on one stream of one run: opens its grid and reads the slices that are due.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use tokio_util::sync::CancellationToken;

use super::grid::{self, Due, Grid, Scope, midnight};
use super::hint::{self, Subject};
use super::policy::{self, Decision, TaskError};
use super::report::Reporter;
use super::slice::{self, Ended, MemoryBudget, SliceReader};
use crate::catalogue::Stream;
use crate::clock;
use crate::config::{Job, JobStream, NewFields, Partition};
use crate::connector::{Expected, Source, Window};
use crate::http::Session;
use crate::load::fill::{Fill, Step};
use crate::load::loader::{Loader, SliceReading};
use crate::load::table::{Cause, Table};
use crate::load::{LoadError, LockedTables, divide, key};
use crate::rows::layout::Layout;
use crate::rows::page::{PageWriter, RowKey};
use crate::schedule;
use crate::store::cursor::Slice;
use crate::store::distribution::Distribution;
use crate::store::run::{self, Claim};
use crate::store::session::{Deadline as _, watched};
use crate::store::task::{self, TaskEnd, Temporary};
use crate::store::trouble::chain;
use crate::store::{self, cursor, held, reading, session};

/// How long a task waits before it tries again if another run reads its stream.
const STREAM_BUSY_SECS: i64 = 5;
/// How long a task waits that leaves its stream to a run of higher priority: until that run has tried again.
const GIVE_WAY_SECS: i64 = STREAM_BUSY_SECS + 1;

/// Export jobs of one connection that run at the vendor at a time.
const EXPORTS_MAX: i64 = 2;
/// How long a task waits if that many are running.
const EXPORT_BUSY_SECS: i64 = 15;

/// How long a task moves values to their columns before it leaves the rest to the next run.
const FILL_MAX: Duration = Duration::from_mins(10);
/// How often it is logged how far that has come.
const FILL_LOGGED_EVERY: Duration = Duration::from_secs(30);

/// Everything that the work on a task needs.
pub(crate) struct TaskRunner<'a> {
    pub pool: &'a sqlx::PgPool,
    pub claim: &'a Claim,
    pub job: &'a Job,
    pub stream: &'a JobStream,
    pub source: &'a dyn Source,
    pub session: &'a Session<'a>,
    /// The zone in whose local time windows are requested from the vendor.
    pub filter_zone: Tz,
    pub reporter: &'a Reporter<'a>,
    pub lease: Duration,
    pub distribution: Distribution,
    pub attempts: i32,
    /// The jobs of the configuration that read the stream.
    pub readers: &'a [&'a Job],
    /// The streams of the connection that are read through export jobs.
    pub exported: &'a [&'a str],
    /// The jobs that this process works on.
    pub jobs: &'a BTreeMap<String, Job>,
    pub memory: &'a MemoryBudget,
    pub locked_tables: &'a LockedTables,
    pub shutdown: &'a CancellationToken,
}

/// How the rows of the task are loaded.
struct Load<'a> {
    loader: Loader<'a>,
    writer: PageWriter,
    /// Whether the table may get columns for new fields.
    may_add: bool,
}

impl TaskRunner<'_> {
    /// Works on the task until it ends, waits or fails. Returns `None` if another worker holds the run or the stream
    /// now. Only here do errors become decisions.
    pub(crate) async fn run(&self) -> Option<TaskEnd> {
        let mut current = None;
        let error = match self.read(&mut current).await {
            Ok(end) => return Some(end),
            Err(TaskError::Load(error)) => {
                let stream = &self.stream.stream;
                TaskError::Load(error.about(&format!("{}.{}", stream.schema, stream.name)))
            }
            Err(error) => error,
        };
        if let Some(error) = error.of_database() {
            session::judge(self.pool, error);
        }
        // Calls that failed count as well.
        if let Err(error) = self.reporter.calls(self.session).await {
            tracing::debug!(%error, "the last calls were not counted");
        }
        let decision = policy::decide(&error, self.attempts, clock::now());
        if decision == Decision::FailAndRestart
            && let Some(slice) = current
            && let Err(error) = self.restart(slice).await
        {
            tracing::warn!(error = chain(&error), "the slice keeps its cursor");
        }
        carry_out(decision, &error, self.subject(), self.claim, &self.stream.stream.name)
    }

    fn subject(&self) -> Subject {
        Subject::stream(self.stream.stream.vendor, self.stream.stream.windowed())
    }

    /// Has the next run read the slice from its first page.
    async fn restart(&self, slice: i64) -> Result<(), sqlx::Error> {
        let mut transaction = self.pool.begin().in_time().await?;
        reading::restart(&mut transaction, slice).await?;
        if run::pass_fence(&mut *transaction, self.claim, &self.stream.stream.name, self.lease).await? {
            transaction.commit().in_time().await?;
        }
        Ok(())
    }

    /// `current` is set to the slice under way, for error handling.
    async fn read(&self, current: &mut Option<i64>) -> Result<TaskEnd, TaskError> {
        let stream = &self.stream.stream;
        let mut connection = self.pool.acquire().await?;
        let backend = session::backend(&mut connection).await?;
        let stored = self.open_stream(&mut connection).await?;
        let grid = if stream.windowed() { self.grid(&stored)? } else { self.list_grid(&stored) };
        if !run::hold_stream(&mut *connection, self.claim, &stream.name).await? {
            let until = clock::now() + chrono::TimeDelta::seconds(STREAM_BUSY_SECS);
            return Ok(TaskEnd::Waiting { until, waiting_for: run::STREAM_BUSY.to_owned(), after: None });
        }
        let now = schedule::clock(&mut connection).await?;
        let due = self.due(&mut connection, grid, now).await?;
        let slices = i32::try_from(due.len()).unwrap_or(i32::MAX);
        if !task::begin(&mut *connection, self.claim, &stream.name, slices).await? {
            return Err(LoadError::Fenced.into());
        }
        tracing::debug!(slices, "task begins");

        let cause = Cause { run: self.claim.id, connection: &self.claim.connection };
        let keyed = key::of_table(&mut connection, stream, &self.stream.types, self.distribution, cause);
        let stream = &watched(self.pool, backend, keyed).await?;
        let table = self.open_table(&mut connection, backend, stream, cause).await?;
        drop(connection);
        let latest_wins = RowKey::of(stream).latest_wins();
        let may_add = self.adds_columns();
        let writer = self.writer(stream, &table);
        let mut loader = Loader::new(self.pool, self.claim, stream, self.lease, latest_wins, table);
        loader.hold_below = self.job.hold_below;
        loader.vendor_wait = self.session.longest_wait();
        loader.locked_tables = self.locked_tables.clone();
        let mut load = Load { loader, writer, may_add };

        for (number, due) in due.into_iter().enumerate() {
            if self.shutdown.is_cancelled() {
                return Ok(TaskEnd::Released);
            }
            // Not before the first slice, so that every claim makes progress.
            if number > 0
                && let Some(end) = self.give_way().await?
            {
                return Ok(end);
            }
            if self.is_dropped_since(now, due.window) {
                continue;
            }
            if let Some(until) = self.too_many_exports(due).await? {
                return Ok(TaskEnd::Waiting { until, waiting_for: "another export".to_owned(), after: None });
            }
            self.try_columns(&mut load, true).await?;
            match self.read_to_end(grid, due, current, &stored, &mut load).await? {
                Ended::Finished | Ended::Interrupted => *current = None,
                Ended::Stopped => return Ok(TaskEnd::Released),
                Ended::Pending { until } => {
                    return Ok(TaskEnd::Waiting { until, waiting_for: "export".to_owned(), after: None });
                }
            }
        }
        // After the slices: what the vendor has now is wanted first.
        self.try_columns(&mut load, true).await?;
        if let Some(end) = Box::pin(self.fill_columns(&mut load)).await? {
            return Ok(end);
        }
        self.outcome(stream).await
    }

    /// How the task ends after all slices that were due have been read.
    async fn outcome(&self, stream: &Stream) -> Result<TaskEnd, TaskError> {
        let backfill = range(self.claim).map(|range| (range.start, range.end));
        let held = held::of_stream(self.pool, &self.claim.connection, &stream.name, backfill).await?;
        if let Some(why) = held {
            let hint = hint::named(policy::HELD_HINT, &self.claim.job, &stream.name, &self.claim.connection);
            return Ok(TaskEnd::Held { why, hint });
        }
        // What is held of other days is not the outcome of a backfill, but the stream is not well either.
        let elsewhere = held::of_stream(self.pool, &self.claim.connection, &stream.name, None).await?;
        if elsewhere.is_some() {
            return Ok(TaskEnd::Succeeded);
        }
        let expected = schedule::expected(self.readers, clock::now());
        store::stream::succeeded(self.pool, &self.claim.connection, &stream.name, expected).await?;
        Ok(TaskEnd::Succeeded)
    }

    /// Whether the table gets columns for new fields, if it is not locked.
    fn adds_columns(&self) -> bool {
        self.stream.new_fields == NewFields::Add
    }

    /// The writer of rows for a table.
    fn writer(&self, stream: &Stream, table: &Table) -> PageWriter {
        self.writer_with(stream, table, self.adds_columns())
    }

    /// The writer of rows for a table that is locked, and so gets its columns later.
    fn awaiting_writer(&self, stream: &Stream, table: &Table) -> PageWriter {
        self.writer_with(stream, table, false).awaiting_columns()
    }

    fn writer_with(&self, stream: &Stream, table: &Table, may_add: bool) -> PageWriter {
        let mut layout =
            Layout::new(&stream.columns, may_add).with_children(&stream.children).with_types(&self.stream.types);
        table.teach(&mut layout, stream);
        PageWriter::of(stream, layout).sharing(&self.memory.buffers)
    }

    /// Moves values to the columns that the table lacked when their slices were read. Returns how the task ends if it
    /// has to end before all of them are moved; the next run continues.
    async fn fill_columns(&self, load: &mut Load<'_>) -> Result<Option<TaskEnd>, TaskError> {
        let loader = &mut load.loader;
        if loader.lacks_columns() {
            return Ok(None);
        }
        let table = format!("{}.{}", loader.table.schema, loader.table.name);
        let (mut fill, begun) = (Fill::default(), Instant::now());
        let mut logged = begun;
        while begun.elapsed() < FILL_MAX {
            match loader.fill(&self.stream.types, self.adds_columns(), &mut fill).await? {
                Step::More => {}
                Step::Done => break,
                Step::Locked => {
                    tracing::debug!(table, "the table is still locked; a later run moves the values");
                    break;
                }
                Step::GaveWay => {
                    tracing::info!(table, "another session waits for the table; a later run moves the rest");
                    break;
                }
            }
            if self.shutdown.is_cancelled() {
                return Ok(Some(TaskEnd::Released));
            }
            if let Some(end) = self.give_way().await? {
                return Ok(Some(end));
            }
            if logged.elapsed() > FILL_LOGGED_EVERY {
                logged = Instant::now();
                let Fill { slices, rows, .. } = fill;
                tracing::info!(table, slices, rows, "values are being moved from _extra to their columns");
            }
        }
        let Fill { slices, rows, .. } = fill;
        if rows > 0 {
            tracing::info!(table, slices, rows, "values that waited in _extra for their columns were moved there");
        }
        Ok(None)
    }

    /// Gives the table the columns that it lacks because another session locked it, if it is time to try again.
    async fn try_columns(&self, load: &mut Load<'_>, between_slices: bool) -> Result<(), LoadError> {
        if load.loader.try_columns(between_slices).await? {
            load.may_add = true;
            load.writer = self.writer(load.loader.stream, &load.loader.table);
            tracing::info!(
                table = format!("{}.{}", load.loader.table.schema, load.loader.table.name),
                "the table has got its new columns; values that wait in _extra are moved to them after the last slice"
            );
        }
        Ok(())
    }

    /// Reads a slice to its end. If another session has locked the table, values of new fields are kept in `_extra`
    /// until the table can get their columns.
    async fn read_to_end(
        &self,
        grid: Grid,
        due: Due,
        current: &mut Option<i64>,
        stored: &cursor::StoredGrid,
        load: &mut Load<'_>,
    ) -> Result<Ended, TaskError> {
        loop {
            match self.read_slice(grid, due, current, stored, load).await {
                Ok(Ended::Interrupted) => self.try_columns(load, false).await?,
                Err(TaskError::Load(error @ LoadError::Locked { .. })) if load.may_add => {
                    tracing::warn!(
                        error = chain(&error),
                        "until the table gets its new columns, their values are kept in _extra; they are moved later"
                    );
                    load.may_add = false;
                    load.writer = self.awaiting_writer(load.loader.stream, &load.loader.table);
                }
                ended => return ended,
            }
        }
    }

    /// When to try again if [`EXPORTS_MAX`] export jobs of this connection are running. Two workers that look at the
    /// same moment may exceed that; it is not a limit of the vendor.
    async fn too_many_exports(&self, due: Due) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
        if !self.stream.stream.exported {
            return Ok(None);
        }
        let stream = &*self.stream.stream.name;
        let exported: Vec<&str> = self.exported.iter().copied().filter(|other| *other != stream).collect();
        let mut connection = self.pool.acquire().await?;
        let slices = cursor::slices(&mut *connection, &self.claim.connection, stream, due.window.start).await?;
        if slices.iter().any(|slice| slice.window_start == due.window.start && slice.position.cursor.is_some()) {
            return Ok(None);
        }
        let running = cursor::exports_running(&mut *connection, &self.claim.connection, &exported).await?;
        Ok((running >= EXPORTS_MAX).then(|| clock::now() + chrono::TimeDelta::seconds(EXPORT_BUSY_SECS)))
    }

    /// Between two slices: leaves the stream, or the worker, to a run of higher priority.
    async fn give_way(&self) -> Result<Option<TaskEnd>, sqlx::Error> {
        let is_ours = |job: &str| self.jobs.contains_key(job);
        let wanted = run::wanted(self.pool, self.claim, &self.stream.stream.name, is_ours).await?;
        Ok(if wanted.stream {
            let until = clock::now() + chrono::TimeDelta::seconds(GIVE_WAY_SECS);
            Some(TaskEnd::Waiting { until, waiting_for: "a run of higher priority".to_owned(), after: None })
        } else {
            wanted.worker.then_some(TaskEnd::Released)
        })
    }

    async fn read_slice(
        &self,
        grid: Grid,
        due: Due,
        current: &mut Option<i64>,
        stored: &cursor::StoredGrid,
        load: &mut Load<'_>,
    ) -> Result<Ended, TaskError> {
        let Load { loader, writer, .. } = load;
        let stream = &self.stream.stream;
        let slice = {
            let mut connection = self.pool.acquire().await?;
            let window = (due.window.start, due.window.end);
            cursor::open_slice(&mut connection, &self.claim.connection, &stream.name, window).await?
        };
        *current = Some(slice.id);
        let mut reading = SliceReading {
            until: slice.position.until.unwrap_or(due.until),
            neighbours: if stream.windowed() {
                [grid.before(due.window).start, grid.after(due.window).start]
            } else {
                [due.window.start, due.window.end]
            },
            fresh: slice.position.fresh,
            slice,
        };
        if reading.slice.position.run.is_none() {
            reading.until = due.until;
        }
        slice::prepare(loader, &mut reading).await?;
        let length = (due.window.end - due.window.start).num_seconds();
        let weight = |bytes: Option<i64>| bytes.and_then(|bytes| u64::try_from(bytes).ok());
        let expected = Expected {
            page_bytes: weight(stored.page_bytes),
            slice_bytes: weight(stored.slice_bytes),
            slice_secs: u64::try_from(length).unwrap_or(1),
            newest: due.newest,
            fresh: reading.fresh,
        };
        let interrupt_at = loader.next_attempt();
        let reader = SliceReader {
            source: self.source,
            session: self.session,
            loader,
            writer,
            reporter: self.reporter,
            expected,
            memory: self.memory,
            shutdown: self.shutdown,
            interrupt_at,
        };
        Box::pin(reader.read(&mut reading)).await
    }

    /// The stored grid of the stream. Created by its first run.
    async fn open_stream(&self, connection: &mut sqlx::PgConnection) -> Result<cursor::StoredGrid, sqlx::Error> {
        let stream = &self.stream.stream;
        let slice = self.stream.slice.to_string();
        let wanted = (self.job.start, self.job.timezone.name(), slice.as_str());
        let table = (stream.schema, &*stream.name);
        cursor::ensure_stream(connection, &self.claim.connection, &stream.name, table, wanted).await
    }

    /// The grid of a list. Nothing depends on it.
    const fn list_grid(&self, stored: &cursor::StoredGrid) -> Grid {
        self.grid_from(stored.anchor)
    }

    const fn grid_from(&self, anchor: NaiveDate) -> Grid {
        Grid { anchor, zone: self.job.timezone, length: self.stream.slice, filter_zone: self.filter_zone }
    }

    fn grid(&self, stored: &cursor::StoredGrid) -> Result<Grid, TaskError> {
        let wanted = format!("{} in {}", self.stream.slice, self.job.timezone);
        let found = format!("{} in {}", stored.slice, stored.timezone);
        if wanted != found {
            return Err(TaskError::Grid { stored: found, wanted });
        }
        Ok(self.grid_from(stored.anchor))
    }

    /// The table of the stream, divided by months if that is wanted and possible.
    async fn open_table(
        &self,
        connection: &mut sqlx::PgConnection,
        backend: i32,
        stream: &Stream,
        cause: Cause<'_>,
    ) -> Result<Table, LoadError> {
        let types = &self.stream.types;
        let opened = Table::open(&mut *connection, stream, types, self.distribution, cause);
        let table = watched(self.pool, backend, opened).await?;
        let by_month = self.job.warehouse.partition == Partition::Month;
        let arranged = divide::arrange(&mut *connection, stream, self.distribution, by_month);
        if !watched(self.pool, backend, arranged).await? {
            return Ok(table);
        }
        let opened = Table::open(connection, stream, types, self.distribution, cause);
        watched(self.pool, backend, opened).await
    }

    async fn due(
        &self,
        connection: &mut sqlx::PgConnection,
        grid: Grid,
        now: DateTime<Utc>,
    ) -> Result<Vec<Due>, TaskError> {
        if !self.stream.stream.windowed() {
            let start = grid::list_window().start;
            let known = cursor::slices(connection, &self.claim.connection, &self.stream.stream.name, start).await?;
            return Ok(grid::due_list(self.claim.id, now, known.first()).into_iter().collect());
        }
        let scope = scope(self.job, self.stream, now, self.claim.id, range(self.claim));
        let known = cursor::slices(connection, &self.claim.connection, &self.stream.stream.name, scope.from).await?;
        let known: HashMap<_, _> = known.into_iter().map(|slice| (slice.window_start, slice)).collect();
        let mut due = grid::due(grid, scope, &known);
        // What is about to be dropped is not read again, for example for columns that it lacks. What is held stays.
        let kept_from = self.job.warehouse.kept_from(now);
        let stays =
            |slice: &Slice| slice.held_rows_reported.is_some() || kept_from.is_none_or(|at| slice.window_end > at);
        grid::add_again(&mut due, scope, known.values().filter(|slice| stays(slice)));
        Ok(due)
    }

    /// Whether a slice that was kept at `planned` is dropped by now: the run began in an earlier month.
    fn is_dropped_since(&self, planned: DateTime<Utc>, window: Window) -> bool {
        let is_kept = |at| self.job.warehouse.kept_from(at).is_none_or(|kept_from| window.end > kept_from);
        is_kept(planned) && !is_kept(clock::now())
    }
}

/// Start of the data that a job asks for: its `start`, or a later time from which rows are kept.
pub fn wanted_from(job: &Job, now: DateTime<Utc>) -> DateTime<Utc> {
    let start = midnight(job.start, job.timezone);
    job.warehouse.kept_from(now).map_or(start, |kept_from| kept_from.max(start))
}

/// What a run of `job` reads of a stream at `now`. `range`: of a backfill.
pub fn scope(job: &Job, stream: &JobStream, now: DateTime<Utc>, run: i64, range: Option<Window>) -> Scope {
    let kept_from = job.warehouse.kept_from(now);
    Scope {
        from: range
            .map_or_else(|| wanted_from(job, now), |range| kept_from.map_or(range.start, |at| at.max(range.start))),
        range_end: range.map(|range| range.end),
        limit: Scope::limit(now, job.settle),
        lookback: stream.lookback,
        run,
    }
}

fn range(claim: &Claim) -> Option<Window> {
    Some(Window { start: claim.range_start?, end: claim.range_end? })
}

/// Logs a decision, and turns it into the end of the task. Returns `None` if another worker holds the run or the stream
/// now.
pub(crate) fn carry_out(
    decision: Decision,
    error: &TaskError,
    subject: Subject,
    claim: &Claim,
    stream: &str,
) -> Option<TaskEnd> {
    let hint = hint::hint(error, subject);
    match decision {
        Decision::Wait { until, waiting_for, attempt } => {
            if attempt {
                tracing::warn!(error = chain(error), hint, %until, "put off");
            } else {
                tracing::info!(%until, %waiting_for, "waiting");
            }
            let after = attempt.then(|| Temporary {
                error: chain(error),
                hint: hint::named(hint, &claim.job, stream, &claim.connection),
            });
            Some(TaskEnd::Waiting { until, waiting_for, after })
        }
        Decision::Abandon => {
            // The caller logs why.
            tracing::info!(error = chain(error), "gave up the task");
            None
        }
        Decision::Fail | Decision::FailAndRestart => {
            tracing::error!(error = chain(error), hint, "failed");
            let hint = hint::named(hint, &claim.job, stream, &claim.connection);
            Some(TaskEnd::Failed { error: chain(error), hint, needs_operator: policy::needs_operator(error) })
        }
    }
}
