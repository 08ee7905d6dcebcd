//! What a connection of this vendor says, and the limits that follow from it.

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use crate::connector::CsvForm;
use crate::connector::export::Polling;
use crate::http::{HttpError, basic};
use crate::quota::{Calls, LimitSpec, Unit};
use crate::secret::Secret;

/// Of tenants in the USA; the others' is displayed to their administrators (`vendors/khoros_care.md §1`).
pub const DEFAULT_BASE_URL: &str = "https://analytics-api.app.lithium.com/api/public";
/// `vendors/khoros_care.md §5.1`, in milliseconds; any longer one means months.
pub const INTERVALS: [u64; 11] = [
    300_000,
    600_000,
    900_000,
    1_800_000,
    3_600_000,
    7_200_000,
    14_400_000,
    28_800_000,
    43_200_000,
    86_400_000,
    604_800_000,
];
/// Intervals of one request; the vendor's limit lies somewhere above (`§5.1`).
pub const BUCKETS_MAX: u64 = 31;

/// A checked account.
#[derive(Debug, Clone)]
pub struct Settings {
    pub polling: Polling,
    pub company_key: Secret,
    pub username: String,
    pub password: Secret,
    /// Language and date style of the files; pinned, so that titles do not change (`§7`).
    pub locale: String,
    /// How far from UTC dates are printed, in milliseconds.
    pub timezone_offset: i64,
    pub report_format: ReportFormat,
    pub csv: CsvForm,
    /// How jobs are started (`§11.3`). `None`: as the tenant serves it.
    pub method: Option<Method>,
    /// The columns to ask for, by stream, as the vendor spells them; all that the company has enabled where there are none.
    pub metrics: BTreeMap<String, Vec<String>>,
    /// Further parameters of the create call, by stream; one of several values is there several times.
    pub parameters: BTreeMap<String, Vec<(String, String)>>,
    /// How far back the vendor serves (`§8`).
    pub history: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportFormat {
    Json,
    Csv,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Post,
    Get,
}

impl Method {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Post => Self::Get,
            Self::Get => Self::Post,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Get => "GET",
        }
    }
}

impl Settings {
    /// What tells this account's quota from another's.
    pub(in crate::connector) fn credential(&self) -> Vec<&str> {
        vec![self.company_key.expose(), &self.username, self.password.expose()]
    }

    pub(in crate::connector) fn secrets(&self) -> Vec<Secret> {
        vec![self.company_key.clone(), self.password.clone(), self.basic()]
    }

    fn basic(&self) -> Secret {
        basic(&self.username, &self.password)
    }

    /// What every call to the vendor bears, and nothing else does (`§2`).
    pub(super) fn authorization(&self) -> (String, Secret) {
        ("Basic".to_owned(), self.basic())
    }

    /// The query that says for which company a call is.
    pub(super) fn company(&self) -> String {
        form(&[("companyKey", self.company_key.expose())])
    }

    /// The documented limits.
    pub const fn limits(&self) -> &'static [LimitSpec] {
        LIMITS
    }
}

/// The interval of `team_performance_interval` that fits a slice of so many seconds, in milliseconds: the shortest of no
/// more than 31 to a slice.
pub fn interval_for(slice_secs: u64) -> u64 {
    INTERVALS.into_iter().find(|interval| buckets(slice_secs, *interval) <= BUCKETS_MAX).unwrap_or(INTERVALS[10])
}

/// Intervals of so many milliseconds in a slice. A day counts 24 hours, clock changes or not.
pub fn buckets(slice_secs: u64, interval_ms: u64) -> u64 {
    const DAY: u64 = 86_400;
    let secs = if slice_secs < DAY { slice_secs } else { (slice_secs + DAY / 2) / DAY * DAY };
    (secs * 1000).div_ceil(interval_ms.max(1))
}

/// `name=value&…`, everything but letters, digits and `*-._` encoded.
pub(super) fn form(pairs: &[(impl AsRef<str>, impl AsRef<str>)]) -> String {
    // Not `+` for a space: that is a form's way, and most of these stand in a query.
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish().replace('+', "%20")
}

/// A URL below the base: `path` and `query` are encoded already and stay as they are.
pub(super) fn below(base_url: &Url, path: &str, query: &str) -> Result<Url, HttpError> {
    let mut url = base_url.clone();
    let path = format!("{}/{path}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url.set_query(Some(query));
    // Not another path because of a dot that the vendor sent.
    if url.path() == path { Ok(url) } else { Err(HttpError::Request("the path cannot be written".to_owned())) }
}

/// `vendors/khoros_care.md §8`: nothing says whether polls and downloads count, so they do.
const LIMITS: &[LimitSpec] = &[limit("requests", 20, 60)];

const fn limit(name: &'static str, amount: u64, per_secs: u64) -> LimitSpec {
    LimitSpec { name, calls: Calls::Data, unit: Unit::Calls, amount, per_secs }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_fits_its_slice() {
        let day = 86_400;
        for (slice, interval) in [
            (3_600, 300_000),
            (day, 3_600_000),
            (day - 3_600, 3_600_000),
            (day + 3_600, 3_600_000),
            (7 * day, 28_800_000),
            (31 * day + 3_600, 86_400_000),
            (32 * day, 604_800_000),
            (90 * day, 604_800_000),
        ] {
            assert_eq!(interval_for(slice), interval, "{slice} s");
        }
    }

    #[test]
    fn what_is_encoded_stays_so() {
        let base = Url::parse("https://host/api/public").unwrap();
        let url = below(&base, "reports/report/a/2%2Bb%2Fc%3D/status", "analyticsAccessToken=q%3D%3D").unwrap();
        let expected = "https://host/api/public/reports/report/a/2%2Bb%2Fc%3D/status?analyticsAccessToken=q%3D%3D";
        assert_eq!(url.as_str(), expected);
        assert!(below(&base, "reports/report/../x/status", "").is_err());
        assert!(below(&base, "reports/report/%2e%2E/x/status", "").is_err());
        assert_eq!(form(&[("a", "1,2 3"), ("b", "é&")]), "a=1%2C2%203&b=%C3%A9%26");
    }
}
