//! Configuration of a Lexer Activity connection: the keys, their checks, and the resulting settings
//! (`facts/lexer.md`).

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::FixedOffset;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::Lexer;
use crate::catalogue::{SliceLength, Stream};
use crate::connector::export::Polling;
use crate::connector::request::below;
use crate::connector::{
    AccountSettings, CsvForm, CsvKeys, OwnKeys, PollingKeys, SliceUse, Source, UtcOffset, VendorPart, csv, polling,
};
use crate::http::{HttpError, Redactor};
use crate::quota::LimitSpec;
use crate::secret::Secret;
use crate::settings::{Credential, Integer, KeyPath, Report, closest_zone, credential, parse_base_url, read, stand_in};

pub(super) const DEFAULT_BASE_URL: &str = "https://api.lexer.io";
/// The host for the status of a job (`facts/lexer.md §1`, `§9` no. 11).
pub(super) const DEFAULT_STATUS_BASE_URL: &str = "https://clients.lexer.io";
/// The only documented category (`§3`).
pub(super) const DEFAULT_NPS_CATEGORY: &str = "all";
/// The documented type, although it is that of Team Volume; the parser accepts both shapes (`§5.3`).
pub(super) const DEFAULT_WORKFLOW_STATES_TYPE: &str = "user_volume";

const REPORTS_PATH: &str = "/v1/activity/reports";
const STATUS_PATH: &str = "/api/public/v1/activity/reports/status";

/// Body fields that only Tidegate sets.
const OWN_FIELDS: &[&str] = &["type", "date_from", "date_to", "form", "nps_category"];

/// A checked account.
#[derive(Debug, Clone)]
pub struct Settings {
    pub polling: Polling,
    pub api_token: Secret,
    /// Without a trailing slash in its path.
    pub status_base_url: Url,
    /// Forms whose NPS reports are read; empty: all that the vendor lists as NPS surveys, including archived ones.
    pub forms: Vec<i64>,
    pub nps_category: String,
    /// The offset of the dates in requests, and of the labels in responses.
    pub utc_offset: UtcOffset,
    /// The length of the intervals.
    pub intervals: Intervals,
    /// Further body fields of every report: filters, whose names are not documented (`§3`).
    pub parameters: BTreeMap<String, Value>,
    pub workflow_states_type: String,
    pub response_volume_unit: ResponseUnit,
    pub csv: CsvForm,
}

/// The length of the requested intervals (`§8`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Intervals {
    #[default]
    Day,
    Hour,
}

/// The streams that can be read by hours; `nps_volume` has only days (`§5.12`).
pub(super) const BY_HOURS: &[&str] = &["states_volume", "response_volume", "case_volume"];
/// Longest range for which all these reports have hours; beyond it, one of them switches to days (`§8`).
pub(super) const HOURLY_DAYS_MAX: u32 = 3;

/// The unit of `response_volume`, which is not clearly documented (`§5.5`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
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

impl AccountSettings for Settings {
    fn limits(&self) -> &'static [LimitSpec] {
        // Calls to the other host are counted too, because the documentation does not exclude them (`§1`).
        LIMITS
    }

    fn credential(&self) -> Vec<&str> {
        vec![self.api_token.expose()]
    }

    fn secrets(&self) -> Vec<Secret> {
        vec![self.api_token.clone()]
    }

    fn source(&self, base_url: &Url) -> Box<dyn Source> {
        Box::new(Lexer::new(base_url.clone(), self.clone(), Redactor::new(self.secrets())))
    }

    fn own_bases(&self) -> Vec<&Url> {
        vec![&self.status_base_url]
    }

    fn utc_offset(&self) -> Option<UtcOffset> {
        Some(self.utc_offset)
    }

    /// By hours, the default length of a slice is a day.
    fn adapted(&self, mut stream: Stream) -> Stream {
        if self.intervals == Intervals::Hour && BY_HOURS.contains(&&*stream.name) {
            stream.windows.days = 1;
        }
        stream
    }

    /// The vendor has hours only for short ranges (`§8`); the job sets the length of a slice.
    fn check_slice(&self, used: &SliceUse<'_>, report: &mut Report<'_>) {
        let is_too_long = matches!(used.length, SliceLength::Days(days) if days > HOURLY_DAYS_MAX);
        if self.intervals == Intervals::Hour && BY_HOURS.contains(&&*used.stream.name) && is_too_long {
            let message = format!(
                "a slice of `{}` is too long for `{}` by hours, which the vendor has for at most `{HOURLY_DAYS_MAX}d`; write \
                 `slice: 1d` for this stream, or `intervals: day` for the connection `{}`",
                used.length, used.stream.name, used.connection,
            );
            report.state(&KeyPath::default().key("jobs").key(used.job).key("streams"), &message);
        }
    }
}

