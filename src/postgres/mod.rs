//! The private embedded Postgres, for a configuration whose `database` names no server.
//!
//! It guarantees: a commit survives a power loss (fsync is on at every start); only this machine can reach it
//! (loopback, random password); Tidegate connects only through a socket in a private folder, so nobody can impersonate
//! the server to obtain the password; it never runs as root; one Tidegate runs it at a time, and others can use it
//! meanwhile ([`Embedded::open`]); after Tidegate or the server is killed, the next start continues from what was
//! committed. It runs as long as the process that started it. A server left by a killed Tidegate is adopted by the next
//! one.
//!
//! It does not know the schema, which belongs to the store.

pub mod binaries;
pub mod cluster;
mod data_dir;
pub mod environment;
mod error;
pub mod fetch;
mod files;
mod postmaster;
mod process;
mod socket;
pub mod user;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub use self::error::Error;
pub use self::user::ServerUser;

use self::binaries::PgBin;
use self::data_dir::{DATABASE, DataDir, Endpoint, LOOPBACK, Passwords, USER};
use self::postmaster::{Cancelled, Postmaster, ServerState};
use crate::secret::Secret;

/// The log target of the warning about a new cluster, so that users who want the embedded server can filter it.
pub const NEW_CLUSTER: &str = "tidegate::postgres::new_cluster";
/// The log target while the programs are obtained, which takes a while, so that users can show it alone.
pub const PROGRAMS: &str = "tidegate::postgres::programs";

/// How quickly the server's exit is detected.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Number of these checks between two checks of the server log's length: one minute.
const LOOKS_PER_TRIM: u32 = 300;
const RESTART_WAIT: Duration = Duration::from_millis(200);
const RESTART_WAIT_MAX: Duration = Duration::from_secs(10);
/// Attempts to start: another program can take a free port between its choice and its use.
const PORT_CHOICES: u32 = 5;
/// How long to wait for another Tidegate that is just starting or stopping the server.
const OPEN_WITHIN: Duration = Duration::from_mins(1);
/// How often a server that another Tidegate runs may leave a login without a response, each for several seconds.
const SILENT_MAX: u32 = 2;

/// Where people and BI tools reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpPlace {
    pub host: &'static str,
    pub port: u16,
    pub database: &'static str,
}

/// The embedded server, used by this process.
///
/// Dropping it without [`stop`](Self::stop) tells the server to stop, but does not wait for it.
#[derive(Debug)]
pub struct Embedded {
    home: DataDir,
    endpoint: Endpoint,
    passwords: Passwords,
    /// Where `psql` is, if this process knows.
    psql: Option<PathBuf>,
    /// `None`: another process runs the server.
    owned: Option<Owned>,
}

#[derive(Debug)]
struct Owned {
    bin: PgBin,
    running: Mutex<Running>,
    /// Held during a restart, so that a stop waits for its end.
    restarting: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Running {
    /// `None`: stopped, or being restarted.
    server: Option<Postmaster>,
    stopping: bool,
    /// Held as long as this process may access the cluster.
    lock: Option<File>,
}

impl Owned {
    fn running(&self) -> MutexGuard<'_, Running> {
        // Nothing panics while it is held, and the state is consistent between any two statements.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Embedded {
    /// Whether a cluster was ever created in `data_dir`; without one, a read-only command finds nothing.
    pub fn was_made(data_dir: &Path) -> bool {
        // A path that cannot be examined counts as existing; its error is reported when it is opened.
        DataDir::at(data_dir).map_or(true, |home| !matches!(cluster::version_of(&home.cluster), Ok(None)))
    }

    /// Starts the server in `data_dir` and creates the cluster the first time, or adopts a server that a killed
    /// Tidegate left running. Fails while another Tidegate runs it.
    pub async fn start(data_dir: &Path, cancel: &CancellationToken) -> Result<Self, Error> {
        environment::check()?;
        let home = DataDir::prepare(data_dir)?;
        let lock = home.lock().await?;
        let version = cluster::version_of(&home.cluster)?;
        let bin = tokio::select! {
            found = find_binaries(&home, version) => found?,
            () = cancel.cancelled() => return Err(Error::Cancelled),
        };
        let passwords = home.passwords()?;
        let cancelled: Cancelled<'_> = &|| cancel.is_cancelled();
        let password = passwords.as_ref().map(|passwords| &passwords.tidegate);
        let adopted = Postmaster::adopt_or_clear(&home, password, cancelled).await?;
        let user = home.user.as_ref();
        let passwords = match (version, passwords) {
            (Some(_), Some(passwords)) => {
                // Rewritten for a file of an earlier version, which `psql` would not use for a socket.
                home.keep_passwords(&passwords)?;
                passwords
            }
            (Some(_), None) => {
                cluster::set_passwords(&home.cluster, &bin, user, |passwords| home.keep_passwords(passwords)).await?
            }
            (None, _) => {
                let passwords = Passwords::random(true);
                home.keep_passwords(&passwords)?;
                tokio::select! {
                    made = cluster::make_whole(&home.cluster, &bin, user, &passwords, &["--data-checksums"]) => made?,
                    () = cancel.cancelled() => return Err(Error::Cancelled),
                }
                tracing::warn!(
                    target: NEW_CLUSTER,
                    cluster = %home.cluster.display(),
                    "no `database.url` and no `database.host` is configured: created a new, empty cluster for the embedded Postgres"
                );
                passwords
            }
        };
        let folder = home.make_socket_folder()?;
        let server = match adopted {
            Some(server) => server,
            None => launch_on_a_free_port(&home, &bin, &passwords.tidegate, &folder, cancelled).await?,
        };
        let endpoint = Endpoint { folder, port: server.port };
        let running = Running { server: Some(server), stopping: false, lock: Some(lock) };
        let psql = Some(bin.program("psql")).filter(|path| path.is_file());
        let owned = Some(Owned { bin, running: Mutex::new(running), restarting: tokio::sync::Mutex::default() });
        let embedded = Self { home, endpoint, passwords, psql, owned };
        embedded.home.remember_port(embedded.endpoint.port)?;
        postmaster::ensure_database(&embedded.endpoint, &embedded.passwords).await?;
        Ok(embedded)
    }

