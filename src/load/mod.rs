//! From rows to tables: stages COPY rows, leaves out what is there already, merges the rest, and moves the cursor, all in
//! one transaction. Knows no HTTP; the rows come from [`crate::rows`].

mod child_sql;
mod copy;
mod create;
mod duplicates;
mod grow;
mod hold;
pub mod loader;
mod mend;
mod number_column;
mod shape;
pub mod sql;
mod stage;
pub mod table;
pub mod transaction;
mod unchanged;

use std::borrow::Cow;

use sqlx::postgres::PgDatabaseError;

use crate::store::session;

/// Why rows could not be brought into their table.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("this worker does not hold the run or the stream any more; nothing of this page was kept")]
    Fenced,
    #[error("the slice was moved by another worker; nothing of this page was kept")]
    Moved,
    #[error("the rows noted as seen are gone, Postgres must have crashed; nothing of this page was kept")]
    SeenLost,
    #[error("rows moved within the slice while they were left out as unchanged; nothing of this page was kept")]
    Rearranged,
    #[error("{}", session::summary(.0))]
    Database(#[from] sqlx::Error),
    #[error("table {table} was altered while it was loaded: {detail}; nothing of this page was kept")]
    Altered { table: String, detail: String },
    /// The rows can be loaded without further columns.
    #[error("table {table} cannot get a column, since another session keeps it locked; nothing of this page was kept")]
    Locked { table: String },
    #[error("table {table} cannot be loaded: {what}; mend it with `{remedy}`")]
    Unfit { table: String, what: String, remedy: String },
    #[error("{table} is {what}, and must be a table: give it another name, or drop it")]
    NotATable { table: String, what: &'static str },
    #[error("{rule} of table {table} rejected a row (SQLSTATE {code})")]
    Rule { table: String, rule: String, code: String },
    #[error("column {column} of table {table} does not allow null, has no default, and the record has no value for it")]
    Required { table: String, column: String },
}

impl LoadError {
    /// The same error with table and column named, where it says that the table is not what it was taken for.
    #[must_use]
    pub fn about(self, table: &str) -> Self {
        let Self::Database(sqlx::Error::Database(error)) = &self else { return self };
        let code = error.code().unwrap_or_default();
        if code == REQUIRED {
            let said = error.try_downcast_ref::<PgDatabaseError>();
            let column = said.and_then(PgDatabaseError::column).unwrap_or_default().to_owned();
            let found = said.and_then(|said| Some(format!("{}.{}", said.schema()?, said.table()?)));
            return Self::Required { table: found.unwrap_or_else(|| table.to_owned()), column };
        }
        let said = error.try_downcast_ref::<PgDatabaseError>();
        let is_theirs = said.and_then(PgDatabaseError::schema).is_none_or(|schema| schema != "tidegate");
        if RULES.contains(&&*code) && is_theirs {
            let named = said.and_then(|said| Some(format!("{}.{}", said.schema()?, said.table()?)));
            let rule = said.and_then(PgDatabaseError::constraint);
            return Self::Rule {
                table: named.unwrap_or_else(|| table.to_owned()),
                rule: rule.map_or_else(|| "a trigger".to_owned(), |name| format!("constraint {name}")),
                code: code.into_owned(),
            };
        }
        if ALTERED.contains(&&*code) {
            // What Postgres says of names and types quotes no value.
            let detail = format!("{} (SQLSTATE {code})", error.message());
            return Self::Altered { table: table.to_owned(), detail };
        }
        self
    }
}

/// SQLSTATE of a null in a column that takes none.
const REQUIRED: &str = "23502";

/// SQLSTATEs of rows that a constraint, an index or a trigger rejects. Tidegate creates none that can reject its own rows.
const RULES: [&str; 5] = ["23503", "23505", "23514", "23P01", "P0001"];

/// SQLSTATEs of statements that do not fit the table: undefined column, table, schema, function (or operator), object; a wrong type;
/// a taken name; no unique index for the key; a binary value that is none of the column's type.
const ALTERED: [&str; 10] = ["42703", "42P01", "3F000", "42883", "42704", "42804", "42P07", "42P10", "22P03", "0A000"];

/// The SQLSTATE of what Postgres said.
pub(crate) fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(Cow::into_owned)
}

/// Whether a database error is likely to pass: the connection broke, the server restarts, is full or busy.
pub(crate) fn passes(error: &sqlx::Error) -> bool {
    match error {
        error if session::is_lost(error) => true,
        // connection, resources, operator intervention, transaction rollback, lock timeout, silent within a transaction
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "53", "57", "40"].iter().any(|class| code.starts_with(class)) || code == "55P03" || code == "25P03"
        }),
        _ => false,
    }
}
