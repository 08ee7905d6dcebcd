//! Configuration of a Khoros Care connection: the keys, their checks, and the resulting settings
//! (`facts/khoros_care.md`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, SeqAccess, Visitor};
use url::Url;

use super::Khoros;
use super::streams::{marketing_export, marketing_name, streams};
use crate::catalogue::Stream;
use crate::connector::export::Polling;
use crate::connector::{
    AccountSettings, CsvForm, CsvKeys, OwnKeys, PollingKeys, SliceUse, Source, VendorPart, csv, polling,
};
use crate::http::{Redactor, basic};
use crate::quota::LimitSpec;
use crate::secret::Secret;
use crate::settings::{Credential, DurationText, KeyPath, Offset, Report, closest_hint, credential, read, secs};

/// For tenants in the USA; other tenants' administrators see their own (`facts/khoros_care.md §1`).
pub(super) const DEFAULT_BASE_URL: &str = "https://analytics-api.app.lithium.com/api/public";
/// `facts/khoros_care.md §5.1`, in milliseconds; a longer interval means months.
const INTERVALS: [u64; 11] = [
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
/// Maximum number of intervals in a request; the vendor's limit is somewhat higher (`§5.1`).
const BUCKETS_MAX: u64 = 31;

/// A checked account.
#[derive(Debug, Clone)]
pub struct Settings {
    pub polling: Polling,
    pub company_key: Secret,
    pub username: String,
    pub password: Secret,
    /// Language and date format of the files; always sent, so that titles do not change (`§7`).
    pub locale: String,
    /// UTC offset of dates in files, in milliseconds.
    pub timezone_offset: i64,
    pub report_format: ReportFormat,
    pub csv: CsvForm,
    /// How jobs are started (`§11.3`). `None`: by the method that the tenant supports.
    pub method: Option<Method>,
    /// The columns to request, by stream, as the vendor spells them. A stream without an entry has all enabled columns.
    pub metrics: BTreeMap<String, Vec<String>>,
    /// Further parameters of the create call, by stream. A parameter with several values occurs several times.
    pub parameters: BTreeMap<String, Vec<(String, String)>>,
    /// How far back the vendor has data (`§8`).
    pub history: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
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

impl AccountSettings for Settings {
    fn limits(&self) -> &'static [LimitSpec] {
        LIMITS
    }

    fn credential(&self) -> Vec<&str> {
        vec![self.company_key.expose(), &self.username, self.password.expose()]
    }

    fn secrets(&self) -> Vec<Secret> {
        vec![self.company_key.clone(), self.password.clone(), self.basic()]
    }

    fn source(&self, base_url: &Url) -> Box<dyn Source> {
        Box::new(Khoros::new(base_url.clone(), self.clone(), Redactor::new(self.secrets())))
    }

    fn account(&self) -> Vec<(&'static str, String)> {
        vec![("company_key", self.company_key.expose().to_owned())]
    }

    /// The vendor refuses a window with too many intervals (`§5.1`); the job sets the length of the window.
    fn check_slice(&self, used: &SliceUse<'_>, report: &mut Report<'_>) {
        if used.stream.name != "team_performance_interval" {
            return;
        }
        let parameters = self.parameters.get(&*used.stream.name).into_iter().flatten();
        let interval = parameters.filter(|(name, _)| name == INTERVAL).find_map(|(_, value)| value.parse().ok());
        let Some(interval) = interval.filter(|interval| is_interval(*interval)) else { return };
        let count = buckets(used.length.seconds(), interval);
        if count > BUCKETS_MAX {
            let path = KeyPath::default().key("connections").key(used.connection).key("parameters");
            let message = format!(
                "a slice of {} of the job `{}` has {count} intervals of {interval} ms, the vendor serves about \
                 {BUCKETS_MAX}; write `{INTERVAL}: {}` or more, or a shorter `slice`",
                used.length,
                used.job,
                interval_for(used.length.seconds()),
            );
            report.state(&path.key(&used.stream.name).key(INTERVAL), &message);
        }
    }
}

impl Settings {
    fn basic(&self) -> Secret {
        basic(&self.username, &self.password)
    }

    /// The credential of every call to the vendor, and of no other request (`§2`).
    pub(super) fn authorization(&self) -> (String, Secret) {
        ("Basic".to_owned(), self.basic())
    }

    /// The query that identifies the company.
    pub(super) fn company(&self) -> String {
        form(&[("companyKey", self.company_key.expose())])
    }
}

/// The shortest interval of `team_performance_interval`, in milliseconds, of which a slice has at most 31.
pub(super) fn interval_for(slice_secs: u64) -> u64 {
    INTERVALS.into_iter().find(|interval| buckets(slice_secs, *interval) <= BUCKETS_MAX).unwrap_or(INTERVALS[10])
}

/// Number of intervals in a slice. A day counts as 24 hours, even at a clock change.
fn buckets(slice_secs: u64, interval_ms: u64) -> u64 {
    const DAY: u64 = 86_400;
    let secs = if slice_secs < DAY { slice_secs } else { (slice_secs + DAY / 2) / DAY * DAY };
    (secs * 1000).div_ceil(interval_ms.max(1))
}

/// `name=value&…`, with everything encoded except letters, digits and `*-._`.
pub(super) fn form(pairs: &[(impl AsRef<str>, impl AsRef<str>)]) -> String {
    // `+` means a space only in forms, and most of these pairs are sent in a query.
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish().replace('+', "%20")
}

/// `facts/khoros_care.md §8`: it is not documented whether polls and downloads count, so they are counted.
const LIMITS: &[LimitSpec] = &[LimitSpec::calls("requests", 20, 60)];

/// The keys of a Khoros Care connection beyond those of every connection.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// The tenant's key, from Analytics API Settings.
    company_key: Option<Credential>,
    /// The API user's name.
    username: Option<String>,
    /// The API user's password.
    password: Option<Credential>,
    /// Language and date format of the files: `en`, `es`, `fr`, `de` or `tr`. A change renames the titles of CSV files.
    #[schemars(extend("default" = "en"))]
    locale: Option<String>,
    /// UTC offset of dates in files: `-06:00`, or milliseconds. It does not affect windows.
    #[schemars(extend("default" = 0))]
    timezone_offset: Option<Offset>,
    /// Format of the files. JSON has more columns, and their names do not depend on `locale`.
    #[schemars(extend("default" = "json"))]
    report_format: Option<ReportFormat>,
    /// Format of the files of `report_format: csv`, if it cannot be detected from them.
    csv: Option<CsvKeys>,
    /// How export jobs are started: by `post`, by `get`, or by the one that the tenant supports.
    #[schemars(extend("default" = "auto"))]
    method: Option<MethodKey>,
    /// The columns to request, by export: the vendor's metric ids as it spells them. If left out, all columns that the
    /// company has enabled.
    #[schemars(with = "Option<BTreeMap<String, Vec<String>>>", extend("default" = {}))]
    metrics: Option<BTreeMap<String, Vec<Option<String>>>>,
    /// Further parameters, by export: filters such as `teamIds`, and parameters of one export, such as `timeInterval`.
    #[schemars(extend("default" = {}))]
    parameters: Option<BTreeMap<String, BTreeMap<String, Values>>>,
    /// Publishing exports, name: export id. Each becomes a stream and a table `marketing_NAME`.
    #[schemars(extend("default" = {}))]
    marketing: Option<BTreeMap<String, String>>,
    /// How far back the vendor has data. Windows before that are skipped.
    #[schemars(extend("default" = "546d"))]
    history: Option<DurationText>,
    /// Polling of export jobs.
    polling: Option<PollingKeys>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum MethodKey {
    Auto,
    Post,
    Get,
}

/// One value or a list of values. A refused item is `None`.
#[derive(Debug)]
struct Values(Vec<Option<String>>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValuesVisitor)
    }
}

