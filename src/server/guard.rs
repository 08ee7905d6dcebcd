//! What a request must fulfil before any route sees it: a host of ours, a login, and for a POST that a page of ours or
//! a script made it. One function decides, from the request's head and the configuration alone.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use url::Url;

use super::auth::{self, Login, NoLogin};
use super::body;
use super::pages;
use super::places::Place;
use super::problem::api_error;
use super::routes::{AppState, HEADERS};
use crate::config::Server;

/// How long the response to wrong credentials takes at least, so that trying them is slow.
const WRONG_LOGIN_TAKES: Duration = Duration::from_millis(300);
/// Wrong logins that may take so long at the same time; the others are refused at once.
pub(super) const WRONG_LOGINS_MAX: usize = 8;
/// Seconds after which a request may be repeated that had no seat.
const BUSY_FOR: &str = "2";
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
pub(super) const FORM: &str = "application/x-www-form-urlencoded";
pub(super) const JSON: &str = "application/json";

/// The address of the client, or of the proxy in front.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Many wrong logins at the same time.
    TooMany,
    /// Many requests at the same time.
    Busy,
    /// Its path is not UTF-8 after decoding or has a NUL, so it names nothing.
    Path,
    /// It names another host: a page of someone else may have made the browser send it here (DNS rebinding).
    Host,
    Login(NoLogin),
    /// A page of another site made it.
    CrossSite,
    /// It is not a form, or for the API no JSON.
    Kind,
    /// The API is changed with the token only.
    NotBearer,
}

/// The head of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
}

/// Who sends the request, or why it is refused.
pub(super) fn judge(server: &Server, head: Head<'_>) -> Result<Login, Refusal> {
    let path = head.uri.path();
    if is_probe(path) {
        return Ok(Login::Open);
    }
    // A scraper may use any name of the service.
    if path != "/metrics" && !is_own_host(server, head) {
        return Err(Refusal::Host);
    }
    let login = auth::login(server.auth.as_ref(), head.headers).map_err(Refusal::Login)?;
    if !is_text(path) {
        return Err(Refusal::Path);
    }
    // Without a login nothing can be changed: the routes refuse it.
    if login == Login::Open || matches!(*head.method, Method::GET | Method::HEAD) {
        return Ok(login);
    }
    if !is_own_page(server, login, head.headers) {
        return Err(Refusal::CrossSite);
    }
    let is_api = pages::is_api(path);
    if is_api && login != Login::Bearer {
        return Err(Refusal::NotBearer);
    }
    // No other method changes anything: the routes refuse it.
    if *head.method != Method::POST {
        return Ok(login);
    }
    let kind = one(head.headers, &CONTENT_TYPE).flatten().and_then(|kind| kind.split(';').next()).unwrap_or_default();
    if !kind.trim().eq_ignore_ascii_case(if is_api { JSON } else { FORM }) {
        return Err(Refusal::Kind);
    }
    Ok(login)
}

fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

/// Whether there is a seat for a request; probes need none.
fn has_seat(request: &Request) -> bool {
    is_probe(request.uri().path()) || request.extensions().get::<Arc<Place>>().is_none_or(|place| place.take_seat())
}

/// Whether a path is text after its `%` are decoded, and has no NUL, which Postgres cannot store.
fn is_text(path: &str) -> bool {
    percent_encoding::percent_decode_str(path).decode_utf8().is_ok_and(|path| !path.contains('\0'))
}

/// The value of a header: `None` if it occurs twice or is not text, `Some(None)` if it is absent.
#[expect(clippy::option_option, reason = "absent and ambiguous differ")]
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<Option<&'h str>> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Some(None) };
    if values.next().is_some() {
        return None;
    }
    first.to_str().ok().map(Some)
}

/// Whether the request names this server: by an address, as `localhost`, or by a name of the configuration. Any other
/// name may be one of an attacker that resolves to this server.
fn is_own_host(server: &Server, head: Head<'_>) -> bool {
    let Some(Some(host)) = one(head.headers, &HOST) else { return false };
    let is_own = |authority: &str| host_of(authority).is_some_and(|host| is_own_name(server, &host));
    is_own(host) && head.uri.authority().is_none_or(|authority| is_own(authority.as_str()))
}

/// The host of `host:port` in lower case, without brackets and a final dot.
fn host_of(authority: &str) -> Option<String> {
    if authority.contains(['@', '/', '?', '#', '\\']) {
        return None;
    }
    let authority: axum::http::uri::Authority = authority.parse().ok()?;
    let host = authority.host();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some(host.trim_end_matches('.').to_ascii_lowercase())
}

fn is_own_name(server: &Server, host: &str) -> bool {
    let mut configured = server.origins.iter().filter_map(|origin| Url::parse(origin).ok());
    host.parse::<IpAddr>().is_ok()
        || host == "localhost"
        || server.url.as_ref().is_some_and(|url| has_host(url, host))
        || configured.any(|url| has_host(&url, host))
}

/// Whether this is the host of the URL; as [`host_of`] returns it.
fn has_host(url: &Url, host: &str) -> bool {
    let name = url.host_str().unwrap_or_default();
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.trim_end_matches('.').eq_ignore_ascii_case(host)
}

