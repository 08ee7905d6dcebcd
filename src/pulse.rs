//! The loops that the process depends on, and when each of them last completed.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A loop that has not completed for this long hangs: every wait in it is shorter.
const STUCK_AFTER: Duration = Duration::from_mins(3);
/// A loop without success for this long does no work.
const FAILING_AFTER: Duration = Duration::from_secs(45);

/// A loop of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loop {
    /// Turns due firings into runs.
    Enqueue,
    /// A worker that looks for a run to claim.
    Claim,
    /// Renews the lease of a run in progress.
    Renew,
}

impl Loop {
    pub const ALL: [Self; 3] = [Self::Enqueue, Self::Claim, Self::Renew];

    /// The name on the status port and in the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enqueue => "enqueue",
            Self::Claim => "claim",
            Self::Renew => "renew",
        }
    }
}

/// State of one kind of loop. `None` and zero before anything happened.
#[derive(Debug, Default, Clone, Copy)]
struct Beat {
    /// Number of loops of this kind that are active. No worker looks for a run while all of them have one.
    going: u32,
    since: Option<Instant>,
    came_round: Option<Instant>,
    succeeded: Option<Instant>,
}

/// The loops of one process.
#[derive(Debug, Default)]
pub struct Pulse(Mutex<[Beat; 3]>);

/// A loop that counts as active until this is dropped.
#[derive(Debug)]
pub struct Going<'p> {
    pulse: &'p Pulse,
    of: Loop,
}

impl Drop for Going<'_> {
    fn drop(&mut self) {
        self.pulse.change(self.of, |beat| beat.going = beat.going.saturating_sub(1));
    }
}

impl Pulse {
    fn change(&self, of: Loop, change: impl FnOnce(&mut Beat)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)[of as usize]);
    }

    fn of(&self, of: Loop) -> Beat {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[of as usize]
    }

    /// Registers an active loop.
    pub fn go(&self, of: Loop) -> Going<'_> {
        self.change(of, |beat| {
            if beat.going == 0 {
                beat.since = Some(Instant::now());
            }
            beat.going += 1;
        });
        Going { pulse: self, of }
    }

    /// Registers a loop that is active for as long as the process lives.
    pub fn go_on(&self, of: Loop) {
        std::mem::forget(self.go(of));
    }

    /// Records that a loop completed, with success or without.
    pub fn beat(&self, of: Loop, succeeded: bool) {
        let now = Instant::now();
        self.change(of, |beat| {
            beat.came_round = Some(now);
            if succeeded {
                beat.succeeded = Some(now);
            }
        });
    }

    /// The time since the loop last succeeded, or since it started; `None` while it has nothing to do.
    pub fn age(&self, of: Loop) -> Option<Duration> {
        let beat = self.of(of);
        (beat.going > 0).then(|| beat.since.max(beat.succeeded).map_or(Duration::ZERO, |at| at.elapsed()))
    }

    /// Which loop hangs, for a liveness probe: it has completed neither with success nor without.
    pub fn stuck(&self) -> Option<Loop> {
        let hangs = |of: &Loop| {
            let beat = self.of(*of);
            beat.going > 0 && beat.since.max(beat.came_round).is_some_and(|at| at.elapsed() > STUCK_AFTER)
        };
        Loop::ALL.into_iter().find(hangs)
    }

    /// Which loop does no work, hanging or failing, for a readiness probe.
    pub fn failing(&self) -> Option<Loop> {
        Loop::ALL.into_iter().find(|of| self.age(*of).is_some_and(|age| age > FAILING_AFTER))
    }

    /// One line per loop.
    pub fn lines(&self) -> String {
        let mut lines = String::new();
        for of in Loop::ALL {
            // Writing to a String cannot fail.
            let _ = match self.age(of) {
                Some(age) => writeln!(lines, "{}: last completed {:.1} s ago", of.name(), age.as_secs_f64()),
                None => writeln!(lines, "{}: nothing to do", of.name()),
            };
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pulse whose last completions are this long ago.
    fn aged(going: bool, came_round: u64, succeeded: u64) -> Pulse {
        let ago = |secs| Instant::now().checked_sub(Duration::from_secs(secs));
        let beat =
            Beat { going: u32::from(going), since: ago(1_000), came_round: ago(came_round), succeeded: ago(succeeded) };
        let pulse = Pulse::default();
        pulse.change(Loop::Claim, |present| *present = beat);
        pulse
    }

    #[test]
    fn p12_a_loop_that_hangs_or_fails_is_reported_and_an_idle_one_is_not() {
        for (going, came_round, succeeded, stuck, failing) in [
            (true, 1, 1, false, false),
            (true, 1, 60, false, true),
            (true, 60, 60, false, true),
            (true, 200, 200, true, true),
            (true, 1, 200, false, true),
            (false, 900, 900, false, false),
        ] {
            let pulse = aged(going, came_round, succeeded);
            let told = (pulse.stuck(), pulse.failing());
            assert_eq!(
                told,
                (stuck.then_some(Loop::Claim), failing.then_some(Loop::Claim)),
                "{came_round} {succeeded}"
            );
        }
    }

    #[test]
    fn a_loop_is_active_while_one_of_its_kind_is() {
        let pulse = Pulse::default();
        assert_eq!(pulse.age(Loop::Claim), None);
        let (one, other) = (pulse.go(Loop::Claim), pulse.go(Loop::Claim));
        drop(one);
        assert!(pulse.age(Loop::Claim).is_some() && pulse.lines().contains("claim: last completed 0.0 s ago"));
        drop(other);
        assert!(pulse.age(Loop::Claim).is_none() && pulse.lines().contains("claim: nothing to do"));
    }
}
