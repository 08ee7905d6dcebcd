//! Sends batches one after the other and follows their tasks.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Order, PushError, pause};
use crate::clock;
use crate::connector::StepError;
use crate::connector::lynn_outbound::LynnOutbound;
use crate::connector::lynn_outbound::load::{Data, Load, Loaded, NotLoaded, TaskState};
use crate::http::{HttpError, RetryState, Session};
use crate::quota::CallKind;
use crate::store::push::{self as store, NewBatch, Open, TaskNote};
use crate::worker::policy::TaskError;

/// Maximum wait before a quota is requested again, because another process may have released some.
const QUOTA_LOOK: Duration = Duration::from_mins(1);

/// Why nothing more is sent.
pub(super) struct Stop(pub(super) PushError);

impl<E: Into<PushError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// The sender of one push.
pub(super) struct Sender<'a> {
    order: Order<'a>,
    outbound: &'a LynnOutbound,
    session: Session<'a>,
    labels: Vec<String>,
    /// The batches sent or followed so far.
    batches: Vec<i64>,
    rows_sent: u64,
}

impl<'a> Sender<'a> {
    pub(super) fn new(order: Order<'a>, outbound: &'a LynnOutbound, session: Session<'a>) -> Self {
        let labels = order.push.columns.keys().cloned().collect();
        Self { order, outbound, session, labels, batches: Vec::new(), rows_sent: 0 }
    }

    pub(super) const fn rows_sent(&self) -> u64 {
        self.rows_sent
    }

    pub(super) fn batches(&self) -> Vec<i64> {
        self.batches.clone()
    }

    /// Sends a batch until it is accepted, refused or its state is unknown. Returns its task, if the vendor named one.
    pub(super) async fn send(&mut self, keys: &[Uuid], rows: &[Vec<String>]) -> Result<Option<Open>, Stop> {
        let push = self.order.push;
        let labels = std::mem::take(&mut self.labels);
        let load = Load {
            campaign_id: &push.campaign_id,
            template_id: &push.template_id,
            type_of_data: push.type_of_data,
            data: Data { labels: &labels, rows },
        };
        let sent = self.send_load(&load, keys).await;
        self.labels = labels;
        sent
    }

    async fn send_load(&mut self, load: &Load<'_>, keys: &[Uuid]) -> Result<Option<Open>, Stop> {
        let order = self.order;
        let mut retry = self.session.retry(CallKind::Data);
        let mut renewed = false;
        loop {
            let getting_ready = Box::pin(self.outbound.ready(&self.session, load));
            let ready = order.cancel.run_until_cancelled(getting_ready).await.ok_or(PushError::Interrupted)?;
            let ready = match ready {
                Ok(ready) => ready,
                Err(error) if self.passes(&error, &mut retry).await? => continue,
                Err(error) => return Err(PushError::Vendor(error.into()).into()),
            };
            let batch = NewBatch {
                job: &order.job.name,
                connection: &order.connection.name,
                campaign_id: load.campaign_id,
                template_id: load.template_id,
                keys,
            };
            let claimed = store::claim(order.pool, batch).await?;
            let id = claimed.ok_or_else(|| PushError::Busy(order.job.name.clone()))?;
            // The call is never abandoned from here on: an interruption waits for the response.
            match ready.send().await {
                Ok(loaded) => return self.loaded(id, keys.len(), loaded).await,
                Err(NotLoaded { error, may_be_taken: true, .. }) => return Err(self.lost(id, error).await?),
                Err(NotLoaded { token_refused: Some(token), .. }) if !renewed => {
                    store::unclaim(order.pool, id).await?;
                    self.outbound.forget(&token).await;
                    renewed = true;
                }
                Err(NotLoaded { error, .. }) => {
                    store::unclaim(order.pool, id).await?;
                    if !self.passes(&error, &mut retry).await? {
                        return Err(self.refused(batch, error).await?);
                    }
                }
            }
        }
    }

