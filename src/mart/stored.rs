//! Tables that store the rows of views (`mart.materialize`), for warehouses that are too large to compute them at every
//! query.
//!
//! A table is named by the view and by a hash of the statement that selects its rows, so other columns or another
//! configuration lead to another table. [`refresh`](super::refresh) lets a view read its table once there is one. A
//! table that no view reads any more is dropped.
//!
//! To bring a table up to date, its rows are computed anew, and only those that differ are deleted and inserted, in one
//! transaction that locks out no reader.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

use super::relations::Relation;
use super::state::StoredTable;
use crate::store::ident::{literal, table as qualified};
use crate::store::session::{self, Deadline as _};

/// Rows are computed anew after this time even if no slice was finished: some depend on the time of day, and an
/// operator may have deleted rows.
pub(super) const AGE_MAX: Duration = Duration::from_hours(1);
/// After a refresh, a table rests this many times as long as it took, which limits the load of the server.
pub(super) const PAUSE_FACTOR: f64 = 10.0;
/// How long it may take to compute and compare the rows of one view.
const WORK_MAX: Duration = Duration::from_mins(30);
/// How long a transaction waits for a lock on one of the tables that the view reads.
const LOCK_MAX: &str = "10s";
/// Another process may be about to let its view read a table that it has just made.
const UNREAD_MAX_SECONDS: i64 = 300;

/// The table that stores the rows which that statement selects.
pub(super) fn table(relation: &Relation, rows: &str) -> String {
    let hash = xxhash_rust::xxh3::xxh3_64(rows.as_bytes());
    format!("mart_{}_{hash:016x}", relation.name)
}

/// What became of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Made,
    Refreshed,
    /// Another process is storing rows.
    Busy,
    /// A load had to change a table that the view reads. The next pass tries again.
    GaveWay,
}

/// Makes the table, or brings its rows up to date.
pub(super) async fn bring_up(
    pool: &PgPool,
    connection: &mut PgConnection,
    relation: &Relation,
    rows: &str,
) -> Result<Outcome, sqlx::Error> {
    let outcome = fill(pool, connection, relation, rows).within(WORK_MAX).await?;
    if outcome == Outcome::Made {
        let name = qualified("tidegate", &table(relation, rows));
        run(connection, format!("analyze {name}")).within(WORK_MAX).await?;
    }
    Ok(outcome)
}

async fn fill(
    pool: &PgPool,
    connection: &mut PgConnection,
    relation: &Relation,
    rows: &str,
) -> Result<Outcome, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    run(
        &mut transaction,
        format!(
            "set local search_path to pg_catalog; set local lock_timeout = '{LOCK_MAX}';
            set local statement_timeout = '{}s'; set local jit = off",
            WORK_MAX.as_secs()
        ),
    )
    .await?;
    if !take_turn(&mut transaction).await? {
        return Ok(Outcome::Busy);
    }
    let name = table(relation, rows);
    let stored = qualified("tidegate", &name);
    let is_there: bool =
        sqlx::query_scalar("select to_regclass($1) is not null").bind(&stored).fetch_one(&mut *transaction).await?;
    sqlx::query(
        "
        insert into tidegate.mart_table (name, relation, refreshed_at, took_seconds)
        values ($1, $2, statement_timestamp(), 0)
        on conflict (name) do update set refreshed_at = excluded.refreshed_at
        ",
    )
    .bind(&name)
    .bind(relation.name)
    .execute(&mut *transaction)
    .await?;
    let backend = session::backend(&mut transaction).await?;
    let work = async {
        if is_there {
            replace(&mut transaction, &stored, rows).await
        } else {
            make(&mut transaction, relation, &stored, rows).await
        }
    };
    if session::yielding(pool, backend, work).await?.is_none() {
        transaction.rollback().await?;
        return Ok(Outcome::GaveWay);
    }
    sqlx::query(
        "
        update tidegate.mart_table
        set took_seconds = extract(epoch from clock_timestamp() - refreshed_at)
        where name = $1
        ",
    )
    .bind(&name)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(if is_there { Outcome::Refreshed } else { Outcome::Made })
}

async fn make(connection: &mut PgConnection, relation: &Relation, stored: &str, rows: &str) -> Result<(), sqlx::Error> {
    run(connection, format!("create table {stored} as\n{rows}")).await?;
    let comment = literal(&format!("Stored rows of mart.{}", relation.name));
    run(connection, format!("comment on table {stored} is {comment}")).await?;
    if relation.columns().contains(&"day") {
        run(connection, format!("create index on {stored} (day)")).await?;
    }
    Ok(())
}

/// Deletes the rows that are not computed any more and inserts those that are new. Rows are compared as a whole, in
/// which nulls are equal.
async fn replace(connection: &mut PgConnection, stored: &str, rows: &str) -> Result<(), sqlx::Error> {
    run(connection, format!("create temporary table computed on commit drop as\n{rows}")).await?;
    run(connection, "analyze pg_temp.computed".to_owned()).await?;
    run(
        connection,
        format!(
            "
            delete from {stored} as old
            where not exists (select from pg_temp.computed as new where new::record = old::record)
            "
        ),
    )
    .await?;
    run(
        connection,
        format!(
            "
            insert into {stored}
            select new.*
            from pg_temp.computed as new
            where not exists (select from {stored} as old where old::record = new::record)
            "
        ),
    )
    .await
}

/// Drops the tables that no view reads any more, except those in `wanted`.
pub(super) async fn drop_unread(
    connection: &mut PgConnection,
    tables: &[StoredTable],
    wanted: &[String],
) -> Result<(), sqlx::Error> {
    for table in tables {
        if table.is_read || table.age_seconds < UNREAD_MAX_SECONDS || wanted.contains(&table.name) {
            continue;
        }
        drop_table(connection, &table.name).in_time().await?;
    }
    Ok(())
}

async fn drop_table(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    run(&mut transaction, format!("set local lock_timeout = '{LOCK_MAX}'")).await?;
    if take_turn(&mut transaction).await? {
        run(&mut transaction, format!("drop table if exists {}", qualified("tidegate", name))).await?;
        sqlx::query("delete from tidegate.mart_table where name = $1").bind(name).execute(&mut *transaction).await?;
        transaction.commit().await?;
    }
    Ok(())
}

/// Whether no other process is storing rows. None does until the end of the transaction.
async fn take_turn(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    run(connection, "insert into tidegate.lock (name) values ('mart_table') on conflict do nothing".to_owned()).await?;
    let turn = sqlx::query("select from tidegate.lock where name = 'mart_table' for update skip locked");
    Ok(turn.fetch_optional(connection).await?.is_some())
}

async fn run(connection: &mut PgConnection, statements: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(connection).await?;
    Ok(())
}
