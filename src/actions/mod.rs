//! What operators can have done on the pages and in the API: one table of actions.
//!
//! An action changes something and records the operator, in one transaction. Its request id is unique among events, so
//! an action that is sent twice is done once, also if another replica receives the second request. Actions with a risk
//! that a page cannot show, such as resetting cursors, are left to commands.

mod perform;
pub mod plan;
mod propose;

use std::collections::BTreeSet;
use std::future::ready;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use sqlx::{PgConnection, PgPool};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::{Config, Job};
use crate::report::{Query, QueryError};
use crate::store::audit::{self, Subject};
use crate::store::failure::Failure;
use crate::store::held::HeldSlice;
use crate::store::mute;
use crate::store::session::Deadline as _;
use plan::{QuotaError, StreamPlan};

/// A way to change something.
pub struct Action {
    /// What it does, in a sentence.
    pub meaning: &'static str,
    /// Path of the page that explains it and of the form's target. The API has it under the same path.
    pub route: &'static str,
    /// What it asks for.
    pub fields: &'static [Field],
    /// What would happen.
    propose: for<'a> fn(&'a mut Asked<'_>) -> BoxFuture<'a, Result<Proposal, ActionError>>,
    /// Does it.
    perform: for<'a> fn(&'a mut Asked<'_>) -> BoxFuture<'a, Result<Done, ActionError>>,
    /// Where it leads, from what was asked and the run that it made.
    place: fn(&Query, Option<i64>) -> String,
}

/// A value that an action asks for.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    pub name: &'static str,
    pub label: &'static str,
    pub kind: FieldKind,
    /// Whether what would happen depends on it, so that it is asked for before.
    pub first: bool,
    pub required: bool,
}

/// How a field is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    Date,
    /// A time in UTC.
    Moment,
    Text,
    /// One of the options of the proposal; none means all.
    Option,
    /// A whole number within these bounds. The page offers those that are listed, with their labels.
    Number(i64, i64, &'static [(&'static str, &'static str)]),
}

const fn field(name: &'static str, label: &'static str, kind: FieldKind, first: bool, required: bool) -> Field {
    Field { name, label, kind, first, required }
}

const STREAM: Field = field("stream", "Stream", FieldKind::Option, true, false);
const UNTIL: Field = field("until", "Until, in UTC", FieldKind::Moment, false, true);
const REASON: Field = field("reason", "Reason", FieldKind::Text, false, true);
const DAYS: FieldKind = FieldKind::Number(
    1,
    mute::DAYS_MAX,
    &[("1", "1 day"), ("2", "2 days"), ("3", "3 days"), ("5", "5 days"), ("7", "7 days")],
);

/// An action is a few statements.
pub const WORK_MAX: Duration = Duration::from_secs(10);
/// A commit that waits for a standby takes longer than usual.
pub const COMMIT_MAX: Duration = Duration::from_secs(10);
/// How long an action may go on to work when the process shuts down. After that it is rolled back.
const WORK_AT_STOP_MAX: Duration = Duration::from_secs(3);
/// How long the confirmation of a commit is then waited for.
const COMMIT_AT_STOP_MAX: Duration = Duration::from_secs(2);
/// When the process has been asked to stop, every action has its outcome after this.
pub const STOP_MAX: Duration = WORK_AT_STOP_MAX.saturating_add(COMMIT_AT_STOP_MAX);
/// What an error means for the action.
const NOTHING_DONE: &str = "this call has done nothing";

/// The field with the id of a request, which every action has.
pub const REQUEST: &str = "request";

