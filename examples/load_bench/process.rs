//! Resource usage of processes, as the kernel counts it.

use std::fs;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

/// `/proc/…/stat` counts in hundredths of a second on every Linux.
const TICK: Duration = Duration::from_millis(10);
const SAMPLE_EVERY: Duration = Duration::from_millis(10);

/// Usage of a program that ran to its end.
pub struct Ended {
    pub took: Duration,
    pub cpu: Duration,
    pub peak_kib: u64,
    pub output: Vec<u8>,
}

/// Runs a program while this process waits for no other child.
pub fn run(mut command: Command) -> anyhow::Result<Ended> {
    let before = stat("self")?.of_ended_children;
    let began = Instant::now();
    let mut child = command.spawn()?;
    let peak_kib = watch(&mut child)?;
    let took = began.elapsed();
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{}: {}", command.get_program().display(), output.status);
    let cpu = stat("self")?.of_ended_children.saturating_sub(before);
    Ok(Ended { took, cpu, peak_kib, output: output.stdout })
}

/// The peak resident memory of the process. Its output is short enough to fit into the pipe.
fn watch(child: &mut Child) -> anyhow::Result<u64> {
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    while child.try_wait()?.is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak_kib = kib.unwrap_or(peak_kib);
        std::thread::sleep(SAMPLE_EVERY);
    }
    Ok(peak_kib)
}

/// A process with all its descendants.
pub fn cpu_of_family(pid: u32) -> anyhow::Result<Duration> {
    loop {
        let parent = stat(&pid.to_string())?;
        let children = fs::read_dir("/proc")?.filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.parse::<u32>().ok()?;
            stat(&name).ok().filter(|stat| stat.parent == pid)
        });
        let of_children: Duration = children.map(|stat| stat.own).sum();
        // A process that ended meanwhile may be missing in both.
        if stat(&pid.to_string())?.of_ended_children == parent.of_ended_children {
            return Ok(parent.own + parent.of_ended_children + of_children);
        }
    }
}

struct Stat {
    parent: u32,
    own: Duration,
    of_ended_children: Duration,
}

fn stat(process: &str) -> anyhow::Result<Stat> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in parentheses, may contain anything.
    let rest = text.rsplit_once(')').context("no stat")?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks =
        |at: usize| -> anyhow::Result<Duration> { Ok(TICK * fields.get(at).context("a short stat")?.parse::<u32>()?) };
    Ok(Stat {
        parent: fields.get(1).context("a short stat")?.parse()?,
        own: ticks(11)? + ticks(12)?,
        of_ended_children: ticks(13)? + ticks(14)?,
    })
}
