//! Report tasks (`facts/jaicp.md §10`): created, polled, their files downloaded. Tasks progress with each poll, so
//! that tests need no clock.

use std::fmt::Write as _;
use std::time::Duration;

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::World;
use super::super::call::{Arrival, Reply};
use super::super::response::{JSON, PlannedResponse};
use super::super::stats::ReportCall;
use super::super::truth::Span;
use super::rows::{CLIENTS, MESSAGES};
use super::sessions::{By, sessions};
use super::{Shape, error, filters};

const LINK_TTL: Duration = Duration::from_mins(10);
const SESSION_TITLES: [(&str, &str); 7] = [
    ("Project", "/projectShortName"),
    ("Channel type", "/channelType"),
    ("Client ID", "/client/id"),
    ("Session ID", "/sessionId"),
    ("Session start", "/startTime"),
    ("First phrase", "/firstQuestion"),
    ("Phrase count", "/questionCount"),
];
const MESSAGE_TITLES: [(&str, &str); 5] = [
    ("Project", "/projectShortName"),
    ("Session ID", "/sessionId"),
    ("Time", "/timestamp"),
    ("Phrase", "/question"),
    ("Answer", "/textAnswer"),
];
const CLIENT_TITLES: [(&str, &str); 4] = [
    ("Client ID", "/id"),
    ("Channel type", "/channelType"),
    ("Name", "/firstName"),
    ("Last activity", "/lastVisitDate"),
];

/// How report tasks end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskEnd {
    /// With a file on the vendor's own host.
    OwnFile,
    /// With a file in the storage, behind a pre-signed link.
    StoredFile,
    /// Completed without a file.
    NoFile,
    Failed,
    /// With an unknown status.
    Unknown,
}

/// One task or request.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub id: String,
    kind: &'static str,
    span: Span,
    settings: Value,
    created: DateTime<Utc>,
    polls: u32,
    /// The id of the request that created it (v1).
    request: Option<String>,
    also: Vec<filters::Also>,
    /// Where its file is, once it exists.
    url: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    filters: Value,
    settings: SettingsAsked,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SettingsAsked {
    file_type: String,
    with_header: Option<bool>,
    delimiter: Option<String>,
    date_time_format: Option<String>,
}

/// Creates a task.
pub(super) fn create(
    arrival: &Arrival,
    kind: &'static str,
    body: &[u8],
    is_request: bool,
) -> Result<Reply, PlannedResponse> {
    arrival.unexpected_if(!arrival.headers.contains_key("language"), "no language");
    let (range, settings) = if kind == "telephony" {
        arrival.unexpected_if(!body.is_empty() && body != b"{}", "a body for the telephony report");
        (times(arrival)?, json!({ "fileType": "CSV" }))
    } else {
        let asked: Asked = serde_json::from_slice(body).map_err(|_| error(StatusCode::BAD_REQUEST, "body"))?;
        let settings = &asked.settings;
        let delimiter = settings.delimiter.as_deref().unwrap_or(",");
        if settings.file_type != "CSV" || delimiter.chars().count() != 1 {
            return Err(error(StatusCode::BAD_REQUEST, "settings"));
        }
        let format = settings.date_time_format.as_deref().unwrap_or("yyyy-MM-dd HH:mm:ss.SSS");
        let echoed = json!({ "fileType": "CSV", "withHeader": settings.with_header.unwrap_or(true),
            "delimiter": delimiter, "dateTimeFormat": format });
        let filters = json!({ "filters": asked.filters }).to_string();
        (filters::read(filters.as_bytes(), arrival.world.options.end_inclusive)?, echoed)
    };
    let action = arrival.meet(&[kind], None);
    let mut tasks = super::super::locked(&arrival.world.jaicp.tasks);
    let id = format!("t-{}", 501 + tasks.len());
    let (created, request) = (Utc::now(), is_request.then(|| format!("r-{}", 901 + tasks.len())));
    let task =
        Task { id, kind, span: range.span, settings, created, polls: 0, request, also: range.also.clone(), url: None };
    let response = match &task.request {
        Some(request) => json!({ "requestId": request, "requestTime": text(task.created) }),
        None => json(arrival, &task, "CREATED"),
    };
    if arrival.world.jaicp.shape().creates {
        tasks.push(task);
    }
    let report = ReportCall {
        report: format!("report_{kind}"),
        start_date: range.from,
        end_date: range.to,
        ..ReportCall::default()
    };
    Ok(Reply::new(PlannedResponse::json(response.to_string()), action).reported(report))
}

fn times(arrival: &Arrival) -> Result<filters::Range, PlannedResponse> {
    let time = |name: &str| {
        let text = arrival.query(name).unwrap_or_default();
        filters::moment(&text).map(|at| (text, at)).ok_or_else(|| error(StatusCode::BAD_REQUEST, name))
    };
    let ((from, start), (to, end)) = (time("startTime")?, time("endTime")?);
    Ok(filters::Range { key: String::new(), from, to, span: Span::new(start, end), also: Vec::new() })
}

