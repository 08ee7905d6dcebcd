//! What an action would do, for the page that asks for confirmation.

use chrono::{DateTime, Utc};

use super::perform::{limits_of, not_blocked, paused_job, range};
use super::{ActionError, Asked, Proposal, part, plan};
use crate::config::{Job, JobStream};
use crate::connector::Window;
use crate::quota;
use crate::store::pause::Pause;
use crate::store::status::Streams;
use crate::store::{held, mute, pause, progress};
use crate::text;
use crate::worker::grid::midnight;

/// Streams named of which more than the chosen days would be read.
const WIDER_MAX: usize = 5;
/// Held slices shown.
const HELD_MAX: i64 = 100;

fn of_job(asked: &Asked<'_>, job: &Job) -> String {
    let what = asked.query.text("stream").map(|stream| format!("{stream} of ")).unwrap_or_default();
    format!("{what}{}", job.name)
}

async fn planned(
    asked: &mut Asked<'_>,
    job: &Job,
    streams: &[&JobStream],
    range: Option<Window>,
) -> Result<Vec<plan::StreamPlan>, ActionError> {
    let mut plans = Vec::new();
    let Some(connection) = asked.config.connections.get(&job.connection) else { return Ok(plans) };
    for stream in streams {
        plans.push(plan::stream(asked.conn, job, connection, stream, range, asked.now).await?);
    }
    Ok(plans)
}

fn back(job: &Job) -> String {
    format!("/jobs/{}", part(&job.name))
}

pub(super) async fn run(asked: &mut Asked<'_>) -> Result<Proposal, ActionError> {
    let job = asked.reading_job()?;
    let streams = asked.streams(job, false)?;
    let mut effects = vec!["It reads what the next firing would read; the schedule stays as it is.".to_owned()];
    if job.paused {
        effects.push("The job is paused in the configuration; this run is made nevertheless.".to_owned());
    }
    if let Some(found) = pause::of_job(&pause::list(&mut *asked.conn).await?, &job.name) {
        effects.push(format!("This run is made despite {}.", in_words(found)));
    }
    Ok(Proposal {
        title: format!("Run {} now", of_job(asked, job)),
        effects,
        ready: true,
        options: job.streams.iter().map(|entry| entry.stream.name.clone().into_owned()).collect(),
        plan: planned(asked, job, &streams, None).await?,
        back: back(job),
        ..Proposal::default()
    })
}

pub(super) async fn backfill(asked: &mut Asked<'_>) -> Result<Proposal, ActionError> {
    let job = asked.reading_job()?;
    let streams = asked.streams(job, true)?;
    let range = range(asked, job)?;
    let windowed = job.streams.iter().filter(|entry| entry.stream.windowed());
    let plan = if range.is_some() { planned(asked, job, &streams, range).await? } else { Vec::new() };
    let mut effects = vec![
        format!(
            "It reads past days again, in {}. Scheduled runs go first, so it may take longer than the quotas require.",
            job.timezone.name()
        ),
        "Slices are read whole, up to now at most, because the rows of a slice are replaced together: days that share \
         a slice with a chosen one are read too."
            .to_owned(),
    ];
    effects.extend(range.and_then(|range| other_days(job, &streams, range, &plan)));
    if range.is_some_and(|range| range.start < midnight(job.start, job.timezone)) {
        effects.push(format!(
            "It begins before {}, the `start` of the job: the job does not want older days, and no later run reads them \
             again.",
            job.start
        ));
    }
    Ok(Proposal {
        title: format!("Backfill {}", of_job(asked, job)),
        effects,
        ready: range.is_some(),
        options: windowed.map(|entry| entry.stream.name.clone().into_owned()).collect(),
        plan,
        back: back(job),
        ..Proposal::default()
    })
}

