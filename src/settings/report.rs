//! Collects the faults of a configuration, and contains the checks that all kinds of settings share.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use chrono_tz::Tz;

use super::fault::Faults;
use super::scalar::{Bool, DurationText, Integer};
use super::suggest;
use super::tree::{KeyPath, Kind, Node, Step};
use crate::text::show_duration;

/// Longer names make labels and tables unreadable.
const NAME_CHARACTERS_MAX: usize = 100;

/// Collects faults, with the places where the settings were written.
pub struct Report<'a> {
    tree: &'a Node,
    faults: Faults,
}

impl<'a> Report<'a> {
    pub const fn new(tree: &'a Node, faults: Faults) -> Self {
        Self { tree, faults }
    }

    /// All faults found so far, including earlier ones.
    pub fn into_faults(self) -> Faults {
        self.faults
    }
}

impl Report<'_> {
    /// Adds a fault with a complete message.
    pub fn add(&mut self, path: &KeyPath, message: String) {
        self.faults.add(self.tree.place_of(path).clone(), path.to_string(), message);
    }

    pub fn state(&mut self, path: &KeyPath, message: &str) {
        self.add(path, message.to_owned());
    }

    /// Adds a fault of a value: `predicate` follows the value, which is shown unless it may be a secret.
    pub fn refuse(&mut self, path: &KeyPath, predicate: impl Display) {
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

    /// The value as written.
    pub fn written(&self, path: &KeyPath) -> Option<&Node> {
        self.tree.at(path)
    }

    /// Whether this place has a fault already.
    pub fn is_refused(&self, path: &KeyPath) -> bool {
        self.faults.concern(&path.to_string())
    }

    /// Whether the value came from the environment or a file.
    pub fn is_from_reference(&self, path: &KeyPath) -> bool {
        self.tree.at(path).is_some_and(|node| node.hidden)
    }

    /// Adds a fault for a missing required setting, unless it was present and has been refused already.
    pub fn missing(&mut self, path: &KeyPath, remedy: &str) {
        if !self.is_refused(path) {
            self.add(path, format!("missing; {remedy}"));
        }
    }

    pub fn unknown_key<'k>(&mut self, path: &KeyPath, whose: &str, known: impl Iterator<Item = &'k str>) {
        let Some(Step::Key(key)) = path.0.last() else { return };
        if **key == *"<<" {
            return self.add(path, "merge keys are not part of YAML 1.2; write the keys out".to_owned());
        }
        let of = if whose.is_empty() { String::new() } else { format!(" of {whose}") };
        let hint = suggest::hint(key, known);
        self.add(path, format!("unknown key{of}{hint}"));
    }

    /// A whole number within `range`.
    pub fn integer<N>(&mut self, path: &KeyPath, raw: Option<Integer>, range: RangeInclusive<i64>, default: N) -> N
    where
        N: TryFrom<i64>,
    {
        let Some(Integer(value)) = raw else { return default };
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
    pub fn duration(
        &mut self,
        path: &KeyPath,
        raw: Option<DurationText>,
        range: &RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let Some(DurationText(value)) = raw else { return default };
        if range.contains(&value) {
            return value;
        }
        let (problem, bound, named) =
            if value < *range.start() { ("short", range.start(), "least") } else { ("long", range.end(), "most") };
        self.refuse(path, format!("is too {problem}; write at {named} `{}`", show_duration(*bound)));
        default
    }

    pub fn zone(&mut self, path: &KeyPath, raw: Option<&str>) -> Tz {
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

pub const fn flag(raw: Option<Bool>, default: bool) -> bool {
    match raw {
        Some(Bool(value)) => value,
        None => default,
    }
}

pub const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub fn entries(section: Option<&Node>) -> impl Iterator<Item = (&str, &Node)> {
    let entries = match section.map(|node| &node.kind) {
        Some(Kind::Map(entries)) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().map(|(name, node)| (&**name, node))
}

pub fn check_name(path: &KeyPath, name: &str, report: &mut Report<'_>) {
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