impl Settings {
    /// The token is percent-encoded.
    pub(super) fn status_url(&self, job: &Secret) -> Result<Url, HttpError> {
        let mut url = below(&self.status_base_url, STATUS_PATH, None)?;
        url.query_pairs_mut().append_pair("token", job.expose());
        Ok(url)
    }

    pub(super) fn headers(&self) -> Vec<(&'static str, Secret)> {
        vec![("auth-api-token", self.api_token.clone())]
    }
}

pub(super) fn list_url(base_url: &Url, list: &str) -> Result<Url, HttpError> {
    below(base_url, &format!("/v1/{list}"), None)
}

pub(super) fn reports_url(base_url: &Url) -> Result<Url, HttpError> {
    below(base_url, REPORTS_PATH, None)
}

const LIMITS: &[LimitSpec] = &[LimitSpec::calls("requests", 100, 300), LimitSpec::calls("burst", 10, 1)];

/// The keys of a Lexer Activity connection beyond those of every connection.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// The API token, of type Activity.
    api_token: Option<Credential>,
    /// The vendor's second host, which returns the status of CSV jobs. The token is sent there too.
    #[schemars(extend("default" = "https://clients.lexer.io"))]
    status_base_url: Option<String>,
    /// Ids of the forms whose NPS reports are read; if left out, all that the vendor lists as NPS surveys.
    #[schemars(with = "Option<Vec<Integer>>", extend("default" = []))]
    forms: Option<Vec<Option<Integer>>>,
    /// Which submissions NPS reports count.
    #[schemars(extend("default" = "all"))]
    nps_category: Option<String>,
    /// The UTC offset of requests and intervals: a fixed offset, or an IANA zone, whose offset at the start of each
    /// slice applies.
    #[schemars(regex(pattern = r"^([+-][0-9]{2}:[0-9]{2}|[A-Za-z][A-Za-z0-9_+/-]*)$"), extend("default" = "+00:00"))]
    utc_offset: Option<String>,
    /// Intervals of `states_volume`, `response_volume` and `case_volume`. Hours need slices of at most three days.
    #[schemars(extend("default" = "day"))]
    intervals: Option<Intervals>,
    /// Further fields of every report's body, such as filters. A text that is a number or a flag is sent as such.
    #[schemars(extend("default" = {}))]
    parameters: Option<BTreeMap<String, Value>>,
    /// The report type that the stream `workflow_states` requests.
    #[schemars(extend("default" = "user_volume"))]
    workflow_states_type: Option<String>,
    /// Value of the column `unit` of `response_volume`.
    #[schemars(extend("default" = "unknown"))]
    response_volume_unit: Option<ResponseUnit>,
    /// Format of CSV files, if it cannot be detected from them.
    csv: Option<CsvKeys>,
    /// Polling of CSV jobs.
    polling: Option<PollingKeys>,
}

/// The largest UTC offset of a zone.
const OFFSET_SECS_MAX: i32 = 14 * 3600;
const UTC_OFFSET: &str = "+00:00";

/// JSON Schema of the keys.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Keys>()
}

pub(super) fn check(own: &OwnKeys<'_>, report: &mut Report<'_>) -> VendorPart {
    let path = own.path;
    let raw: Keys = read(own.node, path, own.common, "a lexer_activity connection", report);
    let settings = Settings {
        polling: polling(raw.polling, path, report),
        api_token: credential(
            raw.api_token,
            &path.key("api_token"),
            "write the token: `api_token: ${LEXER_API_TOKEN}`",
            report,
        ),
        status_base_url: status_base_url(raw.status_base_url.as_deref(), &path.key("status_base_url"), report),
        forms: forms(&raw.forms.unwrap_or_default(), &path.key("forms"), report),
        nps_category: word(raw.nps_category, DEFAULT_NPS_CATEGORY, &path.key("nps_category"), report),
        utc_offset: utc_offset(raw.utc_offset.as_deref(), &path.key("utc_offset"), report),
        intervals: raw.intervals.unwrap_or_default(),
        parameters: parameters(raw.parameters.unwrap_or_default(), &path.key("parameters"), report),
        workflow_states_type: word(
            raw.workflow_states_type,
            DEFAULT_WORKFLOW_STATES_TYPE,
            &path.key("workflow_states_type"),
            report,
        ),
        response_volume_unit: raw.response_volume_unit.unwrap_or_default(),
        csv: csv(raw.csv, path, report),
    };
    VendorPart { settings: Arc::new(settings), extra_streams: Vec::new() }
}

