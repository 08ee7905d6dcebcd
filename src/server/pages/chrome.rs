//! What surrounds the content of every page, and the functions that templates call. Templates see nothing else.

#![expect(
    clippy::unused_self,
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "templates call methods, and pass references to the fields of documents"
)]

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use super::assets;
use super::chart;
use super::markup::{self, Markup, ZoneChoice};
use super::zones::Zones;
use crate::report::{Day, DaySpan, Hour, LimitState, Problem, Query, state};
use crate::store::event::EVENT_KINDS;
use crate::store::failure::Failure;
use crate::store::history::Run;
use crate::store::pause::Pause;
use crate::store::run;
use crate::store::status::LastRun;
use crate::text;

/// Messages are cut to this length in tables; the page of the run has the full text.
const MESSAGE_CHARS_MAX: usize = 200;

/// The menu: path and name.
const MENU: [(&str, &str); 7] = [
    ("/", "Overview"),
    ("/streams", "Streams"),
    ("/jobs", "Jobs"),
    ("/runs", "Runs"),
    ("/quotas", "Quotas"),
    ("/events", "Events"),
    ("/system", "System"),
];

/// What a page shows besides its content.
#[derive(Debug, Clone)]
pub(in super::super) struct Chrome {
    /// The name of this installation.
    pub(super) title: String,
    /// The path in front of all links, without a slash at its end: what a reverse proxy strips.
    pub(super) base: String,
    /// The path of this page.
    pub(super) path: String,
    /// The path with the parameters.
    pub(super) here: String,
    pub(super) query: Query,
    pub(super) zone: ZoneChoice,
    pub(super) zones: Zones,
    /// When the content was read.
    pub(super) at: DateTime<Utc>,
    /// When the page is shown, later than `at` if the database does not respond: ages count up to now.
    pub(super) now: DateTime<Utc>,
    /// Open problems that are not muted.
    pub(super) problems: i64,
    /// Why the configuration on disk was refused.
    pub(super) refusal: Option<Arc<str>>,
    pub(super) version: &'static str,
    /// The path of the same content in the API.
    pub(super) json: Option<String>,
    /// The pause of every job, if an operator has set one.
    pub(super) pause: Option<Pause>,
    /// Whether the database can only be read.
    pub(super) only_reads: bool,
    /// Whether a login is configured, so that operators may act.
    pub(super) acts: bool,
    /// What is wrong with the page itself.
    pub(super) alarm: Option<String>,
    /// That the content is old and why, in short. It replaces every statement that nothing is wrong.
    pub(super) old: Option<String>,
}

impl Chrome {
    pub(super) fn menu(&self) -> [(&'static str, &'static str); 7] {
        MENU
    }

    pub(super) fn is_at(&self, path: &str) -> bool {
        self.path == path || (path != "/" && self.path.starts_with(path) && self.path[path.len()..].starts_with('/'))
    }

    /// The mark before the title: how many problems need a person, or that something else does.
    pub(super) fn mark(&self) -> String {
        match self.problems {
            // What is known of problems is old.
            _ if self.alarm.is_some() => "(!) ".to_owned(),
            1.. => format!("({}) ", self.problems),
            _ if self.only_reads || self.refusal.is_some() => "(!) ".to_owned(),
            _ => String::new(),
        }
    }

