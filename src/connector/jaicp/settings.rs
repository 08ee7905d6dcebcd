//! What a JAICP Reporter connection says.

use std::collections::BTreeMap;

use serde_json::Value;

use super::interval::Interval;
use crate::connector::CsvForm;
use crate::connector::export::Polling;
use crate::quota::{Calls, LimitSpec, Unit};
use crate::secret::Secret;

/// The cloud (`vendors/jaicp.md §1`); the operator may write it without `/api`.
pub const DEFAULT_BASE_URL: &str = "https://app.jaicp.com/api";

/// A checked account. What the vendor's documents leave open is a setting (`vendors/jaicp.md §13`).
#[derive(Debug, Clone)]
pub struct Settings {
    pub polling: Polling,
    /// Of the project (legacy), or of the account (v1).
    pub token: Secret,
    pub api: Api,
    /// Short name of the project; v1 wants it in every call.
    pub project: Option<String>,
    /// Rows asked for per page; a vendor that gives fewer is followed (`§13.4`).
    pub page_size: u32,
    /// Ask for the delivery status of messages: one more call for every session (`§5`).
    pub message_status: bool,
    /// How `messages/by-session` is called (`§13.2`).
    pub by_session_method: BySession,
    /// Header `language`: that of the titles of reports.
    pub language: String,
    /// Header `Timezone` of statistics and reports; unit and sign are not documented (`§7`).
    pub timezone_offset: Option<i32>,
    /// Filters of the vendor's own form, by stream, sent beside the range of times (`§3`).
    pub filters: BTreeMap<String, Vec<Value>>,
    /// Length of the buckets of `stats_series`.
    pub stats_interval: Interval,
    pub csv: CsvForm,
}

/// The streams whose requests take filters, and the keys whose range of times is set here.
pub const DATE_FILTERS: &[(&str, &[&str])] = &[
    ("sessions", &["MESSAGE_TIME"]),
    ("messages", &["MESSAGE_TIME"]),
    ("clients", &["CLIENT_LAST_ACTIVITY_TIME"]),
    ("stats_series", &["MESSAGE_TIME", "SESSION_START_TIME"]),
    ("report_sessions", &["SESSION_START_TIME"]),
    ("report_messages", &["MESSAGE_TIME"]),
    ("report_clients", &["CLIENT_LAST_ACTIVITY_TIME"]),
];

/// The generation of the interface (`vendors/jaicp.md §1`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// The token is a part of the path.
    Legacy,
    V1,
}

/// The specifications say GET, the help says POST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BySession {
    /// GET, and POST where that is not served.
    Auto,
    Get,
    Post,
}

impl Settings {
    /// What tells this account's quota from another's.
    pub(in crate::connector) fn credential(&self) -> Vec<&str> {
        vec![self.token.expose()]
    }

    pub(in crate::connector) fn secrets(&self) -> Vec<Secret> {
        vec![self.token.clone()]
    }

    /// The filters of a stream's requests: `dated`, the range of times, and those that the connection names.
    pub(super) fn filters(&self, stream: &str, dated: Value) -> Value {
        let own = self.filters.get(stream).into_iter().flatten().cloned();
        Value::Array(std::iter::once(dated).chain(own).collect())
    }

    /// Ours: none is documented.
    pub const fn limits(&self) -> &'static [LimitSpec] {
        LIMITS
    }

    /// Whether the connection has that stream: v1 lacks some lists (`§12`).
    pub fn offers(&self, stream: &str) -> bool {
        self.api == Api::Legacy || !matches!(stream, "message_label_groups" | "session_labels")
    }
}

const LIMITS: &[LimitSpec] = &[limit("requests", 5, 1)];

const fn limit(name: &'static str, amount: u64, per_secs: u64) -> LimitSpec {
    LimitSpec { name, calls: Calls::Data, unit: Unit::Calls, amount, per_secs }
}
