//! The control handle over HTTP, under `/_sim/`, for a simulator that runs in another process. Counts against no limit.
//!
//! `truth`, `count`, `data` and `data/release` apply to Lynn unless `vendor=` says `lynn_outbound`, `khoros`, `lexer`
//! or `jaicp`; `shape` and `tokens` apply only to Lynn; the rest applies to every vendor.
//!
//! `GET stats`, `GET truth?report=…&from=…&to=…`, `GET count?…`, `POST mischief` (a fault), `POST data` (an edit),
//! `POST data/release`, `POST shape`, `POST tokens/expire`, `POST hold` → `{"id":0}`, `GET hold/0` → `{"reached":…}`,
//! `POST hold/0/release`, `POST quiet`.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::json;

use super::control::Control;
use super::lynn::Shape;
use super::mischief::{Fault, Match, Point};
use super::stats::Stats;
use super::truth::{Edit, UnknownReport};
use super::{TruthHandle, Vendor, World, response};

/// Maximum number of rows in one response; longer windows have to be requested in parts.
const ROWS_MAX: u64 = 1_000_000;

pub(super) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/_sim/stats", get(stats))
        .route("/_sim/truth", get(truth))
        .route("/_sim/count", get(count))
        .route("/_sim/mischief", post(mischief))
        .route("/_sim/data", post(data))
        .route("/_sim/data/release", post(release_late))
        .route("/_sim/shape", get(shape).post(set_shape))
        .route("/_sim/tokens/expire", post(expire_tokens))
        .route("/_sim/hold", post(hold))
        .route("/_sim/hold/{id}", get(held))
        .route("/_sim/hold/{id}/release", post(release))
        .route("/_sim/quiet", post(quiet))
}

type Sim = State<Arc<World>>;

fn control(State(world): Sim) -> Control {
    Control { world }
}

impl IntoResponse for UnknownReport {
    fn into_response(self) -> Response {
        (StatusCode::NOT_FOUND, self.to_string()).into_response()
    }
}

#[derive(Deserialize)]
struct Of {
    #[serde(default)]
    vendor: Vendor,
}

fn of(sim: Sim, vendor: Vendor) -> TruthHandle {
    control(sim).data(vendor)
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    vendor: Vendor,
    report: String,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

async fn stats(sim: Sim) -> Json<Stats> {
    Json(control(sim).stats())
}

async fn count(sim: Sim, Query(asked): Query<Asked>) -> Result<Json<u64>, UnknownReport> {
    of(sim, asked.vendor).count(&asked.report, asked.from, asked.to).map(Json)
}

async fn truth(sim: Sim, Query(asked): Query<Asked>) -> Result<Response, UnknownReport> {
    let truth = of(sim, asked.vendor);
    if truth.count(&asked.report, asked.from, asked.to)? > ROWS_MAX {
        return Ok((StatusCode::BAD_REQUEST, format!("more than {ROWS_MAX} rows: ask for less time")).into_response());
    }
    let mut body = String::from("[");
    truth.each(&asked.report, asked.from, asked.to, &mut |row| {
        body.push_str(if body.len() > 1 { ",\n" } else { "" });
        body.push_str(row);
    })?;
    body.push(']');
    Ok(([(CONTENT_TYPE, response::JSON)], body).into_response())
}

async fn mischief(sim: Sim, Json(fault): Json<Fault>) {
    control(sim).mischief(fault);
}

async fn data(sim: Sim, Query(data): Query<Of>, Json(edit): Json<Edit>) -> Result<Json<u64>, UnknownReport> {
    of(sim, data.vendor).edit(edit).map(Json)
}

async fn release_late(sim: Sim, Query(data): Query<Of>) {
    of(sim, data.vendor).release_late();
}

async fn shape(State(world): Sim) -> Json<Shape> {
    Json(world.lynn.shape())
}

async fn set_shape(sim: Sim, Json(wanted): Json<Shape>) {
    control(sim).shape(|shape| *shape = wanted);
}

async fn expire_tokens(sim: Sim) {
    control(sim).expire_tokens();
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Held {
    #[serde(default)]
    on: Match,
    #[serde(default)]
    after: u32,
    point: Point,
}

async fn hold(State(world): Sim, Json(held): Json<Held>) -> Json<serde_json::Value> {
    let (id, _) = world.mischief.hold(held.on, held.after, held.point);
    Json(json!({ "id": id }))
}

async fn held(State(world): Sim, Path(id): Path<usize>) -> Result<Json<serde_json::Value>, StatusCode> {
    let hold = world.mischief.find_hold(id).ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(json!({ "reached": hold.is_reached() })))
}

async fn release(State(world): Sim, Path(id): Path<usize>) -> Result<(), StatusCode> {
    world.mischief.find_hold(id).ok_or(StatusCode::NOT_FOUND)?.release();
    Ok(())
}

async fn quiet(sim: Sim) {
    control(sim).quiet();
}
