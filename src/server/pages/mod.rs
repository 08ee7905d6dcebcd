//! The pages for operators, and the JSON API with the same content.
//!
//! Every page is complete HTML; the script only keeps it current. `shelf` reads the documents, for all clients
//! together.

mod act;
mod assets;
mod chart;
mod chrome;
mod markup;
mod shelf;
mod views;
mod zones;

use std::sync::Arc;

use axum::extract::{self, RawPathParams, RawQuery, State};
use axum::http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, ETAG, IF_NONE_MATCH, LOCATION, RETRY_AFTER, SET_COOKIE,
};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use super::problem::{api_error, wrong_parameter};
use super::routes::{AppState, HEADERS};
use super::routing::{self, Routes};
use crate::clock;
use crate::report::{
    API, ConnectionPage, Connections, Document, Events, JobPage, Jobs, Overview, Problems, Pushes, Query, Quotas,
    Rejects, RunPage, Runs, SchemaChanges, StreamPage, Streams, System, api_path,
};
use crate::store::failure::Failure;
use crate::text;
pub(super) use act::ACTION_MAX;
use chrome::Chrome;
use markup::ZoneChoice;
use shelf::{Fault, Shown, hash};
pub(super) use shelf::{Shelf, reads_max};
use zones::Zones;

/// Seconds after which a client asks again for a page that could not be read.
const AGAIN_AFTER: &str = "5";
/// The lists of what the search does not find.
const LISTS: [(&str, &str); 2] = [("/jobs", "Show all jobs"), ("/runs", "Show all runs")];
const ZONE_COOKIE: &str = "tidegate_zone";

/// Nothing is loaded but our own style sheet, script and icons, and only forms of our own can be sent.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A document that has a page.
pub(super) trait Page: Document {
    fn html(&self, chrome: &Chrome) -> askama::Result<String>;
}

/// A document of any page.
trait Content: Send + Sync {
    fn html(&self, chrome: &Chrome) -> askama::Result<String>;
    fn json(&self) -> serde_json::Result<String>;
}

impl<P: Page> Content for P {
    fn html(&self, chrome: &Chrome) -> askama::Result<String> {
        Page::html(self, chrome)
    }

    fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// What is done with every page.
pub(super) trait Visitor {
    fn visit<P: Page>(&mut self);
}

/// All pages.
pub(super) fn visit_all(visitor: &mut impl Visitor) {
    visitor.visit::<Overview>();
    visitor.visit::<Streams>();
    visitor.visit::<StreamPage>();
    visitor.visit::<Jobs>();
    visitor.visit::<JobPage>();
    visitor.visit::<Runs>();
    visitor.visit::<RunPage>();
    visitor.visit::<Quotas>();
    visitor.visit::<Connections>();
    visitor.visit::<ConnectionPage>();
    visitor.visit::<Events>();
    visitor.visit::<Problems>();
    visitor.visit::<Rejects>();
    visitor.visit::<SchemaChanges>();
    visitor.visit::<Pushes>();
    visitor.visit::<System>();
}

/// Adds pages, and the same documents in the API.
#[derive(Default)]
struct Adder(Routes);

impl Visitor for Adder {
    fn visit<P: Page>(&mut self) {
        let routes = std::mem::take(&mut self.0);
        let routes = routes.add(P::PATH, routing::page(&["get"]), get(page::<P>));
        self.0 = routes.add(&api_path(P::PATH), routing::of(&["get"]), get(api::<P>));
    }
}

/// The routes of pages, API and assets.
pub(super) fn routes() -> Routes {
    let mut adder = Adder::default();
    visit_all(&mut adder);
    act::add(adder.0)
        .add("/zone", routing::page(&["get"]), get(choose_zone))
        .add("/assets/{name}", routing::page(&["get"]), get(asset))
        .with(|router| router.fallback(not_found).method_not_allowed_fallback(not_allowed))
}

async fn page<P: Page>(
    State(desk): State<Arc<AppState>>,
    names: RawPathParams,
    RawQuery(parameters): RawQuery,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let query = query(&names, parameters.as_deref());
    let visit = Visit::new(&uri, &headers, query.clone());
    match desk.shown::<P>(&query, &uri).await {
        Ok(shown) => visit.respond(&desk, &shown),
        Err(Fault::Unread(failure)) => visit.unread(&desk, failure, desk.shelf.last(&(P::PATH, query)).as_ref()),
        Err(Fault::Query(error)) => {
            visit.message(&desk, StatusCode::BAD_REQUEST, "Wrong address", &text::sentence(&error.to_string()))
        }
        Err(Fault::TooLong) => visit.message(&desk, StatusCode::URI_TOO_LONG, "Wrong address", TOO_LONG),
    }
}

async fn api<P: Page>(
    State(desk): State<Arc<AppState>>,
    names: RawPathParams,
    RawQuery(parameters): RawQuery,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    match desk.shown::<P>(&query(&names, parameters.as_deref()), &uri).await {
        Ok(Shown { content: None, .. }) => api_error(StatusCode::NOT_FOUND, "nothing has this name"),
        Ok(Shown { content: Some(content), hash, .. }) => {
            let tag = format!("\"{hash:016x}\"");
            if is_known(&headers, &tag) {
                return (StatusCode::NOT_MODIFIED, HEADERS, [(ETAG, tag)]).into_response();
            }
            match content.json() {
                Ok(document) => {
                    let document = text::json(&document).into_owned();
                    (HEADERS, [(CONTENT_TYPE, "application/json".to_owned()), (ETAG, tag)], document).into_response()
                }
                Err(error) => api_error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
            }
        }
        Err(Fault::Unread(failure)) => unavailable(&failure.to_string()),
        Err(Fault::Query(error)) => wrong_parameter(StatusCode::BAD_REQUEST, &error),
        Err(Fault::TooLong) => api_error(StatusCode::URI_TOO_LONG, TOO_LONG),
    }
}

const TOO_LONG: &str = "the address is longer than 2,000 characters";

/// Whether a path is one of the API, whose errors are JSON.
pub(super) fn is_api(path: &str) -> bool {
    path.starts_with("/api/")
}

fn query(names: &RawPathParams, parameters: Option<&str>) -> Query {
    let names = names.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    Query::new(names, parameters.unwrap_or_default())
}

/// The response of the API if the database did not do what was asked for.
fn unavailable(detail: &str) -> Response {
    let mut response = api_error(StatusCode::SERVICE_UNAVAILABLE, detail);
    response.headers_mut().insert(RETRY_AFTER, axum::http::HeaderValue::from_static(AGAIN_AFTER));
    response
}

/// Whether the client has the version of a page that `tag` names.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    known.is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag))
}

