//! Statistics (`facts/jaicp.md §7`), counted from the rows per interval; empty intervals are left out.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use chrono::NaiveDate;
use serde_json::{Map, Value, json};

use super::super::World;
use super::super::call::{Arrival, Reply};
use super::super::response::PlannedResponse;
use super::super::stats::ReportCall;
use super::super::truth::{Span, ticks};
use super::interval::Interval;
use super::rows::MESSAGES;
use super::sessions::{By as Asked, Edits, sessions};
use super::{Shape, error, filters};

/// Numbers by bucket (milliseconds since 1970) and label (0: no label).
pub type Series = BTreeMap<i64, BTreeMap<i64, u64>>;

/// The counted metric, by the last part of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Metric {
    Messages,
    Sessions,
    SessionLabels,
    MessageLabels,
    Switched,
}

/// The metric and its buckets.
#[derive(Debug, Clone, Copy)]
pub(super) struct By {
    pub metric: Metric,
    pub interval: Interval,
    pub span: Span,
    /// In minutes.
    pub zone: i64,
}

/// Counts a metric over the matching rows.
pub(super) fn series(
    world: &World,
    shape: &Shape,
    edits: &Edits,
    by: &By,
    wants: &dyn Fn(&Map<String, Value>) -> bool,
) -> Series {
    let By { metric, interval, span, zone } = *by;
    let mut series = Series::new();
    let mut count = |at: Option<&Value>, label: i64| {
        let Some(at) = at.and_then(Value::as_str).and_then(filters::moment) else { return };
        *series.entry(label).or_default().entry(interval.bucket(at, zone)).or_default() += 1;
    };
    let labels = |row: &Map<String, Value>| -> Vec<i64> {
        let labels = row.get("labels").and_then(Value::as_array).cloned().unwrap_or_default();
        labels.iter().filter_map(|label| label["id"].as_i64()).collect()
    };
    match metric {
        Metric::Messages | Metric::MessageLabels => {
            let data = &world.jaicp.data;
            data.with_truth(|truth| {
                truth.walk(MESSAGES, data.visible(span), None, &mut |_, text| {
                    let row: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
                    let of = if metric == Metric::Messages { vec![0] } else { labels(&row) };
                    for label in of.into_iter().filter(|_| wants(&row)) {
                        count(row.get("timestamp"), label);
                    }
                    true
                });
            });
        }
        Metric::Sessions | Metric::SessionLabels | Metric::Switched => {
            for session in
                sessions(world, shape, edits, span, Asked::Start).into_iter().filter(|session| wants(session))
            {
                let of = match metric {
                    Metric::SessionLabels => labels(&session),
                    Metric::Switched if session.get("isLivechat") != Some(&Value::Bool(true)) => Vec::new(),
                    _ => vec![0],
                };
                for label in of {
                    count(session.get("startTime"), label);
                }
            }
        }
    }
    series
}

/// The values of one label, as `[{ts, value}]`.
fn buckets(of: &BTreeMap<i64, u64>, shape: &Shape) -> Vec<Value> {
    let ts = |at: i64| if shape.ts_in_seconds { at / 1000 } else { at };
    of.iter().map(|(at, count)| json!({ "ts": ts(*at), "value": number(*count) })).collect()
}

