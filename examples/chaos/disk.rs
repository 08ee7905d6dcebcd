//! A full disk, in user space: the files of a server may not grow beyond a size for a while.
//!
//! Postgres ignores the signal that the kernel sends then (SIGXFSZ), so a write fails with an error as on a full disk.
//! Tables fail to grow and pages of theirs to be written back; pieces of the write-ahead log are smaller than the limit.

use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, test_kill_process};
use tidegate::postgres::{ServerUser, user};

/// Of `util-linux`. A program and not a system call of ours: it runs as the server's user, who may limit its own processes
/// where a root without all capabilities may not.
pub const PROGRAM: &str = "prlimit";
/// A piece of the write-ahead log, and half a page: a page of which half fits in is what Postgres calls a full disk.
const FILE_BYTES_MAX: u64 = (1 << 20) + 4096;

/// Whether this system can limit what a process uses.
pub fn can_limit() -> bool {
    let asked = Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    cfg!(target_os = "linux") && asked.is_ok_and(|status| status.success())
}

/// No file of the server grows beyond its limit.
pub fn fill(postmaster: Pid, user: Option<&ServerUser>) -> anyhow::Result<()> {
    limit(postmaster, user, &FILE_BYTES_MAX.to_string())
}

/// As it was before.
pub fn free(postmaster: Pid, user: Option<&ServerUser>) -> anyhow::Result<()> {
    limit(postmaster, user, "unlimited")
}

fn limit(postmaster: Pid, user: Option<&ServerUser>, bytes: &str) -> anyhow::Result<()> {
    // The postmaster first: its later children inherit the limit.
    set(postmaster, user, bytes)?;
    let pid = postmaster.as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    for child in children.split_whitespace() {
        set(Pid::from_raw(child.parse()?).context("a process id")?, user, bytes)?;
    }
    Ok(())
}

/// The soft limit: the server's user could not raise the hard one again.
fn set(pid: Pid, user: Option<&ServerUser>, bytes: &str) -> anyhow::Result<()> {
    let mut command = Command::new(PROGRAM);
    user::as_server(&mut command, user);
    command.args(["--pid", &pid.as_raw_nonzero().to_string(), &format!("--fsize={bytes}:")]);
    let output = command.current_dir("/").stdin(Stdio::null()).output()?;
    let has_ended = || test_kill_process(pid).is_err();
    ensure!(output.status.success() || has_ended(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
