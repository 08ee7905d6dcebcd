//! The clock of one process is wrong, and jumps. The time that waits are measured by is right.

use std::env::consts::ARCH;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::site::replace;

/// The variant that locks: several threads read the file with the shift.
const LIBRARY: &str = "libfaketimeMT.so.1";

/// Where Linux distributions keep the library. `None` if this system lacks it, or shifts the clock of this process already.
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

/// The processes that follow `file` see a clock that is wrong by so many seconds, within about a second.
pub fn set(file: &Path, seconds: i64) -> anyhow::Result<()> {
    replace(file, &format!("{seconds:+}\n"))
}

/// The process of `command` will see the clock that `file` says.
pub fn follow(command: &mut Command, file: &Path) -> anyhow::Result<()> {
    command
        .env("LD_PRELOAD", library().context("there is no libfaketime")?)
        .env("FAKETIME_TIMESTAMP_FILE", file)
        .env("FAKETIME_CACHE_DURATION", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
    Ok(())
}
