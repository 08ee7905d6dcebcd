//! From rows to tables: copies rows from [`crate::rows`] into a staging table or directly into their table, merges what
//! is staged, and moves the cursor, all in one transaction. Knows no HTTP.

mod apart_sql;
mod child_sql;
mod copy;
mod counts;
mod create;
pub mod divide;
mod duplicate_sql;
mod duplicates;
mod end_reading;
pub mod fill;
mod grow;
mod hold;
pub mod key;
pub mod loader;
mod locked_out;
mod mend;
mod merge;
mod number_column;
mod partition;
mod replace;
mod shape;
pub mod sql;
mod stage;
mod statement;
mod storage;
pub mod table;
mod time_index;
pub mod transaction;
mod unchanged;
pub mod upkeep;

use std::borrow::Cow;

use sqlx::postgres::PgDatabaseError;

pub use self::create::{ColumnDefinition, Definition};
pub use self::locked_out::LockedTables;
use crate::store::session;

/// Why rows could not be loaded into their table.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("this worker no longer holds the run or the stream; nothing of this page was kept")]
    Fenced,
    #[error("the slice was moved by another worker; nothing of this page was kept")]
    Moved,
    #[error(
        "the list of rows that were seen is lost, probably because Postgres crashed; nothing of this page was kept"
    )]
    SeenLost,
    #[error("rows that were left out as unchanged moved within the slice; nothing of this page was kept")]
    Rearranged,
    #[error("{}", session::summary(.0))]
    Database(#[from] sqlx::Error),
    #[error("table {table} was altered while it was loaded: {detail}; nothing of this page was kept")]
    Altered { table: String, detail: String },
    /// The rows can be loaded without further columns.
    #[error(
        "table {table} cannot get a new column, because another session has locked it; nothing of this page was kept"
    )]
    Locked { table: String },
    #[error("table {table} cannot be loaded: {what}; repair it with `{remedy}`")]
    Unfit { table: String, what: String, remedy: String },
    #[error("the rows of {table} are identified by {has}, but the job identifies them by {wanted}")]
    Key { table: String, has: String, wanted: String },
    #[error("{table} is {what}, but must be a table: rename it or drop it")]
    NotATable { table: String, what: &'static str },
    #[error("{rule} of table {table} rejected a row (SQLSTATE {code})")]
    Rule { table: String, rule: String, code: String },
    #[error("column {column} of table {table} does not allow null, has no default, and the record has no value for it")]
    Required { table: String, column: String },
}

impl LoadError {
    /// Names the table if its structure could not be changed because another session has locked it.
    #[must_use]
    fn or_locked(self, table: &table::Table) -> Self {
        match self {
            Self::Database(error) if code(&error).as_deref() == Some(LOCK_TIMEOUT) => {
                Self::Locked { table: format!("{}.{}", table.schema, table.name) }
            }
            other => other,
        }
    }

