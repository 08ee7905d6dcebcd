//! The database of this process: a configured server, or the private embedded one.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, PgPool};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::{Config, DatabaseParts, DatabaseTarget, SslMode};
use crate::postgres::{self, Embedded, TcpPlace};
use crate::store::session;

/// A server that does not respond within this time counts as down.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(15);
/// If it does not respond sooner, the log says that it is waited for.
const ANNOUNCED_AFTER: Duration = Duration::from_secs(1);
/// How long a server that is down is asked why.
const REASON_WITHIN: Duration = Duration::from_secs(3);
/// How long the end of the process waits for connections that are still in use.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// Connections idle for this long are closed, since a firewall may have dropped them.
const IDLE_TIMEOUT: Duration = Duration::from_mins(5);

/// A connection pool, and the embedded server behind it if this process started it.
#[derive(Debug)]
pub struct Database {
    pub pool: PgPool,
    embedded: Option<Arc<Embedded>>,
    supervisor: Option<(JoinHandle<()>, CancellationToken)>,
}

/// Why there is no database. Messages never contain the URL's password.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("database.url is not a Postgres URL; write postgres://user:password@host:5432/database")]
    Url,
    #[error(
        "cannot reach the database {place}: check `database`, and that the server is running and accepts this host"
    )]
    Connect { place: String, source: sqlx::Error },
    #[error(
        "the connection pooler {place} refuses the parameter `{parameter}` that sessions start with: write \
         `ignore_startup_parameters = {parameter}` in PgBouncer's configuration, or leave the parameter out of `database.url`"
    )]
    Pooler { place: String, parameter: String, source: sqlx::Error },
    #[error(
        "the environment variable PGOPTIONS is set and would change the settings of Tidegate's sessions: start Tidegate \
         without it (`env -u PGOPTIONS tidegate …`)"
    )]
    PgOptions,
    #[error(transparent)]
    Embedded(#[from] postgres::Error),
    #[error(transparent)]
    Migrate(#[from] crate::store::migrate::Error),
    #[error("interrupted before the database responded")]
    Interrupted,
}

impl DatabaseError {
    /// Whether the process received a signal to end while it waited.
    pub const fn is_interruption(&self) -> bool {
        matches!(self, Self::Interrupted | Self::Embedded(postgres::Error::Cancelled))
    }

    fn connect(place: String, source: sqlx::Error) -> Self {
        // PgBouncer's wording. Postgres itself knows every parameter that is sent.
        let words = "unsupported startup parameter: ";
        let refused = source.as_database_error().and_then(|error| error.message().strip_prefix(words));
        if let Some(parameter) = refused.map(str::to_owned) {
            return Self::Pooler { place, parameter, source };
        }
        Self::Connect { place, source }
    }
}

/// sqlx sends the value of PGOPTIONS at every session start and cannot be configured not to.
fn refuse_pg_options() -> Result<(), DatabaseError> {
    match std::env::var_os("PGOPTIONS") {
        Some(options) if !options.is_empty() => Err(DatabaseError::PgOptions),
        _ => Ok(()),
    }
}

impl Database {
    /// For the daemon and the demo: starts an embedded server, owns it and keeps it running. Returns promptly when
    /// cancelled.
    pub async fn own(config: &Config, cancel: &CancellationToken) -> Result<Self, DatabaseError> {
        refuse_pg_options()?;
        if !config.database.target.is_embedded() {
            let options = options_of(&config.database.target)?;
            let place = place_of(&options);
            let connecting = announced(&place, Box::pin(Self::connect(options, config, None)));
            return cancel.run_until_cancelled(connecting).await.unwrap_or(Err(DatabaseError::Interrupted));
        }
        let embedded = Arc::new(Embedded::start(&config.embedded.data_dir, cancel).await?);
        let connecting = Self::connect(embedded.connect_options(), config, Some(Arc::clone(&embedded)));
        let Some(connected) = cancel.run_until_cancelled(connecting).await else {
            embedded.stop().await;
            return Err(DatabaseError::Interrupted);
        };
        let mut database = connected?;
        let stop = CancellationToken::new();
        let token = stop.clone();
        let supervised = tokio::spawn(async move { embedded.supervise(&token).await });
        database.supervisor = Some((supervised, stop));
        Ok(database)
    }

    /// For commands: uses an embedded server that is already running, or starts one for the duration of the command.
    pub async fn open(config: &Config, cancel: &CancellationToken) -> Result<Self, DatabaseError> {
        refuse_pg_options()?;
        if !config.database.target.is_embedded() {
            connect_once(&config.database.target).await?;
            return Self::connect(options_of(&config.database.target)?, config, None).await;
        }
        let embedded = Arc::new(Embedded::open(&config.embedded.data_dir, cancel).await?);
        Self::connect(embedded.connect_options(), config, Some(embedded)).await
    }

    async fn connect(
        options: PgConnectOptions,
        config: &Config,
        embedded: Option<Arc<Embedded>>,
    ) -> Result<Self, DatabaseError> {
        let options = session::connect_options(options);
        let connecting = session::pool_options(config.worker.lease)
            .max_connections(config.database.max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(IDLE_TIMEOUT)
            .connect_with(options.clone());
        match connecting.await {
            Ok(pool) => Ok(Self { pool, embedded, supervisor: None }),
            Err(source) => {
                // The pool knows only that its time is up.
                let reason = if matches!(source, sqlx::Error::PoolTimedOut) { reason(&options).await } else { None };
                Err(DatabaseError::connect(place_of(&options), reason.unwrap_or(source)))
            }
        }
    }

    /// A working `psql` command line for an embedded server.
    pub fn psql_line(&self) -> Option<String> {
        self.embedded.as_ref().map(|embedded| embedded.psql_line())
    }

    /// Where people and BI tools reach an embedded server.
    pub fn tcp_place(&self) -> Option<TcpPlace> {
        self.embedded.as_ref().map(|embedded| embedded.tcp_place())
    }

    /// Closes the pool, then stops the embedded server if this process started it.
    pub async fn close(mut self) {
        let _ = tokio::time::timeout(CLOSE_WITHIN, self.pool.close()).await;
        if let Some((supervised, stop)) = self.supervisor.take() {
            stop.cancel();
            let _ = tokio::time::timeout(Duration::from_secs(1), supervised).await;
        }
        if let Some(embedded) = self.embedded.take() {
            embedded.stop().await;
        }
    }
}

/// Logs that a daemon waits for the database, and until when, if it does not respond at once: until then it has no
/// status port that could show it.
async fn announced<T>(place: &str, mut connecting: impl Future<Output = T> + Unpin) -> T {
    if let Ok(connected) = tokio::time::timeout(ANNOUNCED_AFTER, &mut connecting).await {
        return connected;
    }
    let until = clock::now() + ACQUIRE_TIMEOUT.saturating_sub(ANNOUNCED_AFTER);
    let until = until.format("%H:%M:%S UTC");
    tracing::warn!("the database {place} has not responded yet; Tidegate waits for it until {until}, then it exits");
    connecting.await
}

/// Where a configured server is, without user and password. `None` for the embedded server.
pub fn place(target: &DatabaseTarget) -> Option<String> {
    if target.is_embedded() {
        return None;
    }
    Some(options_of(target).map_or_else(|_| "at an unreadable URL".to_owned(), |options| place_of(&options)))
}

/// The warning for a configured server on another host that may be reached without TLS. Judges the options that sqlx
/// connects with, including those from `PGHOST` and `PGSSLMODE`.
pub fn warning(target: &DatabaseTarget) -> Option<String> {
    let options = options_of(target).ok()?;
    let mode = match options.get_ssl_mode() {
        PgSslMode::Disable => "disable",
        PgSslMode::Allow => "allow",
        PgSslMode::Prefer => "prefer",
        PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull => return None,
    };
    let host = options.get_host();
    let name = host.trim_end_matches('.').to_lowercase();
    let is_local = options.get_socket().is_some()
        || host.starts_with('/')
        || name.ends_with(".localhost")
        // A name without a dot is not public: it is this host, or a service of Compose or Kubernetes.
        || host.parse::<IpAddr>().map_or(!name.contains('.'), |address| address.to_canonical().is_loopback());
    (!is_local).then(|| {
        format!(
            "database: the server `{host}` is on another host and `sslmode` is `{mode}`, so the password and all rows may be \
             sent without encryption; set `sslmode` to `verify-full`, or to `require` if its certificate cannot be checked"
        )
    })
}

/// The configured target as sqlx's connection options.
fn options_of(target: &DatabaseTarget) -> Result<PgConnectOptions, DatabaseError> {
    let options = match target {
        // Not used: a running embedded server supplies its own options.
        DatabaseTarget::Embedded => return Err(DatabaseError::Url),
        DatabaseTarget::Url(url) => url.expose().parse::<PgConnectOptions>().map_err(|_| DatabaseError::Url)?,
        DatabaseTarget::Parts(parts) => options_of_parts(parts),
    };
    // A URL parser keeps the brackets, and the address would then be looked up as a name.
    let bare = options.get_host().strip_prefix('[').and_then(|host| host.strip_suffix(']')).map(str::to_owned);
    Ok(match bare {
        Some(host) => options.host(&host),
        None => options,
    })
}

fn options_of_parts(parts: &DatabaseParts) -> PgConnectOptions {
    let mode = match parts.ssl_mode {
        SslMode::Disable => PgSslMode::Disable,
        SslMode::Allow => PgSslMode::Allow,
        SslMode::Prefer => PgSslMode::Prefer,
        SslMode::Require => PgSslMode::Require,
        SslMode::VerifyCa => PgSslMode::VerifyCa,
        SslMode::VerifyFull => PgSslMode::VerifyFull,
    };
    let mut options = PgConnectOptions::new_without_pgpass()
        .host(&parts.host)
        .port(parts.port)
        .database(&parts.name)
        .username(&parts.user)
        .ssl_mode(mode);
    if let Some(password) = &parts.password {
        options = options.password(password.expose());
    }
    if let Some(file) = &parts.ssl_root_cert {
        options = options.ssl_root_cert(file);
    }
    options
}

fn place_of(options: &PgConnectOptions) -> String {
    let (host, port) = (options.get_host(), options.get_port());
    let database = options.get_database().unwrap_or_default();
    match options.get_socket() {
        Some(folder) => format!("{}:{port}/{database}", folder.display()),
        None if host.contains(':') => format!("[{host}]:{port}/{database}"),
        None => format!("{host}:{port}/{database}"),
    }
}

/// Connects once before the pool does. A pool retries until its timeout and loses the reason, which a user needs at
/// once.
async fn connect_once(target: &DatabaseTarget) -> Result<(), DatabaseError> {
    let options = session::connect_options(options_of(target)?);
    let attempt = match tokio::time::timeout(ACQUIRE_TIMEOUT, options.connect()).await {
        Ok(attempt) => attempt,
        Err(_) => Err(silence(&options).await),
    };
    let connection = attempt.map_err(|source| DatabaseError::connect(place_of(&options), source))?;
    // What cannot be closed is gone already.
    let _ = connection.close().await;
    Ok(())
}

/// Why a pool could not connect within [`ACQUIRE_TIMEOUT`]. `None` if a connection is possible by now.
async fn reason(options: &PgConnectOptions) -> Option<sqlx::Error> {
    match tokio::time::timeout(REASON_WITHIN, options.connect()).await {
        Ok(Ok(connection)) => {
            // What cannot be closed is gone already.
            let _ = connection.close().await;
            None
        }
        Ok(Err(error)) => Some(error),
        Err(_) => Some(silence(options).await),
    }
}

/// The error for a server that did not respond within [`ACQUIRE_TIMEOUT`]. If it accepts connections, it is overloaded,
/// suspended or not Postgres. Otherwise the network drops what is sent.
async fn silence(options: &PgConnectOptions) -> sqlx::Error {
    let address = (options.get_host(), options.get_port());
    let accepts = options.get_socket().is_none()
        && matches!(tokio::time::timeout(REASON_WITHIN, TcpStream::connect(address)).await, Ok(Ok(_)));
    let what = if accepts { "the server accepted the connection, and then" } else { "the server" };
    let message = format!("{what} did not respond within {} s", ACQUIRE_TIMEOUT.as_secs());
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(host: &str) -> DatabaseParts {
        DatabaseParts {
            host: host.to_owned(),
            port: 6432,
            name: "ware/house".to_owned(),
            user: "tide gate".to_owned(),
            password: Some("p@ss/w#rd?x".into()),
            ssl_mode: SslMode::Disable,
            ssl_root_cert: None,
        }
    }

    #[test]
    fn parts_are_used_unchanged() {
        let options = options_of(&DatabaseTarget::Parts(parts("db.example"))).unwrap();
        assert_eq!((options.get_host(), options.get_port()), ("db.example", 6432));
        assert_eq!((options.get_database(), options.get_username()), (Some("ware/house"), "tide gate"));
        assert!(matches!(options.get_ssl_mode(), PgSslMode::Disable));
        assert_eq!(place(&DatabaseTarget::Parts(parts("/run/pg"))).as_deref(), Some("/run/pg:6432/ware/house"));
        assert_eq!(place(&DatabaseTarget::Embedded), None);
    }

    #[test]
    fn p7_a_database_that_may_be_reached_without_tls_causes_a_warning() {
        let warning = |url: &str| warning(&DatabaseTarget::Url(url.into()));
        for url in [
            "postgres://u:hunter2@db.example.com:5432/d",
            "postgres://u:hunter2@db.example.com/d?sslmode=prefer",
            "postgres://u:hunter2@10.0.0.5/d?sslmode=disable",
            "postgres://u:hunter2@db.example.com/d?ssl-mode=allow",
            "postgres://u:hunter2@[2001:db8::1]/d",
            "postgres:///d?host=db.example.com",
            "postgres:///d?hostaddr=10.0.0.5",
        ] {
            let warning = warning(url).unwrap_or_default();
            assert!(
                warning.starts_with("database: the server `") && warning.contains("verify-full"),
                "{url}: {warning}"
            );
            assert!(!warning.contains("hunter2"), "{warning}");
        }
        for url in [
            "postgres://u:p@db.example.com/d?sslmode=require",
            "postgres://u:p@db.example.com/d?sslmode=verify-full",
            "postgres://u:p@localhost/d",
            "postgres://u:p@postgres/d?sslmode=disable",
            "postgres://u:p@127.0.0.1:5433/d?sslmode=disable",
            "postgres://u:p@[::1]/d",
            "postgres://u:p@%2Fvar%2Frun%2Fpostgresql/d",
            "postgres:///d?host=/var/run/postgresql",
        ] {
            assert_eq!(warning(url), None, "{url}");
        }
        assert!(super::warning(&DatabaseTarget::Parts(parts("10.0.0.5"))).unwrap().contains("`sslmode` is `disable`"));
        assert_eq!(super::warning(&DatabaseTarget::Embedded), None);
    }

    #[test]
    fn an_ipv6_address_is_used_without_brackets() {
        let url = DatabaseTarget::Url("postgres://u:p@[::1]:6432/d".into());
        assert_eq!(options_of(&url).unwrap().get_host(), "::1");
        assert_eq!(place(&url).as_deref(), Some("[::1]:6432/d"));
        let parts = DatabaseTarget::Parts(parts("::1"));
        assert_eq!(options_of(&parts).unwrap().get_host(), "::1");
        assert_eq!(place(&parts).as_deref(), Some("[::1]:6432/ware/house"));
    }
}
