//! The request for a report (`facts/lexer.md §3`), checked as strictly as the documents allow.

use axum::http::StatusCode;
use chrono::{DateTime, FixedOffset, Months, TimeDelta, Utc};
use serde_json::{Map, Value};

use super::super::call::Arrival;
use super::super::response::PlannedResponse;
use super::super::truth::{Span, ticks};
use super::error;
use super::rows::FORMS;

/// Every type, including those of jobs and the one that no document names (`§4`), whose name here is invented.
const TYPES: &[&str] = &[
    "summary",
    "states_volume",
    "workflow_volume",
    "classifications",
    "response_volume",
    "user_summary",
    "user_volume",
    "case_summary",
    "case_volume",
    "case_classifications",
    "case_details",
    "nps_summary",
    "nps_volume",
    "nps_submissions",
    "mention_sla_export",
];
const CATEGORIES: &[&str] = &["all", "promoters", "passives", "detractors"];
const FIELDS: &[&str] = &["type", "date_from", "date_to", "form", "nps_category"];

/// A valid request.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub kind: &'static str,
    pub from: DateTime<FixedOffset>,
    /// Inclusive, to the second.
    pub to: DateTime<FixedOffset>,
    pub form: Option<i64>,
    pub category: String,
}

impl Asked {
    /// `known` are further fields that are accepted silently.
    pub fn read(arrival: &Arrival, body: &[u8], known: &[String]) -> Result<Self, PlannedResponse> {
        let malformed = || error(StatusCode::NOT_FOUND, "Not found");
        let body: Map<String, Value> = serde_json::from_slice(body).map_err(|_| malformed())?;
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        let kind = TYPES.iter().find(|kind| **kind == text("type"));
        let Some(kind) = kind else { return Err(invalid("invalid type")) };
        let (Some(from), Some(to)) = (moment(text("date_from")), moment(text("date_to"))) else {
            return Err(malformed());
        };
        if to < from || from.offset() != to.offset() {
            return Err(malformed());
        }
        if from.checked_add_months(Months::new(12)).is_none_or(|most| to >= most) {
            return Err(invalid("date range is too long"));
        }
        if from > Utc::now() {
            return Err(invalid("starting date is a future date"));
        }
        let nps = kind.starts_with("nps_");
        let form = body.get("form").and_then(Value::as_i64);
        let category = body.get("nps_category").and_then(Value::as_str).unwrap_or_default().to_owned();
        if nps {
            let survey = FORMS.iter().any(|(id, _, _, nps)| Some(*id) == form && *nps);
            if !survey || !CATEGORIES.contains(&category.as_str()) {
                return Err(malformed());
            }
        } else {
            arrival.unexpected_if(body.contains_key("form") || body.contains_key("nps_category"), "an NPS field");
        }
        let foreign = |name: &String| !FIELDS.contains(&name.as_str()) && !known.contains(name);
        arrival.unexpected_if(body.keys().any(foreign), "a field that nothing documents");
        arrival.unexpected_if(to.timestamp_subsec_nanos() > 0 || from.timestamp_subsec_nanos() > 0, "half a second");
        Ok(Self { kind, from, to, form: form.filter(|_| nps), category })
    }

    pub fn span(&self) -> Span {
        let utc = |at: DateTime<FixedOffset>| at.with_timezone(&Utc);
        Span { from: ticks(utc(self.from)), until: ticks(utc(self.to) + TimeDelta::seconds(1)) }
    }

    /// Whether intervals are hours, by the rule of each type (`§5.2, §5.5`). For cases nothing is documented.
    pub fn hourly(&self) -> bool {
        let range = self.to - self.from;
        if self.kind == "response_volume" { range <= TimeDelta::days(3) } else { range < TimeDelta::days(4) }
    }
}

/// With a numeric offset.
fn moment(text: &str) -> Option<DateTime<FixedOffset>> {
    DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%:z").ok().filter(|_| text.len() == 25)
}

fn invalid(why: &str) -> PlannedResponse {
    error(StatusCode::BAD_REQUEST, &format!("Invalid report - {why}"))
}
