//! What this process knows of the database's clock, by which grants are given.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// Clocks drift apart: within this time by less than a tenth of a millisecond, if by no more than usual.
const KNOWN_FOR: Duration = Duration::from_millis(250);

/// At `at`, the database's clock showed `showed` or a little more: what an answer took to arrive is not known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) at: Instant,
    pub(super) showed: DateTime<Utc>,
}

impl Reading {
    /// By then the clock shows `moment` for certain.
    fn reaches(&self, moment: DateTime<Utc>) -> Instant {
        match (moment - self.showed).to_std() {
            Ok(ahead) => self.at + ahead,
            Err(_) => self.at.checked_sub((self.showed - moment).to_std().unwrap_or_default()).unwrap_or(self.at),
        }
    }
}

/// The reading that was under way for the shortest time lately. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct DatabaseClock {
    best: Arc<Mutex<Option<Reading>>>,
}

impl DatabaseClock {
    /// Takes note of a reading; says when the clock shows `moment` for certain.
    pub(super) fn reaches(&self, moment: DateTime<Utc>, reading: Reading) -> Instant {
        let mut best = self.best.lock().unwrap_or_else(PoisonError::into_inner);
        let known = best.filter(|known| reading.at.saturating_duration_since(known.at) < KNOWN_FOR);
        let better = known.filter(|known| known.reaches(moment) <= reading.reaches(moment)).unwrap_or(reading);
        *best = Some(better);
        better.reaches(moment)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn reading(start: Instant, at: u32, showed: u32) -> Reading {
        Reading { at: start + MILLISECOND * at, showed: time(showed) }
    }

    fn time(millis: u32) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::milliseconds(i64::from(millis))
    }

    #[test]
    fn the_quickest_reading_of_late_tells_when_a_moment_comes() {
        let (clock, start) = (DatabaseClock::default(), Instant::now());
        let reaches = |moment, reading| clock.reaches(time(moment), reading) - start;
        assert_eq!(reaches(40, reading(start, 12, 10)), MILLISECOND * 42);
        assert_eq!(reaches(80, reading(start, 51, 50)), MILLISECOND * 81, "the answer took one less");
        assert_eq!(reaches(120, reading(start, 95, 90)), MILLISECOND * 121, "and this one four more");
        assert_eq!(reaches(400, reading(start, 305, 300)), MILLISECOND * 405, "the others are too old");
    }

    #[test]
    fn a_moment_of_the_past_is_one_here_too() {
        let (clock, start) = (DatabaseClock::default(), Instant::now() + MILLISECOND * 100);
        assert_eq!(start - clock.reaches(time(40), reading(start, 0, 50)), MILLISECOND * 10);
    }
}
