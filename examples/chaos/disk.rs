//! A full disk, simulated in user space: for a while, the files of a server may not grow beyond a size.
//!
//! Postgres ignores the signal that the kernel then sends (SIGXFSZ), so a write fails with an error, as on a full disk.
//! Tables cannot grow and their pages cannot be written back; segments of the write-ahead log are smaller than the
//! limit.

use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, test_kill_process};
use tidegate::postgres::{ServerUser, user};

/// From `util-linux`. A program rather than a system call, because it runs as the server's user, who may limit its own
/// processes where a root without all capabilities may not.
pub const PROGRAM: &str = "prlimit";
/// A segment of the write-ahead log plus half a page: Postgres reports a partly written page as a full disk.
const FILE_BYTES_MAX: u64 = (1 << 20) + 4096;

/// Whether this system can limit the resources of a process.
pub fn can_limit() -> bool {
    let asked = Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    cfg!(target_os = "linux") && asked.is_ok_and(|status| status.success())
}

/// Limits the size of the server's files.
pub fn fill(postmaster: Pid, user: Option<&ServerUser>) -> anyhow::Result<()> {
    limit(postmaster, user, &FILE_BYTES_MAX.to_string())
}

/// Removes the limit.
pub fn free(postmaster: Pid, user: Option<&ServerUser>) -> anyhow::Result<()> {
    limit(postmaster, user, "unlimited")
}

fn limit(postmaster: Pid, user: Option<&ServerUser>, bytes: &str) -> anyhow::Result<()> {
    // The postmaster first, since later children inherit its limit.
    set(postmaster, user, bytes)?;
    let pid = postmaster.as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    for child in children.split_whitespace() {
        set(Pid::from_raw(child.parse()?).context("a process id")?, user, bytes)?;
    }
    Ok(())
}

/// Sets the soft limit; the server's user could not raise the hard one again.
fn set(pid: Pid, user: Option<&ServerUser>, bytes: &str) -> anyhow::Result<()> {
    let mut command = Command::new(PROGRAM);
    user::as_server(&mut command, user);
    command.args(["--pid", &pid.as_raw_nonzero().to_string(), &format!("--fsize={bytes}:")]);
    let output = command.current_dir("/").stdin(Stdio::null()).output()?;
    let has_ended = || test_kill_process(pid).is_err();
    ensure!(output.status.success() || has_ended(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
