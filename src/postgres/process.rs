//! Information about processes by id, and how they are stopped.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::time::sleep;

/// Polling interval for events without notification.
pub(super) const POLL: Duration = Duration::from_millis(50);

/// Whether the process is running. A zombie process is not.
pub(super) fn is_alive(pid: Pid) -> bool {
    let exists = !matches!(test_kill_process(pid), Err(Errno::SRCH));
    exists && !is_zombie(pid)
}

fn is_zombie(pid: Pid) -> bool {
    // The state follows the name, which is in parentheses and may contain anything, including parentheses.
    std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid()))
        .ok()
        .and_then(|stat| stat.rsplit_once(')').map(|(_, rest)| rest.trim_start().starts_with(['Z', 'X'])))
        .unwrap_or(false)
}

/// Sends a signal. A process that does not exist counts as stopped.
pub(super) fn signal(pid: Pid, signal: Signal) {
    if let Err(error) = kill_process(pid, signal) {
        tracing::debug!(pid = pid.as_raw_pid(), %error, "the signal found no process");
    }
}

/// Whether all of `pids` end within `limit`.
pub(super) async fn ended_within(pids: &[Pid], limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    while pids.iter().any(|pid| is_alive(*pid)) {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(POLL).await;
    }
    true
}

/// Every Postgres process that works in `cluster`: postmaster and backends have it as their working directory. Linux
/// lists it in the process table; elsewhere only the process in the pid file can be found.
#[cfg(target_os = "linux")]
pub(super) fn of_cluster(cluster: &Path, _pid_file_says: Option<Pid>) -> Vec<Pid> {
    let (Ok(cluster), Ok(processes)) = (cluster.canonicalize(), std::fs::read_dir("/proc")) else { return Vec::new() };
    let works_there = |pid: &Pid| {
        let process = Path::new("/proc").join(pid.as_raw_pid().to_string());
        std::fs::read_to_string(process.join("comm"))
            .is_ok_and(|name| matches!(name.trim_end(), "postgres" | "postmaster"))
            && std::fs::read_link(process.join("cwd")).is_ok_and(|folder| folder == cluster)
            && is_alive(*pid)
    };
    processes
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw))
        .filter(works_there)
        .collect()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn of_cluster(cluster: &Path, pid_file_says: Option<Pid>) -> Vec<Pid> {
    let is_ours = |pid: &Pid| {
        std::process::Command::new("ps")
            .args(["-o", "command=", "-p", &pid.as_raw_pid().to_string()])
            .output()
            .is_ok_and(|output| {
                let line = String::from_utf8_lossy(&output.stdout).into_owned();
                line.contains("postgres") && line.contains(&cluster.display().to_string())
            })
    };
    pid_file_says.filter(|pid| is_alive(*pid)).filter(is_ours).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ended_is_not_alive_even_before_it_is_waited_for() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let deadline = Instant::now() + Duration::from_secs(10);
        while is_alive(pid) && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert!(!is_alive(pid) || !cfg!(target_os = "linux"));
        child.wait().unwrap();
        assert!(!is_alive(pid));
    }

    #[test]
    fn this_process_is_alive_and_is_not_postgres() {
        let own = rustix::process::getpid();
        assert!(is_alive(own));
        assert!(!of_cluster(&std::env::current_dir().unwrap(), Some(own)).contains(&own));
    }
}