/// Everything that can be done.
pub static ACTIONS: [Action; 11] = [
    Action {
        meaning: "Runs a job, or one of its streams, now.",
        route: "/jobs/{job}/runs",
        fields: &[STREAM],
        propose: |asked| Box::pin(propose::run(asked)),
        perform: |asked| Box::pin(perform::run(asked)),
        place: place_of_run,
    },
    Action {
        meaning: "Reads past days of a job, or of one of its streams, again.",
        route: "/jobs/{job}/backfills",
        fields: &[
            field("from", "From, the first day", FieldKind::Date, true, true),
            field("to", "To, the day after the last", FieldKind::Date, true, true),
            STREAM,
        ],
        propose: |asked| Box::pin(propose::backfill(asked)),
        perform: |asked| Box::pin(perform::backfill(asked)),
        place: place_of_run,
    },
    Action {
        meaning: "Cancels a run.",
        route: "/runs/{run}/cancel",
        fields: &[],
        propose: |asked| Box::pin(propose::cancel(asked)),
        perform: |asked| Box::pin(perform::cancel(asked)),
        place: |query, _| format!("/runs/{}", part(query.name("run"))),
    },
    Action {
        meaning: "Pauses a job until a time within the next 30 days.",
        route: "/jobs/{job}/pause",
        fields: &[UNTIL, REASON],
        propose: |asked| Box::pin(propose::pause(asked)),
        perform: |asked| Box::pin(perform::pause(asked)),
        place: place_of_job,
    },
    Action {
        meaning: "Ends the pause of a job.",
        route: "/jobs/{job}/resume",
        fields: &[],
        propose: |asked| Box::pin(propose::resume(asked)),
        perform: |asked| Box::pin(perform::resume(asked)),
        place: place_of_job,
    },
    Action {
        meaning: "Pauses every job until a time within the next 30 days.",
        route: "/system/pause",
        fields: &[UNTIL, REASON],
        propose: |asked| Box::pin(propose::pause(asked)),
        perform: |asked| Box::pin(perform::pause(asked)),
        place: |_, _| "/system".to_owned(),
    },
    Action {
        meaning: "Ends the pause of every job.",
        route: "/system/resume",
        fields: &[],
        propose: |asked| Box::pin(propose::resume(asked)),
        perform: |asked| Box::pin(perform::resume(asked)),
        place: |_, _| "/system".to_owned(),
    },
    Action {
        meaning: "Lets the next reading of held slices delete the rows that the vendor does not report.",
        route: "/streams/{connection}/{stream}/release",
        fields: &[field("name", "Type the name of the stream", FieldKind::Text, false, true)],
        propose: |asked| Box::pin(propose::release(asked)),
        perform: |asked| Box::pin(perform::release(asked)),
        place: |query, _| format!("/streams/{}/{}", part(query.name("connection")), part(query.name("stream"))),
    },
    Action {
        meaning: "Lifts the block of a quota after a refusal of the vendor.",
        route: "/connections/{connection}/unblock",
        fields: &[],
        propose: |asked| Box::pin(propose::unblock(asked)),
        perform: |asked| Box::pin(perform::unblock(asked)),
        place: |query, _| format!("/connections/{}", part(query.name("connection"))),
    },
    Action {
        meaning: "Mutes a problem for some days: no reminder of it is sent.",
        route: "/problems/{problem}/mute",
        fields: &[field("days", "For", DAYS, false, true)],
        propose: |asked| Box::pin(propose::mute(asked)),
        perform: |asked| Box::pin(perform::mute(asked)),
        place: |_, _| "/problems".to_owned(),
    },
    Action {
        meaning: "Sends a test message to a target of notifications.",
        route: "/system/notify/{target}/test",
        fields: &[],
        propose: |asked| Box::pin(ready(propose::notify(asked))),
        perform: |asked| Box::pin(perform::notify(asked)),
        place: |_, _| "/system".to_owned(),
    },
];

fn place_of_run(query: &Query, run: Option<i64>) -> String {
    run.map_or_else(|| place_of_job(query, None), |run| format!("/runs/{run}"))
}

fn place_of_job(query: &Query, _: Option<i64>) -> String {
    format!("/jobs/{}", part(query.name("job")))
}

/// `text` as one part of a path.
fn part(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// What an action works with.
pub struct Asked<'a> {
    /// To perform, in the transaction of the event; to propose, in one that only reads.
    pub conn: &'a mut PgConnection,
    /// The configuration in force.
    pub config: &'a Config,
    /// The names in the path, and the fields.
    pub query: &'a Query,
    /// Who asks for it.
    pub actor: &'a str,
    /// By the database's clock.
    pub now: DateTime<Utc>,
    /// The targets of notifications to which this process sends nothing any more.
    pub gone: &'a BTreeSet<String>,
}

/// The process in which an action is done.
#[derive(Clone, Copy)]
pub struct Process<'a> {
    pub pool: &'a PgPool,
    pub config: &'a Config,
    pub gone: &'a BTreeSet<String>,
    /// Cancelled when it shuts down.
    pub stop: &'a CancellationToken,
}

/// What would happen.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Proposal {
    /// What is done, in the imperative: also the text of the button.
    pub title: String,
    /// What follows from it, in sentences.
    pub effects: Vec<String>,
    /// Whether it can be asked for: all values that it depends on are known.
    pub ready: bool,
    /// The streams to choose from.
    pub options: Vec<String>,
    /// What would be read.
    pub plan: Vec<StreamPlan>,
    /// The slices that would be released, with the rows before and after.
    pub held: Vec<HeldSlice>,
    /// The page of what it concerns.
    pub back: String,
}