    /// Names the table and the column in an error whose cause is the table's definition.
    #[must_use]
    pub fn about(self, table: &str) -> Self {
        let Self::Database(sqlx::Error::Database(error)) = &self else { return self };
        let code = error.code().unwrap_or_default();
        let reported = error.try_downcast_ref::<PgDatabaseError>();
        if code == REQUIRED
            && let Some(column) = reported.and_then(PgDatabaseError::column)
        {
            let column = column.to_owned();
            let found = reported.and_then(|error| Some(format!("{}.{}", error.schema()?, error.table()?)));
            return Self::Required { table: found.unwrap_or_else(|| table.to_owned()), column };
        }
        let rule = reported.and_then(PgDatabaseError::constraint);
        // A row for which there is no partition violates no constraint, and names the table.
        let has_no_partition = rule.is_none() && reported.is_some_and(|error| error.table().is_some());
        if code == CHECK && (has_no_partition || rule.is_some_and(|rule| rule.starts_with(divide::CONSTRAINT))) {
            let detail = "a partition of it was dropped, or it is being divided into partitions".to_owned();
            return Self::Altered { table: table.to_owned(), detail };
        }
        let is_theirs = reported.and_then(PgDatabaseError::schema).is_none_or(|schema| schema != "tidegate");
        if (RULES.contains(&&*code) || code == REQUIRED) && is_theirs {
            let named = reported.and_then(|error| Some(format!("{}.{}", error.schema()?, error.table()?)));
            return Self::Rule {
                table: named.unwrap_or_else(|| table.to_owned()),
                // Citus does not say which constraint of a node's table it was.
                rule: match rule {
                    Some(name) => format!("constraint {name}"),
                    None if code == RAISED => "a trigger".to_owned(),
                    None => "a constraint or trigger".to_owned(),
                },
                code: code.into_owned(),
            };
        }
        if ALTERED.contains(&&*code) {
            // Postgres's messages about names and types contain no values.
            let detail = format!("{} (SQLSTATE {code})", error.message());
            return Self::Altered { table: table.to_owned(), detail };
        }
        self
    }
}

/// SQLSTATE of a null in a column that is not nullable.
const REQUIRED: &str = "23502";

/// SQLSTATE of a row that a check constraint or a domain rejects, or that no partition takes.
const CHECK: &str = "23514";

/// SQLSTATEs of rows that a constraint, an index or a trigger rejects. Tidegate creates none that could reject its own
/// rows.
const RULES: [&str; 5] = ["23503", "23505", "23514", "23P01", RAISED];
/// SQLSTATE of an error that a trigger raises.
const RAISED: &str = "P0001";

/// SQLSTATEs of statements that do not fit the table: undefined column, table, schema, function (or operator), object;
/// a wrong type; a duplicate name; no unique index for the key; a binary value that is invalid for the column's type.
const ALTERED: [&str; 10] = ["42703", "42P01", "3F000", "42883", "42704", "42804", "42P07", "42P10", "22P03", "0A000"];

/// SQLSTATE of a lock that was not granted in time.
pub(crate) const LOCK_TIMEOUT: &str = "55P03";

/// The SQLSTATE of an error that Postgres returned.
pub(crate) fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(Cow::into_owned)
}

/// SQLSTATEs of a database that does not accept a connection: its connections are switched off, it is being restored or
/// renamed, or the password is being changed.
const NOT_ACCEPTED: [&str; 4] = ["55000", "3D000", "28000", "28P01"];

/// Whether a database error is likely to be temporary: a broken connection, or a server that restarts, is full, busy or
/// does not accept connections.
pub(crate) fn passes(error: &sqlx::Error) -> bool {
    match error {
        error if session::is_lost(error) => true,
        // connection, resources, operator intervention, transaction rollback, lock timeout, idle-in-transaction timeout
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "53", "57", "40"].iter().any(|class| code.starts_with(class))
                || NOT_ACCEPTED.contains(&&*code)
                || code == "55P03"
                || code == "25P03"
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_kit::PostgresError;

    #[test]
    fn a_row_that_a_node_of_citus_rejects_is_reported_without_the_name_of_the_constraint() {
        for (code, rule) in
            [("23502", "a constraint or trigger"), ("23514", "a constraint or trigger"), ("P0001", "a trigger")]
        {
            let error = LoadError::Database(PostgresError(code).into()).about("lynn.navigation_marks");
            let expected = format!("{rule} of table lynn.navigation_marks rejected a row (SQLSTATE {code})");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn p12_a_database_that_does_not_accept_connections_is_a_temporary_error() {
        let passes = |code| passes(&PostgresError(code).into());
        for code in ["55000", "3D000", "28000", "28P01", "57P03", "53300", "08006", "40001", "55P03"] {
            assert!(passes(code), "{code}");
        }
        for code in ["42703", "42501", "23505", "22P03", "P0001"] {
            assert!(!passes(code), "{code}");
        }
    }
}
