//! One server process: started or found running, queried, stopped.

use std::io::Seek as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::{sleep, timeout};

use super::binaries::PgBin;
use super::data_dir::{self, DATABASE, DataDir, Endpoint, Passwords, USER};
use super::process::{self, POLL, ended_within, is_alive, signal};
use super::user::as_server;
use super::{Error, files, socket};
use crate::secret::Secret;

/// Recovery after a crash replays at most `max_wal_size`; a slow disk may need minutes for it.
const READY_WITHIN: Duration = Duration::from_mins(5);
/// How long a server that was left running, and is neither ready nor starting, may take to respond.
const RESPONSE_WITHIN: Duration = Duration::from_secs(5);
/// A fast stop rolls back open transactions and writes a checkpoint. SIGTERM leaves the daemon 10 s for everything.
const FAST_STOP: Duration = Duration::from_secs(6);
/// An immediate stop; the next start recovers.
const IMMEDIATE_STOP: Duration = Duration::from_secs(2);
/// How long the backends of a killed postmaster may take to notice and exit.
const ORPHANS_LEAVE: Duration = Duration::from_secs(1);

/// Set at every start, so that no older file and no `alter system` overrides them.
const SETTINGS: &[&str] = &[
    // For users and their tools. Tidegate itself uses the socket.
    "listen_addresses=127.0.0.1",
    "unix_socket_permissions=0700",
    "password_encryption=scram-sha-256",
    // A commit is on disk before it is confirmed. Promise 1 depends on this.
    "fsync=on",
    "full_page_writes=on",
    "synchronous_commit=on",
    "shared_buffers=128MB",
    "max_wal_size=1GB",
    "max_connections=100",
    "jit=off",
    "timezone=UTC",
    "log_timezone=UTC",
    "logging_collector=off",
    "log_destination=stderr",
    // An error's text can contain a row's values, which must not be logged; the client gets it anyway.
    "log_min_messages=log",
    "log_min_error_statement=panic",
    "log_error_verbosity=terse",
    "log_statement=none",
    "log_checkpoints=off",
    "cluster_name=tidegate",
];

/// Whether the caller no longer wants to wait.
pub(super) type Cancelled<'a> = &'a (dyn Fn() -> bool + Sync);

/// A running server. Dropping it tells it to stop.
#[derive(Debug)]
pub(super) struct Postmaster {
    pid: Pid,
    /// `None`: it was started by a Tidegate that has ended.
    child: Option<Child>,
    pub port: u16,
}

/// What a login to the server shows.
pub(super) enum ServerState {
    Ready,
    /// It is recovering, starting or stopping, or nothing listens.
    NotReady,
    /// The connection was made, or is being made, and there is no response.
    Silent,
    WrongPassword,
}

pub(super) async fn ask(endpoint: &Endpoint, password: &Secret) -> ServerState {
    let login = endpoint.login(USER, password, "postgres");
    match timeout(RESPONSE_WITHIN, login.connect()).await {
        Ok(Ok(connection)) => {
            // The response was enough; the server ends the session when the socket closes.
            drop(connection.close().await);
            ServerState::Ready
        }
        Ok(Err(sqlx::Error::Database(error))) if error.code().is_some_and(|code| code == "28P01") => {
            ServerState::WrongPassword
        }
        // No such database or too many sessions: the server is running.
        Ok(Err(sqlx::Error::Database(error))) if error.code().is_some_and(|code| code == "53300") => ServerState::Ready,
        Ok(Err(_)) => ServerState::NotReady,
        Err(_) => ServerState::Silent,
    }
}

