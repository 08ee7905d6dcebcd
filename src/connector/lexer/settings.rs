//! What a Lexer Activity connection says, and the limits that it has.

use std::collections::BTreeMap;

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveTime, Offset as _, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use serde_json::Value;
use url::Url;

use crate::catalogue::Stream;
use crate::connector::CsvForm;
use crate::connector::export::Polling;
use crate::http::HttpError;
use crate::quota::{Calls, LimitSpec, Unit};
use crate::secret::Secret;

pub const DEFAULT_BASE_URL: &str = "https://api.lexer.io";
/// Where the status of a job is asked for: another host (`vendors/lexer.md §1`, `§9` no. 11).
pub const DEFAULT_STATUS_BASE_URL: &str = "https://clients.lexer.io";
/// The only documented category (`§3`).
pub const DEFAULT_NPS_CATEGORY: &str = "all";
/// What the page prints, although it is Team Volume's; the parser goes by what comes (`§5.3`).
pub const DEFAULT_WORKFLOW_STATES_TYPE: &str = "user_volume";

const REPORTS_PATH: &str = "/v1/activity/reports";
const STATUS_PATH: &str = "/api/public/v1/activity/reports/status";

/// Body fields that say what is asked for; nothing else may set them.
pub const OWN_FIELDS: &[&str] = &["type", "date_from", "date_to", "form", "nps_category"];

/// A checked account.
#[derive(Debug, Clone)]
pub struct Settings {
    pub polling: Polling,
    pub api_token: Secret,
    /// Without a trailing slash in its path.
    pub status_base_url: Url,
    /// Forms that NPS reports are read for; empty: those that the vendor calls NPS surveys, archived ones too.
    pub forms: Vec<i64>,
    pub nps_category: String,
    /// What requests are asked with and their labels are local to.
    pub utc_offset: UtcOffset,
    /// What the reports of intervals are counted by.
    pub intervals: Intervals,
    /// Further body fields, sent with every report: filters, whose names no document gives (`§3`).
    pub parameters: BTreeMap<String, Value>,
    pub workflow_states_type: String,
    pub response_volume_unit: ResponseUnit,
    pub csv: CsvForm,
}

/// The vendor takes one offset per request (`§8`): always the same, or that of a zone at the start of each slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UtcOffset {
    Fixed(FixedOffset),
    Zone(Tz),
}

impl UtcOffset {
    /// The offset for a slice that starts at `start`.
    pub fn at(self, start: DateTime<Utc>) -> FixedOffset {
        match self {
            Self::Fixed(offset) => offset,
            Self::Zone(zone) => start.with_timezone(&zone).offset().fix(),
        }
    }

    /// When a local date begins. Where a zone skips midnight, the first time that exists.
    pub(super) fn midnight(self, date: NaiveDate) -> DateTime<Utc> {
        let local = date.and_time(NaiveTime::MIN);
        let zone = match self {
            Self::Fixed(offset) => return (local - TimeDelta::seconds(offset.local_minus_utc().into())).and_utc(),
            Self::Zone(zone) => zone,
        };
        let mut quarters = (0..96).map(|quarter| local + TimeDelta::minutes(15 * quarter));
        let first = quarters.find_map(|time| zone.from_local_datetime(&time).earliest());
        first.map_or_else(|| local.and_utc(), |at| at.with_timezone(&Utc))
    }
}

/// The length of the intervals to ask for (`§8`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Intervals {
    #[default]
    Day,
    Hour,
}

/// The streams that can be had by hours; `nps_volume` has days only (`§5.12`).
pub const BY_HOURS: &[&str] = &["states_volume", "response_volume", "case_volume"];
/// Up to this every report gives hours; beyond, one of them changes to days (`§8`).
pub const HOURLY_DAYS_MAX: u32 = 3;

/// The unit of `response_volume`, which the vendor leaves in doubt (`§5.5`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ResponseUnit {
    #[default]
    Unknown,
    Seconds,
    Minutes,
}

impl ResponseUnit {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Seconds => "seconds",
            Self::Minutes => "minutes",
        }
    }
}

impl Settings {
    /// What tells this account's quota from another's.
    pub(in crate::connector) fn credential(&self) -> Vec<&str> {
        vec![self.api_token.expose()]
    }

    pub(in crate::connector) fn secrets(&self) -> Vec<Secret> {
        vec![self.api_token.clone()]
    }

    /// Base URLs beside the connection's that bear its credential too.
    pub(in crate::connector) fn own_bases(&self) -> Vec<&Url> {
        vec![&self.status_base_url]
    }