/// The streams of which other days than those of `range` would be read, with the whole slices.
fn other_days(job: &Job, streams: &[&JobStream], range: Window, plans: &[plan::StreamPlan]) -> Option<String> {
    let local = |at: DateTime<Utc>| at.with_timezone(&job.timezone).format("%Y-%m-%d %H:%M").to_string();
    let wider = streams.iter().zip(plans).filter_map(|(stream, plan)| {
        let (from, until) = (plan.from?, plan.until?);
        let text = format!("`{}` in slices of {} from {} to {}", plan.stream, stream.slice, local(from), local(until));
        (from < range.start || until > range.end).then_some(text)
    });
    let mut wider: Vec<String> = wider.collect();
    let more = wider.len().saturating_sub(WIDER_MAX);
    wider.truncate(WIDER_MAX);
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    (!wider.is_empty()).then(|| format!("So it reads {}{rest}.", wider.join("; ")))
}

pub(super) async fn cancel(asked: &mut Asked<'_>) -> Result<Proposal, ActionError> {
    let run = asked.id("run")?;
    let of = progress::run_of(&mut *asked.conn, run).await?;
    let of = of.ok_or_else(|| ActionError::NotFound("there is no such run".to_owned()))?;
    if !matches!(of.state.as_str(), "queued" | "running" | "waiting") {
        return Err(ActionError::Refused(format!("run {run} has ended: {}", of.state)));
    }
    Ok(Proposal {
        title: format!("Cancel run {run} of {}", of.job),
        effects: vec![
            "Its worker stops at the next checkpoint. The rows that it read are kept, and the next run goes on \
                       from there."
                .to_owned(),
        ],
        ready: true,
        back: format!("/runs/{run}"),
        ..Proposal::default()
    })
}

/// A time until which something lasts.
fn utc(until: DateTime<Utc>) -> String {
    text::up_to_minute(until).format("%Y-%m-%d %H:%MZ").to_string()
}

/// A pause with its end, its operator and the reason.
fn in_words(pause: &Pause) -> String {
    let what = if pause.job == pause::EVERYTHING { "every job" } else { &pause.job };
    let reason = pause.reason.trim_end_matches('.');
    format!("the pause of {what} until {}, set by {}: {reason}", utc(pause.until), pause.actor)
}

pub(super) async fn pause(asked: &mut Asked<'_>) -> Result<Proposal, ActionError> {
    let job = paused_job(asked)?;
    if job.is_some_and(|job| job.paused) {
        return Err(ActionError::Refused("`paused: true` in the configuration pauses the job already".to_owned()));
    }
    let catch_up = job.map_or_else(String::new, |job| format!(", here `{:?}`,", job.catch_up).to_lowercase());
    let mut effects = vec![
        "No firing makes a run until then, for 30 days at most. Runs that exist go on, and runs by hand are possible."
            .to_owned(),
        format!("Afterwards `catch_up`{catch_up} decides about the firings that were missed."),
    ];
    let name = job.map_or(pause::EVERYTHING, |job| &*job.name);
    if let Some(found) = pause::list(&mut *asked.conn).await?.iter().find(|pause| pause.job == name) {
        effects.push(format!("It replaces {}.", in_words(found)));
    }
    Ok(Proposal {
        title: format!("Pause {}", job.map_or("every job", |job| &*job.name)),
        effects,
        ready: true,
        back: job.map_or_else(|| "/system".to_owned(), back),
        ..Proposal::default()
    })
}

pub(super) async fn resume(asked: &mut Asked<'_>) -> Result<Proposal, ActionError> {
    let job = paused_job(asked)?;
    let name = job.map_or(pause::EVERYTHING, |job| &*job.name);
    let pauses = pause::list(&mut *asked.conn).await?;
    let Some(found) = pauses.iter().find(|pause| pause.job == name) else {
        return Err(ActionError::Refused("no pause of an operator is in force".to_owned()));
    };
    Ok(Proposal {
        title: format!("End the pause of {}", job.map_or("every job", |job| &*job.name)),
        effects: vec![format!("It ends {}.", in_words(found))],
        ready: true,
        back: job.map_or_else(|| "/system".to_owned(), back),
        ..Proposal::default()
    })
}

