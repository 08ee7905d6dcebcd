//! Configuration of a Lynn Reporting connection: the keys, their checks, and the resulting settings
//! (`facts/lynn.md`).

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use chrono::{Duration, NaiveDate, NaiveDateTime};
use chrono_tz::Tz;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use url::Url;
use uuid::Uuid;

use super::super::lynn_account::{self, Account, AccountKeys, template};
use super::super::lynn_outbound::streams::streams as outbound_streams;
use super::Lynn;
use super::streams::{extra_report, streams as own_streams};
use crate::catalogue::{Stream, Text, column_name};
use crate::connector::{AccountSettings, OwnKeys, Source, VendorPart};
use crate::http::{HttpError, Redactor};
use crate::quota::LimitSpec;
use crate::secret::Secret;
use crate::settings::{Bool, Integer, KeyPath, Report, flag};

/// A checked Lynn Reporting account. Unconfirmed paths, verbs and formats are settings (`facts/lynn.md §11`).
#[derive(Debug, Clone)]
pub struct Settings {
    pub account: Account,
    /// Path template with `{tenant}` and `{report_id}`.
    pub execute_report_path: String,
    /// HTTP verb of `ExecuteReport`.
    pub execute_report_method: HttpMethod,
    /// Zone of `startDate` and `endDate` (`§10.2`), default UTC.
    pub filter_timezone: Tz,
    /// chrono format of `startDate` and `endDate`, 24-hour (`§10.1`).
    pub date_format: String,
    /// Rows requested per page, 1 to 10000 (`§10.23`).
    pub page_size: u32,
    /// Read one more page when the last planned one was full (`§3.1`); costs a call.
    pub probe_full_page: bool,
    /// Fail a window whose response is valid but has errors (`§10.21`).
    pub fail_on_errors: bool,
}

impl AccountSettings for Settings {
    fn limits(&self) -> &'static [LimitSpec] {
        self.account.limits()
    }

    fn credential(&self) -> Vec<&str> {
        self.account.credential()
    }

    fn secrets(&self) -> Vec<Secret> {
        self.account.secrets()
    }

    fn source(&self, base_url: &Url) -> Box<dyn Source> {
        Box::new(Lynn::new(base_url.clone(), self.clone(), Redactor::new(self.secrets())))
    }

    fn account(&self) -> Vec<(&'static str, String)> {
        vec![("tenant", self.account.tenant.to_string())]
    }

    fn filter_zone(&self) -> Tz {
        self.filter_timezone
    }
}

impl Settings {
    pub(super) fn execute_report_url(&self, base_url: &Url, report_id: &str) -> Result<Url, HttpError> {
        self.account.url(base_url, &self.execute_report_path.replace("{report_id}", report_id))
    }
}

/// The keys of a Lynn Reporting connection beyond those of every connection and of the credential.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// Paths below `base_url`.
    paths: Option<LynnPaths>,
    /// The tenant's own reports, name: report id. Each becomes a stream and a table of that name.
    #[schemars(extend("default" = {}))]
    reports: Option<BTreeMap<String, String>>,
    /// HTTP verb of the report call.
    #[schemars(extend("default" = "POST"))]
    method: Option<HttpMethod>,
    /// Zone in which the vendor reads the start and end of a window.
    #[schemars(extend("default" = "UTC"))]
    filter_timezone: Option<String>,
    /// How the start and end of a window are written, in strftime letters.
    #[schemars(extend("default" = "%Y-%m-%d %H:%M:%S"))]
    date_format: Option<String>,
    /// Rows requested per page.
    #[schemars(range(min = 1, max = 10000), extend("default" = 10000))]
    page_size: Option<Integer>,
    /// Read one more page when the last planned one was full; costs a call.
    #[schemars(extend("default" = true))]
    probe_full_page: Option<Bool>,
    /// Fail a window whose response is valid but lists errors.
    #[schemars(extend("default" = true))]
    fail_on_errors: Option<Bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
pub enum HttpMethod {
    Post,
    Get,
    Put,
}

impl HttpMethod {
    pub(super) const fn verb(self) -> reqwest::Method {
        match self {
            Self::Post => reqwest::Method::POST,
            Self::Get => reqwest::Method::GET,
            Self::Put => reqwest::Method::PUT,
        }
    }
}

/// Path templates; `{tenant}` and `{report_id}` are filled in.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LynnPaths {
    /// Obtains a token.
    #[schemars(extend("default" = "/api/LynnReporting/CreateToken"))]
    create_token: Option<String>,
    /// Runs a report; must hold `{report_id}`.
    #[schemars(extend("default" = "/api/LynnReporting/ExecuteReport/{tenant}/{report_id}"))]
    execute_report: Option<String>,
}

