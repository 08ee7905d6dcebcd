//! Metrics: those that a process exports and those of docs/metrics.md are the same, with labels and their values.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use tidegate::http::CallOutcome;
use tidegate::metrics::{Gauges, Metrics, NotificationOutcome, RowChange, RunOutcome};
use tidegate::pulse::Loop;
use tidegate::quota::{CallKind, Unit, Usage};
use tidegate::store::reconciliation::Compared;
use tidegate::store::status::{self, FailingStreams, StreamState};
use tidegate::store::stored_rows::StoredRows;

use super::document;
use super::markdown::{Block, blocks, spans, without_each_row};
use crate::support::TestDatabase;

/// Label → its values. A label with names of the configuration, or with a version, has none.
pub(super) type Labels = BTreeMap<String, BTreeSet<String>>;
/// Metric → type and labels.
pub(super) type Exported = BTreeMap<String, (String, Labels)>;

/// An example of a name in the configuration.
const NAME: &str = "some-name";

const KINDS: [CallKind; 2] = [CallKind::Login, CallKind::Data];

/// Fails to compile when a variant is added: add it to `ALL`, or to its list above, too.
const fn _the_lists_are_complete(
    run: RunOutcome,
    change: RowChange,
    kind: CallKind,
    call: CallOutcome,
    notification: NotificationOutcome,
) {
    match notification {
        NotificationOutcome::Accepted
        | NotificationOutcome::RateLimited
        | NotificationOutcome::Refused
        | NotificationOutcome::ServerError
        | NotificationOutcome::Timeout
        | NotificationOutcome::Unreachable => {}
    }
    match run {
        RunOutcome::Succeeded | RunOutcome::Held | RunOutcome::Failed | RunOutcome::Cancelled => {}
    }
    match change {
        RowChange::Inserted | RowChange::Updated | RowChange::Deleted | RowChange::Unchanged | RowChange::Outside => {}
    }
    match kind {
        CallKind::Login | CallKind::Data => {}
    }
    match call {
        CallOutcome::Ok
        | CallOutcome::Quota
        | CallOutcome::Unauthorized
        | CallOutcome::Refused
        | CallOutcome::ServerError
        | CallOutcome::Timeout
        | CallOutcome::Transport
        | CallOutcome::Unreadable => {}
    }
}

/// The text of a scrape in which every metric has every value of its labels.
pub(super) async fn scrape() -> String {
    let metrics = Metrics::default();
    let took = Duration::from_millis(30);
    for outcome in RunOutcome::ALL {
        metrics.run_ended(NAME, outcome);
    }
    for change in RowChange::ALL {
        metrics.rows(NAME, NAME, change, 1);
    }
    metrics.page_committed(NAME, NAME, took, 1, 1);
    for kind in KINDS {
        for outcome in CallOutcome::ALL {
            metrics.vendor_call(NAME, kind, outcome, took, 1);
        }
    }
    metrics.quota_wait(NAME, NAME, took);
    metrics.run_started(took);
    for outcome in NotificationOutcome::ALL {
        metrics.notified(NAME, outcome);
    }
    let database = TestDatabase::create().await;
    let mut conn = database.pool().acquire().await.unwrap();
    let stream = |state: &str| StreamState {
        connection: NAME.to_owned(),
        stream: NAME.to_owned(),
        table: NAME.to_owned(),
        state: state.to_owned(),
        covers_from: None,
        complete_until: Some(Utc::now()),
        has_gap: false,
        late: false,
        waits: false,
        expected_by: None,
        read_until: None,
        last_success_at: None,
        freshness_seconds: Some(1.0),
        held_slices: 0,
    };
    let usage = Usage {
        limit: NAME.to_owned(),
        amount: 4,
        unit: Unit::Calls,
        used: 1,
        per: took,
        blocked_until: Some(Utc::now()),
        next_free: None,
    };
    let compared = Compared { connection: NAME.to_owned(), checked_at: Utc::now(), compared: 1, differences: 0 };
    let stored = StoredRows { relation: NAME.to_owned(), refreshed_at: Utc::now(), age_seconds: 1 };
    metrics.encode(&Gauges {
        only_reads: false,
        streams: Some(status::STREAM_STATES.map(stream).to_vec()),
        retired: Some(1),
        persistent: Vec::new(),
        config_refused: false,
        unfinished: Some(status::unfinished(&mut conn, &[]).await.unwrap()),
        failing: Some(vec![FailingStreams { job: NAME.to_owned(), connection: NAME.to_owned(), streams: 0 }]),
        compared: Some(vec![compared]),
        stored: Some(vec![stored]),
        quotas: Some(vec![(NAME.to_owned(), usage)]),
        problems: Some(Vec::new()),
        notifications: Some(vec![(NAME.to_owned(), 0.0)]),
        ages: Loop::ALL.map(|of| (of, None)).to_vec(),
        skew: Some(TimeDelta::zero()),
    })
}

