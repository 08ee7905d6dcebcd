//! `tidegate mart`: which columns feed the fields of the mart, and what is missing.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::output::{self, Table};
use super::{CommandError, Context, Exit, MartArgs, show};
use crate::mart::applied::{self, Applied, Difference};
use crate::mart::fields::{Kind, SOURCES, Source};
use crate::mart::relations::{RELATIONS, Relation};
use crate::mart::resolve::{self, Origin};
use crate::mart::state::{Column, Columns, State, StoredTable};
use crate::mart::unread::{self, Count};
use crate::mart::{Settings, template};
use crate::settings::closest_hint;
use crate::text::plain;

/// Columns that are listed beside a missing field.
const NEAREST_MAX: usize = 12;

#[derive(Debug, Serialize)]
struct Document {
    /// The business time zone of the views.
    timezone: &'static str,
    /// Whether rows are to be stored.
    materialize: bool,
    /// The process that applied these settings; null if none has yet.
    applied_by: Option<String>,
    applied_at: Option<DateTime<Utc>>,
    /// Settings of this configuration that the views do not have. What follows is by this configuration.
    differences: Vec<Difference>,
    /// The relations that read stored rows.
    stored: Vec<StoredTable>,
    tables: Vec<TableEntry>,
    /// Columns that the configuration names and that do not exist.
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct TableEntry {
    table: String,
    fields: Vec<FieldEntry>,
    /// Columns that feed nothing.
    unused: Vec<ColumnEntry>,
}

#[derive(Debug, Serialize)]
struct FieldEntry {
    field: &'static str,
    kind: Kind,
    /// `configured`, `found` or `missing`.
    origin: &'static str,
    /// The columns that feed it: one, and its variants.
    columns: Vec<ColumnEntry>,
    /// The column that the configuration names.
    configured: Option<String>,
    looked_for: Vec<String>,
    /// Values that are not empty in the newest rows of the table; null if they were not counted.
    values: Option<i64>,
    /// Those of them that cannot be read, and are null in the views.
    unread: Option<i64>,
    /// If it is missing: the unused columns of the table, the most similar names first.
    nearest: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ColumnEntry {
    column: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Serialize)]
struct Explained {
    relation: &'static str,
    sql: String,
}

pub(crate) async fn run(context: Context, args: MartArgs) -> anyhow::Result<Exit> {
    let relation = args.relation.as_deref().map(named).transpose()?;
    let settings = &context.config.mart;
    let (state, columns, counts) = context
        .with_schema(async |_, conn| {
            let state = State::read(conn).await?;
            let columns = state.columns();
            let counts = if relation.is_none() { unread::count(conn, &columns, settings).await? } else { Vec::new() };
            Ok((state, columns, counts))
        })
        .await?;
    if let Some(relation) = relation {
        let sql = template::expand(relation, &columns, settings)?;
        let explained = Explained { relation: relation.name, sql };
        output::print_document(args.json, &explained, || explained.sql.clone())?;
        return Ok(Exit::Done);
    }
    let applied = state.applied();
    let stored = state.stored.into_iter().filter(|table| table.is_read).collect();
    let document = document(&columns, settings, &counts, applied, stored);
    output::print_document(args.json, &document, || text(&document, args.explain))?;
    Ok(Exit::Done)
}

fn named(name: &str) -> Result<&'static Relation, CommandError> {
    Relation::named(name.strip_prefix("mart.").unwrap_or(name)).ok_or_else(|| {
        let hint = closest_hint(name, RELATIONS.iter().map(|relation| relation.name));
        CommandError::Usage(format!("unknown relation `{name}`{hint}"))
    })
}

fn document(
    columns: &Columns,
    settings: &Settings,
    counts: &[Count],
    applied: Option<Applied>,
    stored: Vec<StoredTable>,
) -> Document {
    let in_force = applied.as_ref().map_or(settings, |applied| &applied.settings);
    Document {
        timezone: in_force.timezone.name(),
        materialize: in_force.materialize,
        differences: applied::differences(in_force, settings),
        applied_at: applied.as_ref().map(|applied| applied.at),
        applied_by: applied.map(|applied| applied.by),
        stored,
        tables: SOURCES.iter().map(|source| TableEntry::new(source, columns, settings, counts)).collect(),
        warnings: warnings(columns, settings),
    }
}

