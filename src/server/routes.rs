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
use super::{Health, guard};
use crate::clock;
use crate::config::Config;
use crate::metrics::{Gauges, Metrics};
use crate::pulse::{Loop, Pulse};
use crate::report::{StatusReport, configured, limits_used};
use crate::store::trouble::Repeats;
use crate::store::{notification_target, problem, reconciliation, session, status, stored_rows};
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
    /// The configuration in force.
    pub config: watch::Receiver<Arc<Config>>,
}

/// A [`StatusSources`] with its cached results.
pub(super) struct AppState {
    pub(super) sources: StatusSources,
    pub(super) shelf: Shelf,
    /// Wrong logins whose response waits.
    pub(super) wrong_logins: Semaphore,
    /// Actions that are done at the same time.
    pub(super) actions: Semaphore,
    ready: Cached<Result<(), &'static str>>,
    report: SharedText<Unread>,
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
            wrong_logins: Semaphore::new(guard::WRONG_LOGINS_MAX),
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

/// Why something could not be read from the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// The database does not respond.
    Gone,
    /// The database responds, but this took longer than [`READ_MAX`].
    Slow,
    /// The database refused a statement.
    Refused,
    /// Other requests read, and took too long.
    Busy,
}

impl Unread {
    /// `began`: whether the database had responded before.
    fn from_error(error: &sqlx::Error, began: bool) -> Self {
        match error {
            sqlx::Error::Database(refused) if refused.code().as_deref() == Some(CANCELED) => Self::Slow,
            sqlx::Error::Database(_) if !session::is_lost(error) => Self::Refused,
            sqlx::Error::Io(late) if began && late.kind() == std::io::ErrorKind::TimedOut => Self::Slow,
            _ => Self::Gone,
        }
    }

    /// What is wrong, as a sentence without a final point.
    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Self::Gone => "the database did not respond; see /readyz",
            Self::Slow => {
                "the database did not return this within 3 s: it is busy, or another session holds a lock; \
                 `pg_stat_activity` shows which"
            }
            Self::Refused => "the database refused a statement; see the log of the daemon",
            Self::Busy => "other requests take long; try again in a few seconds",
        }
    }
}

impl AppState {
    /// Limits how often the same trouble is logged.
    pub(super) const fn trouble(&self) -> &Repeats {
        &self.trouble
    }

