//! The routes of the status port, and the database reads behind them.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sqlx::{AssertSqlSafe, Connection as _, PgPool};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::timeout;

use super::pages::{self, Shelf};
use super::routing::{Routes, of};
use super::shared_text::SharedText;
use super::wrong_logins::WrongLogins;
use super::{Health, guard};
use crate::clock;
use crate::config::Config;
use crate::metrics::{Gauges, Metrics};
use crate::notify::Outgoing;
use crate::pulse::{Loop, Pulse};
use crate::report::{StatusReport, Surroundings, configured, limits_used};
use crate::store::failure::Failure;
use crate::store::session::{self, Deadline as _};
use crate::store::trouble::Repeats;
use crate::store::usable::usable;
use crate::store::{notification_target, problem, reconciliation, status, stored_rows};
use crate::text;

/// `/readyz` reports not ready if the database has not responded within this time.
const READY_MAX: Duration = Duration::from_secs(1);
/// Time limit for reading the page's and the metrics' data.
pub(super) const READ_MAX: Duration = Duration::from_secs(3);
/// How much later than Postgres this side gives up, so that the error says which statement was slow.
const READ_GRACE: Duration = Duration::from_millis(250);
/// A result younger than this is shared with further clients, so that many clients cause no more queries than one.
const FRESH: Duration = Duration::from_secs(1);
const JSON: &str = "application/json";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the status port shows, and where it reads it.
#[derive(Clone)]
pub struct StatusSources {
    pub pool: PgPool,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub pulse: Arc<Pulse>,
    /// What this port and the outbox of notifications share.
    pub outgoing: Arc<Outgoing>,
    /// The configuration in force.
    pub config: watch::Receiver<Arc<Config>>,
}

/// A [`StatusSources`] with its cached results.
pub(super) struct AppState {
    pub(super) sources: StatusSources,
    pub(super) shelf: Shelf,
    /// Wrong logins whose response waits.
    pub(super) waiting_logins: Semaphore,
    pub(super) wrong_logins: WrongLogins,
    /// Actions that are done at the same time.
    pub(super) actions: Semaphore,
    ready: Cached<Result<(), String>>,
    report: SharedText<Failure>,
    metrics: SharedText<Infallible>,
    /// Limits how often a failed read of Postgres is logged, since monitoring repeats it.
    trouble: Repeats,
}

/// A result that all requests within a moment share: one reads Postgres, the others wait for it.
struct Cached<T>(Mutex<Option<(Instant, Arc<T>)>>);

impl<T> Cached<T> {
    fn new() -> Self {
        Self(Mutex::new(None))
    }

    async fn get(&self, read: impl Future<Output = T>) -> Arc<T> {
        let mut shared = self.0.lock().await;
        if let Some((_, value)) = shared.as_ref().filter(|(since, _)| since.elapsed() < FRESH) {
            return Arc::clone(value);
        }
        let value = Arc::new(read.await);
        *shared = Some((Instant::now(), Arc::clone(&value)));
        value
    }
}

impl StatusSources {
    /// The routes. `GET` (and `HEAD`), and `POST` for actions; everything else is 404 or 405.
    pub fn router(self) -> Router {
        let desk = AppState {
            shelf: Shelf::new(pages::reads_max(&self.pool)),
            actions: Semaphore::new(ACTIONS_MAX),
            sources: self,
            waiting_logins: Semaphore::new(guard::WRONG_LOGINS_MAX),
            wrong_logins: WrongLogins::default(),
            ready: Cached::new(),
            report: SharedText::new(),
            metrics: SharedText::new(),
            trouble: Repeats::default(),
        };
        let desk = Arc::new(desk);
        let (router, _) = routes().into_parts();
        router.layer(from_fn_with_state(Arc::clone(&desk), guard::guard)).with_state(desk)
    }
}

/// Every route of the port.
pub(super) fn routes() -> Routes {
    pages::routes()
        .add("/status.json", of(&["get"]), get(show_json))
        .add("/healthz", of(&["get"]), get(healthz))
        .add("/readyz", of(&["get"]), get(readyz))
        .add("/metrics", of(&["get"]), get(show_metrics))
}

