//! Whose metrics exist from the start.

use crate::config::Config;
use crate::metrics::{ConnectionNames, Names};

/// The jobs, connections and targets of a configuration, with the streams that the jobs read.
pub fn names(config: &Config) -> Names {
    let mut names = Names {
        jobs: config.jobs.keys().cloned().collect(),
        targets: config.notify.iter().map(|target| target.name.clone()).collect(),
        ..Names::default()
    };
    for (name, connection) in &config.connections {
        let limits = connection.limits.iter().map(|limit| limit.name.clone()).collect();
        names.connections.insert(name.clone(), ConnectionNames { limits, ..ConnectionNames::default() });
    }
    for (connection, stream) in config.streams_read() {
        if let Some(connection) = names.connections.get_mut(connection) {
            connection.streams.insert(stream.to_owned());
        }
    }
    names
}