/// One sentence for each column that the configuration names and that does not exist.
pub(super) fn warnings(columns: &Columns, settings: &Settings) -> Vec<String> {
    let is_there = |table: &str, name: &str| {
        columns.get(table).is_some_and(|columns| columns.iter().any(|column| column.name == name))
    };
    settings
        .columns
        .iter()
        .filter(|((table, _), column)| !is_there(table, column))
        .map(|((table, field), column)| {
            let known = columns.get(table).into_iter().flatten().map(|column| &*column.name);
            let hint = closest_hint(column, known);
            format!(
                "mart.fields.{table}.{field}: {table} has no column `{column}`, so the field is null until it has{hint}"
            )
        })
        .collect()
}

impl TableEntry {
    fn new(source: &'static Source, columns: &Columns, settings: &Settings, counts: &[Count]) -> Self {
        let (name, unused) = (source.name(), resolve::unused(source, columns, settings));
        let fields = resolve::feeds(source, columns, settings)
            .into_iter()
            .map(|feed| {
                let looked_for: Vec<String> = match feed.configured {
                    Some(column) => vec![column.to_owned()],
                    None => feed.field.candidates.iter().map(|name| (*name).to_owned()).collect(),
                };
                let is_missing = feed.origin == Origin::Missing;
                let count = counts.iter().find(|count| count.table == name && count.field == feed.field.name);
                FieldEntry {
                    field: feed.field.name,
                    kind: feed.field.kind,
                    origin: feed.origin.word(),
                    columns: feed.columns.iter().map(|column| ColumnEntry::new(column)).collect(),
                    configured: feed.configured.map(ToOwned::to_owned),
                    nearest: if is_missing { nearest(&looked_for, &unused) } else { Vec::new() },
                    looked_for,
                    values: count.map(|count| count.values),
                    unread: count.map(|count| count.unread),
                }
            })
            .collect();
        Self { table: name, fields, unused: unused.into_iter().map(ColumnEntry::new).collect() }
    }
}

impl ColumnEntry {
    fn new(column: &Column) -> Self {
        Self { column: column.name.clone(), kind: column.kind.clone() }
    }
}

/// The columns, the most similar to any of the wanted names first.
fn nearest(wanted: &[String], columns: &[&Column]) -> Vec<String> {
    let likeness = |name: &str| {
        let of = wanted.iter().map(|wanted| (strsim::jaro_winkler(wanted, name) * 1000.0).round());
        of.fold(0.0, f64::max)
    };
    let mut names: Vec<&str> = columns.iter().map(|column| &*column.name).collect();
    names.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)).then(a.cmp(b)));
    names.into_iter().map(ToOwned::to_owned).collect()
}

fn text(document: &Document, explain: bool) -> String {
    let mut table = Table::new().left(&["TABLE", "FIELD", "KIND", "COLUMN", "TYPE", "HOW"]);
    for entry in &document.tables {
        for field in &entry.fields {
            let joined = |of: fn(&ColumnEntry) -> &str| {
                let all: Vec<&str> = field.columns.iter().map(of).collect();
                if all.is_empty() { show::NOTHING.to_owned() } else { all.join(", ") }
            };
            table.row([
                entry.table.clone(),
                field.field.to_owned(),
                field.kind.word().to_owned(),
                joined(|column| &column.column),
                joined(|column| &column.kind),
                match &field.configured {
                    Some(column) if field.columns.is_empty() => format!("missing: `{column}` is configured"),
                    _ => field.origin.to_owned(),
                },
            ]);
        }
    }
    let (stored, differing) = (stored(document), differing(document));
    let mut text = format!("days are those of {}\n{stored}{differing}\n{}", document.timezone, table.show());
    let missing =
        document.tables.iter().flat_map(|entry| &entry.fields).filter(|field| field.columns.is_empty()).count();
    if missing > 0 {
        let hint = if explain { "" } else { "; `tidegate mart --explain` shows what was looked for" };
        let fields = if missing == 1 { "1 field is".to_owned() } else { format!("{missing} fields are") };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n{fields} missing, and null in the views{hint}");
    }
    for entry in &document.tables {
        text.push_str(&unread(entry));
    }
    let is_uncounted =
        |field: &FieldEntry| field.kind != Kind::Text && !field.columns.is_empty() && field.values.is_none();
    let uncounted: Vec<&str> = document
        .tables
        .iter()
        .filter(|entry| entry.fields.iter().any(is_uncounted))
        .map(|entry| &*entry.table)
        .collect();
    if !uncounted.is_empty() {
        let tables = uncounted.join(", ");
        let _ = writeln!(text, "\nnot looked for values that cannot be read, which would take too long: {tables}");
    }
    if explain {
        for entry in &document.tables {
            text.push_str(&explained(entry));
        }
    }
    for warning in &document.warnings {
        let _ = writeln!(text, "\nwarning: {}", plain(warning));
    }
    text
}

