//! Actions as pages, forms and calls of the API. [`crate::actions`] has what they do; `guard` has judged the request.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, RawPathParams, RawQuery, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use tokio::time::timeout;
use uuid::Uuid;

use super::super::auth::Login;
use super::super::body::Sent;
use super::super::guard::{JSON, Peer};
use super::super::problem::{api_error, wrong_parameter};
use super::super::routes::{AppState, HEADERS, READ_MAX};
use super::super::routing::{self, Routes};
use super::{API, Visit, html, query, unavailable, views};
use crate::actions::{self, ACTIONS, Action, ActionError, Asked, Outcome, Process, Proposal, plan};
use crate::config::Config;
use crate::report::{Query, QueryError, Surroundings};
use crate::store::failure::Failure;
use crate::{clock, text};

/// How long an action waits for others.
const TURN_MAX: Duration = Duration::from_secs(10);
/// How long an action takes at most, from when its body has arrived.
pub(in super::super) const ACTION_MAX: Duration =
    TURN_MAX.saturating_add(actions::WORK_MAX).saturating_add(actions::COMMIT_MAX);
const NOT_POSSIBLE: &str = "Not possible";
const NOT_CONFIRMED: &str = "Not confirmed";
const NOT_DONE: &str = "an action could not be done";
const REMEDY: &str = "Nothing can be changed here without a login: write `server.auth` with `user` and `password`, or use the \
                      commands.";

/// Adds the routes of all actions.
pub(super) fn add(routes: Routes) -> Routes {
    ACTIONS.iter().fold(routes, |routes, action| {
        let page =
            get(move |desk, names, parameters, uri, headers| show(action, desk, names, parameters, uri, headers));
        let page = page.post(move |desk, names, uri, headers, login, peer, sent| {
            act(action, desk, names, uri, headers, login, peer, sent)
        });
        let api = get(move |desk, names, parameters| show_json(action, desk, names, parameters));
        let api =
            api.post(move |desk, names, uri, login, peer, sent| act_json(action, desk, names, uri, login, peer, sent));
        let path = format!("{API}{}", action.route);
        routes.add(action.route, routing::page(&["get", "post"]), page).add(&path, routing::of(&["get", "post"]), api)
    })
}

/// Why an action was not done.
enum Undone {
    Action(ActionError),
    /// The database could not be read.
    Unread(Failure),
}

impl Undone {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Action(error) => status(error),
            Self::Unread(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn response(&self) -> Response {
        match self {
            Self::Action(ActionError::Field(error)) => wrong_parameter(StatusCode::UNPROCESSABLE_ENTITY, error),
            Self::Action(error @ (ActionError::Database(_) | ActionError::Late(_) | ActionError::Stopping)) => {
                unavailable(&error.to_string())
            }
            Self::Action(error) => api_error(status(error), &error.to_string()),
            Self::Unread(failure) => unavailable(&failure.to_string()),
        }
    }
}

impl std::fmt::Display for Undone {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Action(error) => write!(formatter, "{error}"),
            Self::Unread(failure) => write!(formatter, "{failure}"),
        }
    }
}