impl Postmaster {
    /// Starts the server at `endpoint` and waits until it accepts connections.
    pub(crate) async fn launch(
        home: &DataDir,
        bin: &PgBin,
        password: &Secret,
        endpoint: &Endpoint,
        cancelled: Cancelled<'_>,
    ) -> Result<Self, Error> {
        let mut log = home.open_log()?;
        let log_start = log.seek(std::io::SeekFrom::End(0)).unwrap_or(0);
        let both = log.try_clone().map_err(Error::io("open", home.log_path()))?;
        let mut command = Command::new(bin.program("postgres"));
        as_server(&mut command, home.user.as_ref());
        command
            .current_dir(&home.cluster)
            .arg("-D")
            .arg(&home.cluster)
            .args(["-p", &endpoint.port.to_string(), "-c", &socket::setting(&endpoint.folder)])
            .args(SETTINGS.iter().flat_map(|setting| ["-c", setting]))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(both);
        let child = command.spawn().map_err(Error::io("run", bin.program("postgres")))?;
        let mut server = Self { pid: Pid::from_child(&child), child: Some(child), port: endpoint.port };
        let ready = server.wait_until_ready(home, endpoint, password, log_start, cancelled).await;
        if let Err(error) = ready {
            server.stop(&home.cluster).await;
            return Err(error);
        }
        Ok(server)
    }

    async fn wait_until_ready(
        &mut self,
        home: &DataDir,
        endpoint: &Endpoint,
        password: &Secret,
        log_start: u64,
        cancelled: Cancelled<'_>,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + READY_WITHIN;
        while Instant::now() < deadline {
            if cancelled() {
                return Err(Error::Cancelled);
            }
            if let Some(status) = self.ended() {
                return Err(Error::Exited { status, log: home.log_path(), tail: home.log_tail(log_start) });
            }
            match ask(endpoint, password).await {
                ServerState::Ready => return Ok(()),
                ServerState::WrongPassword => return Err(Error::Password { path: home.password_path() }),
                ServerState::NotReady | ServerState::Silent => sleep(POLL).await,
            }
        }
        Err(Error::NotReady { secs: READY_WITHIN.as_secs(), log: home.log_path(), tail: home.log_tail(log_start) })
    }

    /// The server that an earlier Tidegate left running on this cluster, if it accepts Tidegate's password. Any other
    /// process left on the cluster is stopped, so that `None` means that the cluster is free.
    pub(crate) async fn adopt_or_clear(
        home: &DataDir,
        password: Option<&Secret>,
        cancelled: Cancelled<'_>,
    ) -> Result<Option<Self>, Error> {
        let pid_file = home.cluster.join("postmaster.pid");
        // A file that the server did not write contains no usable data, and is removed below.
        let written = files::read(&pid_file).unwrap_or_else(|_| Some(String::new()));
        let (pid, port) = written.as_deref().map_or((None, None), parse_pid_file);
        let left = process::of_cluster(&home.cluster, pid);
        let pid_left = pid.filter(|pid| left.contains(pid));
        if let (Some(pid), Some(port), Some(password), Some(folder)) = (pid_left, port, password, home.socket_folder()?)
        {
            let endpoint = Endpoint { folder, port };
            let deadline = Instant::now() + RESPONSE_WITHIN;
            while is_alive(pid) && Instant::now() < deadline {
                if cancelled() {
                    return Err(Error::Cancelled);
                }
                match ask(&endpoint, password).await {
                    ServerState::Ready => return Ok(Some(Self { pid, child: None, port })),
                    ServerState::WrongPassword => break,
                    ServerState::NotReady | ServerState::Silent => sleep(POLL).await,
                }
            }
            Self { pid, child: None, port }.stop(&home.cluster).await;
        }
        clear(home, pid).await?;
        home.clear_sockets()?;
        if written.is_some() && std::fs::symlink_metadata(&pid_file).is_ok() {
            // No process uses the cluster any more, so the file's content is wrong. The server itself would fail on
            // garbage in it, or on an unrelated process with that id.
            std::fs::remove_file(&pid_file).map_err(Error::io("remove the stale", &pid_file))?;
        }
        Ok(None)
    }

