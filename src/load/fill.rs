//! Moves values from `_extra` to columns that their table has got since: those of slices that were read while another
//! session kept the table locked ([`locked_out`](super::locked_out)). The vendor is not called: it may no longer have
//! the slice, and a reading without its rows would be held.
//!
//! Rows are read in batches in the order of their keys, encoded by the code that encodes records, and written back. A
//! batch is one transaction with the fence check, so a process that is killed, or has lost the stream, leaves every
//! value in exactly one place, and the next run begins the slice again: rows that are done have nothing to move. With
//! its last batch, the slice is no longer marked.
//!
//! The fingerprints of a slice whose rows change are deleted. The table has got other columns, so they would match no
//! row: the next reading compares every row with the table, and finds it unchanged. Child tables get no columns for new
//! fields.

use std::collections::BTreeMap;

use futures_util::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

use super::LoadError;
use super::copy::Copy;
use super::loader::Loader;
use super::statement::{execute, planned_each_time};
use super::table::{Table, TableColumn};
use crate::catalogue::{ColumnType, Mode};
use crate::rows::binary;
use crate::rows::layout::Layout;
use crate::rows::page::{PageWriter, Refilled};
use crate::store::distribution::Distribution;
use crate::store::ident::{quote, table as qualified};
use crate::store::lacking::{self, LackingSlice};
use crate::store::session::{self, Deadline as _, watched, yielding};
use crate::store::{reading, run};

/// Rows of a batch. Another session that waits for a lock of it waits only for so many.
const BATCH_ROWS: usize = 1000;
/// A batch is smaller if its `_extra` has more bytes than this.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// How often a batch may find that its table needs a further change: a wider type, then a variant instead of it.
const GROWTHS_MAX: u32 = 5;

const STAGE: &str = "pg_temp.fill_rows";

/// How far the values of a stream have been moved.
#[derive(Debug, Default)]
pub struct Fill {
    /// The slice whose rows are next. `None` between two slices.
    slice: Option<LackingSlice>,
    /// The key of its last row that was read, as texts. `None` at its beginning.
    place: Option<Vec<String>>,
    /// With the columns that the table has.
    writer: Option<PageWriter>,
    /// Slices that are done.
    pub slices: u64,
    /// Rows that were changed.
    pub rows: u64,
}

/// The outcome of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    More,
    /// No slice of the stream has such values any more, except those that cannot be changed now.
    Done,
    /// The table still cannot get columns.
    Locked,
    /// Another session waits for the table, so nothing was changed.
    GaveWay,
}

/// A row of the table that has an `_extra`.
#[derive(Debug)]
struct StoredRow {
    key: Vec<String>,
    extra: String,
    /// For each column of the table.
    has_value: Vec<bool>,
}

/// The rows of a batch.
#[derive(Debug, Default)]
struct Batch {
    rows: Vec<StoredRow>,
    is_last: bool,
}

