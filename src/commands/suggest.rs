//! `tidegate streams --discovered --suggest`: suggests types for a job's `types:` from the values in the tables.

use std::fmt::Write as _;

use futures_util::TryStreamExt as _;
use serde::Serialize;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

use super::streams::Entry;
use crate::catalogue::ColumnType;
use crate::rows::encode::{self, Encoded, Trust};
use crate::store::history::DiscoveredColumn;
use crate::store::ident::{quote, table as qualified};
use crate::text::plain;

/// Maximum number of rows of a table to read.
const ROWS_MAX: i64 = 100_000;
/// Time limit for a table. If it takes longer, its current types are suggested.
const TABLE_TIMEOUT: &str = "10s";

/// The types that the values of a text column may have, from the narrowest to the widest.
const CANDIDATES: [ColumnType; 5] =
    [ColumnType::Boolean, ColumnType::Bigint, ColumnType::Double, ColumnType::Numeric, ColumnType::Timestamptz];

/// The suggested type of a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Suggestion {
    pub(super) field: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    /// The current type of its column.
    pub(super) now: String,
    /// The reason, if it is not the current type of the column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
}

/// A column of text, and the types that its values may have.
struct Judge<'c> {
    column: &'c DiscoveredColumn,
    candidates: Vec<ColumnType>,
    values: u64,
}

impl Judge<'_> {
    fn look(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.values += 1;
        let raw = serde_json::Value::from(text).to_string();
        self.candidates.retain(|kind| {
            let fits = |trust, raw: &str| {
                !matches!(encode::value(*kind, trust, raw, &mut Vec::new()), Encoded::Misfit | Encoded::Nearest)
            };
            // No digit may be lost.
            fits(Trust::Stated, &raw) && (*kind != ColumnType::Double || fits(Trust::Inferred, text))
        });
    }

    fn narrowest(&self) -> Option<ColumnType> {
        self.candidates.first().copied().filter(|_| self.values > 0)
    }
}

/// Types for the fields of one table's columns.
pub(super) async fn types(
    connection: &mut PgConnection,
    columns: &[DiscoveredColumn],
) -> Result<Vec<Suggestion>, sqlx::Error> {
    let texts = columns.iter().filter(|column| column.exists && column.kind == ColumnType::Text.sql());
    let mut judges: Vec<Judge<'_>> =
        texts.map(|column| Judge { column, candidates: CANDIDATES.to_vec(), values: 0 }).collect();
    let seen = look_at(connection, &mut judges).await?;
    let own = columns.iter().filter(|column| column.variant.is_empty());
    Ok(own.map(|column| closest_hint(column, columns, &judges, seen)).collect())
}

/// Reads values. Returns `false` if the table takes too long.
async fn look_at(connection: &mut PgConnection, judges: &mut [Judge<'_>]) -> Result<bool, sqlx::Error> {
    let Some(first) = judges.first() else { return Ok(true) };
    let table = qualified(&first.column.table_schema, &first.column.table_name);
    let names: Vec<String> = judges.iter().map(|judge| quote(&judge.column.name)).collect();
    let mut transaction = connection.begin().await?;
    let bounds = format!("set transaction read only; set local statement_timeout = '{TABLE_TIMEOUT}'");
    sqlx::raw_sql(AssertSqlSafe(bounds)).execute(&mut *transaction).await?;
    let statement = format!("select {} from {table} limit {ROWS_MAX}", names.join(", "));
    let mut rows = sqlx::query(AssertSqlSafe(statement)).persistent(false).fetch(&mut *transaction);
    loop {
        match rows.try_next().await {
            Ok(None) => return Ok(true),
            Ok(Some(row)) => {
                for (at, judge) in judges.iter_mut().enumerate() {
                    judge.look(row.try_get::<Option<&str>, _>(at)?.unwrap_or_default());
                }
            }
            // Cancelled by its timeout, or the table or a column is gone.
            Err(sqlx::Error::Database(error))
                if matches!(error.code().as_deref(), Some("57014" | "42P01" | "42703")) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
    }
}

fn closest_hint(column: &DiscoveredColumn, all: &[DiscoveredColumn], judges: &[Judge<'_>], seen: bool) -> Suggestion {
    let judge = |column: &DiscoveredColumn| judges.iter().find(|judge| judge.column.name == column.name);
    let variant = |name: &str| all.iter().find(|other| other.field == column.field && other.variant == name);
    let is_text = column.kind == ColumnType::Text.sql();
    let (mut kind, mut note) = (ColumnType::from_sql(&column.kind).unwrap_or(ColumnType::Text), None);
    if is_text && !column.exists {
        note = Some("the column was dropped, so its values are not known".to_owned());
    } else if is_text && !seen {
        note = Some("not examined: reading the table took too long".to_owned());
    } else if is_text && let Some(narrowest) = judge(column).and_then(Judge::narrowest) {
        kind = narrowest;
        note = Some(format!("{} is text now; drop the column, and it is created again", column.name));
    } else if let Some(numeric) = variant("numeric") {
        kind = ColumnType::Numeric;
        note = Some(format!(
            "{} has the values that do not fit {}; drop both to get one column",
            numeric.name, column.name
        ));
    } else if let Some(text) = variant("text")
        && let Some(judge) = judge(text).filter(|judge| judge.values > 0)
    {
        note = Some(if judge.candidates.contains(&kind) {
            format!("then {} gets the values that go to {} now", column.name, text.name)
        } else {
            // Most values have the column's own type; the others stay in its variants.
            format!("{} holds {} values of other types; `text` would keep all in one column", text.name, judge.values)
        });
    }
    Suggestion { field: column.field.clone(), kind: kind.word(), now: column.kind.clone(), note }
}

/// YAML to paste into the jobs, one entry for each stream.
pub(super) fn block(entries: &[Entry]) -> String {
    if entries.is_empty() {
        return "no column was created for new fields yet\n".to_owned();
    }
    let mut text = String::from("streams:\n");
    for entry in entries {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  - name: {}    # {}", key(&entry.stream), entry.table);
        let _ = writeln!(text, "    types:");
        for Suggestion { field, kind, note, .. } in entry.suggested.iter().flatten() {
            let note = note.as_ref().map_or_else(String::new, |note| format!("    # {}", plain(note)));
            let _ = writeln!(text, "      {}: {kind}{note}", key(field));
        }
    }
    text
}

/// A YAML key, in quotes unless it certainly needs none.
fn key(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_plain = text.len() > 3 && text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(is_word);
    let is_reserved = ["true", "false", "null"].iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_plain && !is_reserved { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}
