//! All calls to JAICP: a closed list of calls that read.
//!
//! A JAICP token also permits writing: labels, blocked clients, experiments, and two deletions that affect every user
//! of the account (`facts/jaicp.md §8-§10, §13.18`). This module cannot express such calls: the verb is GET or POST,
//! the path is in the table, and calls are built in one place.

use reqwest::Method;
use url::Url;

use super::super::StepError;
use super::config::{Api, Settings};
use crate::http::{Call, HttpError, Payload};
use crate::secret::Secret;

/// Maximum size of a response that is held in memory.
const BYTES_MAX: u64 = 64 << 20;
/// Maximum size of a file; larger ones need shorter windows.
pub(super) const FILE_BYTES_MAX: u64 = 4 << 30;

/// A call that reads. Only the creation of a report leaves something at the vendor: a report task (`§10`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Filters,
    Sessions,
    Messages,
    BySession,
    BySessionPosted,
    Clients,
    MessageLabels,
    MessageLabelGroups,
    SessionLabels,
    Experiments,
    ExperimentsSpelledRight,
    ExperimentCounts,
    ExperimentCountsSpelledRight,
    SessionsCount,
    UniqueClients,
    MessageStats,
    SessionStats,
    SwitchedSessions,
    SessionLabelStats,
    MessageLabelStats,
    Telephony,
    SessionsReport,
    MessagesReport,
    ClientsReport,
    TelephonyReport,
    Task,
    Tasks,
    Events,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Get,
    Post,
}

/// Verb, and the paths after `/reporter/p/TOKEN/` and `/v1/`; `None` if a generation does not have the call.
type Route = (Verb, Option<&'static str>, Option<&'static str>);

/// Documented header fields of a call, besides its credential (`§2`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Headers {
    None,
    Language,
    Timezone,
    Both,
}

impl Endpoint {
    #[cfg(test)]
    pub(super) const ALL: &[Self] = &[
        Self::Filters,
        Self::Sessions,
        Self::Messages,
        Self::BySession,
        Self::BySessionPosted,
        Self::Clients,
        Self::MessageLabels,
        Self::MessageLabelGroups,
        Self::SessionLabels,
        Self::Experiments,
        Self::ExperimentsSpelledRight,
        Self::ExperimentCounts,
        Self::ExperimentCountsSpelledRight,
        Self::SessionsCount,
        Self::UniqueClients,
        Self::MessageStats,
        Self::SessionStats,
        Self::SwitchedSessions,
        Self::SessionLabelStats,
        Self::MessageLabelStats,
        Self::Telephony,
        Self::SessionsReport,
        Self::MessagesReport,
        Self::ClientsReport,
        Self::TelephonyReport,
        Self::Task,
        Self::Tasks,
        Self::Events,
    ];

    const fn route(self) -> Route {
        use Verb::{Get, Post};
        match self {
            Self::Filters => (Get, Some("filters"), Some("reporter/filters")),
            Self::Sessions => (Post, Some("sessions/filter"), Some("reporter/sessions/filter")),
            Self::Messages => (Post, Some("messages/filter"), Some("reporter/messages/filter")),
            Self::BySession => (Get, Some("messages/by-session"), Some("reporter/messages/by-session")),
            Self::BySessionPosted => (Post, Some("messages/by-session"), Some("reporter/messages/by-session")),
            Self::Clients => (Post, Some("clients/filter"), Some("reporter/clients/filter")),
            Self::MessageLabels => (Get, Some("message/labels"), Some("reporter/message/labels")),
            Self::MessageLabelGroups => (Get, Some("message/labels/groups"), None),
            Self::SessionLabels => (Get, Some("logs/labels/sessions"), None),
            // The vendor's spelling.
            Self::Experiments => (Get, Some("scenario-exeperiments"), Some("reporter/scenario-exeperiments")),
            Self::ExperimentsSpelledRight => (Get, Some("scenario-experiments"), Some("reporter/scenario-experiments")),
            Self::ExperimentCounts => (
                Get,
                Some("scenario-exeperiments/count-sessions"),
                Some("reporter/scenario-exeperiments/count-sessions"),
            ),
            Self::ExperimentCountsSpelledRight => {
                (Get, Some("scenario-experiments/count-sessions"), Some("reporter/scenario-experiments/count-sessions"))
            }
            Self::SessionsCount => (Get, Some("projects/sessions/count"), Some("reporter/projects/sessions/count")),
            Self::UniqueClients => (Get, Some("stats/unique-clients"), Some("reporter/stats/unique-clients")),
            Self::MessageStats => (
                Post,
                Some("stats/messages/with-advanced-filters"),
                Some("reporter/stats/messages/with-advanced-filters"),
            ),
            Self::SessionStats => (
                Post,
                Some("stats/sessions/with-advanced-filters"),
                Some("reporter/stats/sessions/with-advanced-filters"),
            ),
            Self::SwitchedSessions => (Get, Some("stats/switched-sessions"), Some("reporter/stats/switched-sessions")),
            Self::SessionLabelStats => (Post, Some("stats/session-labels"), Some("reporter/stats/session-labels")),
            Self::MessageLabelStats => (Post, Some("stats/log-labels"), Some("reporter/stats/log-labels")),
            Self::Telephony => (Get, Some("stats/telephony"), Some("reporter/stats/telephony")),
            Self::SessionsReport => (Post, Some("reports/sessions"), Some("async/reporter/reports/sessions")),
            Self::MessagesReport => (Post, Some("reports/messages"), Some("async/reporter/reports/messages")),
            Self::ClientsReport => (Post, Some("reports/clients"), Some("async/reporter/reports/clients")),
            Self::TelephonyReport => (Post, Some("reports/telephony"), Some("async/reporter/reports/telephony")),
            Self::Task => (Get, Some("reports/tasks"), Some("reporter/reports/tasks")),
            Self::Tasks => (Get, Some("reports"), Some("reporter/reports")),
            Self::Events => (Get, None, Some("async/events")),
        }
    }