struct ValuesVisitor;

impl<'de> Visitor<'de> for ValuesVisitor {
    type Value = Values;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value or a list of values")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Values, E> {
        Ok(Values(vec![Some(text.to_owned())]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Values, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(items)).map(Values)
    }
}

impl JsonSchema for Values {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Values".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let value = ["string", "number", "boolean"];
        json_schema!({ "anyOf": [
            { "type": value },
            { "type": "array", "minItems": 1, "items": { "type": value } },
        ] })
    }
}

const LOCALE: &str = "en";
/// 18 months, at their shortest (`facts/khoros_care.md §8`).
const HISTORY_DAYS: u64 = 546;
const DAY_SECS: u64 = 86_400;
const ID_CHARACTERS_MAX: usize = 100;

/// Parameters that Tidegate sets, and what to configure instead.
const OURS: &[(&str, &str)] = &[
    ("companyKey", "write it as `company_key`"),
    ("startTime", "it is the window's"),
    ("endTime", "it is the window's"),
    ("reportFormat", "write it as `report_format`"),
    ("reportMetrics", "write them under `metrics`"),
    ("locale", "write it as `locale`"),
    ("timezone", "write a fixed distance as `timezone_offset`"),
    ("timezoneOffset", "write it as `timezone_offset`"),
    ("conversationReportType", "all three are read"),
];
const INTERVAL: &str = "timeInterval";
const HOURS: &str = "businessHourType";
const HOURS_ENABLED: &str = "enableBusinessHour";
const PRIORITIES: &str = "priorities";
const SMART_VIEW: &str = "smartViewId";
/// Parameters whose value is `true` or `false` (`§4, §5.1`).
const FLAGS: &[&str] = &[HOURS, HOURS_ENABLED, "includeDisabled", "raiselimit"];
/// Lists that are sent as one value with commas; any other list repeats the parameter (`§4`).
const WITH_COMMAS: &[&str] = &[PRIORITIES, "workqueueIds", "teamIds"];
const REPEATED: &[&str] = &["agentId", "teamId"];
/// Parameters that the export `user` does not have (`§5`).
const NOT_OF_USER: &[&str] = &[HOURS, HOURS_ENABLED, PRIORITIES, SMART_VIEW, "workqueueIds"];

