//! Lynn Reporting as in `facts/lynn.md`: account, gateway limits and tokens.

mod cursor;
pub mod outbound;
mod report;
mod rows;
mod token;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use axum::http::{HeaderValue, Response, StatusCode, Uri};
use axum::routing::post;
use serde::Deserialize;

use super::call::{Arrival, Gateway, Incoming, outliving_the_client};
use super::company::Company;
use super::limits::{Applies, CallKind, Refused, Rule, Unit};
use super::mischief::Action;
use super::response::{PlannedResponse, subscription_key};
use super::truth::Reports;
use super::{Options, Vendor, World, locked};

pub use super::truth::Volume;
pub use cursor::CursorShape;
pub use report::{LastCursor, PageCount, Shape};

/// The product of a subscription, which determines its quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    Basic,
    Premium,
}

/// The only account of the simulated vendor, with invented secrets.
#[derive(Clone)]
pub struct Account {
    pub tenant: i64,
    pub access_token: String,
    pub access_token_secret: String,
    pub product: Product,
    /// Required if the product is premium.
    pub subscription_key: Option<String>,
    /// The tenant's own reports: name and GUID.
    pub extra_reports: BTreeMap<String, String>,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            tenant: 4411,
            access_token: "7c01d94ab3e2f5".to_owned(),
            access_token_secret: "0b6f2f4e-52a1-4c0e-9d61-3a7a4be0c111".to_owned(),
            product: Product::Basic,
            subscription_key: None,
            extra_reports: BTreeMap::new(),
        }
    }
}

const CREATE_TOKEN: &str = "create_token";
const TOKEN_INFO: &str = "token_info";
const EXECUTE_REPORT: &str = "execute_report";
const SUBSCRIPTION_KEY: &str = "ocp-apim-subscription-key";

/// Families of the API: each has its own tokens (`facts/lynn.md §10.18`), but they share the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Reporting,
    /// Outbound.
    Service,
}

/// The vendor's state.
pub(super) struct Lynn {
    pub gateway: Gateway,
    pub data: Reports,
    account: Account,
    token_lifetime: Duration,
    tokens: Mutex<token::Tokens>,
    pub outbound: outbound::Outbound,
    /// By number.
    reports: Vec<rows::Report>,
    pub shape: RwLock<Shape>,
}

impl Lynn {
    pub fn new(options: &Options, company: &Arc<Company>) -> Self {
        let account = options.lynn.clone();
        let reports = || rows::reports(&account.extra_reports);
        let source = rows::Rows { reports: reports(), company: Arc::clone(company), tenant: account.tenant };
        let names = reports().into_iter().map(|report| vec![report.name, report.id]).collect();
        Self {
            gateway: Gateway::new(options, &limit_rules(options), PlannedResponse::refusal),
            data: Reports::new(Box::new(source), names, options.hide_future),
            token_lifetime: options.scaled(options.token_lifetime),
            tokens: Mutex::new(token::Tokens::new(options.seed)),
            outbound: outbound::Outbound::new(options),
            reports: reports(),
            shape: RwLock::new(options.shape.clone()),
            account,
        }
    }

    pub fn expire_tokens(&self) {
        locked(&self.tokens).expire_all();
        locked(&self.outbound.tokens).expire_all();
    }

    fn tokens_of(&self, family: Family) -> &Mutex<token::Tokens> {
        match family {
            Family::Reporting => &self.tokens,
            Family::Service => &self.outbound.tokens,
        }
    }

