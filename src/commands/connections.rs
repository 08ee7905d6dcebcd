//! `tidegate connections`: each connection with its account and what was loaded; `connections forget` removes it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{Connection as _, PgConnection};

use super::failure::{CommandError, say};
use super::output::{self, Table};
use super::{ConnectionsArgs, Context, Exit, ForgetArgs, names, reset, show};
use crate::config::Config;
use crate::connector::all_streams;
use crate::schedule;
use crate::store::account::{self, KnownConnection};
use crate::store::forget::{self, LoadedTable};
use crate::store::stream_cursor::{self, StreamCursor};
use crate::text::plain;

#[derive(Debug, Serialize)]
struct Document {
    at: DateTime<Utc>,
    connections: Vec<Entry>,
}

/// A connection that is configured, or that was read once.
#[derive(Debug, Serialize)]
struct Entry {
    connection: String,
    /// `None` if the connection is no longer configured and has no pinned account.
    vendor: Option<String>,
    /// Whether it is in the configuration.
    configured: bool,
    /// The parts of the account that it is pinned to, without secrets.
    account: BTreeMap<String, String>,
    /// When it was first read, and pinned to its account; `None` if nothing was read.
    pinned_at: Option<DateTime<Utc>>,
    last_success_at: Option<DateTime<Utc>>,
    /// The streams that were ever begun.
    streams: Vec<Loaded>,
}

/// What was read of one stream.
#[derive(Debug, Serialize)]
struct Loaded {
    stream: String,
    table: String,
    /// Whether a configured job reads it.
    configured: bool,
    slices: i64,
    /// Number of rows in finished slices.
    rows: i64,
    first_window_start: Option<DateTime<Utc>>,
    read_until: Option<DateTime<Utc>>,
    last_success_at: Option<DateTime<Utc>>,
}

pub(crate) async fn list(context: Context, args: ConnectionsArgs) -> anyhow::Result<Exit> {
    let document = context
        .with_schema(async |_, conn| {
            let at = schedule::clock(conn).await?;
            let pinned = account::list(conn).await?;
            let cursors = stream_cursor::list(conn).await?;
            Ok(Document { at, connections: entries(&context.config, pinned, cursors) })
        })
        .await?;
    output::print_document(args.json, &document, || {
        if document.connections.is_empty() {
            return format!("no connection is configured; {}\n", show::SAMPLES);
        }
        table(&document) + &loaded(&document)
    })?;
    Ok(Exit::Done)
}

/// All connections that are configured, pinned or were read, by name.
fn entries(config: &Config, pinned: Vec<KnownConnection>, cursors: Vec<StreamCursor>) -> Vec<Entry> {
    let mut entries: BTreeMap<String, Entry> = config
        .connections
        .values()
        .map(|connection| {
            let vendor = Some(connection.vendor().name().to_owned());
            (connection.name.clone(), Entry { vendor, configured: true, ..Entry::named(&connection.name) })
        })
        .collect();
    for known in pinned {
        let entry = entries.entry(known.connection.clone()).or_insert_with(|| Entry::named(&known.connection));
        entry.vendor = Some(known.vendor);
        entry.account = known.account;
        entry.pinned_at = known.first_read_at;
    }
    let read = config.streams_read();
    for cursor in cursors {
        let entry = entries.entry(cursor.connection.clone()).or_insert_with(|| Entry::named(&cursor.connection));
        entry.last_success_at = entry.last_success_at.max(cursor.last_success_at);
        entry.streams.push(Loaded {
            configured: read.contains(&(cursor.connection.as_str(), cursor.stream.as_str())),
            stream: cursor.stream,
            table: cursor.table,
            slices: cursor.slices_finished,
            rows: cursor.rows,
            first_window_start: cursor.first_window_start,
            read_until: cursor.read_until,
            last_success_at: cursor.last_success_at,
        });
    }
    entries.into_values().collect()
}

impl Entry {
    /// A connection of which only the name is known.
    fn named(name: &str) -> Self {
        Self {
            connection: name.to_owned(),
            vendor: None,
            configured: false,
            account: BTreeMap::new(),
            pinned_at: None,
            last_success_at: None,
            streams: Vec::new(),
        }
    }
}

fn table(document: &Document) -> String {
    let mut table = Table::new().left(&["CONNECTION", "VENDOR", "CONFIGURED"]).right(&["STREAMS", "ROWS"]).left(&[
        "LAST SUCCESS",
        "FIRST READ",
        "ACCOUNT",
    ]);
    for entry in &document.connections {
        let account: Vec<String> = entry.account.iter().map(|(name, value)| format!("{name} {value}")).collect();
        table.row([
            entry.connection.clone(),
            show::text(entry.vendor.as_deref()),
            yes_or_no(entry.configured),
            entry.streams.len().to_string(),
            entry.streams.iter().map(|stream| stream.rows).sum::<i64>().to_string(),
            show::moment_or_nothing(entry.last_success_at, document.at),
            entry.pinned_at.map_or_else(|| show::NOTHING.to_owned(), show::time),
            show::text(Some(&account.join(", "))),
        ]);
    }
    table.show()
}

