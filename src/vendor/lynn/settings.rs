//! What a Lynn Reporting connection says, and the limits that follow from it.

use chrono_tz::Tz;
use url::Url;

use crate::http::HttpError;
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
    /// What tells this account's quota from another's (`vendors/lynn.md §9`).
    pub(in crate::vendor) fn credential(&self) -> Vec<&str> {
        let key = self.subscription_key.as_ref().map_or("", Secret::expose);
        vec![self.access_token.expose(), self.access_token_secret.expose(), key]
    }

    pub(in crate::vendor) fn secrets(&self) -> Vec<Secret> {
        let mut secrets = vec![self.access_token.clone(), self.access_token_secret.clone()];
        secrets.extend(self.subscription_key.clone());
        secrets
    }

    pub(super) fn create_token_url(&self, base_url: &Url) -> Result<Url, HttpError> {
        joined(base_url, &self.create_token_path.replace("{tenant}", &self.tenant.to_string()))
    }

    pub(super) fn execute_report_url(&self, base_url: &Url, report_id: &str) -> Result<Url, HttpError> {
        let path = self.execute_report_path.replace("{tenant}", &self.tenant.to_string());
        joined(base_url, &path.replace("{report_id}", report_id))
    }

    /// The premium key; the header is left out for basic accounts.
    pub(super) fn subscription_header(&self) -> Vec<(&'static str, Secret)> {
        let key = self.subscription_key.iter().filter(|key| !key.expose().is_empty());
        match self.product {
            Product::Premium => key.map(|key| ("Ocp-Apim-Subscription-Key", key.clone())).collect(),
            Product::Basic => Vec::new(),
        }
    }

    pub fn limits(&self) -> &'static [LimitSpec] {
        match self.product {
            Product::Basic => BASIC,
            Product::Premium => PREMIUM,
        }
    }
}

/// A path below the base URL; never another host.
fn joined(base_url: &Url, path: &str) -> Result<Url, HttpError> {
    let mut url = base_url.clone();
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let base = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{base}/{}", path.trim_start_matches('/')));
    url.set_query(query);
    if url.host() == base_url.host() && url.port() == base_url.port() {
        Ok(url)
    } else {
        Err(HttpError::Request("the path leads to another host".to_owned()))
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