    /// Uses the server that another Tidegate runs in `data_dir`.
    pub async fn attach(data_dir: &Path) -> Result<Self, Error> {
        environment::check()?;
        let home = DataDir::at(data_dir)?;
        let not_running = || Error::NotRunning { dir: home.dir.clone() };
        let port = home.last_port()?.ok_or_else(not_running)?;
        let passwords = home.passwords()?.ok_or_else(not_running)?;
        let folder = home.socket_folder()?.ok_or_else(not_running)?;
        let endpoint = Endpoint { folder, port };
        match postmaster::ask(&endpoint, &passwords.tidegate).await {
            ServerState::Ready => Ok(Self { home, endpoint, passwords, psql: None, owned: None }),
            ServerState::NotReady => Err(not_running()),
            ServerState::Silent => Err(home.silent()),
            ServerState::WrongPassword => Err(Error::Password { path: home.password_path() }),
        }
    }

    /// Uses the server in `data_dir`: the running one of another Tidegate, otherwise one that is started for this
    /// process and ends with it. For commands that work with and without the daemon.
    pub async fn open(data_dir: &Path, cancel: &CancellationToken) -> Result<Self, Error> {
        let deadline = Instant::now() + OPEN_WITHIN;
        let mut silent = 0;
        loop {
            match Self::attach(data_dir).await {
                Err(Error::NotRunning { .. }) => {}
                // If the Tidegate that ran it has ended, it is replaced below.
                Err(Error::Silent { .. }) if silent + 1 < SILENT_MAX => silent += 1,
                attached_or_failed => return attached_or_failed,
            }
            match Self::start(data_dir, cancel).await {
                Err(Error::Busy { .. }) if cancel.is_cancelled() => return Err(Error::Cancelled),
                Err(Error::Busy { .. }) if Instant::now() < deadline => {}
                Err(Error::Busy { .. }) => return Err(DataDir::at(data_dir)?.silent()),
                started_or_failed => return started_or_failed,
            }
        }
    }

    /// Connection options, password included.
    pub fn connect_options(&self) -> PgConnectOptions {
        self.endpoint.login(USER, &self.passwords.tidegate, DATABASE)
    }

    /// The same as a URL, with the socket's folder as the host.
    pub fn url(&self) -> Secret {
        self.url_of(USER, &self.passwords.tidegate)
    }

    /// The URL of the superuser, for programs that administer the server. Tidegate itself does not work as superuser,
    /// except in a cluster of an earlier version.
    pub fn superuser_url(&self) -> Secret {
        let (superuser, password) = self.passwords.superuser();
        self.url_of(superuser, password)
    }

    fn url_of(&self, user: &str, password: &Secret) -> Secret {
        let host = socket::url_host(&self.endpoint.folder);
        let port = self.endpoint.port;
        Secret::new(format!("postgres://{user}:{}@{host}:{port}/{DATABASE}?sslmode=disable", password.expose()))
    }

    /// A shell command line that opens `psql` on the database. It names the password file, not the password.
    pub fn psql_line(&self) -> String {
        let psql = match &self.psql {
            Some(path) if !binaries::is_on_path("psql") => shell_quoted(path),
            _ => "psql".to_owned(),
        };
        let passfile = shell_quoted(&self.home.password_path());
        let folder = shell_quoted(&self.endpoint.folder);
        format!("PGPASSFILE={passfile} {psql} -h {folder} -p {} -U {USER} -d {DATABASE}", self.endpoint.port)
    }

    /// Where people and BI tools reach the server over TCP, with a password.
    pub fn tcp_place(&self) -> TcpPlace {
        TcpPlace { host: LOOPBACK, port: self.endpoint.port, database: DATABASE }
    }

    /// The folder of the cluster. Not always below `data_dir`, which may contain a link.
    pub fn cluster_dir(&self) -> &Path {
        &self.home.cluster
    }

