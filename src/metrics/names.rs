//! The names that appear as values of labels.

use std::collections::{BTreeMap, BTreeSet};

/// Jobs, connections and targets of notifications.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    pub jobs: BTreeSet<String>,
    pub connections: BTreeMap<String, ConnectionNames>,
    pub targets: BTreeSet<String>,
}

/// What belongs to one connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionNames {
    pub limits: BTreeSet<String>,
    /// The streams that a job reads.
    pub streams: BTreeSet<String>,
}

// Names are noted with every event and are nearly always known, so nothing is allocated for these.
impl Names {
    pub(super) fn note_target(&mut self, target: &str) {
        note(&mut self.targets, target);
    }

    pub(super) fn note_limit(&mut self, connection: &str, limit: &str) {
        self.note_connection(connection, |connection| note(&mut connection.limits, limit));
    }

    pub(super) fn note_stream(&mut self, connection: &str, stream: &str) {
        self.note_connection(connection, |connection| note(&mut connection.streams, stream));
    }

    /// Notes the connection, and with `more` what belongs to it.
    pub(super) fn note_connection(&mut self, connection: &str, more: impl FnOnce(&mut ConnectionNames)) {
        match self.connections.get_mut(connection) {
            Some(known) => more(known),
            None => more(self.connections.entry(connection.to_owned()).or_default()),
        }
    }
}

fn note(names: &mut BTreeSet<String>, name: &str) {
    if !names.contains(name) {
        names.insert(name.to_owned());
    }
}
