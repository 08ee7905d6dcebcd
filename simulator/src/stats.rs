//! What the simulator saw: counts for promises 2 and 3, in bounded memory.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limits::{LimitStats, Refusal, Refused};

/// Maximum entries per log. The first ones are kept, the rest is only counted.
const LOG_MAX: usize = 50_000;

/// Times are in seconds since the simulator's start.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Stats {
    pub uptime_secs: f64,
    /// By the limit's name. Lynn's have no prefix (`requests`), the others' have that of the vendor: `khoros.requests`.
    pub limits: BTreeMap<String, LimitStats>,
    /// Every call that was refused because it broke a limit, except scripted refusals.
    pub violations: Vec<Violation>,
    /// The number of all violations, including those not in the log.
    pub violation_count: u64,
    /// Number of calls by endpoint, including refused ones.
    pub calls: BTreeMap<String, u64>,
    /// Calls that were refused with 401 or 403 because of their credentials.
    pub unauthorized: u64,
    pub tokens_minted: u64,
    /// Calls with a credential or header that must not be sent.
    pub unexpected: Vec<Unexpected>,
    /// Every admitted report call, of every vendor.
    pub reports: Vec<ReportCall>,
    /// Number of report calls not in the log.
    pub reports_left_off: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Violation {
    pub at_secs: f64,
    pub limit: String,
    pub endpoint: String,
    pub status: u16,
    pub wait_secs: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unexpected {
    pub at_secs: f64,
    pub endpoint: String,
    /// What was wrong; never the value.
    pub what: String,
}

/// Fields that a vendor's call does not have stay empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReportCall {
    pub at_secs: f64,
    pub endpoint: String,
    /// Its name, or the id in the URL if there is no such report.
    pub report: String,
    #[serde(rename = "startDate")]
    pub start_date: String,
    #[serde(rename = "endDate")]
    pub end_date: String,
    pub size: u64,
    /// Starts at 1.
    pub page: u32,
    /// Whether the request carried `lastDocument`.
    #[serde(rename = "lastDocument")]
    pub last_document: bool,
    pub status: u16,
    /// Rows in the response before mischief.
    pub rows: u64,
    /// Request and response, decompressed.
    pub bytes: u64,
    /// The scripted misbehaviour of this call.
    pub mischief: Option<String>,
}

impl Stats {
    pub(super) fn called(&mut self, endpoint: &str) {
        *self.calls.entry(endpoint.to_owned()).or_default() += 1;
    }

    pub(super) fn violated(&mut self, endpoint: &str, refusal: &Refusal, at: Duration) {
        self.violation_count += 1;
        if self.violations.len() < LOG_MAX {
            self.violations.push(Violation {
                at_secs: at.as_secs_f64(),
                limit: refusal.limit.to_owned(),
                endpoint: endpoint.to_owned(),
                status: if refusal.refused == Refused::Rate { 429 } else { 403 },
                wait_secs: refusal.wait.as_secs_f64(),
            });
        }
    }

    pub(super) fn unexpected(&mut self, endpoint: &str, what: &str, at: Duration) {
        if self.unexpected.len() < LOG_MAX {
            let (endpoint, what) = (endpoint.to_owned(), what.to_owned());
            self.unexpected.push(Unexpected { at_secs: at.as_secs_f64(), endpoint, what });
        }
    }

    pub(super) fn reported(&mut self, call: ReportCall) {
        if self.reports.len() < LOG_MAX {
            self.reports.push(call);
        } else {
            self.reports_left_off += 1;
        }
    }
}
