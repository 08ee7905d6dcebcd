//! The query of a push: checked against the labels and the key, and held open as a cursor by Postgres.
//!
//! The query runs once, in a read-only transaction, into a cursor that survives the commit. So a push sends one
//! snapshot of the warehouse, however long it takes, without an open transaction and with a few hundred rows in memory.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Column as _, Executor as _, SqlSafeStr as _, Statement as _};

use super::PushError;
use crate::config::Push;
use crate::settings::closest_hint;
use crate::store::ident::quote;

/// Rows per fetch.
const FETCH_ROWS: u32 = 500;

/// Mismatches between the query and the configuration.
#[derive(Debug, thiserror::Error)]
pub enum QueryFault {
    #[error("push.query: Postgres refuses it: {0}")]
    Query(String),
    #[error("push.{place}: the query has no column `{column}`{hint}")]
    NoColumn { place: String, column: String, hint: String },
    #[error("push.{place}: the query has two columns `{column}`; rename one of them")]
    Twice { place: String, column: String },
}

/// One row as fetched.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Row {
    /// Values in the order of the labels; `None` is null.
    #[sqlx(rename = "row_values")]
    pub(super) values: Vec<Option<String>>,
    /// Values in the order of the key columns.
    #[sqlx(rename = "row_key")]
    pub(super) key: Vec<Option<String>>,
    /// Whether an earlier row has the same key.
    pub(super) repeated: bool,
}

/// The rows of the query, in order.
#[derive(Debug)]
pub(super) struct QueryCursor<'c> {
    connection: &'c mut PgConnection,
}

impl<'c> QueryCursor<'c> {
    /// Checks the query's columns and runs it.
    pub(super) async fn open(connection: &'c mut PgConnection, push: &Push) -> Result<Self, PushError> {
        let columns = columns(connection, &push.query).await?;
        for (label, column) in &push.columns {
            check(&columns, column, || format!("columns.{label}"))?;
        }
        for (index, column) in push.key.iter().enumerate() {
            check(&columns, column, || format!("key[{index}]"))?;
        }
        let declare = declare(push);
        connection.execute("begin transaction isolation level repeatable read read only").await?;
        let declared = connection.execute(AssertSqlSafe(declare)).await;
        // A held cursor runs to its end at the commit.
        let outcome = match declared {
            Ok(_) => connection.execute("commit").await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            // A broken connection needs no rollback.
            let _ = connection.execute("rollback").await;
            return Err(fails(error));
        }
        Ok(Self { connection })
    }

    /// The next rows; empty at the end.
    pub(super) async fn fetch(&mut self) -> Result<Vec<Row>, sqlx::Error> {
        let fetch = format!("fetch forward {FETCH_ROWS} from tidegate_push");
        sqlx::query_as(AssertSqlSafe(fetch)).fetch_all(&mut *self.connection).await
    }

    /// Returns to the first row.
    pub(super) async fn rewind(&mut self) -> Result<(), sqlx::Error> {
        self.connection.execute("move absolute 0 in tidegate_push").await.map(|_| ())
    }

    pub(super) async fn close(self) {
        // The cursor ends with the session in any case.
        let _ = self.connection.execute("close tidegate_push").await;
    }
}

/// The names of the query's columns. Preparing reads no row, so Postgres's message cannot contain one.
async fn columns(connection: &mut PgConnection, query: &str) -> Result<Vec<String>, PushError> {
    let wrapped = format!("select * from (\n{query}\n) as q");
    match connection.prepare(AssertSqlSafe(wrapped).into_sql_str()).await {
        Ok(statement) => Ok(statement.columns().iter().map(|column| column.name().to_owned()).collect()),
        Err(sqlx::Error::Database(error)) => Err(QueryFault::Query(error.message().to_owned()).into()),
        Err(error) => Err(error.into()),
    }
}

fn check(columns: &[String], wanted: &str, place: impl Fn() -> String) -> Result<(), QueryFault> {
    match columns.iter().filter(|column| *column == wanted).count() {
        1 => Ok(()),
        0 => {
            let hint = closest_hint(wanted, columns.iter().map(String::as_str));
            Err(QueryFault::NoColumn { place: place(), column: wanted.to_owned(), hint })
        }
        _ => Err(QueryFault::Twice { place: place(), column: wanted.to_owned() }),
    }
}

/// Selects every value as text, in the query's order, and whether its key occurred before.
fn declare(push: &Push) -> String {
    let array = |columns: &mut dyn Iterator<Item = &String>| {
        let texts: Vec<String> = columns.map(|column| format!("q.{}::text", quote(column))).collect();
        format!("array[{}]", texts.join(", "))
    };
    let (values, key) = (array(&mut push.columns.values()), array(&mut push.key.iter()));
    format!(
        "declare tidegate_push scroll cursor with hold for
        select row_values, row_key, row_number() over (partition by row_key order by place) > 1 as repeated
        from (
            select {values} as row_values, {key} as row_key, row_number() over () as place
            from (\n{}\n) as q
        ) as numbered
        order by place",
        push.query
    )
}

/// The error of a query that failed while it ran. Postgres may quote rows in its message, so only the code is shown,
/// except for errors about privileges or the statement itself.
fn fails(error: sqlx::Error) -> PushError {
    if let Some(error) = error.as_database_error()
        && error.code().is_some_and(|code| code.starts_with("42"))
    {
        return QueryFault::Query(error.message().to_owned()).into();
    }
    match error.as_database_error().and_then(sqlx::error::DatabaseError::code) {
        Some(code) => PushError::QueryFails { code: code.into_owned() },
        None => error.into(),
    }
}