    pub(super) fn icon(&self) -> &'static str {
        if self.mark().is_empty() { assets::ICON.name() } else { assets::ICON_PROBLEMS.name() }
    }

    pub(super) fn style(&self) -> &'static str {
        assets::STYLE.name()
    }

    pub(super) fn script(&self) -> &'static str {
        assets::SCRIPT.name()
    }

    /// What follows from a database that can only be read.
    pub(super) fn only_reads_text(&self) -> Markup {
        markup::prose(&text::sentence(&Failure::OnlyReads.with("nothing is loaded")))
    }

    /// A time of something that has the zone `of`, with its age.
    pub(super) fn time(&self, at: &DateTime<Utc>, of: Option<&str>) -> Markup {
        markup::time(*at, self.zone.resolve(of), self.now)
    }

    pub(super) fn time_or_dash(&self, at: &Option<DateTime<Utc>>, of: Option<&str>) -> Markup {
        at.as_ref().map_or_else(|| Markup::NeedsEscaping("–".to_owned()), |at| self.time(at, of))
    }

    /// A time until which something waits. It is not over before, so it is rounded up to a minute.
    pub(super) fn until(&self, at: &DateTime<Utc>, of: Option<&str>) -> Markup {
        markup::until(*at, self.zone.resolve(of), self.now)
    }

    pub(super) fn until_or_dash(&self, at: &Option<DateTime<Utc>>, of: Option<&str>) -> Markup {
        at.as_ref().map_or_else(|| Markup::NeedsEscaping("–".to_owned()), |at| self.until(at, of))
    }

    pub(super) fn zone_of_job(&self, job: &str) -> Option<&'static str> {
        self.zones.of_job(job)
    }

    pub(super) fn zone_of_connection(&self, connection: &str) -> Option<&'static str> {
        self.zones.of_connection(connection)
    }

    /// Whether the configuration has the job, so that it has a page.
    pub(super) fn has_job(&self, job: &str) -> bool {
        self.zones.has_job(job)
    }

    pub(super) fn has_connection(&self, connection: &str) -> bool {
        self.zones.has_connection(connection)
    }

    /// A job, with a link if it has a page.
    pub(super) fn job_link(&self, job: &str) -> Markup {
        markup::link(self.job_page(job).as_deref(), job)
    }

    /// A connection, with a link if it has a page.
    pub(super) fn connection_link(&self, connection: &str) -> Markup {
        markup::link(self.connection_page(connection).as_deref(), connection)
    }

    fn job_page(&self, job: &str) -> Option<String> {
        self.has_job(job).then(|| format!("{}/jobs/{}", self.base, percent_encoding(job)))
    }

    fn connection_page(&self, connection: &str) -> Option<String> {
        self.has_connection(connection).then(|| format!("{}/connections/{}", self.base, percent_encoding(connection)))
    }

    /// The zone that all these connections have.
    pub(super) fn zone_of_connections(&self, connections: &[String]) -> Option<&'static str> {
        let mut zones = connections.iter().map(|connection| self.zones.of_connection(connection));
        let first = zones.next()??;
        zones.all(|zone| zone == Some(first)).then_some(first)
    }

    /// The zone of a job; else that of a stream or of a connection. `None` if it is none of them, or of several zones.
    pub(super) fn zone_of(
        &self,
        job: Option<&str>,
        connection: Option<&str>,
        stream: Option<&str>,
    ) -> Option<&'static str> {
        job.and_then(|job| self.zones.of_job(job)).or_else(|| match (connection?, stream) {
            (connection, Some(stream)) => self.zones.of_stream(connection, stream),
            (connection, None) => self.zones.of_connection(connection),
        })
    }

    pub(super) fn zone_of_table(&self, connection: Option<&str>, table: &str) -> Option<&'static str> {
        self.zones.of_table(connection, table)
    }

    /// When a run ended; else when it started or was made.
    pub(super) fn run_time(&self, run: &LastRun, of: Option<&str>) -> Markup {
        self.time(&run.finished_at.or(run.started_at).unwrap_or(run.created_at), of)
    }

    /// How long something took, or has taken so far.
    pub(super) fn took(&self, from: &Option<DateTime<Utc>>, to: &Option<DateTime<Utc>>) -> String {
        from.map_or_else(|| "–".to_owned(), |from| markup::span((to.unwrap_or(self.at) - from).num_seconds()))
    }

    pub(super) fn state(&self, name: &str) -> Markup {
        markup::state(state::find(name))
    }

    pub(super) fn meaning(&self, name: &str) -> String {
        let meaning = state::find(name).meaning;
        let mut characters = meaning.chars();
        characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
    }

    pub(super) fn run_state(&self, name: &str) -> Markup {
        markup::state(state::of_run(name))
    }

    /// The kind of a problem, as a symbol and words.
    pub(super) fn problem(&self, kind: &str) -> Markup {
        markup::state(state::of_problem(kind))
    }

    /// The page of what a problem concerns, if it has one.
    pub(super) fn problem_link(&self, problem: &Problem) -> Option<String> {
        let part = |text: &str| percent_encoding(text);
        match (&problem.connection, &problem.stream, &problem.job) {
            (Some(connection), Some(stream), _) => {
                Some(format!("{}/streams/{}/{}", self.base, part(connection), part(stream)))
            }
            (Some(connection), None, _) => self.connection_page(connection),
            (None, _, Some(job)) => self.job_page(job),
            (None, _, None) => (problem.scope == "system").then(|| format!("{}/system", self.base)),
        }
    }

    pub(super) fn bar(&self, spans: &[DaySpan], days: u16) -> Markup {
        // Zones are up to 14 hours ahead.
        let newest = spans.last().map_or(self.at.date_naive(), |span| span.to);
        chart::bar(spans, days, newest.max(self.at.date_naive()))
    }

    /// The days of a year, with times in the zone `of`.
    pub(super) fn calendar(&self, days: &[Day], year: &i32, of: Option<&str>) -> Markup {
        chart::calendar(days, *year, self.zone.resolve(of))
    }

    /// How much of a limit is used.
    pub(super) fn meter(&self, limit: &LimitState) -> Markup {
        let label = format!("{}: {}", limit.limit, self.percent(&limit.ratio));
        chart::meter(limit.ratio, limit.period_seconds, &label)
    }

    #[expect(clippy::cast_precision_loss, reason = "a bar")]
    pub(super) fn progress<N: Copy + Into<i64>>(&self, done: &N, of: &N) -> Markup {
        let (done, of): (i64, i64) = ((*done).into(), (*of).into());
        let ratio = if of > 0 { done as f64 / of as f64 } else { 0.0 };
        chart::progress(ratio, &format!("{done} of {of}"))
    }

    pub(super) fn percent(&self, ratio: &f64) -> String {
        format!("{:.1} %", ratio * 100.0)
    }

    pub(super) fn number(&self, number: impl Display) -> String {
        markup::number(number)
    }

    pub(super) fn bytes(&self, bytes: &i64) -> String {
        markup::bytes(u64::try_from(*bytes).unwrap_or(0))
    }

    pub(super) fn size(&self, bytes: &u64) -> String {
        markup::bytes(*bytes)
    }

    /// The id of a form, different each time.
    pub(super) fn request(&self) -> Uuid {
        Uuid::from_bytes(rand::random())
    }

    /// An amount of calls or bytes.
    pub(super) fn amount(&self, amount: &i64, unit: &str) -> String {
        if unit == "bytes" { self.bytes(amount) } else { markup::number(amount) }
    }

    /// Seconds in the largest suitable unit.
    pub(super) fn seconds(&self, seconds: &u64) -> String {
        markup::span(i64::try_from(*seconds).unwrap_or(i64::MAX))
    }

    /// The period of a limit, as it is written in the configuration.
    pub(super) fn period(&self, limit: &LimitState) -> String {
        Duration::try_from_secs_f64(limit.period_seconds).map_or_else(|_| "–".to_owned(), text::show_duration)
    }

    /// With one digit after the point.
    pub(super) fn fraction(&self, number: &f64) -> String {
        format!("{number:.1}")
    }

    /// A moment in UTC, without its age.
    pub(super) fn utc(&self, at: &DateTime<Utc>) -> String {
        markup::moment_text(*at, chrono_tz::Tz::UTC, self.at)
    }

    /// The last week of a credential, by the hour, with times in the zone `of`.
    pub(super) fn week(&self, hours: &[Hour], of_one: bool, of: Option<&str>) -> Markup {
        chart::week(hours, (self.at, self.zone.resolve(of)), of_one)
    }

    /// Durations and outcomes of runs, the oldest first.
    pub(super) fn run_bars(&self, runs: &[Run]) -> Markup {
        chart::run_bars(runs, self.at)
    }

    pub(super) fn run_states(&self) -> &'static [&'static str] {
        &run::STATES
    }

    pub(super) fn event_kinds(&self) -> &'static [&'static str] {
        &EVENT_KINDS
    }

    pub(super) fn run_kinds(&self) -> &'static [&'static str] {
        &run::KINDS
    }

    pub(super) fn push_state(&self, name: &str) -> Markup {
        markup::state(state::of_push(name))
    }

    pub(super) fn dash(&self, text: &Option<String>) -> String {
        text.clone().filter(|text| !text.is_empty()).unwrap_or_else(|| "–".to_owned())
    }

    /// A name that may be broken into lines where its words end.
    pub(super) fn name(&self, name: &str) -> Markup {
        markup::name(name)
    }

    /// A message, with code in backticks.
    pub(super) fn prose(&self, message: &str) -> Markup {
        markup::prose(message)
    }

    /// The same, cut if it is long.
    pub(super) fn cut(&self, message: &str) -> Markup {
        markup::prose(&cut(message))
    }

    /// A message as a sentence, cut if it is long.
    pub(super) fn sentence(&self, message: &str) -> Markup {
        markup::prose(&text::sentence(&cut(message)))
    }

    /// What to do about a problem, as the end of a sentence.
    pub(super) fn to_do(&self, hint: &str) -> Markup {
        markup::prose(&text::ended(hint))
    }

    /// The same, cut if it is long.
    pub(super) fn to_do_in_short(&self, hint: &str) -> Markup {
        markup::prose(&text::ended(&cut(hint)))
    }

    pub(super) fn day_after(&self, day: &NaiveDate) -> NaiveDate {
        day.succ_opt().unwrap_or(*day)
    }

    /// A parameter of the request; empty if it has none of that name.
    pub(super) fn parameter(&self, name: &str) -> &str {
        self.query.text(name).unwrap_or_default()
    }

    pub(super) fn is_filtered(&self) -> bool {
        self.query.is_filtered()
    }

    /// The parameters with another value of one of them, or without it if the value is empty.
    pub(super) fn with(&self, name: &str, value: &str) -> String {
        self.query.with(name, Some(value).filter(|value| !value.is_empty()))
    }

    /// The parameters for the part of a list that follows `after`.
    pub(super) fn with_after(&self, after: &str) -> String {
        self.query.with("after", Some(after))
    }
}

/// A long message, cut between characters.
fn cut(message: &str) -> String {
    let end = message.char_indices().nth(MESSAGE_CHARS_MAX).map(|(end, _)| end);
    end.map_or_else(|| message.to_owned(), |end| format!("{}…", &message[..end]))
}

/// `text` as one part of a path.
fn percent_encoding(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}
