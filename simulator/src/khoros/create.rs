//! Checks a create call and starts its job (`facts/khoros_care.md §3.1, §4, §5.1`).

use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE as CONTENT_TYPE_HEADER;
use chrono::Utc;
use serde_json::json;

use super::super::call::{Arrival, Reply};
use super::super::locked;
use super::super::response::PlannedResponse;
use super::super::stats::ReportCall;
use super::super::truth::{Span, Ticks};
use super::job::{Job, Methods, Selection};
use super::rows::{EXPORTS, Export};
use super::{authorize, failed, job, pass};

/// `facts/khoros_care.md §8`
const WINDOW_MAX: Duration = Duration::from_hours(24 * 90);
const HISTORY_MAX: Duration = Duration::from_hours(24 * 550);
/// Between 31 and 42; the exact limit is not known (`§5.1`).
const BUCKETS_MAX: u64 = 32;
/// How far a client's clock may be ahead.
const AHEAD_MAX: Duration = Duration::from_secs(5);
const TICKS_PER_MS: i64 = 10_000;
const INTERVALS: [u64; 11] = [
    300_000,
    600_000,
    900_000,
    1_800_000,
    3_600_000,
    7_200_000,
    14_400_000,
    28_800_000,
    43_200_000,
    86_400_000,
    604_800_000,
];
/// `§3.1`: exports whose parameters must be in a form.
const FORM: [&str; 3] = ["conversation_actions", "conversation_history_action", "user"];
/// Exports that GET can create.
const GET: [&str; 3] = ["conversation", "conversation_actions", "user"];
const COMMON: [&str; 6] = ["companyKey", "startTime", "endTime", "reportFormat", "reportMetrics", "locale"];
/// Parameters that `user` does not have (`§5`).
const NOT_OF_USER: [&str; 7] = [
    "timezone",
    "timezoneOffset",
    "businessHourType",
    "enableBusinessHour",
    "priorities",
    "smartViewId",
    "workqueueIds",
];

/// An accepted create call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    pub export: String,
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Decoded; first those of the query, then those of the form.
    pub parameters: Vec<(String, String)>,
}

impl Submitted {
    /// Every value of a parameter.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.parameters.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a parameter that occurs once.
    pub fn get(&self, name: &str) -> Option<&str> {
        match self.all(name)[..] {
            [only] => Some(only),
            _ => None,
        }
    }
}

/// Starts a job for `path`, an export's id, below `marketing/` or not.
pub(super) fn create(
    arrival: &Arrival,
    method: &'static str,
    path: &str,
    body: &[u8],
) -> Result<Reply, PlannedResponse> {
    authorize(arrival)?;
    let id = path.strip_prefix("marketing/").unwrap_or(path);
    let number = EXPORTS.iter().position(|export| export.id == id && export.id != "teams");
    let is_marketing = id == "raw_brand_post";
    let number = number
        .filter(|_| is_marketing == path.starts_with("marketing/"))
        .ok_or_else(|| PlannedResponse::empty(StatusCode::NOT_FOUND))?;
    let is_served = match arrival.world.khoros.shape().methods {
        Methods::Documented => method == "POST" || GET.contains(&id),
        Methods::PostOnly => method == "POST",
        Methods::GetOnly => method == "GET",
        Methods::Neither => false,
    };
    if !is_served {
        return Err(PlannedResponse::empty(StatusCode::METHOD_NOT_ALLOWED));
    }
    let parameters = parameters(arrival, method, id, body)?;
    let submitted = Submitted { export: id.to_owned(), method, parameters };
    let action = arrival.meet(&[id], None);
    let report = ReportCall {
        report: id.to_owned(),
        start_date: submitted.get("startTime").unwrap_or_default().to_owned(),
        end_date: submitted.get("endTime").unwrap_or_default().to_owned(),
        ..ReportCall::default()
    };
    let response = selection(arrival, &EXPORTS[number], &submitted).map(|selection| {
        let khoros = &arrival.world.khoros;
        let job = Job::new(arrival, number, selection, khoros.next_fate(id));
        let shape = khoros.shape();
        let early = if id == "user" { job.url(arrival, &shape, "download", &job::key(arrival)) } else { String::new() };
        let response = pass(&json!({
            "workflowId": job.workflow,
            "runId": job.run,
            "downloadUrl": early,
            "statusUrl": job.url(arrival, &shape, "status", &job::key(arrival)),
        }));
        locked(&khoros.submitted).push(submitted);
        locked(&khoros.jobs).push(job);
        response
    });
    Ok(Reply::new(response.unwrap_or_else(|refused| refused), action).reported(report))
}