    /// Records the vendor's response to a batch.
    async fn loaded(&mut self, id: i64, rows: usize, loaded: Loaded) -> Result<Option<Open>, Stop> {
        self.batches.push(id);
        match loaded {
            Loaded::Taken { task, said } => {
                store::taken(self.order.pool, id, task.as_deref(), said.as_deref()).await?;
                self.rows_sent += rows as u64;
                tracing::info!(batch = id, rows, task, "sent");
                Ok(task.map(|task_id| Open { id, task_id }))
            }
            Loaded::Failed { said } => {
                store::task(self.order.pool, id, TaskNote::Failed, &said).await?;
                Err(PushError::Failed { batch: id, said }.into())
            }
        }
    }

    async fn lost(&mut self, id: i64, error: StepError) -> Result<Stop, Stop> {
        self.batches.push(id);
        store::lost(self.order.pool, id, &error.to_string()).await?;
        Ok(PushError::Lost { batch: id, error: error.into() }.into())
    }

    /// Records a batch that was not received, for later inspection, and releases its rows.
    async fn refused(&mut self, batch: NewBatch<'_>, error: StepError) -> Result<Stop, Stop> {
        if let Some(id) = store::claim(self.order.pool, batch).await? {
            let mut connection = self.order.pool.acquire().await?;
            store::refused(&mut connection, id, &error.to_string()).await?;
            self.batches.push(id);
        }
        Ok(PushError::Refused(error.into()).into())
    }

    /// Waits for what passes: quotas without limit, transport errors a few times. Nothing has been sent.
    async fn passes(&self, error: &StepError, retry: &mut RetryState) -> Result<bool, PushError> {
        match error {
            StepError::Http(HttpError::OwnQuota { limit, until } | HttpError::RefusedForQuota { limit, until, .. }) => {
                let wait = (*until - clock::now()).to_std().unwrap_or_default();
                tracing::info!(limit, %until, "waiting for a quota");
                pause(self.order.cancel, wait.clamp(Duration::from_secs(1), QUOTA_LOOK)).await?;
                Ok(true)
            }
            StepError::Http(error) => {
                self.order.cancel.run_until_cancelled(retry.again(error)).await.ok_or(PushError::Interrupted)
            }
            _ => Ok(false),
        }
    }

    /// Polls a task until it has ended; if `just_sent`, after a pause.
    pub(super) async fn follow(&mut self, open: &Open, just_sent: bool) -> Result<(), Stop> {
        if !self.batches.contains(&open.id) {
            self.batches.push(open.id);
        }
        let polling = self.outbound.settings().polling;
        let begun = Instant::now();
        let mut wait = if just_sent { polling.initial } else { Duration::ZERO };
        loop {
            pause(self.order.cancel, wait).await?;
            let said = match self.ask(&open.task_id).await? {
                TaskState::Done(said) => {
                    store::task(self.order.pool, open.id, TaskNote::Done, &said).await?;
                    return Ok(());
                }
                TaskState::Failed(said) => {
                    store::task(self.order.pool, open.id, TaskNote::Failed, &said).await?;
                    return Err(PushError::Failed { batch: open.id, said }.into());
                }
                TaskState::Running(said) => said,
            };
            store::task(self.order.pool, open.id, TaskNote::Running, &said).await?;
            if begun.elapsed() >= polling.deadline {
                let hours = polling.deadline.as_secs() / 3_600;
                return Err(PushError::Overdue { batch: open.id, hours, said }.into());
            }
            wait = (wait * 2).clamp(polling.initial, polling.max);
        }
    }

    async fn ask(&self, task: &str) -> Result<TaskState, PushError> {
        // Transport errors are retried below; this only waits for quotas.
        let mut retry = self.session.retry(CallKind::Data);
        loop {
            let asking = Box::pin(self.outbound.task(&self.session, task));
            match self.order.cancel.run_until_cancelled(asking).await.ok_or(PushError::Interrupted)? {
                Ok(state) => return Ok(state),
                Err(error @ StepError::Http(HttpError::OwnQuota { .. } | HttpError::RefusedForQuota { .. })) => {
                    self.passes(&error, &mut retry).await?;
                }
                Err(error) => return Err(PushError::Vendor(TaskError::Step(error))),
            }
        }
    }
}