/// JSON Schema of the keys.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Keys>()
}

pub(super) fn check(own: &OwnKeys<'_>, report: &mut Report<'_>) -> VendorPart {
    let path = own.path;
    let mut raw: Keys = read(own.node, path, own.common, "a khoros_care connection", report);
    let extra_streams = marketing(&raw.marketing.take().unwrap_or_default(), &path.key("marketing"), report);
    let exports: Vec<String> = streams()
        .iter()
        .chain(&extra_streams)
        .filter(|stream| stream.exported)
        .map(|stream| stream.name.to_string())
        .collect();
    let settings = Settings {
        polling: polling(raw.polling, path, report),
        company_key: credential(
            raw.company_key,
            &path.key("company_key"),
            "write the tenant's key: `company_key: ${KHOROS_COMPANY_KEY}`",
            report,
        ),
        username: username(raw.username, &path.key("username"), report),
        password: credential(
            raw.password,
            &path.key("password"),
            "write the API user's password: `password: ${KHOROS_PASSWORD}`",
            report,
        ),
        locale: locale(raw.locale, &path.key("locale"), report),
        timezone_offset: raw.timezone_offset.map_or(0, |offset| offset.0),
        report_format: raw.report_format.unwrap_or(ReportFormat::Json),
        csv: csv(raw.csv, path, report),
        method: match raw.method {
            Some(MethodKey::Get) => Some(Method::Get),
            Some(MethodKey::Post) => Some(Method::Post),
            Some(MethodKey::Auto) | None => None,
        },
        metrics: metrics(raw.metrics.unwrap_or_default(), &exports, &path.key("metrics"), report),
        parameters: parameters(raw.parameters.unwrap_or_default(), &exports, &path.key("parameters"), report),
        history: report.duration(
            &path.key("history"),
            raw.history,
            &(secs(DAY_SECS)..=secs(3_660 * DAY_SECS)),
            secs(HISTORY_DAYS * DAY_SECS),
        ),
    };
    if settings.report_format == ReportFormat::Json && settings.csv != CsvForm::default() {
        report.state(&path.key("csv"), "has no effect on JSON files; remove it, or write `report_format: csv`");
    }
    VendorPart { settings: Arc::new(settings), extra_streams }
}