const fn status(error: &ActionError) -> StatusCode {
    match error {
        ActionError::NotFound(_) => StatusCode::NOT_FOUND,
        ActionError::Invalid(_) | ActionError::Field(_) => StatusCode::UNPROCESSABLE_ENTITY,
        ActionError::Refused(_) | ActionError::Reused => StatusCode::CONFLICT,
        ActionError::Database(_)
        | ActionError::Late(_)
        | ActionError::Stopping
        | ActionError::Unconfirmed { .. }
        | ActionError::Quota(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The page that shows why an action was not done. It leads back to the form, if that may help, and to the page of what
/// the action concerns.
fn refused(visit: &Visit, desk: &AppState, action: &Action, query: &Query, error: &Undone) -> Response {
    let text = text::sentence(&for_form(error));
    let links = match error {
        Undone::Action(ActionError::NotFound(_)) => Vec::new(),
        // The form would refuse it too. If it is not known whether it was done, another form might do it twice.
        Undone::Action(ActionError::Refused(_) | ActionError::Unconfirmed { .. }) => vec![page_of(action, query)],
        Undone::Action(_) | Undone::Unread(_) => ways_back(visit, action, query),
    };
    let heading = if is_unconfirmed(error) { NOT_CONFIRMED } else { NOT_POSSIBLE };
    // The same request again, which is done at most once.
    let again: Vec<(&str, &str)> = if may_help_again(error) { query.parameters().collect() } else { Vec::new() };
    let page = views::refusal(&visit.chrome(desk, None), (heading, &text), &links, &again);
    html(error.status(), page, None)
}

const fn is_unconfirmed(error: &Undone) -> bool {
    matches!(error, Undone::Action(ActionError::Unconfirmed { .. }))
}

/// Whether the same request may succeed later, and the form can send it again.
const fn may_help_again(error: &Undone) -> bool {
    is_unconfirmed(error)
        || matches!(error, Undone::Action(ActionError::Database(_) | ActionError::Late(_) | ActionError::Stopping))
}

/// The error for a person who has sent a form. Calls of the API have an id that their sender knows.
fn for_form(error: &Undone) -> String {
    let text = match error {
        Undone::Action(ActionError::Reused) => {
            "this form was sent before with other values, and that was done. Nothing was done now: load the form again"
        }
        Undone::Action(ActionError::Unconfirmed { .. }) => {
            "the database did not confirm it, so it is not known whether it was done. Send it again with the button on \
             this page: it is done at most once"
        }
        _ => return error.to_string(),
    };
    text.to_owned()
}

/// To the empty form, and to the page of what the action concerns.
fn ways_back(visit: &Visit, action: &Action, query: &Query) -> Vec<(&'static str, String)> {
    vec![("Back to the form", visit.path.clone()), page_of(action, query)]
}

fn page_of(action: &Action, query: &Query) -> (&'static str, String) {
    ("Show the present state", action.page(query))
}

fn is_open(config: &Config) -> bool {
    config.server.auth.is_none()
}

/// What would happen, and what surrounds every page.
async fn proposed(action: &Action, desk: &AppState, query: &Query) -> Result<(Proposal, Surroundings), Undone> {
    let config = Arc::clone(&desk.sources.config.borrow());
    let gone = desk.sources.outgoing.gone(&config);
    let _permit = desk.shelf.permit().await.map_err(Undone::Unread)?;
    let read = desk
        .read(async |conn| {
            let surroundings = Surroundings::read(conn).await?;
            let asked = Asked { conn, config: &config, query, actor: "", now: clock::now(), gone: &gone };
            match action.propose(asked).await {
                Err(ActionError::Database(error)) => Err(error),
                proposal => Ok(proposal.map(|proposal| (proposal, surroundings))),
            }
        })
        .await;
    let (mut proposal, surroundings) = read.map_err(Undone::Unread)?.map_err(Undone::Action)?;
    // After the connection was returned: a request never holds two.
    match timeout(READ_MAX, plan::with_quotas(&desk.sources.pool, &config, &mut proposal.plan)).await {
        Ok(Ok(())) => Ok((proposal, surroundings)),
        Ok(Err(error)) => Err(Undone::Action(error.into())),
        Err(_) => Err(Undone::Unread(Failure::Slow)),
    }
}

async fn show(
    action: &'static Action,
    State(desk): State<Arc<AppState>>,
    names: RawPathParams,
    RawQuery(parameters): RawQuery,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let query = query(&names, parameters.as_deref());
    let visit = Visit::new(&uri, &headers, query.clone());
    if is_open(&desk.sources.config.borrow()) {
        return visit.message(&desk, StatusCode::FORBIDDEN, "Not allowed", REMEDY);
    }
    match proposed(action, &desk, &query).await {
        Ok((proposal, surroundings)) => {
            let mut chrome = visit.chrome(&desk, None);
            (chrome.problems, chrome.pause) = (surroundings.problems, surroundings.pause_of_everything().cloned());
            chrome.only_reads = surroundings.only_reads;
            html(StatusCode::OK, views::action(&chrome, action, &proposal, &query), None)
        }
        Err(Undone::Unread(failure)) => visit.unread(&desk, failure, None),
        Err(error) => refused(&visit, &desk, action, &query, &error),
    }
}

async fn show_json(
    action: &'static Action,
    State(desk): State<Arc<AppState>>,
    names: RawPathParams,
    RawQuery(parameters): RawQuery,
) -> Response {
    if is_open(&desk.sources.config.borrow()) {
        return api_error(StatusCode::FORBIDDEN, REMEDY);
    }
    match proposed(action, &desk, &query(&names, parameters.as_deref())).await {
        Ok((proposal, ..)) => json(&proposal),
        Err(error) => error.response(),
    }
}

fn json<T: serde::Serialize>(document: &T) -> Response {
    match serde_json::to_string(document) {
        Ok(document) => (HEADERS, [(CONTENT_TYPE, JSON)], text::json(&document).into_owned()).into_response(),
        Err(error) => api_error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn perform(
    action: &Action,
    desk: &AppState,
    query: &Query,
    login: Login,
    peer: Peer,
    request: Uuid,
) -> Result<Outcome, ActionError> {
    let stop = desk.sources.health.stop();
    let turn = stop.run_until_cancelled(desk.shelf.wait(TURN_MAX, desk.actions.acquire())).await;
    let Ok(_turn) = turn.ok_or(ActionError::Stopping)?.map_err(ActionError::Late)? else {
        return Err(ActionError::Late(Failure::Busy));
    };
    let config = Arc::clone(&desk.sources.config.borrow());
    let who = match (login, &config.server.auth) {
        (Login::Basic, Some(auth)) if auth.user == "operator" => "operator".to_owned(),
        (Login::Basic, Some(auth)) => format!("operator {}", auth.user),
        _ => "operator with the token".to_owned(),
    };
    let actor = format!("{who} from {}", peer.0.ip().to_canonical());
    let asked_at = clock::now();
    let gone = desk.sources.outgoing.gone(&config);
    let process = Process { pool: &desk.sources.pool, config: &config, gone: &gone, stop };
    let outcome = action.perform(process, query, &actor, request).await;
    match &outcome {
        Ok(outcome) if outcome.repeated => {}
        Ok(outcome) => {
            tracing::info!(actor, run = outcome.run_id, action = outcome.summary, "an operator acted");
            // It may have written a message.
            desk.sources.outgoing.wake();
        }
        Err(ActionError::Database(error)) => {
            desk.shelf.record(Some(Failure::of(error)), asked_at);
            desk.trouble().warn(NOT_DONE, error);
        }
        Err(error @ ActionError::Late(failure)) => {
            desk.shelf.record(Some(*failure), asked_at);
            desk.trouble().warn(NOT_DONE, error);
        }
        Err(ActionError::Unconfirmed { source, .. }) => desk.trouble().warn("an action was not confirmed", source),
        Err(error) => tracing::info!(actor, %error, "an action was refused"),
    }
    // The page that follows shows it.
    desk.shelf.clear();
    outcome
}

#[expect(clippy::too_many_arguments, reason = "each is a part of the request")]
async fn act(
    action: &'static Action,
    State(desk): State<Arc<AppState>>,
    names: RawPathParams,
    uri: Uri,
    headers: HeaderMap,
    Extension(login): Extension<Login>,
    Extension(peer): Extension<Peer>,
    Extension(Sent(body)): Extension<Sent>,
) -> Response {
    let visit = Visit::new(&uri, &headers, Query::default());
    if login == Login::Open {
        return visit.message(&desk, StatusCode::FORBIDDEN, "Not allowed", REMEDY);
    }
    if uri.query().is_some() {
        let links = ways_back(&visit, action, &query(&names, None));
        return visit.message_with(&desk, StatusCode::UNPROCESSABLE_ENTITY, NOT_POSSIBLE, IN_BODY, &links);
    }
    let body = match &*body {
        Ok(body) => body,
        Err(fault) => {
            let links = ways_back(&visit, action, &query(&names, None));
            let text = text::sentence(&fault.to_string());
            return visit.message_with(&desk, fault.status(), NOT_POSSIBLE, &text, &links);
        }
    };
    // What is not UTF-8 becomes U+FFFD, which no name has.
    let query = query(&names, Some(&String::from_utf8_lossy(body)));
    let Some(request) = query.text("request").and_then(|id| Uuid::try_parse(id).ok()) else {
        let text = "The form has no id. Load the page again and send its form.";
        let links = ways_back(&visit, action, &query);
        return visit.message_with(&desk, StatusCode::UNPROCESSABLE_ENTITY, NOT_POSSIBLE, text, &links);
    };
    match perform(action, &desk, &query, login, peer, request).await {
        Ok(outcome) => {
            let base = desk.sources.config.borrow().server.base_path();
            (StatusCode::SEE_OTHER, HEADERS, [(LOCATION, format!("{base}{}", outcome.place))]).into_response()
        }
        Err(error) => refused(&visit, &desk, action, &query, &Undone::Action(error)),
    }
}

const IN_BODY: &str = "The fields of an action belong into the body, not after a question mark.";

async fn act_json(
    action: &'static Action,
    State(desk): State<Arc<AppState>>,
    names: RawPathParams,
    uri: Uri,
    Extension(login): Extension<Login>,
    Extension(peer): Extension<Peer>,
    Extension(Sent(body)): Extension<Sent>,
) -> Response {
    if login == Login::Open {
        return api_error(StatusCode::FORBIDDEN, REMEDY);
    }
    if uri.query().is_some() {
        return api_error(StatusCode::UNPROCESSABLE_ENTITY, IN_BODY);
    }
    let body = match &*body {
        Ok(body) => body,
        Err(fault) => return api_error(fault.status(), &fault.to_string()),
    };
    let parameters = match parameters(body) {
        Ok(parameters) => parameters,
        Err(Malformed::Document) => {
            let text =
                "the body is not a JSON object whose values are texts, numbers or booleans; without fields it is {}";
            return api_error(StatusCode::BAD_REQUEST, text);
        }
        Err(Malformed::Value(error)) => return wrong_parameter(StatusCode::UNPROCESSABLE_ENTITY, &error),
    };
    let query = query(&names, Some(&parameters));
    let request = match query.text("request").map(Uuid::try_parse) {
        None => Uuid::from_bytes(rand::random()),
        Some(Ok(request)) => request,
        Some(Err(_)) => {
            return wrong_parameter(StatusCode::UNPROCESSABLE_ENTITY, &QueryError::new("request", "a UUID"));
        }
    };
    match perform(action, &desk, &query, login, peer, request).await {
        Ok(outcome) => json(&outcome),
        Err(error) => Undone::Action(error).response(),
    }
}

/// Why the body of a call is not what an action asks for.
#[derive(Debug)]
enum Malformed {
    /// It is not an object of plain values.
    Document,
    /// A value that is not one. To leave it out may mean more than was meant, for instance every stream.
    Value(QueryError),
}

/// The members of a JSON object, in their order, also those with one name.
struct Members(Vec<(String, serde_json::Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Members;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = object.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

/// The members of a JSON object as the fields of a form.
fn parameters(body: &[u8]) -> Result<String, Malformed> {
    let Members(members) = serde_json::from_slice(body).map_err(|_| Malformed::Document)?;
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in members {
        let value = match value {
            serde_json::Value::String(text) if !text.trim().is_empty() => text,
            serde_json::Value::String(_) | serde_json::Value::Null => {
                let error = QueryError::new(&name, "a value: it is empty or null; leave it out if that is meant");
                return Err(Malformed::Value(error));
            }
            serde_json::Value::Number(_) | serde_json::Value::Bool(_) => value.to_string(),
            _ => return Err(Malformed::Document),
        };
        form.append_pair(&name, &value);
    }
    Ok(form.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_an_object_are_fields() {
        assert_eq!(parameters(br#"{"a": "x y&z", "b": 3, "c": true}"#).unwrap(), "a=x+y%26z&b=3&c=true");
        assert_eq!(parameters(b"{}").unwrap(), "");
        assert_eq!(parameters(br#"{"a": 1, "a": 2}"#).unwrap(), "a=1&a=2", "written twice, which is refused later");
        for wrong in [&b""[..], b"[]", b"{\"a\": []}", b"{", b"\xff", b"null", b"{} {}"] {
            assert!(matches!(parameters(wrong), Err(Malformed::Document)), "{}", String::from_utf8_lossy(wrong));
        }
        for empty in [&br#"{"stream": null}"#[..], br#"{"stream": ""}"#, br#"{"stream": " "}"#] {
            assert!(matches!(parameters(empty), Err(Malformed::Value(_))), "{}", String::from_utf8_lossy(empty));
        }
    }
}
