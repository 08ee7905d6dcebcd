//! Jobs: schedule, window settings, and the streams they read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{Datelike as _, NaiveDate};
use chrono_tz::Tz;

use super::super::{Job, JobStream, NewFields, Warehouse, raw};
use super::{Shared, push, types};
use crate::catalogue::{Key, SliceLength, Stream, Text, column_name};
use crate::connector::{self, Connection};
use crate::cron::{CatchUp, Schedule, ScheduleError};
use crate::settings::{DurationText, KeyPath, Node, Percent, Report, closest_hint, flag, read, secs};

const DAY: Duration = Duration::from_hours(24);
const LOOKBACK: Duration = DAY;
const SETTLE_SECS: u64 = 600;
/// In percent (promise 10).
const HOLD_BELOW: u8 = 80;
const TIMEOUT_SECS: u64 = 6 * 3_600;

/// A lookback of a year, or a slice of a year, is longer than any vendor keeps changing data.
const DAYS_MAX: u64 = 366;

const NOT_ENABLED: &str = "this connection enables no stream; list what it may read in its `enabled_streams`";

/// The connections by name; `None` if the vendor is unknown.
type Connections = BTreeMap<String, Option<Connection>>;

/// The job's settings that apply to its streams by default.
struct Defaults {
    /// `None`: every stream has its own default.
    slice: Option<SliceLength>,
    lookback: Duration,
}

pub(super) fn check(
    name: &str,
    node: &Node,
    path: &KeyPath,
    known: &Connections,
    shared: &mut Shared,
    report: &mut Report<'_>,
) -> Option<Job> {
    let mut raw: raw::Job = read(node, path, &[], "a job", report);
    let push = raw.push.take();
    let connection = connection(raw.connection.take(), path, known, report);
    let source = connection.as_ref().and_then(|name| known.get(name)?.as_ref());
    if let Some(push) = push {
        return sending(name, &raw, push, connection, source, path, report);
    }
    let defaults = Defaults {
        slice: slice(raw.slice, &path.key("slice"), report),
        lookback: lookback(raw.lookback, LOOKBACK, &path.key("lookback"), report),
    };
    let mut streams = streams(raw.streams, &defaults, source, path, shared, report);
    // Most jobs read few streams, and there may be thousands of jobs.
    streams.shrink_to_fit();
    let timezone = report.zone(&path.key("timezone"), raw.timezone.as_deref());
    let schedule =
        raw.schedule.and_then(|text| schedule(shared.schedules.parse(&text, timezone), &path.key("schedule"), report));
    let windowed = streams.iter().any(|entry| entry.stream.windowed());
    let start = start(raw.start.as_deref(), windowed, &path.key("start"), report);
    Some(Job {
        name: name.to_owned(),
        connection: connection?,
        streams,
        schedule,
        timezone,
        catch_up: raw.catch_up.unwrap_or(CatchUp::Latest),
        start: start.unwrap_or_default(),
        settle: report.duration(
            &path.key("settle"),
            raw.settle,
            &(Duration::ZERO..=secs(DAYS_MAX * 86_400)),
            secs(SETTLE_SECS),
        ),
        priority: report.integer(&path.key("priority"), raw.priority, -1_000..=1_000, 0),
        timeout: report.duration(&path.key("timeout"), raw.timeout, &(secs(1)..=secs(30 * 86_400)), secs(TIMEOUT_SECS)),
        paused: flag(raw.paused, false),
        hold_below: raw.hold_below.map_or(HOLD_BELOW, |Percent(percent)| percent),
        // Set when all jobs are known.
        warehouse: Warehouse::default(),
        push: None,
    })
}

/// Checks that a schedule fires at some time.
fn schedule(parsed: Result<Schedule, ScheduleError>, path: &KeyPath, report: &mut Report<'_>) -> Option<Schedule> {
    match parsed {
        Ok(schedule) if schedule.ever_fires() => return Some(schedule),
        Ok(_) => report.refuse(path, "never fires; does the month have that day?"),
        Err(problem) => report.refuse(path, problem),
    }
    None
}