fn username(raw: Option<String>, path: &KeyPath, report: &mut Report<'_>) -> String {
    match &raw {
        None => report.missing(path, "write the API user's name: `username: reports@example.com`"),
        // In Basic authentication, a colon ends the name.
        Some(name) if name.trim().is_empty() || name.contains(':') || name.contains(char::is_control) => {
            report.refuse(path, "is not a user's name; write it without a `:`");
        }
        Some(_) => {}
    }
    raw.unwrap_or_default()
}

/// Sent unchanged: the vendor's own examples have a locale that is not in its list (`§11.8`).
fn locale(raw: Option<String>, path: &KeyPath, report: &mut Report<'_>) -> String {
    let locale = raw.unwrap_or_else(|| LOCALE.to_owned());
    if locale.is_empty() || !locale.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
        report.refuse(path, format!("is not a locale; write one of `en`, `es`, `fr`, `de`, `tr` (default `{LOCALE}`)"));
    }
    locale
}

/// Whether `name` is an export; reports a fault if it is not.
fn is_export(name: &str, exports: &[String], path: &KeyPath, report: &mut Report<'_>) -> bool {
    let known = exports.iter().any(|export| export == name);
    if !known {
        let hint = closest_hint(name, exports.iter().map(String::as_str));
        report.state(path, &format!("`{name}` is not an export{hint}"));
    }
    known
}

fn metrics(
    raw: BTreeMap<String, Vec<Option<String>>>,
    exports: &[String],
    path: &KeyPath,
    report: &mut Report<'_>,
) -> BTreeMap<String, Vec<String>> {
    let mut checked = BTreeMap::new();
    for (export, listed) in raw {
        let path = path.key(&export);
        if !is_export(&export, exports, &path, report) {
            continue;
        }
        let mut metrics = Vec::new();
        for (index, metric) in listed.into_iter().enumerate() {
            match metric.filter(|metric| !metric.trim().is_empty()) {
                Some(metric) if metrics.contains(&metric) => {
                    report.refuse(&path.index(index), "is in the list already; keep one");
                }
                Some(metric) => metrics.push(metric),
                None => report.missing(&path.index(index), "write a metric's id, or remove the entry"),
            }
        }
        checked.insert(export, metrics);
    }
    checked
}

fn parameters(
    raw: BTreeMap<String, BTreeMap<String, Values>>,
    exports: &[String],
    path: &KeyPath,
    report: &mut Report<'_>,
) -> BTreeMap<String, Vec<(String, String)>> {
    let mut checked = BTreeMap::new();
    for (export, listed) in raw {
        let path = path.key(&export);
        if !is_export(&export, exports, &path, report) {
            continue;
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, values) in listed {
            let path = path.key(&name);
            let values = values_of(values, &path, report);
            if let Some(problem) = parameter_problem(&export, &name, &values) {
                report.state(&path, &problem);
            }
            if WITH_COMMAS.contains(&name.as_str()) {
                pairs.push((name, values.join(",")));
            } else {
                pairs.extend(values.into_iter().map(|value| (name.clone(), value)));
            }
        }
        let value_of = |name: &str| pairs.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
        match (value_of(HOURS), value_of(HOURS_ENABLED)) {
            (Some(_), None) => pairs.push((HOURS_ENABLED.to_owned(), "true".to_owned())),
            (Some(_), Some("false")) => {
                let message = format!("`{HOURS}` has no effect with `{HOURS_ENABLED}: false`; remove one of them");
                report.state(&path.key(HOURS_ENABLED), &message);
            }
            _ => {}
        }
        checked.insert(export, pairs);
    }
    checked
}

