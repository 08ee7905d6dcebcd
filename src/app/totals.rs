//! Compares the vendors' own totals with our rows while the daemon runs.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::schedule::timer::PeriodicTask;
use crate::store::session::Deadline as _;
use crate::store::trouble::Repeats;
use crate::store::{reconciliation, session};

/// How often it looks whether something was read since the last comparison, which takes one query.
const PERIOD: Duration = Duration::from_secs(30);
/// Longer than the longest comparison.
const WORK_MAX: Duration = Duration::from_mins(5);
const TROUBLE: &str = "the vendors' totals could not be compared with the rows; it is retried";

/// Compares after runs.
pub(super) fn task(pool: PgPool, shutdown: CancellationToken) -> PeriodicTask {
    let trouble = Arc::new(Repeats::default());
    PeriodicTask::new("reconciliation", PERIOD, move || {
        let (pool, shutdown, trouble) = (pool.clone(), shutdown.clone(), Arc::clone(&trouble));
        async move {
            match shutdown.run_until_cancelled(compare(&pool)).await {
                Some(Ok(())) => trouble.over(TROUBLE),
                Some(Err(error)) => {
                    session::judge(&pool, &error);
                    trouble.warn(TROUBLE, &error);
                }
                None => {}
            }
        }
    })
    .within(WORK_MAX)
}

/// Compares if something was read since the last time.
pub async fn compare(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut conn = pool.acquire().in_time().await?;
    let compared = reconciliation::compare(&mut conn).await;
    if compared.is_err() {
        // A transaction may be open.
        conn.close_on_drop();
    }
    compared.map(|_| ())
}
