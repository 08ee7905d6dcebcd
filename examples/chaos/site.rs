//! Everything under test, and the proxies in between.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use simulator::{Control, Options, Simulator, Vendor, lynn};
use tokio::task::JoinSet;

use super::aim::Aim;
use super::daemons::{Daemon, Handicap, command};
use super::journal::{Effect, Journal};
use super::line::Line;
use super::server::Server;
use super::target::Target;
use super::watch::Watch;
use super::{storm, vendors, verify};

pub const DATABASE: &str = "stormy";
pub const CALM_DATABASE: &str = "calm";
/// A copy of the database that may replace it later.
const OLDER_DATABASE: &str = "older";
/// The longest period of a limit that the daemons come close to. An older copy does not know the calls made since it
/// was taken, so the operator waits (see "The database" in `docs/changes.md`).
const QUOTAS_FORGET: Duration = Duration::from_secs(10);
/// A daemon that is silent for longer loses its runs.
pub const LEASE: Duration = Duration::from_secs(5);
const DAEMONS: usize = 2;

/// Whether proxies can be placed before the vendors: at their ports, but on another address of this machine, so that
/// returned URLs lead through the proxies too. Linux has a whole network of such addresses.
pub const HAS_LINES_TO_VENDORS: bool = cfg!(target_os = "linux");
const VENDORS_FRONT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Where the daemons' status ports are: on an address of which no outgoing connection takes a port while a daemon does
/// not run.
const STATUS_FRONT: Ipv4Addr = if HAS_LINES_TO_VENDORS { Ipv4Addr::new(127, 0, 0, 3) } else { Ipv4Addr::LOCALHOST };

pub struct Site {
    folder: tempfile::TempDir,
    binary: PathBuf,
    pub server: Server,
    pub line: Line,
    pub simulator: Simulator,
    pub lines_to_vendors: Vec<Line>,
    pub daemons: Vec<Daemon>,
    pub target: Target,
    pub watch: Watch,
    pub journal: Journal,
    /// Ends with this.
    pub watching: JoinSet<()>,
    start: String,
    /// The lookback of the configuration, in days.
    lookback: u32,
    /// Daemons that ended by themselves although Postgres was available.
    pub ended: Vec<String>,
    /// Daemons that reported at their start that Postgres was unavailable.
    pub ended_for_want: u32,
    /// Whether there is an older copy of the database.
    copied: bool,
    /// Lynn's pages that were committed and then lost when an older copy replaced the database.
    pub pages_lost: usize,
}

