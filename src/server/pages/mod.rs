//! The pages for operators, and the JSON API with the same content.
//!
//! Every page is complete HTML; the script only keeps it current. A page is read once for all clients within a few
//! seconds, by one request at a time, so that many clients cost Postgres no more than one.

mod act;
mod assets;
mod chrome;
mod markup;
mod views;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{RawPathParams, RawQuery, State};
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, ETAG, IF_NONE_MATCH, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Router, extract};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::Mutex;

use super::routes::{AppState, HEADERS};
use crate::clock;
use crate::report::{
    API, ConnectionPage, Connections, Document, Events, JobPage, Jobs, Overview, Problems, Pushes, Query, QueryError,
    Quotas, ReadError, Reading, Rejects, RunPage, Runs, SchemaChanges, StreamPage, Streams, Surroundings, System,
    api_path,
};
use crate::store::pause::Pause;
use crate::text;
use chrome::Chrome;
use markup::ZoneChoice;

/// A page younger than this is shown again instead of being read.
const FRESH: Duration = Duration::from_secs(5);
/// Pages kept for that.
const KEPT_MAX: usize = 64;
/// A longer path or query is refused.
const ADDRESS_MAX: usize = 2_000;
const ZONE_COOKIE: &str = "tidegate_zone";

/// Nothing is loaded but our own style sheet, script and icons, and only forms of our own can be sent.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A document that has a page.
trait Page: Document {
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

/// A page as it was read.
#[derive(Clone)]
struct Shown {
    /// `None` if it does not exist.
    content: Option<Arc<dyn Content>>,
    at: chrono::DateTime<chrono::Utc>,
    problems: i64,
    /// The pause of every job.
    pause: Option<Pause>,
    config_refused: bool,
    /// Hash of everything but the time.
    hash: u64,
}

/// By path and parameters: pages, and when they were read.
type Kept = BTreeMap<(&'static str, Query), (Instant, Shown)>;

/// Pages that were read lately.
#[derive(Default)]
pub(super) struct Shelf {
    shown: Mutex<Kept>,
    /// The last overview, for when the database is gone.
    overview: std::sync::Mutex<Option<Shown>>,
    /// Since when the database has not responded.
    gone_since: std::sync::Mutex<Option<chrono::DateTime<chrono::Utc>>>,
}

impl Shelf {
    /// Forgets what was read, because something was changed.
    async fn clear(&self) {
        self.shown.lock().await.clear();
    }
}

/// Why a page cannot be shown.
enum Fault {
    Query(QueryError),
    /// The database did not respond in time or reported an error.
    Gone,
    TooLong,
}

/// The error document of the API (RFC 9457).
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ApiError {
    /// `about:blank`: the status is the kind of error.
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
}

/// The routes of pages, API and assets.
pub(super) fn router() -> Router<Arc<AppState>> {
    let router = Router::new();
    let router = add::<Overview>(router);
    let router = add::<Streams>(router);
    let router = add::<StreamPage>(router);
    let router = add::<Jobs>(router);
    let router = add::<JobPage>(router);
    let router = add::<Runs>(router);
    let router = add::<RunPage>(router);
    let router = add::<Quotas>(router);
    let router = add::<Connections>(router);
    let router = add::<ConnectionPage>(router);
    let router = add::<Events>(router);
    let router = add::<Problems>(router);
    let router = add::<Rejects>(router);
    let router = add::<SchemaChanges>(router);
    let router = add::<Pushes>(router);
    let router = add::<System>(router);
    let router = act::router(router);
    router.route("/zone", get(choose_zone)).route("/assets/{name}", get(asset)).fallback(not_found)
}

/// Adds a page and the same document in the API.
fn add<P: Page>(router: Router<Arc<AppState>>) -> Router<Arc<AppState>> {
    router.route(P::PATH, get(page::<P>)).route(&api_path(P::PATH), get(api::<P>))
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
        Err(Fault::Gone) => visit.gone(&desk, P::PATH == Overview::PATH),
        Err(Fault::Query(error)) => visit.message(&desk, StatusCode::BAD_REQUEST, "Wrong address", &error.to_string()),
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
        Err(Fault::Gone) => api_error(StatusCode::SERVICE_UNAVAILABLE, "the database did not respond; see /readyz"),
        Err(Fault::Query(error)) => api_error(StatusCode::BAD_REQUEST, &error.to_string()),
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

pub(super) fn api_error(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let error = ApiError { r#type: "about:blank", title, status: status.as_u16(), detail: detail.to_owned() };
    let body = serde_json::to_string(&error).unwrap_or_default();
    (status, HEADERS, [(CONTENT_TYPE, "application/problem+json")], text::json(&body).into_owned()).into_response()
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
            at: shown.map_or_else(clock::now, |shown| shown.at),
            problems: shown.map_or(0, |shown| shown.problems),
            pause: shown.and_then(|shown| shown.pause.clone()),
            acts: config.server.auth.is_some(),
            config_refused: shown.map_or_else(|| desk.sources.health.is_reload_refused(), |shown| shown.config_refused),
            version: env!("CARGO_PKG_VERSION"),
            json: shown.map(|_| json),
            alarm: None,
        }
    }

    /// The page, or 404, or 304 if the client has it.
    fn respond(&self, desk: &AppState, shown: &Shown) -> Response {
        let Some(content) = &shown.content else {
            let text = "Nothing has this name; it may have been removed or renamed. Search for it above.";
            return self.message(desk, StatusCode::NOT_FOUND, "Not found", text);
        };
        let appearance = format!("{:?} {} {:?}", self.zone, assets::version(), desk.sources.config.borrow().server);
        let tag = format!("\"{:016x}{:016x}\"", shown.hash, hash(&appearance));
        if is_known(&self.headers, &tag) {
            return (StatusCode::NOT_MODIFIED, HEADERS, [(ETAG, tag)]).into_response();
        }
        html(StatusCode::OK, content.html(&self.chrome(desk, Some(shown))), Some(tag))
    }

    /// The last overview, if this is its page, with an alarm: the database is gone.
    fn gone(&self, desk: &AppState, is_overview: bool) -> Response {
        let since = *lock(&desk.shelf.gone_since);
        let zone = self.zone.resolve(None);
        let when =
            since.map_or_else(String::new, |at| format!(" since {}", markup::moment_text(at, zone, clock::now())));
        let alarm = format!("Postgres has not responded{when}; nothing is loaded. See the log of the daemon.");
        let last = lock(&desk.shelf.overview).clone().filter(|_| is_overview);
        let mut chrome = self.chrome(desk, last.as_ref());
        (chrome.alarm, chrome.json) = (Some(alarm), None);
        let page = match last.and_then(|last| last.content) {
            Some(content) => content.html(&chrome),
            None => views::message(
                &chrome,
                "No data",
                "The database did not respond. Only the overview is kept for that case, and only after it was read once.",
            ),
        };
        html(StatusCode::SERVICE_UNAVAILABLE, page, None)
    }

    fn message(&self, desk: &AppState, status: StatusCode, heading: &str, text: &str) -> Response {
        html(status, views::message(&self.chrome(desk, None), heading, text), None)
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
    if uri.path().starts_with(API) {
        return api_error(StatusCode::NOT_FOUND, "the API has no such document; `tidegate schema --api` lists all");
    }
    Visit::new(&uri, &headers, Query::default()).missing(&desk)
}

impl Visit {
    fn missing(&self, desk: &AppState) -> Response {
        self.message(desk, StatusCode::NOT_FOUND, "Not found", "There is no such page.")
    }
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn hash(text: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}

impl AppState {
    /// The page, read now or a moment ago.
    async fn shown<P: Page>(&self, query: &Query, uri: &Uri) -> Result<Shown, Fault> {
        if uri.path_and_query().is_some_and(|address| address.as_str().len() > ADDRESS_MAX) {
            return Err(Fault::TooLong);
        }
        if query.has_nul() {
            return Err(Fault::Query(QueryError { name: "address", expected: "text without NUL" }));
        }
        let key = (P::PATH, query.clone());
        // One request reads, the others wait for it.
        let mut kept = self.shelf.shown.lock().await;
        if let Some((_, shown)) = kept.get(&key).filter(|(since, _)| since.elapsed() < FRESH) {
            return Ok(shown.clone());
        }
        let shown = self.read_page::<P>(query).await?;
        kept.retain(|_, (since, _)| since.elapsed() < FRESH);
        if kept.len() < KEPT_MAX {
            kept.insert(key, (Instant::now(), shown.clone()));
        }
        drop(kept);
        if P::PATH == Overview::PATH {
            *lock(&self.shelf.overview) = Some(shown.clone());
        }
        Ok(shown)
    }

    async fn read_page<P: Page>(&self, query: &Query) -> Result<Shown, Fault> {
        let config = Arc::clone(&self.sources.config.borrow());
        let config_refused = self.sources.health.is_reload_refused();
        let now = clock::now();
        let read = self
            .read(async |conn| {
                let surroundings = Surroundings::read(conn).await?;
                let pauses = &surroundings.pauses;
                let mut reading = Reading { conn, config: &config, pauses, config_refused, now };
                let document = match P::read(&mut reading, query).await {
                    Ok(document) => Ok(document),
                    Err(ReadError::Query(error)) => Err(error),
                    Err(ReadError::Database(error)) => return Err(error),
                };
                Ok((surroundings, document))
            })
            .await;
        let mut gone_since = lock(&self.shelf.gone_since);
        let Some((surroundings, document)) = read else {
            gone_since.get_or_insert(now);
            return Err(Fault::Gone);
        };
        *gone_since = None;
        drop(gone_since);
        let document = document.map_err(Fault::Query)?;
        let (problems, pause) = (surroundings.problems, surroundings.pause_of_everything().cloned());
        let mut hashed = format!("{problems} {pause:?} {config_refused} ");
        if let Some(mut value) = document.as_ref().and_then(|document| serde_json::to_value(document).ok()) {
            if let Some(fields) = value.as_object_mut() {
                fields.remove("at");
            }
            hashed.push_str(&value.to_string());
        }
        let content = document.map(|document| Arc::new(document) as Arc<dyn Content>);
        Ok(Shown { content, at: now, problems, pause, config_refused, hash: hash(&hashed) })
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
