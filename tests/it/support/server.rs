//! The Postgres server that all tests of a run share.
//!
//! The first available of: `TEST_DATABASE_URL`; a private server, started by the first test of a run and shared by all
//! test processes; the same in a container, if the Postgres programs are missing and cannot be obtained but there is a
//! Docker engine. [`super::reaper`] stops a started server a few seconds after its last user has ended, and the next
//! run creates a new one: it runs without fsync, so its data is worthless after a crash.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection};
use tidegate::postgres::binaries::{self, PgBin};
use tidegate::postgres::{ServerUser, cluster, user};
use tidegate::secret::Secret;
use url::Url;

use super::{clock, container, programs, reaper};

/// Test settings: a commit need not survive a power loss, and many databases are used at once.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_connections=300",
    "shared_buffers=128MB",
    "autovacuum=off",
    // `drop database` waits for every login in progress, so a stalled login must not stall everything.
    "authentication_timeout=20s",
    "jit=off",
    "timezone=UTC",
    "log_timezone=UTC",
];
const START_WITHIN: Duration = Duration::from_mins(1);

/// A server used by this process.
#[derive(Debug)]
pub struct Server {
    /// The URL of its maintenance database, as superuser.
    pub url: Url,
    /// A lock shared by all users of a started server; the system releases it when this process ends.
    _in_use: Option<File>,
}

/// What the process that starts the server tells the others.
#[derive(Debug, Serialize, Deserialize)]
pub struct Made {
    pub url: Url,
    /// A command for `sh` that stops the server and removes its files.
    pub stop: String,
    pub reaper_pid: u32,
}

/// The server of this run. The first call in a process waits for it.
pub fn shared() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        // A separate thread, since the caller may be inside any kind of runtime.
        let found = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(find_or_make())
        });
        found.join().unwrap().unwrap_or_else(|error| panic!("no Postgres for the tests: {error:#}"))
    })
}

async fn find_or_make() -> Result<Server> {
    if let Ok(url) = std::env::var("TEST_DATABASE_URL") {
        let url = url.parse().context("TEST_DATABASE_URL is not a URL")?;
        return Ok(Server { url, _in_use: None });
    }
    let user = ServerUser::choose(Path::new("/nonexistent"))?;
    let room = room(user.as_ref())?;
    // One process at a time checks, and starts the server if there is none.
    let turn = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(room.join("turn"))?;
    turn.lock()?;
    let in_use = reaper::use_room(&room)?;

    let note = room.join("server.json");
    if let Some(mut made) = read_note(&note)
        && responds(&made.url).await
    {
        if !reaper::is_there(made.reaper_pid) {
            made.reaper_pid = reaper::start(&room, &made.stop)?;
            fs::write(&note, serde_json::to_vec(&made)?)?;
        }
        return Ok(Server { url: made.url, _in_use: Some(in_use) });
    }
    let (url, stop) = make(&room, user.as_ref()).await?;
    let reaper_pid = reaper::start(&room, &stop)?;
    let made = Made { url, stop, reaper_pid };
    fs::write(&note, serde_json::to_vec(&made)?)?;
    Ok(Server { url: made.url, _in_use: Some(in_use) })
}

/// A folder below `target`, or below the system's temporary folder if the server's user cannot reach that. Processes
/// with a shifted clock have their own server.
fn room(user: Option<&ServerUser>) -> Result<PathBuf> {
    let name = std::env::var("FAKETIME").map_or_else(|_| "postgres".to_owned(), |shift| format!("postgres-at{shift}"));
    let below_target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&below_target)?;
    if user.is_none_or(|user| user.blocked_at(&below_target).is_none()) {
        return Ok(below_target);
    }
    let key = xxhash_rust::xxh3::xxh3_64(below_target.as_os_str().as_encoded_bytes());
    let room = std::env::temp_dir().join(format!("tidegate-test-{key:016x}"));
    DirBuilder::new().recursive(true).mode(0o711).create(&room)?;
    if fs::metadata(&room)?.uid() != rustix::process::geteuid().as_raw() {
        bail!("{} belongs to someone else; remove it", room.display());
    }
    Ok(room)
}

async fn make(room: &Path, user: Option<&ServerUser>) -> Result<(Url, String)> {
    let missing = match programs::find_or_fetch(user).await {
        Ok(bin) => return make_cluster(room, &bin, user).await,
        Err(error @ binaries::Error::Missing { .. }) => error,
        Err(error) => return Err(error.into()),
    };
    match container::make().await {
        Ok(made) => Ok(made),
        Err(error) => {
            bail!("{missing}; TEST_DATABASE_URL is not set, and a container was not possible either: {error:#}")
        }
    }
}

async fn make_cluster(room: &Path, bin: &PgBin, user: Option<&ServerUser>) -> Result<(Url, String)> {
    for leftover in fs::read_dir(room)?.filter_map(Result::ok).map(|entry| entry.path()) {
        if leftover.is_dir() {
            stop_leftover(&leftover);
            fs::remove_dir_all(&leftover)?;
        }
    }
    let password = Secret::new(hex::encode(rand::random::<[u8; 16]>()));
    // A new name each time, so that an old server that still runs cannot interfere.
    let path = room.join(format!("cluster-{:08x}", rand::random::<u32>()));
    cluster::make(&path, bin, user, &password, &["--no-sync"]).await?;

    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let log = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(room.join("server.log"))?;
    let mut command = Command::new(bin.program("postgres"));
    user::as_server(&mut command, user);
    command
        .envs(clock::shift())
        .current_dir(&path)
        .arg("-D")
        .arg(&path)
        .args(["-p", &port.to_string()])
        .args(SETTINGS.iter().flat_map(|setting| ["-c", setting]))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let mut child = command.spawn()?;
    let url: Url =
        format!("postgres://tidegate:{}@127.0.0.1:{port}/postgres?sslmode=disable", password.expose()).parse()?;
    let deadline = Instant::now() + START_WITHIN;
    while !responds(&url).await {
        if Instant::now() > deadline || child.try_wait()?.is_some() {
            drop(child.kill());
            bail!("the server did not start: {}", fs::read_to_string(room.join("server.log")).unwrap_or_default());
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    // An immediate shutdown, since the cluster is not used again.
    let stop = format!("kill -QUIT {}; sleep 1; rm -rf '{}'", child.id(), path.display());
    Ok((url, stop))
}

/// Stops the server of a cluster without users (this process has the lock), in case its reaper was killed.
fn stop_leftover(path: &Path) {
    let pid = fs::read_to_string(path.join("postmaster.pid")).ok().and_then(|text| text.lines().next()?.parse().ok());
    let works_there = |pid: &i32| {
        fs::read_link(format!("/proc/{pid}/cwd"))
            .is_ok_and(|folder| path.canonicalize().is_ok_and(|path| path == folder))
    };
    if let Some(pid) = pid.filter(works_there).and_then(rustix::process::Pid::from_raw) {
        rustix::process::kill_process(pid, rustix::process::Signal::QUIT).ok();
    }
}

pub async fn responds(url: &Url) -> bool {
    let connecting = tokio::time::timeout(Duration::from_secs(5), PgConnection::connect(url.as_str())).await;
    match connecting {
        Ok(Ok(connection)) => connection.close().await.is_ok(),
        Ok(Err(_)) | Err(_) => false,
    }
}

fn read_note(path: &Path) -> Option<Made> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}
