//! Stops a shared server a few seconds after its last user has ended.
//!
//! No test process can do this: with nextest every test is a separate process, and any of them may be killed. So a
//! small shell script stays behind. A kill cannot disturb it, because the lock that it requests belongs to the system.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;
use rustix::process::{Pid, test_kill_process};

/// `$1`: the file on which every user holds a shared lock. `$2`: the command to stop. Stops after four checks, 5 s
/// apart, without a user, and only while it has the exclusive lock, so that no test can start to use the server
/// meanwhile. Systems without `flock` have `perl`.
const SCRIPT: &str = r#"
alone() {
    if command -v flock >/dev/null; then
        flock -n -x "$1" sh -c "$2"
    else
        perl -MFcntl=:flock -e 'open F, "+<", shift or exit 1; flock F, LOCK_EX | LOCK_NB or exit 1; exit system("sh", "-c", shift) >> 8' "$1" "$2"
    fi
}
idle=0
while [ -e "$1" ]; do
    sleep 5
    if alone "$1" true; then idle=$((idle + 1)); else idle=0; fi
    if [ "$idle" -ge 4 ] && alone "$1" "$2"; then exit; fi
done
sh -c "$2"
"#;

/// Registers a user of what a reaper for `room` watches: until the file is dropped or this process ends.
pub fn use_room(room: &Path) -> Result<File> {
    let users = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(room.join("users"))?;
    users.lock_shared()?;
    Ok(users)
}

/// Starts a reaper and returns its process id.
pub fn start(room: &Path, stop: &str) -> Result<u32> {
    let child = Command::new("sh")
        .args(["-c", SCRIPT, "tidegate-test-reaper"])
        .arg(room.join("users"))
        .arg(stop)
        .current_dir("/")
        // The test runner does not wait for it, and it is not in the process group that the runner signals.
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    Ok(child.id())
}

pub fn is_there(pid: u32) -> bool {
    i32::try_from(pid).ok().and_then(Pid::from_raw).is_some_and(|pid| test_kill_process(pid).is_ok())
}
