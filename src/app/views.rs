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
