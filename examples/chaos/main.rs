//! Promises 1 to 5 and 8 under a storm: daemons, Postgres and vendors fail at random, and nothing is lost or doubled.
//!
//! ```sh
//! cargo run --release --example chaos -- --minutes 5 --seed 7
//! ```
//!
//! Two daemons read the five vendors' simulators into one Postgres, a firing every few seconds. Meanwhile daemons are
//! killed, put to sleep beyond their lease and woken, Postgres is restarted and its connections break, vendors answer with
//! every kind of fault and change their minds about rows. Then all fall quiet, every job runs once more, and the tables
//! must equal, as multisets, those that one undisturbed run makes in a database of its own. The seed repeats the faults and
//! their order; at which instant of the programs they strike is up to the machine.

mod daemons;
mod server;
mod storm;
mod vendors;
mod verify;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use chrono::{TimeDelta, Utc};
use sqlx::{Connection as _, PgConnection};
use tidegate::simulator::{self, Control, Options, ReportCall, Simulator, Stats, Vendor, lynn};

use daemons::{Daemon, command};
use server::{Line, Server};
use storm::{DAYS, Storm, Tally};
use verify::Finding;

const DATABASE: &str = "stormy";
const CALM_DATABASE: &str = "calm";
/// A daemon that is silent for longer loses its runs.
const LEASE: Duration = Duration::from_secs(5);
const DAEMONS: usize = 2;
/// Promise 6.
const PEAK_KIB_MAX: u64 = 64 << 10;
/// What two daemons may take to finish what the storm left.
const SETTLE_WITHIN: Duration = Duration::from_mins(5);

/// Everything that is hit, and what hits it.
pub struct Site {
    folder: tempfile::TempDir,
    server: Server,
    line: Line,
    simulator: Simulator,
    daemons: Vec<Daemon>,
    start: String,
    /// Daemons that ended by themselves.
    ended: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let (length, seed) = arguments()?;
    println!("seed {seed}, {} s of storm", length.as_secs());
    let mut site = Site::open(&binary()?, seed).await?;
    let began = Instant::now();
    let mut storm = Storm::new(seed, Site::until());
    while began.elapsed() < length {
        storm.blow(&mut site).await?;
    }
    println!("{}", table(&storm.tally));
    let findings = site.calm_down(storm.tally.values().sum()).await;
    let findings = match findings {
        Ok(findings) => findings,
        Err(error) => {
            println!("seed {seed}: {error:#}; the logs are in {}", site.keep().display());
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut kept = true;
    for Finding { what, fault } in &findings {
        match fault {
            None => println!("kept    {what}"),
            Some(fault) => println!("BROKEN  {what}: {fault}"),
        }
        kept &= fault.is_none();
    }
    if !kept {
        println!("replay with --seed {seed}; the logs are in {}", site.keep().display());
        return Ok(ExitCode::FAILURE);
    }
    println!("{} faults survived", storm.tally.values().sum::<u32>());
    Ok(ExitCode::SUCCESS)
}

/// `--minutes M` or `--seconds S`, `--seed N`.
fn arguments() -> anyhow::Result<(Duration, u64)> {
    let mut length = Duration::from_mins(1);
    let mut seed = rand::random();
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} wants a number"))?;
        let number: u64 = value.parse().with_context(|| format!("{name} {value} is no number"))?;
        match name.as_str() {
            "--minutes" => length = Duration::from_mins(number),
            "--seconds" => length = Duration::from_secs(number),
            "--seed" => seed = number,
            _ => anyhow::bail!("{name} is none of --minutes, --seconds, --seed"),
        }
    }
    Ok((length, seed))
}

/// The daemon's program: `TIDEGATE_BIN`, or the one beside this, built anew as `cargo run --example` does not.
fn binary() -> anyhow::Result<PathBuf> {
    static BUILT: OnceLock<()> = OnceLock::new();
    let path = if let Some(path) = std::env::var_os("TIDEGATE_BIN") {
        PathBuf::from(path)
    } else {
        if let (Some(cargo), None) = (std::env::var_os("CARGO"), BUILT.get()) {
            let mut build = Command::new(cargo);
            build.args(["build", "--quiet", "--bin", "tidegate", "--manifest-path"]);
            build.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
            if !cfg!(debug_assertions) {
                build.arg("--release");
            }
            ensure!(build.status()?.success(), "the daemon could not be built");
            BUILT.get_or_init(|| ());
        }
        std::env::current_exe()?.with_file_name("../tidegate")
    };
    ensure!(path.is_file(), "{} is missing: build it with the same profile, or set TIDEGATE_BIN", path.display());
    Ok(path.canonicalize()?)
}

