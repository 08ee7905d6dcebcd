//! What a connection of this vendor says. Paths, verbs and words that nobody confirmed are settings (`vendors/lynn.md §11`).

use super::super::export::Polling;
use super::super::lynn_account::Account;
use crate::catalogue::Stream;

/// A checked account.
#[derive(Debug, Clone)]
pub struct Settings {
    pub account: Account,
    /// The streams that may be read; none unless the connection says so.
    pub enabled_streams: Vec<&'static str>,
    pub get_campaigns: Endpoint,
    pub get_contacts: Endpoint,
    /// With `{contact_id}`: one call per contact. Without: one call for all.
    pub get_dnd_contacts: Endpoint,
    /// The one method that writes, for `tidegate push`.
    pub add_campaign_data: Endpoint,
    pub get_task_status: Endpoint,
    /// The member of a contact that is its id; none: the first of the likely ones.
    pub contact_id_field: Option<String>,
    pub task_words: TaskWords,
    /// How patiently load tasks are asked after.
    pub polling: Polling,
}

/// How one method is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A path template that leads to that method: the check of the configuration saw to it.
    pub path: String,
    pub method: Method,
}

/// The verbs that there is a use for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Put,
}

impl Method {
    pub(super) const fn verb(self) -> reqwest::Method {
        match self {
            Self::Get => reqwest::Method::GET,
            Self::Post => reqwest::Method::POST,
            Self::Put => reqwest::Method::PUT,
        }
    }
}

/// Lower-case words that end a load task; numbers are compared as text. Any other word means that it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskWords {
    pub done: Vec<String>,
    pub failed: Vec<String>,
}

impl Default for TaskWords {
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            // A record that was sent shows `200` in the vendor's own screens (`§6.1`).
            done: words(&[
                "done",
                "completed",
                "complete",
                "finished",
                "success",
                "succeeded",
                "successful",
                "ok",
                "processed",
                "200",
            ]),
            failed: words(&[
                "failed",
                "failure",
                "fail",
                "error",
                "faulted",
                "cancelled",
                "canceled",
                "aborted",
                "rejected",
                "invalid",
                "400",
                "500",
            ]),
        }
    }
}

impl Settings {
    pub(in crate::connector) fn offers(&self, stream: &Stream) -> bool {
        self.enabled_streams.iter().any(|enabled| *enabled == stream.name)
    }
}
