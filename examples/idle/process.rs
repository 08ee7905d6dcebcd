//! What the kernel reports about a process. Linux only.

use std::time::Duration;

use anyhow::Context as _;

/// The kernel reports processor time in hundredths of a second to every program.
const TICK: Duration = Duration::from_millis(10);

/// The fields of `/proc/PID/stat` from the third on; the second may contain anything.
fn stat(id: u32) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, fields) = text.rsplit_once(')').context("a process's state")?;
    Ok(fields.split_whitespace().map(str::to_owned).collect())
}

/// Its processor time.
pub fn cpu(id: u32) -> anyhow::Result<Duration> {
    ticks(&stat(id)?, 11)
}

/// Two adjacent fields, user and system time.
fn ticks(fields: &[String], first: usize) -> anyhow::Result<Duration> {
    let sum: u32 = fields.iter().skip(first).take(2).map(|field| field.parse::<u32>()).sum::<Result<_, _>>()?;
    Ok(TICK * sum)
}

pub fn parent_of(id: i32) -> anyhow::Result<u32> {
    Ok(stat(u32::try_from(id)?)?.get(1).context("a parent")?.parse()?)
}

/// Processor time of a process and its children, including those that have ended.
pub fn cpu_of_children(parent: u32) -> anyhow::Result<Duration> {
    let fields = stat(parent)?;
    let mut sum = ticks(&fields, 11)? + ticks(&fields, 13)?;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended since.
        let Ok(fields) = stat(id) else { continue };
        if fields.get(1).is_some_and(|of| *of == parent.to_string()) {
            sum += ticks(&fields, 11)?;
        }
    }
    Ok(sum)
}

/// Its peak resident memory.
pub fn peak_kib(id: u32) -> anyhow::Result<u64> {
    memory_kib(id, "VmHWM")
}

/// Its resident memory.
pub fn resident_kib(id: u32) -> anyhow::Result<u64> {
    memory_kib(id, "VmRSS")
}

fn memory_kib(id: u32, field: &'static str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context(field)?;
    Ok(line.trim_start_matches(':').trim().trim_end_matches(" kB").parse()?)
}

/// Converts KiB to MiB.
#[expect(clippy::cast_precision_loss, reason = "a size to print")]
pub fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