/// The metrics in a scrape.
pub(super) fn exported(scrape: &str) -> Exported {
    let mut found = Exported::new();
    let mut family = ("", "");
    for line in scrape.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split_once(' ').unwrap();
        } else if !line.starts_with('#') {
            let (sample, labels) = match line.split_once('{') {
                Some((sample, rest)) => (sample, rest.split_once('}').unwrap().0),
                None => (line.split(' ').next().unwrap(), ""),
            };
            let name = if family.1 == "histogram" { family.0 } else { sample };
            let (_, all) = found.entry(name.to_owned()).or_insert_with(|| (family.1.to_owned(), Labels::new()));
            for label in labels.split(',').filter(|label| !label.is_empty()) {
                let (label, value) = label.split_once('=').unwrap();
                let value = value.trim_matches('"');
                if label != "le" {
                    let values = all.entry(label.to_owned()).or_default();
                    if value != NAME && label != "version" {
                        values.insert(value.to_owned());
                    }
                }
            }
        }
    }
    found
}

/// The metrics in the table of docs/metrics.md. The format of its third column is: `a`, `b`: `value`, `value`; `c`:
/// `value`.
fn documented(text: &str) -> Exported {
    let table = blocks(text).into_iter().find_map(|block| match block {
        Block::Table(table) if table.header[0] == "metric" => Some(table),
        _ => None,
    });
    let row = |row: Vec<String>| {
        let mut labels = Labels::new();
        for group in row[2].split(';') {
            let (before, values) = group.split_once(": ").unwrap_or((group, ""));
            labels.extend(spans(before).into_iter().map(|label| (label.to_owned(), BTreeSet::new())));
            if let Some(label) = spans(before).last() {
                labels.insert((*label).to_owned(), spans(values).into_iter().map(str::to_owned).collect());
            }
        }
        let kind = row[1].split(',').next().unwrap().to_owned();
        (row[0].trim_matches('`').to_owned(), (kind, labels))
    };
    table.unwrap().rows.into_iter().map(row).collect()
}

#[tokio::test]
async fn the_documented_metrics_labels_and_values_are_those_that_are_exported() {
    let scrape = exported(&scrape().await);
    let text = document("docs/metrics.md");
    // A table of alerts follows.
    let text = text.split_once("\n## Alerts\n").unwrap().0;
    let table = documented(text);
    for (metric, labels) in &scrape {
        assert_eq!(table.get(metric), Some(labels), "{metric} in docs/metrics.md (left) and in a scrape (right)");
    }
    assert_eq!(table, scrape);
    let mut rows = 0;
    for (row, without) in without_each_row(text) {
        assert_ne!(documented(&without), scrape, "nobody misses: {row}");
        // Each word in backticks of the second half of the row is a label or a value.
        let cells: Vec<&str> = row.split('|').collect();
        for word in spans(cells[3]) {
            let misspelt = row.replacen(cells[3], &cells[3].replace(&format!("`{word}`"), "`xyz`"), 1);
            assert_ne!(documented(&text.replacen(row, &misspelt, 1)), scrape, "nobody sees: {misspelt}");
        }
        rows += 1;
    }
    assert_eq!(rows, scrape.len());
}

/// Queries and alerts name metrics too.
#[tokio::test]
async fn every_metric_that_a_document_or_a_deployment_names_is_exported() {
    let known = exported(&scrape().await);
    for path in super::documents() {
        let text = document(&path);
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            let metric = word.ends_with("_total") || word.ends_with("_seconds") || word.ends_with("_ratio");
            if word.starts_with("tidegate_") && metric {
                assert!(known.contains_key(word), "{path}: {word}");
            }
        }
    }
}
