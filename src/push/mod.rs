//! `tidegate push`: sends rows of the warehouse as records of a Lynn campaign, each at most once
//! (`facts/lynn.md §6.1`).
//!
//! A record may become a message to a customer, so each batch is recorded, sent, and its response recorded. A batch
//! whose response was lost is `unknown` and is sent again only on request. Two processes cannot send the same row: a
//! lock excludes the second, and a row's key can belong to one batch only. The first batch is followed to its end
//! before more are sent, because an error in one batch usually affects all.

mod query;
mod rows;
mod send;

use std::time::Duration;

use serde::Serialize;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use self::query::QueryCursor;
pub use self::query::QueryFault;
pub use self::rows::Counts;
use self::rows::{Outgoing, Rows};
use self::send::{Sender, Stop};
use crate::clock;
use crate::config::{Job, Push};
use crate::connector::lynn_outbound::{self, LynnOutbound};
use crate::connector::{AccountSettings as _, Connection};
use crate::http::Redactor;
use crate::store::push::{self as store, Batch, BatchCounts};
use crate::store::session;
use crate::text::of_vendor;
use crate::worker::hint::{self, Subject};
use crate::worker::policy::TaskError;
use crate::worker::{Account, accounts};

/// Number of rows that `--show-rows` shows.
pub const ROWS_SHOWN: usize = 5;

/// The input of a push.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    pub pool: &'a PgPool,
    /// Name of this process in `tidegate.instance`.
    pub owner: &'a str,
    pub job: &'a Job,
    pub push: &'a Push,
    pub connection: &'a Connection,
    pub cancel: &'a CancellationToken,
    /// Whether rows of unknown and failed batches are sent again.
    pub resend: bool,
}

/// Why nothing was sent, or why sending stopped.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The configuration and the database do not match.
    #[error(transparent)]
    Query(#[from] QueryFault),
    #[error("the query fails ({code})")]
    QueryFails { code: String },
    #[error("another push of the job `{0}` is in progress")]
    Busy(String),
    #[error("a row has no value in `{0}`, which identifies it; nothing was sent")]
    NoKey(String),
    #[error("a value of `{column}` is larger than {max} bytes; nothing was sent")]
    TooLarge { column: String, max: usize },
    #[error("interrupted")]
    Interrupted,
    #[error(transparent)]
    Vendor(TaskError),
    #[error("the vendor refused a batch: {0}")]
    Refused(TaskError),
    #[error("the response to batch {batch} was lost: {error}")]
    Lost { batch: i64, error: TaskError },
    #[error("the vendor reports that batch {batch} failed: {}", of_vendor(said))]
    Failed { batch: i64, said: String },
    #[error("the task of batch {batch} has not ended within {hours} h; its last status was {}", of_vendor(said))]
    Overdue { batch: i64, hours: u64, said: String },
    #[error("{}", session::summary(.0))]
    Database(#[from] sqlx::Error),
}

/// The result of a push.
#[derive(Debug, Serialize)]
pub struct PushReport {
    pub rows: Counts,
    /// The batches that were sent or followed in this push.
    pub batches: Vec<Batch>,
    /// All records that the job has ever sent, by state.
    pub tally: Vec<BatchCounts>,
    /// Why it stopped early, if it did.
    #[serde(skip)]
    pub stopped: Option<PushError>,
}

/// A preview of a push.
#[derive(Debug, Serialize)]
pub struct Plan {
    pub rows: Counts,
    /// Number of calls that would send records.
    pub batches: u64,
    /// The first rows, label by label, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_rows: Option<Vec<Vec<String>>>,
}

impl Order<'_> {
    /// Counts what would be sent. Sends and writes nothing.
    pub async fn plan(self, show_rows: bool) -> Result<Plan, PushError> {
        // The cursor needs a session that is not returned to the pool.
        let mut session = self.pool.acquire().await?.detach();
        let source = QueryCursor::open(&mut session, self.push).await?;
        let mut rows = Rows::new(self, source).await?;
        let (counts, first) = rows.count(if show_rows { ROWS_SHOWN } else { 0 }).await?;
        rows.close().await;
        let size = self.push.batch_size as u64;
        Ok(Plan { rows: counts, batches: counts.new.div_ceil(size), first_rows: show_rows.then_some(first) })
    }

    /// Sends what was not sent before. Returns an error if nothing was sent; what stops a push later is in the report.
    pub async fn send(self) -> Result<PushReport, PushError> {
        // Lock and cursor belong to this session and end with it.
        let mut session = self.pool.acquire().await?.detach();
        if !store::lock(&mut session, &self.job.name).await? {
            return Err(PushError::Busy(self.job.name.clone()));
        }
        let source = QueryCursor::open(&mut session, self.push).await?;
        let lost = store::give_up_lost(self.pool, &self.job.name).await?;
        if lost > 0 {
            tracing::warn!(batches = lost, "the responses to batches of an earlier push were lost");
        }
        let mut rows = Rows::new(self, source).await?;
        // Errors in rows are found before anything is sent.
        let (mut counts, _) = rows.count(0).await?;
        if self.resend {
            let freed = store::let_go(self.pool, &self.job.name).await?;
            tracing::info!(rows = freed, "rows of unknown and failed batches are sent again");
        }
        accounts::pin(self.pool, self.connection).await.map_err(|error| PushError::Vendor(error.into()))?;
        let account = Account::open(self.pool, self.owner, self.connection)
            .await
            .map_err(|error| PushError::Vendor(error.into()))?;
        let Some(settings) = self.connection.settings.downcast::<lynn_outbound::Settings>() else {
            // Holds because the configuration was checked.
            return Err(PushError::Vendor(TaskError::UnknownStream));
        };
        let (base_url, redactor) = (self.connection.base_url.clone(), Redactor::new(settings.secrets()));
        let outbound = LynnOutbound::new(base_url, settings.clone(), redactor);
        let mut sender = Sender::new(self, &outbound, account.gate.session(self.job.priority, clock::now()));
        let stopped = match self.send_all(&mut rows, &mut sender).await {
            Ok(()) => None,
            Err(Stop(error)) => Some(error),
        };
        counts.sent = sender.rows_sent();
        rows.close().await;
        let tally = store::tally(self.pool, std::slice::from_ref(&self.job.name)).await?;
        Ok(PushReport { rows: counts, batches: store::batches(self.pool, &sender.batches()).await?, tally, stopped })
    }

    async fn send_all(self, rows: &mut Rows<'_, '_>, sender: &mut Sender<'_>) -> Result<(), Stop> {
        let mut first = true;
        while let Some(batch) = rows.next_batch().await? {
            let Outgoing { keys, values } = batch;
            let open = sender.send(&keys, &values).await?;
            if let (true, Some(open)) = (first, open) {
                sender.follow(&open, true).await?;
            }
            first = false;
        }
        for open in store::open(self.pool, &self.job.name).await? {
            sender.follow(&open, false).await?;
        }
        Ok(())
    }
}