/// What was done.
#[derive(Debug, Clone, Default)]
struct Done {
    connection: Option<String>,
    stream: Option<String>,
    job: Option<String>,
    run_id: Option<i64>,
    /// In a sentence.
    summary: String,
}

/// The outcome of an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Outcome {
    /// Whether the same request had done it before, so that nothing was done now.
    pub repeated: bool,
    pub summary: String,
    pub run_id: Option<i64>,
    /// The page of what was made or changed.
    pub place: String,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// What the path names does not exist.
    #[error("{0}")]
    NotFound(String),
    /// A field is missing or wrong.
    #[error("{0}")]
    Invalid(String),
    /// A field does not exist, or its value is not one of those that are possible.
    #[error(transparent)]
    Field(QueryError),
    /// It cannot be done in the present state.
    #[error("{0}")]
    Refused(String),
    /// The request id belongs to another action.
    #[error("this request id was used for another action or for other values, so nothing was done; send a new id")]
    Reused,
    #[error("{}", Failure::of(.0).with(NOTHING_DONE))]
    Database(#[from] sqlx::Error),
    /// The database did not do it in time, or it was not its turn in time.
    #[error("{}", .0.with(NOTHING_DONE))]
    Late(Failure),
    /// The process shuts down.
    #[error("Tidegate is shutting down; {}; send it again in a few seconds", NOTHING_DONE)]
    Stopping,
    /// The transaction was to be committed, and the database did not confirm it.
    #[error(
        "the database did not confirm it, so it is not known whether it was done; send it again with the request id \
         {request}, and it is done at most once"
    )]
    Unconfirmed { request: Uuid, source: sqlx::Error },
    #[error("the quotas could not be read: {0}; this call has done nothing")]
    Quota(#[from] QuotaError),
}

impl From<QueryError> for ActionError {
    fn from(error: QueryError) -> Self {
        Self::Field(error)
    }
}

impl Action {
    /// Refuses names that nothing can have, fields that do not exist, and numbers out of their bounds.
    fn check(&self, query: &Query) -> Result<(), ActionError> {
        // A path with NUL names nothing, which was checked before.
        if query.has_nul() {
            return Err(ActionError::Invalid("no value has the character NUL".to_owned()));
        }
        let known: Vec<&str> = self.fields.iter().map(|field| field.name).chain([REQUEST]).collect();
        query.only(&known)?;
        for field in self.fields {
            let FieldKind::Number(least, most, _) = field.kind else { continue };
            if query.number(field.name)?.is_some_and(|number| !(least..=most).contains(&number)) {
                let expected = format!("a whole number from {least} to {most}");
                return Err(QueryError::new(field.name, &expected).into());
            }
        }
        Ok(())
    }

    /// Identifies the action with its names and fields: the same for two requests that ask for the same.
    fn digest(&self, query: &Query) -> Vec<u8> {
        Sha256::digest(format!("{} {}", self.route, query.canonical(REQUEST))).to_vec()
    }

    /// The page of what it concerns.
    pub fn page(&self, query: &Query) -> String {
        (self.place)(query, None)
    }

    /// What would happen. When the quotas let it end is computed by [`plan::with_quotas`].
    pub async fn propose(&self, mut asked: Asked<'_>) -> Result<Proposal, ActionError> {
        self.check(asked.query)?;
        (self.propose)(&mut asked).await
    }

