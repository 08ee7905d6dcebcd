//! The runs: what they did, and what they wait for.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::events::{self, Event, EventFilter};
use super::parameters::{AFTER_ID, ANY_CONNECTION, ANY_JOB, FROM, TO, parameter};
use super::{Document, Parameter, ParameterKind, Query, QueryError, ROWS_MAX, ReadError, Reading};
use crate::store::history::{self, Run, RunFilter, Task};
use crate::store::{held, run};

/// Events of a run that are shown.
const EVENTS: i64 = 50;

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Runs {
    pub at: DateTime<Utc>,
    /// Newest first.
    pub runs: Vec<Run>,
    /// The parameter `after` of the next page.
    pub next: Option<i64>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RunPage {
    pub at: DateTime<Utc>,
    pub run: Run,
    /// The process that has it.
    pub owner: Option<String>,
    /// Seconds from when it was due until it started.
    pub start_delay_seconds: Option<f64>,
    /// One per stream.
    pub tasks: Vec<Task>,
    /// Its held streams that still have held slices which no operator has released.
    pub unreleased: Vec<String>,
    /// Newest first.
    pub events: Vec<Event>,
}

impl Document for Runs {
    const PATH: &'static str = "/runs";
    const MEANING: &'static str = "The runs, newest first.";
    const PARAMETERS: &'static [Parameter] = &[
        ANY_JOB,
        ANY_CONNECTION,
        parameter("state", ParameterKind::OneOf(&run::STATES), "only in this state"),
        parameter("kind", ParameterKind::OneOf(&run::KINDS), "only made for this reason"),
        FROM,
        TO,
        AFTER_ID,
    ];

    async fn read(reading: &mut Reading<'_>, query: &Query) -> Result<Option<Self>, ReadError> {
        let (from, to) = (query.moment("from")?, query.moment("to")?);
        if from.zip(to).is_some_and(|(from, to)| from >= to) {
            return Err(QueryError::new("to", "after the parameter `from`").into());
        }
        let filter = RunFilter {
            job: query.text("job"),
            connection: query.text("connection"),
            state: query.text("state"),
            kind: query.text("kind"),
            from,
            to,
            before: query.number("after")?,
            id: None,
            limit: i64::try_from(ROWS_MAX + 1).unwrap_or(i64::MAX),
        };
        let mut runs = history::runs(&mut *reading.conn, filter).await?;
        let more = runs.len() > ROWS_MAX;
        runs.truncate(ROWS_MAX);
        let next = runs.last().filter(|_| more).map(|run| run.run_id);
        Ok(Some(Self { at: reading.now, runs, next }))
    }
}

impl RunPage {
    /// Whether nothing that the task held waits for a decision any more.
    pub fn is_settled(&self, task: &Task) -> bool {
        task.state == "held" && !self.unreleased.contains(&task.stream)
    }

    /// Whether the time has come until which the task waits, so that it waits for its turn only.
    pub fn is_due(&self, task: &Task) -> bool {
        task.waiting_until.is_some_and(|until| until <= self.at)
    }
}

impl Document for RunPage {
    const PATH: &'static str = "/runs/{run}";
    const MEANING: &'static str = "One run: what it did, and what it waits for.";

    async fn read(reading: &mut Reading<'_>, query: &Query) -> Result<Option<Self>, ReadError> {
        let Some(id) = query.id("run") else { return Ok(None) };
        let filter = RunFilter { id: Some(id), limit: 1, ..RunFilter::default() };
        let Some(run) = history::runs(&mut *reading.conn, filter).await?.pop() else { return Ok(None) };
        let tasks = history::tasks(&mut *reading.conn, &[id]).await?;
        let held: Vec<String> =
            tasks.iter().filter(|task| task.state == "held").map(|task| task.stream.clone()).collect();
        let unreleased = if held.is_empty() {
            Vec::new()
        } else {
            held::unreleased(&mut *reading.conn, &run.connection, &held).await?
        };
        let events = events::list(reading.conn, EventFilter { run: Some(id), limit: EVENTS, ..EventFilter::default() });
        let due = run.scheduled_for.unwrap_or(run.created_at);
        Ok(Some(Self {
            at: reading.now,
            owner: run.owner.clone().filter(|_| run.finished_at.is_none()),
            start_delay_seconds: run.started_at.map(|started| (started - due).as_seconds_f64().max(0.0)),
            tasks,
            unreleased,
            events: events.await?,
            run,
        }))
    }
}