impl Site {
    pub async fn open(binary: PathBuf, seed: u64) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        // The Postgres user must be able to traverse it.
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let room = folder.path().join("postgres");
        std::fs::create_dir(&room)?;
        let server = Server::start(&room).await?;
        server.create_database(DATABASE).await?;
        server.create_database(CALM_DATABASE).await?;
        let line = Line::lay((Ipv4Addr::LOCALHOST, 0).into(), server.address()).await?;
        let options = Options {
            advertise: HAS_LINES_TO_VENDORS.then(|| VENDORS_FRONT.to_string()),
            speed: vendors::SPEED,
            seed,
            volume: lynn::Volume::Exactly(250),
            hide_future: true,
            ..Options::default()
        };
        let simulator = simulator::start(options).await?;
        let lines_to_vendors = if HAS_LINES_TO_VENDORS { lay_lines(&simulator).await? } else { Vec::new() };
        let start = (Utc::now() - TimeDelta::days(storm::DAYS)).date_naive().to_string();
        let ports = status_ports()?;
        let journal = Journal::default();
        let watch = Watch::new(journal.clone(), ports.clone())?;
        let mut site = Self {
            folder,
            binary,
            server,
            line,
            simulator,
            lines_to_vendors,
            daemons: Vec::new(),
            target: Target::open(journal.clone()).await?,
            watch,
            journal,
            watching: JoinSet::new(),
            start,
            lookback: 0,
            ended: Vec::new(),
            ended_for_want: 0,
            copied: false,
            pages_lost: 0,
        };
        for vendor in Vendor::ALL {
            // An undisturbed run later must find the same data.
            site.control().data(vendor).freeze(Self::until());
        }
        site.save_configuration(1)?;
        site.run(&site.config(), &["migrate"])?;
        site.server.spread_rows(DATABASE).await?;
        verify::audit(&site.server.url(DATABASE)).await?;
        for (number, port) in ports.into_iter().enumerate() {
            let log = site.folder.path().join(format!("daemon-{number}.log"));
            site.daemons.push(Daemon::start(&site.binary, &site.config(), &log, port)?);
        }
        site.watching = site.watch.start(site.control());
        Ok(site)
    }

    /// Hides the vendors' rows after last midnight.
    pub fn until() -> DateTime<Utc> {
        Utc::now().date_naive().and_time(NaiveTime::MIN).and_utc()
    }

    pub fn control(&self) -> Control {
        self.simulator.control()
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("tidegate.yaml")
    }

    pub fn calm_config(&self) -> PathBuf {
        self.folder.path().join("calm.yaml")
    }

    /// Writes the daemons' configuration, as an editor saves a file.
    pub fn save_configuration(&mut self, lookback_days: u32) -> anyhow::Result<Effect> {
        let url = self.server.url_at(self.line.address(), DATABASE);
        let calm = self.server.url(CALM_DATABASE);
        for (path, url) in [(self.config(), url), (self.calm_config(), calm)] {
            let text = format!(
                "database: {{ url: \"{url}\", max_connections: 8 }}\nserver: {{ listen: 127.0.0.1:0 }}\n\
                 worker: {{ concurrency: 4, lease: {}s }}\nlog: {{ level: \"info,sqlx=error\" }}\n{}{}",
                LEASE.as_secs(),
                self.target.configuration(),
                vendors::configuration(&self.simulator, &self.start, lookback_days)
            );
            replace(&path, &text)?;
        }
        let is_same = std::mem::replace(&mut self.lookback, lookback_days) == lookback_days;
        Ok(if is_same { Effect::None("the content was the same") } else { Effect::Complete })
    }

    /// Reads the counters of a daemon that is about to end.
    pub async fn last_look(&self, number: usize) {
        self.watch.last_look(number).await;
        self.journal.daemon_ended(number);
    }

    /// For a while, the configuration has another account under the same name. Its rows must not replace the others, so
    /// nothing may be read meanwhile.
    pub async fn swap_account(&self, length: Duration) -> anyhow::Result<Effect> {
        // A connection belongs to the account that it reads first.
        let mut pinned = true;
        for name in vendors::SWAPPED {
            pinned &= verify::was_read(&self.server.url(DATABASE), name).await.unwrap_or(false);
        }
        if !pinned {
            return Ok(Effect::None("nothing was read yet"));
        }
        let config = self.config();
        let text = std::fs::read_to_string(&config)?;
        replace(&config, &vendors::swapped(&text))?;
        tokio::time::sleep(length).await;
        replace(&config, &text)?;
        Ok(Effect::Complete)
    }

    /// Stops the daemons and copies their database. The next time, the copy replaces the database, like a backup
    /// restored in place.
    pub async fn older_copy(&mut self) -> anyhow::Result<()> {
        for number in 0..self.daemons.len() {
            self.last_look(number).await;
            self.daemons[number].kill()?;
        }
        if self.copied {
            self.target.replaced();
            self.journal.replaced();
            let url = self.server.url(DATABASE);
            let before = verify::pages_of_lynn(&url).await?;
            self.server.replace_database(DATABASE, OLDER_DATABASE).await?;
            self.pages_lost += before.saturating_sub(verify::pages_of_lynn(&url).await?);
            tokio::time::sleep(QUOTAS_FORGET).await;
        } else {
            self.target.copied();
            self.server.copy_database(DATABASE, OLDER_DATABASE).await?;
        }
        self.copied = !self.copied;
        self.daemons.iter_mut().try_for_each(|daemon| daemon.start_again(Handicap::None))
    }

    /// Runs a command of the daemon's program, which must succeed.
    pub fn run(&self, config: &Path, arguments: &[&str]) -> anyhow::Result<()> {
        let code = self.ends_with(config, arguments)?;
        ensure!(code == Some(0), "`{}` for {} ended with {code:?}", arguments.join(" "), config.display());
        Ok(())
    }

    /// The exit code of a command of the daemon's program.
    pub fn ends_with(&self, config: &Path, arguments: &[&str]) -> anyhow::Result<Option<i32>> {
        let log = self.folder.path().join("commands.log");
        // The simulators must respond at once meanwhile.
        let status = tokio::task::block_in_place(|| command(&self.binary, config, arguments, &log))?;
        Ok(status.code())
    }

    /// These daemons, with the processes that they are now.
    pub fn processes(&self, numbers: impl IntoIterator<Item = usize>) -> Aim {
        Aim::Daemons(numbers.into_iter().map(|number| (number, self.daemons[number].process())).collect())
    }

    /// Checks the daemons: one that ended by itself is recorded and started again.
    pub fn look(&mut self) -> anyhow::Result<()> {
        for (number, daemon) in self.daemons.iter_mut().enumerate() {
            let Some(ended) = daemon.look()? else { continue };
            self.journal.daemon_ended(number);
            // A supervisor would start it again too.
            if ended.for_want_of_postgres() {
                self.ended_for_want += 1;
            } else {
                self.ended.push(format!("daemon {number}: {ended}"));
            }
        }
        Ok(())
    }

    /// The faults, and the newest lines of each daemon's log: where the storm ran, nothing else may be left of it.
    pub fn last_lines(&self, began: Instant) -> String {
        const LINES: usize = 80;
        const CHARS: usize = 600;
        let mut text = self.journal.text(began);
        for (number, daemon) in self.daemons.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "--- the newest lines of daemon {number}, in life {}", daemon.lives);
            for line in daemon.last_lines(LINES) {
                text.extend(line.chars().take(CHARS));
                text.push('\n');
            }
        }
        text
    }

    /// Where the logs are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Keeps the logs.
    pub fn keep(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }
}

/// Replaces a file as an editor does: a reader never sees half of it.
pub fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text)?;
    Ok(std::fs::rename(&beside, path)?)
}

/// A free port for each daemon, which has the same one in each of its lives.
fn status_ports() -> std::io::Result<Vec<SocketAddr>> {
    let listeners: Vec<TcpListener> =
        (0..DAEMONS).map(|_| TcpListener::bind((STATUS_FRONT, 0))).collect::<Result<_, _>>()?;
    listeners.iter().map(TcpListener::local_addr).collect()
}

/// One proxy before each of the simulator's hosts.
async fn lay_lines(simulator: &Simulator) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for url in [simulator.base_url(), simulator.clients_url(), simulator.files_url()] {
        let address: SocketAddr = url.strip_prefix("http://").context("a plain URL")?.parse()?;
        lines.push(Line::lay(address, (Ipv4Addr::LOCALHOST, address.port()).into()).await?);
    }
    Ok(lines)
}