/// A job that only `tidegate push` runs.
fn sending(
    name: &str,
    raw: &raw::Job,
    written: raw::Push,
    connection: Option<String>,
    source: Option<&Connection>,
    path: &KeyPath,
    report: &mut Report<'_>,
) -> Option<Job> {
    push::refuse_reading_keys(raw, path, report);
    if source.is_some_and(|source| !source.connector.takes_records) {
        let takers = connector::ALL.iter().filter(|connector| connector.takes_records);
        let vendors: Vec<String> = takers.map(|connector| format!("`{}`", connector.vendor.name())).collect();
        let vendors = vendors.join(", ");
        let problem = format!(
            "is a connection to which nothing can be sent; `push` needs a connection whose `vendor` is one of: {vendors}"
        );
        report.refuse(&path.key("connection"), problem);
    }
    let push = push::check(written, &path.key("push"), report);
    Some(Job {
        name: name.to_owned(),
        connection: connection?,
        streams: Vec::new(),
        schedule: None,
        timezone: Tz::UTC,
        catch_up: CatchUp::None,
        start: NaiveDate::default(),
        settle: Duration::ZERO,
        priority: report.integer(&path.key("priority"), raw.priority, -1_000..=1_000, 0),
        timeout: secs(TIMEOUT_SECS),
        paused: false,
        hold_below: HOLD_BELOW,
        warehouse: Warehouse::default(),
        push: Some(Box::new(push)),
    })
}

fn connection(raw: Option<String>, path: &KeyPath, known: &Connections, report: &mut Report<'_>) -> Option<String> {
    let path = path.key("connection");
    let Some(name) = raw else {
        report.missing(&path, "write the name of a connection to read from");
        return None;
    };
    if !known.contains_key(&name) {
        let hint = closest_hint(&name, known.keys().map(String::as_str));
        let hint = if hint.is_empty() { "; write it under `connections:`" } else { &hint };
        report.refuse(&path, format!("is not a connection{hint}"));
    }
    Some(name)
}

/// The first day to read; streams without windows have none.
fn start(raw: Option<&str>, windowed: bool, path: &KeyPath, report: &mut Report<'_>) -> Option<NaiveDate> {
    let Some(text) = raw else {
        if windowed {
            report.missing(path, "write the first day to read: `start: 2026-01-01`");
        }
        return None;
    };
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| text.len() == 10);
    match date {
        None => report.refuse(path, "is not a date; write for instance `2026-01-01`"),
        Some(date) if !(2000..=2200).contains(&date.year()) => {
            report.refuse(path, "is out of range; write a day from 2000 to 2200");
        }
        Some(_) => {}
    }
    date
}

fn streams(
    raw: Option<raw::Streams>,
    defaults: &Defaults,
    source: Option<&Connection>,
    path: &KeyPath,
    shared: &mut Shared,
    report: &mut Report<'_>,
) -> Vec<JobStream> {
    let path = path.key("streams");
    let listed = match raw {
        None => {
            report.missing(&path, "write a list of streams, or `\"*\"` for all of them");
            return Vec::new();
        }
        Some(raw::Streams::All) => {
            let offered = source.map_or(&[][..], |source| &source.streams);
            let all = offered.iter().filter(|stream| !stream.off_by_default);
            let entry = raw::Entry { plain: true, ..raw::Entry::default() };
            let all = all.map(|stream| job_stream(stream, &entry, defaults, &path, shared, report));
            let all: Vec<JobStream> = all.collect();
            if let (true, Some(source)) = (all.is_empty(), source) {
                nothing_by_default(source, &path, report);
            }
            return all;
        }
        Some(raw::Streams::Listed(listed)) => listed,
    };
    if listed.is_empty() {
        report.missing(&path, "the list is empty: write streams, or `\"*\"` for all of them");
    }
    let mut streams: Vec<JobStream> = Vec::new();
    for (index, entry) in listed.into_iter().enumerate() {
        let path = path.index(index);
        let Some(entry) = entry else {
            report.missing(&path, "write the name of a stream, or remove the entry");
            continue;
        };
        let Some(stream) = stream_of(&entry, source, &path, report) else { continue };
        if streams.iter().any(|other| other.stream.name == stream.name) {
            report.state(&path, &format!("the stream `{}` is in the list already; keep one", stream.name));
            continue;
        }
        streams.push(job_stream(stream, &entry, defaults, &path, shared, report));
    }
    streams
}

/// Why `"*"` selects no stream.
fn nothing_by_default(source: &Connection, path: &KeyPath, report: &mut Report<'_>) {
    let named: Vec<&str> = source.streams.iter().map(|stream| &*stream.name).collect();
    let message = if named.is_empty() {
        NOT_ENABLED.to_owned()
    } else {
        format!("the streams of this connection are off by default; write their names: `[{}]`", named.join(", "))
    };
    report.state(path, &message);
}

