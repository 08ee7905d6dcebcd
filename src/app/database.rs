//! The database of this process: a configured server, or the private embedded one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgPool};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::postgres::{self, Embedded};
use crate::secret::Secret;
use crate::store::session;

/// A server that does not answer within this is down.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(15);
/// Connections that idled this long are closed; a firewall may have dropped them.
const IDLE_TIMEOUT: Duration = Duration::from_mins(5);

/// A large page is staged while it arrives. A transaction that is silent for this much longer than a vendor may be belongs
/// to a process that is suspended or unreachable, and gives its locks back.
const SILENCE_MARGIN: Duration = Duration::from_mins(5);
/// Postgres takes no setting beyond 24 days.
const SILENCE_MAX: Duration = Duration::from_hours(24);

/// A pool, and the embedded server behind it if that is ours to stop.
#[derive(Debug)]
pub struct Database {
    pub pool: PgPool,
    embedded: Option<Arc<Embedded>>,
    supervisor: Option<(JoinHandle<()>, CancellationToken)>,
}

/// Why there is no database. Messages never hold the URL's password.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("database.url is no Postgres URL; write postgres://user:password@host:5432/database")]
    Url,
    #[error("cannot reach the database {place}: check database.url, and that the server is up and lets this host in")]
    Connect { place: String, source: sqlx::Error },
    #[error(transparent)]
    Embedded(#[from] postgres::Error),
    #[error(transparent)]
    Migrate(#[from] crate::store::migrate::Error),
}

impl Database {
    /// For the daemon and the demo: an embedded server is started, owned and kept running.
    pub async fn own(config: &Config, cancel: &CancellationToken) -> Result<Self, DatabaseError> {
        if let Some(url) = &config.database.url {
            return Self::connect(url, config, None).await;
        }
        let embedded = Arc::new(Embedded::start(&config.embedded.data_dir, cancel).await?);
        let mut database = Self::connect(&embedded.url(), config, Some(Arc::clone(&embedded))).await?;
        let stop = CancellationToken::new();
        let token = stop.clone();
        let supervised = tokio::spawn(async move { embedded.supervise(&token).await });
        database.supervisor = Some((supervised, stop));
        Ok(database)
    }

    /// For commands: an embedded server that runs is used, else one is started for as long as the command takes.
    pub async fn open(config: &Config, cancel: &CancellationToken) -> Result<Self, DatabaseError> {
        if let Some(url) = &config.database.url {
            knock(url).await?;
            return Self::connect(url, config, None).await;
        }
        let embedded = Arc::new(Embedded::open(&config.embedded.data_dir, cancel).await?);
        Self::connect(&embedded.url(), config, Some(embedded)).await
    }

    async fn connect(url: &Secret, config: &Config, embedded: Option<Arc<Embedded>>) -> Result<Self, DatabaseError> {
        let (options, place) = parse(url)?;
        let pool = session::pool_options(silence_max(config))
            .max_connections(config.database.max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(IDLE_TIMEOUT)
            .connect_with(session::connect_options(options))
            .await
            .map_err(|source| DatabaseError::Connect { place, source })?;
        Ok(Self { pool, embedded, supervisor: None })
    }

    /// A `psql` command line that works, for an embedded server.
    pub fn psql_line(&self) -> Option<String> {
        self.embedded.as_ref().map(|embedded| embedded.psql_line())
    }

    /// Where the embedded cluster lies.
    pub fn cluster_dir(&self) -> Option<&Path> {
        self.embedded.as_ref().map(|embedded| embedded.cluster_dir())
    }

    /// Closes the pool, then stops the embedded server if it is ours.
    pub async fn close(mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(2), self.pool.close()).await;
        if let Some((supervised, stop)) = self.supervisor.take() {
            stop.cancel();
            let _ = tokio::time::timeout(Duration::from_secs(1), supervised).await;
        }
        if let Some(embedded) = self.embedded.take() {
            embedded.stop().await;
        }
    }
}

fn parse(url: &Secret) -> Result<(PgConnectOptions, String), DatabaseError> {
    let options: PgConnectOptions = url.expose().parse().map_err(|_| DatabaseError::Url)?;
    let place = format!("{}:{}/{}", options.get_host(), options.get_port(), options.get_database().unwrap_or(""));
    Ok((options, place))
}

/// A pool tries again until its time is up, and then knows only that; a person at a command wants the reason, at once.
async fn knock(url: &Secret) -> Result<(), DatabaseError> {
    let (options, place) = parse(url)?;
    let answer = tokio::time::timeout(ACQUIRE_TIMEOUT, options.connect()).await;
    let connection =
        answer.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(|source| DatabaseError::Connect { place, source })?;
    // What cannot be closed is gone already.
    let _ = connection.close().await;
    Ok(())
}

/// The longest that a transaction may have to wait for a vendor, and more.
fn silence_max(config: &Config) -> Duration {
    let connections = config.connections.values();
    let longest = connections.map(|connection| connection.request_timeout.saturating_add(connection.retry.max)).max();
    longest.unwrap_or_default().min(SILENCE_MAX) + SILENCE_MARGIN
}
