//! Settings as a tree in which every node knows where it was written.
//!
//! Scalars keep their text: the setting that needs a number decides whether `00123` is one.
//!
//! A tree of ten thousand jobs is needed at every reload, beside two configurations. So equal texts are kept once, and
//! lists and maps have no spare capacity.

use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use super::fault::Place;
use crate::text::escaped;

/// The longest part of a value or key that a fault shows.
const SHOWN_CHARACTERS_MAX: usize = 60;

/// A value and the place of its key.
#[derive(Debug, Clone)]
pub struct Node {
    pub place: Place,
    pub kind: Kind,
    /// Whether it came from the environment or a file. It may then be a secret and is not shown.
    pub hidden: bool,
}

#[derive(Debug, Clone)]
pub enum Kind {
    /// Nothing, `~` or `null`.
    Null,
    Scalar(Arc<str>),
    List(Vec<Node>),
    /// In the order written, each key once.
    Map(Vec<(Arc<str>, Node)>),
}

/// Keys and values, equal ones once: jobs have the same keys and many of the same values.
#[derive(Debug, Default)]
pub(crate) struct Texts(HashSet<Arc<str>>);

impl Texts {
    /// A text equal to `text`.
    pub(crate) fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        self.0.insert(Arc::clone(&text));
        text
    }
}

impl Kind {
    /// Gives up the capacity for further items.
    pub fn shrink_to_fit(&mut self) {
        match self {
            Self::Null | Self::Scalar(_) => {}
            Self::List(items) => items.shrink_to_fit(),
            Self::Map(entries) => entries.shrink_to_fit(),
        }
    }

    /// The kind of value, for a fault.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar(_) => "a plain value",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// The size of a node, including its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub nodes: usize,
    /// Nesting depth.
    pub depth: usize,
    /// Bytes of keys and values.
    pub bytes: usize,
}

impl Node {
    pub const fn new(place: Place, kind: Kind) -> Self {
        Self { place, kind, hidden: false }
    }

    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|(name, _)| **name == *key).map(|(_, node)| node),
            _ => None,
        }
    }

    fn child(&self, step: &Step) -> Option<&Self> {
        match (step, &self.kind) {
            (Step::Key(key), _) => self.get(key),
            (Step::Index(index), Kind::List(items)) => items.get(*index),
            (Step::Index(_), _) => None,
        }
    }

    fn child_mut(&mut self, step: &Step) -> Option<&mut Self> {
        match (step, &mut self.kind) {
            (Step::Key(key), Kind::Map(entries)) => {
                entries.iter_mut().find(|(name, _)| **name == **key).map(|(_, node)| node)
            }
            (Step::Index(index), Kind::List(items)) => items.get_mut(*index),
            _ => None,
        }
    }

    /// The node at `path`, if there is one.
    pub fn at(&self, path: &KeyPath) -> Option<&Self> {
        path.0.iter().try_fold(self, |node, step| node.child(step))
    }

    /// The place of `path`, or of the innermost existing node around it.
    pub fn place_of(&self, path: &KeyPath) -> &Place {
        let mut node = self;
        for step in &path.0 {
            let Some(child) = node.child(step) else { break };
            node = child;
        }
        &node.place
    }

    /// Removes the node at `steps`: a key is deleted, a list item becomes null so that the others keep their index.
    pub fn remove(&mut self, steps: &[Step]) {
        let Some((last, parents)) = steps.split_last() else { return };
        let parent = parents.iter().try_fold(self, |node, step| node.child_mut(step));
        match (last, parent.map(|node| &mut node.kind)) {
            (Step::Key(key), Some(Kind::Map(entries))) => entries.retain(|(name, _)| **name != **key),
            (Step::Index(index), Some(Kind::List(items))) => {
                if let Some(item) = items.get_mut(*index) {
                    item.kind = Kind::Null;
                }
            }
            _ => {}
        }
    }

    /// Splits a map into the keys that are among `keys` and the others.
    pub fn split(&self, keys: &[&str]) -> (Self, Self) {
        let Kind::Map(entries) = &self.kind else {
            return (self.clone(), Self::new(self.place.clone(), Kind::Null));
        };
        let (these, others) = entries.iter().cloned().partition(|(key, _)| keys.contains(&&**key));
        (Self::new(self.place.clone(), Kind::Map(these)), Self::new(self.place.clone(), Kind::Map(others)))
    }

    /// The size of a copy.
    pub fn measure(&self) -> Size {
        let mut size = Size { nodes: 1, depth: 0, bytes: 0 };
        let mut hold = |node: &Self| {
            let inner = node.measure();
            size.nodes += inner.nodes;
            size.depth = size.depth.max(inner.depth);
            size.bytes += inner.bytes;
        };
        match &self.kind {
            Kind::Null | Kind::Scalar(_) => {}
            Kind::List(items) => items.iter().for_each(&mut hold),
            Kind::Map(entries) => entries.iter().for_each(|(_, node)| hold(node)),
        }
        size.depth += 1;
        size.bytes += match &self.kind {
            Kind::Null | Kind::List(_) => 0,
            Kind::Scalar(text) => text.len(),
            Kind::Map(entries) => entries.iter().map(|(key, _)| key.len()).sum(),
        };
        size
    }

    /// The value for display in a fault; `None` for credentials and values that may be one.
    pub fn shown(&self, path: &KeyPath) -> Option<String> {
        let Kind::Scalar(text) = &self.kind else { return None };
        let may_be_secret = self.hidden || path.names_a_credential() || (text.contains("://") && text.contains('@'));
        (!may_be_secret).then(|| shown(text))
    }
}

/// `text` on one line, cut to the length that a fault may show.
pub(crate) fn shown(text: &str) -> String {
    let mut line: String = text.chars().take(SHOWN_CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARACTERS_MAX).is_some() {
        line.push('…');
    }
    // Quotation marks are not escaped: faults quote with backticks.
    escaped(&line.replace("\\\"", "\"").replace("\\'", "'")).into_owned()
}

/// One step from a node to a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Shared, because every check of a setting extends the path of its section.
    Key(Arc<str>),
    Index(usize),
}

/// The path from the root to a setting. Displays as `jobs.lynn.streams[1].slice`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyPath(pub Vec<Step>);

impl KeyPath {
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.join([Step::Key(key.into())])
    }

    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.join([Step::Index(index)])
    }

    #[must_use]
    pub fn join(&self, steps: impl IntoIterator<Item = Step>) -> Self {
        Self(self.0.iter().cloned().chain(steps).collect())
    }

    /// Whether the setting is a credential, judged by its name so that those of new vendors are covered too.
    fn names_a_credential(&self) -> bool {
        // Any header may be one.
        if self.0.iter().any(|step| matches!(step, Step::Key(key) if **key == *"headers")) {
            return true;
        }
        let key = self.0.iter().rev().find_map(|step| match step {
            Step::Key(key) => Some(key.to_lowercase()),
            Step::Index(_) => None,
        });
        key.is_some_and(|key| {
            ["token", "secret", "password", "credential"].iter().any(|word| key.contains(word))
                || key.ends_with("_key")
                || ["url", "username"].contains(&key.as_str())
        })
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for step in &self.0 {
            match step {
                Step::Key(key) => {
                    let dot = if text.is_empty() { "" } else { "." };
                    write!(text, "{dot}{}", shown(key))?;
                }
                Step::Index(index) => write!(text, "[{index}]")?,
            }
        }
        formatter.write_str(&text)
    }
}
