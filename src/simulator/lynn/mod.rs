//! Lynn Reporting as `vendors/lynn.md` has it: who calls, what the gateway lets through, and the token.

mod cursor;
mod report;
mod rows;
mod token;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::header::{ACCEPT_ENCODING, AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::routing::post;
use chrono::Utc;
use serde::Deserialize;

use super::answer::{Answer, subscription_key};
use super::limits::{Applies, CallKind, LimitStats, Limits, Refused, Rule, Unit};
use super::mischief::{Action, Call, Point, bounded};
use super::truth::{Edit, Span, Truth, UnknownReport, ticks};
use super::wire::Wire;
use super::{Options, World, locked};

pub use cursor::CursorShape;
pub use report::{LastCursor, PageCount, Shape};
pub use rows::Volume;

/// The product that a subscription has: decides its quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    Basic,
    Premium,
}

/// The one account of the simulated vendor. Made up, like its secrets.
#[derive(Clone)]
pub struct Account {
    pub tenant: i64,
    pub access_token: String,
    pub access_token_secret: String,
    pub product: Product,
    /// Asked for when the product is premium.
    pub subscription_key: Option<String>,
    /// Reports of the tenant's own: name and GUID.
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
/// A request is a few hundred bytes.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// The vendor's state.
pub(super) struct Lynn {
    account: Account,
    token_lifetime: Duration,
    hide_future: bool,
    limits: Mutex<Limits>,
    tokens: Mutex<token::Tokens>,
    /// Names and ids of the reports, by their number.
    reports: Vec<rows::Report>,
    truth: RwLock<Truth>,
    pub shape: RwLock<Shape>,
}

impl Lynn {
    pub fn new(options: &Options) -> Self {
        let account = options.lynn.clone();
        let reports = || rows::reports(&account.extra_reports);
        let source =
            rows::Rows { reports: reports(), seed: options.seed, volume: options.volume, tenant: account.tenant };
        let count = source.reports.len();
        Self {
            token_lifetime: options.scaled(options.token_lifetime),
            hide_future: options.hide_future,
            limits: Mutex::new(Limits::new(&limit_rules(options), options.window, options.subscription_age)),
            tokens: Mutex::new(token::Tokens::new(options.seed)),
            reports: reports(),
            truth: RwLock::new(Truth::new(Box::new(source), count)),
            shape: RwLock::new(options.shape.clone()),
            account,
        }
    }

    pub fn limit_stats(&self) -> BTreeMap<String, LimitStats> {
        locked(&self.limits).stats().map(|(name, stats)| (name.to_owned(), stats)).collect()
    }

    pub fn expire_tokens(&self) {
        locked(&self.tokens).expire_all();
    }