const CREATE_TOKEN_PATH: &str = "/api/LynnReporting/CreateToken";
const EXECUTE_REPORT_PATH: &str = "/api/LynnReporting/ExecuteReport/{tenant}/{report_id}";
const DATE_FORMAT: &str = "%Y-%m-%d %H:%M:%S";
const PAGE_SIZE: u32 = 10_000;

/// JSON Schema of the keys.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    lynn_account::schema::<Keys>(generator)
}

pub(super) fn check(own: &OwnKeys<'_>, report: &mut Report<'_>) -> VendorPart {
    let path = own.path;
    let (account, mut raw): (_, Keys) = lynn_account::read(own, "a lynn_reporting connection", report);
    let reports = raw.reports.take().unwrap_or_default();
    VendorPart {
        settings: Arc::new(settings(account, raw, path, report)),
        extra_streams: extra_streams(&reports, &path.key("reports"), report),
    }
}

fn settings(account: AccountKeys, raw: Keys, path: &KeyPath, report: &mut Report<'_>) -> Settings {
    let paths = raw.paths.unwrap_or_default();
    Settings {
        account: account.check(paths.create_token, CREATE_TOKEN_PATH, path, report),
        execute_report_path: template(
            paths.execute_report,
            EXECUTE_REPORT_PATH,
            &["tenant", "report_id"],
            Some(("{report_id}", "does not say which report")),
            &path.key("paths").key("execute_report"),
            report,
        ),
        execute_report_method: raw.method.unwrap_or(HttpMethod::Post),
        filter_timezone: report.zone(&path.key("filter_timezone"), raw.filter_timezone.as_deref()),
        date_format: date_format(raw.date_format, &path.key("date_format"), report),
        page_size: report.integer(&path.key("page_size"), raw.page_size, 1..=10_000, PAGE_SIZE),
        probe_full_page: flag(raw.probe_full_page, true),
        fail_on_errors: flag(raw.fail_on_errors, true),
    }
}

fn date_format(raw: Option<String>, path: &KeyPath, report: &mut Report<'_>) -> String {
    // The default is a constant, and there may be hundreds of connections.
    let Some(text) = raw else { return DATE_FORMAT.to_owned() };
    if let Some(problem) = date_format_problem(&text) {
        report.refuse(path, format!("{problem}; the default is `{DATE_FORMAT}`"));
    }
    text
}

/// The format must distinguish any two ends of slices, on a 24-hour clock, and needs no zone.
fn date_format_problem(format: &str) -> Option<&'static str> {
    let written = |time: NaiveDateTime| {
        let mut text = String::new();
        write!(text, "{}", time.format(format)).ok().map(|()| text)
    };
    let base = NaiveDate::from_ymd_opt(2026, 1, 1).and_then(|day| day.and_hms_opt(1, 0, 0)).unwrap_or_default();
    let Some(first) = written(base) else {
        return Some("is not a date format; use strftime letters without a zone (`filter_timezone` is the zone)");
    };
    let apart = [
        (Duration::days(365), "does not write the year"),
        (Duration::days(31), "does not write the month"),
        (Duration::days(1), "does not write the day"),
        (Duration::hours(12), "does not write the hour on a 24-hour clock (`%H`)"),
        (Duration::minutes(1), "does not write the minute"),
        (Duration::seconds(1), "does not write the second"),
    ];
    apart.iter().find(|(step, _)| written(base + *step).is_none_or(|text| text == first)).map(|(_, problem)| *problem)
}

/// Names of the streams that every Lynn connection has, which no report may have.
static TAKEN: LazyLock<HashSet<Text>> =
    LazyLock::new(|| own_streams().into_iter().chain(outbound_streams()).map(|stream| stream.name).collect());

/// A stream for each extra report.
fn extra_streams(reports: &BTreeMap<String, String>, path: &KeyPath, report: &mut Report<'_>) -> Vec<Stream> {
    let mut streams: Vec<Stream> = Vec::new();
    for (name, id) in reports {
        let path = path.key(name);
        let table = column_name(name);
        let taken = TAKEN.contains(&*table);
        if !name.contains(char::is_alphanumeric) {
            report.state(&path, "a report's name must have letters or digits; rename it");
        } else if taken {
            report.state(&path, &format!("the stream `{table}` exists already; give the report another name"));
        } else if streams.iter().any(|stream| stream.name == table) {
            report.state(&path, &format!("another report becomes the stream `{table}` too; rename one of them"));
        }
        if id.len() != 36 || Uuid::try_parse(id).is_err() {
            report.refuse(&path, "is not a report id; write a GUID such as `00000000-0000-0000-0000-000000000000`");
        }
        streams.push(extra_report(name, id));
    }
    streams
}