/// The fields of a table with values that cannot be read, and what to do.
fn unread(entry: &TableEntry) -> String {
    let mut text = String::new();
    let table = &entry.table;
    for field in &entry.fields {
        let (Some(values), Some(unread @ 1..), Some(column)) = (field.values, field.unread, field.columns.first())
        else {
            continue;
        };
        let _ = writeln!(
            text,
            "\n{table}: {}: of {values} values of `{}` in the newest rows (at most {}), {unread} cannot be read and are null\n  readable    {}\n  \
             remedy      name another column in `mart.fields.{table}`, or state the column's type in `types` of the job",
            field.field,
            plain(&column.column),
            unread::ROWS_MAX,
            field.kind.readable(),
        );
    }
    text
}

/// The settings of this configuration that the views do not have, if there are any.
fn differing(document: &Document) -> String {
    if document.differences.is_empty() {
        return String::new();
    }
    let by = document.applied_by.as_deref().map(plain).unwrap_or_default();
    let at = document.applied_at.map(show::time).unwrap_or_default();
    let mut text =
        format!("\nthe views have the settings that {by} applied at {at}; those of this configuration differ:\n");
    let mut table = Table::new().left(&["SETTING", "IN FORCE", "IN THIS CONFIGURATION"]);
    for found in &document.differences {
        let [in_force, configured] = [&found.in_force, &found.configured].map(|value| show::text(value.as_deref()));
        table.row([found.setting.clone(), in_force, configured]);
    }
    text.push_str(&table.show());
    text.push_str("`tidegate migrate`, and the start of a daemon, apply the settings of their configuration\n");
    text.push_str("the fields below follow this configuration, not the settings in force\n");
    text
}

/// One line about the age of stored rows, if there are any or should be.
fn stored(document: &Document) -> String {
    match document.stored.iter().map(|table| table.age_seconds).max() {
        Some(oldest) => {
            format!("rows of {} relations are stored, the oldest {} ago\n", document.stored.len(), show::span(oldest))
        }
        None if document.materialize => "no rows are stored yet: `run` and `sync` do it\n".to_owned(),
        None => String::new(),
    }
}

/// What was looked for in a table, and which of its columns feed nothing.
fn explained(entry: &TableEntry) -> String {
    let mut text = String::new();
    let table = &entry.table;
    for field in entry.fields.iter().filter(|field| field.columns.is_empty()) {
        let near: Vec<String> = field.nearest.iter().take(NEAREST_MAX).map(|name| plain(name)).collect();
        let near = if near.is_empty() { "no other column".to_owned() } else { near.join(", ") };
        let looked_for = field.looked_for.join(", ");
        let _ = writeln!(
            text,
            "\n{table}: {} is missing\n  looked for  {}\n  there is    {near}",
            field.field,
            plain(&looked_for)
        );
    }
    if !entry.unused.is_empty() {
        let unused: Vec<&str> = entry.unused.iter().map(|column| &*column.column).collect();
        let _ = writeln!(text, "\n{table}: these columns feed nothing\n  {}", plain(&unused.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_similar_columns_come_first() {
        let column = |name: &str| Column {
            name: name.to_owned(),
            kind: "text".to_owned(),
            field: None,
            variant: None,
            is_required: false,
        };
        let columns = [column("zebra"), column("create_time"), column("created")];
        let columns: Vec<&Column> = columns.iter().collect();
        assert_eq!(nearest(&["created_time".to_owned()], &columns), ["create_time", "created", "zebra"]);
    }
}
