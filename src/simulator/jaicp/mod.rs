//! JAICP's Reporter API as `vendors/jaicp.md` has it: the legacy generation, whose token is part of the path.

mod rows;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::{Response, StatusCode};
use axum::routing::get;
use serde_json::{Value, json};

use super::answer::{Answer, JSON};
use super::call::{Arrival, Gateway, Incoming, Reply};
use super::limits::{Applies, Refused, Rule, Unit};
use super::stats::ReportCall;
use super::truth::Reports;
use super::{Control, Options, TruthHandle, Vendor, World};

const FILTERS: &str = "jaicp_filters";
const LIMIT: &str = "jaicp.requests";

/// The one account of the simulated vendor. Made up, like its secret.
#[derive(Clone)]
pub struct Account {
    pub token: String,
    pub project: String,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            token: "h4rB0urT:6b1f0d9ac27e48350f9d2b7c1a64e8f35d70b912".to_owned(),
            project: "harbour_bot-1000-abc".to_owned(),
        }
    }
}

/// The vendor's state.
pub(super) struct Jaicp {
    pub gateway: Gateway,
    pub data: Reports,
    account: Account,
}

impl Jaicp {
    pub fn new(options: &Options) -> Self {
        let account = options.jaicp.clone();
        let source = rows::Rows { seed: options.seed, volume: options.volume, project: account.project.clone() };
        Self {
            gateway: Gateway::new(options, limit(options).as_slice(), Answer::refusal),
            data: Reports::new(Box::new(source), rows::names(), options.hide_future),
            account,
        }
    }
}

/// None is documented (`vendors/jaicp.md §2`), so there is one only where the options ask for it.
fn limit(options: &Options) -> Option<Rule> {
    let (applies, unit, refused) = (Applies::Every, Unit::Calls, Refused::Rate);
    let rule = Rule { name: LIMIT, applies, unit, refused, amount: 5, period: Duration::from_secs(1) };
    options.limits.contains_key(LIMIT).then(|| options.rule(rule))
}

/// What a test does to JAICP beyond `Control`.
pub struct Handle(pub(super) Control);

impl Handle {
    pub fn data(&self) -> TruthHandle {
        self.0.data(Vendor::Jaicp)
    }
}

pub(super) fn routes() -> Router<Arc<World>> {
    Router::new().route("/api/reporter/p/{token}/filters", get(filters))
}

async fn filters(Path(token): Path<String>, incoming: Incoming) -> Response<Body> {
    incoming
        .serve(Vendor::Jaicp, FILTERS, move |arrival, _| {
            authorize(arrival, &token)?;
            match arrival.query("analyticsSection").as_deref() {
                Some("SESSIONS" | "CLIENTS") => Ok(list(arrival, "filters", &rows::filters())),
                _ => Err(error(StatusCode::BAD_REQUEST, "analyticsSection")),
            }
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

/// The token in the path is all there is (`vendors/jaicp.md §1`); what a refusal looks like is not documented.
fn authorize(arrival: &Arrival, token: &str) -> Result<(), Answer> {
    arrival.unexpected_headers(&[AUTHORIZATION, COOKIE]);
    if token == arrival.world.jaicp.account.token {
        return Ok(());
    }
    Err(arrival.unauthorized(error(StatusCode::UNAUTHORIZED, "token")))
}

/// In the shape of the sibling API (`vendors/jaicp.md §2`).
fn error(status: StatusCode, what: &str) -> Answer {
    let body = json!({ "error": format!("reporter.wrong.{what}"), "message": format!("{what} is wrong") });
    Answer::new(status, JSON, body.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::start;
    use super::*;

    #[tokio::test]
    async fn the_filters_want_the_token_in_the_path_and_there_is_no_limit() {
        rustls::crypto::ring::default_provider().install_default().ok();
        let simulator = start(Options::default()).await.unwrap();
        let (token, http) = (Account::default().token, reqwest::Client::new());
        let get = async |token: &str, query: &str| {
            let url = format!("{}/api/reporter/p/{token}/filters{query}", simulator.base_url());
            let response = http.get(url).send().await.unwrap();
            (response.status().as_u16(), serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap())
        };
        assert_eq!(get(&token, "?analyticsSection=SESSIONS").await.1[0]["key"], "SESSION_START_TIME");
        assert_eq!(get(&token.replace(':', "%3A"), "?analyticsSection=CLIENTS").await.0, 200);
        assert_eq!(get(&token, "").await.0, 400);
        assert_eq!(get("other", "?analyticsSection=SESSIONS").await.0, 401);
        let stats = simulator.control().stats();
        assert_eq!((stats.calls["jaicp_filters"], stats.limits.contains_key("jaicp.requests")), (4, false));
        let limited = Options::default().limit("jaicp.requests", 1, Duration::from_secs(1));
        assert!(start(limited).await.unwrap().control().stats().limits.contains_key("jaicp.requests"));
    }
}