fn stream_of<'a>(
    entry: &raw::Entry,
    source: Option<&'a Connection>,
    path: &KeyPath,
    report: &mut Report<'_>,
) -> Option<&'a Arc<Stream>> {
    let Some(name) = entry.name.as_deref() else {
        report.missing(&path.key("name"), "write the name of a stream");
        return None;
    };
    // An extra report may be named as its connection names it.
    let source = source?;
    let offered = &source.streams;
    let named = |wanted: &str| offered.iter().find(|stream| stream.name == wanted);
    let stream = named(name).or_else(|| named(&column_name(name)));
    if stream.is_none() {
        let at = if entry.plain { path.clone() } else { path.key("name") };
        let problem = if name == "*" {
            "cannot be used in a list; write `streams: \"*\"`, or list the streams".to_owned()
        } else if source.not_enabled.iter().any(|other| other == name) {
            source.settings.why_not_enabled().to_owned()
        } else {
            format!(
                "is not a stream of this connection{}",
                closest_hint(name, offered.iter().map(|stream| stream.name.as_ref()))
            )
        };
        report.refuse(&at, problem);
    }
    stream
}

fn job_stream(
    stream: &Arc<Stream>,
    entry: &raw::Entry,
    defaults: &Defaults,
    path: &KeyPath,
    shared: &mut Shared,
    report: &mut Report<'_>,
) -> JobStream {
    let mut stream = Arc::clone(stream);
    if !stream.windowed() {
        for (key, written) in [("slice", entry.slice.is_some()), ("lookback", entry.lookback.is_some())] {
            if written {
                let message = format!("the stream `{}` is read as a whole and has no slices; remove it", stream.name);
                report.state(&path.key(key), &message);
            }
        }
    }
    let own = slice(entry.slice, &path.key("slice"), report);
    let slice = fitting(own.or(defaults.slice), &stream, own.is_some(), path, report);
    let lookback = lookback(entry.lookback, defaults.lookback, &path.key("lookback"), report);
    if let (Some(_), Key::Columns(columns)) = (&entry.key, &stream.key) {
        let mut columns: Vec<String> = columns.iter().map(|column| format!("`{column}`")).collect();
        if columns.is_empty() {
            columns.push("its window alone".to_owned());
        }
        let message = format!("the vendor documents the key of `{}`, {}; remove it", stream.name, columns.join(", "));
        report.state(&path.key("key"), &message);
    } else if let Some(fields) = &entry.key {
        let key = Key::Fields(key_fields(fields, &stream, &path.key("key"), report));
        stream = shared.streams.share(Stream { key, ..Stream::clone(&stream) });
    }
    let new_fields = entry.columns.unwrap_or(if stream.documented { NewFields::Extra } else { NewFields::Add });
    let types = types::check(entry.types.as_ref(), &stream, &path.key("types"), report);
    JobStream { stream, slice, lookback, new_fields, types }
}

/// The columns of the vendor fields that the job states as key.
fn key_fields(fields: &[Option<String>], stream: &Stream, path: &KeyPath, report: &mut Report<'_>) -> Vec<Text> {
    if fields.is_empty() {
        report.missing(path, "the list is empty: write the fields that identify a row, or leave `key` out");
    }
    let mut key: Vec<Text> = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let path = path.index(index);
        let Some(field) = field.as_deref().filter(|field| !field.is_empty()) else {
            report.missing(&path, "write the name of a field, or remove the entry");
            continue;
        };
        let column = column_name(field);
        let known = stream.columns.iter().any(|known| known.name == column);
        if stream.documented && !known {
            let hint = closest_hint(field, stream.columns.iter().map(|column| column.field.as_ref()));
            report.refuse(&path, format!("is not a field of the stream `{}`{hint}", stream.name));
        } else if key.iter().any(|known| column_name(known) == column) {
            report.refuse(&path, "is in the list already; keep one");
        }
        key.push(field.to_owned().into());
    }
    key
}

/// Whole days, or a duration below a day that divides it evenly, so that slices start again at midnight.
fn slice(raw: Option<DurationText>, path: &KeyPath, report: &mut Report<'_>) -> Option<SliceLength> {
    let DurationText(length) = raw?;
    let problem = if length < secs(60) {
        "is too short; write at least `1m`"
    } else if length > secs(DAYS_MAX * 86_400) {
        "is too long; write at most `366d`"
    } else if length.subsec_nanos() != 0 {
        "has a fraction of a second; write whole seconds"
    } else if length < DAY && !DAY.as_secs().is_multiple_of(length.as_secs()) {
        "does not divide a day evenly; write for instance `1h`, `2h`, `3h`, `4h`, `6h`, `8h` or `12h`"
    } else if length > DAY && !length.as_secs().is_multiple_of(DAY.as_secs()) {
        "is not a whole number of days; write for instance `1d`, `7d` or `30d`"
    } else if length < DAY {
        return Some(SliceLength::Time(length));
    } else {
        return Some(SliceLength::Days(u32::try_from(length.as_secs() / DAY.as_secs()).unwrap_or(u32::MAX)));
    };
    report.refuse(path, problem);
    None
}

