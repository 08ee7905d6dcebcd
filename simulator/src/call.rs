//! What all endpoints share: arrival, the vendor's gateway, reading the body, applying mischief, sending the response.
//!
//! A handler takes an `Incoming` and calls its `serve`; only the response itself is specific to the vendor.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, FromRequest, Request};
use axum::http::header::{ACCEPT_ENCODING, HeaderName};
use axum::http::{HeaderMap, Response, StatusCode, Uri};

use super::limits::{CallKind, LimitStats, Limits, Refusal, Rule};
use super::mischief::{Action, Call, Point, bounded};
use super::response::PlannedResponse;
use super::stats::ReportCall;
use super::wire::Wire;
use super::{Options, Vendor, World, locked};

/// A request is a few hundred bytes.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// What comes before a vendor's own code: its limits, and how it reports that one is reached.
pub(super) struct Gateway {
    limits: Mutex<Limits>,
    refusal: fn(&Refusal) -> PlannedResponse,
}

impl Gateway {
    pub fn new(options: &Options, rules: &[Rule], refusal: fn(&Refusal) -> PlannedResponse) -> Self {
        Self { limits: Mutex::new(Limits::new(rules, options.window, options.subscription_age)), refusal }
    }

    pub fn stats(&self) -> BTreeMap<String, LimitStats> {
        locked(&self.limits).stats().map(|(name, stats)| (name.to_owned(), stats)).collect()
    }
}

/// A received request; the last argument of a handler.
pub(super) struct Incoming {
    world: Arc<World>,
    wire: Wire,
    request: Request,
}

impl FromRequest<Arc<World>> for Incoming {
    type Rejection = Infallible;

    async fn from_request(request: Request, world: &Arc<World>) -> Result<Self, Infallible> {
        let wire = request.extensions().get::<ConnectInfo<Wire>>().map(|info| info.0.clone()).unwrap_or_default();
        Ok(Self { world: Arc::clone(world), wire, request })
    }
}

/// A handler's response, before mischief is applied.
pub(super) struct Reply {
    response: PlannedResponse,
    action: Option<Action>,
    report: Option<ReportCall>,
}

impl Reply {
    pub fn new(response: PlannedResponse, action: Option<Action>) -> Self {
        Self { response, action, report: None }
    }

    /// Logs the call in `Stats::reports`. Time, endpoint, status, bytes and mischief are filled in.
    pub fn reported(self, report: ReportCall) -> Self {
        Self { report: Some(report), ..self }
    }
}

impl Incoming {
    /// Serves a call of a vendor (`None`: of the storage, which has no limits). `work` checks the credentials, applies
    /// mischief and makes the response. An error from it is sent without mischief.
    pub async fn serve(
        self,
        vendor: impl Into<Option<Vendor>>,
        endpoint: &'static str,
        work: impl FnOnce(&Arrival, &[u8]) -> Result<Reply, PlannedResponse> + Send + 'static,
    ) -> Response<Body> {
        let (arrival, body) = self.arrive(vendor, endpoint, CallKind::Data);
        outliving_the_client(async move {
            if let Err(response) = arrival.admit() {
                return arrival.refuse(response);
            }
            let body = match arrival.body(body).await {
                Ok(body) => body,
                Err(response) => return arrival.finish(response, 0).0,
            };
            arrival.respond(body, work).await
        })
        .await
    }

    /// The call arrives when its headers have been read; the body may take any time.
    pub fn arrive(self, vendor: impl Into<Option<Vendor>>, endpoint: &'static str, kind: CallKind) -> (Arrival, Body) {
        let Self { world, wire, request } = self;
        let at = world.now();
        let (head, body) = request.into_parts();
        let line = head.method.as_str().len() + head.uri.to_string().len() + 13;
        let fields: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        let head_bytes = if world.options.count_heads { (line + fields) as u64 } else { 0 };
        locked(&world.stats).called(endpoint);
        let (vendor, headers, uri) = (vendor.into(), head.headers, head.uri);
        (Arrival { world, at, endpoint, headers, kind, uri, vendor, wire, head_bytes }, body)
    }
}

/// Continues when the client disconnects: the vendor has done the work and counts it, and a held call stays held.
pub(super) async fn outliving_the_client(
    work: impl Future<Output = Response<Body>> + Send + 'static,
) -> Response<Body> {
    let broken = |_| {
        let mut response = Response::new(Body::from("internal error of the simulator"));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    };
    tokio::spawn(work).await.unwrap_or_else(broken)
}

/// Has a thread of its own for work that takes long, such as a page of thousands of rows. On a thread that serves
/// connections, it would delay the moment at which other calls are seen to arrive, so that the next one after a delayed
/// one seems to come too early.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The program is about to end.
            Err(_) => std::future::pending().await,
        },
    }
}

/// One call in progress: everything that does not depend on the body.
pub(super) struct Arrival {
    pub world: Arc<World>,
    /// Time since the simulator's start.
    pub at: Duration,
    pub endpoint: &'static str,
    pub headers: HeaderMap,
    pub kind: CallKind,
    uri: Uri,
    vendor: Option<Vendor>,
    wire: Wire,
    head_bytes: u64,
}

