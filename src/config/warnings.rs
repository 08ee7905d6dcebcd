//! What a configuration says that is allowed and yet is hardly meant. Shown by `tidegate check`; nothing is refused.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::{Config, Connection, Job};
use crate::vendor::Settings;
use crate::vendor::lexer::UtcOffset;

/// Clocks change for weeks at a time, so a look per week finds every difference.
const STEP: TimeDelta = TimeDelta::days(7);
/// So far ahead of now offsets are compared.
const AHEAD: TimeDelta = TimeDelta::days(366);

impl Config {
    /// One sentence for each thing that deserves a second look, with what to write instead.
    pub fn warnings(&self, now: DateTime<Utc>) -> Vec<String> {
        let of_job = |job: &Job| days_apart(job, self.connections.get(&job.connection)?, now);
        self.jobs.values().filter_map(of_job).collect()
    }
}

/// A day of the job that is not a day of the connection (`vendors/lexer.md §8`).
fn days_apart(job: &Job, connection: &Connection, now: DateTime<Utc>) -> Option<String> {
    let Settings::LexerActivity(settings) = &connection.settings else { return None };
    if !job.streams.iter().any(|entry| entry.stream.windowed()) {
        return None;
    }
    let at = first_difference(job, settings.utc_offset, now)?;
    let (zone, asked) = (job.timezone.name(), shown(settings.utc_offset));
    let remedy = match (settings.utc_offset, job.timezone) {
        (UtcOffset::Zone(zone), _) => format!("write `timezone: {zone}` in the job"),
        (UtcOffset::Fixed(_), Tz::UTC) => "write `utc_offset: \"+00:00\"` in the connection".to_owned(),
        (UtcOffset::Fixed(_), zone) => format!("write `utc_offset: {zone}` in the connection"),
    };
    Some(format!(
        "job `{}`: its days are those of {zone}, the connection `{}` asks with `utc_offset: {asked}`, which differs on {}: the \
         last day of a slice is not over when the slice is; {remedy}, or see that `lookback` is two days or more",
        job.name,
        connection.name,
        at.date_naive(),
    ))
}

fn first_difference(job: &Job, offset: UtcOffset, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let start = job.start.and_time(NaiveTime::MIN).and_utc();
    let moments = std::iter::successors(Some(start), |at| at.checked_add_signed(STEP));
    let local = |at: &DateTime<Utc>| at.with_timezone(&job.timezone).naive_local();
    moments.take_while(|at| *at <= now + AHEAD).find(|at| local(at) != at.with_timezone(&offset.at(*at)).naive_local())
}

fn shown(offset: UtcOffset) -> String {
    match offset {
        UtcOffset::Fixed(offset) => offset.to_string(),
        UtcOffset::Zone(zone) => zone.name().to_owned(),
    }
}