/// A time in the vendor's format.
fn text(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn json(arrival: &Arrival, task: &Task, status: &str) -> Value {
    let mut object = json!({
        "taskId": task.id, "accountId": 1000, "creationTime": text(task.created),
        "status": status, "reportType": task.kind.to_uppercase(), "settings": task.settings,
        "projectShortName": arrival.world.jaicp.account.project, "writeCount": 0, "totalCount": 0,
    });
    if let Some(url) = &task.url {
        object["fileUrl"] = json!(url);
        object["fileName"] = json!(format!("{}.csv", task.id));
    }
    object
}

/// All tasks of the account.
pub(super) fn all(arrival: &Arrival) -> Reply {
    let tasks = super::super::locked(&arrival.world.jaicp.tasks);
    let listed: Vec<Value> = tasks.iter().map(|task| json(arrival, task, "STARTED")).collect();
    Reply::new(PlannedResponse::json(json!({ "tasks": listed }).to_string()), arrival.meet(&["tasks"], None))
}

/// One task, one step further.
pub(super) fn task(arrival: &Arrival, shape: &Shape, id: &str) -> Result<Reply, PlannedResponse> {
    let world = &arrival.world;
    let mut tasks = super::super::locked(&world.jaicp.tasks);
    let Some(task) = tasks.iter_mut().find(|task| task.id == id) else {
        return Err(error(StatusCode::NOT_FOUND, "task"));
    };
    let status = advance(world, shape, task);
    let action = arrival.meet(&[task.kind], None);
    Ok(Reply::new(PlannedResponse::json(json(arrival, task, status).to_string()), action))
}

/// The events of a request; empty until it has ended (v1).
pub(super) fn events(arrival: &Arrival, shape: &Shape) -> Result<Reply, PlannedResponse> {
    let world = &arrival.world;
    let id = arrival.query("requestId").ok_or_else(|| error(StatusCode::BAD_REQUEST, "requestId"))?;
    let mut tasks = super::super::locked(&world.jaicp.tasks);
    let Some(task) = tasks.iter_mut().find(|task| task.request.as_ref() == Some(&id)) else {
        return Err(error(StatusCode::NOT_FOUND, "request"));
    };
    // Milliseconds, as the vendor's other integer times. Earlier requests are not reported.
    let from: i64 = arrival.query("startTime").and_then(|text| text.parse().ok()).unwrap_or_default();
    let is_before = task.created.timestamp_millis() < from;
    let mut event = json!({ "requestId": id, "requestTime": text(task.created), "responseTime": text(Utc::now()) });
    let response = match advance(world, shape, task) {
        "COMPLETED" if !is_before => {
            (event["isOk"], event["payload"]) = (json!(true), json!({ "fileUrl": task.url }));
            json!([event])
        }
        "FAILED" if !is_before => {
            let failed = json!({ "error": "reporter.report.failed", "message": "out of disk" });
            (event["isOk"], event["error"]) = (json!(false), failed);
            json!([event])
        }
        _ => json!([]),
    };
    let action = arrival.meet(&[task.kind], None);
    Ok(Reply::new(PlannedResponse::json(json!({ "response": response }).to_string()), action))
}

fn advance(world: &World, shape: &Shape, task: &mut Task) -> &'static str {
    task.polls += 1;
    if task.polls < shape.polls {
        return "STARTED";
    }
    match shape.task_end {
        TaskEnd::Failed => "FAILED",
        TaskEnd::Unknown => "PONDERING",
        TaskEnd::NoFile => "COMPLETED",
        TaskEnd::OwnFile | TaskEnd::StoredFile => {
            let csv = csv(world, shape, task);
            let name = format!("{}.csv", task.id);
            let url = if shape.task_end == TaskEnd::OwnFile {
                super::super::locked(&world.jaicp.own_files).insert(name.clone(), csv);
                format!("/files/reports/{name}")
            } else {
                world.files.put(&name, "text/csv", csv, LINK_TTL)
            };
            task.url = Some(shape.file_url.clone().unwrap_or(url));
            "COMPLETED"
        }
    }
}

/// The file of a task.
fn csv(world: &World, shape: &Shape, task: &Task) -> String {
    let mut rows = rows(world, shape, task.kind, task.span);
    let (from, to) = (String::new(), String::new());
    let range = filters::Range { key: String::new(), from, to, span: task.span, also: task.also.clone() };
    rows.retain(|row| range.wants(row));
    let titles = titles(task.kind);
    let line = |cells: Vec<String>| {
        cells.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect::<Vec<_>>().join(",")
    };
    let mut csv = line(titles.iter().map(|(title, _)| (*title).to_owned()).collect());
    for row in rows {
        let row = Value::Object(row);
        let cells = titles.iter().map(|(_, at)| match row.pointer(at) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        });
        let _ = write!(csv, "\n{}", line(cells.collect()));
    }
    csv + "\n"
}

fn titles(kind: &str) -> &'static [(&'static str, &'static str)] {
    match kind {
        "messages" => &MESSAGE_TITLES,
        "clients" => &CLIENT_TITLES,
        _ => &SESSION_TITLES,
    }
}

/// The kinds of rows in a report's file.
pub(super) fn rows(world: &World, shape: &Shape, kind: &str, span: Span) -> Vec<Map<String, Value>> {
    let of = |section: usize| {
        let mut rows = Vec::new();
        world.jaicp.data.with_truth(|truth| {
            truth.walk(section, world.jaicp.data.visible(span), None, &mut |_, text| {
                rows.extend(serde_json::from_str(text).ok());
                true
            });
        });
        rows
    };
    match kind {
        "messages" => of(MESSAGES),
        "clients" => of(CLIENTS),
        _ => {
            let calls_only = kind == "telephony";
            let mut sessions = world.jaicp.with_edits(|edits| sessions(world, shape, edits, span, By::Start));
            sessions.retain(|session| !calls_only || session.contains_key("isCallIncoming"));
            sessions
        }
    }
}

/// A file on the vendor's own host; the request must not contain a credential.
pub(super) fn file(arrival: &Arrival, name: &str) -> Result<Reply, PlannedResponse> {
    let files = super::super::locked(&arrival.world.jaicp.own_files);
    let Some(csv) = files.get(name) else { return Err(PlannedResponse::new(StatusCode::NOT_FOUND, JSON, "{}")) };
    Ok(Reply::new(PlannedResponse::new(StatusCode::OK, "text/csv", csv.as_bytes()), arrival.meet(&[name], None)))
}
