//! Lexer's Activity API as `vendors/lexer.md` has it: lists, reports that answer at once, and CSV files made by jobs
//! whose status a second host tells.

mod rows;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, COOKIE, HeaderName};
use axum::http::{Response, StatusCode};
use axum::routing::get;
use serde_json::{Value, json};

use super::answer::{Answer, JSON};
use super::call::{Arrival, Gateway, Incoming, Reply};
use super::limits::{Applies, Refusal, Refused, Rule, Unit};
use super::stats::ReportCall;
use super::truth::Reports;
use super::{Control, Options, TruthHandle, Vendor, World};

const GROUPS: &str = "lexer_groups";
const STATUS: &str = "lexer_status";
const TOKEN: HeaderName = HeaderName::from_static("auth-api-token");

/// The one account of the simulated vendor. Made up, like its secret.
#[derive(Clone)]
pub struct Account {
    pub api_token: String,
}

impl Default for Account {
    fn default() -> Self {
        Self { api_token: "1d8a6c7e-30f5-4b92-8e41-6f2b9a07c553".to_owned() }
    }
}

/// The vendor's state.
pub(super) struct Lexer {
    pub gateway: Gateway,
    pub data: Reports,
    account: Account,
}

impl Lexer {
    pub fn new(options: &Options) -> Self {
        let source = rows::Rows { seed: options.seed, volume: options.volume };
        Self {
            gateway: Gateway::new(options, &limit_rules(options), too_many),
            data: Reports::new(Box::new(source), rows::names(), options.hide_future),
            account: options.lexer.clone(),
        }
    }
}

/// `vendors/lexer.md §1`; both hosts share them, the stricter reading.
fn limit_rules(options: &Options) -> [Rule; 2] {
    let rule = |name, amount, secs| {
        let (applies, unit, refused) = (Applies::Every, Unit::Calls, Refused::Rate);
        options.rule(Rule { name, applies, unit, refused, amount, period: Duration::from_secs(secs) })
    };
    [rule("lexer.requests", 100, 300), rule("lexer.burst", 10, 1)]
}

/// No `Retry-After` is documented (`vendors/lexer.md §1`).
fn too_many(_: &Refusal) -> Answer {
    error(StatusCode::TOO_MANY_REQUESTS, "Rate limited exceeded")
}

/// `vendors/lexer.md §7`; the body's shape is not documented.
fn error(status: StatusCode, message: &str) -> Answer {
    Answer::new(status, JSON, json!({ "error": message }).to_string())
}

/// What a test does to Lexer beyond `Control`.
pub struct Handle(pub(super) Control);

impl Handle {
    pub fn data(&self) -> TruthHandle {
        self.0.data(Vendor::Lexer)
    }
}

/// `api.lexer.io`
pub(super) fn routes() -> Router<Arc<World>> {
    Router::new().route("/v1/groups", get(groups))
}

/// `clients.lexer.io`
pub(super) fn client_routes() -> Router<Arc<World>> {
    Router::new().route("/api/public/v1/activity/reports/status", get(status))
}

async fn groups(incoming: Incoming) -> Response<Body> {
    incoming
        .serve(Vendor::Lexer, GROUPS, |arrival, _| {
            authorize(arrival)?;
            Ok(list(arrival, "groups", &rows::groups()))
        })
        .await
}

/// No job is made yet, so no token is known.
async fn status(incoming: Incoming) -> Response<Body> {
    incoming
        .serve(Vendor::Lexer, STATUS, |arrival, _| {
            authorize(arrival)?;
            Err(error(StatusCode::NOT_FOUND, "Not found"))
        })
        .await
}

/// A list's reply, logged as a report.
fn list(arrival: &Arrival, report: &str, elements: &[Value]) -> Reply {
    let rows = elements.len() as u64;
    Reply::new(Answer::json(json!(elements).to_string()), arrival.meet(&[report], None)).reported(ReportCall {
        report: report.to_owned(),
        rows,
        ..ReportCall::default()
    })
}

/// The token's own header, on both hosts (`vendors/lexer.md §1`).
fn authorize(arrival: &Arrival) -> Result<(), Answer> {
    arrival.unexpected_headers(&[AUTHORIZATION, COOKIE]);
    let refused = |message| Err(arrival.unauthorized(error(StatusCode::UNAUTHORIZED, message)));
    match arrival.header(&TOKEN) {
        Some(token) if token == arrival.world.lexer.account.api_token => Ok(()),
        Some(_) => refused("Unauthorized - api token not matching"),
        None => refused("Unauthorized"),
    }
}

#[cfg(test)]
mod tests {
    use chrono::{TimeZone as _, Utc};

    use super::super::{Edit, Rows, start};
    use super::*;

    #[tokio::test]
    async fn both_hosts_want_the_token_and_share_the_rate() {
        rustls::crypto::ring::default_provider().install_default().ok();
        let options = Options::default().limit("lexer.burst", 5, Duration::from_hours(1));
        let simulator = start(options).await.unwrap();
        let (api, clients, http) = (simulator.base_url(), simulator.clients_url(), reqwest::Client::new());
        let token = Account::default().api_token;
        let get = async |url: String, token: &str| {
            let response = http.get(url).header("auth-api-token", token).send().await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        };
        let groups = get(format!("{api}/v1/groups"), &token).await;
        assert_eq!(serde_json::from_str::<Value>(&groups.1).unwrap()[0]["id"], 301);
        assert_eq!(get(format!("{api}/v1/groups"), "other").await.0, 401);
        let status = format!("{clients}/api/public/v1/activity/reports/status?token=x");
        assert_eq!(get(status.clone(), &token).await.0, 404);
        assert_eq!(get(status.clone(), "other").await.0, 401);
        assert_eq!(get(format!("{clients}/v1/groups"), &token).await.0, 404, "the other host's path");
        assert_eq!(get(status.clone(), &token).await.0, 404);
        assert_eq!(get(status, &token).await.0, 429);
        let limits = simulator.control().stats().limits;
        assert_eq!((limits["lexer.burst"].highest_fixed, limits["lexer.requests"].counted), (6, 5));
    }

    #[tokio::test]
    async fn its_truth_is_its_own() {
        let simulator = start(Options::default()).await.unwrap();
        let (control, report) = (simulator.control(), "mention_sla_export");
        let data = control.lexer().data();
        let day = |day| Utc.with_ymd_and_hms(2024, 3, day, 0, 0, 0).unwrap();
        let rows = data.rows(report, day(1), day(2)).unwrap();
        assert!(rows.len() > 50 && rows[0].contains_key("Customer Message"));
        data.edit(Edit::Vanish { rows: Rows::between(report, day(1), day(2)).first(10) }).unwrap();
        data.late(Rows::between(report, day(1), day(2))).unwrap();
        assert_eq!(data.count(report, day(1), day(2)), Ok(0));
        data.release_late();
        assert_eq!(data.count(report, day(1), day(2)), Ok(rows.len() as u64 - 10));
        assert!(control.count(report, day(1), day(2)).is_err(), "Lynn has no such report");
    }
}