    /// The server's exit status, if it has exited.
    pub(crate) fn ended(&mut self) -> Option<String> {
        match &mut self.child {
            Some(child) => match child.try_wait() {
                Ok(status) => status.map(|status| status.to_string()),
                Err(error) => Some(error.to_string()),
            },
            None => (!is_alive(self.pid)).then(|| "gone".to_owned()),
        }
    }

    /// Fast, then immediate, then by force.
    pub(crate) async fn stop(&mut self, cluster: &Path) {
        for (name, limit) in [(Signal::INT, FAST_STOP), (Signal::QUIT, IMMEDIATE_STOP), (Signal::KILL, IMMEDIATE_STOP)]
        {
            if self.ended().is_some() {
                return;
            }
            signal(self.pid, name);
            if ended_within(&[self.pid], limit).await {
                break;
            }
            tracing::warn!(cluster = %cluster.display(), secs = limit.as_secs(), "Postgres did not stop when requested");
        }
        self.ended();
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        if self.ended().is_none() {
            signal(self.pid, Signal::INT);
        }
    }
}

/// Ends every process that a killed postmaster left in the cluster. They exit by themselves once they notice, but a new
/// server would refuse to start until then.
async fn clear(home: &DataDir, pid_file_says: Option<Pid>) -> Result<(), Error> {
    for (name, limit) in
        [(None, ORPHANS_LEAVE), (Some(Signal::QUIT), IMMEDIATE_STOP), (Some(Signal::KILL), IMMEDIATE_STOP)]
    {
        let left = process::of_cluster(&home.cluster, pid_file_says);
        if left.is_empty() {
            return Ok(());
        }
        if let Some(name) = name {
            for pid in &left {
                signal(*pid, name);
            }
        }
        ended_within(&left, limit).await;
    }
    match process::of_cluster(&home.cluster, pid_file_says).first() {
        None => Ok(()),
        Some(pid) => Err(Error::Leftover { pid: pid.as_raw_pid(), path: home.cluster.clone() }),
    }
}

/// Creates the database that Tidegate uses, if it is missing.
pub(super) async fn ensure_database(endpoint: &Endpoint, passwords: &Passwords) -> Result<(), Error> {
    let mut connection = endpoint.login(USER, &passwords.tidegate, "postgres").connect().await?;
    let there = sqlx::query_scalar::<_, bool>("select exists (select from pg_database where datname = $1)")
        .bind(DATABASE)
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    if there {
        return Ok(());
    }
    let (superuser, password) = passwords.superuser();
    let mut connection = endpoint.login(superuser, password, "postgres").connect().await?;
    let statement = format!("create database {DATABASE} owner {USER}");
    sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Process id and port, on the first and the fourth line; `None` if they are invalid.
fn parse_pid_file(text: &str) -> (Option<Pid>, Option<u16>) {
    let line = |number: usize| text.lines().nth(number).map(str::trim);
    let pid = line(0).and_then(|line| line.parse().ok()).filter(|pid| *pid > 1).and_then(Pid::from_raw);
    (pid, line(3).and_then(|line| line.parse().ok()))
}

/// Empties the log of a running server if it has grown.
pub(super) fn trim_log(home: &DataDir) {
    let path = home.log_path();
    let log = files::open(&path, std::fs::OpenOptions::new().append(true), true);
    if let Err(error) = log.and_then(|log| data_dir::trim(&log).map_err(Error::io("shorten", &path))) {
        tracing::warn!(log = %home.log_path().display(), %error, "cannot shorten the server's log");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_is_read_and_garbage_is_ignored() {
        let (pid, port) = parse_pid_file("4711\n/data/cluster\n1700000000\n25432\n\n127.0.0.1\n  12 34\nready   \n");
        assert_eq!((pid.map(Pid::as_raw_pid), port), (Some(4711), Some(25432)));
        for garbage in ["", "\n\n\n", "-5\n", "0\n", "1\n", "99999999999999\n", "\u{0}\u{0}\u{0}"] {
            assert_eq!(parse_pid_file(garbage), (None, None), "{garbage:?}");
        }
    }
}