/// The parameters, depending on method and export (`§3.1`).
fn parameters(
    arrival: &Arrival,
    method: &str,
    id: &str,
    body: &[u8],
) -> Result<Vec<(String, String)>, PlannedResponse> {
    let decoded = |text: &[u8]| url::form_urlencoded::parse(text).into_owned().collect::<Vec<_>>();
    let query = decoded(arrival.raw_query().as_bytes());
    let bad = |what: &str| {
        arrival.unexpected_if(true, what);
        PlannedResponse::new(StatusCode::BAD_REQUEST, super::CONTENT_TYPE, "{}")
    };
    if method == "GET" || !FORM.contains(&id) {
        return if body.is_empty() { Ok(query) } else { Err(bad("a body where parameters belong into the query")) };
    }
    let content_type = arrival.header(&CONTENT_TYPE_HEADER);
    if content_type != Some("application/x-www-form-urlencoded") {
        return Err(bad("a body that is not a form"));
    }
    let in_query = |name: &str| name == "companyKey" || (id == "conversation_history_action" && name == "raiselimit");
    if query.iter().any(|(name, _)| !in_query(name)) {
        return Err(bad("parameters in the query that belong into the form"));
    }
    let form = decoded(body);
    if form.iter().any(|(name, _)| in_query(name)) {
        return Err(bad("parameters in the form that belong into the query"));
    }
    Ok(query.into_iter().chain(form).collect())
}

/// The requested export, if valid. A refusal has status 200, as the documented one (`§9`).
fn selection(arrival: &Arrival, export: &Export, asked: &Submitted) -> Result<Selection, PlannedResponse> {
    let wrong = |what: String| Err(failed(&format!("Unable to hydrate filter for export info: {what}")));
    let instant = |name: &str| {
        let text = asked.get(name).unwrap_or_default();
        let digits = text.len() == 13 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i64>().ok().filter(|_| digits)
    };
    let (Some(start), Some(end)) = (instant("startTime"), instant("endTime")) else {
        return wrong("java.lang.NumberFormatException: startTime and endTime are epoch milliseconds".to_owned());
    };
    let now = Utc::now().timestamp_millis();
    let (window, age) = (u64::try_from(end - start), u64::try_from(now - start));
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    match (window, age) {
        (Ok(window), Ok(age)) if window <= ms(WINDOW_MAX) && age <= ms(HISTORY_MAX) => {}
        _ => return wrong("java.lang.IllegalArgumentException: no window of at most 90 days".to_owned()),
    }
    if end > now + i64::try_from(ms(AHEAD_MAX)).unwrap_or(i64::MAX) {
        return wrong("java.lang.IllegalArgumentException: endTime lies in the future".to_owned());
    }
    arrival.unexpected_if(end % 1000 != 999, "an endTime that is not the last millisecond of a second");
    common(arrival, export, asked)?;
    let report_type = report_type(arrival, export, asked)?;
    intervals(export, asked, window.unwrap_or_default())?;
    let metrics: Vec<String> = asked.all("reportMetrics").into_iter().map(str::to_owned).collect();
    if let Some(unknown) = metrics.iter().find(|metric| !export.metrics.contains(&metric.as_str())) {
        return wrong(format!("java.util.NoSuchElementException: no metric {unknown}"));
    }
    let ticks = |ms: i64| -> Ticks { ms * TICKS_PER_MS };
    Ok(Selection {
        // The end is inclusive (`§10`).
        span: Span { from: ticks(start), until: ticks(end + 1) },
        csv: asked.get("reportFormat") == Some("csv"),
        metrics,
        report_type,
    })
}

