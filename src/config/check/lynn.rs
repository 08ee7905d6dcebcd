//! The keys of a Lynn Reporting connection (`vendors/lynn.md`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{Duration, NaiveDate, NaiveDateTime};
use uuid::Uuid;

use super::super::raw;
use super::super::read::read;
use super::super::tree::{KeyPath, Node};
use super::connection::Special;
use super::lynn_account::{Written, account as account_of, template};
use super::{Report, flag};
use crate::catalogue::{self, Stream, column_name, extra_report};
pub(super) use crate::connector::lynn::DEFAULT_BASE_URL;
use crate::connector::lynn::Settings;
use crate::connector::{self, Vendor};

const CREATE_TOKEN_PATH: &str = "/api/LynnReporting/CreateToken";
const EXECUTE_REPORT_PATH: &str = "/api/LynnReporting/ExecuteReport/{tenant}/{report_id}";
const DATE_FORMAT: &str = "%Y-%m-%d %H:%M:%S";
const PAGE_SIZE: u32 = 10_000;

pub(super) fn check(own: &Node, shared: &[&str], path: &KeyPath, report: &mut Report<'_>) -> Special {
    let mut raw: raw::LynnReporting = read(own, path, shared, "a lynn_reporting connection", report);
    let reports = raw.reports.take().unwrap_or_default();
    Special {
        settings: connector::Settings::LynnReporting(settings(raw, path, report)),
        default_base_url: DEFAULT_BASE_URL,
        extra_streams: extra_streams(&reports, &path.key("reports"), report),
    }
}

fn settings(raw: raw::LynnReporting, path: &KeyPath, report: &mut Report<'_>) -> Settings {
    let paths = raw.paths.unwrap_or_default();
    let account = Written {
        tenant: raw.tenant,
        access_token: raw.access_token,
        access_token_secret: raw.access_token_secret,
        product: raw.product,
        subscription_key: raw.subscription_key,
        authorization_scheme: raw.authorization_scheme,
        create_token_path: paths.create_token,
    };
    Settings {
        account: account_of(account, CREATE_TOKEN_PATH, path, report),
        execute_report_path: template(
            paths.execute_report,
            EXECUTE_REPORT_PATH,
            &["tenant", "report_id"],
            Some(("{report_id}", "does not say which report")),
            &path.key("paths").key("execute_report"),
            report,
        ),
        execute_report_method: method(raw.method).to_owned(),
        filter_timezone: report.zone(&path.key("filter_timezone"), raw.filter_timezone.as_deref()),
        date_format: date_format(raw.date_format, &path.key("date_format"), report),
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

/// A stream for each extra report.
fn extra_streams(reports: &BTreeMap<String, String>, path: &KeyPath, report: &mut Report<'_>) -> Vec<Stream> {
    let mut streams: Vec<Stream> = Vec::new();
    let known: Vec<Stream> =
        Vendor::ALL.iter().flat_map(|vendor| catalogue::streams(*vendor)).filter(|s| s.schema == "lynn").collect();
    for (name, id) in reports {
        let path = path.key(name);
        let table = column_name(name);
        let taken = known.iter().any(|stream| stream.name == table);
        if !name.contains(char::is_alphanumeric) {
            report.state(&path, "a report's name has letters or digits; rename it");
        } else if taken {
            report.state(&path, &format!("the stream `{table}` is known already; give the report another name"));
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