impl AppState {
    /// Limits how often the same trouble is logged.
    pub(super) const fn trouble(&self) -> &Repeats {
        &self.trouble
    }

    async fn ready(&self) -> Result<(), Cow<'static, str>> {
        // Never cached: a process that stops must say so at once.
        if let Some(obstacle) = self.sources.health.obstacle() {
            return Err(obstacle.into());
        }
        if let Some(obstacle) = self.sources.pulse.obstacle() {
            return Err(obstacle.into());
        }
        let silent = || Err(format!("{} within {} s", Failure::Gone.what(), READY_MAX.as_secs()));
        let ready =
            self.ready.get(async { timeout(READY_MAX, self.ask_database()).await.unwrap_or_else(|_| silent()) }).await;
        (*ready).clone().map_err(Cow::from)
    }

    async fn ask_database(&self) -> Result<(), String> {
        let acquired = session::acquire_unless_refused(&self.sources.pool).await;
        let mut conn = acquired.map_err(|error| Failure::of(&error).what().to_owned())?;
        match usable(&mut conn).await {
            Ok(found) if found.is_writable => {
                about(&found.missing, |tables| format!("{}: {tables}", Failure::Missing.what()))?;
                let refused = Failure::Refused.what();
                about(&found.refused, |tables| format!("{refused}: the role lacks a right to {tables}"))
            }
            Ok(_) => {
                session::purge(&self.sources.pool);
                // Unreachable: this case is handled above.
                drop(conn.detach());
                Err(Failure::OnlyReads.what().to_owned())
            }
            Err(error) => {
                session::judge(&self.sources.pool, &error);
                Err(Failure::of(&error).what().to_owned())
            }
        }
    }

    /// The document of `/status.json`.
    async fn report(&self) -> Result<String, Failure> {
        let config = Arc::clone(&self.sources.config.borrow());
        let refused = self.sources.health.is_reload_refused();
        let read = self.read(async |conn| {
            let used = limits_used(conn, &config, config.connections.values()).await?;
            StatusReport::gather(conn, &config, &used, refused, clock::now()).await
        });
        let document = serde_json::to_string(&read.await?).map_err(|error| {
            tracing::error!(%error, "the report is not JSON; this is a bug");
            Failure::Unexpected
        })?;
        if let Cow::Owned(escaped) = text::json(&document) {
            return Ok(escaped);
        }
        Ok(document)
    }

    /// The text of `/metrics`.
    async fn metrics(&self) -> Result<String, Infallible> {
        Ok(self.sources.metrics.encode(&self.gauges().await))
    }

    async fn gauges(&self) -> Gauges {
        let config = Arc::clone(&self.sources.config.borrow());
        let configured = configured(&config);
        let targets: Vec<String> = config.notify.iter().map(|target| target.name.clone()).collect();
        let read = self.read(async |conn| {
            let surroundings = Surroundings::read(conn).await?;
            let streams = status::streams(conn, &configured.streams).await?;
            let retired = status::retired(conn).await?;
            let compared = reconciliation::compared(conn, &configured.connections()).await?;
            let stored = stored_rows::list(conn).await?;
            let unfinished = status::unfinished(conn, &configured.jobs).await?;
            let failing = status::failing(conn, &configured.jobs).await?;
            let used = limits_used(conn, &config, config.connections.values()).await?;
            let problems = problem::open(&mut *conn).await?;
            let persistent = problem::persistent(&mut *conn).await?;
            let deliveries = notification_target::deliveries(&mut *conn, &targets).await?;
            let oldest = deliveries.into_iter().map(|delivery| (delivery.target, delivery.stuck_seconds));
            Ok(Gauges {
                only_reads: surroundings.only_reads,
                quotas: Some(used.into_iter().map(|(connection, usage)| (connection.name.clone(), usage)).collect()),
                problems: Some(problems),
                notifications: Some(oldest.collect()),
                streams: Some(streams),
                retired: Some(retired),
                persistent,
                unfinished: Some(unfinished),
                failing: Some(failing),
                compared: Some(compared),
                stored: Some(stored),
                ..Gauges::default()
            })
        });
        let shared = read.await.unwrap_or_default();
        Gauges {
            config_refused: self.sources.health.is_reload_refused(),
            ages: Loop::ALL.map(|of| (of, self.sources.pulse.age(of))).to_vec(),
            skew: Some(clock::skew()),
            ..shared
        }
    }

    /// Reads within a deadline that Postgres enforces too, so that no query continues after its response was given up.
    pub(super) async fn read<T>(
        &self,
        read: impl AsyncFnOnce(&mut sqlx::PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, Failure> {
        let (asked_at, began) = (clock::now(), AtomicBool::new(false));
        let reading = async {
            let mut conn = session::acquire_unless_refused(&self.sources.pool).await?;
            // Filters are optional, and a plan that suits none of their values reads everything.
            let begin = format!(
                "begin read only; set local statement_timeout = {}; set local plan_cache_mode = force_custom_plan",
                READ_MAX.as_millis(),
            );
            let mut transaction = conn.begin_with(AssertSqlSafe(begin)).in_time().await?;
            began.store(true, Ordering::Relaxed);
            let value = read(&mut transaction).await?;
            transaction.rollback().in_time().await?;
            Ok::<T, sqlx::Error>(value)
        };
        let read = timeout(READ_MAX + READ_GRACE, reading).await.unwrap_or_else(|_| Err(session::silent(READ_MAX)));
        let read = read.map_err(|error| {
            self.trouble.warn(NOT_READ, &error);
            if began.load(Ordering::Relaxed) { Failure::in_session(&error) } else { Failure::of(&error) }
        });
        if read.is_ok() {
            self.trouble.over(NOT_READ);
        }
        self.shelf.record(read.as_ref().err().copied(), asked_at);
        read
    }
}

/// Actions that are done at the same time: each has a transaction.
const ACTIONS_MAX: usize = 2;
const NOT_READ: &str = "the database could not be read for the status port";

/// An obstacle that concerns these tables of the schema `tidegate`, if there are any.
fn about(tables: &[String], obstacle: impl FnOnce(String) -> String) -> Result<(), String> {
    if tables.is_empty() { Ok(()) } else { Err(obstacle(format!("tidegate.{}", tables.join(", tidegate.")))) }
}

/// Headers of every response: no caching, sniffing or framing, and nothing is loaded or executed. Other servers receive
/// no referrer; without one for this server, browsers would send its forms with `Origin: null`.
pub(super) const HEADERS: [(HeaderName, &str); 3] =
    [(CACHE_CONTROL, "no-store"), (X_CONTENT_TYPE_OPTIONS, "nosniff"), (REFERRER_POLICY, "same-origin")];
const NOTHING_LOADS: [(HeaderName, &str); 1] =
    [(CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'")];

/// A process is alive if its loops complete, even without success.
async fn healthz(State(desk): State<Arc<AppState>>) -> Response {
    let pulse = &desk.sources.pulse;
    match pulse.stuck() {
        None => (HEADERS, format!("alive\n{}", pulse.lines())).into_response(),
        Some(stuck) => {
            let text = format!("not alive: the loop {} hangs\n{}", stuck.name(), pulse.lines());
            (StatusCode::SERVICE_UNAVAILABLE, HEADERS, text).into_response()
        }
    }
}

async fn readyz(State(desk): State<Arc<AppState>>) -> Response {
    match desk.ready().await {
        Ok(()) => (HEADERS, format!("ready\n{}", desk.sources.pulse.lines())).into_response(),
        Err(obstacle) => {
            let text = format!("not ready: {obstacle}\n{}", desk.sources.pulse.lines());
            (StatusCode::SERVICE_UNAVAILABLE, HEADERS, text).into_response()
        }
    }
}

async fn show_metrics(State(desk): State<Arc<AppState>>) -> Response {
    let Ok(text) = desk.metrics.get(desk.metrics()).await;
    (HEADERS, [(CONTENT_TYPE, OPENMETRICS)], text).into_response()
}

async fn show_json(State(desk): State<Arc<AppState>>) -> Response {
    match desk.report.get(desk.report()).await {
        Ok(document) => (HEADERS, NOTHING_LOADS, [(CONTENT_TYPE, JSON)], document).into_response(),
        Err(failure) => (StatusCode::SERVICE_UNAVAILABLE, HEADERS, format!("{failure}\n")).into_response(),
    }
}
