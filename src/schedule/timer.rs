//! The periodic work inside the process: `tokio-cron-scheduler` rings, our own loops work.
//!
//! The scheduler spawns what it fires untracked, lets firings overlap and, for jobs with a zone, freezes the offset it
//! found at their creation. So it is given nothing but "every N seconds, in UTC, set a flag". Behind each flag one loop
//! does the work: never twice at a time, whatever rang meanwhile counting as one, with its panic reported and its end
//! waited for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

/// A loop that heard nothing for so many of its periods works anyway: the scheduler goes by the wall clock, and a clock
/// that was set back keeps it silent for as long.
const SILENT_PERIODS_MAX: u32 = 3;
/// Work that takes longer hangs: what it does has ends of its own.
const WORK_MAX: Duration = Duration::from_mins(2);
/// The scheduler counts in whole seconds.
const PERIOD_MIN: Duration = Duration::from_secs(1);

/// Something to do again and again: enqueue what is due, take over silent runs, prune.
pub struct PeriodicTask {
    name: &'static str,
    period: Duration,
    work_max: Duration,
    work: Box<dyn FnMut() -> BoxFuture<'static, ()> + Send>,
}

/// Why the bell stopped ringing.
#[derive(Debug, Error)]
pub enum BellError {
    #[error("the periodic work could not be scheduled")]
    Scheduler(#[from] JobSchedulerError),
    #[error("periodic work ended unexpectedly; this is a bug, restart the daemon")]
    PeriodicTask(#[from] tokio::task::JoinError),
}

impl PeriodicTask {
    /// Does `work` every `period` (at least a second, and once at the start). `work` reports its own failures, for they
    /// only mean that the next ring tries again.
    pub fn new<F, W>(name: &'static str, period: Duration, mut work: W) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
        W: FnMut() -> F + Send + 'static,
    {
        let work = Box::new(move || -> BoxFuture<'static, ()> { Box::pin(work()) });
        Self { name, period: period.max(PERIOD_MIN), work_max: WORK_MAX, work }
    }

    /// The same, for work that may take so long.
    #[must_use]
    pub fn within(self, work_max: Duration) -> Self {
        Self { work_max, ..self }
    }
}

impl fmt::Debug for PeriodicTask {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PeriodicTask")
            .field("name", &self.name)
            .field("period", &self.period)
            .finish_non_exhaustive()
    }
}

/// Rings until `token` is cancelled, then waits for the work in progress, which should heed the token as well.
///
/// Returns early only if something is broken: the scheduler, or a chore that panicked.
pub async fn ring(chores: Vec<PeriodicTask>, token: CancellationToken) -> Result<(), BellError> {
    let mut scheduler = JobScheduler::new().await?;
    let mut loops = JoinSet::new();
    // However this function is left, the loops end.
    let stop = token.child_token();
    let _stop_loops = stop.clone().drop_guard();
    for chore in chores {
        let rung = Arc::new(Notify::new());
        let bell = Arc::clone(&rung);
        let period = Duration::from_secs(chore.period.as_secs());
        scheduler.add(Job::new_repeated(period, move |_, _| bell.notify_one())?).await?;
        loops.spawn(answer(chore, rung, stop.clone()));
    }
    scheduler.start().await?;

    let ended = tokio::select! {
        () = token.cancelled() => Ok(()),
        // Loops only end with the token, so whatever is here is a panic.
        Some(ended) = loops.join_next() => ended,
    };
    let stopped = scheduler.shutdown().await;
    stop.cancel();
    while let Some(later) = loops.join_next().await {
        later?;
    }
    ended?;
    Ok(stopped?)
}

/// Works once at the start, and then whenever it has rung since the work began.
async fn answer(mut chore: PeriodicTask, rung: Arc<Notify>, token: CancellationToken) {
    let silence_max = chore.period * SILENT_PERIODS_MAX;
    while !token.is_cancelled() {
        if tokio::time::timeout(chore.work_max, (chore.work)()).await.is_err() {
            let seconds = chore.work_max.as_secs();
            tracing::error!(chore = chore.name, seconds, "the periodic work hung and was stopped; it begins again");
        }
        tokio::select! {
            () = token.cancelled() => break,
            heard = tokio::time::timeout(silence_max, rung.notified()) => {
                if heard.is_err() {
                    tracing::debug!(chore = chore.name, "the bell was silent, working anyway");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn work_is_done_again_and_again_but_never_twice_at_a_time() {
        let (sender, mut done) = mpsc::unbounded_channel();
        let busy = Arc::new(AtomicUsize::new(0));
        let chore = PeriodicTask::new("slow", Duration::from_secs(1), move || {
            let (sender, busy) = (sender.clone(), Arc::clone(&busy));
            async move {
                let others = busy.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                busy.fetch_sub(1, Ordering::SeqCst);
                sender.send(others).unwrap();
            }
        });
        let token = CancellationToken::new();
        let bell = tokio::spawn(ring(vec![chore], token.clone()));
        for _ in 0..3 {
            assert_eq!(done.recv().await, Some(0), "nobody else was at work");
        }
        token.cancel();
        bell.await.unwrap().unwrap();
        assert!(done.recv().await.is_none_or(|others| others == 0));
    }

    #[tokio::test]
    async fn the_end_is_waited_for() {
        let (sender, mut steps) = mpsc::unbounded_channel();
        let chore = PeriodicTask::new("careful", Duration::from_mins(1), move || {
            let sender = sender.clone();
            async move {
                sender.send("begun").unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
                sender.send("ended").unwrap();
            }
        });
        let token = CancellationToken::new();
        let bell = tokio::spawn(ring(vec![chore], token.clone()));
        assert_eq!(steps.recv().await, Some("begun"));
        token.cancel();
        bell.await.unwrap().unwrap();
        assert_eq!(steps.try_recv(), Ok("ended"));
    }

    #[tokio::test]
    async fn p12_work_that_hangs_is_stopped_and_begins_again() {
        let (sender, mut begun) = mpsc::unbounded_channel();
        let chore = PeriodicTask::new("hanging", Duration::from_secs(1), move || {
            let sender = sender.clone();
            async move {
                sender.send(()).unwrap();
                std::future::pending::<()>().await;
            }
        });
        let token = CancellationToken::new();
        let bell = tokio::spawn(ring(vec![chore.within(Duration::from_millis(50))], token.clone()));
        for _ in 0..2 {
            tokio::time::timeout(Duration::from_secs(30), begun.recv()).await.unwrap().unwrap();
        }
        token.cancel();
        bell.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_panic_of_the_work_ends_the_bell_with_an_error() {
        let chore = PeriodicTask::new("broken", Duration::from_secs(1), || async { panic!("as the test wants") });
        let patient = PeriodicTask::new("patient", Duration::from_secs(1), || async {});
        let ended = ring(vec![chore, patient], CancellationToken::new()).await;
        assert!(matches!(ended, Err(BellError::PeriodicTask(_))), "{ended:?}");
    }
}
