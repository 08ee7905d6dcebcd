//! The zone of a job, a stream or a connection, in which its times are shown: one instant reads the same on every page.
//! Also which of them the configuration has, so that no page leads to one that was removed.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, OnceLock};

use chrono_tz::Tz;

use crate::config::{Config, Job};

/// The zones of a configuration, and what it has pages of. Whatever it does not have is shown in UTC.
#[derive(Debug, Clone)]
pub(super) struct Zones {
    config: Arc<Config>,
    /// The zone of all jobs of a connection; `None` if they have several. Made when it is first asked for.
    connections: OnceLock<HashMap<String, Option<Tz>>>,
}

impl Zones {
    pub(super) fn new(config: &Arc<Config>) -> Self {
        Self { config: Arc::clone(config), connections: OnceLock::new() }
    }

    pub(super) fn of_job(&self, job: &str) -> Option<&'static str> {
        self.config.jobs.get(job).map(|job| job.timezone.name())
    }

    pub(super) fn has_job(&self, job: &str) -> bool {
        self.config.jobs.contains_key(job)
    }

    pub(super) fn has_connection(&self, connection: &str) -> bool {
        self.config.connections.contains_key(connection)
    }

    /// The zone that all jobs of the connection have.
    pub(super) fn of_connection(&self, connection: &str) -> Option<&'static str> {
        let connections = self.connections.get_or_init(|| common(&self.config));
        connections.get(connection).copied().flatten().map(Tz::name)
    }

    /// All jobs of a stream have one zone.
    pub(super) fn of_stream(&self, connection: &str, stream: &str) -> Option<&'static str> {
        self.of_connection(connection).or_else(|| {
            let reads = |job: &&Job| {
                job.connection == connection && job.streams.iter().any(|entry| entry.stream.name == stream)
            };
            self.config.jobs.values().find(reads).map(|job| job.timezone.name())
        })
    }

    /// The zone of all jobs that read this table; it has its schema.
    pub(super) fn of_table(&self, connection: Option<&str>, table: &str) -> Option<&'static str> {
        let (schema, name) = table.split_once('.')?;
        let reads = |job: &&Job| {
            connection.is_none_or(|connection| job.connection == connection)
                && job.streams.iter().any(|entry| entry.stream.schema == schema && entry.stream.name == name)
        };
        let mut zones = self.config.jobs.values().filter(reads).map(|job| job.timezone);
        let first = zones.next()?;
        zones.all(|zone| zone == first).then_some(first.name())
    }
}

/// The connections with the zone of their jobs. A job that sends has no zone of its own.
fn common(config: &Config) -> HashMap<String, Option<Tz>> {
    let mut zones: HashMap<String, Option<Tz>> = HashMap::new();
    for job in config.jobs.values().filter(|job| job.push.is_none()) {
        if let Some(zone) = zones.get_mut(&job.connection) {
            *zone = zone.filter(|zone| *zone == job.timezone);
        } else {
            zones.insert(job.connection.clone(), Some(job.timezone));
        }
    }
    zones
}

/// Differs if a job has another zone, or a job or a connection was added or removed, so that a page with its times and
/// links differs although its document is the same.
pub(super) fn hash(config: &Config) -> u64 {
    let mut hasher = DefaultHasher::new();
    for job in config.jobs.values() {
        (&job.name, &job.connection, job.timezone.name()).hash(&mut hasher);
    }
    for connection in config.connections.keys() {
        connection.hash(&mut hasher);
    }
    hasher.finish()
}