fn values_of(raw: Values, path: &KeyPath, report: &mut Report<'_>) -> Vec<String> {
    let fits = |value: &String| !value.trim().is_empty() && !value.contains(char::is_control);
    let count = raw.0.len();
    let values: Vec<String> = raw.0.into_iter().flatten().filter(fits).collect();
    if values.is_empty() || values.len() < count {
        report.missing(path, "write a value, or remove the parameter");
    }
    values
}

/// Why a parameter cannot be passed on (`§4, §5.1`). Their names are case-sensitive.
fn parameter_problem(export: &str, name: &str, values: &[String]) -> Option<String> {
    let known = || {
        let ours = OURS.iter().map(|(name, _)| *name);
        ours.chain(FLAGS.iter().copied())
            .chain(WITH_COMMAS.iter().copied())
            .chain(REPEATED.iter().copied())
            .chain([INTERVAL, SMART_VIEW])
    };
    if let Some(right) = known().find(|known| known.eq_ignore_ascii_case(name) && *known != name) {
        return Some(format!("the vendor's names are case-sensitive; write `{right}`"));
    }
    if let Some((_, where_to)) = OURS.iter().find(|(ours, _)| *ours == name) {
        return Some(format!("`{name}` is set by Tidegate ({where_to}); remove it"));
    }
    if export == "user" && NOT_OF_USER.contains(&name) {
        return Some(format!("the export `user` has no parameter `{name}`; remove it"));
    }
    if values.len() > 1 && !WITH_COMMAS.contains(&name) && !REPEATED.contains(&name) {
        return Some(format!("`{name}` has one value only"));
    }
    let wrong = |fits: &dyn Fn(&str) -> bool| values.iter().any(|value| !value.split(',').all(fits));
    if FLAGS.contains(&name) && wrong(&|value| matches!(value, "true" | "false")) {
        return Some(format!("`{name}` is `true` or `false`"));
    }
    if name == PRIORITIES && wrong(&|value| matches!(value.trim(), "0" | "1" | "2" | "3" | "4" | "5")) {
        return Some("priorities are from 0 to 5".to_owned());
    }
    (name == INTERVAL && wrong(&|value| value.parse().is_ok_and(is_interval))).then(|| {
        let known = INTERVALS.map(|interval| interval.to_string()).join(", ");
        format!("no such interval; write one of {known} (milliseconds), or more for months")
    })
}

fn is_interval(ms: u64) -> bool {
    INTERVALS.contains(&ms) || ms > INTERVALS[INTERVALS.len() - 1]
}

/// A stream for each Publishing export (`§11.18`).
fn marketing(exports: &BTreeMap<String, String>, path: &KeyPath, report: &mut Report<'_>) -> Vec<Stream> {
    let mut streams: Vec<Stream> = Vec::new();
    for (name, id) in exports {
        let path = path.key(name);
        let table = marketing_name(name);
        if !name.contains(char::is_alphanumeric) {
            report.state(&path, "an export's name must have letters or digits; rename it");
        } else if streams.iter().any(|stream| stream.name == table) {
            report.state(&path, &format!("another export becomes the stream `{table}` too; rename one of them"));
        }
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if id.is_empty() || id.len() > ID_CHARACTERS_MAX || !id.chars().all(letter) {
            report.refuse(&path, "is not an export id; write the last part of its path, such as `raw_brand_post`");
        }
        streams.push(marketing_export(name, id));
    }
    streams
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
    fn a_space_is_encoded_as_in_a_query() {
        assert_eq!(form(&[("a", "1,2 3"), ("b", "é&")]), "a=1%2C2%203&b=%C3%A9%26");
    }
}
