//! `AddCampaingData` and its task (`facts/lynn.md §6.1`): checks input strictly and keeps all of it for tests.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Path;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ADD_CAMPAIGN_DATA, GET_TASK_STATUS, admit_account, meet, require};
use crate::call::{Arrival, Incoming, Reply};
use crate::response::PlannedResponse;
use crate::stats::ReportCall;
use crate::truth::Dice;
use crate::{Vendor, locked};

/// The only template of the account, and its column labels.
pub const TEMPLATE_ID: &str = "5f3c1a52-9f0e-4b7e-8a64-0c2f0a7be111";
pub const TEMPLATE_LABELS: &[&str] = &["Name", "Phone", "Tags", "Due Date"];
/// Maximum number of records kept; more are refused, so that memory stays bounded.
const RECORDS_MAX: u64 = 200_000;

/// How the id of a task is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskResponse {
    /// `{"isValid":true,"taskId":"…"}`
    #[default]
    Object,
    /// `"…"`
    Text,
    /// An empty body.
    Nothing,
}

/// An accepted load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    pub campaign_id: String,
    pub template_id: String,
    pub records: Vec<BTreeMap<String, String>>,
    pub task: String,
    fails: bool,
    /// Time since the simulator's start.
    ends_at: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Loads {
    taken: Vec<Load>,
    records: u64,
}

impl Loads {
    pub fn all(&self) -> &[Load] {
        &self.taken
    }

    pub fn records(&self) -> u64 {
        self.records
    }
}

/// As the vendor prints it; in its sample every value of a record is a string.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Sent {
    #[serde(rename = "campaingId")]
    campaign_id: String,
    template_id: String,
    type_of_data: i64,
    data: Vec<BTreeMap<String, String>>,
}

pub(super) async fn add_campaign_data(Path(tenant): Path<String>, incoming: Incoming) -> Response<Body> {
    incoming
        .serve(Vendor::Lynn, ADD_CAMPAIGN_DATA, move |arrival, body| {
            admit_account(arrival, &tenant)?;
            arrival.unexpected_if(arrival.header(&CONTENT_TYPE) != Some("application/json"), "not application/json");
            let sent = check(arrival, body)?;
            // Mischief that replaces the response: nothing was accepted.
            let action = meet(arrival, &["push"]);
            let refuses = action.as_ref().is_some_and(super::super::refuses_the_call);
            let records = sent.data.len() as u64;
            let response = if refuses { PlannedResponse::empty(StatusCode::OK) } else { take(arrival, sent)? };
            Ok(Reply::new(response, action).reported(ReportCall {
                report: "push".to_owned(),
                rows: records,
                ..ReportCall::default()
            }))
        })
        .await
}

fn check(arrival: &Arrival, body: &[u8]) -> Result<Sent, PlannedResponse> {
    let wrong =
        |what: &str| PlannedResponse::error(StatusCode::BAD_REQUEST, &format!("The request body is wrong: {what}."));
    let sent: Sent = serde_json::from_slice(body).map_err(|fault| wrong(&fault.to_string()))?;
    if sent.template_id != TEMPLATE_ID {
        return Err(wrong("unknown template"));
    }
    let campaigns = arrival.world.lynn.outbound.list("campaigns");
    // Empty in the vendor's sample.
    if !sent.campaign_id.is_empty()
        && !campaigns
            .iter()
            .any(|campaign| campaign.get("campaignId").map(Value::to_string) == Some(sent.campaign_id.clone()))
    {
        return Err(wrong("unknown campaign"));
    }
    let mut labels: Vec<&str> = TEMPLATE_LABELS.to_vec();
    labels.sort_unstable();
    let fits = |record: &BTreeMap<String, String>| record.keys().map(String::as_str).eq(labels.iter().copied());
    if sent.type_of_data != 0 || sent.data.is_empty() || !sent.data.iter().all(fits) {
        return Err(wrong("the records do not fit the template"));
    }
    Ok(sent)
}

fn take(arrival: &Arrival, sent: Sent) -> Result<PlannedResponse, PlannedResponse> {
    let world = &arrival.world;
    let outbound = &world.lynn.outbound;
    let shape = outbound.shape();
    let mut loads = locked(&outbound.loads);
    loads.records += sent.data.len() as u64;
    if loads.records > RECORDS_MAX {
        return Err(PlannedResponse::error(StatusCode::INSUFFICIENT_STORAGE, "The simulator keeps no more records."));
    }
    let task = Dice::new(world.options.seed, &[loads.taken.len() as u64, 67]).guid();
    loads.taken.push(Load {
        campaign_id: sent.campaign_id,
        template_id: sent.template_id,
        records: sent.data,
        task: task.clone(),
        fails: shape.tasks_fail,
        ends_at: world.now() + world.options.scaled(shape.task_takes),
    });
    Ok(match shape.task_response {
        TaskResponse::Object => PlannedResponse::json(json!({ "isValid": true, "taskId": task }).to_string()),
        TaskResponse::Text => PlannedResponse::json(json!(task).to_string()),
        TaskResponse::Nothing => PlannedResponse::empty(StatusCode::OK),
    })
}

pub(super) async fn get_task_status(
    method: Method,
    Path((tenant, task)): Path<(String, String)>,
    incoming: Incoming,
) -> Response<Body> {
    incoming
        .serve(Vendor::Lynn, GET_TASK_STATUS, move |arrival, body| {
            admit_account(arrival, &tenant)?;
            require(&method, &Method::GET)?;
            arrival.unexpected_if(!body.is_empty(), "a body where none belongs");
            let outbound = &arrival.world.lynn.outbound;
            let loads = locked(&outbound.loads);
            let Some(load) = loads.all().iter().find(|load| load.task == task) else {
                return Err(PlannedResponse::error(StatusCode::NOT_FOUND, "The task does not exist."));
            };
            let state = if arrival.world.now() < load.ends_at {
                "InProgress".to_owned()
            } else if load.fails {
                "Failed".to_owned()
            } else {
                outbound.shape().done_word
            };
            let response = PlannedResponse::json(json!({ "taskId": task, "status": state }).to_string());
            Ok(Reply::new(response, meet(arrival, &["task"])))
        })
        .await
}
