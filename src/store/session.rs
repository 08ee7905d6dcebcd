//! Database sessions that may break: the settings of pooled connections, and deadlines for waiting on the database.
//!
//! A network may drop a connection without notice to either side. So every wait for a response has a limit, and a
//! connection whose response did not arrive is closed ([`Deadline`], [`pool_options`]). A statement of a load may take
//! as long as Postgres works on it ([`watched`]).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, PoisonError, RwLock};
use std::time::Duration;

use chrono::DateTime;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, PgPool, Postgres, Row as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};

use super::failure::Failure;
use super::ident;
use super::trouble::Repeats;
use crate::clock;

/// A statement that is not part of a load takes milliseconds. After this time it counts as lost.
pub const STATEMENT_MAX: Duration = Duration::from_secs(20);
/// A running server responds to an empty request at once.
const PING_MAX: Duration = Duration::from_secs(3);
/// A connection that was idle for this long is tested before it is used again.
const TRUSTED_IDLE: Duration = Duration::from_secs(5);
/// How long to wait for a connection of the pool before the server is asked whether it refuses connections.
const REFUSED_AFTER: Duration = Duration::from_millis(100);
/// How long to wait for a statement of a load before the server is asked about it, and how often after that.
const WATCH_AFTER: Duration = Duration::from_secs(10);
const WATCH_EVERY: Duration = Duration::from_secs(5);
/// If the server waits for this process this many times in a row, a request or a response was lost.
const WATCH_CHECKS: u32 = 3;
/// How often long work asks whether others wait for its locks. Well below the time for which a load waits for a lock.
const YIELD_EVERY: Duration = Duration::from_millis(500);

/// How long connections are tested before each use after one was lost.
const SUSPECT_FOR: Duration = Duration::from_mins(1);

/// When a connection of this process was last lost.
static SUSPECT: RwLock<Option<Instant>> = RwLock::new(None);

/// Errors of single connections. The pool would log every one, so `telemetry` filters its lines.
static TROUBLE: LazyLock<Repeats> = LazyLock::new(Repeats::default);
const UNUSABLE: &str = "a new session of the database cannot be used";
const BROKEN: &str = "a connection to the database is broken; it is replaced";

/// SQLSTATEs after which the server is not the one to write to: it only reads, or an administrator ends its sessions.
const NOT_THIS_SERVER: &[&str] = &[READ_ONLY, "57P01", "57P02", "57P03", "57P05"];

/// SQLSTATE of a statement that was cancelled.
const CANCELLED: &str = "57014";
/// SQLSTATE of a statement that would write on a server that only reads.
pub(super) const READ_ONLY: &str = "25006";
/// The text about such a server.
pub const ONLY_READS: &str = "the database only reads: it is a standby, or was made read-only";
/// What to do about it.
pub const ONLY_READS_HINT: &str = "name the primary server in `database`; or, if this one was made read-only, set \
                                   `default_transaction_read_only` to off where it was set to on";

/// A future that ends with an error if the database does not respond in time.
pub trait Deadline<T: Send>: Future<Output = Result<T, sqlx::Error>> + Send + Sized {
    /// Waits at most [`STATEMENT_MAX`]. After that, the caller must drop the connection or return it to the pool, which
    /// closes it.
    fn in_time(self) -> impl Future<Output = Result<T, sqlx::Error>> + Send {
        self.within(STATEMENT_MAX)
    }

    /// Like [`in_time`](Self::in_time), with another limit.
    fn within(self, limit: Duration) -> impl Future<Output = Result<T, sqlx::Error>> + Send {
        timeout(limit, self).map(move |outcome| outcome.unwrap_or_else(|_| Err(silent(limit))))
    }
}

impl<T: Send, F: Future<Output = Result<T, sqlx::Error>> + Send> Deadline<T> for F {}

/// The error for a database that did not respond.
pub fn silent(waited: Duration) -> sqlx::Error {
    let message = format!("the database did not respond within {} s", waited.as_secs());
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, message))
}

/// Whether an error means that the connection, or its server, is gone.
pub fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| NOT_THIS_SERVER.contains(&&*code)),
        _ => false,
    }
}

