//! The data folder of the embedded Postgres and the small files in it.
//!
//! | file | holds |
//! |---|---|
//! | `lock` | the process id of the Tidegate that runs the server, locked while it does |
//! | `pgpass` | the passwords, in the form that `psql` reads (mode 0600) |
//! | `port` | the port of the last start |
//! | `socket` | the folder of the server's socket, if it cannot be in the cluster's own folder |
//! | `server.log` | the server's log; emptied when it grows too large |
//! | `cluster` | the cluster, or a link to it if the server's user cannot enter this folder |

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::RngExt as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::time::sleep;

use super::{Error, ServerUser, files};
use crate::secret::Secret;

/// The role that Tidegate works as. In clusters of earlier versions it is the superuser.
pub(super) const USER: &str = "tidegate";
/// The superuser of a cluster that this version makes.
pub(super) const SUPERUSER: &str = "postgres";
pub(super) const DATABASE: &str = "tidegate";

/// The host in a line of the password file: any, since `psql` compares it with the socket's folder.
const ANY_HOST: &str = "*";
/// The only address on which the server listens; earlier versions wrote it into the password file.
pub(super) const LOOPBACK: &str = "127.0.0.1";

/// Where clusters and programs are kept if the server's user cannot enter root's data folder.
pub(super) const ROOM_ELSEWHERE: &str = "/var/lib/tidegate";
/// How long a start waits for the lock, which a short command such as `status` may hold.
const LOCK_WITHIN: Duration = Duration::from_secs(5);
/// Below the ports that systems use for outgoing connections, so that the port is free again at the next start.
const PORTS: std::ops::RangeInclusive<u16> = 20_000..=32_000;
const PORT_TRIES: u32 = 100;
const LOG_BYTES_MAX: u64 = 8 * 1024 * 1024;
const LOG_TAIL_BYTES: u64 = 2 * 1024;

/// The resolved data folder.
#[derive(Debug, Clone)]
pub(super) struct DataDir {
    /// `embedded.data_dir`, absolute.
    pub dir: PathBuf,
    /// The path of the cluster. The server's user can enter its parent.
    pub cluster: PathBuf,
    /// The user that the server runs as, if Tidegate runs as root.
    pub user: Option<ServerUser>,
}

/// The passwords of a cluster's roles.
#[derive(Debug, Clone)]
pub(super) struct Passwords {
    /// Of the role `tidegate`.
    pub tidegate: Secret,
    /// Of the role `postgres`. `None` for a cluster of an earlier version, whose superuser is `tidegate`.
    pub superuser: Option<Secret>,
}

impl Passwords {
    /// New random passwords.
    pub(crate) fn random(with_superuser: bool) -> Self {
        let random = || Secret::new(hex::encode(rand::random::<[u8; 24]>()));
        Self { tidegate: random(), superuser: with_superuser.then(random) }
    }

    /// Name and password of the superuser.
    pub(crate) fn superuser(&self) -> (&'static str, &Secret) {
        self.superuser.as_ref().map_or((USER, &self.tidegate), |password| (SUPERUSER, password))
    }
}

/// Where the server listens for Tidegate's connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// The folder of the socket.
    pub folder: PathBuf,
    /// Part of the socket's name, and the TCP port.
    pub port: u16,
}

impl Endpoint {
    /// Connection options for `user`. Sets every value that could come from a `PG*` variable, except `PGOPTIONS`: see
    /// [`super::environment`].
    pub(crate) fn login(&self, user: &str, password: &Secret, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.folder)
            .port(self.port)
            .username(user)
            .password(password.expose())
            .database(database)
            .ssl_mode(PgSslMode::Disable)
            .application_name("tidegate")
    }
}

impl DataDir {
    /// The existing folder; creates nothing. Follows a link named `cluster` if root or this user created it.
    pub(crate) fn at(data_dir: &Path) -> Result<Self, Error> {
        let dir = std::path::absolute(data_dir).map_err(Error::io("resolve", data_dir))?;
        let mut cluster = dir.join("cluster");
        if let Ok(target) = fs::read_link(&cluster) {
            let owner = fs::symlink_metadata(&cluster).map_err(Error::io("look at", &cluster))?.uid();
            if owner != 0 && owner != rustix::process::geteuid().as_raw() {
                return Err(Error::ForeignLink { path: cluster });
            }
            cluster = dir.join(target);
        }
        Ok(Self { dir, cluster, user: None })
    }

