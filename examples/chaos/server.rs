//! A Postgres server under faults: restarted in every way, and without space on its disk.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener as PortFinder};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tidegate::postgres::binaries::PgBin;
use tidegate::postgres::{ServerUser, cluster, fetch, user};
use tidegate::secret::Secret;
use tidegate::store::migrations;

use super::disk;

/// A crash must not lose committed data, so the settings are durable.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    // Sessions of silent connections stay for a while.
    "max_connections=150",
    "shared_buffers=64MB",
    "autovacuum_naptime=1s",
    "restart_after_crash=on",
    // The log file is subject to the limit too: without statements it stays small enough.
    "log_min_error_statement=panic",
    "timezone=UTC",
    // Compiling a statement over the mart's views takes seconds.
    "jit=off",
];
/// WAL segments of the smallest size, so that a size limit never affects them.
const INITDB: &[&str] = &["--no-sync", "--wal-segsize=1"];
const START_WITHIN: Duration = Duration::from_mins(1);

/// How a server is stopped.
#[derive(Debug, Clone, Copy)]
pub enum Stop {
    /// Sessions are ended and transactions rolled back.
    Fast,
    /// Like a power failure: recovery follows.
    Immediate,
}

pub struct Server {
    bin: PgBin,
    user: Option<ServerUser>,
    path: PathBuf,
    log: File,
    log_path: PathBuf,
    port: u16,
    password: Secret,
    child: Option<Child>,
    /// How often it ended by itself.
    pub ended: u32,
}

