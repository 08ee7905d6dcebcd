//! `tidegate streams`: the catalogue, with the extra reports of the configuration and, on request, the columns that
//! were created from the data.

use std::fmt::Write as _;

use serde::Serialize;

use super::output::{self, Table};
use super::suggest::{self, Suggestion};
use super::{Context, Exit, StreamsArgs, dbt, names};
use crate::catalogue::{Key, Mode, Stream, Vendor, column_name};
use crate::config::Config;
use crate::connector;
use crate::store::history::{self, DiscoveredColumn};
use crate::text::plain;

/// A note about the columns that every table has.
const COMMON_COLUMNS: &str = "\
Every table also has _connection, _window_start (windowed streams), _extra (fields without a column and values that do
not fit theirs), _run_id and _loaded_at (what last changed the row), and _deleted_at (lists).
";

#[derive(Debug, Serialize)]
struct Document {
    streams: Vec<Entry>,
}

#[derive(Debug, Serialize)]
pub(super) struct Entry {
    pub(super) vendor: &'static str,
    pub(super) stream: String,
    pub(super) table: String,
    meaning: String,
    vendor_id: String,
    mode: &'static str,
    /// Column names, in order.
    key: Vec<String>,
    cursor: &'static str,
    off_by_default: bool,
    /// Whether the vendor documents the columns. Otherwise they are created from the data.
    documented: bool,
    columns: Vec<Column>,
    /// Only if the database was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    discovered: Option<Vec<DiscoveredColumn>>,
    /// Only if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) suggested: Option<Vec<Suggestion>>,
}

#[derive(Debug, Serialize)]
struct Column {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    field: String,
    meaning: String,
}

pub(crate) async fn run(context: Context, args: StreamsArgs) -> anyhow::Result<Exit> {
    let only = args.vendor.as_deref().map(names::vendor).transpose()?;
    if args.dbt {
        output::print(&dbt::sources(&context.config, &streams(&context.config, only), only))?;
        return Ok(Exit::Done);
    }
    let mut streams: Vec<Entry> = streams(&context.config, only).iter().map(Entry::new).collect();
    if args.discovered {
        let found = context.with_schema(async |_, conn| Ok(history::discovered_columns(conn).await?)).await?;
        for entry in &mut streams {
            let here =
                |column: &&DiscoveredColumn| format!("{}.{}", column.table_schema, column.table_name) == entry.table;
            entry.discovered = Some(found.iter().filter(here).cloned().collect());
        }
    }
    if args.suggest {
        streams.retain(|entry| entry.discovered.as_ref().is_some_and(|columns| !columns.is_empty()));
        for entry in &mut streams {
            let columns = entry.discovered.as_deref().unwrap_or_default();
            let types = context.with_schema(async |_, conn| Ok(suggest::types(conn, columns).await?)).await?;
            entry.suggested = Some(types);
        }
        if !args.json {
            output::print(&suggest::block(&streams))?;
            return Ok(Exit::Done);
        }
    }
    let document = Document { streams };
    let is_full = only.is_some() || args.discovered;
    output::print_document(args.json, &document, || if is_full { full(&document) } else { overview(&document) })?;
    Ok(Exit::Done)
}

/// The compiled-in streams, then those that connections add. A stream of several connections is listed once.
fn streams(config: &Config, only: Option<Vendor>) -> Vec<Stream> {
    let mut streams: Vec<Stream> = Vec::new();
    for connector in connector::ALL.iter().filter(|connector| only.is_none_or(|only| only == connector.vendor)) {
        let vendor = connector.vendor;
        let configured = config.connections.values().filter(|connection| connection.vendor() == vendor);
        let added = configured.flat_map(|connection| &connection.streams).map(|stream| Stream::clone(stream));
        for stream in (connector.streams)().into_iter().chain(added) {
            if !streams.iter().any(|other| (other.schema, &other.name) == (stream.schema, &stream.name)) {
                streams.push(with_key(stream, config));
            }
        }
    }
    streams
}

