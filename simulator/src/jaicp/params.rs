//! Query and header parameters as the two specifications declare them (`facts/jaicp.md §2-§10`). An undeclared name,
//! a value of another type or a missing required parameter is refused.

use axum::http::StatusCode;
use chrono::NaiveDate;

use super::super::call::Arrival;
use super::super::response::PlannedResponse;
use super::stats::Metric;
use super::{Api, Endpoint, error, filters};

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
    Long,
    Boolean,
    Date,
    DateTime,
    Interval,
}

impl Kind {
    fn holds(self, text: &str) -> bool {
        match self {
            Self::Text => !text.is_empty(),
            Self::Integer => text.parse::<i32>().is_ok(),
            Self::Long => text.parse::<i64>().is_ok(),
            Self::Boolean => matches!(text, "true" | "false"),
            Self::Date => text.len() == 10 && text.parse::<NaiveDate>().is_ok(),
            Self::DateTime => filters::moment(text).is_some(),
            Self::Interval => super::interval::Interval::of(text).is_some(),
        }
    }
}

/// Names and types.
type Params = &'static [(&'static str, Kind)];

const PAGING: Params = &[("page", Kind::Integer), ("size", Kind::Integer)];

/// The declared parameters of a call, and the names of the required ones.
fn declared(api: Api, endpoint: Endpoint<'_>) -> (Vec<(&'static str, Kind)>, &'static [&'static str]) {
    const DATES: Params = &[("dateFrom", Kind::Date), ("dateTo", Kind::Date), ("botIds", Kind::Text)];
    let (own, required): (Vec<Params>, &[&str]) = match endpoint {
        Endpoint::Filters => (vec![&[("analyticsSection", Kind::Text)]], &["analyticsSection"]),
        Endpoint::Sessions => {
            let labels: Params = &[("needToReturnSessionLabels", Kind::Boolean)];
            let data: Params = &[("needToReturnSessionData", Kind::Boolean)];
            (if api == Api::V1 { vec![PAGING, labels, data] } else { vec![PAGING, labels] }, &[])
        }
        Endpoint::Messages | Endpoint::Clients => (vec![PAGING], &[]),
        Endpoint::BySession => {
            let own: Params = &[
                ("sessionId", Kind::Text),
                ("responseDataJsonPath", Kind::Text),
                ("botId", Kind::Text),
                ("startTime", Kind::DateTime),
                ("hideEmptyMessage", Kind::Boolean),
            ];
            (vec![PAGING, own], &["sessionId"])
        }
        Endpoint::Stats(Metric::Switched) => (
            vec![DATES, &[("transferToOperatorMethod", Kind::Text), ("textForTransfer", Kind::Text)]],
            &["dateFrom", "dateTo", "transferToOperatorMethod"],
        ),
        Endpoint::Stats(_) => (vec![&[("intervalType", Kind::Interval), ("step", Kind::Integer)]], &[]),
        Endpoint::Telephony => (vec![DATES], &["dateFrom", "dateTo"]),
        Endpoint::Create("telephony") => {
            (vec![&[("startTime", Kind::DateTime), ("endTime", Kind::DateTime), ("botIds", Kind::Text)]], &[])
        }
        Endpoint::Events => {
            (vec![&[("requestId", Kind::Text), ("timeout", Kind::Integer), ("startTime", Kind::Long)]], &[])
        }
        Endpoint::List(_)
        | Endpoint::Create(_)
        | Endpoint::Tasks
        | Endpoint::Task(_)
        | Endpoint::Write
        | Endpoint::Nothing => (Vec::new(), &[]),
    };
    (own.concat(), required)
}

/// Whether v1 declares the project for the call; calls about the account have none.
fn is_of_a_project(endpoint: Endpoint<'_>) -> bool {
    !matches!(
        endpoint,
        Endpoint::Filters
            | Endpoint::List("message_labels" | "sessions_count")
            | Endpoint::Tasks
            | Endpoint::Task(_)
            | Endpoint::Events
    )
}

pub(super) fn check(arrival: &Arrival, api: Api, endpoint: Endpoint<'_>) -> Result<(), PlannedResponse> {
    if matches!(endpoint, Endpoint::Write | Endpoint::Nothing) {
        return Ok(());
    }
    let wrong = |name: &str| Err(error(StatusCode::BAD_REQUEST, name));
    let (mut known, required) = declared(api, endpoint);
    if api == Api::V1 && is_of_a_project(endpoint) {
        known.push(("projectShortName", Kind::Text));
        let project = arrival.query("projectShortName");
        if project.is_none() && matches!(endpoint, Endpoint::List("experiments" | "experiment_counts")) {
            return wrong("projectShortName");
        }
        arrival.unexpected_if(project.is_none(), "no project");
        if project.is_some_and(|project| project != arrival.world.jaicp.account.project) {
            return Err(error(StatusCode::NOT_FOUND, "project"));
        }
    }
    for (name, value) in url::form_urlencoded::parse(arrival.raw_query().as_bytes()) {
        let declared = known.iter().find(|(known, _)| *known == name);
        if declared.is_none_or(|(_, kind)| !kind.holds(&value)) {
            return wrong(&name);
        }
    }
    if let Some(missing) = required.iter().find(|name| arrival.query(name).is_none()) {
        return wrong(missing);
    }
    match arrival.headers.get("timezone") {
        Some(value) if !value.to_str().is_ok_and(|text| Kind::Integer.holds(text)) => wrong("Timezone"),
        _ => Ok(()),
    }
}
