//! A wrong clock for one process, which may jump. The monotonic clock, which measures waits, stays right.

use std::env::consts::ARCH;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::site::replace;

/// The variant with locking: several threads read the file with the offset.
const LIBRARY: &str = "libfaketimeMT.so.1";

/// Where Linux distributions install the library. `None` if it is missing, or if the clock of this process is shifted
/// already.
fn library() -> Option<PathBuf> {
    if std::env::var_os("FAKETIME").is_some() {
        return None;
    }
    let folders = [format!("/usr/lib/{ARCH}-linux-gnu/faketime"), "/usr/lib64/faketime".to_owned()];
    folders.iter().map(|folder| Path::new(folder).join(LIBRARY)).find(|path| path.is_file())
}

/// Whether this system can shift the clock of a process.
pub fn is_possible() -> bool {
    cfg!(target_os = "linux") && library().is_some()
}

/// Shifts the clock of the processes that follow `file` by this many seconds, within about a second.
pub fn set(file: &Path, seconds: i64) -> anyhow::Result<()> {
    replace(file, &format!("{seconds:+}\n"))
}

/// Makes the process of `command` use the clock offset in `file`.
pub fn follow(command: &mut Command, file: &Path) -> anyhow::Result<()> {
    command
        .env("LD_PRELOAD", library().context("libfaketime is not installed")?)
        .env("FAKETIME_TIMESTAMP_FILE", file)
        .env("FAKETIME_CACHE_DURATION", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
    Ok(())
}
