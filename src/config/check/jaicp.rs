//! The keys of a JAICP Reporter connection (`vendors/jaicp.md`).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Number, Value};

use super::super::read::read;
use super::super::tree::{KeyPath, Node};
use super::super::{Connection, Job, raw, suggest};
use super::connection::{Special, credential, csv, polling};
use super::{Report, flag};
use crate::catalogue;
use crate::connector::jaicp::{Api, BySession, DATE_FILTERS, DEFAULT_BASE_URL, Interval, Settings};
use crate::connector::{self, Vendor};
use crate::secret::Secret;

const PAGE_SIZE: u32 = 100;
const LANGUAGE: &str = "en";
/// How long after its end a bucket is read again, since a run rarely starts at that moment.
const AFTER_BUCKET: Duration = Duration::from_hours(7 * 24);

pub(super) fn check(own: &Node, shared: &[&str], path: &KeyPath, report: &mut Report<'_>) -> Special {
    let raw: raw::JaicpReporter = read(own, path, shared, "a jaicp_reporter connection", report);
    let api = match raw.api {
        Some(raw::JaicpApi::V1) => Api::V1,
        Some(raw::JaicpApi::Legacy) | None => Api::Legacy,
    };
    let message_status = flag(raw.message_status, false);
    let settings = Settings {
        polling: polling(raw.polling, path, report),
        token: token(raw.token.map(|token| token.0), &path.key("token"), report),
        api,
        project: project(raw.project, api, &path.key("project"), report),
        page_size: report.whole(&path.key("page_size"), raw.page_size, 1..=1_000, PAGE_SIZE),
        message_status,
        by_session_method: match raw.by_session_method {
            Some(raw::JaicpBySession::Get) => BySession::Get,
            Some(raw::JaicpBySession::Post) => BySession::Post,
            Some(raw::JaicpBySession::Auto) | None => BySession::Auto,
        },
        language: language(raw.language, &path.key("language"), report),
        timezone_offset: raw
            .timezone_offset
            .map(|offset| report.whole(&path.key("timezone_offset"), Some(offset), -86_400..=86_400, 0)),
        filters: filters(raw.filters.unwrap_or_default(), message_status, &path.key("filters"), report),
        stats_interval: match raw.stats_interval {
            Some(raw::JaicpInterval::Hour) => Interval::Hour,
            Some(raw::JaicpInterval::Day) | None => Interval::Day,
            Some(raw::JaicpInterval::Week) => Interval::Week,
            Some(raw::JaicpInterval::Month) => Interval::Month,
            Some(raw::JaicpInterval::Quarter) => Interval::Quarter,
            Some(raw::JaicpInterval::Year) => Interval::Year,
        },
        csv: csv(raw.csv, path, report),
    };
    Special {
        settings: connector::Settings::JaicpReporter(settings),
        default_base_url: DEFAULT_BASE_URL,
        extra_streams: Vec::new(),
    }
}

/// It is one segment of a path; nothing else is known of its shape (`§1`).
fn token(raw: Option<Secret>, path: &KeyPath, report: &mut Report<'_>) -> Secret {
    const REMEDY: &str = "write the token: `token: ${JAICP_TOKEN}`";
    let unfit = raw.as_ref().is_some_and(|token| {
        let text = token.expose();
        text.trim() == text && text.contains(['/', '?', '#', ' '])
    });
    if unfit {
        report.refuse(path, format!("has a space, `/`, `?` or `#`; copy the token alone, without a URL; {REMEDY}"));
    }
    credential(raw.map(super::super::scalar::Credential), path, REMEDY, report)
}

fn project(raw: Option<String>, api: Api, path: &KeyPath, report: &mut Report<'_>) -> Option<String> {
    match &raw {
        None if api == Api::V1 => {
            report.missing(path, "`api: v1` needs the project's short name: `project: my_bot-1000-abc`");
        }
        Some(name) if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) => {
            report.refuse(path, "is not a short name of a project; write for instance `my_bot-1000-abc`");
        }
        _ => {}
    }
    raw
}