impl PushError {
    /// Whether the configuration has to be corrected.
    pub const fn is_of_configuration(&self) -> bool {
        matches!(self, Self::Query(_))
    }

    /// One sentence that tells the operator what to do.
    pub fn hint(&self) -> String {
        match self {
            Self::Query(_) => "correct the job's `push` section".to_owned(),
            Self::QueryFails { .. } => "run the query by itself to see why; nothing was sent".to_owned(),
            Self::Busy(_) => "wait for it to end; nothing was sent".to_owned(),
            Self::NoKey(_) => "leave such rows out in the query, or choose another `key`".to_owned(),
            Self::TooLarge { .. } => "shorten the value in the query".to_owned(),
            Self::Interrupted => "run the same command again; it continues from there".to_owned(),
            Self::Vendor(error) => hint::hint(error, Subject::login(lynn_outbound::VENDOR)).to_owned(),
            Self::Refused(_) => {
                "check campaign, template, labels and `paths.add_campaign_data`; no record of the batch arrived; its rows \
                 are sent with the next push"
                    .to_owned()
            }
            Self::Lost { .. } => UNKNOWN_HINT.to_owned(),
            Self::Failed { .. } => {
                "ask the vendor what became of the records; `--resend` sends them again, a push without it does not"
                    .to_owned()
            }
            Self::Overdue { .. } => {
                "if that status is final, add it to the connection's `task_words`; the next push polls again and sends \
                 nothing twice"
                    .to_owned()
            }
            Self::Database(error) if session::is_read_only(error) => session::ONLY_READS_HINT.to_owned(),
            Self::Database(_) => "look at the database's log".to_owned(),
        }
    }
}

/// What to do about batches that may have been received.
pub const UNKNOWN_HINT: &str = "look into the campaign's data at the vendor: if the records are not there, `--resend` sends \
                                them; a push without it never does";

/// Sleeps, unless the process is shutting down.
async fn pause(cancel: &CancellationToken, time: Duration) -> Result<(), PushError> {
    cancel.run_until_cancelled(tokio::time::sleep(time)).await.ok_or(PushError::Interrupted)
}
