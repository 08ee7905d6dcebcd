//! Work that the daemon repeats. A failure is logged, and probes, pages, metrics and problems show the age of the last
//! success, so that work that fails again and again does not go unnoticed.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::pulse::{Loop, Pulse};
use crate::schedule::timer::PeriodicTask;
use crate::store::session;
use crate::store::trouble::Repeats;

/// What the periodic tasks of a process share.
#[derive(Debug, Clone)]
pub(super) struct Periodic {
    pub(super) pool: PgPool,
    pub(super) pulse: Arc<Pulse>,
    pub(super) shutdown: CancellationToken,
}

impl Periodic {
    /// Does `work` every `period`, until the process stops. `failing`: what is logged when it fails.
    pub(super) fn task<F, W>(&self, of: Loop, period: Duration, failing: &'static str, mut work: W) -> PeriodicTask
    where
        F: Future<Output = Result<(), sqlx::Error>> + Send + 'static,
        W: FnMut() -> F + Send + 'static,
    {
        let (shared, trouble) = (self.clone(), Arc::new(Repeats::default()));
        self.pulse.go_on(of);
        PeriodicTask::new(of.name(), period, move || {
            let (work, shared, trouble) = (work(), shared.clone(), Arc::clone(&trouble));
            async move {
                let Some(done) = shared.shutdown.run_until_cancelled(work).await else { return };
                shared.pulse.beat(of, done.is_ok());
                match done {
                    Ok(()) => trouble.over(failing),
                    Err(error) => {
                        session::judge(&shared.pool, &error);
                        trouble.warn(failing, &error);
                    }
                }
            }
        })
    }
}
