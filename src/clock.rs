//! The one clock: what time it is, Postgres says (promise 8).
//!
//! Instants that are stored come from the database's clock. This process's own clock may be minutes off, so it is never
//! compared with them. Instead each answer that tells the database's time is noted here, and the time since then is counted
//! by the monotonic clock, which nobody sets.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};

/// The clocks of two machines that are kept right differ by less.
const SKEW_MAX: TimeDelta = TimeDelta::seconds(1);

/// A clock that is adjusted moves by less.
const STEP_MIN: TimeDelta = TimeDelta::seconds(20);

/// The database's time, and when this process learned it.
static NOTED: RwLock<Option<(DateTime<Utc>, Instant)>> = RwLock::new(None);
static WENT_BACK: AtomicBool = AtomicBool::new(false);
/// Whether the present difference was logged.
static SKEW_TOLD: AtomicBool = AtomicBool::new(false);

/// The database's time; this process's own before the database has said anything.
pub fn now() -> DateTime<Utc> {
    let noted = *NOTED.read().unwrap_or_else(PoisonError::into_inner);
    noted.and_then(|(at, since)| Some(at + TimeDelta::from_std(since.elapsed()).ok()?)).unwrap_or_else(Utc::now)
}

/// Whether the database's clock was set back since this was last asked. Everything that waits for an instant would wait
/// longer by as much.
pub fn went_back() -> bool {
    WENT_BACK.swap(false, Ordering::Relaxed)
}

/// Takes what the database has just said. A difference of more than a second is logged once, until it is gone.
pub fn note(database: DateTime<Utc>) {
    let last = NOTED.write().unwrap_or_else(PoisonError::into_inner).replace((database, Instant::now()));
    if let Some((at, since)) = last
        && TimeDelta::from_std(since.elapsed()).is_ok_and(|since| database + STEP_MIN < at + since)
    {
        WENT_BACK.store(true, Ordering::Relaxed);
    }
    let skew = skew();
    if skew.abs() <= SKEW_MAX {
        SKEW_TOLD.store(false, Ordering::Relaxed);
    } else if !SKEW_TOLD.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            seconds = skew.as_seconds_f64(),
            "the clock of this machine differs from the database's, which counts; set the one that is wrong"
        );
    }
}

/// How far this process's clock is ahead of the database's; negative if it is behind.
pub fn skew() -> TimeDelta {
    Utc::now() - now()
}
