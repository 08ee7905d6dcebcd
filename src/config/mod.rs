//! The configuration: loaded once, checked once, frozen.
//!
//! The way of a setting: `load` reads and merges the files, `yaml` keeps the line of every key, `overrides` and
//! `substitute` bring in the environment, `read` turns text into the raw types of `raw`, and `check` turns those
//! into the types below. Each adds its faults to one list, so all are reported at once. Nothing here talks to a vendor
//! or a database, and the environment is an argument.

mod check;
mod database;
mod fault;
mod load;
mod overrides;
mod raw;
mod read;
mod scalar;
mod schema;
mod substitute;
mod suggest;
#[cfg(test)]
mod tests;
mod tree;
mod units;
mod warnings;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::NaiveDate;
use chrono_tz::Tz;
use url::Url;

use crate::catalogue::{ColumnType, Stream};
use crate::cron::{CatchUp, Schedule};
use crate::http::{Hosts, Retry};
use crate::quota::Limit;
use crate::vendor::{self, Vendor};
pub use database::{DatabaseParts, DatabaseTarget, SslMode};
pub use fault::{Fault, Faults};
pub use schema::json_schema;
pub(crate) use suggest::hint as suggestion;
pub use units::show_duration;

/// Everything that was configured, checked.
#[derive(Debug, Clone)]
pub struct Config {
    pub database: Database,
    pub embedded: Embedded,
    pub server: Server,
    pub worker: Worker,
    pub history: History,
    pub log: Log,
    pub connections: BTreeMap<String, Connection>,
    pub jobs: BTreeMap<String, Job>,
    /// A sentence for each folder that looks as if it were read, and is not.
    pub unread: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Database {
    pub target: DatabaseTarget,
    pub max_connections: u32,
}

#[derive(Debug, Clone)]
pub struct Embedded {
    /// Where the embedded Postgres keeps its cluster.
    pub data_dir: PathBuf,
}

#[derive(Debug, Clone)]
pub struct Server {
    /// Status page, `/metrics`, `/healthz`, `/readyz`.
    pub listen: SocketAddr,
}

#[derive(Debug, Clone)]
pub struct Worker {
    /// Runs at a time in this process.
    pub concurrency: usize,
    /// A run whose worker is silent for this long is taken over.
    pub lease: Duration,
}

/// How long the past is kept; none means forever.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Runs that have ended, with their tasks. A job's newest run stays.
    pub keep_runs: Option<Duration>,
    /// Records that could not become rows. The configuration's default is 90 days.
    pub keep_rejects: Option<Duration>,
}

#[derive(Debug, Clone)]
pub struct Log {
    pub format: LogFormat,
    /// A `tracing` filter: `info`, or `info,tidegate=debug`.
    pub level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Pretty,
    Json,
}

/// One configured account of a vendor.
#[derive(Debug, Clone)]
pub struct Connection {
    pub name: String,
    /// Without a trailing slash in its path.
    pub base_url: Url,
    /// `host` or `host:port`, lower case: further hosts that vendor-supplied URLs may point to, private ones too.
    pub allowed_hosts: Vec<String>,
    pub request_timeout: Duration,
    pub retry: Retry,
    /// Every limit in force: the vendor's, with the configured overrides.
    pub limits: Vec<Limit>,
    /// What is special about the vendor.
    pub settings: vendor::Settings,
    /// Every stream the connection offers, extra reports included.
    pub streams: Vec<Stream>,
}

impl Connection {
    /// Where its calls may go.
    pub fn hosts(&self) -> Hosts {
        Hosts::new(&self.base_url, &self.settings.own_bases(), &self.allowed_hosts)
    }
}

/// A schedule, a connection and the streams to read.
#[derive(Debug, Clone)]
pub struct Job {
    pub name: String,
    pub connection: String,
    pub streams: Vec<JobStream>,
    /// When it fires, in `timezone`; none: only run by hand.
    pub schedule: Option<Schedule>,
    pub timezone: Tz,
    pub catch_up: CatchUp,
    /// First slice of the first run, 00:00 in `timezone`.
    pub start: NaiveDate,
    /// Never read closer to now than this.
    pub settle: Duration,
    /// Higher goes first when a quota is scarce.
    pub priority: i32,
    /// A run that takes longer is stopped at its next checkpoint and fails.
    pub timeout: Duration,
    pub paused: bool,
    /// A reading that reports a smaller share of a slice's or list's rows takes nothing away; in percent, 0 for never.
    pub hold_below: u8,
    /// What `tidegate push` sends; such a job reads no stream and is never run otherwise.
    pub push: Option<Push>,
}

/// Rows of the warehouse that become records of a Lynn campaign (`vendors/lynn.md §6.1`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// One statement that answers rows, without a semicolon at its end.
    pub query: String,
    pub campaign_id: String,
    /// A GUID, as it was written.
    pub template_id: String,
    pub type_of_data: i64,
    /// Label of the template's column → column of the query.
    pub columns: BTreeMap<String, String>,
    /// Columns of the query that identify a row.
    pub key: Vec<String>,
    /// Rows of one call.
    pub batch_size: usize,
}

/// One stream of a job, with the job's settings or its own.
#[derive(Debug, Clone)]
pub struct JobStream {
    /// With `key` already replaced if the job says so.
    pub stream: Stream,
    pub slice: SliceLength,
    /// Finished slices this far behind are read again.
    pub lookback: Duration,
    pub new_fields: NewFields,
    /// Types of columns that the vendor does not document, by vendor field.
    pub types: BTreeMap<String, ColumnType>,
}

/// The length of a slice: whole calendar days of the job's zone, or a plain duration below a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SliceLength {
    Days(u32),
    Time(Duration),
}

/// What happens to a vendor field that has no column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewFields {
    /// Kept in `_extra`.
    Extra,
    /// Gets a column.
    Add,
}

impl Config {
    /// Loads what `path` names, a file or a folder, with `env` as the environment.
    pub fn load(path: &Path, env: &BTreeMap<String, String>) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let sources = load::read(path, &mut faults);
        let config = Self::from_sources(&sources, env, faults)?;
        Ok(Self { unread: load::unread_folders(path), ..config })
    }

    /// What holds when no file says anything: the defaults, and what `env` overrides.
    pub fn without_files(env: &BTreeMap<String, String>) -> Result<Self, Faults> {
        Self::from_sources(&[], env, Faults::default())
    }

    /// Every stream that a job reads, by connection and stream.
    pub fn streams_read(&self) -> BTreeSet<(&str, &str)> {
        self.jobs
            .values()
            .flat_map(|job| job.streams.iter().map(move |entry| (job.connection.as_str(), &*entry.stream.name)))
            .collect()
    }

    fn from_sources(sources: &[load::Source], env: &BTreeMap<String, String>, faults: Faults) -> Result<Self, Faults> {
        let mut faults = faults;
        let unread = !faults.is_empty();
        let tree = load::merge(sources, &mut faults);
        let Some(mut tree) = tree.filter(|_| !unread) else {
            faults.sort();
            return Err(faults);
        };
        overrides::apply(&mut tree, env, &mut faults);
        substitute::apply(&mut tree, &tree::KeyPath::default(), env, &mut faults);
        check::check(&tree, faults)
    }
}

/// The environment of this process, for [`Config::load`]. Variables that are not UTF-8 can hold no setting.
pub fn process_env() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

impl std::fmt::Display for SliceLength {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Days(days) => write!(formatter, "{days}d"),
            Self::Time(length) => formatter.write_str(&show_duration(*length)),
        }
    }
}

impl Connection {
    pub const fn vendor(&self) -> Vendor {
        self.settings.vendor()
    }
}