    pub fn shape(&self) -> Shape {
        self.shape.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn edit(&self, edit: Edit) -> Result<u64, UnknownReport> {
        let report = self.report(edit.report())?;
        Ok(self.truth.write().unwrap_or_else(PoisonError::into_inner).edit(report, edit))
    }

    pub fn release_late(&self) {
        self.truth.write().unwrap_or_else(PoisonError::into_inner).release_late();
    }

    pub fn count(&self, report: &str, span: Span) -> Result<u64, UnknownReport> {
        let report = self.report(report)?;
        Ok(self.with_truth(|truth| truth.count(report, self.visible(span))))
    }

    pub fn walk(&self, report: &str, span: Span, each: &mut dyn FnMut(&str)) -> Result<(), UnknownReport> {
        let report = self.report(report)?;
        self.with_truth(|truth| {
            truth.walk(report, self.visible(span), None, &mut |_, text| {
                each(text);
                true
            });
        });
        Ok(())
    }

    /// The part of a span that has happened, if the future is hidden.
    fn visible(&self, span: Span) -> Span {
        let until = if self.hide_future { span.until.min(ticks(Utc::now())) } else { span.until };
        Span { until, ..span }
    }

    fn with_truth<T>(&self, read: impl FnOnce(&Truth) -> T) -> T {
        read(&self.truth.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn report(&self, wanted: &str) -> Result<usize, UnknownReport> {
        let matches = |report: &rows::Report| report.name == wanted || report.id.eq_ignore_ascii_case(wanted);
        self.reports.iter().position(matches).ok_or_else(|| UnknownReport(wanted.to_owned()))
    }
}

/// `vendors/lynn.md §8.1`; a kilobyte is 1000 bytes, the stricter reading (`§10.10`).
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
        let replaced = options.limits.get(name).copied().unwrap_or_default();
        let period = options.scaled(replaced.period.unwrap_or(Duration::from_secs(secs)));
        Rule { name, applies, unit, refused, amount: replaced.amount.unwrap_or(amount), period }
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

/// One call on its way: what of it does not depend on the body.
struct Arrival {
    world: Arc<World>,
    wire: Wire,
    at: Duration,
    endpoint: &'static str,
    kind: CallKind,
    headers: HeaderMap,
    head_bytes: u64,
}

async fn create_token(
    State(world): State<Arc<World>>,
    ConnectInfo(wire): ConnectInfo<Wire>,
    request: Request,
) -> Response<Body> {
    let info = request.uri().query() == Some("info");
    let endpoint = if info { TOKEN_INFO } else { CREATE_TOKEN };
    let (arrival, body) = Arrival::new(world, wire, endpoint, CallKind::Login, request);
    outliving_the_client(async move {
        if let Err(answer) = arrival.gateway() {
            return arrival.refuse(answer);
        }
        for what in [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE] {
            arrival.unexpected_if(arrival.headers.contains_key(&what), what.as_str());
        }
        let body = match arrival.body(body).await {
            Ok(body) => body,
            Err(answer) => return arrival.finish(answer, 0).0,
        };
        let action = arrival.meet(&Call { endpoint, report: &[], page: None });
        let answer = if info { arrival.info(&body) } else { arrival.mint(&body) };
        arrival.deliver(answer, action, body.len()).await.0
    })
    .await
}

async fn execute_report(
    State(world): State<Arc<World>>,
    ConnectInfo(wire): ConnectInfo<Wire>,
    Path((tenant, report)): Path<(String, String)>,
    request: Request,
) -> Response<Body> {
    let (arrival, body) = Arrival::new(world, wire, EXECUTE_REPORT, CallKind::Data, request);
    outliving_the_client(async move {
        if let Err(answer) = arrival.gateway() {
            return arrival.refuse(answer);
        }
        for what in [PROXY_AUTHORIZATION, COOKIE] {
            arrival.unexpected_if(arrival.headers.contains_key(&what), what.as_str());
        }
        let body = match arrival.body(body).await {
            Ok(body) => body,
            Err(answer) => return arrival.finish(answer, 0).0,
        };
        report::execute(&arrival, &tenant, &report, &body).await
    })
    .await
}

/// Goes on when the client hangs up: the vendor has done the work and counts it, and a held call stays held.
async fn outliving_the_client(work: impl Future<Output = Response<Body>> + Send + 'static) -> Response<Body> {
    let broken = |_| {
        let mut response = Response::new(Body::from("the simulator has a defect"));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    };
    tokio::spawn(work).await.unwrap_or_else(broken)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credentials {
    access_token: String,
    access_token_secret: String,
    tenant: i64,
}

impl Arrival {
    /// The call arrives when its head has been read; the body may take as long as it likes.
    fn new(world: Arc<World>, wire: Wire, endpoint: &'static str, kind: CallKind, request: Request) -> (Self, Body) {
        let at = world.now();
        let (head, body) = request.into_parts();
        let line = head.method.as_str().len() + head.uri.to_string().len() + 13;
        let fields: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        let head_bytes = if world.options.count_heads { (line + fields) as u64 } else { 0 };
        (Self { world, wire, at, endpoint, kind, headers: head.headers, head_bytes }, body)
    }

    /// What stands before the vendor's own code: subscription key, rate, quota.
    fn gateway(&self) -> Result<(), Answer> {
        locked(&self.world.stats).called(self.endpoint);
        self.check_key()?;
        let admitted = locked(&self.world.lynn.limits).admit(self.kind, self.at);
        admitted.map_err(|refusal| {
            locked(&self.world.stats).violated(self.endpoint, &refusal, self.at);
            Answer::refusal(&refusal)
        })
    }

    fn check_key(&self) -> Result<(), Answer> {
        let account = &self.world.lynn.account;
        let key = self.headers.get(SUBSCRIPTION_KEY).map(HeaderValue::as_bytes);
        self.unexpected_if(key == Some(b""), "empty Ocp-Apim-Subscription-Key");
        let wanted = account.subscription_key.as_deref().map(str::as_bytes);
        match (account.product, key) {
            (Product::Basic, Some(_)) => {
                self.unexpected_if(true, "Ocp-Apim-Subscription-Key without a premium product");
            }
            (Product::Premium, Some(key)) if Some(key) != wanted => {
                return Err(self.unauthorized(subscription_key("invalid")));
            }
            (Product::Premium, None) if self.kind == CallKind::Data && wanted.is_some() => {
                return Err(self.unauthorized(subscription_key("missing")));
            }
            _ => {}
        }
        Ok(())
    }

    fn unexpected_if(&self, condition: bool, what: &str) {
        if condition {
            locked(&self.world.stats).unexpected(self.endpoint, what, self.at);
        }
    }

    fn unauthorized(&self, answer: Answer) -> Answer {
        locked(&self.world.stats).unauthorized += 1;
        answer
    }

    async fn body(&self, body: Body) -> Result<Bytes, Answer> {
        let read = axum::body::to_bytes(body, REQUEST_BYTES_MAX).await;
        read.map_err(|_| Answer::error(StatusCode::BAD_REQUEST, "The request body could not be read."))
    }

    /// A good bearer token, with the scheme in any case.
    fn bearer(&self) -> Result<&str, Answer> {
        let refuse = || self.unauthorized(Answer::empty(StatusCode::UNAUTHORIZED));
        let header = self.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(refuse)?;
        let (scheme, token) = header.split_once(' ').ok_or_else(refuse)?;
        let good = locked(&self.world.lynn.tokens).is_good(token, self.world.now());
        if scheme.eq_ignore_ascii_case("bearer") && good { Ok(token) } else { Err(refuse()) }
    }

    fn credentials(&self, body: &[u8]) -> Result<(), Answer> {
        let Ok(given) = serde_json::from_slice::<Credentials>(body) else {
            return Err(Answer::error(StatusCode::BAD_REQUEST, "The request body is not a credential."));
        };
        let account = &self.world.lynn.account;
        let right = (given.tenant, &given.access_token, &given.access_token_secret)
            == (account.tenant, &account.access_token, &account.access_token_secret);
        if right { Ok(()) } else { Err(self.unauthorized(Answer::empty(StatusCode::UNAUTHORIZED))) }
    }

    fn mint(&self, body: &[u8]) -> Answer {
        if let Err(answer) = self.credentials(body) {
            return answer;
        }
        let lynn = &self.world.lynn;
        let token = locked(&lynn.tokens).mint(lynn.account.tenant, lynn.token_lifetime, self.world.now());
        locked(&self.world.stats).tokens_minted += 1;
        Answer::json(serde_json::json!({ "token": token }).to_string())
    }

    /// Undocumented (`§10.6`): ours tells what is used of each limit.
    fn info(&self, body: &[u8]) -> Answer {
        if let Err(answer) = self.credentials(body) {
            return answer;
        }
        Answer::json(serde_json::json!({ "quota": self.world.lynn.limit_stats() }).to_string())
    }

    fn meet(&self, call: &Call<'_>) -> Option<Action> {
        self.world.mischief.meet(call)
    }

    /// The answer after its mischief, and how many bytes the call counted.
    async fn deliver(&self, answer: Answer, action: Option<Action>, request_bytes: usize) -> (Response<Body>, u64) {
        let stopping = &self.world.stopping;
        match &action {
            Some(Action::Delay { ms }) => {
                stopping.run_until_cancelled(tokio::time::sleep(bounded(*ms))).await;
            }
            Some(Action::Hold(hold)) if hold.point == Point::BeforeAnswer => {
                stopping.run_until_cancelled(hold.gate.pass()).await;
            }
            _ => {}
        }
        let answer = match action {
            Some(action) => answer.meet(action),
            None => answer,
        };
        self.finish(answer, request_bytes)
    }

    /// Counts the bytes, uncompressed, and hands the answer to the connection.
    fn finish(&self, answer: Answer, request_bytes: usize) -> (Response<Body>, u64) {
        let bytes = (request_bytes + answer.body.len()) as u64 + self.head_bytes;
        locked(&self.world.lynn.limits).spend(self.kind, bytes, self.world.now());
        (self.send(answer), bytes)
    }

    /// The gateway's refusals count as no bytes.
    fn refuse(&self, answer: Answer) -> Response<Body> {
        self.send(answer)
    }

    fn send(&self, answer: Answer) -> Response<Body> {
        let accepted = self.headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let gzip = accepted.contains("gzip") && self.world.lynn.shape().gzip;
        answer.send(&self.wire, gzip, self.world.stopping.clone())
    }
}