/// Whether an error means that the server only reads.
pub fn is_read_only(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some(READ_ONLY))
}

/// What an error of the database is in a few words: a refusal is a response too.
pub fn summary(error: &sqlx::Error) -> &'static str {
    match Failure::of(error) {
        failure @ (Failure::Gone | Failure::OnlyReads | Failure::Unable | Failure::Unexpected) => failure.what(),
        // The table may be one of the warehouse, and a statement without a limit ends early only if it is cancelled.
        Failure::Slow | Failure::Missing | Failure::Refused | Failure::Busy => Failure::Refused.what(),
    }
}

/// What every session has, with any setting of the role, the database or a pooler. Names that the server does not know
/// are left out.
const SETTINGS: &[(&str, &str)] = &[
    // "relation exists, skipping" once per page would flood the log.
    ("client_min_messages", "warning"),
    ("TimeZone", "UTC"),
    // Compiling a statement over the mart's views takes seconds, and running it a fraction of that.
    ("jit", "off"),
    // A role named like one of our schemas must not find the migrations' table there.
    ("search_path", "public"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
    ("standard_conforming_strings", "on"),
    ("array_nulls", "on"),
    ("transform_null_equals", "off"),
    // Names that the catalogue returns are compared with ours.
    ("quote_all_identifiers", "off"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    // Only where the role has another setting. Set for the database or the server, it forbids all clients to write: it
    // stays, and is reported.
    ("default_transaction_read_only", "off"),
    // Deadlines are kept on this side, where it is known what is waited for.
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("transaction_timeout", "0"),
    // So that the server also ends a session whose client is gone, and releases its locks.
    ("tcp_keepalives_idle", "20"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "4"),
    ("tcp_user_timeout", "40000"),
    ("client_connection_check_interval", "10000"),
];

/// The options for connections of the pool.
pub fn connect_options(options: PgConnectOptions) -> PgConnectOptions {
    // Set later, with the other settings: a pooler may refuse it at the start.
    // Slow statements are not logged: their text is long.
    options.application_name("tidegate").extra_float_digits(None).disable_statement_logging()
}

/// Pool options that give all sessions the same settings and close broken connections. `silence`: how long a
/// transaction may be idle before the server ends it, because its process is suspended or unreachable. Others may wait
/// for its locks, so it is not longer than a lease.
pub fn pool_options(silence: Duration) -> PgPoolOptions {
    PgPoolOptions::new()
        .test_before_acquire(false)
        // Slow waits are not logged. A wait that fails ends with an error, which is logged.
        .acquire_slow_threshold(Duration::MAX)
        .after_connect(move |connection, _| {
            Box::pin(
                async move { prepare(connection, silence).await.inspect_err(|error| TROUBLE.warn(UNUSABLE, error)) },
            )
        })
        .before_acquire(|connection, meta| -> BoxFuture<'_, Result<bool, sqlx::Error>> {
            if !is_suspect() && meta.idle_for < TRUSTED_IDLE {
                return Box::pin(std::future::ready(Ok(true)));
            }
            Box::pin(works(connection))
        })
        .after_release(|connection, _| {
            Box::pin(async {
                // The pool tests it as well, but without a limit, and keeps one that is in a transaction.
                let works = is_outside_transaction(connection).await? && (!is_suspect() || works(connection).await?);
                // A connection's buffers grow to its largest message, and the pool uses its connections in turn.
                connection.shrink_buffers();
                Ok(works)
            })
        })
}

/// Whether no transaction is open. sqlx 0.9 leaves one open if the future of `begin` is dropped before the database has
/// responded, which any cancellation can do: the next user of the session would write into that transaction, and lose
/// it. The pool closes such a session, which rolls back.
async fn is_outside_transaction(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    // In one message, outside of a transaction, both times are the same.
    let statement = sqlx::raw_sql("select pg_catalog.now() = pg_catalog.statement_timestamp()");
    let row = statement.fetch_one(connection).within(PING_MAX).await;
    row.and_then(|row| row.try_get(0)).inspect_err(|error| TROUBLE.warn(BROKEN, error))
}

/// Tests whether the connection can be used. Logs an error.
async fn works(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let works =
        if is_suspect() { writes(connection).await } else { connection.ping().within(PING_MAX).await.map(|()| true) };
    works.inspect_err(|error| TROUBLE.warn(BROKEN, error))
}

/// Gives a new session its settings, and reads the database's clock.
async fn prepare(connection: &mut PgConnection, silence: Duration) -> Result<(), sqlx::Error> {
    // Separately and first: the role's own limit may be shorter than the next statement takes.
    sqlx::raw_sql("set statement_timeout = 0").execute(&mut *connection).in_time().await?;
    let silence = silence.as_millis().to_string();
    let own = [("idle_in_transaction_session_timeout", silence.as_str())];
    let wanted: Vec<String> = SETTINGS
        .iter()
        .chain(&own)
        .map(|(name, value)| format!("({}, {})", ident::literal(name), ident::literal(value)))
        .collect();
    // In the simple protocol: a pooler that pools by transaction would search for a prepared statement in another
    // session, and is to be refused with its remedy.
    let set = format!(
        "
        select (extract(epoch from clock_timestamp()) * 1000000)::bigint
        from (
            select count(set_config(wanted.name, wanted.value, false))
            from (values {}) as wanted (name, value)
            inner join pg_settings using (name)
            where
                wanted.name <> 'default_transaction_read_only'
                or pg_settings.source in ('user', 'database user')
        ) as settings
        ",
        wanted.join(", "),
    );
    let micros: i64 = sqlx::raw_sql(AssertSqlSafe(set)).fetch_one(connection).in_time().await?.try_get(0)?;
    let now = DateTime::from_timestamp_micros(micros).unwrap_or_default();
    clock::note(now);
    Ok(())
}

/// A session with the settings of the pool's, but beside it, for work that takes so long that a small pool would lack a
/// connection meanwhile.
pub async fn connect_beside(pool: &PgPool) -> Result<PgConnection, sqlx::Error> {
    let mut connection = PgConnection::connect_with(&pool.connect_options()).in_time().await?;
    prepare(&mut connection, STATEMENT_MAX).await?;
    Ok(connection)
}

/// Closes idle connections: after one was lost the others probably are, and after a failover they lead to a read-only
/// server.
pub fn purge(pool: &PgPool) {
    while let Some(connection) = pool.try_acquire() {
        drop(connection.detach());
    }
}

/// Must see every error of the database before it is handled. If the server is lost, closes the idle connections, and
/// has the others tested for a while before they are used.
pub fn judge(pool: &PgPool, error: &sqlx::Error) {
    if is_lost(error) {
        *SUSPECT.write().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        purge(pool);
    }
}

/// A connection of the pool, or at once the error of a server that refuses connections. The pool itself would try again
/// until its time is up, which suits work that has to be done, but not a page that is waited for.
pub async fn acquire_unless_refused(pool: &PgPool) -> Result<PoolConnection<Postgres>, sqlx::Error> {
    tokio::select! {
        biased;
        acquired = pool.acquire() => acquired,
        refused = refused(pool) => Err(refused.into()),
    }
}

/// Returns once the server refuses a connection. It is asked once, after [`REFUSED_AFTER`]: a connection that the pool
/// has, or can make, is there sooner.
async fn refused(pool: &PgPool) -> io::Error {
    sleep(REFUSED_AFTER).await;
    let options = pool.connect_options();
    let (host, port) = (options.get_host(), options.get_port());
    let folder = options.get_socket().map(PathBuf::as_path).or_else(|| host.starts_with('/').then(|| Path::new(host)));
    let connecting = match folder {
        Some(folder) => UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await.map(drop),
        None => TcpStream::connect((host, port)).await.map(drop),
    };
    match connecting {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => error,
        // The pool has the reason, or waits for a connection of its own.
        Ok(()) | Err(_) => std::future::pending().await,
    }
}

/// Whether a connection was lost recently.
fn is_suspect() -> bool {
    let since = *SUSPECT.read().unwrap_or_else(PoisonError::into_inner);
    since.is_some_and(|since| since.elapsed() < SUSPECT_FOR)
}

/// Whether the connection leads to a server that can be written to.
async fn writes(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select current_setting('transaction_read_only') = 'off' and not pg_is_in_recovery()")
        .fetch_one(connection)
        .within(PING_MAX)
        .await
}

/// The id of the session's server process.
pub async fn backend(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar("select pg_backend_pid()").fetch_one(connection).in_time().await
}

/// Waits for `work`, a statement of the session `backend`, for as long as the server works on it. If both sides wait
/// for each other, a message was lost, and the wait ends with an error.
pub fn watched<'w, T, E: From<sqlx::Error>>(
    pool: &'w PgPool,
    backend: i32,
    work: impl Future<Output = Result<T, E>> + 'w,
) -> impl Future<Output = Result<T, E>> + 'w {
    // Boxed, because every waiting future would otherwise be as large.
    let work = Box::pin(work);
    async move {
        let begun = Instant::now();
        tokio::select! {
            biased;
            outcome = work => outcome,
            () = lost(pool, backend) => Err(silent(begun.elapsed()).into()),
        }
    }
}

