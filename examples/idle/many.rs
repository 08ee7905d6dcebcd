//! What a daemon with 10,000 jobs has in memory: idle, and after its whole configuration was reloaded twice.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use tidegate::postgres::Embedded;

use super::{Site, process, sections, yearly};

const CONNECTIONS: u32 = 500;
/// Streams of a connection. Each has a job.
const STREAMS: u32 = 20;
/// The promise.
const KIB_MAX: u64 = 64 << 10;
/// What follows from a configuration is stored within 15 s.
const SETTLE: Duration = Duration::from_secs(20);
const RELOAD_WITHIN: Duration = Duration::from_mins(1);
/// What the daemon logs.
const RELOADED: &str = "configuration reloaded";

/// Resident memory and its peak so far, in KiB, by what the daemon has done.
pub struct Many(Vec<(&'static str, u64, u64)>);

impl Many {
    pub async fn measure(binary: &Path, folder: &Path, postgres: &Embedded) -> anyhow::Result<Self> {
        let config = folder.join("many");
        fs::create_dir_all(config.join("jobs"))?;
        let (text, address) = sections(postgres)?;
        fs::write(config.join("tidegate.yaml"), text)?;
        write_jobs(&config, 0)?;
        let site = Site { config, log: folder.join("many.log"), address, what: String::new() };
        let daemon = site.start(binary)?;
        let id = daemon.id();
        let mut measured = Vec::new();
        tokio::time::sleep(SETTLE).await;
        measured.push(("idle", process::resident_kib(id)?, process::peak_kib(id)?));
        for (reload, what) in ["after a reload", "after two reloads"].into_iter().enumerate() {
            write_jobs(&site.config, reload + 1)?;
            let began = Instant::now();
            while fs::read_to_string(&site.log)?.matches(RELOADED).count() <= reload {
                ensure!(began.elapsed() < RELOAD_WITHIN, "no reload, see {}", site.log.display());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            tokio::time::sleep(SETTLE).await;
            measured.push((what, process::resident_kib(id)?, process::peak_kib(id)?));
        }
        Ok(Self(measured))
    }

    /// Whether all stays within the promise.
    pub fn is_kept(&self) -> bool {
        self.0.iter().all(|(_, _, peak)| *peak <= KIB_MAX)
    }

    pub fn table(&self) -> String {
        let jobs = CONNECTIONS * STREAMS;
        let mut text = format!("| {jobs} jobs | RSS, MiB | peak so far, MiB | peak / limit |\n|---|--:|--:|--:|\n");
        for (what, resident, peak) in &self.0 {
            let (resident, peak) = (process::mib(*resident), process::mib(*peak));
            let _ = writeln!(text, "| {what} | {resident:.1} | {peak:.1} | {:.2} |", peak / process::mib(KIB_MAX));
        }
        text
    }
}

/// A file for each connection with its jobs. Each job differs by `version`.
fn write_jobs(config: &Path, version: usize) -> anyhow::Result<()> {
    for connection in 0..CONNECTIONS {
        let (mut reports, mut jobs) = (String::new(), String::new());
        for stream in 0..STREAMS {
            let job = connection * STREAMS + stream;
            writeln!(reports, "      r{stream:02}: 00000000-0000-0000-0000-{job:012}")?;
            writeln!(
                jobs,
                "  c{connection:03}-r{stream:02}: {{ connection: c{connection:03}, streams: [r{stream:02}], \
                 start: 2026-01-01, settle: {}m, schedule: \"{}\", timezone: America/Santiago }}",
                10 + version,
                yearly(job),
            )?;
        }
        let text = format!(
            "connections:\n  c{connection:03}:\n    vendor: lynn_reporting\n    tenant: {}\n    access_token: a\n    \
             access_token_secret: b{connection}\n    reports:\n{reports}jobs:\n{jobs}",
            connection + 1,
        );
        fs::write(config.join(format!("jobs/c{connection:03}.yaml")), text)?;
    }
    Ok(())
}