impl Server {
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let user = ServerUser::choose(Path::new("/nonexistent"))?;
        let bin = fetch::find_or_fetch(&folder.join(fetch::CACHE_NAME), None, user.as_ref()).await?;
        user::give(folder, user.as_ref())?;
        let password = Secret::new("chaos");
        let path = folder.join("cluster");
        cluster::make(&path, &bin, user.as_ref(), &password, INITDB).await?;
        let log_path = folder.join("postgres.log");
        let log = OpenOptions::new().create(true).append(true).open(&log_path)?;
        let port = PortFinder::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut server = Self { bin, user, path, log, log_path, port, password, child: None, ended: 0 };
        server.launch().await?;
        Ok(server)
    }

    async fn launch(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(self.bin.program("postgres"));
        user::as_server(&mut command, self.user.as_ref());
        command
            .current_dir(&self.path)
            .arg("-D")
            .arg(&self.path)
            .args(["-p", &self.port.to_string()])
            .args(SETTINGS.iter().flat_map(|setting| ["-c", setting]))
            .stdin(Stdio::null())
            .stdout(self.log.try_clone()?)
            .stderr(self.log.try_clone()?);
        self.child = Some(command.spawn()?);
        self.ready().await
    }

    /// Waits until it accepts connections, after a start or a crash.
    async fn ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_WITHIN;
        while PgConnection::connect(&self.url("postgres")).await.is_err() {
            ensure!(Instant::now() < deadline, "the server does not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The URL of a database, without a faulty proxy.
    pub fn url(&self, database: &str) -> String {
        self.url_at(self.address(), database)
    }

    /// The URL of a database through the proxy at `address`.
    pub fn url_at(&self, address: SocketAddr, database: &str) -> String {
        format!("postgres://tidegate:{}@{address}/{database}?sslmode=disable", self.password.expose())
    }

    pub async fn create_database(&self, name: &str) -> anyhow::Result<()> {
        let mut admin = PgConnection::connect(&self.url("postgres")).await?;
        sqlx::query(AssertSqlSafe(format!("create database {name}"))).execute(&mut admin).await?;
        Ok(admin.close().await?)
    }

    /// For a while, every new session of a database is read-only, as after a failover to a replica; existing sessions
    /// are ended. Sessions of that time stay read-only to their end.
    pub async fn only_read(&self, database: &str, length: Duration) -> anyhow::Result<()> {
        let mut admin = PgConnection::connect(&self.url("postgres")).await?;
        let reads = format!("alter database {database} set default_transaction_read_only = on");
        sqlx::query(AssertSqlSafe(reads)).execute(&mut admin).await?;
        end_sessions(&mut admin, database).await?;
        tokio::time::sleep(length).await;
        let writes = format!("alter database {database} reset default_transaction_read_only");
        sqlx::query(AssertSqlSafe(writes)).execute(&mut admin).await?;
        Ok(admin.close().await?)
    }

    /// Copies a database and ends its sessions.
    pub async fn copy_database(&self, from: &str, to: &str) -> anyhow::Result<()> {
        let mut admin = PgConnection::connect(&self.url("postgres")).await?;
        // Sessions take a moment to end, and a daemon that was just killed may have been opening one.
        let copy = format!("create database {to} template {from}");
        let deadline = Instant::now() + START_WITHIN;
        loop {
            end_sessions(&mut admin, from).await?;
            match sqlx::query(AssertSqlSafe(copy.clone())).execute(&mut admin).await {
                Ok(_) => break,
                Err(error) => ensure!(Instant::now() < deadline, "the database cannot be copied: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(admin.close().await?)
    }

    /// Replaces a database by another one; the old one is lost.
    pub async fn replace_database(&self, name: &str, by: &str) -> anyhow::Result<()> {
        let mut admin = PgConnection::connect(&self.url("postgres")).await?;
        for sql in [format!("drop database {name} with (force)"), format!("alter database {by} rename to {name}")] {
            sqlx::query(AssertSqlSafe(sql)).execute(&mut admin).await?;
        }
        Ok(admin.close().await?)
    }

    pub fn stop(&mut self, how: Stop) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let signal = match how {
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
        };
        kill_process(pid(&child)?, signal)?;
        child.wait()?;
        Ok(())
    }

    pub async fn restart(&mut self, how: Stop, away: Duration) -> anyhow::Result<()> {
        self.stop(how)?;
        tokio::time::sleep(away).await;
        self.launch().await
    }

    /// Starts it again if it has ended by itself, as a supervisor would.
    pub async fn look(&mut self) -> anyhow::Result<()> {
        if let Some(child) = &mut self.child
            && child.try_wait()?.is_some()
        {
            self.ended += 1;
            self.launch().await?;
        }
        self.ready().await
    }

    /// Leaves most of every page of a table empty, so that tables are large enough for [`disk`].
    pub async fn spread_rows(&self, database: &str) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect(&self.url(database)).await?;
        let alter = "select format('alter table %s set (fillfactor = 10)', oid::regclass) from pg_class
            where relkind = 'r' and relnamespace::regnamespace::text = any($1)";
        let schemas: Vec<String> = migrations::schemas().into_iter().map(|schema| schema.name).collect();
        let statements: Vec<String> = sqlx::query_scalar(alter).bind(schemas).fetch_all(&mut connection).await?;
        sqlx::raw_sql(AssertSqlSafe(statements.join(";"))).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }

    /// Counts the log lines about writes that the limit refused.
    pub fn writes_refused(&self) -> anyhow::Result<usize> {
        let log = std::fs::read_to_string(&self.log_path)?;
        let refused = |line: &&str| {
            line.contains("could not extend file")
                || line.contains("could not write") && (line.contains("File too large") || line.contains("wrote only"))
        };
        Ok(log.lines().filter(refused).count())
    }

    /// Leaves its disk without space for a while.
    pub async fn fill_disk(&mut self, length: Duration) -> anyhow::Result<()> {
        let postmaster = pid(self.child.as_ref().context("it is stopped")?)?;
        disk::fill(postmaster, self.user.as_ref())?;
        tokio::time::sleep(length).await;
        disk::free(postmaster, self.user.as_ref())?;
        self.look().await
    }
}

async fn end_sessions(admin: &mut PgConnection, database: &str) -> Result<(), sqlx::Error> {
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1";
    sqlx::query(end).bind(database).execute(admin).await?;
    Ok(())
}

fn pid(child: &Child) -> anyhow::Result<Pid> {
    Pid::from_raw(child.id().try_into()?).context("a process id")
}

impl Drop for Server {
    fn drop(&mut self) {
        // The cluster is not used again.
        let _ = self.stop(Stop::Immediate);
    }
}
