//! The configuration: loaded once, checked once, then immutable.
//!
//! [`crate::settings`] reads the files and the environment, `raw` defines the keys as they are written, and `check`
//! turns them into the types below. Each adds its faults to one list, so all are reported at once. Nothing here
//! connects to a vendor or a database, and the environment is an argument.

mod check;
mod database;
mod notify;
mod raw;
mod schema;
#[cfg(test)]
mod tests;
mod warehouse;
mod warnings;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDate;
use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::catalogue::{ColumnType, SliceLength, Stream};
use crate::connector::{self, Connection, Connector};
use crate::cron::{CatchUp, Schedule};
use crate::mart;
use crate::secret::Secret;
use crate::settings::{self, Faults, KeyPath};
use crate::store::distribution::Distribution;
use check::Shared;
pub use database::{DatabaseParts, DatabaseTarget, SslMode};
pub use notify::{NotifyFormat, Target};
pub use schema::json_schema;
pub use warehouse::{Partition, Warehouse};

/// The complete configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    pub database: Database,
    pub embedded: Embedded,
    pub warehouse: Warehouse,
    pub server: Server,
    /// Whom the daemon tells of problems.
    pub notify: Vec<Target>,
    pub worker: Worker,
    pub history: History,
    pub log: Log,
    pub mart: mart::Settings,
    pub connections: BTreeMap<String, Connection>,
    pub jobs: BTreeMap<String, Job>,
    /// A warning for each folder that appears to be part of the configuration but is not read.
    pub unread: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Database {
    pub target: DatabaseTarget,
    pub max_connections: u32,
    pub distribution: Distribution,
}

#[derive(Debug, Clone)]
pub struct Embedded {
    /// The folder of the embedded Postgres cluster.
    pub data_dir: PathBuf,
}

#[derive(Debug, Clone)]
pub struct Server {
    /// The address of the status page, `/metrics`, `/healthz` and `/readyz`.
    pub listen: SocketAddr,
    /// Where people reach the status page, for links in messages. Without a slash at the end.
    pub url: Option<Url>,
    /// What this installation is called in messages.
    pub title: String,
    /// The login for pages, API and metrics. `None`: everyone may read, and nobody may change anything.
    pub auth: Option<Auth>,
    /// Further addresses of the pages, as browsers write origins.
    pub origins: Vec<String>,
    pub metrics_per: MetricsPer,
}

/// What has values of its own in `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum MetricsPer {
    /// Every stream and job.
    #[default]
    Stream,
    /// Only every connection.
    Connection,
}

/// What operators and scripts log in with on the status port.
#[derive(Debug, Clone)]
pub struct Auth {
    pub user: String,
    pub password: Secret,
    /// For scripts.
    pub token: Option<Secret>,
}

impl Server {
    /// The path of `url`, without a slash at its end: what a reverse proxy has in front of our paths.
    pub fn base_path(&self) -> String {
        self.url.as_ref().map_or("", |url| url.path().trim_end_matches('/')).to_owned()
    }
}

#[derive(Debug, Clone)]
pub struct Worker {
    /// Maximum number of concurrent runs in this process.
    pub concurrency: usize,
    /// A run whose worker is silent for this long is taken over by another.
    pub lease: Duration,
}

/// How long history is kept; `None` means forever.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Runs that have ended, with their tasks. A job's newest run is always kept.
    pub keep_runs: Option<Duration>,
    /// Records that could not become rows. The default is 90 days.
    pub keep_rejects: Option<Duration>,
    /// Events and problems that are over. The default is 90 days.
    pub keep_events: Option<Duration>,
}

#[derive(Debug, Clone)]
pub struct Log {
    pub format: LogFormat,
    /// A `tracing` filter: `info`, or `info,tidegate=debug`.
    pub level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum LogFormat {
    Pretty,
    Json,
}

/// A schedule, a connection and the streams to read.
#[derive(Debug, Clone)]
pub struct Job {
    pub name: String,
    pub connection: String,
    pub streams: Vec<JobStream>,
    /// When it fires, in `timezone`. `None`: only by hand.
    pub schedule: Option<Schedule>,
    pub timezone: Tz,
    pub catch_up: CatchUp,
    /// Start of the first slice of the first run: 00:00 in `timezone`.
    pub start: NaiveDate,
    /// Data newer than this, counted back from now, is not read.
    pub settle: Duration,
    /// Higher goes first when a quota is scarce.
    pub priority: i32,
    /// A run that takes longer is stopped at its next checkpoint and fails.
    pub timeout: Duration,
    pub paused: bool,
    /// If a reading reports a smaller share of a slice's or list's rows, no row is deleted. In percent; 0 disables the
    /// check.
    pub hold_below: u8,
    /// As for the whole configuration.
    pub warehouse: Warehouse,
    /// What `tidegate push` sends. Such a job reads no stream and runs only by that command.
    pub push: Option<Box<Push>>,
}

impl Job {
    /// The streams that are read in time windows.
    pub fn windowed_streams(&self) -> impl Iterator<Item = &JobStream> {
        self.streams.iter().filter(|entry| entry.stream.windowed())
    }
}

/// Rows of the warehouse that are sent as records of a Lynn campaign (`facts/lynn.md §6.1`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// One statement that returns rows, without a semicolon at its end.
    pub query: String,
    pub campaign_id: String,
    /// A GUID, as written.
    pub template_id: String,
    pub type_of_data: i64,
    /// Label of the template's column → column of the query.
    pub columns: BTreeMap<String, String>,
    /// Columns of the query that identify a row.
    pub key: Vec<String>,
    /// Rows per call.
    pub batch_size: usize,
}