    /// The stream as this account is read: by hours, a slice is a day unless the job says otherwise.
    pub(in crate::connector) fn adapted(&self, mut stream: Stream) -> Stream {
        if self.intervals == Intervals::Hour && BY_HOURS.contains(&&*stream.name) {
            stream.windows.days = 1;
        }
        stream
    }

    /// The documented limits. The other host's calls count too: nothing says that they do not (`§1`).
    pub const fn limits(&self) -> &'static [LimitSpec] {
        LIMITS
    }

    /// The token is percent-encoded.
    pub(super) fn status_url(&self, job: &Secret) -> Result<Url, HttpError> {
        let mut url = below(&self.status_base_url, STATUS_PATH)?;
        url.query_pairs_mut().append_pair("token", job.expose());
        Ok(url)
    }

    pub(super) fn headers(&self) -> Vec<(&'static str, Secret)> {
        vec![("auth-api-token", self.api_token.clone())]
    }
}

pub(super) fn list_url(base_url: &Url, list: &str) -> Result<Url, HttpError> {
    below(base_url, &format!("/v1/{list}"))
}

pub(super) fn reports_url(base_url: &Url) -> Result<Url, HttpError> {
    below(base_url, REPORTS_PATH)
}

/// A path below the base URL.
fn below(base_url: &Url, path: &str) -> Result<Url, HttpError> {
    let mut url = base_url.clone();
    let whole = format!("{}{path}", base_url.path().trim_end_matches('/'));
    if url.cannot_be_a_base() {
        return Err(HttpError::Request("the base URL has no path".to_owned()));
    }
    url.set_path(&whole);
    Ok(url)
}

const LIMITS: &[LimitSpec] = &[limit("requests", 100, 300), limit("burst", 10, 1)];

const fn limit(name: &'static str, amount: u64, per_secs: u64) -> LimitSpec {
    LimitSpec { name, calls: Calls::Data, unit: Unit::Calls, amount, per_secs }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_has_the_offset_of_the_slice_and_its_own_midnights() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let (berlin, fixed) =
            (UtcOffset::Zone(chrono_tz::Europe::Berlin), UtcOffset::Fixed(FixedOffset::west_opt(12_600).unwrap()));
        for (offset, start, secs) in [
            (berlin, "2026-03-28T23:00:00Z", 3600),
            (berlin, "2026-03-29T22:00:00Z", 7200),
            (fixed, "2026-03-28T23:00:00Z", -12_600),
            (fixed, "2026-07-28T23:00:00Z", -12_600),
        ] {
            assert_eq!(offset.at(at(start)).local_minus_utc(), secs, "{start}");
        }
        let midnight = |offset: UtcOffset, date: &str| offset.midnight(date.parse().unwrap());
        assert_eq!(midnight(berlin, "2026-03-29"), at("2026-03-28T23:00:00Z"));
        assert_eq!(midnight(berlin, "2026-03-30"), at("2026-03-29T22:00:00Z"));
        assert_eq!(midnight(fixed, "2026-03-29"), at("2026-03-29T03:30:00Z"));
        // There is no midnight on that day.
        assert_eq!(midnight(UtcOffset::Zone(chrono_tz::America::Santiago), "2026-09-06"), at("2026-09-06T04:00:00Z"));
    }

    #[test]
    fn paths_stay_below_their_base_and_a_jobs_token_is_encoded() {
        let settings = Settings {
            polling: Polling::default(),
            api_token: Secret::new("t"),
            status_base_url: "https://clients.example/x".parse().unwrap(),
            forms: Vec::new(),
            nps_category: String::new(),
            utc_offset: UtcOffset::Fixed(FixedOffset::east_opt(0).unwrap()),
            intervals: Intervals::Day,
            parameters: BTreeMap::new(),
            workflow_states_type: String::new(),
            response_volume_unit: ResponseUnit::Unknown,
            csv: CsvForm::default(),
        };
        let base: Url = "https://api.example/lexer".parse().unwrap();
        assert_eq!(list_url(&base, "users").unwrap().as_str(), "https://api.example/lexer/v1/users");
        assert_eq!(reports_url(&base).unwrap().as_str(), "https://api.example/lexer/v1/activity/reports");
        let status = settings.status_url(&Secret::new("a b&c=+/?#ü")).unwrap();
        assert_eq!(
            status.as_str(),
            "https://clients.example/x/api/public/v1/activity/reports/status?token=a+b%26c%3D%2B%2F%3F%23%C3%BC"
        );
    }
}
