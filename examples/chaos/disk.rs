//! A full disk, in user space: the files of a server may not grow beyond a size for a while.
//!
//! Postgres ignores the signal that the kernel sends then (SIGXFSZ), so a write fails with an error as on a full disk.
//! Tables fail to grow and pages of theirs to be written back; pieces of the write-ahead log are as small as the limit.

use rustix::process::Pid;

/// Whether this system can limit the processes of others.
pub const CAN_BE_FULL: bool = cfg!(target_os = "linux");

/// No file of the server grows beyond its limit.
pub fn fill(postmaster: Pid) -> anyhow::Result<()> {
    limit(postmaster, Some(FILE_BYTES_MAX))
}

/// As it was before.
pub fn free(postmaster: Pid) -> anyhow::Result<()> {
    limit(postmaster, None)
}

/// The size of a piece of the write-ahead log.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[cfg(target_os = "linux")]
fn limit(postmaster: Pid, bytes: Option<u64>) -> anyhow::Result<()> {
    use rustix::io::Errno;
    use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

    let own = getrlimit(Resource::Fsize);
    let limit = Rlimit { current: bytes.or(own.current), maximum: own.maximum };
    let set = |pid| match prlimit(Some(pid), Resource::Fsize, limit) {
        // It has ended meanwhile.
        Ok(_) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error),
    };
    // The postmaster first: whoever is its child from now on inherits it.
    set(postmaster)?;
    let pid = postmaster.as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    for child in children.split_whitespace() {
        if let Some(child) = child.parse().ok().and_then(Pid::from_raw) {
            set(child)?;
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn limit(_: Pid, _: Option<u64>) -> anyhow::Result<()> {
    anyhow::bail!("no limit on the processes of others on this system")
}