/// Whether a page of this server, or a script, sent the request. Browsers say in `Sec-Fetch-Site` which page made it,
/// but not over plain http; older ones say it in `Origin` only. What is there must be ours. A request with neither must
/// have the token, because browsers add user and password by themselves.
fn is_own_page(server: &Server, login: Login, headers: &HeaderMap) -> bool {
    match (one(headers, &SEC_FETCH_SITE), one(headers, &ORIGIN)) {
        (Some(Some(site)), Some(origin)) => {
            matches!(site, "same-origin" | "none") && origin.is_none_or(|origin| is_own_origin(server, origin, headers))
        }
        (Some(None), Some(Some(origin))) => is_own_origin(server, origin, headers),
        (Some(None), Some(None)) => login == Login::Bearer,
        _ => false,
    }
}

fn is_own_origin(server: &Server, origin: &str, headers: &HeaderMap) -> bool {
    let of_host = || {
        let host = one(headers, &HOST).flatten()?;
        let (scheme, authority) = origin.split_once("://")?;
        Some(authority.eq_ignore_ascii_case(host) && may_have_scheme(server, scheme, authority))
    };
    let listed = |known: &str| known.eq_ignore_ascii_case(origin);
    let own = server.url.as_ref().map(|url| url.origin().ascii_serialization());
    of_host().unwrap_or(false)
        || own.is_some_and(|own| listed(&own))
        || server.origins.iter().any(|known| listed(known))
}

/// Whether a page of this server may have this scheme. The server itself has no TLS, but a proxy in front may have it,
/// and the requests that it passes on look alike. `server.url` says whether there is one.
fn may_have_scheme(server: &Server, scheme: &str, authority: &str) -> bool {
    match (scheme, &server.url) {
        ("http" | "https", None) => true,
        ("http", Some(url)) if url.scheme() == "https" => {
            // Without the proxy, as by an address in the same network.
            host_of(authority).is_some_and(|host| !has_host(url, &host))
        }
        (scheme, Some(url)) => scheme == url.scheme(),
        _ => false,
    }
}

/// The response of the route. An action is not cut off while it is under way.
async fn respond(request: Request, next: Next) -> Response {
    let place = request.extensions().get::<Arc<Place>>().filter(|_| *request.method() == Method::POST).cloned();
    if let Some(place) = &place {
        place.acts();
    }
    let response = next.run(request).await;
    if let Some(place) = &place {
        place.acted();
    }
    response
}

/// Judges every request before its route, and notes its login for the route.
pub(super) async fn guard(State(desk): State<Arc<AppState>>, mut request: Request, next: Next) -> Response {
    desk.wrong_logins.log_counted();
    let config = Arc::clone(&desk.sources.config.borrow());
    let head = Head { method: request.method(), uri: request.uri(), headers: request.headers() };
    let mut refusal = match judge(&config.server, head) {
        Ok(login) => {
            if *request.method() == Method::POST {
                request = body::receive(request, login).await;
            }
            if has_seat(&request) {
                request.extensions_mut().insert(login);
                return respond(request, next).await;
            }
            Refusal::Busy
        }
        Err(refusal) => refusal,
    };
    if refusal == Refusal::Login(NoLogin::Wrong) {
        desk.sources.metrics.login_failed();
        if let Some(Peer(peer)) = request.extensions().get() {
            desk.wrong_logins.count(peer.ip());
        }
        // Those that wait hold places of the port, so only a few may.
        match desk.waiting_logins.try_acquire() {
            Ok(_waiting) => tokio::time::sleep(WRONG_LOGIN_TAKES).await,
            Err(_) => refusal = Refusal::TooMany,
        }
    }
    let (status, text) = refusal.response();
    let mut response = if pages::is_api(request.uri().path()) {
        api_error(status, text)
    } else {
        (status, HEADERS, format!("{text}\n")).into_response()
    };
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"Tidegate\", charset=\"UTF-8\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    if refusal == Refusal::Busy {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(BUSY_FOR));
    }
    response
}

impl Refusal {
    const fn response(self) -> (StatusCode, &'static str) {
        match self {
            Self::Host => (
                StatusCode::MISDIRECTED_REQUEST,
                "this name is not known here; write it as `server.url` or in `server.origins`, or use the address",
            ),
            Self::Path => (StatusCode::BAD_REQUEST, "the path is not UTF-8, or has a NUL"),
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too many wrong logins at this moment; try again"),
            Self::Busy => {
                (StatusCode::TOO_MANY_REQUESTS, "too many requests at this moment; try again in a few seconds")
            }
            Self::Login(NoLogin::Missing) => (StatusCode::UNAUTHORIZED, "log in with the user of `server.auth`"),
            Self::Login(NoLogin::Wrong) => (StatusCode::UNAUTHORIZED, "the credentials are wrong; see `server.auth`"),
            Self::CrossSite => (
                StatusCode::FORBIDDEN,
                "no page of this server sent this; if a proxy changes the name, write its address in `server.origins`. \
                 Scripts send `Authorization: Bearer` with the token of `server.auth`",
            ),
            Self::NotBearer => (StatusCode::FORBIDDEN, "send `Authorization: Bearer` with the token of `server.auth`"),
            Self::Kind => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "send a form as application/x-www-form-urlencoded, or to the API application/json",
            ),
        }
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
