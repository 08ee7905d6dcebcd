//! The periodic work of the process: `tokio-cron-scheduler` signals, our own loops do the work.
//!
//! The scheduler spawns what it fires untracked, lets firings overlap and, for jobs with a zone, keeps the UTC offset
//! at their creation. So it only gets "every N seconds, in UTC, set a flag". One loop per flag does the work: never
//! twice at a time, several signals counting as one, with panics reported and its end awaited.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

/// A loop without a signal for this many periods works anyway: the scheduler follows the wall clock and stays silent
/// for as long as the clock was set back.
const SILENT_PERIODS_MAX: u32 = 3;
/// Work that takes longer hangs, because each of its parts has a shorter timeout.
const WORK_MAX: Duration = Duration::from_mins(2);
/// The scheduler counts in whole seconds.
const PERIOD_MIN: Duration = Duration::from_secs(1);

/// A periodic task: enqueue what is due, take over silent runs, prune.
pub struct PeriodicTask {
    name: &'static str,
    period: Duration,
    work_max: Duration,
    /// Lets it work now.
    signal: Arc<Notify>,
    work: Box<dyn FnMut() -> BoxFuture<'static, ()> + Send>,
}

/// Why the timer stopped.
#[derive(Debug, Error)]
pub enum TimerError {
    #[error("the periodic work could not be scheduled")]
    Scheduler(#[from] JobSchedulerError),
    #[error("periodic work ended unexpectedly; this is a bug, restart the daemon")]
    PeriodicTask(#[from] tokio::task::JoinError),
}

impl PeriodicTask {
    /// Does `work` every `period` (at least a second), and once at the start. `work` logs its own errors, since the
    /// next period retries.
    pub fn new<F, W>(name: &'static str, period: Duration, mut work: W) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
        W: FnMut() -> F + Send + 'static,
    {
        let work = Box::new(move || -> BoxFuture<'static, ()> { Box::pin(work()) });
        Self { name, period: period.max(PERIOD_MIN), work_max: WORK_MAX, signal: Arc::default(), work }
    }

    /// The same task with another time limit for its work.
    #[must_use]
    pub fn within(self, work_max: Duration) -> Self {
        Self { work_max, ..self }
    }

    /// The same task, which also works as soon as `signal` is given.
    #[must_use]
    pub fn woken_by(self, signal: Arc<Notify>) -> Self {
        Self { signal, ..self }
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

/// Runs the tasks until `token` is cancelled, then waits for the work in progress, which should observe the token too.
///
/// Returns early only on an internal error: the scheduler failed, or a task panicked.
pub async fn run(tasks: Vec<PeriodicTask>, token: CancellationToken) -> Result<(), TimerError> {
    let mut scheduler = JobScheduler::new().await?;
    let mut loops = JoinSet::new();
    // The loops end however this function is left.
    let stop = token.child_token();
    let _stop_loops = stop.clone().drop_guard();
    for task in tasks {
        let sender = Arc::clone(&task.signal);
        let period = Duration::from_secs(task.period.as_secs());
        scheduler.add(Job::new_repeated(period, move |_, _| sender.notify_one())?).await?;
        loops.spawn(work_repeatedly(task, stop.clone()));
    }
    scheduler.start().await?;

    let ended = tokio::select! {
        () = token.cancelled() => Ok(()),
        // Loops end only with the token, so a loop that ends here has panicked.
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

/// Works once at the start, and then once for any number of signals since the work began.
async fn work_repeatedly(mut task: PeriodicTask, token: CancellationToken) {
    let silence_max = task.period * SILENT_PERIODS_MAX;
    while !token.is_cancelled() {
        if tokio::time::timeout(task.work_max, (task.work)()).await.is_err() {
            let seconds = task.work_max.as_secs();
            tracing::error!(task = task.name, seconds, "the periodic work hung and was stopped; it starts again");
        }
        tokio::select! {
            () = token.cancelled() => break,
            signalled = tokio::time::timeout(silence_max, task.signal.notified()) => {
                if signalled.is_err() {
                    tracing::debug!(task = task.name, "no signal from the scheduler, working anyway");
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
    async fn work_is_repeated_but_never_overlaps() {
        let (sender, mut done) = mpsc::unbounded_channel();
        let busy = Arc::new(AtomicUsize::new(0));
        let task = PeriodicTask::new("slow", Duration::from_secs(1), move || {
            let (sender, busy) = (sender.clone(), Arc::clone(&busy));
            async move {
                let others = busy.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                busy.fetch_sub(1, Ordering::SeqCst);
                sender.send(others).unwrap();
            }
        });
        let token = CancellationToken::new();
        let timer = tokio::spawn(run(vec![task], token.clone()));
        for _ in 0..3 {
            assert_eq!(done.recv().await, Some(0), "no other work was in progress");
        }
        token.cancel();
        timer.await.unwrap().unwrap();
        assert!(done.recv().await.is_none_or(|others| others == 0));
    }

    #[tokio::test]
    async fn the_end_of_the_work_is_awaited() {
        let (sender, mut steps) = mpsc::unbounded_channel();
        let task = PeriodicTask::new("careful", Duration::from_mins(1), move || {
            let sender = sender.clone();
            async move {
                sender.send("begun").unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
                sender.send("ended").unwrap();
            }
        });
        let token = CancellationToken::new();
        let timer = tokio::spawn(run(vec![task], token.clone()));
        assert_eq!(steps.recv().await, Some("begun"));
        token.cancel();
        timer.await.unwrap().unwrap();
        assert_eq!(steps.try_recv(), Ok("ended"));
    }

    #[tokio::test]
    async fn a_signal_lets_a_task_work_before_its_period_is_over() {
        let (sender, mut done) = mpsc::unbounded_channel();
        let signal = Arc::new(Notify::new());
        let task = PeriodicTask::new("woken", Duration::from_hours(1), move || {
            let sender = sender.clone();
            async move { sender.send(()).unwrap() }
        });
        let token = CancellationToken::new();
        let timer = tokio::spawn(run(vec![task.woken_by(Arc::clone(&signal))], token.clone()));
        for _ in 0..3 {
            tokio::time::timeout(Duration::from_secs(30), done.recv()).await.unwrap().unwrap();
            signal.notify_one();
        }
        token.cancel();
        timer.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn p12_work_that_hangs_is_stopped_and_starts_again() {
        let (sender, mut begun) = mpsc::unbounded_channel();
        let task = PeriodicTask::new("hanging", Duration::from_secs(1), move || {
            let sender = sender.clone();
            async move {
                sender.send(()).unwrap();
                std::future::pending::<()>().await;
            }
        });
        let token = CancellationToken::new();
        let timer = tokio::spawn(run(vec![task.within(Duration::from_millis(50))], token.clone()));
        for _ in 0..2 {
            tokio::time::timeout(Duration::from_secs(30), begun.recv()).await.unwrap().unwrap();
        }
        token.cancel();
        timer.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_panic_of_the_work_ends_the_timer_with_an_error() {
        let task = PeriodicTask::new("broken", Duration::from_secs(1), || async { panic!("intended by the test") });
        let patient = PeriodicTask::new("patient", Duration::from_secs(1), || async {});
        let ended = run(vec![task, patient], CancellationToken::new()).await;
        assert!(matches!(ended, Err(TimerError::PeriodicTask(_))), "{ended:?}");
    }
}
