//! A test that plays a role in another process: the test runs its own binary again, with only itself selected and a
//! variable that names the role. That process can be killed, or run as another user.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const ROLE: &str = "TIDEGATE_TEST_ROLE";

/// The role that this process was started for, as given to [`again`].
pub fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// This test binary (or a copy of it at `exe`), set up to run only the test `name` in the role `role`.
pub fn again(exe: &Path, name: &str, role: &str) -> Command {
    let mut command = Command::new(exe);
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role).stdin(Stdio::null());
    // Otherwise the copy would behave as a child of nextest.
    command.env_remove("NEXTEST");
    command
}

/// Waits until the test that started this process is gone, for a role that should end by a kill.
pub async fn until_orphaned() {
    let parent = rustix::process::getppid();
    while rustix::process::getppid() == parent {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
