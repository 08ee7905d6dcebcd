//! The known report tasks of an account (`facts/jaicp.md §10`), by which a task is found whose creation had no
//! response. Kept in memory: after a restart no task is recognised.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use xxhash_rust::xxh3::xxh3_64;

use super::super::Window;
use super::reports::Handle;

/// The known tasks of an account. A task that is not among them is new.
#[derive(Debug, Default)]
pub(super) struct KnownTasks(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Hashes of the ids of existing tasks; `None` until they were listed.
    ids: Option<HashSet<u64>>,
    /// Creations without a response, which may have created a task.
    uncertain: Vec<Uncertain>,
    /// Streams and requests (v1) in progress; their tasks are unknown.
    running: Vec<(String, String)>,
}

/// A creation without a response.
#[derive(Debug)]
struct Uncertain {
    stream: String,
    window: Window,
    sent_at: DateTime<Utc>,
}

impl Uncertain {
    fn is(&self, stream: &str, window: Window) -> bool {
        self.stream == stream && self.window == window
    }
}

impl KnownTasks {
    const UNCERTAIN_MAX: usize = 100;
    const IDS_MAX: usize = 100_000;

    fn with<T>(&self, work: impl FnOnce(&mut Known) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn are_listed(&self) -> bool {
        self.with(|known| known.ids.is_some())
    }

    /// Forgets all tasks.
    pub(super) fn forget(&self) {
        self.with(|known| known.ids = None);
    }

    pub(super) fn learn<'t>(&self, ids: impl Iterator<Item = &'t str>) {
        self.with(|known| {
            let all = known.ids.get_or_insert_default();
            for id in ids.take(Self::IDS_MAX.saturating_sub(all.len())) {
                all.insert(xxh3_64(id.as_bytes()));
            }
        });
    }

    /// Whether the task is not a known one.
    pub(super) fn is_new(&self, id: &str) -> bool {
        self.with(|known| known.ids.as_ref().is_some_and(|ids| !ids.contains(&xxh3_64(id.as_bytes()))))
    }

    /// Whether a new task of the stream could belong to another window.
    pub(super) fn may_be_others(&self, stream: &str, window: Window) -> bool {
        self.with(|known| {
            known.running.iter().any(|(name, _)| name == stream)
                || known.uncertain.iter().any(|other| other.stream == stream && other.window != window)
        })
    }

    /// Notes whether a request is still in progress.
    pub(super) fn note_running(&self, stream: &str, id: &str, is_running: bool) {
        self.with(|known| {
            known.running.retain(|(name, other)| name != stream || other != id);
            if is_running && known.running.len() < Self::UNCERTAIN_MAX {
                known.running.push((stream.to_owned(), id.to_owned()));
            }
        });
    }

    /// When the creation without a response was sent.
    pub(super) fn uncertain_since(&self, stream: &str, window: Window) -> Option<DateTime<Utc>> {
        self.with(|known| known.uncertain.iter().find(|other| other.is(stream, window)).map(|other| other.sent_at))
    }

    pub(super) fn note_uncertain(&self, stream: &str, window: Window, sent_at: DateTime<Utc>) {
        self.with(|known| {
            known.uncertain.retain(|other| !other.is(stream, window));
            if known.uncertain.len() < Self::UNCERTAIN_MAX {
                known.uncertain.push(Uncertain { stream: stream.to_owned(), window, sent_at });
            }
        });
    }

    /// Notes the task of a window.
    pub(super) fn settle(&self, stream: &str, window: Window, handle: &Handle) {
        self.with(|known| known.uncertain.retain(|other| !other.is(stream, window)));
        match handle {
            Handle::Task(id) if self.are_listed() => self.learn(std::iter::once(id.as_str())),
            Handle::Task(_) => {}
            Handle::Request { id, .. } => {
                // Its task will be new too, and cannot be distinguished from a missing one.
                self.with(|known| known.uncertain.retain(|other| other.stream != stream));
                self.note_running(stream, id, true);
            }
        }
    }
}
