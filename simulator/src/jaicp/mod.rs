//! JAICP's Reporter API as in `facts/jaicp.md`, in both generations: the legacy one, whose token is part of the path,
//! and v1 with its bearer token.
//!
//! Strict: filters, pages and headers are those of the vendor's documents, or refused. Writing endpoints exist, and a
//! call to one is recorded as unexpected.

mod filters;
mod interval;
mod lists;
mod params;
mod reports;
mod rows;
mod sessions;
mod stats;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::{Method, Response, StatusCode};
use axum::routing::any;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

pub use self::reports::TaskEnd;
pub use self::stats::{Calls, Series};

use self::interval::Interval;
use self::lists::Page;
use self::sessions::{By, Edits};
use self::stats::Metric;
use super::call::{Arrival, Gateway, Incoming, Reply};
use super::company::Company;
use super::limits::{Applies, Refused, Rule, Unit};
use super::response::{JSON, PlannedResponse};
use super::truth::{Reports, Span};
use super::{Control, Options, TruthHandle, Vendor, World, locked};

const LIMIT: &str = "jaicp.requests";
/// Message fields that the list by session lacks (`§5`).
const OF_BULK_LIST: &[&str] = &[
    "projectShortName",
    "channelType",
    "botId",
    "client",
    "sessionStartTime",
    "callTaskId",
    "isCallIncoming",
    "sessionLabels",
];

/// The only account of the simulated vendor, with invented secrets.
#[derive(Clone)]
pub struct Account {
    /// Token of the legacy API.
    pub token: String,
    /// Token of v1.
    pub unified_token: String,
    pub project: String,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            token: "h4rB0urT:6b1f0d9ac27e48350f9d2b7c1a64e8f35d70b912".to_owned(),
            unified_token: "jaicp-unified-9c51d0e74b8f4f6f".to_owned(),
            project: "harbour_bot-1000-abc".to_owned(),
        }
    }
}

/// The vendor's behaviour where its documents leave it open.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Larger pages are cut to this size.
    pub size_max: u64,
    /// Larger pages are refused with that status.
    pub size_refused: Option<(u64, u16)>,
    /// Pages from this number on are refused.
    pub pages_refused: Option<u64>,
    /// The number of the first page in responses.
    pub page_base: u64,
    /// The method of `messages/by-session`; the other gets 405.
    pub by_session: Method,
    /// Whether `questionCount` counts only turns in the requested window.
    pub counts_in_window: bool,
    /// `totalCount` is wrong by this much.
    pub total_off: i64,
    /// Every page is the first one.
    pub ignores_page: bool,
    /// The order of rows changes with every call.
    pub shifts: bool,
    pub ts_in_seconds: bool,
    /// The status for a wrong token.
    pub wrong_token: u16,
    /// How many polls find a report still in progress.
    pub polls: u32,
    pub task_end: TaskEnd,
    /// Whether reports are really generated.
    pub creates: bool,
    /// The URL that is returned for report files, instead of the real one.
    pub file_url: Option<String>,
    /// Experiments are under the correctly spelled path.
    pub spelled_right: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            size_max: 500,
            size_refused: None,
            pages_refused: None,
            page_base: 0,
            by_session: Method::GET,
            counts_in_window: false,
            total_off: 0,
            ignores_page: false,
            shifts: false,
            ts_in_seconds: false,
            wrong_token: 401,
            polls: 2,
            task_end: TaskEnd::OwnFile,
            creates: true,
            file_url: None,
            spelled_right: false,
        }
    }
}

/// The vendor's state.
pub(super) struct Jaicp {
    pub gateway: Gateway,
    pub data: Reports,
    account: Account,
    shape: RwLock<Shape>,
    edits: Mutex<Edits>,
    tasks: Mutex<Vec<reports::Task>>,
    /// Files of reports on the vendor's own host.
    own_files: Mutex<BTreeMap<String, String>>,
    turns: Mutex<usize>,
}

impl Jaicp {
    pub fn new(options: &Options, company: &Arc<Company>) -> Self {
        let account = options.jaicp.clone();
        let source = rows::Rows { company: Arc::clone(company), project: account.project.clone() };
        Self {
            gateway: Gateway::new(options, limit(options).as_slice(), PlannedResponse::refusal),
            data: Reports::new(Box::new(source), rows::names(), options.hide_future),
            account,
            shape: RwLock::default(),
            edits: Mutex::default(),
            tasks: Mutex::default(),
            own_files: Mutex::default(),
            turns: Mutex::default(),
        }
    }

