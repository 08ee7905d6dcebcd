//! What a Lynn Reporting connection says.

use chrono_tz::Tz;
use url::Url;

use super::super::lynn_account::Account;
use crate::http::HttpError;

/// A checked Lynn Reporting account. Unconfirmed paths, verbs and formats are settings (`vendors/lynn.md §11`).
#[derive(Debug, Clone)]
pub struct Settings {
    pub account: Account,
    /// Path template with `{tenant}` and `{report_id}`.
    pub execute_report_path: String,
    /// HTTP verb of `ExecuteReport`.
    pub execute_report_method: String,
    /// Zone of `startDate` and `endDate` (`§10.2`), default UTC.
    pub filter_timezone: Tz,
    /// chrono format of `startDate` and `endDate`, 24-hour (`§10.1`).
    pub date_format: String,
    /// Rows asked for per page, 1 to 10000 (`§10.23`).
    pub page_size: u32,
    /// Read one more page when the last planned one was full (`§3.1`); costs a call.
    pub probe_full_page: bool,
    /// Fail a window whose answer is valid but has errors (`§10.21`).
    pub fail_on_errors: bool,
}

impl Settings {
    pub(super) fn execute_report_url(&self, base_url: &Url, report_id: &str) -> Result<Url, HttpError> {
        self.account.url(base_url, &self.execute_report_path.replace("{report_id}", report_id))
    }
}
