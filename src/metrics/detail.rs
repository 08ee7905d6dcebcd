//! What has values of its own.

use super::names::Names;

/// The label of values that belong to all streams of a connection, to all jobs, or to all connections. For Prometheus,
/// an empty label is one that is absent.
pub(super) const ALL: &str = "";

/// What has values of its own: every stream and job, or only every connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Detail {
    #[default]
    Streams,
    /// For thousands of streams, whose values would be more than a Prometheus keeps without effort.
    Connections,
}

impl Detail {
    /// The label of a stream or a job.
    pub(super) const fn part(self, name: &str) -> &str {
        match self {
            Self::Streams => name,
            Self::Connections => ALL,
        }
    }

    /// The names that appear in labels.
    pub(super) fn names(self, mut names: Names) -> Names {
        if self == Self::Connections {
            names.jobs = names.jobs.iter().take(1).map(|_| ALL.to_owned()).collect();
            for connection in names.connections.values_mut() {
                connection.streams = connection.streams.iter().take(1).map(|_| ALL.to_owned()).collect();
            }
        }
        names
    }
}
