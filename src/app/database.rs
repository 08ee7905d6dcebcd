//! The database of this process: a configured server, or the private embedded one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::postgres::{self, Embedded};
use crate::secret::Secret;

/// A server that does not answer within this is down.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(15);
/// Connections that idled this long are closed; a firewall may have dropped them.
const IDLE_TIMEOUT: Duration = Duration::from_mins(5);

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
            return Self::connect(url, config.database.max_connections, None).await;
        }
        let embedded = Arc::new(Embedded::start(&config.embedded.data_dir, cancel).await?);
        let mut database =
            Self::connect(&embedded.url(), config.database.max_connections, Some(Arc::clone(&embedded))).await?;
        let stop = CancellationToken::new();
        let token = stop.clone();
        let supervised = tokio::spawn(async move { embedded.supervise(&token).await });
        database.supervisor = Some((supervised, stop));
        Ok(database)
    }

    /// For commands: an embedded server that runs is used, else one is started for as long as the command takes.
    pub async fn open(config: &Config, cancel: &CancellationToken) -> Result<Self, DatabaseError> {
        if let Some(url) = &config.database.url {
            return Self::connect(url, config.database.max_connections, None).await;
        }
        let embedded = Arc::new(Embedded::open(&config.embedded.data_dir, cancel).await?);
        Self::connect(&embedded.url(), config.database.max_connections, Some(embedded)).await
    }

    async fn connect(
        url: &Secret,
        max_connections: u32,
        embedded: Option<Arc<Embedded>>,
    ) -> Result<Self, DatabaseError> {
        let options: PgConnectOptions = url.expose().parse().map_err(|_| DatabaseError::Url)?;
        let place = format!("{}:{}/{}", options.get_host(), options.get_port(), options.get_database().unwrap_or(""));
        let options = options.application_name("tidegate").options([
            // "relation exists, skipping" once per page is no news.
            ("client_min_messages", "warning"),
            ("TimeZone", "UTC"),
            // Not "$user": for a user named `tidegate` that is our own schema from the first migration on.
            ("search_path", "public"),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(IDLE_TIMEOUT)
            .test_before_acquire(false)
            .connect_with(options)
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
