//! From what was written to the checked types, with every fault at once.
//!
//! A setting that is refused is replaced by its default for the rest of the check, so that one fault does not hide the
//! next; nothing of it leaves, since any fault refuses the whole.

mod connection;
mod database;
mod jaicp;
mod job;
mod khoros;
mod lexer;
mod lynn;
mod lynn_account;
mod lynn_outbound;
mod push;
mod sections;
mod types;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use chrono_tz::Tz;

use super::fault::Faults;
use super::raw;
use super::read::read;
use super::scalar::{Flag, Span, Whole};
use super::tree::{KeyPath, Kind, Node, Step};
use super::units::show_duration;
use super::{Config, suggest};

/// Longer names make labels and tables unreadable.
const NAME_CHARACTERS_MAX: usize = 100;

/// Checks everything in `tree`.
pub(super) fn check(tree: &Node, faults: Faults) -> Result<Config, Faults> {
    let mut report = Report { tree, faults };
    let root = KeyPath::default();
    let raw: raw::Root = read(tree, &root, &[], "", &mut report);
    let embedded = sections::embedded(raw.embedded.unwrap_or_default(), &mut report);
    let server = sections::server(raw.server.unwrap_or_default(), &mut report);
    let worker = sections::worker(&raw.worker.unwrap_or_default(), &mut report);
    let database = database::check(raw.database.unwrap_or_default(), &worker, &mut report);
    let history = sections::history(&raw.history.unwrap_or_default(), &mut report);
    let log = sections::log(raw.log.unwrap_or_default(), &mut report);

    let mut connections = BTreeMap::new();
    let mut offers = BTreeMap::new();
    for (name, node) in entries(raw.connections.and(tree.get("connections"))) {
        let path = root.key("connections").key(name);
        check_name(&path, name, &mut report);
        let checked = connection::check(name, node, &path, &mut report);
        offers.insert(name.to_owned(), checked.offer);
        connections.extend(checked.connection.map(|connection| (name.to_owned(), connection)));
    }

    let mut jobs = BTreeMap::new();
    for (name, node) in entries(raw.jobs.and(tree.get("jobs"))) {
        let path = root.key("jobs").key(name);
        check_name(&path, name, &mut report);
        jobs.extend(job::check(name, node, &path, &offers, &mut report).map(|job| (name.to_owned(), job)));
    }
    job::check_shared_streams(&jobs, &mut report);
    khoros::check_intervals(&connections, &jobs, &mut report);
    lexer::check_intervals(&connections, &jobs, &mut report);
    jaicp::read_on(&connections, &mut jobs);

    let mut faults = report.faults;
    if faults.is_empty() {
        return Ok(Config { database, embedded, server, worker, history, log, connections, jobs, unread: Vec::new() });
    }
    faults.sort();
    Err(faults)
}

fn entries(section: Option<&Node>) -> impl Iterator<Item = (&str, &Node)> {
    let entries = match section.map(|node| &node.kind) {
        Some(Kind::Map(entries)) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().map(|(name, node)| (name.as_str(), node))
}

fn check_name(path: &KeyPath, name: &str, report: &mut Report<'_>) {
    let letter = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let fits = name.starts_with(char::is_alphanumeric) && name.chars().all(letter);
    if !fits || name.chars().count() > NAME_CHARACTERS_MAX {
        report.state(
            path,
            &format!(
                "a name has letters, digits, `-`, `_` and `.`, begins with a letter or digit and is at most \
                 {NAME_CHARACTERS_MAX} long; rename it"
            ),
        );
    }
}

/// Collects faults and knows where the settings were written.
pub(super) struct Report<'a> {
    tree: &'a Node,
    faults: Faults,
}

impl Report<'_> {
    /// A fault whose message stands for itself.
    fn add(&mut self, path: &KeyPath, message: String) {
        self.faults.add(self.tree.place_of(path).clone(), path.to_string(), message);
    }

    pub(super) fn state(&mut self, path: &KeyPath, message: &str) {
        self.add(path, message.to_owned());
    }

    /// A fault of a value: `predicate` goes on after the value, which is shown unless it may be a secret.
    pub(super) fn refuse(&mut self, path: &KeyPath, predicate: impl Display) {
        let node = self.tree.at(path);
        let value = node.and_then(|node| node.shown(path));
        self.add(
            path,
            match value {
                Some(value) if value.is_empty() => format!("an empty value {predicate}"),
                Some(value) => format!("`{value}` {predicate}"),
                None => format!("the value {predicate}"),
            },
        );
    }

    /// Whether the value came from the environment or a file.
    fn is_from_reference(&self, path: &KeyPath) -> bool {
        self.tree.at(path).is_some_and(|node| node.hidden)
    }

    /// A setting that must be there is not; silent where it is there and was refused already.
    fn missing(&mut self, path: &KeyPath, remedy: &str) {
        if !self.faults.concern(&path.to_string()) {
            self.add(path, format!("missing; {remedy}"));
        }
    }

    pub(super) fn unknown_key<'k>(&mut self, path: &KeyPath, whose: &str, known: impl Iterator<Item = &'k str>) {
        let Some(Step::Key(key)) = path.0.last() else { return };
        if key == "<<" {
            return self.add(path, "merge keys are no part of YAML 1.2; write the keys out".to_owned());
        }
        let of = if whose.is_empty() { String::new() } else { format!(" of {whose}") };
        let hint = suggest::hint(key, known);
        self.add(path, format!("unknown key{of}{hint}"));
    }

    /// A whole number within `range`.
    fn whole<N>(&mut self, path: &KeyPath, raw: Option<Whole>, range: RangeInclusive<i64>, default: N) -> N
    where
        N: TryFrom<i64>,
    {
        let Some(Whole(value)) = raw else { return default };
        match N::try_from(value) {
            Ok(number) if range.contains(&value) => number,
            _ => {
                let (least, most) = range.into_inner();
                let most = if most == i64::MAX { "or more".to_owned() } else { format!("to {most}") };
                self.refuse(path, format!("is out of range; write {least} {most}"));
                default
            }
        }
    }

    /// A duration within `range`.
    fn span(
        &mut self,
        path: &KeyPath,
        raw: Option<Span>,
        range: &RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let Some(Span(value)) = raw else { return default };
        if range.contains(&value) {
            return value;
        }
        let (problem, bound, named) =
            if value < *range.start() { ("short", range.start(), "least") } else { ("long", range.end(), "most") };
        self.refuse(path, format!("is too {problem}; write at {named} `{}`", show_duration(*bound)));
        default
    }

    fn zone(&mut self, path: &KeyPath, raw: Option<&str>) -> Tz {
        let Some(name) = raw else { return Tz::UTC };
        name.parse().unwrap_or_else(|_| {
            let hint = suggest::zone(name).map_or_else(
                || "write an IANA name such as `America/Santiago`".to_owned(),
                |zone| format!("did you mean `{zone}`?"),
            );
            self.refuse(path, format!("is not an IANA time zone; {hint}"));
            Tz::UTC
        })
    }
}

const fn flag(raw: Option<Flag>, default: bool) -> bool {
    match raw {
        Some(Flag(value)) => value,
        None => default,
    }
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