/// The error for slices that the next reading deletes from anyway.
pub(super) fn released_already() -> ActionError {
    let reason = "every held slice of this stream is released already; the next reading deletes the rows that the vendor \
                  does not report";
    ActionError::Refused(reason.to_owned())
}

/// The error for a stream without held slices.
pub(super) fn not_held(asked: &Asked<'_>) -> ActionError {
    let (connection, stream) = (asked.query.name("connection"), asked.query.name("stream"));
    let mut jobs = asked.config.jobs.values().filter(|job| job.connection == connection);
    if jobs.any(|job| job.streams.iter().any(|entry| entry.stream.name == stream)) {
        ActionError::Refused("no slice of this stream is held".to_owned())
    } else {
        ActionError::NotFound("no job of the configuration reads a stream of this name".to_owned())
    }
}

pub(super) async fn release(asked: &mut Asked<'_>) -> Result<Proposal, ActionError> {
    let (connection, stream) = (asked.query.name("connection"), asked.query.name("stream"));
    let of = Streams { connections: vec![connection.to_owned()], names: vec![stream.to_owned()] };
    let held = held::list(&mut *asked.conn, Some(&of), HELD_MAX).await?;
    if held.is_empty() {
        return Err(not_held(asked));
    }
    if held.iter().all(|slice| slice.released) {
        return Err(released_already());
    }
    Ok(Proposal {
        title: format!("Release the held slices of {connection}/{stream}"),
        effects: vec![
            "The next run reads them again and deletes the rows that the vendor does not report. Deleted rows \
                       cannot be brought back."
                .to_owned(),
        ],
        ready: true,
        held,
        back: format!("/streams/{}/{}", part(connection), part(stream)),
        ..Proposal::default()
    })
}

pub(super) async fn unblock(asked: &mut Asked<'_>) -> Result<Proposal, ActionError> {
    let name = asked.query.name("connection");
    let (key, limits) = limits_of(asked).await?;
    let blocked = quota::blocked(&mut *asked.conn, &key, &limits).await?;
    if blocked.is_empty() {
        return Err(not_blocked());
    }
    Ok(Proposal {
        title: format!("Lift the block of {name}"),
        effects: vec![
            format!(
                "The vendor has refused a call and asked to wait, so {} is blocked. Calls are sent again now; what was used \
                 stays counted.",
                blocked.join(", ")
            ),
            "If the vendor refuses again, the limits are blocked again, for every connection of the credential."
                .to_owned(),
        ],
        ready: true,
        back: format!("/connections/{}", part(name)),
        ..Proposal::default()
    })
}

pub(super) async fn mute(asked: &mut Asked<'_>) -> Result<Proposal, ActionError> {
    let problem = asked.id("problem")?;
    let found = mute::find(&mut *asked.conn, problem).await?;
    let found = found.ok_or_else(|| ActionError::NotFound("the problem is not open any more".to_owned()))?;
    let mut effects = vec![
        format!("The problem: {}.", found.summary.trim_end_matches('.')),
        "No reminder of it is sent until then, for 7 days at most. It is still shown.".to_owned(),
    ];
    if let Some(until) = found.muted_until {
        let by = found.muted_by.map(|by| format!(" by {by}")).unwrap_or_default();
        effects.push(format!("It is muted already, until {}{by}; this replaces that.", utc(until)));
    }
    Ok(Proposal {
        title: format!("Mute {} of {}", found.kind, found.scope),
        effects,
        ready: true,
        back: "/problems".to_owned(),
        ..Proposal::default()
    })
}

pub(super) fn notify(asked: &Asked<'_>) -> Result<Proposal, ActionError> {
    Ok(Proposal {
        title: format!("Send a test message to {}", asked.target()?),
        effects: vec![
            "The message names itself a test and is sent at once. The page of the system shows the outcome.".to_owned(),
        ],
        ready: true,
        back: "/system".to_owned(),
        ..Proposal::default()
    })
}
