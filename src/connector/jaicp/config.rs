//! Configuration of a JAICP Reporter connection: the keys, their checks, and the resulting settings
//! (`facts/jaicp.md`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Number, Value};
use url::Url;

use super::Jaicp;
use super::interval::Interval;
use super::streams::streams;
use crate::catalogue::Stream;
use crate::connector::export::Polling;
use crate::connector::{AccountSettings, CsvForm, CsvKeys, OwnKeys, PollingKeys, Source, VendorPart, csv, polling};
use crate::http::Redactor;
use crate::quota::LimitSpec;
use crate::secret::Secret;
use crate::settings::{Bool, Credential, Integer, KeyPath, Report, closest_hint, credential, flag, read};

/// The cloud (`facts/jaicp.md §1`); the operator may write it without `/api`.
pub(super) const DEFAULT_BASE_URL: &str = "https://app.jaicp.com/api";

/// A checked account. What the vendor's documents leave open is a setting (`facts/jaicp.md §13`).
#[derive(Debug, Clone)]
pub struct Settings {
    pub polling: Polling,
    /// Token of the project (legacy) or of the account (v1).
    pub token: Secret,
    pub api: Api,
    /// Short name of the project; required by v1.
    pub project: Option<String>,
    /// Rows requested per page; if the vendor's pages are smaller, its size is used (`§13.4`).
    pub page_size: u32,
    /// Whether to read the delivery status of messages, with one more call for every session (`§5`).
    pub message_status: bool,
    /// How `messages/by-session` is called (`§13.2`).
    pub by_session_method: BySession,
    /// Header `language`, for the titles in reports.
    pub language: String,
    /// Header `Timezone` of statistics and reports; unit and sign are not documented (`§7`).
    pub timezone_offset: Option<i32>,
    /// Filters in the vendor's format, by stream, sent in addition to the range of times (`§3`).
    pub filters: BTreeMap<String, Vec<Value>>,
    /// Length of the buckets of `stats_series`.
    pub stats_interval: Interval,
    pub csv: CsvForm,
}

/// The streams that accept filters, and the filter keys that Tidegate sets to the range of times.
const DATE_FILTERS: &[(&str, &[&str])] = &[
    ("sessions", &["MESSAGE_TIME"]),
    ("messages", &["MESSAGE_TIME"]),
    ("clients", &["CLIENT_LAST_ACTIVITY_TIME"]),
    ("stats_series", &["MESSAGE_TIME", "SESSION_START_TIME"]),
    ("report_sessions", &["SESSION_START_TIME"]),
    ("report_messages", &["MESSAGE_TIME"]),
    ("report_clients", &["CLIENT_LAST_ACTIVITY_TIME"]),
];

/// The generation of the API (`facts/jaicp.md §1`). In the legacy one, the token is part of the paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Api {
    Legacy,
    V1,
}

/// The specifications say GET, the help says POST; `Auto` is GET, or POST if GET is not supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum BySession {
    Auto,
    Get,
    Post,
}

impl AccountSettings for Settings {
    fn limits(&self) -> &'static [LimitSpec] {
        LIMITS
    }

    fn credential(&self) -> Vec<&str> {
        vec![self.token.expose()]
    }

    fn secrets(&self) -> Vec<Secret> {
        vec![self.token.clone()]
    }

    fn source(&self, base_url: &Url) -> Box<dyn Source> {
        Box::new(Jaicp::new(base_url.clone(), self.clone(), Redactor::new(self.secrets())))
    }

    fn account(&self) -> Vec<(&'static str, String)> {
        self.project.iter().map(|name| ("project", name.clone())).collect()
    }

    /// v1 lacks some lists (`§12`).
    fn offers(&self, stream: &Stream) -> bool {
        self.api == Api::Legacy || !matches!(&*stream.name, "message_label_groups" | "session_labels")
    }

    fn why_not_enabled(&self) -> &'static str {
        "is not offered by `api: v1`; leave it out, or use `api: legacy`"
    }

    /// A bucket that is longer than a day ends after the slice in which it begins: such slices are read again until the
    /// bucket has ended.
    fn lookback(&self, stream: &Stream, lookback: Duration) -> Duration {
        let is_longer = !matches!(self.stats_interval, Interval::Hour | Interval::Day);
        if is_longer && stream.name == "stats_series" {
            lookback.max(self.stats_interval.longest() + AFTER_BUCKET)
        } else {
            lookback
        }
    }
}

impl Settings {
    /// The filters of a stream's requests: `dated`, the range of times, and those of the configuration.
    pub(super) fn filters(&self, stream: &str, dated: Value) -> Value {
        let own = self.filters.get(stream).into_iter().flatten().cloned();
        Value::Array(std::iter::once(dated).chain(own).collect())
    }
}

/// A choice of Tidegate; the vendor documents no limit.
const LIMITS: &[LimitSpec] = &[LimitSpec::calls("requests", 5, 1)];

