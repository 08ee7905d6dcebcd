//! `tidegate cursors`: how far each stream has been read.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::output::{self, Table};
use super::{Context, CursorsArgs, Exit, names, show};
use crate::config::{Config, Job};
use crate::schedule;
use crate::store::stream_cursor::{self, StreamCursor};

#[derive(Debug, Serialize)]
struct Document {
    at: DateTime<Utc>,
    cursors: Vec<Entry>,
}

/// A stream that a job reads, or that was read before.
#[derive(Debug, Serialize)]
struct Entry {
    connection: String,
    stream: String,
    /// The configured jobs that read it.
    jobs: Vec<String>,
    /// `None` if it has not been begun.
    cursor: Option<StreamCursor>,
}

pub(crate) async fn run(context: Context, args: CursorsArgs) -> anyhow::Result<Exit> {
    let only = args.job.as_deref().map(|name| names::job(&context.config, name)).transpose()?;
    let document = context
        .with_schema(async |_, conn| {
            let at = schedule::clock(conn).await?;
            Ok(Document { at, cursors: entries(&context.config, only, stream_cursor::list(conn).await?) })
        })
        .await?;
    output::print_document(args.json, &document, || text(&document))?;
    Ok(Exit::Done)
}

/// The streams in the configuration and in the database, by connection and stream.
fn entries(config: &Config, only: Option<&Job>, known: Vec<StreamCursor>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = known
        .into_iter()
        .map(|cursor| Entry {
            connection: cursor.connection.clone(),
            stream: cursor.stream.clone(),
            jobs: Vec::new(),
            cursor: Some(cursor),
        })
        .collect();
    for job in config.jobs.values() {
        for wanted in &job.streams {
            let name = wanted.stream.name.as_ref();
            let place = entries.iter().position(|entry| entry.connection == job.connection && entry.stream == name);
            let place = place.unwrap_or_else(|| {
                let (connection, stream) = (job.connection.clone(), name.to_owned());
                entries.push(Entry { connection, stream, jobs: Vec::new(), cursor: None });
                entries.len() - 1
            });
            entries[place].jobs.push(job.name.clone());
        }
    }
    entries.retain(|entry| only.is_none_or(|job| entry.jobs.contains(&job.name)));
    entries.sort_by(|one, other| (&one.connection, &one.stream).cmp(&(&other.connection, &other.stream)));
    entries
}

fn text(document: &Document) -> String {
    if document.cursors.is_empty() {
        return format!("no job is configured; {}\n", show::SAMPLES);
    }
    let mut table = Table::new().left(&["CONNECTION", "STREAM", "SLICE"]).right(&["SLICES", "ROWS"]).left(&[
        "FROM",
        "READ UNTIL",
        "LAST SUCCESS",
        "READING",
        "JOBS",
    ]);
    for entry in &document.cursors {
        let cursor = entry.cursor.as_ref();
        let nothing = || show::NOTHING.to_owned();
        table.row([
            entry.connection.clone(),
            entry.stream.clone(),
            cursor.map_or_else(nothing, |cursor| cursor.slice.clone()),
            cursor.map_or_else(|| "0".to_owned(), |cursor| cursor.slices_finished.to_string()),
            cursor.map_or_else(|| "0".to_owned(), |cursor| cursor.rows.to_string()),
            cursor.and_then(|cursor| cursor.first_window_start).map_or_else(nothing, show::time),
            show::moment_or_nothing(cursor.and_then(|cursor| cursor.read_until), document.at),
            show::moment_or_nothing(cursor.and_then(|cursor| cursor.last_success_at), document.at),
            cursor.map_or_else(nothing, reading),
            show::text(Some(&entry.jobs.join(", "))),
        ]);
    }
    table.show()
}

/// The position of a reading in its slice, and whether a run is working on it.
fn reading(cursor: &StreamCursor) -> String {
    let place = cursor.reading_pages.map(|pages| {
        let slice = cursor.reading_window_start.map_or_else(|| "the list".to_owned(), show::time);
        format!("{slice}, {pages} pages")
    });
    match (place, cursor.reader_run) {
        (None, None) => show::NOTHING.to_owned(),
        (Some(place), None) => format!("{place}, stopped"),
        (None, Some(run)) => format!("run {run}"),
        (Some(place), Some(run)) => format!("{place}, run {run}"),
    }
}