fn status_base_url(raw: Option<&str>, path: &KeyPath, report: &mut Report<'_>) -> Url {
    parse_base_url(raw.unwrap_or(DEFAULT_STATUS_BASE_URL), DEFAULT_STATUS_BASE_URL).unwrap_or_else(|problem| {
        report.refuse(path, problem);
        stand_in()
    })
}

fn forms(raw: &[Option<Integer>], path: &KeyPath, report: &mut Report<'_>) -> Vec<i64> {
    let mut forms = Vec::new();
    for (index, form) in raw.iter().enumerate() {
        let path = path.index(index);
        match form {
            None => report.missing(&path, "write the id of a form, or remove the entry"),
            Some(Integer(form)) if forms.contains(form) => report.refuse(&path, "is in the list already; keep one"),
            Some(Integer(form)) => forms.push(*form),
        }
    }
    forms
}

/// Checks a word of the vendor.
fn word(raw: Option<String>, default: &str, path: &KeyPath, report: &mut Report<'_>) -> String {
    let text = raw.unwrap_or_else(|| default.to_owned());
    if text.is_empty() || text.len() > 100 || !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    {
        report.refuse(path, format!("is not a word of letters, digits, `-` and `_`; the default is `{default}`"));
    }
    text
}

fn utc_offset(raw: Option<&str>, path: &KeyPath, report: &mut Report<'_>) -> UtcOffset {
    let text = raw.unwrap_or(UTC_OFFSET);
    if let Some(offset) = read_offset(text) {
        return UtcOffset::Fixed(offset);
    }
    if let Ok(zone) = text.parse() {
        return UtcOffset::Zone(zone);
    }
    let hint = closest_zone(text).map_or_else(
        || {
            "write hours and minutes with a sign, such as `-03:00`, or an IANA zone such as `America/Santiago`"
                .to_owned()
        },
        |zone| format!("did you mean `{zone}`?"),
    );
    report.refuse(path, format!("is neither an offset nor a time zone; {hint}"));
    UtcOffset::Fixed(chrono::Offset::fix(&chrono::Utc))
}

/// `+HH:MM` or `-HH:MM`.
fn read_offset(text: &str) -> Option<FixedOffset> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':').filter(|(hours, minutes)| hours.len() == 2 && minutes.len() == 2)?;
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<i32>().ok())?;
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let secs = hours * 3600 + minutes * 60;
    (minutes < 60 && secs <= OFFSET_SECS_MAX).then(|| FixedOffset::east_opt(sign * secs))?
}

/// Converts texts that are numbers or flags, also inside lists and maps.
fn parameters(raw: BTreeMap<String, Value>, path: &KeyPath, report: &mut Report<'_>) -> BTreeMap<String, Value> {
    for name in raw.keys().filter(|name| OWN_FIELDS.contains(&name.as_str())) {
        report.state(&path.key(name), "is set by Tidegate itself; remove it");
    }
    raw.into_iter().map(|(name, value)| (name, typed(value))).collect()
}

fn typed(value: Value) -> Value {
    match value {
        Value::String(text) => match serde_json::from_str(&text) {
            Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
            _ => Value::String(text),
        },
        Value::Array(items) => items.into_iter().map(typed).collect(),
        Value::Object(members) => members.into_iter().map(|(name, value)| (name, typed(value))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn offsets_are_hours_and_minutes_with_a_sign() {
        let secs = |text| read_offset(text).map(|offset| offset.local_minus_utc());
        assert_eq!(secs("+00:00"), Some(0));
        assert_eq!((secs("-03:30"), secs("+14:00")), (Some(-12_600), Some(50_400)));
        for odd in ["", "+", "Z", "UTC", "00:00", "+0:00", "+00:60", "+14:01", "+1400", "+ab:00", "é00:00", "++1:00"] {
            assert_eq!(secs(odd), None, "{odd}");
        }
    }

    #[test]
    fn parameters_that_read_as_numbers_are_numbers() {
        let typed = typed(serde_json::json!({ "a": "41", "b": ["true", "x", "1.5"], "c": { "d": "" } }));
        assert_eq!(typed, serde_json::json!({ "a": 41, "b": [true, "x", 1.5], "c": { "d": "" } }));
    }
}