/// It is sent as a header.
fn language(raw: Option<String>, path: &KeyPath, report: &mut Report<'_>) -> String {
    let text = raw.unwrap_or_else(|| LANGUAGE.to_owned());
    let fits = (2..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !fits {
        report.refuse(path, "is not a language; write for instance `en` or `ru`");
    }
    text
}

/// Filters in the vendor's form (`§3`). Keys and types that are not known here are the vendor's to judge.
fn filters(
    raw: BTreeMap<String, Vec<raw::JaicpFilter>>,
    message_status: bool,
    path: &KeyPath,
    report: &mut Report<'_>,
) -> BTreeMap<String, Vec<Value>> {
    let mut checked = BTreeMap::new();
    for (stream, listed) in raw {
        let path = path.key(&stream);
        let Some((_, dates)) = DATE_FILTERS.iter().find(|(name, _)| *name == stream) else {
            report.state(&path, &without_filters(&stream));
            continue;
        };
        if stream == "messages" && message_status && !listed.is_empty() {
            let message =
                "the messages of a session, which `message_status` asks for, cannot be filtered; remove one of both";
            report.state(&path, message);
        }
        let of_stream: Vec<Value> = listed
            .into_iter()
            .enumerate()
            .map(|(index, filter)| one_filter(filter.0, dates, &path.index(index), report))
            .collect();
        checked.insert(stream, of_stream);
    }
    checked
}

fn without_filters(stream: &str) -> String {
    let known = || DATE_FILTERS.iter().map(|(name, _)| *name);
    if catalogue::streams(Vendor::JaicpReporter).iter().any(|known| known.name == stream) {
        let known = known().collect::<Vec<_>>().join("`, `");
        format!("the vendor takes no filters for `{stream}`; remove it; there are filters for `{known}`")
    } else {
        format!("no stream of this vendor has this name{}", suggest::hint(stream, known()))
    }
}

fn one_filter(written: BTreeMap<String, Value>, dates: &[&str], path: &KeyPath, report: &mut Report<'_>) -> Value {
    if written.is_empty() {
        report.missing(path, "write a filter, such as `{ key: CHANNEL_TYPE, type: CHECKBOX, options: [telegram] }`");
        return Value::Null;
    }
    for (name, remedy) in [
        ("key", "write what is filtered, in the vendor's word: `key: CHANNEL_TYPE`"),
        ("type", "write the filter's type, in the vendor's word: `type: CHECKBOX`"),
    ] {
        match written.get(name) {
            Some(Value::String(text)) if !text.trim().is_empty() => {}
            Some(Value::String(_) | Value::Null) | None => report.missing(&path.key(name), remedy),
            Some(_) => report.state(&path.key(name), "a plain value is wanted"),
        }
    }
    let text = |name: &str| written.get(name).and_then(Value::as_str).unwrap_or_default();
    if dates.iter().any(|date| date.eq_ignore_ascii_case(text("key"))) {
        report.refuse(
            &path.key("key"),
            "is set by Tidegate, to the range of each slice; remove the filter: `start` and `backfill` say which days are read",
        );
    }
    let is_numeric = text("type") == "NUMERIC_RANGE";
    Value::Object(written.into_iter().map(|(name, value)| typed(name, value, is_numeric)).collect())
}

/// With the types that the vendor declares: flags, and the ends of a range of numbers. Everything else is text.
fn typed(name: String, value: Value, is_numeric: bool) -> (String, Value) {
    let value = match value {
        Value::String(text) => match (name.as_str(), text.as_str()) {
            ("isCaseSensitive" | "caseSensitive", "true") => Value::Bool(true),
            ("isCaseSensitive" | "caseSensitive", "false") => Value::Bool(false),
            ("from" | "to", number) if is_numeric => {
                serde_json::from_str::<Number>(number).map_or_else(|_| Value::String(text), Value::Number)
            }
            _ => Value::String(text),
        },
        Value::Array(items) => items.into_iter().map(|item| typed(String::new(), item, false).1).collect(),
        Value::Object(members) => {
            let members: Map<_, _> = members.into_iter().map(|(name, value)| typed(name, value, false)).collect();
            Value::Object(members)
        }
        other => other,
    };
    (name, value)
}

/// A bucket that is longer than a day goes on after the slice in which it begins: such slices are read again until it is over.
pub(super) fn read_on(connections: &BTreeMap<String, Connection>, jobs: &mut BTreeMap<String, Job>) {
    for job in jobs.values_mut() {
        let Some(connector::Settings::JaicpReporter(settings)) =
            connections.get(&job.connection).map(|connection| &connection.settings)
        else {
            continue;
        };
        if matches!(settings.stats_interval, Interval::Hour | Interval::Day) {
            continue;
        }
        for entry in job.streams.iter_mut().filter(|entry| entry.stream.name == "stats_series") {
            entry.lookback = entry.lookback.max(settings.stats_interval.longest() + AFTER_BUCKET);
        }
    }
}
