//! Khoros Care's Analytics Reports API as `vendors/khoros_care.md` has it: exports that are jobs, and two lists.

mod rows;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::{Response, StatusCode};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{Offset as _, TimeZone as _, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};

use super::answer::Answer;
use super::call::{Arrival, Gateway, Incoming, Reply};
use super::limits::{Applies, Refusal, Refused, Rule, Unit};
use super::stats::ReportCall;
use super::truth::Reports;
use super::{Control, Options, TruthHandle, Vendor, World};

const TEAMS: &str = "khoros_teams";
const TIMEZONES: &str = "khoros_timezones";
/// Many JSON answers are declared as text (`vendors/khoros_care.md §3.1`).
const CONTENT_TYPE: &str = "text/plain;charset=UTF-8";

/// The one account of the simulated vendor. Made up, like its secrets.
#[derive(Clone)]
pub struct Account {
    pub company_key: String,
    pub username: String,
    pub password: String,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            company_key: "harbour-k7".to_owned(),
            username: "reports-api".to_owned(),
            password: "5f0c-Tide-9b21".to_owned(),
        }
    }
}

/// The vendor's state.
pub(super) struct Khoros {
    pub gateway: Gateway,
    pub data: Reports,
    account: Account,
}

impl Khoros {
    pub fn new(options: &Options) -> Self {
        let source = rows::Rows { seed: options.seed, volume: options.volume };
        Self {
            gateway: Gateway::new(options, &[limit(options)], too_many),
            data: Reports::new(Box::new(source), rows::names(), options.hide_future),
            account: options.khoros.clone(),
        }
    }
}

/// `vendors/khoros_care.md §8`
fn limit(options: &Options) -> Rule {
    options.rule(Rule {
        name: "khoros.requests",
        applies: Applies::Every,
        unit: Unit::Calls,
        refused: Refused::Rate,
        amount: 20,
        period: Duration::from_mins(1),
    })
}

/// Neither `Retry-After` nor a body is documented (`vendors/khoros_care.md §8`).
fn too_many(_: &Refusal) -> Answer {
    Answer::empty(StatusCode::TOO_MANY_REQUESTS)
}

/// What a test does to Khoros beyond `Control`.
pub struct Handle(pub(super) Control);

impl Handle {
    pub fn data(&self) -> TruthHandle {
        self.0.data(Vendor::Khoros)
    }
}

pub(super) fn routes() -> Router<Arc<World>> {
    Router::new().route("/api/public/config/timezones", get(timezones)).route("/api/public/teams", get(teams))
}

async fn timezones(incoming: Incoming) -> Response<Body> {
    incoming
        .serve(Vendor::Khoros, TIMEZONES, |arrival, _| {
            authorize(arrival)?;
            let zones = [Tz::UTC, Tz::America__Santiago, Tz::Europe__Lisbon, Tz::Asia__Kathmandu].map(zone);
            Ok(list(arrival, "timezones", &zones))
        })
        .await
}

async fn teams(incoming: Incoming) -> Response<Body> {
    incoming
        .serve(Vendor::Khoros, TEAMS, |arrival, _| {
            authorize(arrival)?;
            Ok(list(arrival, "teams", &rows::teams(arrival.world.options.seed)))
        })
        .await
}

/// A list's reply, logged as a report.
fn list(arrival: &Arrival, report: &str, elements: &[Value]) -> Reply {
    let answer = pass(&json!(elements));
    let rows = elements.len() as u64;
    Reply::new(answer, arrival.meet(&[report], None)).reported(ReportCall {
        report: report.to_owned(),
        rows,
        ..ReportCall::default()
    })
}

/// The envelope of every good answer.
fn pass(result: &Value) -> Answer {
    let body = json!({ "status": "PASS", "request": null, "message": null, "result": result });
    Answer::new(StatusCode::OK, CONTENT_TYPE, body.to_string())
}

/// HTTP Basic and the company's key (`vendors/khoros_care.md §2`); what a refusal looks like is not documented.
fn authorize(arrival: &Arrival) -> Result<(), Answer> {
    arrival.unexpected_headers(&[COOKIE]);
    let account = &arrival.world.khoros.account;
    let wanted = format!("{}:{}", account.username, account.password);
    let sent = arrival.header(&AUTHORIZATION).and_then(|value| value.strip_prefix("Basic "));
    if sent.and_then(|sent| STANDARD.decode(sent).ok()).as_deref() != Some(wanted.as_bytes()) {
        return Err(arrival.unauthorized(Answer::empty(StatusCode::UNAUTHORIZED)));
    }
    if arrival.query("companyKey").as_ref() != Some(&account.company_key) {
        return Err(arrival.unauthorized(Answer::empty(StatusCode::FORBIDDEN)));
    }
    Ok(())
}

/// The offset is that of the moment (`vendors/khoros_care.md §6`).
fn zone(zone: Tz) -> Value {
    let offset = zone.offset_from_utc_datetime(&Utc::now().naive_utc());
    let seconds = offset.fix().local_minus_utc();
    let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
    json!({
        "id": zone.name(),
        "name": zone.name().replace(['/', '_'], " "),
        "shortName": offset.to_string(),
        "offsetString": format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60),
        "offsetMillis": seconds * 1000,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Action, Match, start};
    use super::*;

    #[tokio::test]
    async fn the_lists_want_both_credentials_and_keep_the_rate() {
        rustls::crypto::ring::default_provider().install_default().ok();
        let options = Options::default().limit("khoros.requests", 6, Duration::from_hours(1));
        let simulator = start(options).await.unwrap();
        let (control, account, http) = (simulator.control(), Account::default(), reqwest::Client::new());
        let get = async |path: &str, key: &str, password: &str| {
            let url = format!("{}/api/public/{path}?companyKey={key}", simulator.base_url());
            let response = http.get(url).basic_auth(&account.username, Some(password)).send().await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        };
        let (key, password) = (&account.company_key[..], &account.password[..]);
        let read = async |path: &str| serde_json::from_str::<Value>(&get(path, key, password).await.1).unwrap();
        assert_eq!(read("teams").await["result"][0]["teamId"], 11);
        assert_eq!(read("config/timezones").await["result"][3]["offsetString"], "+05:45");
        assert_eq!(get("teams", "other", password).await.0, 403);
        assert_eq!(get("teams", key, "other").await.0, 401);
        control
            .next(Match::endpoint("khoros_teams"), Action::Json { status: 200, body: r#"{"status":"FAIL"}"#.into() });
        assert_eq!(read("teams").await["status"], "FAIL");
        assert_eq!(get("teams", key, password).await.0, 200);
        assert_eq!(get("teams", key, password).await, (429, String::new()));
        let stats = control.stats();
        assert_eq!((stats.violations[0].limit.as_str(), stats.unauthorized), ("khoros.requests", 2));
        assert_eq!((stats.calls["khoros_teams"], stats.limits["requests"].counted), (6, 0), "Lynn's stay untouched");
        let logged = |call: &ReportCall| (call.endpoint.clone(), call.mischief.clone());
        assert_eq!(stats.reports.iter().map(logged).nth(2), Some((TEAMS.into(), Some("json".into()))));
    }
}