/// One stream of a job, with its own settings or the job's.
#[derive(Debug, Clone)]
pub struct JobStream {
    /// With the `key` of the job, if it sets one. Shared by everything that has the same stream.
    pub stream: Arc<Stream>,
    pub slice: SliceLength,
    /// Finished slices that ended less than this ago are read again.
    pub lookback: Duration,
    pub new_fields: NewFields,
    /// Types of columns that the vendor does not document, by vendor field.
    pub types: BTreeMap<String, ColumnType>,
}

/// What happens to a vendor field that has no column: it is kept in `_extra`, or gets a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum NewFields {
    Extra,
    Add,
}

/// Hashes what is written to it.
struct Digest(Sha256);

impl fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text);
        Ok(())
    }
}

impl Config {
    /// A hash of everything but the secrets, which cannot be printed. Equal configurations have equal hashes.
    pub fn digest(&self) -> String {
        let mut digest = Digest(Sha256::new());
        // Writing to a hash cannot fail.
        let _infallible = write!(digest, "{self:?}");
        hex::encode(&digest.0.finalize()[..6])
    }

    /// Loads the file or folder `path`, with `env` as the environment.
    pub fn load(path: &Path, env: &BTreeMap<String, String>) -> Result<Self, Faults> {
        Self::load_with(path, env, connector::ALL)
    }

    /// The same with other connectors than the built-in ones.
    pub fn load_with(
        path: &Path,
        env: &BTreeMap<String, String>,
        connectors: &[&'static Connector],
    ) -> Result<Self, Faults> {
        Self::load_sharing(path, env, connectors, Shared::default())
    }

    /// Loads the file or folder `path` again. The streams and schedules that this configuration has as well are shared
    /// with it, so that both together need little more memory than one.
    pub fn load_again(&self, path: &Path, env: &BTreeMap<String, String>) -> Result<Self, Faults> {
        Self::load_sharing(path, env, connector::ALL, Shared::of(self))
    }

    fn load_sharing(
        path: &Path,
        env: &BTreeMap<String, String>,
        connectors: &[&'static Connector],
        shared: Shared,
    ) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let sources = settings::read_files(path, &mut faults);
        let config = Self::from_sources(sources, env, connectors, shared, faults)?;
        Ok(Self { unread: settings::unread_folders(path), ..config })
    }

    /// The configuration without any file: the defaults, with overrides from `env`.
    pub fn without_files(env: &BTreeMap<String, String>) -> Result<Self, Faults> {
        Self::from_sources(Vec::new(), env, connector::ALL, Shared::default(), Faults::default())
    }

    /// Every stream that a job reads, by connection and stream.
    pub fn streams_read(&self) -> BTreeSet<(&str, &str)> {
        self.jobs
            .values()
            .flat_map(|job| job.streams.iter().map(move |entry| (job.connection.as_str(), &*entry.stream.name)))
            .collect()
    }

    /// The jobs that read a stream.
    pub fn readers<'c>(&'c self, connection: &'c str, stream: &'c str) -> impl Iterator<Item = &'c Job> {
        self.jobs.values().filter(move |job| {
            job.connection == connection && job.streams.iter().any(|entry| entry.stream.name == stream)
        })
    }

    /// Loads what can be used despite faults, to show the stored state while a daemon keeps its previous configuration.
    /// Returns the faults with it; if there are any, jobs and faulty connections are left out, since others are in
    /// force. Fails if a fault leaves open which database it is.
    pub fn load_despite_faults(path: &Path, env: &BTreeMap<String, String>) -> Result<(Self, Faults), Faults> {
        let mut faults = Faults::default();
        let sources = settings::read_files(path, &mut faults);
        let (config, faults) = Self::despite_faults(sources, env, connector::ALL, Shared::default(), faults);
        config.map(|config| (config, faults.clone())).ok_or(faults)
    }

    fn from_sources(
        sources: Vec<settings::SourceFile>,
        env: &BTreeMap<String, String>,
        connectors: &[&'static Connector],
        shared: Shared,
        faults: Faults,
    ) -> Result<Self, Faults> {
        let (config, faults) = Self::despite_faults(sources, env, connectors, shared, faults);
        config.filter(|_| faults.is_empty()).ok_or(faults)
    }

    fn despite_faults(
        sources: Vec<settings::SourceFile>,
        env: &BTreeMap<String, String>,
        connectors: &[&'static Connector],
        shared: Shared,
        faults: Faults,
    ) -> (Option<Self>, Faults) {
        let mut faults = faults;
        let is_read = faults.is_empty();
        let (mut tree, whole) = settings::merge(sources, &mut faults);
        // A file that cannot be read may name the database.
        let unread = (!is_read || !whole).then(|| faults.clone());
        settings::apply_overrides(&mut tree, env, &mut faults);
        settings::substitute(&mut tree, &KeyPath::default(), env, &mut faults);
        let names_one = |node: &settings::Node| ["url", "host"].iter().any(|key| node.get(key).is_some());
        let is_named = unread.is_none() || tree.get("database").is_some_and(names_one);
        let (mut config, faults) = check::check(&tree, connectors, shared, faults);
        let is_known = is_named && !faults.concern("database") && !faults.concern("embedded");
        if !faults.is_empty() {
            config.jobs.clear();
            config.connections.retain(|name, _| !faults.concern(&format!("connections.{name}")));
        }
        // What is missing in the other files may only be in one that cannot be read.
        let mut faults = unread.unwrap_or(faults);
        faults.sort();
        (is_known.then_some(config), faults)
    }
}

/// The environment of this process, for [`Config::load`]. Variables that are not UTF-8 are left out.
pub fn process_env() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
