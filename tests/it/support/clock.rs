//! What time it is for a test. Its days are counted from now, and are the same from its beginning to its end.

use std::cell::OnceCell;
use std::ffi::OsString;

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};

/// What `faketime` tells a program, so that it sees another time.
const SHIFT: [&str; 4] = ["LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC", "DONT_FAKE_MONOTONIC"];

/// A job reads up to this much before now unless it says otherwise (`settle`), so its day begins that much after midnight.
const SETTLE: TimeDelta = TimeDelta::minutes(10);
/// No test takes longer.
const TEST_MAX: TimeDelta = TimeDelta::seconds(150);

thread_local! {
    /// Every test has a thread of its own.
    static TODAY: OnceCell<DateTime<Utc>> = const { OnceCell::new() };
}

/// 00:00 UTC, so many days before the day that jobs now read as the open one. The first call of a test that would see that day
/// end waits for the next one.
pub fn ago(days: i64) -> DateTime<Utc> {
    TODAY.with(|today| *today.get_or_init(day_that_stays)) - TimeDelta::days(days)
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

/// The variables that shift the clock of this process, if anything does: for programs that are started without an environment
/// and must agree with it about the time.
pub fn shift() -> impl Iterator<Item = (&'static str, OsString)> {
    SHIFT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)))
}