    async fn ready(&self) -> Result<(), &'static str> {
        // Never cached: a process that stops must say so at once.
        if let Some(obstacle) = self.sources.health.obstacle() {
            return Err(obstacle);
        }
        if let Some(obstacle) = self.sources.pulse.obstacle() {
            return Err(obstacle);
        }
        *self.ready.get(async { timeout(READY_MAX, self.ask_database()).await.unwrap_or(Err(NO_RESPONSE)) }).await
    }

    async fn ask_database(&self) -> Result<(), &'static str> {
        let mut conn = self.sources.pool.acquire().await.map_err(|_| UNREACHABLE)?;
        let is_writable = sqlx::query_scalar!(
            r#"
            select
                exists (select from tidegate.setting)
                and current_setting('transaction_read_only') = 'off'
                and not pg_is_in_recovery() as "is_writable!"
            "#
        )
        .fetch_one(&mut *conn)
        .await;
        match is_writable {
            Ok(true) => Ok(()),
            Ok(false) => {
                session::purge(&self.sources.pool);
                // Unreachable: this case is handled above.
                drop(conn.detach());
                Err(session::ONLY_READS)
            }
            Err(error) => {
                session::judge(&self.sources.pool, &error);
                Err(not_ready(&error))
            }
        }
    }

    /// The document of `/status.json`.
    async fn report(&self) -> Result<String, Unread> {
        let config = Arc::clone(&self.sources.config.borrow());
        let refused = self.sources.health.is_reload_refused();
        let read = self.read(async |conn| {
            let used = limits_used(conn, &config, config.connections.values()).await?;
            StatusReport::gather(conn, &config, &used, refused, clock::now()).await
        });
        let document = serde_json::to_string(&read.await?).map_err(|error| {
            tracing::error!(%error, "the report is not JSON; this is a bug");
            Unread::Refused
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
            let streams = status::streams(conn, &configured.streams).await?;
            let retired = status::retired(conn).await?;
            let compared = reconciliation::compared(conn, &configured.connections()).await?;
            let stored = stored_rows::list(conn).await?;
            let unfinished = status::unfinished(conn, &configured.jobs).await?;
            let failing = status::failing(conn, &configured.jobs).await?;
            let used = limits_used(conn, &config, config.connections.values()).await?;
            let problems = problem::open(&mut *conn).await?;
            let deliveries = notification_target::deliveries(&mut *conn, &targets).await?;
            let oldest = deliveries.into_iter().map(|delivery| (delivery.target, delivery.stuck_seconds));
            Ok(Gauges {
                quotas: Some(used.into_iter().map(|(connection, usage)| (connection.name.clone(), usage)).collect()),
                problems: Some(problems),
                notifications: Some(oldest.collect()),
                streams: Some(streams),
                retired: Some(retired),
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
    ) -> Result<T, Unread> {
        let began = AtomicBool::new(false);
        let reading = async {
            let mut conn = self.sources.pool.acquire().await?;
            // Filters are optional, and a plan that suits none of their values reads everything.
            let begin = format!(
                "begin read only; set local statement_timeout = {}; set local plan_cache_mode = force_custom_plan",
                READ_MAX.as_millis(),
            );
            let mut transaction = conn.begin_with(AssertSqlSafe(begin)).await?;
            began.store(true, Ordering::Relaxed);
            let value = read(&mut transaction).await?;
            transaction.rollback().await?;
            Ok::<T, sqlx::Error>(value)
        };
        match timeout(READ_MAX + READ_GRACE, reading).await.unwrap_or_else(|_| Err(session::silent(READ_MAX))) {
            Ok(value) => {
                self.trouble.over(NOT_READ);
                Ok(value)
            }
            Err(error) => {
                self.trouble.warn(NOT_READ, &error);
                Err(Unread::from_error(&error, began.load(Ordering::Relaxed)))
            }
        }
    }
}

/// Of a statement that took longer than `statement_timeout`.
const CANCELED: &str = "57014";
/// Actions that are done at the same time: each has a transaction.
const ACTIONS_MAX: usize = 2;
const NOT_READ: &str = "the database could not be read for the status port";
const NO_RESPONSE: &str = "the database did not respond within a second";
const UNREACHABLE: &str = "the database cannot be reached";
const NO_TABLES: &str = "the database responds, but Tidegate's tables are missing";
const REFUSED: &str = "the database refuses to read Tidegate's tables; `tidegate check` names the cause";
/// Of a table, and of a schema, that does not exist.
const MISSING: [&str; 2] = ["42P01", "3F000"];

/// Why the check of `/readyz` failed.
fn not_ready(error: &sqlx::Error) -> &'static str {
    match error.as_database_error().and_then(sqlx::error::DatabaseError::code) {
        Some(code) if MISSING.contains(&&*code) => NO_TABLES,
        _ if session::is_read_only(error) => session::ONLY_READS,
        Some(_) if !session::is_lost(error) => REFUSED,
        _ => UNREACHABLE,
    }
}

/// Headers of every response: no caching, sniffing or framing, and nothing is loaded or executed.
pub(super) const HEADERS: [(HeaderName, &str); 3] =
    [(CACHE_CONTROL, "no-store"), (X_CONTENT_TYPE_OPTIONS, "nosniff"), (REFERRER_POLICY, "no-referrer")];
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
        Err(_) => no_report(),
    }
}

fn no_report() -> Response {
    let text = "the database did not respond; see /readyz and the log\n";
    (StatusCode::SERVICE_UNAVAILABLE, HEADERS, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_kit::PostgresError;

    #[test]
    fn p12_a_server_that_restarts_is_not_one_without_tables() {
        let of = |code| not_ready(&sqlx::Error::Database(Box::new(PostgresError(code))));
        assert_eq!(["42P01", "3F000"].map(of), [NO_TABLES; 2]);
        assert_eq!(["57P01", "57P03"].map(of), [UNREACHABLE; 2]);
        assert_eq!(of("25006"), session::ONLY_READS);
        assert_eq!(["42501", "XX000"].map(of), [REFUSED; 2]);
        assert_eq!(not_ready(&sqlx::Error::PoolTimedOut), UNREACHABLE);
    }
}
