//! `tidegate check`: checks the configuration and all credentials. Sends logins, but no report call.

mod probe;
mod warehouse;

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use serde::Serialize;

use self::probe::{Finding, Probes};
use self::warehouse::Warehouse;
use super::failure::{hide, remedy, say};
use super::output::{self, Table};
use super::{CheckArgs, Context, Exit, show};
use crate::app::database_warning;
use crate::clock;
use crate::config::{Config, Job};
use crate::cron::NextFirings;
use crate::quota::Unit;
use crate::text::plain;
use crate::text::show_duration;

#[derive(Debug, Serialize)]
struct Document {
    /// Whether all checks succeeded.
    ok: bool,
    offline: bool,
    database: Database,
    connections: Vec<ConnectionEntry>,
    jobs: Vec<JobEntry>,
    /// What the section `warehouse` means for the tables. Not there if it says nothing and no table is divided.
    #[serde(skip_serializing_if = "Option::is_none")]
    warehouse: Option<Warehouse>,
    /// Warnings about settings that are allowed but are probably a mistake.
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Database {
    place: String,
    #[serde(flatten)]
    finding: Finding,
}

#[derive(Debug, Serialize)]
struct ConnectionEntry {
    connection: String,
    vendor: &'static str,
    base_url: String,
    quotas: Vec<String>,
    #[serde(flatten)]
    finding: Finding,
}

#[derive(Debug, Serialize)]
struct JobEntry {
    job: String,
    connection: String,
    streams: Vec<String>,
    schedule: Option<String>,
    timezone: &'static str,
    paused: bool,
    /// Whether the job sends rows (`tidegate push`) instead of reading.
    push: bool,
    next_firing: Option<DateTime<Utc>>,
    /// The same time in the job's zone.
    next_firing_local: Option<String>,
}

pub(crate) async fn run(context: Context, args: CheckArgs) -> anyhow::Result<Exit> {
    let probes = if args.offline { Probes::default() } else { probe::all(&context).await? };
    let document = document(&context.config, probes, args.offline, clock::now());
    output::print_document(args.json, &document, || text(&document))?;
    if document.ok {
        return Ok(Exit::Done);
    }
    say(&hide(&failures(&document), &context.secrets()));
    Ok(Exit::Failed)
}

fn document(config: &Config, mut probes: Probes, offline: bool, now: DateTime<Utc>) -> Document {
    let connections: Vec<ConnectionEntry> = config
        .connections
        .values()
        .map(|connection| ConnectionEntry {
            connection: connection.name.clone(),
            vendor: connection.vendor().name(),
            base_url: connection.base_url.to_string(),
            quotas: connection.limits.iter().map(quota).collect(),
            finding: probes.connections.remove(&connection.name).unwrap_or_default(),
        })
        .collect();
    let database = Database { place: probe::place(config), finding: probes.database };
    let bad = connections.iter().map(|connection| &connection.finding).chain([&database.finding]).any(Finding::is_bad);
    let mut firings = NextFirings::default();
    let jobs = config.jobs.values().map(|job| JobEntry::new(job, now, &mut firings)).collect();
    let mut warnings: Vec<String> = database_warning(&config.database.target).into_iter().collect();
    warnings.extend(config.warnings(now));
    warnings.append(&mut probes.warnings);
    Document { ok: !bad, offline, database, connections, jobs, warehouse: probes.warehouse, warnings }
}

/// `requests 1/4s`.
fn quota(limit: &crate::quota::Limit) -> String {
    let amount = match limit.unit {
        Unit::Calls => limit.amount.to_string(),
        Unit::Bytes => show::bytes(limit.amount),
    };
    format!("{} {amount}/{}", limit.name, show_duration(limit.per))
}

impl JobEntry {
    fn new<'c>(job: &'c Job, now: DateTime<Utc>, firings: &mut NextFirings<'c>) -> Self {
        let next = job.schedule.as_ref().filter(|_| !job.paused).and_then(|schedule| firings.after(schedule, now));
        Self {
            job: job.name.clone(),
            connection: job.connection.clone(),
            streams: job.streams.iter().map(|entry| entry.stream.name.clone().into_owned()).collect(),
            schedule: job.schedule.as_ref().map(|schedule| schedule.expression().to_owned()),
            timezone: job.timezone.name(),
            paused: job.paused,
            push: job.push.is_some(),
            next_firing: next,
            next_firing_local: next
                .map(|at| at.with_timezone(&job.timezone).format("%Y-%m-%d %H:%M:%S %Z").to_string()),
        }
    }
}

fn text(document: &Document) -> String {
    let mut text = format!("database {}: {}\n", plain(&document.database.place), document.database.finding);
    if document.connections.is_empty() {
        let _ = writeln!(text, "\nno connection is configured; {}", show::SAMPLES);
    } else {
        let mut table = Table::new().left(&["CONNECTION", "VENDOR", "BASE URL", "LOGIN", "QUOTAS"]);
        for entry in &document.connections {
            table.row([
                entry.connection.clone(),
                entry.vendor.to_owned(),
                entry.base_url.clone(),
                entry.finding.to_string(),
                entry.quotas.join(", "),
            ]);
        }
        let _ = write!(text, "\n{}", table.show());
    }
    if document.jobs.is_empty() {
        text.push_str("\nno job is configured; nothing will run\n");
    } else {
        let mut table = Table::new().left(&["JOB", "CONNECTION", "SCHEDULE", "NEXT FIRING", "IN UTC", "STREAMS"]);
        for entry in &document.jobs {
            let idle = if entry.paused { "paused" } else { "by hand" };
            table.row([
                entry.job.clone(),
                entry.connection.clone(),
                show::text(entry.schedule.as_deref()),
                entry.next_firing_local.clone().unwrap_or_else(|| idle.to_owned()),
                entry.next_firing.map_or_else(|| show::NOTHING.to_owned(), show::time),
                if entry.push { "none: `tidegate push` sends its rows".to_owned() } else { entry.streams.join(", ") },
            ]);
        }
        let _ = write!(text, "\n{}", table.show());
    }
    if let Some(warehouse) = &document.warehouse {
        let _ = write!(text, "\n{}", warehouse.text());
    }
    if !document.warnings.is_empty() {
        text.push('\n');
    }
    for warning in &document.warnings {
        let _ = writeln!(text, "warning: {}", plain(warning));
    }
    text
}

fn failures(document: &Document) -> String {
    let mut text = String::new();
    let places =
        document.connections.iter().map(|entry| (format!("connection `{}`", entry.connection), &entry.finding));
    for (place, finding) in [("database".to_owned(), &document.database.finding)].into_iter().chain(places) {
        if let Finding::Failed { error, hint, statements } = finding {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "error: {}: {}", plain(&place), plain(error));
            text.push_str(&remedy(hint, statements));
        }
    }
    text
}