    fn shape(&self) -> Shape {
        self.shape.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn with_edits<T>(&self, read: impl FnOnce(&Edits) -> T) -> T {
        read(&locked(&self.edits))
    }

    /// Counts the served pages.
    fn turn(&self) -> usize {
        let mut turns = locked(&self.turns);
        *turns += 1;
        *turns
    }
}

/// No limit is documented (`facts/jaicp.md §2`), so there is one only if the options set it.
fn limit(options: &Options) -> Option<Rule> {
    let (applies, unit, refused) = (Applies::Every, Unit::Calls, Refused::Rate);
    let rule = Rule { name: LIMIT, applies, unit, refused, amount: 5, period: Duration::from_secs(1) };
    options.limits.contains_key(LIMIT).then(|| options.rule(rule))
}

/// Test controls for JAICP beyond `Control`.
pub struct Handle(pub(super) Control);

impl Handle {
    pub fn data(&self) -> TruthHandle {
        self.0.data(Vendor::Jaicp)
    }

    /// Changes the vendor's behaviour from now on.
    pub fn shape(&self, change: impl FnOnce(&mut Shape)) {
        change(&mut self.0.world.jaicp.shape.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Changes a session's field from now on.
    pub fn set(&self, session: &str, field: &str, value: Value) {
        locked(&self.0.world.jaicp.edits).fields.entry(session.to_owned()).or_default().insert(field.to_owned(), value);
    }

    /// Removes the session from the list.
    pub fn hide(&self, session: &str) {
        locked(&self.0.world.jaicp.edits).hidden.insert(session.to_owned());
    }

    /// The sessions with a turn in `[from, to)`, as a complete, undisturbed read would return them now.
    pub fn sessions(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Map<String, Value>> {
        let world = &self.0.world;
        let span = Span::new(from, to);
        world.jaicp.with_edits(|edits| sessions::sessions(world, &world.jaicp.shape(), edits, span, By::MessageTime))
    }

    /// The statistics of `[from, to)` by day; the metric by its name in the path.
    pub fn series(&self, metric: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> Series {
        self.series_by("DAY", metric, from, to)
    }

    /// The same by another interval of the vendor.
    pub fn series_by(&self, interval: &str, metric: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> Series {
        let world = &self.0.world;
        let metric = match metric {
            "messages" => Metric::Messages,
            "sessions" => Metric::Sessions,
            "session_labels" => Metric::SessionLabels,
            "message_labels" => Metric::MessageLabels,
            _ => Metric::Switched,
        };
        let interval = Interval::of(interval).unwrap_or(Interval::Day);
        let by = stats::By { metric, interval, span: Span::new(from, to), zone: 0 };
        world.jaicp.with_edits(|edits| stats::series(world, &world.jaicp.shape(), edits, &by, &|_| true))
    }

    /// The calls of `[from, to)`.
    pub fn calls(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Calls {
        let world = &self.0.world;
        let span = Span::new(from, to);
        world.jaicp.with_edits(|edits| stats::calls(world, &world.jaicp.shape(), edits, span))
    }

    /// The rows of a report's file.
    pub fn report(&self, kind: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Map<String, Value>> {
        let world = &self.0.world;
        reports::rows(world, &world.jaicp.shape(), kind, Span::new(from, to))
    }

    /// Complete lists by the name of their stream.
    pub fn list(&self, name: &str) -> Vec<Value> {
        match name {
            "message_labels" => rows::message_labels(),
            "message_label_groups" => rows::message_label_groups(),
            "session_labels" => rows::session_labels(),
            "experiments" => rows::experiments(),
            "experiment_counts" => rows::experiment_counts(),
            _ => Vec::new(),
        }
    }

    /// The number of report tasks; each call that creates one adds one.
    pub fn tasks(&self) -> usize {
        locked(&self.0.world.jaicp.tasks).len()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Api {
    Legacy,
    V1,
}

/// The endpoint of a method and path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint<'a> {
    Filters,
    Sessions,
    Messages,
    BySession,
    Clients,
    List(&'static str),
    Stats(Metric),
    Telephony,
    Create(&'static str),
    Tasks,
    Task(&'a str),
    Events,
    /// An endpoint that a reader never calls.
    Write,
    Nothing,
}

pub(super) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/api/reporter/p/{token}/{*path}", any(legacy))
        .route("/api/v1/reporter/{*path}", any(v1))
        .route("/api/v1/async/{*path}", any(v1_async))
        .route("/files/reports/{name}", any(file))
}

async fn legacy(method: Method, Path((token, path)): Path<(String, String)>, incoming: Incoming) -> Response<Body> {
    serve(Api::Legacy, Some(token), method, path, incoming).await
}

async fn v1(method: Method, Path(path): Path<String>, incoming: Incoming) -> Response<Body> {
    serve(Api::V1, None, method, path, incoming).await
}

async fn v1_async(method: Method, Path(path): Path<String>, incoming: Incoming) -> Response<Body> {
    serve(Api::V1, None, method, format!("async/{path}"), incoming).await
}

async fn file(method: Method, Path(name): Path<String>, incoming: Incoming) -> Response<Body> {
    incoming
        .serve(Vendor::Jaicp, "jaicp_file", move |arrival, _| {
            arrival.unexpected_headers(&[COOKIE]);
            arrival.unexpected_if(method != Method::GET, "a method other than GET");
            reports::file(arrival, &name)
        })
        .await
}

async fn serve(api: Api, token: Option<String>, method: Method, path: String, incoming: Incoming) -> Response<Body> {
    let name = name_of(find(api, &method, &path));
    incoming
        .serve(Vendor::Jaicp, name, move |arrival, body| {
            authorize(arrival, token.as_deref())?;
            respond(arrival, api, &method, &path, body)
        })
        .await
}

fn find<'a>(api: Api, method: &Method, path: &'a str) -> Endpoint<'a> {
    let (get, post) = (*method == Method::GET, *method == Method::POST);
    match path {
        "filters" if get => Endpoint::Filters,
        "sessions/filter" if post => Endpoint::Sessions,
        "messages/filter" if post => Endpoint::Messages,
        "messages/by-session" if get || post => Endpoint::BySession,
        "clients/filter" if post => Endpoint::Clients,
        "message/labels" if get => Endpoint::List("message_labels"),
        "message/labels/groups" if get && api == Api::Legacy => Endpoint::List("message_label_groups"),
        "logs/labels/sessions" if get && api == Api::Legacy => Endpoint::List("session_labels"),
        "scenario-exeperiments" | "scenario-experiments" if get => Endpoint::List("experiments"),
        "scenario-exeperiments/count-sessions" | "scenario-experiments/count-sessions" if get => {
            Endpoint::List("experiment_counts")
        }
        "projects/sessions/count" if get => Endpoint::List("sessions_count"),
        "stats/unique-clients" if get => Endpoint::List("unique_clients"),
        "stats/switched-sessions" if get => Endpoint::Stats(Metric::Switched),
        "stats/messages/with-advanced-filters" if post => Endpoint::Stats(Metric::Messages),
        "stats/sessions/with-advanced-filters" if post => Endpoint::Stats(Metric::Sessions),
        "stats/session-labels" if post => Endpoint::Stats(Metric::SessionLabels),
        "stats/log-labels" if post => Endpoint::Stats(Metric::MessageLabels),
        "stats/telephony" if get => Endpoint::Telephony,
        "reports" if get => Endpoint::Tasks,
        "async/events" if get && api == Api::V1 => Endpoint::Events,
        _ => find_report(api, method, path),
    }
}

fn find_report<'a>(api: Api, method: &Method, path: &'a str) -> Endpoint<'a> {
    let reports = if api == Api::V1 { "async/reporter/reports/" } else { "reports/" };
    let kinds = ["sessions", "messages", "clients", "telephony"];
    if let Some(task) = path.strip_prefix("reports/tasks/").filter(|_| *method == Method::GET) {
        return Endpoint::Task(task);
    }
    match path.strip_prefix(reports) {
        Some(kind) if *method == Method::POST && kinds.contains(&kind) => {
            kinds.iter().find(|known| **known == kind).map_or(Endpoint::Nothing, |kind| Endpoint::Create(kind))
        }
        // All of these change something at the vendor (`§6, §8, §9, §10`).
        _ if *method == Method::PUT || *method == Method::DELETE || *method == Method::PATCH => Endpoint::Write,
        _ if *method == Method::POST => Endpoint::Write,
        _ => Endpoint::Nothing,
    }
}

fn name_of(endpoint: Endpoint<'_>) -> &'static str {
    match endpoint {
        Endpoint::Filters => "jaicp_filters",
        Endpoint::Sessions => "jaicp_sessions",
        Endpoint::Messages => "jaicp_messages",
        Endpoint::BySession => "jaicp_by_session",
        Endpoint::Clients => "jaicp_clients",
        Endpoint::List(_) => "jaicp_list",
        Endpoint::Stats(_) => "jaicp_stats",
        Endpoint::Telephony => "jaicp_telephony",
        Endpoint::Create(_) => "jaicp_create_report",
        Endpoint::Tasks => "jaicp_tasks",
        Endpoint::Task(_) => "jaicp_task",
        Endpoint::Events => "jaicp_events",
        Endpoint::Write => "jaicp_write",
        Endpoint::Nothing => "jaicp_unknown",
    }
}

/// Checks the token in the path or in the header (`§1`); the refusal is not documented.
fn authorize(arrival: &Arrival, token: Option<&str>) -> Result<(), PlannedResponse> {
    arrival.unexpected_headers(&[COOKIE]);
    let account = &arrival.world.jaicp.account;
    let is_right = if let Some(token) = token {
        arrival.unexpected_headers(&[AUTHORIZATION]);
        token == account.token
    } else {
        arrival.header(&AUTHORIZATION) == Some(&format!("Bearer {}", account.unified_token))
    };
    if is_right {
        return Ok(());
    }
    let status = StatusCode::from_u16(arrival.world.jaicp.shape().wrong_token).unwrap_or(StatusCode::UNAUTHORIZED);
    Err(arrival.unauthorized(error(status, "token")))
}

fn respond(arrival: &Arrival, api: Api, method: &Method, path: &str, body: &[u8]) -> Result<Reply, PlannedResponse> {
    let shape = arrival.world.jaicp.shape();
    let endpoint = find(api, method, path);
    params::check(arrival, api, endpoint)?;
    match endpoint {
        Endpoint::Filters => match arrival.query("analyticsSection").as_deref() {
            Some("SESSIONS" | "CLIENTS") => Ok(lists::whole(arrival, "filters", &rows::filters())),
            _ => Err(error(StatusCode::BAD_REQUEST, "analyticsSection")),
        },
        Endpoint::Sessions => session_list(arrival, api, &shape, body),
        Endpoint::Messages => message_list(arrival, &shape, body),
        Endpoint::BySession if *method == shape.by_session => by_session(arrival, &shape),
        Endpoint::BySession => Err(PlannedResponse::empty(StatusCode::METHOD_NOT_ALLOWED)),
        Endpoint::Clients => client_list(arrival, &shape, body),
        Endpoint::List("experiments" | "experiment_counts")
            if path.starts_with("scenario-experiments") != shape.spelled_right =>
        {
            Err(error(StatusCode::NOT_FOUND, "path"))
        }
        Endpoint::List(name) => Ok(lists::whole(arrival, name, &whole(arrival, name))),
        Endpoint::Stats(metric) => stats::respond(arrival, &shape, metric, body),
        Endpoint::Telephony => stats::telephony(arrival, &shape),
        Endpoint::Create(kind) => reports::create(arrival, kind, body, api == Api::V1),
        Endpoint::Tasks => Ok(reports::all(arrival)),
        Endpoint::Task(id) => reports::task(arrival, &shape, id),
        Endpoint::Events => reports::events(arrival, &shape),
        Endpoint::Write => {
            arrival.unexpected_if(true, "a call that writes");
            Ok(Reply::new(PlannedResponse::empty(StatusCode::OK), None))
        }
        Endpoint::Nothing => Err(error(StatusCode::NOT_FOUND, "path")),
    }
}

fn whole(arrival: &Arrival, name: &str) -> Vec<Value> {
    let project = &arrival.world.jaicp.account.project;
    match name {
        "sessions_count" => vec![json!({ "projectShortName": project, "amount": 12_345 })],
        "unique_clients" => vec![json!({ "projectShortName": project, "totalCount": 9_876 })],
        "message_labels" => rows::message_labels(),
        "message_label_groups" => rows::message_label_groups(),
        "session_labels" => rows::session_labels(),
        "experiments" => rows::experiments(),
        _ => rows::experiment_counts(),
    }
}

/// The time range of a list, which must be of this kind.
fn range(arrival: &Arrival, key: &str, body: &[u8]) -> Result<filters::Range, PlannedResponse> {
    let range = filters::read(body, arrival.world.options.end_inclusive)?;
    if range.key == key { Ok(range) } else { Err(error(StatusCode::BAD_REQUEST, "filter_not_simulated")) }
}

fn session_list(arrival: &Arrival, api: Api, shape: &Shape, body: &[u8]) -> Result<Reply, PlannedResponse> {
    let (page, range) = (Page::read(arrival, shape)?, range(arrival, "MESSAGE_TIME", body)?);
    let world = &arrival.world;
    let mut sessions =
        world.jaicp.with_edits(|edits| sessions::sessions(world, shape, edits, range.span, By::MessageTime));
    sessions.retain(|session| range.wants(session));
    let is_asked = |name: &str| arrival.query(name).as_deref() == Some("true");
    for session in &mut sessions {
        if !is_asked("needToReturnSessionLabels") {
            session.remove("labels");
        }
        // The legacy API has no such parameter (`§12`).
        if api == Api::V1 && !is_asked("needToReturnSessionData") {
            session.remove("sessionData");
        }
    }
    let rows = sessions.into_iter().map(|session| Value::Object(session).to_string()).collect();
    Ok(page.reply(arrival, shape, ("sessions", "sessions"), rows, "", Some(&range)))
}

fn message_list(arrival: &Arrival, shape: &Shape, body: &[u8]) -> Result<Reply, PlannedResponse> {
    let (page, range) = (Page::read(arrival, shape)?, range(arrival, "MESSAGE_TIME", body)?);
    let rows = texts(arrival, rows::MESSAGES, range.span);
    let rows = rows.iter().filter(|row| range.wants_text(row)).map(|row| without(row, &["status"])).collect();
    Ok(page.reply(arrival, shape, ("messages", "messages"), rows, "", Some(&range)))
}

fn client_list(arrival: &Arrival, shape: &Shape, body: &[u8]) -> Result<Reply, PlannedResponse> {
    let (page, range) = (Page::read(arrival, shape)?, range(arrival, "CLIENT_LAST_ACTIVITY_TIME", body)?);
    let mut rows = texts(arrival, rows::CLIENTS, range.span);
    rows.retain(|row| range.wants_text(row));
    Ok(page.reply(arrival, shape, ("clients", "clients"), rows, "", Some(&range)))
}

/// All turns of one session, at any time.
fn by_session(arrival: &Arrival, shape: &Shape) -> Result<Reply, PlannedResponse> {
    let page = Page::read(arrival, shape)?;
    let id = arrival.query("sessionId").ok_or_else(|| error(StatusCode::BAD_REQUEST, "sessionId"))?;
    // The id contains the day on which the session started.
    let day = id.rsplit('-').nth(1).and_then(|day| day.parse::<i64>().ok());
    let day = day.ok_or_else(|| error(StatusCode::NOT_FOUND, "session"))?;
    let from = day * 864_000_000_000;
    let turns = texts(arrival, rows::MESSAGES, Span { from, until: from + 2 * 864_000_000_000 });
    let needle = format!("\"sessionId\":{}", json!(id));
    let turns: Vec<String> =
        turns.iter().filter(|turn| turn.contains(&needle)).map(|turn| without(turn, OF_BULK_LIST)).collect();
    let session = json!({ "sessionId": id, "projectShortName": arrival.world.jaicp.account.project });
    let session = format!("\"session\":{session},");
    Ok(page.reply(arrival, shape, ("by_session", "messages"), turns, &session, None))
}

fn texts(arrival: &Arrival, section: usize, span: Span) -> Vec<String> {
    let data = &arrival.world.jaicp.data;
    let mut rows = Vec::new();
    data.with_truth(|truth| {
        truth.walk(section, data.visible(span), None, &mut |_, text| {
            rows.push(text.to_owned());
            true
        });
    });
    rows
}

/// The object without these members.
fn without(object: &str, names: &[&str]) -> String {
    let Ok(members) = serde_json::from_str::<BTreeMap<String, &serde_json::value::RawValue>>(object) else {
        return object.to_owned();
    };
    let kept: Vec<String> = members
        .iter()
        .filter(|(name, _)| !names.contains(&name.as_str()))
        .map(|(name, value)| format!("{}:{value}", json!(name)))
        .collect();
    format!("{{{}}}", kept.join(","))
}

/// The format of the sibling API (`facts/jaicp.md §2`).
fn error(status: StatusCode, what: &str) -> PlannedResponse {
    let body = json!({ "error": format!("reporter.wrong.{what}"), "message": format!("{what} is wrong") });
    PlannedResponse::new(status, JSON, body.to_string())
}
