//! How many values of the columns that feed fields cannot be converted, and so are null in the views.
//!
//! Only numbers leave the database, never a value.

use std::time::{Duration, Instant};

use sqlx::error::DatabaseError;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::Settings;
use super::fields::{Kind, SOURCES, Source};
use super::resolve::{self, Feed};
use super::state::{Column, Columns};
use crate::store::ident::{literal, table as qualified};
use crate::store::session::Deadline as _;

/// Rows of a table that are looked at: the newest.
pub const ROWS_MAX: u32 = 1_000;
/// The newest rows are found by reading the table, which may be large.
const STATEMENT_MAX: Duration = Duration::from_secs(4);
/// After this time, no further table is looked at: a command that only shows must not take long.
const ALL_MAX: Duration = Duration::from_secs(12);
/// SQLSTATE of a statement that the server ended.
const TOO_LONG: &str = "57014";

/// The values of a field in the newest rows of its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    pub table: String,
    pub field: &'static str,
    /// Those that are not empty, in rows where the views convert them.
    pub values: i64,
    /// Those of them that are null in the views.
    pub unread: i64,
}

/// The counts of every field that a column feeds and whose values are converted. A table that would take too long has
/// none.
pub async fn count(
    connection: &mut PgConnection,
    columns: &Columns,
    settings: &Settings,
) -> Result<Vec<Count>, sqlx::Error> {
    let (begun, mut counts) = (Instant::now(), Vec::new());
    for source in SOURCES {
        let all = resolve::feeds(source, columns, settings);
        let feeds: Vec<&Feed<'_>> =
            all.iter().filter(|feed| feed.field.kind != Kind::Text && !feed.columns.is_empty()).collect();
        if feeds.is_empty() || begun.elapsed() > ALL_MAX {
            continue;
        }
        let there = columns.get(&source.name()).map(Vec::as_slice).unwrap_or_default();
        let Some(numbers) = ask(connection, statement(source, &all, &feeds, there)).await? else { continue };
        counts.extend(feeds.iter().zip(numbers.chunks_exact(2)).map(|(feed, numbers)| Count {
            table: source.name(),
            field: feed.field.name,
            values: numbers.first().copied().unwrap_or_default(),
            unread: numbers.last().copied().unwrap_or_default(),
        }));
    }
    Ok(counts)
}

/// The statement's numbers, or `None` if it takes too long.
async fn ask(connection: &mut PgConnection, statement: String) -> Result<Option<Vec<i64>>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let limit = format!("set local statement_timeout = {}", STATEMENT_MAX.as_millis());
    sqlx::raw_sql(AssertSqlSafe(limit)).execute(&mut *transaction).await?;
    let asked = sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(&mut *transaction).in_time().await;
    transaction.rollback().await?;
    match asked {
        Ok(numbers) => Ok(Some(numbers)),
        Err(error) if error.as_database_error().and_then(DatabaseError::code).as_deref() == Some(TOO_LONG) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Two numbers for each of `feeds`, which are some of `all` feeds of the table.
fn statement(source: &Source, all: &[Feed<'_>], feeds: &[&Feed<'_>], there: &[Column]) -> String {
    let numbers = feeds.iter().map(|feed| {
        let texts: Vec<String> = feed
            .columns
            .iter()
            .map(|column| format!("btrim({}, E' \\t\\r\\n') <> ''", resolve::as_text(column)))
            .collect();
        // Null, as for no value, is not true.
        let is_there = format!("({}){}", texts.join(" or "), condition(feed, all));
        let value = resolve::expression(feed);
        format!("count(*) filter (where {is_there}), count(*) filter (where {is_there} and {value} is null)")
    });
    let order = if there.iter().any(|column| column.name == "_loaded_at") { " order by _loaded_at desc" } else { "" };
    format!(
        "select array[{}] from (select * from {}{order} limit {ROWS_MAX}) t",
        numbers.collect::<Vec<_>>().join(", "),
        qualified(source.schema, source.table)
    )
}

/// The rows in which the views convert the value, as a further condition. Empty for all rows.
fn condition(feed: &Feed<'_>, all: &[Feed<'_>]) -> String {
    let Some((name, values)) = feed.field.only_where else { return String::new() };
    let Some(other) = all.iter().find(|other| other.field.name == name) else { return String::new() };
    let values: Vec<String> = values.iter().map(|value| literal(value)).collect();
    format!(" and lower({}) in ({})", resolve::expression(other), values.join(", "))
}
