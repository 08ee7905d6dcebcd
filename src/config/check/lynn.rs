//! The keys of a Lynn Reporting connection (`vendors/lynn.md`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{Duration, NaiveDate, NaiveDateTime};
use uuid::Uuid;

use super::super::raw;
use super::super::read::read;
use super::super::tree::{KeyPath, Node};
use super::connection::{Special, credential, credential_problem};
use super::{Report, flag};
use crate::catalogue::{self, Stream, column_name, extra_report};
use crate::secret::Secret;
pub(super) use crate::vendor::lynn::DEFAULT_BASE_URL;
use crate::vendor::lynn::{Product, Settings};
use crate::vendor::{self, Vendor};

const CREATE_TOKEN_PATH: &str = "/api/LynnReporting/CreateToken";
const EXECUTE_REPORT_PATH: &str = "/api/LynnReporting/ExecuteReport/{tenant}/{report_id}";
const DATE_FORMAT: &str = "%Y-%m-%d %H:%M:%S";
const AUTHORIZATION_SCHEME: &str = "bearer";
const PAGE_SIZE: u32 = 10_000;

/// Tables of the `lynn` schema that belong to `lynn_outbound`; a report of that name would meet them.
const OUTBOUND_TABLES: &[&str] = &["campaigns", "contacts", "dnd_contacts"];

pub(super) fn check(own: &Node, shared: &[&str], path: &KeyPath, report: &mut Report<'_>) -> Special {
    let mut raw: raw::LynnReporting = read(own, path, shared, "a lynn_reporting connection", report);
    let reports = raw.reports.take().unwrap_or_default();
    Special {
        settings: vendor::Settings::LynnReporting(settings(raw, path, report)),
        default_base_url: DEFAULT_BASE_URL,
        extra_streams: extra_streams(&reports, &path.key("reports"), report),
    }
}

/// What a Lynn account says, whichever family of its API is read.
pub(super) fn settings(raw: raw::LynnReporting, path: &KeyPath, report: &mut Report<'_>) -> Settings {
    let tenant = path.key("tenant");
    if raw.tenant.is_none() {
        report.missing(&tenant, "write the tenant's number: `tenant: 4411`");
    }
    let paths = raw.paths.unwrap_or_default();
    let product = match raw.product {
        Some(raw::LynnProduct::Premium) => Product::Premium,
        Some(raw::LynnProduct::Basic) | None => Product::Basic,
    };
    let key = raw.subscription_key.map(|key| key.0);
    Settings {
        tenant: report.whole(&tenant, raw.tenant, 1..=i64::MAX, 0),
        access_token: credential(
            raw.access_token,
            &path.key("access_token"),
            "write the credential's Token: `access_token: ${LYNN_ACCESS_TOKEN}`",
            report,
        ),
        access_token_secret: credential(
            raw.access_token_secret,
            &path.key("access_token_secret"),
            "write the credential's Secret Token: `access_token_secret: ${LYNN_ACCESS_TOKEN_SECRET}`",
            report,
        ),
        product,
        subscription_key: subscription_key(key, product, &path.key("subscription_key"), report),
        create_token_path: template(
            paths.create_token,
            CREATE_TOKEN_PATH,
            false,
            &path.key("paths").key("create_token"),
            report,
        ),
        execute_report_path: template(
            paths.execute_report,
            EXECUTE_REPORT_PATH,
            true,
            &path.key("paths").key("execute_report"),
            report,
        ),
        execute_report_method: method(raw.method).to_owned(),
        filter_timezone: report.zone(&path.key("filter_timezone"), raw.filter_timezone.as_deref()),
        date_format: date_format(raw.date_format, &path.key("date_format"), report),
        authorization_scheme: scheme(raw.authorization_scheme, &path.key("authorization_scheme"), report),
        page_size: report.whole(&path.key("page_size"), raw.page_size, 1..=10_000, PAGE_SIZE),
        probe_full_page: flag(raw.probe_full_page, true),
        fail_on_errors: flag(raw.fail_on_errors, true),
    }
}

const fn method(raw: Option<raw::HttpMethod>) -> &'static str {
    match raw {
        Some(raw::HttpMethod::Get) => "GET",
        Some(raw::HttpMethod::Put) => "PUT",
        Some(raw::HttpMethod::Post) | None => "POST",
    }
}