/// The slice of a stream: the configured one, up to the vendor's maximum, or the stream's default.
fn fitting(
    written: Option<SliceLength>,
    stream: &Stream,
    is_own: bool,
    path: &KeyPath,
    report: &mut Report<'_>,
) -> SliceLength {
    let longest = stream.windows.days_max;
    match written {
        Some(SliceLength::Days(days)) if days > longest && stream.windowed() => {
            let message = format!(
                "a slice of `{days}d` is too long for the stream `{}`; the vendor serves windows of at most `{longest}d`",
                stream.name
            );
            report.state(&if is_own { path.key("slice") } else { path.clone() }, &message);
            SliceLength::Days(longest)
        }
        Some(slice) => slice,
        None => SliceLength::Days(stream.windows.days),
    }
}

fn lookback(raw: Option<DurationText>, default: Duration, path: &KeyPath, report: &mut Report<'_>) -> Duration {
    report.duration(path, raw, &(Duration::ZERO..=secs(DAYS_MAX * 86_400)), default)
}

/// Jobs that read one stream of a connection must agree on its slices, and jobs that fill one table must agree on its
/// key and types.
pub(super) fn check_shared_streams(jobs: &BTreeMap<String, Job>, report: &mut Report<'_>) {
    // Sorted instead of kept in a map: this is when most of the memory of a reload is needed.
    let mut read: Vec<Reader<'_>> = jobs
        .values()
        .flat_map(|job| job.streams.iter().enumerate().map(move |(place, stream)| Reader { job, place, stream }))
        .collect();
    // Stable, so that each group is in the order of the jobs.
    read.sort_by(|one, other| one.table().cmp(&other.table()));
    let mut problems = BTreeMap::new();
    for of_table in read.chunk_by_mut(|one, other| one.table() == other.table()) {
        // The first job of all, and then of each connection. Agreeing with it means agreeing with all.
        note_conflicts(of_table, 0, &mut problems);
        of_table.sort_by(|one, other| one.job.connection.cmp(&other.job.connection));
        for of_connection in of_table.chunk_by(|one, other| one.job.connection == other.job.connection) {
            note_conflicts(of_connection, 1, &mut problems);
        }
    }
    // One fault is enough: jobs that disagree usually do so for every stream.
    for (job, (_, problem)) in problems {
        report.state(&KeyPath::default().key("jobs").key(job).key("streams"), &problem);
    }
}

/// A job that reads a stream, and the place of the stream among those of the job.
struct Reader<'j> {
    job: &'j Job,
    place: usize,
    stream: &'j JobStream,
}

impl Reader<'_> {
    /// Schema and name.
    fn table(&self) -> (&str, &str) {
        (self.stream.stream.schema, &self.stream.stream.name)
    }
}

/// By job: the first stream with a conflict, in which of two comparisons, and the conflict.
type Problems<'j> = BTreeMap<&'j str, ((usize, u8), String)>;

/// Compares each with the first, and notes the first problem of each job.
fn note_conflicts<'j>(readers: &[Reader<'j>], comparison: u8, problems: &mut Problems<'j>) {
    let Some(first) = readers.first() else { return };
    for reader in readers {
        let Some(problem) = conflict((reader.job, reader.stream), (first.job, first.stream)) else { continue };
        let place = (reader.place, comparison);
        let is_first = problems.get(&*reader.job.name).is_none_or(|(known, _)| place < *known);
        if is_first {
            problems.insert(&reader.job.name, (place, problem));
        }
    }
}

fn conflict((job, ours): (&Job, &JobStream), (other, theirs): (&Job, &JobStream)) -> Option<String> {
    let (name, before) = (&ours.stream.name, &other.name);
    if job.name == other.name || (ours.stream.schema, name) != (theirs.stream.schema, &theirs.stream.name) {
        return None;
    }
    if ours.stream.key != theirs.stream.key {
        return Some(format!(
            "the job `{before}` fills the table of `{name}` with another `key`; write the same in both"
        ));
    }
    if ours.types != theirs.types {
        return Some(format!(
            "the job `{before}` fills the table of `{name}` with other `types`; write the same in both"
        ));
    }
    if job.connection != other.connection || !ours.stream.windowed() {
        return None;
    }
    if ours.slice != theirs.slice {
        let (ours, theirs) = (ours.slice, theirs.slice);
        return Some(format!(
            "the job `{before}` reads `{name}` of the same connection with `slice: {theirs}`, this one with `{ours}`; \
             write the same in both"
        ));
    }
    (job.timezone != other.timezone).then(|| {
        format!(
            "the job `{before}` reads `{name}` of the same connection in the zone {}, this one in {}; days would not \
             match: write the same in both",
            other.timezone, job.timezone
        )
    })
}
