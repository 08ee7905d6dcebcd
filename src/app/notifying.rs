//! Checks for problems and sends notifications while the daemon runs.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::notify::Notifier;
use crate::schedule::timer::PeriodicTask;
use crate::store::session;
use crate::store::session::Deadline as _;
use crate::store::trouble::Repeats;

/// How often this process asks whether it is its turn to check. It always is, if it is the only process.
const CHECK_PERIOD: Duration = Duration::from_secs(30);
/// How often due notifications are sent. A target gets at most one in this time from this process.
const SEND_PERIOD: Duration = Duration::from_secs(1);
const NOT_CHECKED: &str = "problems could not be checked; it is retried";
const NOT_SENT: &str = "notifications could not be read or recorded; it is retried";

/// Opens and closes problems.
pub(super) fn check_task(
    notifier: Arc<Notifier>,
    pool: PgPool,
    config: watch::Receiver<Arc<Config>>,
    shutdown: CancellationToken,
) -> PeriodicTask {
    let trouble = Arc::new(Repeats::default());
    PeriodicTask::new("problems", CHECK_PERIOD, move || {
        let (notifier, pool, config) = (Arc::clone(&notifier), pool.clone(), Arc::clone(&config.borrow()));
        let (shutdown, trouble) = (shutdown.clone(), Arc::clone(&trouble));
        async move {
            match shutdown.run_until_cancelled(check(&notifier, &pool, &config)).await {
                Some(Ok(())) => trouble.over(NOT_CHECKED),
                Some(Err(error)) => {
                    session::judge(&pool, &error);
                    trouble.warn(NOT_CHECKED, &error);
                }
                None => {}
            }
        }
    })
}

async fn check(notifier: &Notifier, pool: &PgPool, config: &Config) -> Result<(), sqlx::Error> {
    let mut conn = pool.acquire().in_time().await?;
    let checked = notifier.check(&mut conn, config).await;
    if checked.is_err() {
        // A transaction may be open.
        conn.close_on_drop();
    }
    checked.map(|_| ())
}

/// Sends what is due.
pub(super) fn send_task(
    notifier: Arc<Notifier>,
    pool: PgPool,
    config: watch::Receiver<Arc<Config>>,
    shutdown: CancellationToken,
) -> PeriodicTask {
    let trouble = Arc::new(Repeats::default());
    PeriodicTask::new("notify", SEND_PERIOD, move || {
        let (notifier, pool, config) = (Arc::clone(&notifier), pool.clone(), Arc::clone(&config.borrow()));
        let (shutdown, trouble) = (shutdown.clone(), Arc::clone(&trouble));
        async move {
            // A message whose sending is cut off is sent again, under the same id.
            match shutdown.run_until_cancelled(notifier.send(&pool, &config)).await {
                Some(Ok(_)) => trouble.over(NOT_SENT),
                Some(Err(error)) => {
                    session::judge(&pool, &error);
                    trouble.warn(NOT_SENT, &error);
                }
                None => {}
            }
        }
    })
}