fn subscription_key(key: Option<Secret>, product: Product, path: &KeyPath, report: &mut Report<'_>) -> Option<Secret> {
    let key = key.filter(|key| !key.expose().trim().is_empty());
    match (&key, product) {
        (None, Product::Premium) => {
            report.missing(path, "`product: premium` needs it: `subscription_key: ${LYNN_SUBSCRIPTION_KEY}`");
        }
        (Some(_), Product::Basic) => {
            report.refuse(path, "is for premium only; write `product: premium`, or leave the key out");
        }
        (Some(key), Product::Premium) => {
            let ascii = key.expose().bytes().all(|byte| (0x21..=0x7e).contains(&byte));
            let problem = credential_problem(key.expose());
            if let Some(problem) = problem.or((!ascii).then_some("has a character that a header cannot carry")) {
                report.refuse(path, format!("{problem}; copy the key again"));
            }
        }
        (None, Product::Basic) => {}
    }
    key
}

/// A path template: it stays below the base URL, and its placeholders are known ones.
fn template(raw: Option<String>, default: &str, of_report: bool, path: &KeyPath, report: &mut Report<'_>) -> String {
    let text = raw.unwrap_or_else(|| default.to_owned());
    if let Some(problem) = template_problem(&text, of_report) {
        report.refuse(path, format!("{problem}; the default is `{default}`"));
    }
    text
}

fn template_problem(text: &str, of_report: bool) -> Option<String> {
    let known: &[&str] = if of_report { &["tenant", "report_id"] } else { &["tenant"] };
    if !text.starts_with('/') || text.starts_with("//") {
        return Some("must begin with one `/`".to_owned());
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '\\' | '#')) {
        return Some("has a space, `\\` or `#`".to_owned());
    }
    if text.split(['/', '?']).any(|part| matches!(part, "." | "..")) {
        return Some("leaves the base URL by `..`".to_owned());
    }
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let name = rest[at..].strip_prefix('{').and_then(|after| after.split_once('}'));
        let Some((name, after)) = name else { return Some("has a brace without its other half".to_owned()) };
        if !known.contains(&name) {
            let names: Vec<String> = known.iter().map(|name| format!("`{{{name}}}`")).collect();
            return Some(format!("has an unknown placeholder; {} can be used", names.join(" and ")));
        }
        rest = after;
    }
    (of_report && !text.contains("{report_id}"))
        .then(|| "does not say which report: `{report_id}` is missing".to_owned())
}

fn scheme(raw: Option<String>, path: &KeyPath, report: &mut Report<'_>) -> String {
    let text = raw.unwrap_or_else(|| AUTHORIZATION_SCHEME.to_owned());
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
        report.refuse(path, format!("is no scheme word; write for instance `{AUTHORIZATION_SCHEME}`"));
    }
    text
}

fn date_format(raw: Option<String>, path: &KeyPath, report: &mut Report<'_>) -> String {
    let text = raw.unwrap_or_else(|| DATE_FORMAT.to_owned());
    if let Some(problem) = date_format_problem(&text) {
        report.refuse(path, format!("{problem}; the default is `{DATE_FORMAT}`"));
    }
    text
}

/// The format must tell any two ends of slices apart, on a 24-hour clock, and needs no zone.
fn date_format_problem(format: &str) -> Option<&'static str> {
    let written = |time: NaiveDateTime| {
        let mut text = String::new();
        write!(text, "{}", time.format(format)).ok().map(|()| text)
    };
    let base = NaiveDate::from_ymd_opt(2026, 1, 1).and_then(|day| day.and_hms_opt(1, 0, 0)).unwrap_or_default();
    let Some(first) = written(base) else {
        return Some("is no date format; use strftime letters without a zone (`filter_timezone` is the zone)");
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

/// A stream for each extra report.
fn extra_streams(reports: &BTreeMap<String, String>, path: &KeyPath, report: &mut Report<'_>) -> Vec<Stream> {
    let mut streams: Vec<Stream> = Vec::new();
    let known: Vec<Stream> =
        Vendor::ALL.iter().flat_map(|vendor| catalogue::streams(*vendor)).filter(|s| s.schema == "lynn").collect();
    for (name, id) in reports {
        let path = path.key(name);
        let table = column_name(name);
        let taken = known.iter().any(|stream| stream.name == table) || OUTBOUND_TABLES.contains(&table.as_str());
        if !name.contains(char::is_alphanumeric) {
            report.state(&path, "a report's name has letters or digits; rename it");
        } else if taken {
            report.state(&path, &format!("the stream `{table}` is known already; give the report another name"));
        } else if streams.iter().any(|stream| stream.name == table) {
            report.state(&path, &format!("another report becomes the stream `{table}` too; rename one of them"));
        }
        if id.len() != 36 || Uuid::try_parse(id).is_err() {
            report.refuse(&path, "is no report id; write a GUID such as `00000000-0000-0000-0000-000000000000`");
        }
        streams.push(extra_report(name, id));
    }
    streams
}