/// The parameters common to all exports (`§4`).
fn common(arrival: &Arrival, export: &Export, asked: &Submitted) -> Result<(), PlannedResponse> {
    let bad = || PlannedResponse::new(StatusCode::BAD_REQUEST, super::CONTENT_TYPE, "{}");
    let repeated = |name: &str| asked.all(name).len() > 1 && !matches!(name, "reportMetrics" | "agentId" | "teamId");
    if asked.parameters.iter().any(|(name, _)| repeated(name)) {
        arrival.unexpected_if(true, "a parameter twice");
        return Err(bad());
    }
    if !matches!(asked.get("reportFormat"), None | Some("json" | "csv")) {
        return Err(bad());
    }
    if !matches!(asked.get("locale"), None | Some("en" | "es" | "fr" | "de" | "tr" | "en_US")) {
        return Err(bad());
    }
    let offset = asked.get("timezoneOffset");
    if offset.is_some_and(|offset| offset.parse::<i64>().is_err()) {
        return Err(bad());
    }
    let zones = usize::from(offset.is_some()) + asked.all("timezone").len();
    arrival.unexpected_if(export.id != "user" && zones != 1, "not exactly one zone");
    let business = asked.get("businessHourType").is_some() && asked.get("enableBusinessHour") != Some("true");
    arrival.unexpected_if(business, "businessHourType without enableBusinessHour");
    let own: &[&str] = match export.id {
        "conversation" => &["conversationReportType"],
        "conversation_history_action" => &["raiselimit"],
        "raw_agent_states" => &["teamIds"],
        "response_approval" | "team_performance" => &["teamIds", "includeDisabled"],
        "team_performance_interval" => &["teamIds", "includeDisabled", "timeInterval"],
        "user" => &["agentId", "teamId", "includeDisabled"],
        _ => &[],
    };
    for (name, _) in &asked.parameters {
        let name = name.as_str();
        let known = COMMON.contains(&name)
            || own.contains(&name)
            || (export.id != "user" && NOT_OF_USER.contains(&name))
            || export.id == "raw_brand_post";
        arrival.unexpected_if(!known, "a parameter that the export does not have");
    }
    Ok(())
}

fn report_type(arrival: &Arrival, export: &Export, asked: &Submitted) -> Result<Option<&'static str>, PlannedResponse> {
    if export.id != "conversation" {
        return Ok(None);
    }
    let wanted = asked.get("conversationReportType");
    arrival.unexpected_if(wanted.is_none(), "no conversationReportType");
    match wanted {
        None | Some("OPEN_AT_END") => Ok(Some("OPEN_AT_END")),
        Some("CREATED") => Ok(Some("CREATED")),
        Some("CLOSED") => Ok(Some("CLOSED")),
        Some(_) => Err(failed("Unable to hydrate filter for export info: no such conversationReportType")),
    }
}

fn intervals(export: &Export, asked: &Submitted, window_ms: u64) -> Result<(), PlannedResponse> {
    if export.id != "team_performance_interval" {
        return Ok(());
    }
    let wrong = |what: &str| failed(&format!("Unable to hydrate filter for export info: {what}"));
    let interval = asked.get("timeInterval").and_then(|text| text.parse::<u64>().ok());
    let Some(interval) = interval else { return Err(wrong("java.lang.NullPointerException: timeInterval")) };
    if !INTERVALS.contains(&interval) && interval <= 604_800_000 {
        return Err(wrong("java.lang.IllegalArgumentException: no such interval"));
    }
    let buckets = window_ms / interval + 1;
    if buckets > BUCKETS_MAX {
        return Err(wrong(&format!(
            "com.example.TooManyBucketsException: Too many buckets ({buckets}) requested. Select a larger interval?"
        )));
    }
    Ok(())
}
