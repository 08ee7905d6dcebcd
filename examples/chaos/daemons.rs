//! The daemons that are killed, suspended and resumed; their output and their memory.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{disk, shift};

/// Longer than the ten seconds that a daemon takes at most to stop.
const STOP_WITHIN: Duration = Duration::from_secs(20);

const LAST_WORDS_CHARS: usize = 800;
/// What a daemon says that is started while Postgres is away, or goes away under it.
const WANTS: [&str; 2] = ["cannot reach the database", "the database did not respond"];
/// What it says among its reasons when Postgres only reads.
const ONLY_READS: &str = "read-only transaction";
/// Number of files and connections that a daemon with [few](Handicap::FewFiles) of them may have open. Normally it
/// would have up to 30, of which 13 are not connections.
const FEW_FILES: u32 = 20;

/// What is wrong in one life of a daemon, from its start to its end.
#[derive(Debug, Clone, Copy)]
pub enum Handicap {
    None,
    /// The clock of the process is wrong by this many seconds; see [`shift`].
    Clock(i64),
    FewFiles,
}

/// How a daemon ended by itself.
pub struct Ended {
    status: ExitStatus,
    /// The error at the end of its log, if any.
    said: String,
}

impl Ended {
    /// A daemon that starts while its database is unreachable or read-only reports that and exits with 1.
    pub fn for_want_of_postgres(&self) -> bool {
        let wants = WANTS.iter().any(|want| self.said.starts_with(want));
        self.status.code() == Some(1) && (wants || self.said.contains(ONLY_READS))
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, saying: {}", self.status, self.said.trim().replace('\n', " / "))
    }
}

pub struct Daemon {
    binary: PathBuf,
    config: PathBuf,
    log: PathBuf,
    /// Its status port.
    port: SocketAddr,
    /// The file with the offset of its clock, for a life with that handicap.
    shift: PathBuf,
    child: Child,
    /// What is wrong in this life.
    handicap: Handicap,
    /// The peak resident memory over all its lives.
    pub peak_kib: u64,
    /// Number of starts.
    pub lives: u32,
}

impl Daemon {
    pub fn start(binary: &Path, config: &Path, log: &Path, port: SocketAddr) -> anyhow::Result<Self> {
        let command = Command::new(binary);
        Ok(Self {
            binary: binary.into(),
            config: config.into(),
            log: log.into(),
            port,
            shift: log.with_extension("clock"),
            child: spawn(command, config, log, port)?,
            handicap: Handicap::None,
            peak_kib: 0,
            lives: 1,
        })
    }

    /// Records its memory, and starts it again if it has ended by itself.
    pub fn look(&mut self) -> anyhow::Result<Option<Ended>> {
        self.measure();
        let Some(status) = self.child.try_wait()? else { return Ok(None) };
        let log = std::fs::read_to_string(&self.log)?;
        let last: String = log.chars().skip(log.chars().count().saturating_sub(LAST_WORDS_CHARS)).collect();
        // The error may be the only content of the log.
        let said = last.rsplit_once("error: ").map_or(&*last, |(_, said)| said).to_owned();
        self.start_again(Handicap::None)?;
        Ok(Some(Ended { status, said }))
    }

    pub fn start_again(&mut self, handicap: Handicap) -> anyhow::Result<()> {
        let mut command = Command::new(&self.binary);
        match handicap {
            Handicap::None => {}
            Handicap::Clock(seconds) => {
                shift::set(&self.shift, seconds)?;
                shift::follow(&mut command, &self.shift)?;
            }
            Handicap::FewFiles => {
                // It becomes the daemon, with the same process id.
                command = Command::new(disk::PROGRAM);
                command.arg(format!("--nofile={FEW_FILES}:{FEW_FILES}")).arg(&self.binary);
            }
        }
        self.child = spawn(command, &self.config, &self.log, self.port)?;
        self.handicap = handicap;
        self.lives += 1;
        Ok(())
    }

    /// The process id of this life.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Changes the clock offset, in a life with that handicap.
    pub fn set_clock(&self, seconds: i64) -> anyhow::Result<()> {
        shift::set(&self.shift, seconds)
    }

    /// The lines of its log that contain `words`.
    pub fn said(&self, words: &str) -> anyhow::Result<usize> {
        Ok(std::fs::read_to_string(&self.log)?.lines().filter(|line| line.contains(words)).count())
    }

    /// The newest lines of its log, oldest first.
    pub fn last_lines(&self, lines: usize) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let mut newest: Vec<String> = log.lines().rev().take(lines).map(str::to_owned).collect();
        newest.reverse();
        newest
    }

    fn measure(&mut self) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        self.peak_kib = self.peak_kib.max(kib.unwrap_or(0));
    }

    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.child.id().try_into()?).context("a process id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Kills it.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.measure();
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Kills it and starts it again.
    pub fn kill_and_start(&mut self, handicap: Handicap) -> anyhow::Result<()> {
        self.kill()?;
        self.start_again(handicap)
    }

    /// Stops it, waits for its end, and starts it again.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.end().await?;
        self.start_again(Handicap::None)
    }

    /// Ends a lack of file descriptors. A wrong clock may stay: open work is finished anyway.
    pub async fn relieve(&mut self) -> anyhow::Result<()> {
        match self.handicap {
            Handicap::FewFiles => self.restart().await,
            Handicap::None | Handicap::Clock(_) => Ok(()),
        }
    }

    /// Stops it and waits for its end.
    pub async fn end(&mut self) -> anyhow::Result<()> {
        self.measure();
        self.signal(Signal::TERM)?;
        let asked = Instant::now();
        while self.child.try_wait()?.is_none() {
            ensure!(asked.elapsed() < STOP_WITHIN, "a daemon does not end within {} s", STOP_WITHIN.as_secs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `command` is the daemon's program, or ends together with it.
fn spawn(mut command: Command, config: &Path, log: &Path, port: SocketAddr) -> anyhow::Result<Child> {
    let log: File = OpenOptions::new().create(true).append(true).open(log)?;
    command.arg("--config").arg(config).arg("run").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // Only standard settings, regardless of the calling shell.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIDEGATE")) {
        command.env_remove(name);
    }
    command.env("TIDEGATE__SERVER__LISTEN", port.to_string());
    Ok(command.spawn()?)
}

/// Runs a command of the binary to its end.
pub fn command(binary: &Path, config: &Path, arguments: &[&str], log: &Path) -> anyhow::Result<ExitStatus> {
    let log: File = OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = Command::new(binary);
    command.arg("--config").arg(config).args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command.status()?)
}
