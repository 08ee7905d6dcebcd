//! The keys of a Khoros Care connection (`vendors/khoros_care.md`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::read::read;
use super::super::tree::{KeyPath, Node};
use super::super::{Connection, Job, SliceLength, raw, suggest};
use super::connection::{Special, credential, csv, polling};
use super::{Report, secs};
use crate::catalogue::{self, Stream, marketing_export, marketing_name};
use crate::connector::khoros::{
    BUCKETS_MAX, DEFAULT_BASE_URL, INTERVALS, Method, ReportFormat, Settings, buckets, interval_for,
};
use crate::connector::{self, CsvForm, Vendor};

const LOCALE: &str = "en";
/// 18 months, taken at their shortest (`vendors/khoros_care.md §8`).
const HISTORY_DAYS: u64 = 546;
const DAY_SECS: u64 = 86_400;
const ID_CHARACTERS_MAX: usize = 100;

/// What Tidegate says by itself, and where else it may be said.
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
/// Their value is `true` or `false` (`§4, §5.1`).
const FLAGS: &[&str] = &[HOURS, HOURS_ENABLED, "includeDisabled", "raiselimit"];
/// One value with commas in it; any other list is the parameter repeated (`§4`).
const WITH_COMMAS: &[&str] = &[PRIORITIES, "workqueueIds", "teamIds"];
const REPEATED: &[&str] = &["agentId", "teamId"];
/// What the export `user` does not have (`§5`).
const NOT_OF_USER: &[&str] = &[HOURS, HOURS_ENABLED, PRIORITIES, SMART_VIEW, "workqueueIds"];

pub(super) fn check(own: &Node, shared: &[&str], path: &KeyPath, report: &mut Report<'_>) -> Special {
    let mut raw: raw::KhorosCare = read(own, path, shared, "a khoros_care connection", report);
    let extra_streams = marketing(&raw.marketing.take().unwrap_or_default(), &path.key("marketing"), report);
    let exports: Vec<String> = catalogue::streams(Vendor::KhorosCare)
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
        report_format: match raw.report_format {
            Some(raw::KhorosFormat::Csv) => ReportFormat::Csv,
            Some(raw::KhorosFormat::Json) | None => ReportFormat::Json,
        },
        csv: csv(raw.csv, path, report),
        method: match raw.method {
            Some(raw::KhorosMethod::Get) => Some(Method::Get),
            Some(raw::KhorosMethod::Post) => Some(Method::Post),
            Some(raw::KhorosMethod::Auto) | None => None,
        },
        metrics: metrics(raw.metrics.unwrap_or_default(), &exports, &path.key("metrics"), report),
        parameters: parameters(raw.parameters.unwrap_or_default(), &exports, &path.key("parameters"), report),
        history: report.span(
            &path.key("history"),
            raw.history,
            &(secs(DAY_SECS)..=secs(3_660 * DAY_SECS)),
            secs(HISTORY_DAYS * DAY_SECS),
        ),
    };
    if settings.report_format == ReportFormat::Json && settings.csv != CsvForm::default() {
        report.state(&path.key("csv"), "has no effect on JSON files; remove it, or write `report_format: csv`");
    }
    Special { settings: connector::Settings::KhorosCare(settings), default_base_url: DEFAULT_BASE_URL, extra_streams }
}

fn username(raw: Option<String>, path: &KeyPath, report: &mut Report<'_>) -> String {
    match &raw {
        None => report.missing(path, "write the API user's name: `username: reports@example.com`"),
        // Basic puts it before a colon.
        Some(name) if name.trim().is_empty() || name.contains(':') || name.contains(char::is_control) => {
            report.refuse(path, "is not a user's name; write it without a `:`");
        }
        Some(_) => {}
    }
    raw.unwrap_or_default()
}

/// Passed on unchanged: the vendor's own examples have one that is not in its list (`§11.8`).
fn locale(raw: Option<String>, path: &KeyPath, report: &mut Report<'_>) -> String {
    let locale = raw.unwrap_or_else(|| LOCALE.to_owned());
    if locale.is_empty() || !locale.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
        report.refuse(path, format!("is not a locale; write one of `en`, `es`, `fr`, `de`, `tr` (default `{LOCALE}`)"));
    }
    locale
}

/// Whether `name` is an export; a fault if not.
fn is_export(name: &str, exports: &[String], path: &KeyPath, report: &mut Report<'_>) -> bool {
    let known = exports.iter().any(|export| export == name);
    if !known {
        let hint = suggest::hint(name, exports.iter().map(String::as_str));
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
    raw: BTreeMap<String, BTreeMap<String, raw::Values>>,
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
        let said = |name: &str| pairs.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
        match (said(HOURS), said(HOURS_ENABLED)) {
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

fn values_of(raw: raw::Values, path: &KeyPath, report: &mut Report<'_>) -> Vec<String> {
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
        return Some(format!("the vendor tells letters of other case apart; write `{right}`"));
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

/// The vendor refuses a window of too many intervals (`§5.1`); how long the window is, the job says.
pub(super) fn check_intervals(
    connections: &BTreeMap<String, Connection>,
    jobs: &BTreeMap<String, Job>,
    report: &mut Report<'_>,
) {
    for job in jobs.values() {
        let Some(connector::Settings::KhorosCare(settings)) =
            connections.get(&job.connection).map(|connection| &connection.settings)
        else {
            continue;
        };
        for entry in job.streams.iter().filter(|entry| entry.stream.name == "team_performance_interval") {
            let parameters = settings.parameters.get(&*entry.stream.name).into_iter().flatten();
            let interval = parameters.filter(|(name, _)| name == INTERVAL).find_map(|(_, value)| value.parse().ok());
            let Some(interval) = interval.filter(|interval| is_interval(*interval)) else { continue };
            let length = match entry.slice {
                SliceLength::Days(days) => u64::from(days) * DAY_SECS,
                SliceLength::Time(length) => Duration::as_secs(&length),
            };
            let count = buckets(length, interval);
            if count > BUCKETS_MAX {
                let path = KeyPath::default().key("connections").key(&job.connection).key("parameters");
                let message = format!(
                    "a slice of {} of the job `{}` has {count} intervals of {interval} ms, the vendor serves about \
                     {BUCKETS_MAX}; write `{INTERVAL}: {}` or more, or a shorter `slice`",
                    entry.slice,
                    job.name,
                    interval_for(length),
                );
                report.state(&path.key(&entry.stream.name).key(INTERVAL), &message);
            }
        }
    }
}

/// A stream for each Publishing export (`§11.18`).
fn marketing(exports: &BTreeMap<String, String>, path: &KeyPath, report: &mut Report<'_>) -> Vec<Stream> {
    let mut streams: Vec<Stream> = Vec::new();
    for (name, id) in exports {
        let path = path.key(name);
        let table = marketing_name(name);
        if !name.contains(char::is_alphanumeric) {
            report.state(&path, "an export's name has letters or digits; rename it");
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
