//! What is wrong with a configuration: where, which key, and what to write instead (promise 9).
//!
//! A fault never shows a credential: [`super::tree::Node`] knows which values may be shown.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::text::escaped;

/// More faults than anyone reads at once; the rest appear when these are fixed.
const FAULTS_MAX: usize = 200;

/// The name of a file as faults show it, and its place in the order of reading.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileName {
    pub order: usize,
    pub name: String,
}

/// Where a setting was written. Sorted by the order in which files were read, then the environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Line 0 means the file as a whole.
    File { file: Arc<FileName>, line: usize },
    /// The name of an environment variable.
    Environment(String),
}

impl Place {
    /// The line, of a place in a file.
    pub const fn line(&self) -> Option<usize> {
        match self {
            Self::File { line, .. } => Some(*line),
            Self::Environment(_) => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line: 0 } => formatter.write_str(&escaped(&file.name)),
            Self::File { file, line } => write!(formatter, "{}:{line}", escaped(&file.name)),
            Self::Environment(name) => write!(formatter, "environment {}", escaped(name)),
        }
    }
}

/// One fault. Displays as `jobs/lynn.yaml:14: jobs.lynn.schedul: unknown key; did you mean …`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    place: Place,
    key: String,
    message: String,
}

impl Fault {
    /// Where it was written: `file:line`, or `environment NAME`.
    pub fn place(&self) -> String {
        self.place.to_string()
    }

    /// The setting, such as `jobs.lynn-hourly.schedule`; empty for a whole file.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong, and what to write instead.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(formatter, "{}: ", self.key)?;
        }
        formatter.write_str(&self.message)
    }
}

/// Every fault of a configuration, by place. Displays one line per fault.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    found: Vec<Fault>,
}

impl Faults {
    pub fn add(&mut self, place: Place, key: String, message: String) {
        // Messages contain names of jobs and connections as they were written, even invalid ones.
        let message = match escaped(&message) {
            Cow::Owned(escaped) => escaped,
            Cow::Borrowed(_) => message,
        };
        let fault = Fault { place, key, message };
        if self.found.len() < FAULTS_MAX && !self.found.contains(&fault) {
            self.found.push(fault);
        }
    }

    /// Whether `key`, or something inside it, has a fault already.
    pub fn concern(&self, key: &str) -> bool {
        self.found.iter().any(|fault| {
            fault.key.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    pub fn sort(&mut self) {
        self.found.sort();
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub fn len(&self) -> usize {
        self.found.len()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.found.iter()
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.found.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(formatter, "{line_break}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
