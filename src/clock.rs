//! The database's clock, the only clock for stored times (promise 8).
//!
//! This process's own clock may be minutes off, so it is never compared with stored times. Instead each result that
//! contains the database's time is recorded here, and the time since then is measured by the monotonic clock, which
//! nobody can set.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};

/// Machines with synchronised clocks differ by less.
const SKEW_MAX: TimeDelta = TimeDelta::seconds(1);

/// Adjusting a clock moves it by less.
const STEP_MIN: TimeDelta = TimeDelta::seconds(20);

/// The database's time, and the monotonic time at which this process learned it.
static NOTED: RwLock<Option<(DateTime<Utc>, Instant)>> = RwLock::new(None);
static WENT_BACK: AtomicBool = AtomicBool::new(false);
/// Whether the current difference was logged.
static SKEW_TOLD: AtomicBool = AtomicBool::new(false);

/// The database's time, or this process's own before the first result from the database.
pub fn now() -> DateTime<Utc> {
    let noted = *NOTED.read().unwrap_or_else(PoisonError::into_inner);
    noted.and_then(|(at, since)| Some(at + TimeDelta::from_std(since.elapsed()).ok()?)).unwrap_or_else(Utc::now)
}

/// The database's time, or this process's own if that is earlier: for deciding what is old enough to be dropped, which
/// cannot be undone after a clock was wrong.
pub fn cautious(database: DateTime<Utc>) -> DateTime<Utc> {
    database.min(Utc::now())
}

/// Whether the database's clock was set back since the last call. Everything that waits for a point in time would
/// otherwise wait longer by the same amount.
pub fn went_back() -> bool {
    WENT_BACK.swap(false, Ordering::Relaxed)
}

/// Records the database's time. A difference of more than a second is logged once until it has gone.
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
            "the clock of this machine differs from the database's, which Tidegate uses; set the one that is wrong"
        );
    }
}

/// How far this process's clock is ahead of the database's; negative if behind.
pub fn skew() -> TimeDelta {
    Utc::now() - now()
}