    /// The folder, created if missing, with a place for the cluster that the server's user can enter.
    pub(crate) fn prepare(data_dir: &Path) -> Result<Self, Error> {
        let mut home = Self::at(data_dir)?;
        home.user = ServerUser::choose(&home.cluster)?;
        // Only root's folder is opened for traversal: the server's user must reach the cluster inside.
        let mode = if home.user.is_some() { 0o711 } else { 0o700 };
        let parent = home.dir.parent().unwrap_or(&home.dir);
        fs::create_dir_all(parent).map_err(Error::io("make", parent))?;
        if !home.dir.is_dir() {
            DirBuilder::new().mode(mode).create(&home.dir).map_err(Error::io("make", &home.dir))?;
        }
        home.find_room()?;
        Ok(home)
    }

    fn find_room(&mut self) -> Result<(), Error> {
        let Some(user) = &self.user else { return Ok(()) };
        let room = self.cluster.parent().unwrap_or(&self.dir).to_owned();
        let Some(blocked_at) = user.blocked_at(&room) else { return Ok(()) };
        let unreachable = Error::Unreachable { user: user.name.clone(), path: room, blocked_at };
        if self.cluster.exists() || self.dir.join("cluster").is_symlink() {
            return Err(unreachable);
        }
        let room = Path::new(ROOM_ELSEWHERE).join(format!("{:016x}", rand::random::<u64>()));
        let made = DirBuilder::new().recursive(true).mode(0o711).create(&room);
        if made.is_err() || user.blocked_at(&room).is_some() {
            return Err(unreachable);
        }
        tracing::info!(
            data_dir = %self.dir.display(), cluster = %room.display(), user = user.name,
            "the server's user cannot enter the data folder, the cluster is kept elsewhere"
        );
        self.cluster = room.join("cluster");
        let link = self.dir.join("cluster");
        symlink(&self.cluster, &link).map_err(Error::io("make the link", link))
    }

    /// The folder that contains the cluster.
    pub(crate) fn room(&self) -> &Path {
        self.cluster.parent().unwrap_or(&self.dir)
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    pub(crate) fn password_path(&self) -> PathBuf {
        self.dir.join("pgpass")
    }

    fn lock_path(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// The process that holds the lock, or held it last, if its file says so.
    fn holder(&self) -> Option<u32> {
        files::read(&self.lock_path()).ok().flatten()?.trim().parse().ok()
    }

    /// The error of a server that another Tidegate runs and that does not respond.
    pub(crate) fn silent(&self) -> Error {
        Error::Silent { dir: self.dir.clone(), pid: self.holder(), log: self.log_path() }
    }

    /// The lock held by the Tidegate that runs the server. The system releases it when the process ends.
    pub(crate) async fn lock(&self) -> Result<File, Error> {
        let path = self.lock_path();
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let mut file = files::open(&path, &mut options, true)?;
        let deadline = Instant::now() + LOCK_WITHIN;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(Error::Io { doing: "lock", path, source }),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(super::process::POLL).await,
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::Busy { dir: self.dir.clone(), pid: self.holder() });
                }
            }
        }
        // For the error message of another process; the lock itself needs no content.
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(Error::io("write", &path))?;
        Ok(file)
    }

    /// The current passwords, if the file contains that of `tidegate`.
    pub(crate) fn passwords(&self) -> Result<Option<Passwords>, Error> {
        let Some(text) = files::read(&self.password_path())? else { return Ok(None) };
        let of = |user: &str| {
            [ANY_HOST, LOOPBACK]
                .iter()
                .find_map(|host| text.lines().find_map(|line| line.strip_prefix(&format!("{host}:*:*:{user}:"))))
                .filter(|password| !password.is_empty())
                .map(Secret::from)
        };
        Ok(of(USER).map(|tidegate| Passwords { tidegate, superuser: of(SUPERUSER) }))
    }

    /// Writes the passwords durably before anything depends on them.
    pub(crate) fn keep_passwords(&self, passwords: &Passwords) -> Result<(), Error> {
        let line = |user: &str, password: &Secret| format!("{ANY_HOST}:*:*:{user}:{}\n", password.expose());
        let superuser = passwords.superuser.as_ref().map(|password| line(SUPERUSER, password));
        let text = line(USER, &passwords.tidegate) + &superuser.unwrap_or_default();
        if files::read(&self.password_path())?.is_some_and(|kept| kept == text) {
            return Ok(());
        }
        files::replace(&self.password_path(), &text)
    }

    /// The port of the last start, as recorded.
    pub(crate) fn last_port(&self) -> Result<Option<u16>, Error> {
        Ok(files::read(&self.dir.join("port"))?.and_then(|text| text.trim().parse().ok()))
    }

    /// The port of the last start if it is free, otherwise another free one.
    pub(crate) fn choose_port(&self) -> Result<u16, Error> {
        let mut rng = rand::rng();
        let random = std::iter::repeat_with(|| rng.random_range(PORTS)).take(PORT_TRIES as usize);
        if let Some(port) = self.last_port()?.into_iter().chain(random).find(|port| port_is_free(*port)) {
            return Ok(port);
        }
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .map(|address| address.port())
            .map_err(Error::io("find a free port for", &self.dir))
    }

    pub(crate) fn remember_port(&self, port: u16) -> Result<(), Error> {
        files::replace(&self.dir.join("port"), &format!("{port}\n"))
    }

    /// The server's log, opened for appending, and emptied if it has grown.
    pub(crate) fn open_log(&self) -> Result<File, Error> {
        let path = self.log_path();
        let log = files::open(&path, OpenOptions::new().create(true).append(true).mode(0o600), true)?;
        trim(&log).map_err(Error::io("shorten", &path))?;
        Ok(log)
    }

    /// The last lines that the server wrote after byte `from`, on one line.
    pub(crate) fn log_tail(&self, from: u64) -> String {
        let path = self.log_path();
        let mut file = match files::open(&path, OpenOptions::new().read(true), false) {
            Ok(file) => file,
            Err(error) => return format!("(unreadable: {error})"),
        };
        let mut read = || -> std::io::Result<String> {
            let length = file.metadata()?.len();
            file.seek(std::io::SeekFrom::Start(from.min(length).max(length.saturating_sub(LOG_TAIL_BYTES))))?;
            let mut bytes = Vec::new();
            (&file).take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok(one_line(&String::from_utf8_lossy(&bytes)))
        };
        read().unwrap_or_else(|error| format!("(unreadable: {error})"))
    }
}

