//! Lynn Outbound (`facts/lynn.md §6`): three lists, the load of records and its task. Undocumented shapes are
//! invented and can be changed at run time. Methods that a careful client never calls are recorded.

mod loads;
mod rows;

use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{Method, Response, StatusCode, Uri};
use axum::routing::{any, post};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::token::Tokens;
use super::{Family, World, bearer, check_key, serve_token};
use crate::call::{Arrival, Incoming, Reply};
use crate::limits::CallKind;
use crate::mischief::Action;
use crate::response::PlannedResponse;
use crate::stats::ReportCall;
use crate::truth::Reports;
use crate::{Control, Options, TruthHandle, Vendor, locked};

pub use loads::{Load, TEMPLATE_ID, TEMPLATE_LABELS, TaskResponse};
pub use rows::listed;

const CREATE_TOKEN: &str = "outbound_create_token";
const GET_CAMPAIGNS: &str = "get_campaigns";
const GET_CONTACTS: &str = "get_contacts";
const GET_DND_CONTACT: &str = "get_dnd_contact";
const ADD_CAMPAIGN_DATA: &str = "add_campaign_data";
const GET_TASK_STATUS: &str = "get_task_status";
const NEVER: &str = "outbound_never";

/// The format of lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListShape {
    #[default]
    Bare,
    /// `{"isValid":true,"errors":null,"total":…,"campaigns":[…]}`
    Wrapped,
}

/// The behaviour of methods where the vendor's documents leave it open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub lists: ListShape,
    /// The lists require POST, not GET.
    pub lists_are_posted: bool,
    /// Entries of the blacklist are only ids of campaigns.
    pub dnd_is_ids: bool,
    pub task_response: TaskResponse,
    /// How long a load takes, before `speed`.
    pub task_takes: Duration,
    pub done_word: String,
    /// Loads from now on fail.
    pub tasks_fail: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            lists: ListShape::Bare,
            lists_are_posted: false,
            dnd_is_ids: false,
            task_response: TaskResponse::default(),
            task_takes: Duration::from_secs(3),
            done_word: "Completed".to_owned(),
            tasks_fail: false,
        }
    }
}

/// The family's state.
pub(crate) struct Outbound {
    pub data: Reports,
    pub(super) tokens: Mutex<Tokens>,
    shape: RwLock<Shape>,
    loads: Mutex<loads::Loads>,
}

impl Outbound {
    pub fn new(options: &Options) -> Self {
        Self {
            data: Reports::new(Box::new(rows::Rows { seed: options.seed }), rows::names(), false),
            tokens: Mutex::new(Tokens::new(options.seed.wrapping_add(1))),
            shape: RwLock::default(),
            loads: Mutex::default(),
        }
    }

    fn shape(&self) -> Shape {
        self.shape.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The current rows of a list.
    fn list(&self, name: &str) -> Vec<Map<String, Value>> {
        let mut list = Vec::new();
        // The names are constants of this module.
        let _ = self.data.walk(name, rows::span(), &mut |text| list.extend(serde_json::from_str(text).ok()));
        list
    }
}

/// Test controls for Lynn Outbound beyond `Control`.
pub struct Handle(pub(crate) Control);

impl Handle {
    fn outbound(&self) -> &Outbound {
        &self.0.world.lynn.outbound
    }

    pub fn data(&self) -> TruthHandle {
        self.0.data(Vendor::LynnOutbound)
    }

