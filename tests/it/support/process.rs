//! The real binary in a separate process: started, monitored, stopped, killed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::wait::eventually;

/// A running `tidegate`, killed when dropped. Its output goes to files, so that it never waits for a reader.
pub struct Process {
    child: Child,
    output: TempDir,
}

impl Process {
    /// `tidegate --config CONFIG ARGS…`, with `env` in addition to the variables of this process.
    pub fn start(config: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        let output = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(output.path().join(name)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .arg("--config")
            .arg(config)
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap();
        Self { child, output }
    }

    /// Sends SIGKILL: the process cannot clean up.
    pub fn kill(mut self) {
        self.end();
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for the process to end by itself.
    pub async fn wait(&mut self, deadline: Duration) -> ExitStatus {
        eventually(deadline, async || self.child.try_wait().unwrap()).await
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Its output so far.
    pub fn said(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.file(name)).unwrap_or_default();
        format!("{}{}", read("stdout"), read("stderr"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.output.path().join(name)
    }

    fn end(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