/// Empties the log when it is too long. The server appends, so it continues at the new end.
pub(super) fn trim(log: &File) -> std::io::Result<()> {
    if log.metadata()?.len() > LOG_BYTES_MAX { log.set_len(0) } else { Ok(()) }
}

/// The output of a program, for the end of a one-line message.
pub(super) fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { "(nothing)".to_owned() } else { lines.join(" | ") }
}

pub(super) fn port_is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn home() -> (tempfile::TempDir, DataDir) {
        let root = tempfile::tempdir().unwrap();
        let home = DataDir { dir: root.path().to_owned(), cluster: root.path().join("cluster"), user: None };
        (root, home)
    }

    #[test]
    fn a_password_file_is_private_and_read_back() {
        let (_root, home) = home();
        assert!(home.passwords().unwrap().is_none());
        let made = Passwords::random(true);
        home.keep_passwords(&made).unwrap();
        let read = home.passwords().unwrap().unwrap();
        assert_eq!(read.tidegate.expose(), made.tidegate.expose());
        assert_eq!(read.superuser.unwrap().expose(), made.superuser.unwrap().expose());
        let mode = fs::metadata(home.password_path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_password_file_of_an_earlier_version_is_read_and_written_for_any_host() {
        let (_root, home) = home();
        fs::write(home.password_path(), "127.0.0.1:*:*:tidegate:0ld\n").unwrap();
        let read = home.passwords().unwrap().unwrap();
        assert_eq!(read.tidegate.expose(), "0ld");
        assert_eq!(read.superuser().0, "tidegate", "it is the superuser there");
        home.keep_passwords(&read).unwrap();
        assert_eq!(fs::read_to_string(home.password_path()).unwrap(), "*:*:*:tidegate:0ld\n");
    }

    #[test]
    fn the_last_port_is_used_again_if_it_is_free() {
        let (_root, home) = home();
        let port = home.choose_port().unwrap();
        home.remember_port(port).unwrap();
        assert_eq!(home.choose_port().unwrap(), port);
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert_ne!(home.choose_port().unwrap(), port);
    }

    #[test]
    fn the_tail_of_the_log_is_short_and_on_one_line() {
        let (_root, home) = home();
        assert!(home.log_tail(0).contains("unreadable"));
        fs::write(home.log_path(), format!("{}\nFATAL:  first\n\nHINT:  second\n", "x".repeat(5_000))).unwrap();
        assert_eq!(home.log_tail(5_001), "FATAL:  first | HINT:  second");
        assert!(home.log_tail(0).len() < 3_000);
    }

    #[test]
    fn a_log_that_has_grown_is_emptied() {
        let (_root, home) = home();
        File::create(home.log_path()).unwrap().set_len(LOG_BYTES_MAX + 1).unwrap();
        assert_eq!(home.open_log().unwrap().metadata().unwrap().len(), 0);
    }
}