    pub fn shape(&self) -> Shape {
        self.shape.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// `facts/lynn.md §8.1`; a kilobyte is 1000 bytes, the stricter reading (`§10.10`).
fn limit_rules(options: &Options) -> Vec<Rule> {
    use {
        Applies::{Data, Every, Login},
        Refused::{Quota, Rate},
        Unit::{Bytes, Calls},
    };
    let (calls, bytes) = match options.lynn.product {
        Product::Basic => (10_000, 102_400_000),
        Product::Premium => (20_000, 997_200_000),
    };
    let rule = |name, applies, unit, refused, amount, secs| {
        options.rule(Rule { name, applies, unit, refused, amount, period: Duration::from_secs(secs) })
    };
    vec![
        rule("create_token", Login, Calls, Rate, 3, 60),
        rule("requests", Data, Calls, Rate, 1, 4),
        rule("period_calls", Every, Calls, Quota, calls, 43_200),
        rule("period_bandwidth", Every, Bytes, Quota, bytes, 43_200),
    ]
}

pub(super) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/api/LynnReporting/CreateToken", post(create_token))
        .route("/api/LynnReporting/ExecuteReport/{tenant}/{report}", post(execute_report))
}

async fn create_token(uri: Uri, incoming: Incoming) -> Response<Body> {
    let info = uri.query() == Some("info");
    let (arrival, body) = incoming.arrive(Vendor::Lynn, if info { TOKEN_INFO } else { CREATE_TOKEN }, CallKind::Login);
    serve_token(arrival, body, Family::Reporting).await
}

async fn serve_token(arrival: Arrival, body: Body, family: Family) -> Response<Body> {
    outliving_the_client(async move {
        let query = arrival.raw_query();
        let is_known = query.is_empty() || (query == "info" && family == Family::Reporting);
        arrival.unexpected_if(!is_known, "a query that CreateToken does not have");
        if let Err(response) = check_key(&arrival).and_then(|()| arrival.admit()) {
            return arrival.refuse(response);
        }
        arrival.unexpected_headers(&[AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE]);
        let body = match arrival.body(body).await {
            Ok(body) => body,
            Err(response) => return arrival.finish(response, 0).0,
        };
        let action = arrival.meet(&[], None);
        let info = arrival.endpoint == TOKEN_INFO;
        let response = if info { token_info(&arrival, &body) } else { mint(&arrival, &body, family) };
        arrival.deliver(response, action, body.len()).await.0
    })
    .await
}

async fn execute_report(Path((tenant, report)): Path<(String, String)>, incoming: Incoming) -> Response<Body> {
    let (arrival, body) = incoming.arrive(Vendor::Lynn, EXECUTE_REPORT, CallKind::Data);
    outliving_the_client(async move {
        if let Err(response) = check_key(&arrival).and_then(|()| arrival.admit()) {
            return arrival.refuse(response);
        }
        arrival.unexpected_headers(&[PROXY_AUTHORIZATION, COOKIE]);
        let body = match arrival.body(body).await {
            Ok(body) => body,
            Err(response) => return arrival.finish(response, 0).0,
        };
        arrival.respond(body, move |arrival, body| Ok(report::execute(arrival, &tenant, &report, body))).await
    })
    .await
}

/// The subscription key, which the gateway checks before it counts.
fn check_key(arrival: &Arrival) -> Result<(), PlannedResponse> {
    let account = &arrival.world.lynn.account;
    let key = arrival.headers.get(SUBSCRIPTION_KEY).map(HeaderValue::as_bytes);
    arrival.unexpected_if(key == Some(b""), "empty Ocp-Apim-Subscription-Key");
    let wanted = account.subscription_key.as_deref().map(str::as_bytes);
    match (account.product, key) {
        (Product::Basic, Some(_)) => {
            arrival.unexpected_if(true, "Ocp-Apim-Subscription-Key without a premium product");
        }
        (Product::Premium, Some(key)) if Some(key) != wanted => {
            return Err(arrival.unauthorized(subscription_key("invalid")));
        }
        (Product::Premium, None) if arrival.kind == CallKind::Data && wanted.is_some() => {
            return Err(arrival.unauthorized(subscription_key("missing")));
        }
        _ => {}
    }
    Ok(())
}

/// Checks the bearer token of that family; the scheme may be in any case.
fn bearer(arrival: &Arrival, family: Family) -> Result<&str, PlannedResponse> {
    let refuse = || arrival.unauthorized(PlannedResponse::empty(StatusCode::UNAUTHORIZED));
    let (scheme, token) = arrival.header(&AUTHORIZATION).and_then(|value| value.split_once(' ')).ok_or_else(refuse)?;
    let is_good = |family| locked(arrival.world.lynn.tokens_of(family)).is_good(token, arrival.world.now());
    let good = is_good(family);
    let other = if family == Family::Service { Family::Reporting } else { Family::Service };
    arrival.unexpected_if(is_good(other), "a token of another family");
    if scheme.eq_ignore_ascii_case("bearer") && good { Ok(token) } else { Err(refuse()) }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credentials {
    access_token: String,
    access_token_secret: String,
    tenant: i64,
}

fn check_credentials(arrival: &Arrival, body: &[u8]) -> Result<(), PlannedResponse> {
    let Ok(given) = serde_json::from_slice::<Credentials>(body) else {
        return Err(PlannedResponse::error(StatusCode::BAD_REQUEST, "The request body is not a credential."));
    };
    let account = &arrival.world.lynn.account;
    let right = (given.tenant, &given.access_token, &given.access_token_secret)
        == (account.tenant, &account.access_token, &account.access_token_secret);
    if right { Ok(()) } else { Err(arrival.unauthorized(PlannedResponse::empty(StatusCode::UNAUTHORIZED))) }
}

fn mint(arrival: &Arrival, body: &[u8], family: Family) -> PlannedResponse {
    if let Err(response) = check_credentials(arrival, body) {
        return response;
    }
    let lynn = &arrival.world.lynn;
    let token = locked(lynn.tokens_of(family)).mint(lynn.account.tenant, lynn.token_lifetime, arrival.world.now());
    locked(&arrival.world.stats).tokens_minted += 1;
    PlannedResponse::json(serde_json::json!({ "token": token }).to_string())
}

/// Undocumented (`§10.6`): this one returns the use of each limit.
fn token_info(arrival: &Arrival, body: &[u8]) -> PlannedResponse {
    if let Err(response) = check_credentials(arrival, body) {
        return response;
    }
    PlannedResponse::json(serde_json::json!({ "quota": arrival.world.lynn.gateway.stats() }).to_string())
}

/// Whether an action replaces the call's processing.
const fn refuses_the_call(action: &Action) -> bool {
    matches!(
        action,
        Action::Status { .. }
            | Action::TooMany { .. }
            | Action::OutOfQuota { .. }
            | Action::Forbidden
            | Action::TokenExpired
            | Action::Unauthorized
            | Action::SubscriptionKey
            | Action::Redirect { .. }
    )
}
