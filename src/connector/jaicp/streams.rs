//! JAICP Reporter: its streams (`facts/jaicp.md §14`).

use std::borrow::Cow;

use super::columns as of;
use crate::catalogue::{Child, Column, Key, Mode, Stream, Text, Vendor, Windows};

pub const VENDOR: Vendor = Vendor::new("jaicp_reporter");

/// Longer windows would be read in parts anyway.
const DAYS_MAX: u32 = 31;

/// Every stream.
pub(in crate::connector) fn streams() -> Vec<Stream> {
    [entities(), lists(), observations(), series(), reports()].concat()
}

fn entities() -> Vec<Stream> {
    const SESSION: &[&str] = &["project_short_name", "session_id"];
    const MESSAGE: &[&str] = &["project_short_name", "session_id", "question_id"];
    const CLIENT: &[&str] = &["project_short_name", "channel_type", "bot_id", "id"];
    let entity = |name: &'static str, meaning, key, columns, children| Stream {
        mode: Mode::Upsert,
        business_time: match name {
            "sessions" => &["start_time"],
            "messages" => &["timestamp"],
            _ => &["last_visit_date"],
        },
        children: Cow::Owned(children),
        windows: Windows::daily(DAYS_MAX),
        ..stream(name, meaning, key, columns)
    };
    vec![
        entity(
            "sessions",
            "Sessions, with the labels of each in session_label_links",
            SESSION,
            of::SESSIONS,
            vec![links("session_label_links", "Labels of sessions", SESSION, of::SESSION_LABEL_LINKS)],
        ),
        entity(
            "messages",
            "Turns of sessions: a client's phrase with its answer, with the labels of each in message_label_links",
            MESSAGE,
            of::MESSAGES,
            vec![links("message_label_links", "Labels of messages", MESSAGE, of::MESSAGE_LABEL_LINKS)],
        ),
        entity("clients", "Clients, as of their last activity that was read", CLIENT, of::CLIENTS, Vec::new()),
    ]
}

fn lists() -> Vec<Stream> {
    let list = |name, meaning, key, columns| Stream { mode: Mode::Snapshot, ..stream(name, meaning, key, columns) };
    vec![
        list("message_labels", "Labels that messages may have, of the whole account", &["id"], of::MESSAGE_LABELS),
        list(
            "message_label_groups",
            "Groups of message labels, of the whole account; not in API v1",
            &["id"],
            of::MESSAGE_LABEL_GROUPS,
        ),
        list(
            "session_labels",
            "Labels that sessions may have, of the whole account; not in API v1",
            &["id"],
            of::SESSION_LABELS,
        ),
        list("experiments", "Experiments with scenarios", &["key"], of::EXPERIMENTS),
        list("experiment_branches", "Branches of experiments", &["experiment_key", "key"], of::EXPERIMENT_BRANCHES),
    ]
}

fn observations() -> Vec<Stream> {
    let observation = |name, meaning, key, columns| Stream {
        mode: Mode::Observe,
        business_time: &["observed_at"],
        ..stream(name, meaning, key, columns)
    };
    vec![
        observation(
            "experiment_counts",
            "Sessions in experiments, as observed by each run",
            &["key", "observed_at"],
            of::EXPERIMENT_COUNTS,
        ),
        observation(
            "unique_clients",
            "Clients of projects, as observed by each run",
            &["project_short_name", "observed_at"],
            of::UNIQUE_CLIENTS,
        ),
        observation(
            "sessions_count",
            "Sessions of projects, as observed by each run",
            &["project_short_name", "observed_at"],
            of::SESSIONS_COUNT,
        ),
    ]
}

fn series() -> Vec<Stream> {
    let windows = Windows { days: 7, days_max: DAYS_MAX, shared_second: false };
    vec![
        Stream {
            windows,
            business_time: &["bucket"],
            ..stream(
                "stats_series",
                "The vendor's statistics by interval, one row per metric, label and bucket",
                &["metric", "label_id", "interval_type", "step", "bucket"],
                of::STATS_SERIES,
            )
        },
        Stream {
            windows,
            business_time: &["bucket"],
            ..stream("telephony_daily", "The vendor's statistics of calls per day", &["bucket"], of::TELEPHONY_DAILY)
        },
    ]
}

/// The CSV exports; the names of their columns are not documented (`§10`).
fn reports() -> Vec<Stream> {
    let report = |name, vendor_id: &'static str, meaning| Stream {
        vendor_id: vendor_id.into(),
        key: Key::RowHash,
        documented: false,
        // The titles of the files are not documented.
        business_time: &["timestamp", "start_time", "session_start_time", "last_visit_date"],
        off_by_default: true,
        exported: true,
        windows: Windows::daily(DAYS_MAX),
        ..stream(name, meaning, &[], &[])
    };
    vec![
        report("report_sessions", "sessions", "Report of sessions, by their start, as exported to CSV"),
        report("report_messages", "messages", "Report of messages, by their time, as exported to CSV"),
        report("report_clients", "clients", "Report of clients, by their last activity, as exported to CSV"),
        report("report_telephony", "telephony", "Report of calls, as exported to CSV"),
    ]
}

fn stream(
    name: &'static str,
    meaning: &'static str,
    key: &'static [&'static str],
    columns: &'static [Column],
) -> Stream {
    Stream {
        vendor: VENDOR,
        name: name.into(),
        schema: "jaicp",
        vendor_id: Text::Borrowed(""),
        meaning: meaning.into(),
        mode: Mode::ReplaceWindow,
        key: Key::Columns(key.iter().map(|name| Text::Borrowed(name)).collect()),
        columns: Cow::Borrowed(columns),
        documented: true,
        time_field: None,
        row_time: None,
        business_time: &[],
        off_by_default: false,
        children: Cow::Borrowed(&[]),
        windows: Windows::daily(DAYS_MAX),
        id_label: None,
        exported: false,
    }
}

fn links(
    name: &'static str,
    meaning: &'static str,
    parent: &'static [&'static str],
    columns: &'static [Column],
) -> Child {
    Child {
        name: name.into(),
        meaning: meaning.into(),
        field: "labels".into(),
        parent: parent.iter().map(|name| (Text::Borrowed(*name), Text::Borrowed(*name))).collect(),
        columns: Cow::Borrowed(columns),
    }
}
