//! What a Lynn Reporting connection says, and the limits that follow from it.

use chrono_tz::Tz;

use crate::quota::{Calls, LimitSpec, Unit};
use crate::secret::Secret;

/// Production environment of the Reporting family (`vendors/lynn.md §1`).
pub const DEFAULT_BASE_URL: &str = "https://premium-production.lynn.cx";

/// A checked Lynn Reporting account. Unconfirmed paths, verbs and formats are settings (`vendors/lynn.md §11`).
#[derive(Debug, Clone)]
pub struct Settings {
    /// One tenant is one Lynn application (`vendors/lynn.md §1.1`).
    pub tenant: i64,
    pub access_token: Secret,
    pub access_token_secret: Secret,
    pub product: Product,
    /// `Ocp-Apim-Subscription-Key`, premium only; never sent empty.
    pub subscription_key: Option<Secret>,
    /// Path templates with `{tenant}` and `{report_id}`.
    pub create_token_path: String,
    pub execute_report_path: String,
    /// HTTP verb of `ExecuteReport`.
    pub execute_report_method: String,
    /// Zone of `startDate` and `endDate` (`§10.2`), default UTC.
    pub filter_timezone: Tz,
    /// chrono format of `startDate` and `endDate`, 24-hour (`§10.1`).
    pub date_format: String,
    /// Scheme word of the Authorization header; the vendor's examples use `bearer` (`§2`).
    pub authorization_scheme: String,
    /// Rows asked for per page, 1 to 10000 (`§10.23`).
    pub page_size: u32,
    /// Read one more page when the last planned one was full (`§3.1`); costs a call.
    pub probe_full_page: bool,
    /// Fail a window whose answer is valid but has errors (`§10.21`).
    pub fail_on_errors: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    Basic,
    Premium,
}

impl Settings {
    pub fn limits(&self) -> &'static [LimitSpec] {
        match self.product {
            Product::Basic => BASIC,
            Product::Premium => PREMIUM,
        }
    }
}

const fn limit(name: &'static str, calls: Calls, unit: Unit, amount: u64, per_secs: u64) -> LimitSpec {
    LimitSpec { name, calls, unit, amount, per_secs }
}

const CREATE_TOKEN: LimitSpec = limit("create_token", Calls::Login, Unit::Calls, 3, 60);
const REQUESTS: LimitSpec = limit("requests", Calls::Data, Unit::Calls, 1, 4);

/// `vendors/lynn.md §8.1`; a kilobyte is 1000 bytes, the stricter reading (`§10.10`).
const BASIC: &[LimitSpec] = &[
    CREATE_TOKEN,
    REQUESTS,
    limit("period_calls", Calls::Every, Unit::Calls, 10_000, 43_200),
    limit("period_bandwidth", Calls::Every, Unit::Bytes, 102_400_000, 43_200),
];

const PREMIUM: &[LimitSpec] = &[
    CREATE_TOKEN,
    REQUESTS,
    limit("period_calls", Calls::Every, Unit::Calls, 20_000, 43_200),
    limit("period_bandwidth", Calls::Every, Unit::Bytes, 997_200_000, 43_200),
];
