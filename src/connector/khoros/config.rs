//! Configuration of a Khoros Care connection: the keys, their checks, and the resulting settings
//! (`facts/khoros_care.md`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use url::Url;

use super::Khoros;
use super::parameters::{BUCKETS_MAX, INTERVAL, Values, buckets, interval_for, is_interval, metrics, parameters};
use super::streams::{marketing_export, marketing_name, streams};
use crate::catalogue::Stream;
use crate::connector::export::Polling;
use crate::connector::{
    AccountSettings, CsvForm, CsvKeys, OwnKeys, PollingKeys, SliceUse, Source, VendorPart, csv, polling,
};
use crate::http::{Redactor, basic};
use crate::quota::LimitSpec;
use crate::secret::Secret;
use crate::settings::{Credential, DurationText, KeyPath, Offset, Report, credential, read, secs};

/// For tenants in the USA; other tenants' administrators see their own (`facts/khoros_care.md §1`).
pub(super) const DEFAULT_BASE_URL: &str = "https://analytics-api.app.lithium.com/api/public";

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

const LOCALE: &str = "en";
/// 18 months, at their shortest (`facts/khoros_care.md §8`).
const HISTORY_DAYS: u64 = 546;
const DAY_SECS: u64 = 86_400;
const ID_CHARACTERS_MAX: usize = 100;

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
    fn a_space_is_encoded_as_in_a_query() {
        assert_eq!(form(&[("a", "1,2 3"), ("b", "é&")]), "a=1%2C2%203&b=%C3%A9%26");
    }
}