/// Returns when the server has waited for this process for a while in the session `backend`.
async fn lost(pool: &PgPool, backend: i32) {
    sleep(WATCH_AFTER).await;
    let mut idle = 0;
    while idle < WATCH_CHECKS {
        sleep(WATCH_EVERY).await;
        let works = match is_working(pool, backend).within(WATCH_EVERY).await {
            Ok(works) => works,
            // The server responds, so it is running: it may have no free session.
            Err(sqlx::Error::Database(_)) => true,
            Err(_) => false,
        };
        idle = if works { 0 } else { idle + 1 };
    }
}

/// Does long work of the session `backend` that can be done later, in one transaction. If another session waits for a
/// lock of it, cancels it and returns `None`: a load that adds a column waits only for seconds, and readers of the
/// table wait behind it.
pub async fn yielding<T>(
    pool: &PgPool,
    backend: i32,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<Option<T>, sqlx::Error> {
    let mut cancelled = false;
    // Boxed, as above.
    let mut work = Box::pin(work);
    let outcome = loop {
        tokio::select! {
            biased;
            outcome = &mut work => break outcome,
            () = sleep(YIELD_EVERY) => {
                // To its end, so that it cancels nothing that the session does later. If the server does not respond,
                // the work notices.
                cancelled |= cancel_if_waited_for(pool, backend).await.unwrap_or(false);
            }
        }
    };
    match outcome {
        Err(sqlx::Error::Database(error)) if cancelled && error.code().as_deref() == Some(CANCELLED) => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// Cancels the statement of the session if another one waits for its locks. Returns whether it did.
async fn cancel_if_waited_for(pool: &PgPool, backend: i32) -> Result<bool, sqlx::Error> {
    let mut connection = pool.acquire().in_time().await?;
    let cancelled: Option<bool> = sqlx::query_scalar(
        "
        select pg_cancel_backend($1)
        where exists (
            select
            from pg_locks as waiting
            where not waiting.granted and $1 = any(pg_blocking_pids(waiting.pid))
        )
        ",
    )
    .bind(backend)
    .fetch_optional(&mut *connection)
    .in_time()
    .await?;
    Ok(cancelled.unwrap_or(false))
}

/// Whether the server works for the session, or waits for a lock or a disk. During a COPY it may briefly wait for the
/// client. Uses a separate connection, because the pool may have no other.
async fn is_working(pool: &PgPool, backend: i32) -> Result<bool, sqlx::Error> {
    let mut connection = PgConnection::connect_with(&pool.connect_options()).await?;
    sqlx::query_scalar(
        "
        select exists (
            select
            from pg_stat_activity
            where pid = $1 and state = 'active' and wait_event_type is distinct from 'Client'
        )
        ",
    )
    .bind(backend)
    .fetch_one(&mut connection)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn p12_a_query_without_a_response_ends_with_an_error_that_says_so() {
        let never = std::future::pending::<Result<(), sqlx::Error>>();
        let error = never.within(Duration::from_millis(10)).await.unwrap_err();
        assert!(is_lost(&error) && error.to_string().contains("did not respond within 0 s"), "{error}");
        assert!(!is_lost(&sqlx::Error::RowNotFound));
    }
}
