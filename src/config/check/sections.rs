//! The sections about this process: embedded, server, worker, history, log.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::super::{Embedded, History, Log, LogFormat, Server, Worker, raw};
use super::auth;
use crate::settings::{DurationText, Keep, KeyPath, Report, closest, parse_base_url, secs};
use crate::text;

const DATA_DIR: &str = "./data/postgres";
const CONCURRENCY: usize = 4;
const LEASE_SECS: u64 = 60;
const DAY_SECS: u64 = 86_400;
/// Rejected records contain customers' texts, so they are kept no longer than someone may need to examine them.
const KEEP_REJECTS_SECS: u64 = 90 * DAY_SECS;
const KEEP_EVENTS_SECS: u64 = 90 * DAY_SECS;
const TITLE: &str = "Tidegate";
/// A title stands at the beginning of each message.
const TITLE_CHARACTERS_MAX: usize = 60;
const LEVEL: &str = "info";

const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

pub(super) fn embedded(raw: raw::Embedded, report: &mut Report<'_>) -> Embedded {
    let path = KeyPath::default().key("embedded").key("data_dir");
    let data_dir = raw.data_dir.unwrap_or_else(|| DATA_DIR.to_owned());
    if data_dir.is_empty() || data_dir.contains('\0') {
        report.refuse(&path, format!("is not a folder; write for instance `{DATA_DIR}`"));
    }
    Embedded { data_dir: PathBuf::from(data_dir) }
}

pub(super) fn server(raw: raw::Server, report: &mut Report<'_>) -> Server {
    let section = KeyPath::default().key("server");
    let auth = auth::auth(raw.auth, &section.key("auth"), report);
    let origins = auth::origins(raw.origins, &section.key("origins"), report);
    let path = section.key("listen");
    let default = SocketAddr::from(([127, 0, 0, 1], 8080));
    let listen = raw.listen.map_or(default, |text| {
        text.parse().unwrap_or_else(|_| {
            let port = text.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()).unwrap_or(8080);
            let hint =
                format!("write an IP address and a port: `127.0.0.1:{port}`, or `0.0.0.0:{port}` for every interface");
            report.refuse(&path, format!("is not an address to listen on; {hint}"));
            default
        })
    });
    let url = raw.url.and_then(|text| {
        let parsed = parse_base_url(&text, "https://tidegate.example.com");
        parsed.map_err(|problem| report.refuse(&section.key("url"), problem)).ok()
    });
    let title = raw.title.unwrap_or_else(|| TITLE.to_owned());
    if title.trim().is_empty() || title.chars().any(text::steers) || title.chars().count() > TITLE_CHARACTERS_MAX {
        let remedy = format!("write a name of at most {TITLE_CHARACTERS_MAX} characters on one line");
        report.refuse(&section.key("title"), format!("is not a title; {remedy}"));
    }
    Server { listen, url, title, auth, origins, metrics_per: raw.metrics_per.unwrap_or_default() }
}

pub(super) fn worker(raw: &raw::Worker, report: &mut Report<'_>) -> Worker {
    let path = KeyPath::default().key("worker");
    let concurrency = report.integer(&path.key("concurrency"), raw.concurrency, 1..=256, CONCURRENCY);
    // Below 5 s, a few late heartbeats or one slow checkpoint would hand over a healthy run.
    let lease = report.duration(&path.key("lease"), raw.lease, &(secs(5)..=secs(3_600)), secs(LEASE_SECS));
    Worker { concurrency, lease }
}

pub(super) fn history(raw: &raw::History, report: &mut Report<'_>) -> History {
    let path = KeyPath::default().key("history");
    // At least a day, so that a failure of last night can still be examined.
    let range = secs(DAY_SECS)..=secs(3_660 * DAY_SECS);
    let mut keep = |key, raw: Option<Keep>, default: Option<Duration>| match raw {
        None => default,
        Some(Keep(span)) => {
            span.map(|span| report.duration(&path.key(key), Some(DurationText(span)), &range, *range.start()))
        }
    };
    History {
        keep_runs: keep("keep_runs", raw.keep_runs, None),
        keep_rejects: keep("keep_rejects", raw.keep_rejects, Some(secs(KEEP_REJECTS_SECS))),
        keep_events: keep("keep_events", raw.keep_events, Some(secs(KEEP_EVENTS_SECS))),
    }
}

pub(super) fn log(raw: raw::Log, report: &mut Report<'_>) -> Log {
    let path = KeyPath::default().key("log").key("level");
    let level = raw.level.unwrap_or_else(|| LEVEL.to_owned());
    if let Some(problem) = level_problem(&level) {
        report.refuse(&path, problem);
    }
    Log { format: raw.format.unwrap_or(LogFormat::Pretty), level }
}

/// A filter accepts any word as a module name, so a misspelt level would silently log nothing.
fn level_problem(filter: &str) -> Option<String> {
    for directive in filter.split(',').map(str::trim) {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
        if !LEVELS.contains(&level.to_lowercase().as_str()) {
            let hint = closest(level, LEVELS.iter().copied()).map_or_else(
                || "write for instance `info` or `info,tidegate=debug`".to_owned(),
                |level| format!("did you mean `{level}`?"),
            );
            return Some(format!("is not a log level; {hint}"));
        }
    }
    tracing_subscriber::EnvFilter::try_new(filter)
        .is_err()
        .then(|| "is not a log filter; write for instance `info,tidegate=debug`".to_owned())
}
