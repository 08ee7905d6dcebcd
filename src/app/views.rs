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
            let refresh = async {
                shared.mart.refresh(&shared.pool, &settings).await;
                shared.mart.store(&shared.pool, &settings, Refresh::Due).await;
            };
            // A pass that is cut off leaves each view and each table as it was or as it should be.
            if shutdown.run_until_cancelled(refresh).await.is_some() {
                shared.pulse.beat(Loop::Mart, shared.mart.is_well().await);
            }
        }
    })
}