    /// Whether v1 declares `projectShortName` for the call. Calls about the whole account have none: labels, tasks,
    /// events.
    const fn is_of_a_project(self) -> bool {
        !matches!(
            self,
            Self::Filters
                | Self::MessageLabels
                | Self::MessageLabelGroups
                | Self::SessionLabels
                | Self::SessionsCount
                | Self::Task
                | Self::Tasks
                | Self::Events
        )
    }

    const fn headers(self) -> Headers {
        match self {
            Self::Filters => Headers::Language,
            Self::MessageStats
            | Self::SessionStats
            | Self::SwitchedSessions
            | Self::SessionLabelStats
            | Self::MessageLabelStats
            | Self::Telephony => Headers::Timezone,
            Self::SessionsReport | Self::MessagesReport | Self::ClientsReport | Self::TelephonyReport => Headers::Both,
            _ => Headers::None,
        }
    }
}

/// The vendor-specific part of a call.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) endpoint: Endpoint,
    pub(super) query: Vec<(&'static str, String)>,
    /// Body of a POST; `None` if the vendor documents none.
    pub(super) body: Option<Vec<u8>>,
    /// The id after the path of [`Endpoint::Task`].
    pub(super) id: Option<String>,
    pub(super) bytes_expected: Option<u64>,
    pub(super) bytes_max: u64,
}

impl Request {
    pub(super) const fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, query: Vec::new(), body: None, id: None, bytes_expected: None, bytes_max: BYTES_MAX }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(super) fn body(self, json: Vec<u8>) -> Self {
        Self { body: Some(json), ..self }
    }
}

/// Builds a call. No other function of this vendor does.
pub(super) fn call(base_url: &Url, settings: &Settings, ask: &Request) -> Result<Call, StepError> {
    let (verb, legacy, v1) = ask.endpoint.route();
    let path = match settings.api {
        Api::Legacy => legacy,
        Api::V1 => v1,
    };
    let path = path.ok_or(StepError::Refused {
        what: "this generation of its API does not have the call".to_owned(),
        hint: "v1 has no lists of message label groups and session labels: use `api: legacy`, or leave the stream out",
    })?;
    let mut call = Call {
        method: match verb {
            Verb::Get => Method::GET,
            Verb::Post => Method::POST,
        },
        body: match (&ask.body, verb) {
            (Some(json), Verb::Post) => Payload::Json(json.clone()),
            _ => Payload::None,
        },
        headers: headers(settings, ask.endpoint),
        bytes_max: ask.bytes_max,
        ..Call::get(url(base_url, settings, path, ask)?)
    };
    if let Some(bytes) = ask.bytes_expected {
        call.bytes_expected = bytes;
    }
    if settings.api == Api::V1 {
        call.authorization = Some(("Bearer".to_owned(), settings.token.clone()));
    }
    Ok(call)
}

/// The call for a report's file at the connection's own host, which may require the token (`§10`). The legacy token is
/// part of known paths, and is never added to a path from the vendor.
pub(super) fn file(url: Url, settings: &Settings) -> Call {
    let authorization = (settings.api == Api::V1).then(|| ("Bearer".to_owned(), settings.token.clone()));
    Call { authorization, bytes_max: FILE_BYTES_MAX, ..Call::get(url) }
}

fn headers(settings: &Settings, endpoint: Endpoint) -> Vec<(&'static str, Secret)> {
    let wanted = endpoint.headers();
    let mut headers = Vec::new();
    if matches!(wanted, Headers::Language | Headers::Both) {
        headers.push(("language", Secret::new(settings.language.as_str())));
    }
    if let (Headers::Timezone | Headers::Both, Some(offset)) = (wanted, settings.timezone_offset) {
        headers.push(("Timezone", Secret::new(offset.to_string())));
    }
    headers
}

/// The token is one segment of the legacy path, percent-encoded.
fn url(base_url: &Url, settings: &Settings, path: &str, ask: &Request) -> Result<Url, StepError> {
    let mut url = base_url.clone();
    {
        let unfit = || HttpError::Request("base_url cannot have a path".to_owned());
        let mut segments = url.path_segments_mut().map_err(|()| unfit())?;
        segments.pop_if_empty();
        match settings.api {
            Api::Legacy => segments.extend(["reporter", "p", settings.token.expose()]),
            Api::V1 => segments.push("v1"),
        };
        segments.extend(path.split('/')).extend(&ask.id);
    }
    {
        let mut query = url.query_pairs_mut();
        query.extend_pairs(&ask.query);
        if let (Api::V1, true, Some(project)) = (settings.api, ask.endpoint.is_of_a_project(), &settings.project) {
            query.append_pair("projectShortName", project);
        }
    }
    if url.query() == Some("") {
        url.set_query(None);
    }
    Ok(url)
}

#[cfg(test)]
#[path = "endpoint_tests.rs"]
pub(super) mod tests;