impl Site {
    async fn open(binary: &Path, seed: u64) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        // Postgres' own user must come through.
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let room = folder.path().join("postgres");
        std::fs::create_dir(&room)?;
        let server = Server::start(&room).await?;
        server.create_database(DATABASE).await?;
        server.create_database(CALM_DATABASE).await?;
        let line = Line::to(server.address()).await?;
        let options = Options {
            speed: vendors::SPEED,
            seed,
            volume: lynn::Volume::Exactly(250),
            hide_future: true,
            ..Options::default()
        };
        let simulator = simulator::start(options).await?;
        let start = (Utc::now() - TimeDelta::days(DAYS)).date_naive().to_string();
        let mut site = Self { folder, server, line, simulator, daemons: Vec::new(), start, ended: Vec::new() };
        for vendor in Vendor::ALL {
            // What an undisturbed run finds later must be what was there before.
            site.control().data(vendor).freeze(Self::until());
        }
        site.save_configuration(1)?;
        for number in 0..DAEMONS {
            let log = site.folder.path().join(format!("daemon-{number}.log"));
            site.daemons.push(Daemon::start(binary, &site.config(), &log)?);
        }
        Ok(site)
    }

    /// The vendors have no row beyond this moment: the midnight before.
    fn until() -> chrono::DateTime<Utc> {
        Utc::now().date_naive().and_time(chrono::NaiveTime::MIN).and_utc()
    }

    fn control(&self) -> Control {
        self.simulator.control()
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("tidegate.yaml")
    }

    fn calm_config(&self) -> PathBuf {
        self.folder.path().join("calm.yaml")
    }

    /// Writes the daemons' configuration, as an editor does that saves a file.
    fn save_configuration(&self, lookback_days: u32) -> anyhow::Result<()> {
        let url = self.server.url_at(self.line.address(), DATABASE);
        let calm = self.server.url(CALM_DATABASE);
        for (path, url) in [(self.config(), url), (self.calm_config(), calm)] {
            let text = format!(
                "database: {{ url: \"{url}\", max_connections: 8 }}\nserver: {{ listen: 127.0.0.1:0 }}\n\
                 worker: {{ concurrency: 4, lease: {}s }}\nlog: {{ level: \"info,sqlx=error\" }}\n{}",
                LEASE.as_secs(),
                vendors::configuration(&self.simulator, &self.start, lookback_days)
            );
            let beside = path.with_extension("new");
            std::fs::write(&beside, text)?;
            std::fs::rename(&beside, &path)?;
        }
        Ok(())
    }

    /// Looks after the daemons: one that ended by itself is noted and started again.
    fn look(&mut self) -> anyhow::Result<()> {
        for (number, daemon) in self.daemons.iter_mut().enumerate() {
            // Started while Postgres is away, a daemon says so and ends with 1; whoever supervises it starts it again.
            if let Some(status) = daemon.look()?.filter(|status| status.code() != Some(1)) {
                self.ended.push(format!("daemon {number}: {status}"));
            }
        }
        Ok(())
    }

    /// Everything falls quiet, what is open is finished, every job runs once more; then all is looked at.
    async fn calm_down(&mut self, faults: u32) -> anyhow::Result<Vec<Finding>> {
        let control = self.control();
        control.quiet();
        for vendor in Vendor::ALL {
            control.data(vendor).release_late();
        }
        self.line.slow(Duration::ZERO);
        // Everything is read again, however far back it changed; no firing comes in between.
        let text = std::fs::read_to_string(self.config())?.replace("schedule:", "# schedule:");
        std::fs::write(self.config(), lookback(&text))?;
        let text = std::fs::read_to_string(self.calm_config())?.replace("schedule:", "# schedule:");
        std::fs::write(self.calm_config(), lookback(&text))?;
        verify::settled(&self.server.url(DATABASE), SETTLE_WITHIN).await?;
        for daemon in &mut self.daemons {
            daemon.end().await?;
        }
        let stats = control.stats();
        let asked_twice = self.asked_twice(&stats, faults).await?;
        let binary = binary()?;
        let log = self.folder.path().join("calm.log");
        for config in [self.config(), self.calm_config()] {
            let status = command(&binary, &config, &["sync"], &log)?;
            ensure!(status.success(), "the undisturbed run of {} ended with {status}", config.display());
        }
        let mut findings = self.compare().await?;
        let mut stormy = PgConnection::connect(&self.server.url(DATABASE)).await?;
        findings.extend(verify::nothing_left(&mut stormy).await?);
        stormy.close().await?;
        findings.extend(verify::nothing_held(&self.server.url(DATABASE), DATABASE).await?);
        let violation = stats.violations.first().map(|first| format!("{}, {first:?}", stats.violation_count));
        findings.push(Finding::new("no quota was exceeded", violation));
        let astray = stats.unexpected.first().map(|first| format!("{}, {first:?}", stats.unexpected.len()));
        findings.push(Finding::new("no credential went astray", astray));
        findings.push(asked_twice);
        let ended = self.ended.first().map(|first| format!("{}, {first}", self.ended.len()));
        findings.push(Finding::new("no daemon ended by itself, but for want of Postgres at its start", ended));
        for (number, daemon) in self.daemons.iter().enumerate() {
            let mib = daemon.peak_kib >> 10;
            let large = (daemon.peak_kib > PEAK_KIB_MAX).then(|| format!("{mib} MiB"));
            findings.push(Finding::new(format!("daemon {number} stayed within 64 MiB ({mib} MiB at most)"), large));
        }
        Ok(findings)
    }

    /// Table by table, against the undisturbed run.
    async fn compare(&self) -> anyhow::Result<Vec<Finding>> {
        let mut stormy = PgConnection::connect(&self.server.url(DATABASE)).await?;
        let mut calm = PgConnection::connect(&self.server.url(CALM_DATABASE)).await?;
        let mut findings = Vec::new();
        for table in verify::tables(&mut calm).await? {
            if vendors::OBSERVED.contains(&table.as_str()) {
                continue;
            }
            let stay = vendors::ENTITIES.contains(&table.as_str());
            findings.push(verify::same_rows(&mut stormy, &mut calm, &table, stay).await?);
        }
        stormy.close().await?;
        calm.close().await?;
        Ok(findings)
    }

    /// Pages that the vendor answered and that no checkpoint holds: only a fault between the two explains one.
    async fn asked_twice(&self, stats: &Stats, faults: u32) -> anyhow::Result<Finding> {
        let is_page =
            |call: &&ReportCall| call.endpoint == "execute_report" && call.status == 200 && call.mischief.is_none();
        let answered = stats.reports.iter().filter(is_page).count();
        let mut stormy = PgConnection::connect(&self.server.url(DATABASE)).await?;
        let pages = "select coalesce(sum(pages), 0)::bigint from tidegate.task
            inner join tidegate.run on run.id = task.run_id where connection = 'lynn'";
        let committed: i64 = sqlx::query_scalar(pages).fetch_one(&mut stormy).await?;
        stormy.close().await?;
        let lost = answered.saturating_sub(usize::try_from(committed)?);
        let fault = (lost > usize::try_from(faults)?).then(|| format!("only {faults} faults could explain them"));
        Ok(Finding::new(format!("Lynn: {answered} pages answered, {committed} committed, {lost} read twice"), fault))
    }

    /// Leaves the logs behind.
    fn keep(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }
}

/// With a lookback that reaches behind every row.
fn lookback(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| match line.split_once("lookback:") {
            Some((before, _)) => format!("{before}lookback: 30d"),
            None => line.to_owned(),
        })
        .collect();
    lines.join("\n")
}

fn table(tally: &Tally) -> String {
    let mut text = String::from("| fault | times |\n|---|--:|\n");
    for (name, times) in tally {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {name} | {times} |");
    }
    text
}