/// How a request wants a page to be shown.
struct Visit {
    path: String,
    here: String,
    query: Query,
    zone: ZoneChoice,
    headers: HeaderMap,
}

impl Visit {
    fn new(uri: &Uri, headers: &HeaderMap, query: Query) -> Self {
        let here = uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        let zone = cookie(headers, ZONE_COOKIE).map(ZoneChoice::parse).unwrap_or_default();
        Self { path: uri.path().to_owned(), here, query, zone, headers: headers.clone() }
    }

    fn chrome(&self, desk: &AppState, shown: Option<&Shown>) -> Chrome {
        let config = Arc::clone(&desk.sources.config.borrow());
        let json = match self.here.strip_prefix('/') {
            Some("") => format!("{API}/overview"),
            _ => format!("{API}{}", self.here),
        };
        Chrome {
            title: config.server.title.clone(),
            base: config.server.base_path(),
            path: self.path.clone(),
            here: self.here.clone(),
            query: self.query.clone(),
            zone: self.zone,
            zones: Zones::new(&config),
            at: shown.map_or_else(clock::now, |shown| shown.at),
            now: clock::now(),
            problems: shown.map_or(0, |shown| shown.problems),
            // One that was read a while ago may have ended.
            pause: shown.and_then(|shown| shown.pause.clone()).filter(|pause| clock::now() < pause.until),
            only_reads: shown.is_some_and(|shown| shown.only_reads),
            acts: config.server.auth.is_some(),
            // What this process knows now, not what it knew when the page was read.
            refusal: desk.sources.health.refusal(),
            version: env!("CARGO_PKG_VERSION"),
            json: shown.map(|_| json),
            alarm: None,
            old: None,
        }
    }

    /// The page, or 404, or 304 if the client has it.
    fn respond(&self, desk: &AppState, shown: &Shown) -> Response {
        let Some(content) = &shown.content else { return self.nameless(desk) };
        let chrome = self.chrome(desk, Some(shown));
        let (server, refusal) = (desk.sources.config.borrow().server.clone(), &chrome.refusal);
        let appearance = format!("{:?} {} {server:?} {refusal:?}", self.zone, assets::version());
        let tag = format!("\"{:016x}{:016x}\"", shown.hash, hash(&appearance));
        if is_known(&self.headers, &tag) {
            return (StatusCode::NOT_MODIFIED, HEADERS, [(ETAG, tag)]).into_response();
        }
        html(StatusCode::OK, content.html(&chrome), Some(tag))
    }

    /// The page as it was read last, with its age and the reason why it is old; without one, only the reason.
    fn unread(&self, desk: &AppState, failure: Failure, last: Option<&Shown>) -> Response {
        let zone = self.zone.resolve(None);
        let at = |at| markup::exact_moment_text(at, zone, clock::now());
        let since = desk.shelf.gone_since().map_or_else(String::new, |since| format!(" since {}", at(since)));
        let reason = if failure == Failure::Gone {
            format!("Postgres has not responded{since}; nothing is loaded. See the log of the daemon.")
        } else {
            text::sentence(&failure.to_string())
        };
        let last = last.and_then(|last| Some((last, last.content.as_ref()?)));
        let mut chrome = self.chrome(desk, last.map(|(last, _)| last));
        chrome.json = None;
        // The alarm is about what is known now.
        chrome.only_reads = false;
        let page = if let Some((last, content)) = last {
            let cause = if failure == Failure::Gone {
                format!("Postgres has not responded{since}")
            } else {
                "This page could not be read".to_owned()
            };
            chrome.old = Some(format!("{cause}; what is shown is old"));
            let age = markup::span((clock::now() - last.at).num_seconds().max(0));
            chrome.alarm = Some(format!("{reason} This page is old: it was read {}, {age} ago.", at(last.at)));
            content.html(&chrome)
        } else {
            chrome.alarm = Some(reason);
            views::unread(&chrome, "No data", "This page was not read before, so there is nothing to show.")
        };
        let mut response = html(StatusCode::SERVICE_UNAVAILABLE, page, None);
        response.headers_mut().insert(RETRY_AFTER, axum::http::HeaderValue::from_static(AGAIN_AFTER));
        response
    }

