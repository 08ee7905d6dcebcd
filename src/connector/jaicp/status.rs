//! Delivery statuses of messages (`facts/jaicp.md §5`). Only the list by session has them, so they need a call for
//! every session, and only the channels Telegram, Viber and VK have any.
//!
//! After the messages of a part, the sessions of the part are listed, page by page, and the messages of each session
//! are read: those of the part are written again, with their status. The progress is part of the cursor.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::page::Page;
use crate::decode::DecodeError;

/// The channels with statuses.
const CHANNELS: &[&str] = &["telegram", "viber", "vk"];
/// Sessions per page of the list.
pub(super) const SESSIONS_PER_PAGE: u32 = 100;
/// Maximum number of sessions on a page, because the cursor holds all of them.
const SESSIONS_MAX: usize = 10_000;
/// Maximum length of an id.
const ID_BYTES_MAX: usize = 300;
/// Maximum number of pages of a session; the following windows read its last messages.
const PAGES_MAX: u64 = 1_000;

/// Progress of the reading of statuses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Statuses {
    /// The next page of the list of sessions.
    page: u64,
    rows: u64,
    /// Hash of the page before; a list that repeats a page has ended.
    last: u64,
    /// Whether the list has been read to its end.
    listed: bool,
    /// Sessions of the last page that are still to be read, the next one last.
    sessions: Vec<SessionId>,
    /// The next page of the current session, and its rows so far.
    turn: u64,
    turns: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SessionId {
    pub(super) project: String,
    pub(super) id: String,
}

impl SessionId {
    /// Returns `None` if one of the texts cannot be an id.
    pub(super) fn of(project: &str, id: &str) -> Option<Self> {
        let is_id = |text: &str| !text.is_empty() && text.len() <= ID_BYTES_MAX;
        (is_id(project) && is_id(id)).then(|| Self { project: project.to_owned(), id: id.to_owned() })
    }
}

/// Adds a session of a page. Fails if the page has too many.
pub(super) fn keep(sessions: &mut Vec<SessionId>, session: SessionId) -> Result<(), DecodeError> {
    if sessions.len() == SESSIONS_MAX {
        return Err(DecodeError::Shape("a page with many more sessions than requested"));
    }
    sessions.push(session);
    Ok(())
}

/// The next request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NextRequest {
    /// A page of the list of sessions.
    Sessions(u64),
    /// A page of a session's messages.
    Messages(SessionId, u64),
    /// None; the part is complete.
    Nothing,
}

impl Statuses {
    pub(super) fn wanted(&self) -> NextRequest {
        match self.sessions.last() {
            Some(session) => NextRequest::Messages(session.clone(), self.turn),
            None if self.listed => NextRequest::Nothing,
            None => NextRequest::Sessions(self.page),
        }
    }

    /// Advances after a page of the list. `sessions` are its sessions with statuses.
    pub(super) fn listed(mut self, page: &Page, sessions: Vec<SessionId>) -> Self {
        let bytes: Vec<u8> = page.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let last = xxh3_64(&bytes);
        let repeats = self.page > 0 && last == self.last;
        self.rows = self.rows.saturating_add(page.ids.len() as u64);
        self.listed = page.ids.is_empty() || repeats || self.rows >= page.total || self.page >= PAGES_MAX;
        self.page = self.page.saturating_add(1);
        self.last = last;
        self.sessions = if repeats { Vec::new() } else { sessions };
        self
    }

    /// Advances after a page of a session's messages.
    pub(super) fn read(mut self, page: &Page) -> Self {
        self.turns = self.turns.saturating_add(page.ids.len() as u64);
        self.turn = self.turn.saturating_add(1);
        if page.ids.is_empty() || self.turns >= page.total || self.turn >= PAGES_MAX { self.skip() } else { self }
    }

    /// Advances to the next session.
    pub(super) fn skip(mut self) -> Self {
        self.sessions.pop();
        (self.turn, self.turns) = (0, 0);
        self
    }
}

/// Whether messages of the channel have a status; the letter case of channels varies (`§11`).
pub(super) fn has_status(channel: &str) -> bool {
    CHANNELS.iter().any(|known| known.eq_ignore_ascii_case(channel))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(ids: std::ops::Range<u64>, total: u64) -> Page {
        Page { ids: ids.collect(), size: 100, total, bytes: 0 }
    }

    fn session(id: &str) -> SessionId {
        SessionId { project: "p".to_owned(), id: id.to_owned() }
    }

    #[test]
    fn every_session_of_every_page_is_requested_once() {
        let statuses = Statuses::default();
        assert_eq!(statuses.wanted(), NextRequest::Sessions(0));
        let statuses = statuses.listed(&page(0..100, 101), vec![session("a"), session("b")]);
        assert_eq!(statuses.wanted(), NextRequest::Messages(session("b"), 0));
        let statuses = statuses.read(&page(0..100, 150));
        assert_eq!(statuses.wanted(), NextRequest::Messages(session("b"), 1));
        let statuses = statuses.read(&page(100..150, 150));
        assert_eq!(statuses.wanted(), NextRequest::Messages(session("a"), 0));
        let statuses = statuses.skip();
        assert_eq!(statuses.wanted(), NextRequest::Sessions(1));
        assert_eq!(statuses.listed(&page(100..101, 101), Vec::new()).wanted(), NextRequest::Nothing);
    }

    #[test]
    fn p6_a_list_that_repeats_a_page_has_ended() {
        let statuses = Statuses::default().listed(&page(0..100, 1000), Vec::new());
        assert_eq!(statuses.wanted(), NextRequest::Sessions(1));
        assert_eq!(statuses.listed(&page(0..100, 1000), vec![session("a")]).wanted(), NextRequest::Nothing);
    }

    #[test]
    fn p6_sessions_of_a_page_are_bounded() {
        let mut sessions = vec![session("a"); SESSIONS_MAX - 1];
        assert!(keep(&mut sessions, session("a")).is_ok() && keep(&mut sessions, session("a")).is_err());
        assert!(SessionId::of("p", &"x".repeat(ID_BYTES_MAX)).is_some());
        assert!(SessionId::of("p", &"x".repeat(ID_BYTES_MAX + 1)).is_none() && SessionId::of("", "x").is_none());
    }

    #[test]
    fn channels_have_statuses_in_any_letter_case() {
        for (channel, tells) in
            [("telegram", true), ("TELEGRAM", true), ("Vk", true), ("chatwidget", false), ("", false)]
        {
            assert_eq!(has_status(channel), tells, "{channel}");
        }
    }
}