    /// Does it, unless `request` was done before. Refused if `request` did something else. Ends within [`WORK_MAX`] and
    /// [`COMMIT_MAX`], and within [`STOP_MAX`] after the process was asked to stop.
    pub async fn perform(
        &self,
        Process { pool, config, gone, stop }: Process<'_>,
        query: &Query,
        actor: &str,
        request: Uuid,
    ) -> Result<Outcome, ActionError> {
        self.check(query)?;
        if stop.is_cancelled() {
            return Err(ActionError::Stopping);
        }
        let digest = self.digest(query);
        let began = AtomicBool::new(false);
        let doing = timeout(WORK_MAX, async {
            let mut transaction = pool.begin().in_time().await?;
            began.store(true, Ordering::Relaxed);
            let now = crate::schedule::clock(&mut transaction).await?;
            let Some(event) = audit::begin(&mut *transaction, actor, request, &digest).await? else {
                let done = audit::done(&mut *transaction, request, &digest).await?;
                let audit::Done { run_id, summary } = done.ok_or(ActionError::Reused)?;
                let place = (self.place)(query, run_id);
                return Ok((transaction, Outcome { repeated: true, place, summary, run_id }));
            };
            let mut asked = Asked { conn: &mut transaction, config, query, actor, now, gone };
            let done = (self.perform)(&mut asked).await?;
            let subject = Subject {
                connection: done.connection.as_deref(),
                stream: done.stream.as_deref(),
                job: done.job.as_deref(),
                run_id: done.run_id,
            };
            audit::end(&mut *transaction, event, subject, &done.summary).await?;
            let place = (self.place)(query, done.run_id);
            Ok((transaction, Outcome { repeated: false, summary: done.summary, run_id: done.run_id, place }))
        });
        let late = || if began.load(Ordering::Relaxed) { Failure::Slow } else { Failure::Gone };
        let (transaction, outcome) = tokio::select! {
            biased;
            done = doing => done.unwrap_or_else(|_| Err(ActionError::Late(late())))?,
            () = stopped_for(stop, WORK_AT_STOP_MAX) => return Err(ActionError::Stopping),
        };
        if outcome.repeated {
            // Nothing was written: when the session ends, so does the transaction.
            drop(transaction);
            return Ok(outcome);
        }
        let committed = tokio::select! {
            biased;
            committed = timeout(COMMIT_MAX, transaction.commit()) => committed.ok(),
            () = stopped_for(stop, COMMIT_AT_STOP_MAX) => None,
        };
        match committed.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
            Ok(()) => Ok(outcome),
            Err(source) => Err(ActionError::Unconfirmed { request, source }),
        }
    }
}

/// Returns this long after the process was asked to stop, or after the call if that was before.
async fn stopped_for(stop: &CancellationToken, limit: Duration) {
    stop.cancelled().await;
    sleep(limit).await;
}

impl<'a> Asked<'a> {
    /// The job that the path names, which must be one that reads.
    fn reading_job(&self) -> Result<&'a Job, ActionError> {
        let job = self.job()?;
        if job.push.is_some() {
            let remedy = format!("the job sends rows and reads nothing: run `tidegate push {}`", job.name);
            return Err(ActionError::Refused(remedy));
        }
        Ok(job)
    }

    fn job(&self) -> Result<&'a Job, ActionError> {
        let missing = || ActionError::NotFound("no job of the configuration has this name".to_owned());
        self.config.jobs.get(self.query.name("job")).ok_or_else(missing)
    }

    /// The chosen stream of a job, else all of them; for a backfill, those with windows.
    fn streams(&self, job: &'a Job, windowed: bool) -> Result<Vec<&'a crate::config::JobStream>, ActionError> {
        let chosen = self.query.text("stream");
        let is_chosen = |entry: &&crate::config::JobStream| chosen.is_none_or(|name| entry.stream.name == name);
        let found: Vec<_> = job.streams.iter().filter(is_chosen).collect();
        if found.is_empty() {
            let names: Vec<&str> = job.streams.iter().map(|entry| &*entry.stream.name).collect();
            let value = chosen.unwrap_or_default();
            return Err(QueryError::not_one_of("stream", value, "a stream of the job", names).into());
        }
        let found: Vec<_> = found.into_iter().filter(|entry| !windowed || entry.stream.windowed()).collect();
        if found.is_empty() {
            let reason = "a list is read completely by every run, so there is no past range to read again";
            return Err(ActionError::Refused(reason.to_owned()));
        }
        Ok(found)
    }

    /// The target of notifications that the path names. Refused if nothing is sent to it any more.
    fn target(&self) -> Result<&'a str, ActionError> {
        let mut targets = self.config.notify.iter().map(|target| target.name.as_str());
        let missing = || ActionError::NotFound("no target of notifications has this name".to_owned());
        let target = targets.find(|target| *target == self.query.name("target")).ok_or_else(missing)?;
        if self.gone.contains(target) {
            let remedy = format!(
                "{target} has responded with status 410, so it does not exist any more and nothing is sent to it; \
                 correct its `url` in the configuration, or save the file again, or send SIGHUP, to try the same one"
            );
            return Err(ActionError::Refused(remedy));
        }
        Ok(target)
    }

    /// The number that the path names.
    fn id(&self, name: &str) -> Result<i64, ActionError> {
        self.query.id(name).ok_or_else(|| ActionError::NotFound(format!("there is no such {name}")))
    }
}