/// The keys of a JAICP Reporter connection beyond those of every connection.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// The API token: of the project (`api: legacy`), or of the account (`api: v1`).
    token: Option<Credential>,
    /// Generation of the API to which the token belongs.
    #[schemars(extend("default" = "legacy"))]
    api: Option<Api>,
    /// Short name of the project, such as `my_bot-1000-abc`; `api: v1` needs it.
    project: Option<String>,
    /// Rows requested per page.
    #[schemars(range(min = 1, max = 1000), extend("default" = 100))]
    page_size: Option<Integer>,
    /// Also load the delivery status of messages in Telegram, Viber and VK: one more call for every session.
    #[schemars(extend("default" = false))]
    message_status: Option<Bool>,
    /// HTTP verb of the list of a session's messages; `auto` tries GET, then POST.
    #[schemars(extend("default" = "auto"))]
    by_session_method: Option<BySession>,
    /// Language of the titles in reports, such as `en` or `ru`.
    #[schemars(extend("default" = "en"))]
    language: Option<String>,
    /// Number in the `Timezone` header of statistics and reports; if left out, the header is not sent.
    #[schemars(range(min = -86400, max = 86400))]
    timezone_offset: Option<Integer>,
    /// Filters by stream, in the vendor's format: `key`, `type` and the members of that type. They are sent in addition
    /// to the range of times, which Tidegate sets.
    #[schemars(extend("default" = {}))]
    filters: Option<BTreeMap<String, Vec<Filter>>>,
    /// Length of the buckets of `stats_series`.
    #[schemars(extend("default" = "day"))]
    stats_interval: Option<Interval>,
    /// Format of the reports' CSV files, if it cannot be detected from them.
    csv: Option<CsvKeys>,
    /// Polling of report tasks.
    polling: Option<PollingKeys>,
}

/// A filter in the configuration; scalars are texts.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Filter(BTreeMap<String, Value>);

impl JsonSchema for Filter {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Filter".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "required": ["key", "type"],
            "properties": { "key": { "type": "string" }, "type": { "type": "string" } },
        })
    }
}

const PAGE_SIZE: u32 = 100;
const LANGUAGE: &str = "en";
/// How long after its end a bucket is still read again, because a run rarely starts exactly at the end.
const AFTER_BUCKET: Duration = Duration::from_hours(7 * 24);

/// JSON Schema of the keys.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Keys>()
}

pub(super) fn check(own: &OwnKeys<'_>, report: &mut Report<'_>) -> VendorPart {
    let path = own.path;
    let raw: Keys = read(own.node, path, own.common, "a jaicp_reporter connection", report);
    let api = raw.api.unwrap_or(Api::Legacy);
    let message_status = flag(raw.message_status, false);
    let settings = Settings {
        polling: polling(raw.polling, path, report),
        token: token(raw.token.map(|token| token.0), &path.key("token"), report),
        api,
        project: project(raw.project, api, &path.key("project"), report),
        page_size: report.integer(&path.key("page_size"), raw.page_size, 1..=1_000, PAGE_SIZE),
        message_status,
        by_session_method: raw.by_session_method.unwrap_or(BySession::Auto),
        language: language(raw.language, &path.key("language"), report),
        timezone_offset: raw
            .timezone_offset
            .map(|offset| report.integer(&path.key("timezone_offset"), Some(offset), -86_400..=86_400, 0)),
        filters: filters(raw.filters.unwrap_or_default(), message_status, &path.key("filters"), report),
        stats_interval: raw.stats_interval.unwrap_or_default(),
        csv: csv(raw.csv, path, report),
    };
    VendorPart { settings: Arc::new(settings), extra_streams: Vec::new() }
}

/// The token is one segment of a path; its format is not documented (`§1`).
fn token(raw: Option<Secret>, path: &KeyPath, report: &mut Report<'_>) -> Secret {
    const REMEDY: &str = "write the token: `token: ${JAICP_TOKEN}`";
    let unfit = raw.as_ref().is_some_and(|token| {
        let text = token.expose();
        text.trim() == text && text.contains(['/', '?', '#', ' '])
    });
    if unfit {
        report.refuse(path, format!("has a space, `/`, `?` or `#`; copy the token alone, without a URL; {REMEDY}"));
    }
    credential(raw.map(Credential), path, REMEDY, report)
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

/// The language is sent as a header.
fn language(raw: Option<String>, path: &KeyPath, report: &mut Report<'_>) -> String {
    let text = raw.unwrap_or_else(|| LANGUAGE.to_owned());
    let fits = (2..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !fits {
        report.refuse(path, "is not a language; write for instance `en` or `ru`");
    }
    text
}

/// Filters in the vendor's format (`§3`). Unknown keys and types are left to the vendor.
fn filters(
    raw: BTreeMap<String, Vec<Filter>>,
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
                "the messages of a session, which `message_status` requests, cannot be filtered; remove one of the two";
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
    if streams().iter().any(|known| known.name == stream) {
        let known = known().collect::<Vec<_>>().join("`, `");
        format!("the vendor has no filters for `{stream}`; remove it; there are filters for `{known}`")
    } else {
        format!("no stream of this vendor has this name{}", closest_hint(stream, known()))
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
            Some(_) => report.state(&path.key(name), "expected a plain value"),
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

/// Converts flags and the ends of a range of numbers to the types that the vendor declares. Everything else is text.
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
