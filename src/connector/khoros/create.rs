//! The call that creates an export job: its window, its parameters, and where they are sent (`§3.1, §4, §5.1`).

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use url::Url;

use super::super::request::below;
use super::super::{StepError, StepRequest, Window};
use super::config::{Method, ReportFormat, Settings, form};
use super::parameters::interval_for;
use crate::catalogue::Mode;
use crate::http::{Call, Payload};

/// The exports whose parameters are sent as a form (`§3.1`).
const IN_A_FORM: [&str; 3] = ["conversation_actions", "conversation_history_action", "user"];
/// A parameter that is always sent in the query (`§3.1`).
const RAISE_LIMIT: &str = "raiselimit";
/// The longest window that the vendor accepts (`§8`). Ninety calendar days may be an hour longer.
const WINDOW_MAX: TimeDelta = TimeDelta::days(90);
/// The window of the export `user`, which only sets the period of its sums (`§5.1`).
const USER_WINDOW: TimeDelta = TimeDelta::hours(24);

/// One of the jobs of a window: the type of conversation report, and the piece of the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JobPart {
    /// Empty except for conversations (`§5.1`).
    report_type: String,
    piece: i32,
    of: i32,
}

const OPEN_AT_END: &str = "OPEN_AT_END";

impl JobPart {
    /// The jobs of a window (`§10`). For conversations: those created and those closed in the window, and once per run
    /// those that are open now.
    pub(super) fn all(request: &StepRequest<'_>) -> Vec<String> {
        let Window { start, end } = request.window;
        let is_long = request.stream.windowed() && end - start > WINDOW_MAX;
        let types: &[&str] = if request.stream.name == "conversation" { &["CREATED", "CLOSED"] } else { &[""] };
        let of = if is_long { 2 } else { 1 };
        let pieces = types.iter().flat_map(|report_type| (1..=of).map(move |piece| (*report_type, piece, of)));
        let open = (types.len() > 1 && request.expected.newest).then_some((OPEN_AT_END, 1, 1));
        pieces.chain(open).map(|(report_type, piece, of)| format!("{report_type} {piece}/{of}")).collect()
    }

    /// Parses the form in the cursor.
    pub(super) fn read(text: &str) -> Result<Self, StepError> {
        let parse = || {
            let (report_type, piece) = text.split_once(' ')?;
            let (piece, of) = piece.split_once('/')?;
            let (piece, of) = (piece.parse().ok()?, of.parse().ok()?);
            (1 <= piece && piece <= of).then(|| Self { report_type: report_type.to_owned(), piece, of })
        };
        parse().ok_or(StepError::CursorUnknown)
    }

    /// The window of the job.
    pub(super) fn window(&self, request: &StepRequest<'_>, now: DateTime<Utc>) -> Window {
        let now = now.trunc_subsecs(0);
        if !request.stream.windowed() {
            return Window { start: now - USER_WINDOW, end: now };
        }
        let Window { start, end } = request.window;
        if self.report_type == OPEN_AT_END {
            return Window { start: start.max(now - WINDOW_MAX), end: now };
        }
        let length = (end - start).num_seconds();
        let bound = |piece: i32| start + TimeDelta::seconds(length / i64::from(self.of) * i64::from(piece));
        Window { start: bound(self.piece - 1), end: if self.piece == self.of { end } else { bound(self.piece) } }
    }
}

/// The start of the part of the window that lies within the vendor's history (`§8`), or `None`.
pub(super) fn served(settings: &Settings, window: Window, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let first = now - TimeDelta::from_std(settings.history).unwrap_or(TimeDelta::MAX / 2);
    (window.end > first).then(|| window.start.max(first.trunc_subsecs(0) + TimeDelta::seconds(1)))
}

/// The call that starts the job.
pub(super) fn call(
    settings: &Settings,
    method: Method,
    base_url: &Url,
    request: &StepRequest<'_>,
    part: &JobPart,
    now: DateTime<Utc>,
) -> Result<Call, StepError> {
    let stream = &*request.stream.name;
    let mut window = part.window(request, now);
    if request.stream.windowed() {
        window.start = served(settings, window, now).unwrap_or(window.start);
    }
    let in_form = method == Method::Post && IN_A_FORM.contains(&stream);
    let (mut query, mut rest) = (vec![("companyKey".to_owned(), settings.company_key.expose().to_owned())], Vec::new());
    for (name, value) in parameters(settings, request, part, window) {
        if in_form && name != RAISE_LIMIT {
            rest.push((name, value));
        } else {
            query.push((name, value));
        }
    }
    let url = below(base_url, &format!("reports/report/{}", request.stream.vendor_id), Some(&form(&query)))?;
    let call = match method {
        Method::Get => Call::get(url),
        Method::Post if in_form => Call::post(url, Payload::Form(form(&rest).into_bytes())),
        Method::Post => Call::post(url, Payload::None),
    };
    Ok(Call { authorization: Some(settings.authorization()), ..call })
}

fn parameters(settings: &Settings, request: &StepRequest<'_>, part: &JobPart, window: Window) -> Vec<(String, String)> {
    let stream = &*request.stream.name;
    let format = match settings.report_format {
        ReportFormat::Json => "json",
        ReportFormat::Csv => "csv",
    };
    let mut list: Vec<(&str, String)> = vec![
        ("startTime", window.start.timestamp_millis().to_string()),
        // Treated as inclusive, so that no instant is requested twice (`§10`).
        ("endTime", (window.end.timestamp_millis() - 1).to_string()),
        ("reportFormat", format.to_owned()),
        ("locale", settings.locale.clone()),
    ];
    // Always the same zone (`§10`). `user` has none (`§5`).
    if request.stream.mode != Mode::Snapshot {
        list.push(("timezoneOffset", settings.timezone_offset.to_string()));
    }
    if !part.report_type.is_empty() {
        list.push(("conversationReportType", part.report_type.clone()));
    }
    let own = settings.parameters.get(stream).map(Vec::as_slice).unwrap_or_default();
    if stream == "team_performance_interval" && !own.iter().any(|(name, _)| name == "timeInterval") {
        let secs = u64::try_from((request.window.end - request.window.start).num_seconds()).unwrap_or(0);
        list.push(("timeInterval", interval_for(secs.max(request.expected.slice_secs)).to_string()));
    }
    let metrics = settings.metrics.get(stream).map(Vec::as_slice).unwrap_or_default();
    list.extend(metrics.iter().map(|metric| ("reportMetrics", metric.clone())));
    let list = list.into_iter().map(|(name, value)| (name.to_owned(), value));
    list.chain(own.iter().cloned()).collect()
}
