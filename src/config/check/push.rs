//! The `push` section of a job: what `tidegate push` sends (`facts/lynn.md §6.1`).

use std::collections::BTreeMap;

use uuid::Uuid;

use super::super::{Push, raw};
use crate::settings::{KeyPath, Report};

const BATCH_SIZE: usize = 100;
/// A Postgres table has no more columns.
const COLUMNS_MAX: usize = 500;

/// Keys that control when and how streams are read.
const READING: &str = "is for jobs that read; a job with `push` sends, and only `tidegate push` runs it: remove it";

/// Refuses keys that do not apply to a job that sends.
pub(super) fn refuse_reading_keys(job: &raw::Job, path: &KeyPath, report: &mut Report<'_>) {
    for (key, written) in [
        ("streams", job.streams.is_some()),
        ("schedule", job.schedule.is_some()),
        ("timezone", job.timezone.is_some()),
        ("catch_up", job.catch_up.is_some()),
        ("start", job.start.is_some()),
        ("slice", job.slice.is_some()),
        ("lookback", job.lookback.is_some()),
        ("settle", job.settle.is_some()),
        ("timeout", job.timeout.is_some()),
        ("paused", job.paused.is_some()),
        ("hold_below", job.hold_below.is_some()),
    ] {
        if written {
            report.state(&path.key(key), READING);
        }
    }
}

pub(super) fn check(raw: raw::Push, path: &KeyPath, report: &mut Report<'_>) -> Push {
    Push {
        query: query(raw.query, &path.key("query"), report),
        campaign_id: campaign_id(raw.campaign_id, &path.key("campaign_id"), report),
        template_id: template_id(raw.template_id, &path.key("template_id"), report),
        type_of_data: report.integer(&path.key("type_of_data"), raw.type_of_data, 0..=i64::from(i32::MAX), 0),
        columns: columns(raw.columns.unwrap_or_default(), &path.key("columns"), report),
        key: key(raw.key.unwrap_or_default(), &path.key("key"), report),
        batch_size: report.integer(&path.key("batch_size"), raw.batch_size, 1..=10_000, BATCH_SIZE),
    }
}

fn query(raw: Option<String>, path: &KeyPath, report: &mut Report<'_>) -> String {
    let text = raw.unwrap_or_default();
    let text = text.trim().trim_end_matches(|c: char| c == ';' || c.is_whitespace());
    if text.is_empty() {
        report.missing(path, "write the query whose rows are sent: `query: \"select …\"`");
    } else if text.contains('\0') {
        report.state(path, "the query holds a NUL character; remove it");
    }
    text.to_owned()
}

/// May be empty, as in the vendor's sample, but only if written so: an empty reference is a mistake.
fn campaign_id(raw: Option<String>, path: &KeyPath, report: &mut Report<'_>) -> String {
    let Some(text) = raw else {
        report.missing(
            path,
            "write the id of the campaign that receives the records: `campaign_id: \"…\"`, or `campaign_id: \"\"` to send it \
             empty, as the vendor's sample does",
        );
        return String::new();
    };
    if text.is_empty() && report.is_from_reference(path) {
        report.state(path, "the reference is empty; write `campaign_id: \"\"` to send it empty");
    } else if text.trim() != text || text.contains(char::is_control) {
        report.refuse(path, "has a space at its start or end, or a control character; write only the id");
    }
    text
}

fn template_id(raw: Option<String>, path: &KeyPath, report: &mut Report<'_>) -> String {
    let text = raw.unwrap_or_default();
    if text.is_empty() {
        report.missing(path, "write the template's id, a GUID: `template_id: 00000000-0000-0000-0000-000000000000`");
    } else if text.len() != 36 || Uuid::try_parse(&text).is_err() {
        report.refuse(path, "is not a template id; write a GUID such as `00000000-0000-0000-0000-000000000000`");
    }
    text
}

fn columns(raw: BTreeMap<String, String>, path: &KeyPath, report: &mut Report<'_>) -> BTreeMap<String, String> {
    if raw.is_empty() {
        report.missing(path, "write `{ \"Label of the template\": column_of_the_query, … }`");
    } else if raw.len() > COLUMNS_MAX {
        report.state(path, &format!("has more than {COLUMNS_MAX} columns; write fewer"));
    }
    for (label, column) in &raw {
        if label.trim().is_empty() {
            report.state(path, "a label is empty; write it as the template has it");
        }
        if column.is_empty() {
            report.missing(&path.key(label), "write the column of the query that fills it");
        }
    }
    raw
}

fn key(raw: Vec<Option<String>>, path: &KeyPath, report: &mut Report<'_>) -> Vec<String> {
    if raw.is_empty() {
        report.missing(path, "write the columns of the query that identify a row: `key: [contact_id]`");
    }
    let mut key: Vec<String> = Vec::new();
    for (index, column) in raw.into_iter().enumerate() {
        let path = path.index(index);
        match column.filter(|column| !column.is_empty()) {
            None => report.missing(&path, "write a column of the query, or remove the entry"),
            Some(column) if key.contains(&column) => report.refuse(&path, "is in the list already; keep one"),
            Some(column) => key.push(column),
        }
    }
    key
}
