//! `tidegate quota unblock`: lifts the block that a vendor's refusal left on the limits of a connection's credential.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::Connection as _;

use super::output::{self, Table};
use super::{Context, Exit, UnblockArgs, names, show};
use crate::quota::{self, LedgerKey};
use crate::schedule;
use crate::store::audit::{self, Subject};
use crate::text::plain;

#[derive(Debug, Serialize)]
struct Document {
    at: DateTime<Utc>,
    connection: String,
    lifted: Vec<Lifted>,
    /// Number of streams of unfinished runs that waited for one of the limits and are due now.
    streams_due: i64,
}

/// A limit that was blocked.
#[derive(Debug, Serialize)]
struct Lifted {
    limit: String,
    blocked_until: DateTime<Utc>,
}

pub(crate) async fn run(context: Context, args: UnblockArgs) -> anyhow::Result<Exit> {
    let connection = names::connection(&context.config, &args.connection)?;
    let limits = names::limits(connection, args.limit.as_deref())?;
    let document = context
        .with_schema(async |database, conn| {
            let at = schedule::clock(conn).await?;
            let key =
                LedgerKey::derive(&database.pool, &connection.base_url, &connection.settings.credential()).await?;
            let mut transaction = conn.begin().await?;
            let (lifted, streams_due) = quota::unblock(&mut transaction, &key, &limits).await?;
            if !lifted.is_empty() {
                let names: Vec<&str> = lifted.iter().map(|lifted| &*lifted.limit).collect();
                let subject = Subject { connection: Some(&connection.name), ..Subject::default() };
                let summary = format!("the block of {} was lifted", names.join(", "));
                audit::record(&mut *transaction, audit::COMMAND, subject, &summary).await?;
            }
            transaction.commit().await?;
            let lifted = lifted
                .into_iter()
                .map(|lifted| Lifted { limit: lifted.limit, blocked_until: lifted.blocked_until })
                .collect();
            Ok(Document { at, connection: connection.name.clone(), lifted, streams_due })
        })
        .await?;
    output::print_document(args.json, &document, || text(&document, args.limit.as_deref()))?;
    Ok(Exit::Done)
}

fn text(document: &Document, limit: Option<&str>) -> String {
    let connection = plain(&document.connection);
    if document.lifted.is_empty() {
        return match limit {
            Some(limit) => format!("the limit `{}` of `{connection}` is not blocked\n", plain(limit)),
            None => format!("no limit of `{connection}` is blocked\n"),
        };
    }
    let mut table = Table::new().left(&["CONNECTION", "LIMIT", "WAS BLOCKED UNTIL"]);
    for lifted in &document.lifted {
        table.row([document.connection.clone(), lifted.limit.clone(), show::moment(lifted.blocked_until, document.at)]);
    }
    let mut text = table.show();
    let due = document.streams_due;
    if due > 0 {
        let streams = if due == 1 { "stream is" } else { "streams are" };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{due} waiting {streams} due now");
    }
    text
}