impl Loader<'_> {
    /// Moves the values of the next batch. `types` and `may_add`: as for the layout of the stream's records.
    pub async fn fill(
        &mut self,
        types: &BTreeMap<String, ColumnType>,
        may_add: bool,
        fill: &mut Fill,
    ) -> Result<Step, LoadError> {
        let (pool, account) = (self.pool, &self.claim.connection);
        let mut connection = pool.acquire().await?;
        let backend = session::backend(&mut connection).await?;
        if fill.slice.is_none() {
            fill.slice = lacking::newest(&mut *connection, account, &self.stream.name).await?;
        }
        let Some(slice) = fill.slice.clone() else { return Ok(Step::Done) };
        let read_from = self.table.clone();
        let reading = read(&mut connection, &read_from, account, &slice, fill.place.as_deref());
        let mut batch = watched(pool, backend, reading).await?;
        let mut writer = fill.writer.take().unwrap_or_else(|| self.refiller(types, may_add));
        for _ in 0..GROWTHS_MAX {
            let refilled = refill(&mut writer, &read_from, &batch.rows);
            if !self.table.holds(writer.layout()) {
                let layout = writer.layout().clone();
                match watched(pool, backend, self.grow(&mut connection, &layout)).await {
                    Ok(()) => {}
                    Err(LoadError::Locked { .. }) => return Ok(Step::Locked),
                    Err(error) => return Err(error),
                }
                writer = self.refiller(types, may_add);
                continue;
            }
            let sql = FillSql::new(&self.table, writer.layout());
            let sql = sql.ok_or_else(|| self.table.altered("it has no column, or one of another type, for a field"))?;
            let rows: Vec<Vec<u8>> =
                refilled.iter().map(|(at, refilled)| encoded(&batch.rows[*at], refilled)).collect();
            if !rows.is_empty() || batch.is_last {
                let storing = self.store(&mut connection, &sql, &rows, (slice.id, batch.is_last));
                match watched(pool, backend, yielding(pool, backend, storing)).await? {
                    Some(true) => {}
                    Some(false) => return Err(LoadError::Fenced),
                    None => return Ok(Step::GaveWay),
                }
            }
            fill.rows += rows.len() as u64;
            fill.writer = Some(writer);
            if batch.is_last {
                fill.slices += 1;
                (fill.slice, fill.place) = (None, None);
            } else {
                fill.place = batch.rows.pop().map(|row| row.key);
            }
            return Ok(Step::More);
        }
        Err(self.table.altered("its columns change repeatedly"))
    }

    /// The writer for the rows of the table with its current columns.
    fn refiller(&self, types: &BTreeMap<String, ColumnType>, may_add: bool) -> PageWriter {
        let layout = Layout::new(&self.stream.columns, may_add).with_children(&self.stream.children);
        let mut layout = layout.with_types(types);
        self.table.teach(&mut layout, self.stream);
        PageWriter::of(self.stream, layout)
    }

    /// Writes rows of a slice and, if they are the last, notes that it is done, in one transaction. Returns false if
    /// this worker no longer holds the run or the stream: then nothing was written.
    async fn store(
        &self,
        connection: &mut PgConnection,
        sql: &FillSql,
        rows: &[Vec<u8>],
        (slice, is_last): (i64, bool),
    ) -> Result<bool, sqlx::Error> {
        let mut transaction = connection.begin().in_time().await?;
        if !rows.is_empty() {
            execute(&mut transaction, sql.create.clone()).await?;
            let rows: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
            Copy::of_all(STAGE, sql.fields).send(&mut transaction, &rows).await?;
            planned_each_time(&sql.update)
                .bind(&self.claim.connection)
                .bind(self.claim.id)
                .execute(&mut *transaction)
                .await?;
            reading::distrust(&mut transaction, slice).await?;
        }
        if is_last {
            lacking::fill(&mut *transaction, slice).await?;
        }
        if !run::pass_fence(&mut *transaction, self.claim, &self.stream.name, self.lease).await? {
            return Ok(false);
        }
        transaction.commit().in_time().await?;
        Ok(true)
    }
}

/// Reads the next batch of rows that have an `_extra`.
async fn read(
    connection: &mut PgConnection,
    table: &Table,
    account: &str,
    slice: &LackingSlice,
    after: Option<&[String]>,
) -> Result<Batch, sqlx::Error> {
    let statement = read_sql(table, after.is_some());
    let query = sqlx::query(AssertSqlSafe(statement))
        .persistent(false)
        .bind(account)
        .bind(slice.window_start)
        .bind(slice.window_end);
    let query = if let Some(after) = after { query.bind(after) } else { query };
    let mut found = query.fetch(connection);
    let (mut batch, mut bytes) = (Batch::default(), 0);
    while let Some(row) = found.try_next().await? {
        let row = StoredRow { key: row.try_get(0)?, extra: row.try_get(1)?, has_value: row.try_get(2)? };
        bytes += row.extra.len();
        batch.rows.push(row);
        if bytes > BATCH_BYTES_MAX {
            return Ok(batch);
        }
    }
    // Without further columns of the key there is only one row.
    batch.is_last = batch.rows.len() < BATCH_ROWS || key_of(table).is_empty();
    Ok(batch)
}

/// Assigns the values of the rows, again if one of them has changed the layout, so that all have the same. Returns the
/// rows that change with their positions. `read_from`: the table as it was when they were read.
fn refill(writer: &mut PageWriter, read_from: &Table, rows: &[StoredRow]) -> Vec<(usize, Refilled)> {
    loop {
        let before = writer.layout().clone();
        let places: Vec<Option<usize>> =
            before.fields().iter().map(|field| read_from.position(&field.path, field.variant)).collect();
        let mut refilled = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            let has = |place: &Option<usize>| place.is_some_and(|place| row.has_value.get(place) == Some(&true));
            let has_value: Vec<bool> = places.iter().map(has).collect();
            refilled.extend(writer.refill(&row.extra, &has_value).map(|refilled| (at, refilled)));
        }
        // Fields are only added, up to a limit, and types only widened.
        if writer.layout().fields() == before.fields() {
            return refilled;
        }
    }
}

/// A row of the staging table.
fn encoded(row: &StoredRow, refilled: &Refilled) -> Vec<u8> {
    let mut out = Vec::with_capacity(row.extra.len() + refilled.values.len() + refilled.extra.len() + 128);
    for value in row.key.iter().chain([&row.extra]) {
        binary::bytes(value.as_bytes(), &mut out);
    }
    out.extend_from_slice(&refilled.values);
    out.extend_from_slice(&refilled.extra);
    out
}

