//! `tidegate connections`: which accounts were read under which name; `connections forget` ends that.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{Connection as _, PgConnection};

use super::failure::{CommandError, say};
use super::output::{self, Table};
use super::{ConnectionsArgs, Context, Exit, ForgetArgs, names, reset, show};
use crate::schedule;
use crate::store::account::{self, KnownConnection};
use crate::store::forget::{self, LoadedTable};
use crate::text::plain;

/// Schemas that hold rows of connections.
const SCHEMAS: [&str; 4] = ["lynn", "khoros", "lexer", "jaicp"];

#[derive(Debug, Serialize)]
struct Document {
    at: DateTime<Utc>,
    connections: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    #[serde(flatten)]
    known: KnownConnection,
    /// Whether the configuration still has it.
    configured: bool,
}

pub async fn list(context: Context, args: ConnectionsArgs) -> anyhow::Result<Exit> {
    let config = &context.config;
    let document = context
        .with_schema(async |_, conn| {
            let at = schedule::clock(conn).await?;
            let known = account::list(conn).await?.into_iter();
            let entry = |known: KnownConnection| Entry {
                configured: config.connections.contains_key(&known.connection),
                known,
            };
            Ok(Document { at, connections: known.map(entry).collect() })
        })
        .await?;
    if args.json {
        output::print_json(&document)?;
    } else if document.connections.is_empty() {
        output::print("no connection has been read yet; `tidegate sync` reads once\n")?;
    } else {
        output::print(&table(&document))?;
    }
    Ok(Exit::Done)
}

fn table(document: &Document) -> String {
    let mut table = Table::new().left(&["CONNECTION", "VENDOR", "CONFIGURED"]).right(&["STREAMS"]).left(&[
        "LAST SUCCESS",
        "FIRST READ",
        "ACCOUNT",
    ]);
    for entry in &document.connections {
        let known = &entry.known;
        let account: Vec<String> = known.account.iter().map(|(name, value)| format!("{name} {value}")).collect();
        table.row([
            known.connection.clone(),
            known.vendor.clone(),
            if entry.configured { "yes" } else { "no" }.to_owned(),
            known.streams.to_string(),
            show::moment_or_nothing(known.last_success_at, document.at),
            show::time(known.pinned_at),
            account.join(", "),
        ]);
    }
    table.show()
}

/// What was forgotten, or would be.
#[derive(Debug, Serialize)]
struct Forgotten {
    connection: String,
    /// Rows of the warehouse, by table; they are deleted with `--rows` only.
    tables: Vec<TableRows>,
    rows_deleted: bool,
}

#[derive(Debug, Serialize)]
struct TableRows {
    table: String,
    rows: i64,
}

pub async fn forget(context: Context, args: ForgetArgs) -> anyhow::Result<Exit> {
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
    if args.json {
        output::print_json(&done)?;
    } else {
        output::print(&text(&done))?;
    }
    Ok(Exit::Done)
}

/// No deadline: deleting many rows takes its time, and an interrupt ends it.
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
            "take its jobs out of the configuration or stop the daemon, wait until the run has ended, then try again";
        return Err(CommandError::failed(format!("run {run} is reading `{name}`"), hint).into());
    }
    let known = account::list(&mut transaction).await?;
    let mut tables = Vec::new();
    for table in forget::tables(&mut transaction, &SCHEMAS.map(ToOwned::to_owned)).await? {
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
    let mut text = format!("{name}: account, cursors and refused records are forgotten\n");
    for TableRows { table, rows } in &forgotten.tables {
        let fate = if forgotten.rows_deleted { "deleted" } else { "stay" };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {}: {rows} rows {fate}", plain(table));
    }
    if !forgotten.rows_deleted && !forgotten.tables.is_empty() {
        text.push_str(
            "they are replaced window by window when the connection is read again; entities that the new account does not report stay. --rows deletes all of them\n",
        );
    }
    text
}
