//! The parameters of documents: one description of each, by which requests are checked and the API is described.
//!
//! A value that nothing can match is an error with the values that exist, never an empty list: an operator would take
//! the empty list for the truth.

use serde_json::{Value, json};

use super::{Query, QueryError, ReadError, Reading};
use crate::config::Config;
use crate::store::known;

/// What may be written after the question mark.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    pub name: &'static str,
    pub kind: ParameterKind,
    pub meaning: &'static str,
}

/// The possible values of a parameter.
#[derive(Debug, Clone, Copy)]
pub enum ParameterKind {
    Text,
    OneOf(&'static [&'static str]),
    /// A date, or a time.
    Moment,
    /// A whole number within these bounds.
    Number(i64, i64),
    /// A connection and a stream with a slash between.
    Pair,
    /// A connection of the configuration.
    Connection,
    /// A connection of the configuration, or one that it had before.
    AnyConnection,
    /// A job of the configuration, or one that it had before.
    AnyJob,
    /// A stream of the configuration, or one that it had before.
    AnyStream,
    /// A table with its schema.
    Table,
    /// The number of a run.
    Run,
}

/// A parameter.
pub(super) const fn parameter(name: &'static str, kind: ParameterKind, meaning: &'static str) -> Parameter {
    Parameter { name, kind, meaning }
}

/// A part of a name.
pub(super) const SEARCH: Parameter = parameter("q", ParameterKind::Text, "a part of the name, in any case of letters");
/// The position in a list whose rows have names.
pub(super) const AFTER_NAME: Parameter = parameter("after", ParameterKind::Text, "the field `next` of the part before");
/// The position in a list whose rows have numbers.
pub(super) const AFTER_ID: Parameter =
    parameter("after", ParameterKind::Number(1, i64::MAX), "the field `next` of the part before");
pub(super) const CONNECTION: Parameter = parameter("connection", ParameterKind::Connection, "only of this connection");
pub(super) const ANY_CONNECTION: Parameter =
    parameter("connection", ParameterKind::AnyConnection, "only of this connection");
pub(super) const ANY_JOB: Parameter = parameter("job", ParameterKind::AnyJob, "only of this job");
pub(super) const FROM: Parameter = parameter("from", ParameterKind::Moment, "at this time or later");
pub(super) const TO: Parameter = parameter("to", ParameterKind::Moment, "before this time");

impl ParameterKind {
    /// The values as a JSON Schema.
    pub fn schema(self) -> Value {
        match self {
            Self::OneOf(values) => json!({ "type": "string", "enum": values }),
            Self::Moment => json!({ "type": "string", "anyOf": [{ "format": "date-time" }, { "format": "date" }] }),
            Self::Number(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
            Self::Run => json!({ "type": "integer", "minimum": 1 }),
            Self::Pair => json!({ "type": "string", "pattern": "/" }),
            Self::Text | Self::Connection | Self::AnyConnection | Self::AnyJob | Self::AnyStream | Self::Table => {
                json!({ "type": "string" })
            }
        }
    }

    /// Refuses a value that can be refused without the database.
    fn check(self, name: &str, query: &Query, config: &Config) -> Result<(), QueryError> {
        let Some(value) = query.text(name) else { return Ok(()) };
        match self {
            Self::OneOf(values) if values.contains(&value) => Ok(()),
            Self::OneOf(values) => {
                Err(QueryError::not_one_of(name, value, "one of these values", values.iter().copied()))
            }
            Self::Moment => query.moment(name).map(drop),
            Self::Number(least, most) => {
                let number = query.number(name)?.filter(|number| (least..=most).contains(number));
                let wrong = || match most {
                    i64::MAX => QueryError::new(name, &format!("a whole number from {least}")),
                    _ => QueryError::new(name, &format!("a whole number from {least} to {most}")),
                };
                number.map(drop).ok_or_else(wrong)
            }
            Self::Run => query.number(name).map(drop),
            Self::Pair => query.pair(name).map(drop),
            Self::Connection if config.connections.contains_key(value) => Ok(()),
            Self::Connection => {
                let names = config.connections.keys().map(String::as_str);
                Err(QueryError::not_one_of(name, value, "a connection of the configuration", names))
            }
            Self::Text | Self::AnyConnection | Self::AnyJob | Self::AnyStream | Self::Table => Ok(()),
        }
    }

    /// Refuses a name that neither the configuration nor the database has.
    async fn check_name(self, name: &str, query: &Query, reading: &mut Reading<'_>) -> Result<(), ReadError> {
        let Some(value) = query.text(name) else { return Ok(()) };
        let config = std::sync::Arc::clone(reading.config);
        let wrong = |expected: &str, known: Vec<&str>| {
            Err(ReadError::Query(QueryError::not_one_of(name, value, expected, known)))
        };
        match self {
            Self::AnyConnection => {
                let is_known =
                    config.connections.contains_key(value) || known::connection(&mut *reading.conn, value).await?;
                let names = || config.connections.keys().map(String::as_str).collect();
                if is_known { Ok(()) } else { wrong("a connection", names()) }
            }
            Self::AnyJob => {
                let is_known = config.jobs.contains_key(value) || known::job(&mut *reading.conn, value).await?;
                let names = || config.jobs.keys().map(String::as_str).collect();
                if is_known { Ok(()) } else { wrong("a job", names()) }
            }
            Self::AnyStream => {
                let connection = query.text("connection");
                let jobs = config.jobs.values();
                let jobs = jobs.filter(|job| connection.is_none_or(|connection| job.connection == connection));
                let mut names: Vec<&str> = jobs.flat_map(|job| &job.streams).map(|entry| &*entry.stream.name).collect();
                names.sort_unstable();
                names.dedup();
                let is_known = names.contains(&value) || known::stream(&mut *reading.conn, connection, value).await?;
                let expected = if connection.is_some() { "a stream of the connection" } else { "a stream" };
                if is_known { Ok(()) } else { wrong(expected, names) }
            }
            Self::Table => {
                let is_known = known::table(&mut *reading.conn, value).await?;
                if is_known { Ok(()) } else { wrong("a table with its schema that Tidegate has loaded", Vec::new()) }
            }
            Self::Run => {
                let Some(run) = query.number(name)? else { return Ok(()) };
                let is_known = known::run(&mut *reading.conn, run).await?;
                if is_known { Ok(()) } else { wrong("the number of a run", Vec::new()) }
            }
            Self::Text | Self::OneOf(_) | Self::Moment | Self::Number(..) | Self::Pair | Self::Connection => Ok(()),
        }
    }
}

/// Refuses a parameter that does not exist, and a value that can be refused without the database.
pub fn check(parameters: &[Parameter], query: &Query, config: &Config) -> Result<(), QueryError> {
    let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name).collect();
    query.only(&names)?;
    parameters.iter().try_for_each(|parameter| parameter.kind.check(parameter.name, query, config))
}

/// Refuses names that neither the configuration nor the database has. After [`check`].
pub async fn check_names(parameters: &[Parameter], query: &Query, reading: &mut Reading<'_>) -> Result<(), ReadError> {
    for parameter in parameters {
        parameter.kind.check_name(parameter.name, query, reading).await?;
    }
    Ok(())
}