/// The stream with the key that a job states for its table, if one does.
fn with_key(stream: Stream, config: &Config) -> Stream {
    let mut read = config.jobs.values().flat_map(|job| &job.streams).map(|read| &read.stream);
    let key = read.find(|read| (read.schema, &read.name) == (stream.schema, &stream.name)).map(|read| read.key.clone());
    Stream { key: key.unwrap_or_else(|| stream.key.clone()), ..stream }
}

impl Entry {
    fn new(stream: &Stream) -> Self {
        let mut key: Vec<String> = stream.primary_key().into_iter().map(ToOwned::to_owned).collect();
        if let Key::Fields(fields) = &stream.key {
            key.retain(|column| column != "_row_key");
            key.extend(fields.iter().map(|field| column_name(field)));
        }
        let columns = stream.columns.iter().map(|column| Column {
            name: column.name.clone().into_owned(),
            kind: column.kind.sql(),
            field: column.field.clone().into_owned(),
            meaning: column.meaning.clone().into_owned(),
        });
        Self {
            vendor: stream.vendor.name(),
            stream: stream.name.clone().into_owned(),
            table: format!("{}.{}", stream.schema, stream.name),
            meaning: stream.meaning.clone().into_owned(),
            vendor_id: stream.vendor_id.clone().into_owned(),
            mode: mode(stream.mode),
            key,
            cursor: if stream.windowed() {
                "time windows, and a page within one"
            } else {
                "the whole list, and a page of it"
            },
            off_by_default: stream.off_by_default,
            documented: stream.documented,
            columns: columns.collect(),
            discovered: None,
            suggested: None,
        }
    }
}

const fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::ReplaceWindow => "replace_window",
        Mode::Upsert => "upsert",
        Mode::Snapshot => "snapshot",
        Mode::Observe => "observe",
    }
}

fn overview(document: &Document) -> String {
    let mut table = Table::new().left(&["VENDOR", "STREAM", "TABLE", "MODE", "COLUMNS", "MEANING"]);
    for entry in &document.streams {
        table.row([
            entry.vendor.to_owned(),
            entry.stream.clone(),
            entry.table.clone(),
            entry.mode.to_owned(),
            if entry.documented { entry.columns.len().to_string() } else { "from data".to_owned() },
            entry.meaning.clone(),
        ]);
    }
    format!("{}\n`tidegate streams VENDOR` shows keys, cursors and columns\n", table.show())
}

fn full(document: &Document) -> String {
    let mut text = String::new();
    for entry in &document.streams {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} ({}): {}", plain(&entry.stream), entry.vendor, plain(&entry.meaning));
        let _ = writeln!(text, "  table   {}, {}", plain(&entry.table), entry.mode);
        let _ = writeln!(text, "  key     {}", plain(&entry.key.join(", ")));
        let _ = writeln!(text, "  cursor  {}", entry.cursor);
        if entry.off_by_default {
            text.push_str("  off by default: to read it, name it in a job\n");
        }
        if !entry.documented {
            text.push_str("  columns are created for the fields of the data; `--discovered` lists them\n");
        }
        for line in columns(entry).lines() {
            let _ = writeln!(text, "  {line}");
        }
        text.push('\n');
    }
    text.push_str(COMMON_COLUMNS);
    text
}

fn columns(entry: &Entry) -> String {
    let mut table = Table::new().left(&["COLUMN", "TYPE", "FIELD", "MEANING"]);
    for column in &entry.columns {
        table.row([column.name.clone(), column.kind.to_owned(), column.field.clone(), column.meaning.clone()]);
    }
    for column in entry.discovered.iter().flatten() {
        let day = column.added_at.format("%Y-%m-%d");
        let since = if column.variant.is_empty() {
            format!("created for a new field on {day}")
        } else {
            format!("created on {day} for values that do not fit the field's column")
        };
        table.row([column.name.clone(), column.kind.clone(), column.field.clone(), since]);
    }
    if table.is_empty() { String::new() } else { table.show() }
}
