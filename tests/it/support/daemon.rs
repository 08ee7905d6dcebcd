//! The real daemon and the real commands, with the configuration of a [`World`].

use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::{World, clock, eventually, programs};

/// Time limit on a busy machine for something that usually takes a moment.
pub const SOON: Duration = Duration::from_secs(30);

/// `tidegate` in `folder`, with this process's time and Postgres programs, otherwise only with the environment `env`,
/// and with its output piped.
pub fn tidegate(folder: &Path, env: &[(&str, &str)], args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command
        .args(args)
        .current_dir(folder)
        .env_clear()
        .envs(clock::shift())
        .envs(programs::env())
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs a command with the world's configuration to its end.
pub async fn command(world: &World, env: &[(&str, &str)], args: &[&str]) -> Output {
    let config = world.config_path();
    let args = [&["--config", config.to_str().unwrap()], args].concat();
    tidegate(world.folder.path(), env, &args).output().await.unwrap()
}

/// A separate `tidegate run`; killed when dropped.
pub struct Daemon {
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
    address: String,
}

impl Daemon {
    /// Starts it and waits until its status port listens.
    pub async fn start(world: &World) -> Self {
        Self::start_with(world, &[]).await
    }

    pub async fn start_with(world: &World, env: &[(&str, &str)]) -> Self {
        let config = world.config_path();
        let child = tidegate(world.folder.path(), env, &["--config", config.to_str().unwrap(), "run"]).spawn().unwrap();
        let mut daemon = Self::watch(child);
        let begun = Instant::now();
        loop {
            let said = daemon.said();
            if let Some(address) = said.lines().find(|line| line.contains("daemon started")).and_then(address) {
                daemon.address = address;
                return daemon;
            }
            let ended = daemon.child.try_wait().unwrap();
            assert!(ended.is_none() && begun.elapsed() < SOON, "no daemon: {ended:?} {said}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Collects the output of a process.
    pub fn watch(mut child: Child) -> Self {
        let said = Arc::<Mutex<Vec<u8>>>::default();
        let readers = vec![
            gather(child.stdout.take().unwrap(), Arc::clone(&said)),
            gather(child.stderr.take().unwrap(), Arc::clone(&said)),
        ];
        Self { child, said, readers, address: String::new() }
    }

    /// The output so far, of standard output and standard error.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    /// Waits until the output contains `words`.
    pub async fn says(&self, words: &str) {
        eventually(SOON, async || self.said().contains(words).then_some(())).await;
    }

    pub fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Its resident memory.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// The address of its status port.
    pub fn address(&self) -> SocketAddr {
        self.address.parse().unwrap()
    }

    /// Status and body of a page of its status port.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.address);
        let response = tidegate::http::client().unwrap().get(url).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub async fn status(&self) -> Value {
        let (status, text) = self.get("/status.json").await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The value of one line of its metrics, such as `tidegate_up`, labels included; `None` if the line is missing.
    pub async fn metric(&self, line: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics").await;
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '))?;
        value.parse().ok()
    }

    /// Sends SIGTERM. Returns its exit status, how long the exit took, and all its output.
    pub async fn terminate(self) -> (ExitStatus, Duration, String) {
        self.end(Signal::TERM).await
    }

    /// Sends SIGKILL.
    pub async fn kill(self) -> String {
        self.end(Signal::KILL).await.2
    }

    pub async fn end(mut self, signal: Signal) -> (ExitStatus, Duration, String) {
        self.signal(signal);
        let begun = Instant::now();
        let status = tokio::time::timeout(SOON, self.child.wait()).await.expect("it ends").unwrap();
        let took = begun.elapsed();
        for reader in self.readers.drain(..) {
            // A process that it left behind may keep the pipe open, which other tests check.
            let _ = tokio::time::timeout(Duration::from_secs(2), reader).await;
        }
        (status, took, self.said())
    }
}

/// The first loopback address in a line.
fn address(line: &str) -> Option<String> {
    let from = line.find("127.0.0.1:")?;
    Some(line[from..].chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect())
}

fn gather(mut pipe: impl AsyncRead + Unpin + Send + 'static, said: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
            said.lock().unwrap().extend_from_slice(&buffer[..length]);
        }
    })
}
