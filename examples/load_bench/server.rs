//! The benchmark's own Postgres with ordinary durable settings, and its resource usage.

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::ensure;
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tidegate::postgres::binaries::PgBin;
use tidegate::postgres::{ServerUser, cluster, fetch, user};
use tidegate::secret::Secret;

use crate::process::cpu_of_family;

const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=on",
    "synchronous_commit=on",
    "shared_buffers=1GB",
    "max_wal_size=4GB",
    "timezone=UTC",
];
const PASSWORD: &str = "benchmark";
const START_WITHIN: Duration = Duration::from_mins(1);

pub struct Server {
    bin: PgBin,
    port: u16,
    child: Child,
}

/// The server's usage up to a point in time.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    pub cpu: Duration,
    pub wal_bytes: u64,
}

impl Server {
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let user = ServerUser::choose(Path::new("/nonexistent"))?;
        let bin = fetch::find_or_fetch(&folder.join(fetch::CACHE_NAME), None, user.as_ref()).await?;
        user::give(folder, user.as_ref())?;
        let path = folder.join("cluster");
        cluster::make(&path, &bin, user.as_ref(), &Secret::new(PASSWORD), &[]).await?;
        let log = OpenOptions::new().create(true).append(true).open(folder.join("postgres.log"))?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut command = Command::new(bin.program("postgres"));
        user::as_server(&mut command, user.as_ref());
        command
            .current_dir(&path)
            .arg("-D")
            .arg(&path)
            .args(["-p", &port.to_string()])
            .args(SETTINGS.iter().flat_map(|setting| ["-c", setting]))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let server = Self { bin, port, child: command.spawn()? };
        let deadline = Instant::now() + START_WITHIN;
        while server.connect("postgres").await.is_err() {
            ensure!(Instant::now() < deadline, "the server does not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(server)
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://tidegate:{PASSWORD}@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    pub async fn connect(&self, database: &str) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect(&self.url(database)).await?)
    }

    pub async fn execute(&self, database: &str, sql: &str) -> anyhow::Result<()> {
        let mut connection = self.connect(database).await?;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }

    pub async fn scalar(&self, database: &str, sql: &str) -> anyhow::Result<i64> {
        let mut connection = self.connect(database).await?;
        let response = sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(response)
    }

    /// A psql command without instructions.
    pub fn psql(&self, database: &str) -> Command {
        let beside = self.bin.program("psql");
        let mut command = Command::new(if beside.is_file() { beside } else { PathBuf::from("psql") });
        command.args(["-qX", "-v", "ON_ERROR_STOP=1"]).arg(self.url(database)).stdin(Stdio::null());
        command
    }

    /// Includes processes that have ended.
    pub async fn used(&self) -> anyhow::Result<Used> {
        let wal = self.scalar("postgres", "select (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint").await?;
        Ok(Used { cpu: cpu_of_family(self.child.id())?, wal_bytes: u64::try_from(wal)? })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The cluster is not used again.
        if let Some(pid) = self.child.id().try_into().ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::QUIT);
        }
        let _ = self.child.wait();
    }
}