/// The table of the streams of all connections; empty if no stream was begun.
fn loaded(document: &Document) -> String {
    let mut table = Table::new()
        .left(&["CONNECTION", "STREAM", "TABLE", "CONFIGURED"])
        .right(&["SLICES", "ROWS"])
        .left(&["FROM", "READ UNTIL", "LAST SUCCESS"]);
    for entry in &document.connections {
        for stream in &entry.streams {
            table.row([
                entry.connection.clone(),
                stream.stream.clone(),
                stream.table.clone(),
                yes_or_no(stream.configured),
                stream.slices.to_string(),
                stream.rows.to_string(),
                stream.first_window_start.map_or_else(|| show::NOTHING.to_owned(), show::time),
                stream.read_until.map_or_else(|| show::NOTHING.to_owned(), show::time),
                show::moment_or_nothing(stream.last_success_at, document.at),
            ]);
        }
    }
    if table.is_empty() { String::new() } else { format!("\nLoaded\n{}", table.show()) }
}

fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

/// What was forgotten, or would be.
#[derive(Debug, Serialize)]
struct Forgotten {
    connection: String,
    /// Rows of the warehouse, by table. They are deleted only with `--rows`.
    tables: Vec<TableRows>,
    rows_deleted: bool,
}

#[derive(Debug, Serialize)]
struct TableRows {
    table: String,
    rows: i64,
}

pub(crate) async fn forget(context: Context, args: ForgetArgs) -> anyhow::Result<Exit> {
    context.require_cluster()?;
    let ask = !args.yes && !args.json && io::stdin().is_terminal() && io::stderr().is_terminal();
    if ask {
        let planned = forget_in(&context, &args, false).await?;
        let question = format!("{}forget it? [y/N] ", text(&planned));
        if !reset::confirmed(&context, &question).await? {
            say("nothing was done\n");
            return Ok(Exit::Failed);
        }
    }
    let done = forget_in(&context, &args, true).await?;
    output::print_document(args.json, &done, || text(&done))?;
    Ok(Exit::Done)
}

/// Has no deadline, because deleting many rows can take long; an interrupt stops it.
async fn forget_in(context: &Context, args: &ForgetArgs, commit: bool) -> anyhow::Result<Forgotten> {
    context
        .with_database(async |database| {
            let mut conn = database.pool.acquire().await?;
            super::context::require_schema(&mut conn).await?;
            forget_connection(&mut conn, args, commit).await
        })
        .await
}

async fn forget_connection(conn: &mut PgConnection, args: &ForgetArgs, commit: bool) -> anyhow::Result<Forgotten> {
    let name = args.name.as_str();
    let mut transaction = conn.begin().await?;
    if let Some(run) = forget::reader(&mut transaction, name).await? {
        let hint =
            "remove its jobs from the configuration or stop the daemon, wait until the run has ended, then try again";
        return Err(CommandError::failed(format!("run {run} is reading `{name}`"), hint).into());
    }
    let known = account::list(&mut transaction).await?;
    let mut tables = Vec::new();
    let schemas: Vec<String> = all_streams().iter().map(|stream| stream.schema.to_owned()).collect();
    for table in forget::tables(&mut transaction, &schemas).await? {
        let rows = rows(&mut transaction, &table, args).await?;
        if rows > 0 {
            tables.push(TableRows { table: format!("{}.{}", table.schema, table.name), rows });
        }
    }
    let forgotten = forget::connection(&mut transaction, name).await?;
    if !forgotten && tables.is_empty() {
        return Err(names::unknown("connection", name, known.iter().map(|known| known.connection.as_str())).into());
    }
    if commit {
        transaction.commit().await?;
    } else {
        transaction.rollback().await?;
    }
    Ok(Forgotten { connection: name.to_owned(), tables, rows_deleted: args.rows })
}

/// Deletes, or only counts, the connection's rows in a table.
async fn rows(conn: &mut PgConnection, table: &LoadedTable, args: &ForgetArgs) -> Result<i64, sqlx::Error> {
    if args.rows {
        return Ok(i64::try_from(forget::delete_rows(conn, table, &args.name).await?).unwrap_or(i64::MAX));
    }
    forget::count_rows(conn, table, &args.name).await
}

fn text(forgotten: &Forgotten) -> String {
    let name = plain(&forgotten.connection);
    let mut text = format!("{name}: the account, cursors and rejected records are forgotten\n");
    for TableRows { table, rows } in &forgotten.tables {
        let fate = if forgotten.rows_deleted { "deleted" } else { "stay" };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {}: {rows} rows {fate}", plain(table));
    }
    if !forgotten.rows_deleted && !forgotten.tables.is_empty() {
        text.push_str(
            "they are replaced window by window when the connection is read again, but entities that the new account does not report stay. --rows deletes all of them\n",
        );
    }
    text
}
