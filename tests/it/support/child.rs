//! A test that plays a part in another process: the test runs its own binary again, with only itself selected and a
//! variable that says which part to play. That process can be killed, or be another user.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const ROLE: &str = "TIDEGATE_TEST_ROLE";

/// The part that this process was started to play: what [`again`] was given.
pub fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// This test binary (or a copy of it at `exe`), to run only the test `name` in the part `role`.
pub fn again(exe: &Path, name: &str, role: &str) -> Command {
    let mut command = Command::new(exe);
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role).stdin(Stdio::null());
    // Or the copy would take itself for one of nextest's own children.
    command.env_remove("NEXTEST");
    command
}

/// Waits until the test that started this process is gone, for a part that is meant to end by a kill.
pub async fn until_orphaned() {
    let parent = rustix::process::getppid();
    while rustix::process::getppid() == parent {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