    fn message(&self, desk: &AppState, status: StatusCode, heading: &str, text: &str) -> Response {
        self.message_with(desk, status, heading, text, &[])
    }

    /// A message with the names and paths of the pages that lead on from it.
    fn message_with(
        &self,
        desk: &AppState,
        status: StatusCode,
        heading: &str,
        text: &str,
        links: &[(&str, String)],
    ) -> Response {
        html(status, views::message(&self.chrome(desk, None), heading, text, links), None)
    }
}

fn html(status: StatusCode, page: askama::Result<String>, tag: Option<String>) -> Response {
    let Ok(page) = page else {
        // Writing to a string cannot fail.
        return (StatusCode::INTERNAL_SERVER_ERROR, HEADERS, "the page could not be written").into_response();
    };
    let mut response = (status, HEADERS, [(CONTENT_SECURITY_POLICY, POLICY)], Html(page)).into_response();
    if let Some(tag) = tag.and_then(|tag| tag.parse().ok()) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// The value of a cookie.
fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let cookies =
        headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    cookies.filter_map(|cookie| cookie.trim().split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Stores in a cookie in which zone times are shown, and goes back.
async fn choose_zone(State(desk): State<Arc<AppState>>, RawQuery(parameters): RawQuery) -> Response {
    let query = Query::new([], parameters.as_deref().unwrap_or_default());
    let zone = ZoneChoice::parse(query.text("zone").unwrap_or_default());
    // Only a path of this server.
    let back = query.text("back").filter(|back| is_local_path(back)).unwrap_or("/");
    let base = desk.sources.config.borrow().server.base_path();
    let cookie = format!("{ZONE_COOKIE}={}; Path={base}/; Max-Age=31536000; HttpOnly; SameSite=Lax", zone.name());
    (StatusCode::SEE_OTHER, HEADERS, [(SET_COOKIE, cookie), (LOCATION, format!("{base}{back}"))]).into_response()
}

fn is_local_path(path: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    path.starts_with('/') && !path.starts_with("//") && path.bytes().all(is_plain)
}

async fn asset(State(desk): State<Arc<AppState>>, uri: Uri, path: extract::Path<String>) -> Response {
    let missing = || Visit::new(&uri, &HeaderMap::new(), Query::default()).missing(&desk);
    assets::serve(path).unwrap_or_else(missing)
}

async fn not_found(State(desk): State<Arc<AppState>>, uri: Uri, headers: HeaderMap) -> Response {
    if is_api(uri.path()) {
        return api_error(StatusCode::NOT_FOUND, "the API has no such document; `tidegate schema --api` lists all");
    }
    Visit::new(&uri, &headers, Query::default()).missing(&desk)
}

async fn not_allowed(uri: Uri) -> Response {
    if is_api(uri.path()) {
        return api_error(StatusCode::METHOD_NOT_ALLOWED, "this path has no such method; see `tidegate schema --api`");
    }
    (StatusCode::METHOD_NOT_ALLOWED, HEADERS, "this path has no such method\n").into_response()
}

impl Visit {
    /// Nothing has the name in the path. The search finds streams, also by their connection; others are in a list.
    fn nameless(&self, desk: &AppState) -> Response {
        let gone = "Nothing has this name; it may have been removed or renamed.";
        let list = LISTS.iter().find(|(path, _)| self.path.starts_with(path));
        let list = list.map(|(path, name)| (*name, (*path).to_owned()));
        let text = if list.is_some() { gone.to_owned() } else { format!("{gone} Search for it above.") };
        self.message_with(desk, StatusCode::NOT_FOUND, "Not found", &text, list.as_slice())
    }

    fn missing(&self, desk: &AppState) -> Response {
        self.message(desk, StatusCode::NOT_FOUND, "Not found", "There is no such page.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_server_are_gone_back_to() {
        for path in ["/", "/streams?q=a%20b", "/streams/a/b"] {
            assert!(is_local_path(path), "{path}");
        }
        for path in ["", "//evil.example", "/\\evil.example", "https://evil.example", "/a\nb", "/a b", "javascript:x"] {
            assert!(!is_local_path(path), "{path}");
        }
    }

    #[test]
    fn a_tag_is_recognised_among_others() {
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, "\"a\", W/\"b\"".parse().unwrap());
        assert!(is_known(&headers, "\"b\"") && !is_known(&headers, "\"c\""));
    }
}