    /// Whether this process runs the server, rather than another Tidegate.
    pub const fn is_owner(&self) -> bool {
        self.owned.is_some()
    }

    /// Restarts the server on the same port whenever it exits. Ends when `cancel` fires or the server is stopped.
    pub async fn supervise(&self, cancel: &CancellationToken) {
        let Some(owned) = &self.owned else { return cancel.cancelled().await };
        let mut wait = RESTART_WAIT;
        let mut looks = 0_u32;
        while !owned.running().stopping {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = sleep(LOOK_EVERY) => looks = looks.wrapping_add(1),
            }
            let Some(status) = owned.death() else {
                if looks.is_multiple_of(LOOKS_PER_TRIM) {
                    postmaster::trim_log(&self.home);
                }
                continue;
            };
            tracing::error!(%status, log = %self.home.log_path().display(), "the embedded postgres exited, restarting it");
            match self.restart(owned, &|| cancel.is_cancelled() || owned.running().stopping).await {
                Ok(()) => {
                    tracing::info!(port = self.endpoint.port, "the embedded postgres is running again");
                    wait = RESTART_WAIT;
                }
                Err(Error::Cancelled) => return,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "the embedded postgres does not start");
                    tokio::select! {
                        () = cancel.cancelled() => return,
                        () = sleep(wait) => wait = (wait * 2).min(RESTART_WAIT_MAX),
                    }
                }
            }
        }
    }

    async fn restart(&self, owned: &Owned, cancelled: Cancelled<'_>) -> Result<(), Error> {
        let _turn = owned.restarting.lock().await;
        let password = &self.passwords.tidegate;
        let left = Postmaster::adopt_or_clear(&self.home, Some(password), cancelled).await?;
        if self.home.make_socket_folder()? != self.endpoint.folder {
            return Err(Error::SocketFolder { path: self.endpoint.folder.clone() });
        }
        let server = match left {
            Some(server) if server.port == self.endpoint.port => server,
            other => {
                if let Some(mut other) = other {
                    // Someone started a server here by hand; the pools of this process only know this process's port.
                    other.stop(&self.home.cluster).await;
                }
                Postmaster::launch(&self.home, &owned.bin, password, &self.endpoint, cancelled).await?
            }
        };
        owned.running().server = Some(server);
        Ok(())
    }

    /// Stops the server: fast, and by force after some seconds. Committed data is safe either way. Leaves a server of
    /// another Tidegate alone.
    pub async fn stop(&self) {
        let Some(owned) = &self.owned else { return };
        owned.running().stopping = true;
        let _turn = owned.restarting.lock().await;
        let server = owned.running().server.take();
        if let Some(mut server) = server {
            server.stop(&self.home.cluster).await;
        }
        owned.running().lock = None;
    }
}

impl Owned {
    /// The exit status of the server if it should be running and is not.
    fn death(&self) -> Option<String> {
        let mut running = self.running();
        if running.stopping {
            return None;
        }
        match &mut running.server {
            Some(server) => {
                let status = server.ended()?;
                running.server = None;
                Some(status)
            }
            None => Some("it could not be restarted".to_owned()),
        }
    }
}

async fn find_binaries(home: &DataDir, wanted: Option<u32>) -> Result<PgBin, Error> {
    let cache = home.room().parent().unwrap_or(home.room()).join(fetch::CACHE_NAME);
    let bin = fetch::find_or_fetch(&cache, wanted, home.user.as_ref()).await?;
    if let Some(cluster) = wanted
        && cluster != bin.major
    {
        let path = home.cluster.clone();
        return Err(Error::OtherVersion { path, cluster, binaries: bin.major, bin_dir: bin.dir });
    }
    if let Some(user) = &home.user
        && let Some(blocked_at) = user.blocked_at(&bin.dir)
    {
        return Err(Error::Unreachable { user: user.name.clone(), path: bin.dir, blocked_at });
    }
    Ok(bin)
}

async fn launch_on_a_free_port(
    home: &DataDir,
    bin: &PgBin,
    password: &Secret,
    folder: &Path,
    cancelled: Cancelled<'_>,
) -> Result<Postmaster, Error> {
    let mut choices = 0;
    loop {
        choices += 1;
        let port = home.choose_port()?;
        let endpoint = Endpoint { folder: folder.to_owned(), port };
        match Postmaster::launch(home, bin, password, &endpoint, cancelled).await {
            Err(Error::Exited { .. }) if !data_dir::port_is_free(port) && choices < PORT_CHOICES => {}
            launched_or_failed => return launched_or_failed,
        }
    }
}

/// `path` as one word of a POSIX shell.
fn shell_quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+@%".contains(&byte)) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_the_shell_only_where_they_must_be() {
        assert_eq!(shell_quoted(Path::new("/srv/tide-gate/pgpass")), "/srv/tide-gate/pgpass");
        assert_eq!(shell_quoted(Path::new("/home/o'neill/my data")), r"'/home/o'\''neill/my data'");
    }
}
