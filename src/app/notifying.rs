//! Checks for problems and sends notifications while the daemon runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::periodic::Periodic;
use crate::config::Config;
use crate::notify::Notifier;
use crate::pulse::Loop;
use crate::schedule::timer::PeriodicTask;

/// How often this process asks whether it is its turn to check. It always is, if it is the only process.
const CHECK_PERIOD: Duration = Duration::from_secs(30);
/// How often due notifications are sent; those that an action in this process has written are sent at once.
const SEND_PERIOD: Duration = Duration::from_secs(1);
const NOT_CHECKED: &str = "problems could not be checked; it is retried";
const NOT_SENT: &str = "notifications could not be read or recorded; it is retried";

/// Opens and closes problems, and sends what is due. A message whose sending is cut off is sent again, under the same
/// id.
pub(super) fn tasks(
    periodic: &Periodic,
    notifier: &Arc<Notifier>,
    config: &watch::Receiver<Arc<Config>>,
) -> [PeriodicTask; 2] {
    let current = || {
        let (notifier, pool, config) = (Arc::clone(notifier), periodic.pool.clone(), config.clone());
        move || (Arc::clone(&notifier), pool.clone(), Arc::clone(&config.borrow()))
    };
    let (to_check, to_send) = (current(), current());
    let check = periodic.task(Loop::Problems, CHECK_PERIOD, NOT_CHECKED, move || {
        let (notifier, pool, config) = to_check();
        async move { notifier.check(&pool, &config).await.map(|_| ()) }
    });
    let send = periodic.task(Loop::Notify, SEND_PERIOD, NOT_SENT, move || {
        let (notifier, pool, config) = to_send();
        async move { notifier.send(&pool, &config).await.map(|_| ()) }
    });
    [check, send.woken_by(notifier.outgoing().signal())]
}