impl Arrival {
    fn gateway(&self) -> Option<&Gateway> {
        self.vendor.map(|vendor| self.world.gateway(vendor))
    }

    /// Admits the call under the vendor's limits, or refuses it.
    pub fn admit(&self) -> Result<(), PlannedResponse> {
        let Some(gateway) = self.gateway() else { return Ok(()) };
        let admitted = locked(&gateway.limits).admit(self.kind, self.at);
        admitted.map_err(|refusal| {
            locked(&self.world.stats).violated(self.endpoint, &refusal, self.at);
            (gateway.refusal)(&refusal)
        })
    }

    /// Records something that a careful client would not have sent. `what` never contains the value.
    pub fn unexpected_if(&self, condition: bool, what: &str) {
        if condition {
            locked(&self.world.stats).unexpected(self.endpoint, what, self.at);
        }
    }

    /// Records each of these headers that was sent. Returns whether there was one.
    pub fn unexpected_headers(&self, names: &[HeaderName]) -> bool {
        let sent = |name: &&HeaderName| self.headers.contains_key(*name);
        names.iter().filter(sent).inspect(|name| self.unexpected_if(true, name.as_str())).count() > 0
    }

    /// Counts a response to wrong credentials.
    pub fn unauthorized(&self, response: PlannedResponse) -> PlannedResponse {
        locked(&self.world.stats).unauthorized += 1;
        response
    }

    /// A header's value, if it is text.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A query parameter's value, decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        let pairs = url::form_urlencoded::parse(self.uri.query().unwrap_or_default().as_bytes());
        pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// Not decoded.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// Not decoded.
    pub fn raw_query(&self) -> &str {
        self.uri.query().unwrap_or_default()
    }

    pub async fn body(&self, body: Body) -> Result<Bytes, PlannedResponse> {
        let read = axum::body::to_bytes(body, REQUEST_BYTES_MAX).await;
        read.map_err(|_| PlannedResponse::error(StatusCode::BAD_REQUEST, "The request body could not be read."))
    }

    /// Makes the response and delivers it.
    pub async fn respond(
        self,
        body: Bytes,
        work: impl FnOnce(&Self, &[u8]) -> Result<Reply, PlannedResponse> + Send + 'static,
    ) -> Response<Body> {
        let request_bytes = body.len();
        let (arrival, reply) = apart(move || {
            let reply = work(&self, &body).unwrap_or_else(|response| Reply::new(response, None));
            (self, reply)
        })
        .await;
        let mischief = reply.action.as_ref().map(Action::name);
        let (response, bytes) = arrival.deliver(reply.response, reply.action, request_bytes).await;
        if let Some(report) = reply.report {
            let (status, endpoint) = (response.status().as_u16(), arrival.endpoint.to_owned());
            let at_secs = arrival.at.as_secs_f64();
            let report = ReportCall { at_secs, endpoint, status, bytes, mischief, ..report };
            locked(&arrival.world.stats).reported(report);
        }
        response
    }

    /// The action for this call. `report` are all names of what it requests; `page` starts at 1.
    pub fn meet(&self, report: &[&str], page: Option<u32>) -> Option<Action> {
        self.world.mischief.meet(&Call { endpoint: self.endpoint, report, page })
    }

    /// The response after mischief, and how many bytes the call counts.
    pub async fn deliver(
        &self,
        response: PlannedResponse,
        action: Option<Action>,
        request_bytes: usize,
    ) -> (Response<Body>, u64) {
        let stopping = &self.world.stopping;
        match &action {
            Some(Action::Delay { ms }) => {
                stopping.run_until_cancelled(tokio::time::sleep(bounded(*ms))).await;
            }
            Some(Action::Hold(hold)) if hold.point == Point::BeforeResponse => {
                stopping.run_until_cancelled(hold.gate.pass()).await;
            }
            _ => {}
        }
        let response = match action {
            Some(action) => response.meet(action),
            None => response,
        };
        self.finish(response, request_bytes)
    }

    /// Counts the bytes, decompressed, and passes the response to the connection.
    pub fn finish(&self, response: PlannedResponse, request_bytes: usize) -> (Response<Body>, u64) {
        let bytes = (request_bytes + response.body.len()) as u64 + self.head_bytes;
        if let Some(gateway) = self.gateway() {
            locked(&gateway.limits).spend(self.kind, bytes, self.world.now());
        }
        (self.send(response), bytes)
    }

    /// The gateway's refusals count 0 bytes.
    pub fn refuse(&self, response: PlannedResponse) -> Response<Body> {
        self.send(response)
    }

    fn send(&self, response: PlannedResponse) -> Response<Body> {
        let accepts = self.header(&ACCEPT_ENCODING).is_some_and(|accepted| accepted.contains("gzip"));
        // Storages send their content unchanged.
        let gzip = accepts && self.vendor.is_some_and(|vendor| self.world.compresses(vendor));
        response.send(&self.wire, gzip, self.world.stopping.clone())
    }
}
