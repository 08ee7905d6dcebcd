//! What a fault concerns, and what a sign is about: only a sign about the same can show the fault.

use serde_json::Value;

use super::watch::text;

/// What a fault concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aim {
    /// All parts, such as a fault of Postgres.
    Everything,
    /// Daemons by number, each with the process id that it has after the fault.
    Daemons(Vec<(usize, u32)>),
    /// Any of these connections.
    Connections(Vec<String>),
    /// A stream of a connection.
    Stream(&'static str, &'static str),
}

/// What a sign is about, as far as it says so.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    pub daemon: Option<usize>,
    pub process: Option<u32>,
    pub connection: Option<String>,
    pub stream: Option<String>,
}

impl Aim {
    pub fn connections(names: &[&str]) -> Self {
        Self::Connections(names.iter().map(|name| (*name).to_owned()).collect())
    }

    /// Whether a sign with this subject can show the fault. A sign about a whole connection is about its streams too.
    pub fn has(&self, subject: &Subject) -> bool {
        match self {
            Self::Everything => true,
            Self::Daemons(daemons) => daemons
                .iter()
                .any(|(number, process)| subject.daemon == Some(*number) || subject.process == Some(*process)),
            Self::Connections(names) => subject.connection.as_ref().is_some_and(|name| names.contains(name)),
            Self::Stream(connection, stream) => {
                subject.connection.as_deref() == Some(*connection)
                    && subject.stream.as_ref().is_none_or(|name| name == stream)
            }
        }
    }
}

impl Subject {
    pub fn daemon(number: usize) -> Self {
        Self { daemon: Some(number), ..Self::default() }
    }

    #[cfg(test)]
    pub fn connection(name: &str) -> Self {
        Self { connection: Some(name.to_owned()), ..Self::default() }
    }

    /// The process of an owner: `host/process id/random`.
    pub fn owner(owner: &str) -> Self {
        Self { process: owner.split('/').nth(1).and_then(|id| id.parse().ok()), ..Self::default() }
    }

    /// Connection and stream of a document.
    pub fn of(document: &Value) -> Self {
        let member = |name: &str| Some(text(&document[name]).to_owned()).filter(|value| !value.is_empty());
        Self { connection: member("connection"), stream: member("stream"), ..Self::default() }
    }

    /// Connection and stream of a metric's labels.
    pub fn of_labels(series: &str) -> Self {
        let label = |name: &str| {
            let (_, rest) = series.split_once(&format!("{name}=\""))?;
            Some(rest.split_once('"')?.0.to_owned())
        };
        Self { connection: label("connection"), stream: label("stream"), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sign_is_about_the_same_daemon_connection_or_stream_as_the_fault() {
        let daemon = Aim::Daemons(vec![(1, 4711)]);
        assert!(daemon.has(&Subject::daemon(1)));
        assert!(daemon.has(&Subject::owner("host/4711/0a0b0c0d")));
        assert!(!daemon.has(&Subject::daemon(0)));
        assert!(!daemon.has(&Subject::owner("host/4712/0a0b0c0d")));
        assert!(!daemon.has(&Subject::default()));

        let connection = Aim::connections(&["lynn", "outbound"]);
        assert!(connection.has(&Subject::connection("outbound")));
        assert!(!connection.has(&Subject::connection("lexer")));
        assert!(!connection.has(&Subject::daemon(1)));

        let stream = Aim::Stream("lexer", "users");
        assert!(stream.has(&Subject::of(&json!({ "connection": "lexer", "stream": "users" }))));
        assert!(stream.has(&Subject::of(&json!({ "connection": "lexer", "stream": null }))), "the whole connection");
        assert!(!stream.has(&Subject::of(&json!({ "connection": "lexer", "stream": "forms" }))));
        assert!(!stream.has(&Subject::of(&json!({ "connection": "jaicp", "stream": "users" }))));

        assert!(Aim::Everything.has(&Subject::default()));
    }

    #[test]
    fn a_metric_names_its_connection_and_stream() {
        let subject = Subject::of_labels(r#"tidegate_rejected_records_total{connection="lynn",stream="menu_detail"}"#);
        assert_eq!((subject.connection.as_deref(), subject.stream.as_deref()), (Some("lynn"), Some("menu_detail")));
        assert_eq!(Subject::of_labels("tidegate_up"), Subject::default());
    }
}
