//! Compares the vendors' own totals with our rows while the daemon runs.

use std::time::Duration;

use sqlx::PgPool;

use super::periodic::Periodic;
use crate::pulse::Loop;
use crate::schedule::timer::PeriodicTask;
use crate::store::reconciliation;
use crate::store::session::Deadline as _;

/// How often it checks whether something was read since the last comparison, which takes one query.
const PERIOD: Duration = Duration::from_secs(30);
/// Longer than the longest comparison.
const WORK_MAX: Duration = Duration::from_mins(5);
const FAILING: &str = "the vendors' totals could not be compared with the rows; it is retried";

/// Compares after runs.
pub(super) fn task(periodic: &Periodic) -> PeriodicTask {
    let pool = periodic.pool.clone();
    let work = move || {
        let pool = pool.clone();
        async move { compare(&pool).await }
    };
    periodic.task(Loop::Reconciliation, PERIOD, FAILING, work).within(WORK_MAX)
}

/// Compares if something was read since the last time.
pub async fn compare(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut conn = pool.acquire().in_time().await?;
    let compared = reconciliation::compare(pool, &mut conn).await;
    if !matches!(compared, Ok(false)) {
        // A transaction may be open.
        conn.close_on_drop();
    }
    compared.map(|_| ())
}
