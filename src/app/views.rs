//! Keeps the views for analysts up to date while the daemon runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::mart::Refresh;
use crate::pulse::Loop;
use crate::schedule::timer::PeriodicTask;
use crate::worker::WorkerContext;

/// How often the views are compared with the columns of the tables, which takes one query.
const PERIOD: Duration = Duration::from_secs(30);
/// How long to wait after a pass that followed runs: hundreds of first runs may make their tables at once.
const PAUSE: Duration = Duration::from_secs(1);
/// Longer than one pass. Storing the rows of one relation may take half an hour.
const WORK_MAX: Duration = Duration::from_hours(2);

/// Makes the views by the current configuration, at the start and whenever something has changed.
pub(super) fn task(
    shared: Arc<WorkerContext>,
    config: watch::Receiver<Arc<Config>>,
    shutdown: CancellationToken,
) -> PeriodicTask {
    shared.pulse.go_on(Loop::Mart);
    PeriodicTask::new(Loop::Mart.name(), PERIOD, move || {
        let (shared, settings, shutdown) = (Arc::clone(&shared), config.borrow().mart.clone(), shutdown.clone());
        async move {
            let pass = async {
                shared.mart.refresh(&shared.pool, &settings).await;
                shared.pulse.beat(Loop::Mart, shared.mart.is_well().await);
                shared.mart.store(&shared.pool, &settings, Refresh::Due).await;
                shared.pulse.beat(Loop::Mart, shared.mart.is_well().await);
            };
            // A pass that is cut off leaves each view and each table as it was or as it should be.
            let _ = shutdown.run_until_cancelled(pass).await;
        }
    })
    .within(WORK_MAX)
}

/// Makes the views again after runs of this process have changed columns, until `shutdown`. Apart from [`task`], which
/// may be storing rows for long, and from the workers, which have the next runs to start.
pub(super) async fn follow(
    shared: Arc<WorkerContext>,
    config: watch::Receiver<Arc<Config>>,
    shutdown: CancellationToken,
) {
    while shutdown.run_until_cancelled(shared.mart.outdated()).await.is_some() {
        let settings = config.borrow().mart.clone();
        let pass = async {
            shared.mart.refresh(&shared.pool, &settings).await;
            tokio::time::sleep(PAUSE).await;
        };
        // A pass that is cut off leaves each view as it was or as it should be.
        let _ = shutdown.run_until_cancelled(pass).await;
    }
}
