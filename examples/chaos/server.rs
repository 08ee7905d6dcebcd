//! A Postgres server that is mistreated: restarted in every way, and reached through a line that can be bad.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener as PortFinder};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tidegate::postgres::binaries::{self, PgBin, Places};
use tidegate::postgres::{ServerUser, cluster, user};
use tidegate::secret::Secret;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A crash must cost nothing that was committed, so the settings are durable ones.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=60",
    "shared_buffers=64MB",
    "autovacuum_naptime=1s",
    "restart_after_crash=on",
    "timezone=UTC",
];
const START_WITHIN: Duration = Duration::from_mins(1);

/// How a server is stopped.
#[derive(Debug, Clone, Copy)]
pub enum Stop {
    /// Sessions are ended, transactions rolled back.
    Fast,
    /// As if the power had failed: recovery follows.
    Immediate,
}

pub struct Server {
    bin: PgBin,
    user: Option<ServerUser>,
    path: PathBuf,
    log: File,
    port: u16,
    password: Secret,
    child: Option<Child>,
}

impl Server {
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let bin = binaries::find(&Places::of_this_machine().await, None).await?.context("no Postgres programs")?;
        let user = ServerUser::choose(Path::new("/nonexistent"))?;
        user::give(folder, user.as_ref())?;
        let password = Secret::new("chaos");
        let path = folder.join("cluster");
        cluster::make(&path, &bin, user.as_ref(), &password, &["--no-sync"]).await?;
        let log = OpenOptions::new().create(true).append(true).open(folder.join("postgres.log"))?;
        let port = PortFinder::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut server = Self { bin, user, path, log, port, password, child: None };
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

    /// Where a database is, on the good line.
    pub fn url(&self, database: &str) -> String {
        self.url_at(self.address(), database)
    }

    /// Where a database is, on the line at `address`.
    pub fn url_at(&self, address: SocketAddr, database: &str) -> String {
        format!("postgres://tidegate:{}@{address}/{database}?sslmode=disable", self.password.expose())
    }

    pub async fn create_database(&self, name: &str) -> anyhow::Result<()> {
        let mut admin = PgConnection::connect(&self.url("postgres")).await?;
        sqlx::query(AssertSqlSafe(format!("create database {name}"))).execute(&mut admin).await?;
        Ok(admin.close().await?)
    }

    pub fn stop(&mut self, how: Stop) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let signal = match how {
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
        };
        let pid = Pid::from_raw(child.id().try_into()?).context("a process id")?;
        kill_process(pid, signal)?;
        child.wait()?;
        Ok(())
    }

    pub async fn restart(&mut self, how: Stop, away: Duration) -> anyhow::Result<()> {
        self.stop(how)?;
        tokio::time::sleep(away).await;
        self.launch().await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nobody will read the cluster again.
        let _ = self.stop(Stop::Immediate);
    }
}

/// A line to a server that can be slow, and break.
pub struct Line {
    address: SocketAddr,
    delay_ms: Arc<AtomicU64>,
    breaks: watch::Sender<u64>,
}

impl Line {
    pub async fn to(server: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (breaks, _) = watch::channel(0);
        let delay_ms = Arc::<AtomicU64>::default();
        let (sender, delay) = (breaks.clone(), Arc::clone(&delay_ms));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (mut broken, delay) = (sender.subscribe(), Arc::clone(&delay));
                tokio::spawn(async move {
                    tokio::select! {
                        () = carry(near, server, &delay) => {}
                        _ = broken.changed() => {}
                    }
                });
            }
        });
        Ok(Self { address, delay_ms, breaks })
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on every connection that is made, and every burst of it, takes so much longer.
    pub fn slow(&self, delay: Duration) {
        self.delay_ms.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Every connection that is there ends at once, in the middle of whatever it carries.
    pub fn cut(&self) {
        self.breaks.send_modify(|count| *count += 1);
    }
}

async fn carry(near: TcpStream, server: SocketAddr, delay: &AtomicU64) {
    let wait = || Duration::from_millis(delay.load(Ordering::Relaxed));
    tokio::time::sleep(wait()).await;
    let Ok(far) = TcpStream::connect(server).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let mut near = Slow { stream: near, delay, pause: None };
    let mut far = far;
    let _ = copy_bidirectional(&mut near, &mut far).await;
}

/// Reads after a pause.
struct Slow<'a> {
    stream: TcpStream,
    delay: &'a AtomicU64,
    pause: Option<std::pin::Pin<Box<tokio::time::Sleep>>>,
}

impl tokio::io::AsyncRead for Slow<'_> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let this = &mut *self;
        if let Some(pause) = &mut this.pause {
            std::task::ready!(pause.as_mut().poll(cx));
            this.pause = None;
        }
        let read = std::task::ready!(std::pin::Pin::new(&mut this.stream).poll_read(cx, buffer));
        let delay = this.delay.load(Ordering::Relaxed);
        if delay > 0 {
            this.pause = Some(Box::pin(tokio::time::sleep(Duration::from_millis(delay))));
        }
        std::task::Poll::Ready(read)
    }
}

impl tokio::io::AsyncWrite for Slow<'_> {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