/// The columns of the key after `_connection`, quoted, with their types.
fn key_of(table: &Table) -> Vec<(String, &'static str)> {
    let window = (table.mode == Mode::ReplaceWindow).then(|| ("_window_start".to_owned(), "timestamptz"));
    let kind = |name: &str| table.key_kind(name).map_or("text", ColumnType::sql);
    let own = table.key.iter().map(|name| (quote(name), if table.by_hash() { "uuid" } else { kind(name) }));
    window.into_iter().chain(own).collect()
}

/// `$1` connection, `$2` window start, `$3` window end, and with `after` `$4` a key: the next rows that have an
/// `_extra`, by key.
fn read_sql(table: &Table, after: bool) -> String {
    let key = key_of(table);
    let listed = |each: &dyn Fn(usize, &(String, &str)) -> String| {
        key.iter().enumerate().map(|(at, column)| each(at, column)).collect::<Vec<_>>().join(", ")
    };
    let columns: Vec<String> =
        table.columns.iter().map(|column| format!("present.{} is not null", quote(&column.name))).collect();
    let window = match table.mode {
        Mode::ReplaceWindow => "\n    and present._window_start >= $2 and present._window_start < $3",
        Mode::Snapshot | Mode::Upsert | Mode::Observe => "",
    };
    let names = listed(&|_, (name, _)| format!("present.{name}"));
    let after = if after && !key.is_empty() {
        format!("\n    and ({names}) > ({})", listed(&|at, (_, kind)| format!("($4::text[])[{}]::{kind}", at + 1)))
    } else {
        String::new()
    };
    format!(
        "select
    array[{keys}]::text[] as key,
    present._extra::text as extra,
    array[{columns}]::boolean[] as has_value
from {target} as present
where
    present._connection = $1{window}{after}
    and present._extra is not null
{order}limit {BATCH_ROWS}",
        keys = listed(&|_, (name, _)| format!("present.{name}::text")),
        columns = columns.join(", "),
        target = qualified(&table.schema, &table.name),
        order = if key.is_empty() { String::new() } else { format!("order by {names}\n") },
    )
}

/// The statements that write a batch back.
#[derive(Debug)]
struct FillSql {
    /// Creates the staging table for this transaction.
    create: String,
    /// `$1` connection, `$2` run: changes the rows that still have the `_extra` that was read.
    update: String,
    /// How many columns the staging table has.
    fields: usize,
}

impl FillSql {
    /// Returns `None` if the table lacks the column of a field, or has it with another type.
    fn new(table: &Table, layout: &Layout) -> Option<Self> {
        let columns: Vec<&TableColumn> = layout
            .added()
            .iter()
            .map(|field| table.column(&field.path, field.variant).filter(|column| column.kind == field.kind))
            .collect::<Option<_>>()?;
        let key = key_of(table);
        let keys: Vec<String> = (0..key.len()).map(|at| format!("_key_{at} text, ")).collect();
        let values: Vec<String> =
            columns.iter().enumerate().map(|(at, column)| format!("_value_{at} {}, ", column.kind.sql())).collect();
        let create = format!(
            "create temporary table fill_rows ({}_was text, {}_extra jsonb) on commit drop",
            keys.concat(),
            values.concat(),
        );
        let assign = |(at, column): (usize, &&TableColumn)| {
            let name = quote(&column.name);
            format!("{name} = coalesce(present.{name}, filled._value_{at}), ")
        };
        let assignments: Vec<String> = columns.iter().enumerate().map(assign).collect();
        let same_key = |one: &str, other: &str| {
            let equal =
                |(at, (name, kind)): (usize, &(String, &str))| format!(" and {one}.{name} = {other}._key_{at}::{kind}");
            let equal: Vec<String> = key.iter().enumerate().map(equal).collect();
            equal.concat()
        };
        let target = qualified(&table.schema, &table.name);
        // Each row is looked up by itself, as a plan without statistics of the connection would read all of its rows.
        // Places of rows mean nothing outside of their node.
        let (source, is_it) = match table.distribution {
            Distribution::None => (
                format!(
                    "(
    select stage.*, known._place, known._part
    from {STAGE} as stage
    cross join lateral (
        select found.ctid as _place, found.tableoid as _part
        from {target} as found
        where found._connection = $1{same_key}
        limit 1
    ) as known
)",
                    same_key = same_key("found", "stage"),
                ),
                "present.ctid = filled._place and present.tableoid = filled._part".to_owned(),
            ),
            Distribution::Citus => (
                format!("(select * from {STAGE} offset 0)"),
                format!("present._connection = $1{}", same_key("present", "filled")),
            ),
        };
        let update = format!(
            "update {target} as present
set {assignments}_extra = filled._extra, _run_id = $2, _loaded_at = now()
from {source} as filled
where {is_it}
    and present._extra is not distinct from filled._was::jsonb",
            assignments = assignments.concat(),
        );
        Some(Self { create, update, fields: key.len() + 1 + columns.len() + 1 })
    }
}