/// A count as a fraction, the vendor's number format.
fn number(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

/// The `Timezone` header: a number, here in minutes.
fn zone(arrival: &Arrival) -> Result<i64, PlannedResponse> {
    match arrival.headers.get("timezone") {
        None => Ok(0),
        Some(value) => {
            let number = value.to_str().ok().and_then(|text| text.parse::<i32>().ok());
            number.map(i64::from).ok_or_else(|| error(StatusCode::BAD_REQUEST, "Timezone"))
        }
    }
}

pub(super) fn respond(arrival: &Arrival, shape: &Shape, metric: Metric, body: &[u8]) -> Result<Reply, PlannedResponse> {
    let name = match metric {
        Metric::Messages => "messages",
        Metric::Sessions => "sessions",
        Metric::SessionLabels => "session_labels",
        Metric::MessageLabels => "message_labels",
        Metric::Switched => "switched_sessions",
    };
    let zone = zone(arrival)?;
    let (interval, range, span, asked) = if metric == Metric::Switched {
        if arrival.query("transferToOperatorMethod").as_deref() != Some("SWITCH") {
            return Err(error(StatusCode::BAD_REQUEST, "transferToOperatorMethod"));
        }
        let (span, asked) = dates(arrival, zone)?;
        (Interval::Day, None, span, asked)
    } else {
        let interval = arrival.query("intervalType").as_deref().and_then(Interval::of);
        // The default is not documented, and longer intervals are not simulated.
        let interval = interval.filter(|_| arrival.query("step").is_none_or(|step| step == "1"));
        let interval = interval.ok_or_else(|| error(StatusCode::BAD_REQUEST, "intervalType"))?;
        let range = filters::read(body, arrival.world.options.end_inclusive)?;
        let wanted = match metric {
            Metric::Messages | Metric::MessageLabels => "MESSAGE_TIME",
            _ => "SESSION_START_TIME",
        };
        if range.key != wanted {
            return Err(error(StatusCode::BAD_REQUEST, "filter_not_simulated"));
        }
        let (span, asked) = (range.span, (range.from.clone(), range.to.clone()));
        (interval, Some(range), span, asked)
    };
    let world = &arrival.world;
    let wants = |row: &Map<String, Value>| range.as_ref().is_none_or(|range| range.wants(row));
    let by = By { metric, interval, span, zone };
    let series = world.jaicp.with_edits(|edits| series(world, shape, edits, &by, &wants));
    let total: u64 = series.values().flat_map(BTreeMap::values).sum();
    let none = BTreeMap::new();
    let body = if matches!(metric, Metric::SessionLabels | Metric::MessageLabels) {
        let known =
            if metric == Metric::SessionLabels { super::rows::session_labels() } else { super::rows::message_labels() };
        let label = |id: i64| known.iter().find(|label| label["id"] == id).cloned().unwrap_or_default();
        let of = |(id, of): (&i64, &BTreeMap<i64, u64>)| json!({ "label": label(*id), "tsToValues": buckets(of, shape), "totalCount": of.values().sum::<u64>() });
        json!({ "stats": series.iter().map(of).collect::<Vec<_>>(), "filterSetId": "fs-9a" })
    } else {
        json!({ "stats": buckets(series.get(&0).unwrap_or(&none), shape), "totalCount": number(total) })
    };
    Ok(reply(arrival, name, &body, asked))
}

fn reply(arrival: &Arrival, name: &str, body: &Value, (start_date, end_date): (String, String)) -> Reply {
    let response = PlannedResponse::json(body.to_string());
    let report = ReportCall { report: name.to_owned(), start_date, end_date, rows: 1, ..ReportCall::default() };
    Reply::new(response, arrival.meet(&[name], None)).reported(report)
}

/// `dateFrom` and `dateTo`: whole days, both inclusive.
fn dates(arrival: &Arrival, zone: i64) -> Result<(Span, (String, String)), PlannedResponse> {
    let date = |name: &str| {
        let text = arrival.query(name).filter(|text| text.len() == 10);
        let date = text.as_deref().and_then(|text| text.parse::<NaiveDate>().ok());
        date.zip(text).ok_or_else(|| error(StatusCode::BAD_REQUEST, name))
    };
    let ((from, from_text), (to, to_text)) = (date("dateFrom")?, date("dateTo")?);
    let start = |date: NaiveDate| ticks(date.and_time(chrono::NaiveTime::MIN).and_utc()) - zone * 600_000_000;
    let span = Span { from: start(from), until: start(to.succ_opt().unwrap_or(to)) };
    if span.is_empty() {
        return Err(error(StatusCode::BAD_REQUEST, "dateTo"));
    }
    Ok((span, (from_text, to_text)))
}

/// Calls are the sessions of the phone channel.
pub(super) fn telephony(arrival: &Arrival, shape: &Shape) -> Result<Reply, PlannedResponse> {
    let (span, asked) = dates(arrival, zone(arrival)?)?;
    let world = &arrival.world;
    let calls = world.jaicp.with_edits(|edits| calls(world, shape, edits, span));
    let body = json!({
        "averageCallDurationInSeconds": calls.average,
        "billingCount": buckets(&calls.all, shape),
        "incomingCount": buckets(&calls.incoming, shape),
        "outgoingCount": buckets(&calls.outgoing, shape),
    });
    Ok(reply(arrival, "telephony", &body, asked))
}

/// The calls of a span, by day.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Calls {
    pub average: f64,
    pub all: BTreeMap<i64, u64>,
    pub incoming: BTreeMap<i64, u64>,
    pub outgoing: BTreeMap<i64, u64>,
}

pub(super) fn calls(world: &World, shape: &Shape, edits: &Edits, span: Span) -> Calls {
    let mut calls = Calls::default();
    let (mut seconds, mut number) = (0.0, 0.0);
    for session in sessions(world, shape, edits, span, Asked::Start) {
        let Some(incoming) = session.get("isCallIncoming").and_then(Value::as_bool) else { continue };
        let Some(at) = session["startTime"].as_str().and_then(filters::moment) else { continue };
        let bucket = Interval::Day.bucket(at, 0);
        *calls.all.entry(bucket).or_default() += 1;
        *if incoming { &mut calls.incoming } else { &mut calls.outgoing }.entry(bucket).or_default() += 1;
        seconds += session["duration"].as_f64().unwrap_or_default() / 1000.0;
        number += 1.0;
    }
    // All parsers read numbers with few digits alike.
    calls.average = if number > 0.0 { (seconds / number).round() } else { 0.0 };
    calls
}
