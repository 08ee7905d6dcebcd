//! Turns the configuration as written into the checked types and reports every fault at once.
//!
//! A refused setting is replaced by its default for the rest of the check, so that one fault does not hide the next.
//! The default is never used: any fault refuses the whole configuration, and what only reads the stored state despite
//! faults leaves out what has one.

mod auth;
mod database;
mod job;
mod mart;
mod notify;
mod push;
mod sections;
mod types;
mod warehouse;

use std::collections::BTreeMap;

pub(super) use self::notify::signing_key;
use super::{Config, raw};
use crate::catalogue::Streams;
use crate::connector::{self, Connector, SliceUse};
use crate::cron::Schedules;
use crate::settings::{Faults, KeyPath, Node, Report, check_name, entries, read};

/// What connections and jobs share, since there may be thousands of them.
#[derive(Default)]
pub(super) struct Shared {
    streams: Streams,
    schedules: Schedules,
}

impl Shared {
    /// What `config` has.
    pub(super) fn of(config: &Config) -> Self {
        let offered = config.connections.values().flat_map(|connection| &connection.streams);
        let read = config.jobs.values().flat_map(|job| &job.streams).map(|entry| &entry.stream);
        Self {
            streams: offered.chain(read).cloned().collect(),
            schedules: config.jobs.values().filter_map(|job| job.schedule.as_ref()).collect(),
        }
    }
}

/// Checks everything in `tree`. With faults, the configuration has defaults where they are.
pub(super) fn check(
    tree: &Node,
    connectors: &[&'static Connector],
    mut shared: Shared,
    faults: Faults,
) -> (Config, Faults) {
    let mut report = Report::new(tree, faults);
    let root = KeyPath::default();
    let raw: raw::Root = read(tree, &root, &[], "", &mut report);
    let embedded = sections::embedded(raw.embedded.unwrap_or_default(), &mut report);
    let warehouse = warehouse::check(&raw.warehouse.unwrap_or_default());
    let server = sections::server(raw.server.unwrap_or_default(), &mut report);
    let worker = sections::worker(&raw.worker.unwrap_or_default(), &mut report);
    let database = database::check(raw.database.unwrap_or_default(), &worker, &mut report);
    let history = sections::history(&raw.history.unwrap_or_default(), &mut report);
    let log = sections::log(raw.log.unwrap_or_default(), &mut report);
    let mart = mart::check(raw.mart.unwrap_or_default(), &mut report);

    // `None` if a connection's vendor is unknown, so that a job that refers to it does not cause another fault.
    let mut known = BTreeMap::new();
    for (name, node) in entries(raw.connections.and(tree.get("connections"))) {
        let path = root.key("connections").key(name);
        check_name(&path, name, &mut report);
        let connection = connector::check(name, node, &path, connectors, &mut shared.streams, &mut report);
        known.insert(name.to_owned(), connection);
    }

    let written = entries(raw.jobs.and(tree.get("jobs")));
    let mut jobs = Vec::with_capacity(written.size_hint().0);
    for (name, node) in written {
        let path = root.key("jobs").key(name);
        check_name(&path, name, &mut report);
        let job = job::check(name, node, &path, &known, &mut shared, &mut report);
        jobs.extend(job.map(|job| (name.to_owned(), job)));
    }
    // All at once: a map that grows in order is half empty.
    let mut jobs: BTreeMap<_, _> = jobs.into_iter().collect();
    job::check_shared_streams(&jobs, &mut report);
    let connections: BTreeMap<_, _> =
        known.into_iter().filter_map(|(name, connection)| Some((name, connection?))).collect();
    for job in jobs.values_mut() {
        job.warehouse = warehouse;
        let Some(connection) = connections.get(&job.connection) else { continue };
        for entry in &mut job.streams {
            let used =
                SliceUse { connection: &job.connection, job: &job.name, stream: &entry.stream, length: entry.slice };
            connection.settings.check_slice(&used, &mut report);
            entry.lookback = connection.settings.lookback(&entry.stream, entry.lookback);
        }
    }

    warehouse::check_lookback(warehouse, &jobs, &mut report);

    let names_of = |section: &str| entries(tree.get(section)).map(|(name, _)| name).collect();
    let known_names = notify::Known { connections: names_of("connections"), jobs: names_of("jobs") };
    let notify = notify::check(raw.notify.unwrap_or_default(), &known_names, &mut report);

    let unread = Vec::new();
    let config =
        Config { database, embedded, warehouse, server, notify, worker, history, log, mart, connections, jobs, unread };
    (config, report.into_faults())
}