    /// Changes the methods' behaviour from now on.
    pub fn shape(&self, change: impl FnOnce(&mut Shape)) {
        change(&mut self.outbound().shape.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Every accepted load.
    pub fn loads(&self) -> Vec<Load> {
        locked(&self.outbound().loads).all().to_vec()
    }

    /// Records of all loads.
    pub fn records(&self) -> u64 {
        locked(&self.outbound().loads).records()
    }
}

pub(crate) fn routes() -> Router<std::sync::Arc<World>> {
    Router::new()
        .route("/api/LynnService/CreateToken", post(create_token))
        .route("/api/LynnService/GetCampaigns/{tenant}", any(get_campaigns))
        .route("/api/LynnService/GetContacts/{tenant}", any(get_contacts))
        .route("/api/LynnService/GetDnDContact/{tenant}", any(get_dnd_contacts))
        .route("/api/LynnService/GetDnDContact/{tenant}/{contact}", any(get_dnd_contact))
        .route("/api/LynnService/AddCampaingData/{tenant}", post(loads::add_campaign_data))
        .route("/api/LynnService/GetTaskStatus/{tenant}/{task}", any(loads::get_task_status))
        .route("/api/LynnService/{method}", any(never))
        .route("/api/LynnService/{method}/{*rest}", any(never))
}

async fn create_token(uri: Uri, incoming: Incoming) -> Response<Body> {
    let (arrival, body) = incoming.arrive(Vendor::Lynn, CREATE_TOKEN, CallKind::Login);
    arrival.unexpected_if(uri.query().is_some(), "a query");
    serve_token(arrival, body, Family::Service).await
}

/// The other methods of the family write, or create sessions (`§6, §7`).
async fn never(incoming: Incoming) -> Response<Body> {
    incoming
        .serve(Vendor::Lynn, NEVER, |arrival, _| {
            arrival.unexpected_if(true, "a method that is never to be called");
            Err(PlannedResponse::error(StatusCode::NOT_FOUND, "Resource not found"))
        })
        .await
}

async fn get_campaigns(method: Method, Path(tenant): Path<String>, incoming: Incoming) -> Response<Body> {
    list(incoming, GET_CAMPAIGNS, "campaigns", method, tenant).await
}

async fn get_contacts(method: Method, Path(tenant): Path<String>, incoming: Incoming) -> Response<Body> {
    list(incoming, GET_CONTACTS, "contacts", method, tenant).await
}

async fn get_dnd_contacts(method: Method, Path(tenant): Path<String>, incoming: Incoming) -> Response<Body> {
    list(incoming, GET_DND_CONTACT, "dnd_contacts", method, tenant).await
}

async fn list(
    incoming: Incoming,
    endpoint: &'static str,
    name: &'static str,
    method: Method,
    tenant: String,
) -> Response<Body> {
    incoming
        .serve(Vendor::Lynn, endpoint, move |arrival, body| {
            admit(arrival, &tenant, &method, body)?;
            let outbound = &arrival.world.lynn.outbound;
            let rows = outbound.list(name).into_iter().map(Value::Object).collect();
            Ok(reply(arrival, name, &[name], rows))
        })
        .await
}

async fn get_dnd_contact(
    method: Method,
    Path((tenant, contact)): Path<(String, String)>,
    incoming: Incoming,
) -> Response<Body> {
    incoming
        .serve(Vendor::Lynn, GET_DND_CONTACT, move |arrival, body| {
            admit(arrival, &tenant, &method, body)?;
            let outbound = &arrival.world.lynn.outbound;
            let is_theirs = |row: &Map<String, Value>, key: &str| row.get(key) == Some(&Value::from(contact.as_str()));
            if !outbound.list("contacts").iter().any(|row| is_theirs(row, "id")) {
                return Err(PlannedResponse::error(StatusCode::NOT_FOUND, "The contact does not exist."));
            }
            let mut rows = outbound.list("dnd_contacts");
            rows.retain(|row| is_theirs(row, "contactId"));
            let ids_only = outbound.shape().dnd_is_ids;
            let entry = |mut row: Map<String, Value>| {
                row.remove("contactId");
                if ids_only { row.remove("campaignId").unwrap_or_default() } else { Value::Object(row) }
            };
            let rows = rows.into_iter().map(entry).collect();
            Ok(reply(arrival, "dnd_contacts", &["dnd_contacts", &contact], rows))
        })
        .await
}

/// Checks credential, tenant and method.
fn admit(arrival: &Arrival, tenant: &str, method: &Method, body: &[u8]) -> Result<(), PlannedResponse> {
    admit_account(arrival, tenant)?;
    arrival.unexpected_if(!body.is_empty(), "a body where none belongs");
    let wanted = if arrival.world.lynn.outbound.shape().lists_are_posted { Method::POST } else { Method::GET };
    require(method, &wanted)
}

fn require(method: &Method, wanted: &Method) -> Result<(), PlannedResponse> {
    if method == wanted {
        return Ok(());
    }
    Err(PlannedResponse::error(StatusCode::METHOD_NOT_ALLOWED, "The method is not allowed."))
}

fn admit_account(arrival: &Arrival, tenant: &str) -> Result<(), PlannedResponse> {
    check_key(arrival)?;
    bearer(arrival, Family::Service)?;
    if tenant == arrival.world.lynn.account.tenant.to_string() {
        return Ok(());
    }
    Err(PlannedResponse::error(StatusCode::FORBIDDEN, "The credential has no access to this tenant."))
}

/// The action for the call; a token that expires does so for all clients.
fn meet(arrival: &Arrival, names: &[&str]) -> Option<Action> {
    let action = arrival.meet(names, None);
    if action == Some(Action::TokenExpired) {
        locked(&arrival.world.lynn.outbound.tokens).expire_all();
    }
    action
}

fn reply(arrival: &Arrival, name: &'static str, names: &[&str], rows: Vec<Value>) -> Reply {
    let count = rows.len() as u64;
    let body = match arrival.world.lynn.outbound.shape().lists {
        ListShape::Bare => Value::Array(rows),
        ListShape::Wrapped => json!({ "isValid": true, "errors": null, "total": count, name: rows }),
    };
    Reply::new(PlannedResponse::json(body.to_string()), meet(arrival, names)).reported(ReportCall {
        report: name.to_owned(),
        rows: count,
        ..ReportCall::default()
    })
}
