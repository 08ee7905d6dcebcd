//! Stops a shared server some seconds after its last user has gone.
//!
//! No test process can do it: with nextest every test is a process of its own, and any of them may be killed. So a small
//! shell script stays behind. It cannot be forgotten by a kill, since the lock that it asks for is the system's.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;
use rustix::process::{Pid, test_kill_process};

/// `$1`: the file that every user holds a shared lock on. `$2`: how to stop. Stops after four looks, 5 s apart, without a
/// user, and only while it has the lock for itself, so that nobody can begin to use the server meanwhile. Systems
/// without `flock` have `perl`.
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

/// Begins to use what a reaper for `room` watches: until the file is dropped, or this process ends in whatever way.
pub fn use_room(room: &Path) -> Result<File> {
    let users = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(room.join("users"))?;
    users.lock_shared()?;
    Ok(users)
}

/// Starts a reaper and gives its process id.
pub fn start(room: &Path, stop: &str) -> Result<u32> {
    let child = Command::new("sh")
        .args(["-c", SCRIPT, "tidegate-test-reaper"])
        .arg(room.join("users"))
        .arg(stop)
        .current_dir("/")
        // Nothing that the test runner waits for, and not in the group that it signals.
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
