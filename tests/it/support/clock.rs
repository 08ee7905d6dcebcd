//! The current time of a test. Its days are counted from now and do not change during the test.

use std::cell::OnceCell;
use std::ffi::OsString;

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};

/// The variables that make `faketime` shift a program's clock.
const SHIFT: [&str; 4] = ["LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC", "DONT_FAKE_MONOTONIC"];

/// By default a job reads up to this long before now (`settle`), so its day begins this long after midnight.
const SETTLE: TimeDelta = TimeDelta::minutes(10);
/// No test takes longer.
const TEST_MAX: TimeDelta = TimeDelta::seconds(150);

thread_local! {
    /// Every test runs in its own thread.
    static TODAY: OnceCell<DateTime<Utc>> = const { OnceCell::new() };
}

/// 00:00 UTC, this many days before the current day of jobs. The first call of a test that would see that day end waits
/// for the next one.
pub fn ago(days: i64) -> DateTime<Utc> {
    TODAY.with(|today| *today.get_or_init(day_that_stays)) - TimeDelta::days(days)
}

/// Whether `faketime` shifts the clock. Postgres' `lock_timeout` does not work then: `faketime` shows the real time to
/// a signal handler that interrupts `epoll_wait`, so the server takes the alarm that ends a wait for one that came too
/// early.
pub fn is_shifted() -> bool {
    std::env::var_os("FAKETIME").is_some()
}

/// An instant, written as RFC 3339 has it.
pub fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn day_that_stays() -> DateTime<Utc> {
    loop {
        let now = Utc::now() - SETTLE;
        let (today, next) = (midnight(now), midnight(now + TEST_MAX));
        if today == next {
            return today;
        }
        std::thread::sleep((next - now).to_std().unwrap());
    }
}

fn midnight(at: DateTime<Utc>) -> DateTime<Utc> {
    at.date_naive().and_time(NaiveTime::MIN).and_utc()
}

/// The variables that shift this process's clock, if any: for programs that are started without an environment and must
/// have the same time.
pub fn shift() -> impl Iterator<Item = (&'static str, OsString)> {
    SHIFT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)))
}
