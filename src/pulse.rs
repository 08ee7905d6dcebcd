//! The loops that the process depends on, and when each of them last succeeded.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A loop of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loop {
    /// Turns due firings into runs.
    Enqueue,
    /// A worker that checks for a run to claim.
    Claim,
    /// Renews the lease of a run in progress.
    Renew,
    /// Records that the process is running.
    Alive,
    /// Checks for problems.
    Problems,
    /// Sends notifications.
    Notify,
    /// Keeps the views of the mart up to date.
    Mart,
    /// Compares the vendors' totals with our rows.
    Reconciliation,
    /// Deletes old history.
    Prune,
}

impl Loop {
    pub const ALL: [Self; 9] = [
        Self::Enqueue,
        Self::Claim,
        Self::Renew,
        Self::Alive,
        Self::Problems,
        Self::Notify,
        Self::Mart,
        Self::Reconciliation,
        Self::Prune,
    ];

    /// The name on the status port, in problems and in the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enqueue => "enqueue",
            Self::Claim => "claim",
            Self::Renew => "renew",
            Self::Alive => "alive",
            Self::Problems => "problems",
            Self::Notify => "notify",
            Self::Mart => "mart",
            Self::Reconciliation => "reconciliation",
            Self::Prune => "prune",
        }
    }

    /// The loop of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|of| of.name() == name)
    }

    /// A loop without success for this long fails: its period and the time that its work may take are shorter.
    pub const fn failing_after(self) -> Duration {
        match self {
            Self::Enqueue | Self::Claim | Self::Renew => Duration::from_secs(45),
            Self::Alive | Self::Problems | Self::Notify => Duration::from_mins(2),
            Self::Reconciliation => Duration::from_mins(30),
            Self::Mart | Self::Prune => Duration::from_hours(3),
        }
    }

    /// A loop that has not completed for this long, with success or without, hangs: every wait in it is shorter.
    const fn stuck_after(self) -> Duration {
        match self {
            Self::Enqueue | Self::Claim | Self::Renew => Duration::from_mins(3),
            Self::Alive | Self::Problems | Self::Notify => Duration::from_mins(5),
            Self::Mart | Self::Reconciliation | Self::Prune => self.failing_after(),
        }
    }

    /// What does not work while the loop fails, if the process is not ready without it.
    pub const fn obstacle(self) -> Option<&'static str> {
        match self {
            Self::Enqueue => Some("firings cannot be enqueued, see the log"),
            Self::Claim => Some("workers cannot check for runs, see the log"),
            Self::Renew => Some("leases of runs cannot be renewed, see the log"),
            Self::Alive => Some("this process cannot be recorded as running, see the log"),
            // Loads go on. Without the pages, it would be harder to see what fails.
            Self::Problems | Self::Notify | Self::Mart | Self::Reconciliation | Self::Prune => None,
        }
    }
}

/// State of one kind of loop. `None` and zero before anything happened.
#[derive(Debug, Default, Clone, Copy)]
struct Beat {
    /// Number of loops of this kind that are active. No worker checks for a run while all of them have one.
    going: u32,
    since: Option<Instant>,
    came_round: Option<Instant>,
    succeeded: Option<Instant>,
}

/// The loops of one process.
#[derive(Debug, Default)]
pub struct Pulse(Mutex<[Beat; Loop::ALL.len()]>);

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

    /// Records that what the loop does was done elsewhere just now. If the loop itself failed the last time, it still
    /// counts as failing.
    pub fn begin_well(&self, of: Loop) {
        let now = Instant::now();
        self.change(of, |beat| {
            if beat.came_round <= beat.succeeded {
                (beat.came_round, beat.succeeded) = (Some(now), Some(now));
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
            beat.going > 0 && beat.since.max(beat.came_round).is_some_and(|at| at.elapsed() > of.stuck_after())
        };
        Loop::ALL.into_iter().find(hangs)
    }

    /// Why the process is not ready, for a readiness probe: a loop that it needs hangs or fails.
    pub fn obstacle(&self) -> Option<&'static str> {
        Loop::ALL.into_iter().filter(|of| self.is_failing(*of)).find_map(Loop::obstacle)
    }

    fn is_failing(&self, of: Loop) -> bool {
        self.age(of).is_some_and(|age| age > of.failing_after())
    }

    /// One line per loop.
    pub fn lines(&self) -> String {
        let mut lines = String::new();
        for of in Loop::ALL {
            // Writing to a String cannot fail.
            let _ = match self.age(of) {
                Some(age) => {
                    let fails = if self.is_failing(of) { ", so it fails" } else { "" };
                    writeln!(lines, "{}: last succeeded {:.1} s ago{fails}", of.name(), age.as_secs_f64())
                }
                None => writeln!(lines, "{}: nothing to do", of.name()),
            };
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pulse in which the last completions of a loop are this long ago.
    fn aged(of: Loop, going: bool, came_round: u64, succeeded: u64) -> Pulse {
        let ago = |secs| Instant::now().checked_sub(Duration::from_secs(secs));
        let beat =
            Beat { going: u32::from(going), since: ago(1_000), came_round: ago(came_round), succeeded: ago(succeeded) };
        let pulse = Pulse::default();
        pulse.change(of, |present| *present = beat);
        pulse
    }

    #[test]
    fn p12_a_loop_that_fails_still_fails_when_another_of_its_kind_begins() {
        for (came_round, succeeded, is_failing) in [(500, 500, false), (1, 500, true)] {
            let pulse = aged(Loop::Renew, true, came_round, succeeded);
            pulse.begin_well(Loop::Renew);
            assert_eq!(pulse.is_failing(Loop::Renew), is_failing, "{came_round} {succeeded}");
        }
    }

    #[test]
    fn p12_a_loop_that_hangs_or_fails_is_reported_and_an_idle_one_is_not() {
        for (of, going, came_round, succeeded, is_stuck, is_failing) in [
            (Loop::Claim, true, 1, 1, false, false),
            (Loop::Claim, true, 1, 60, false, true),
            (Loop::Claim, true, 60, 60, false, true),
            (Loop::Claim, true, 200, 200, true, true),
            (Loop::Claim, true, 1, 200, false, true),
            (Loop::Claim, false, 900, 900, false, false),
            (Loop::Problems, true, 60, 60, false, false),
            (Loop::Problems, true, 1, 130, false, true),
            (Loop::Problems, true, 310, 310, true, true),
            (Loop::Notify, true, 1, 130, false, true),
            (Loop::Alive, true, 1, 130, false, true),
        ] {
            let pulse = aged(of, going, came_round, succeeded);
            let found = (pulse.stuck(), pulse.obstacle());
            let expected = (is_stuck.then_some(of), of.obstacle().filter(|_| is_failing));
            assert_eq!(found, expected, "{of:?} {came_round} {succeeded}");
            assert_eq!(pulse.lines().contains(", so it fails"), is_failing, "{}", pulse.lines());
        }
    }

    #[test]
    fn a_loop_is_active_while_one_of_its_kind_is() {
        let pulse = Pulse::default();
        assert_eq!(pulse.age(Loop::Claim), None);
        let (one, other) = (pulse.go(Loop::Claim), pulse.go(Loop::Claim));
        drop(one);
        assert!(pulse.age(Loop::Claim).is_some() && pulse.lines().contains("claim: last succeeded 0.0 s ago"));
        drop(other);
        assert!(pulse.age(Loop::Claim).is_none() && pulse.lines().contains("claim: nothing to do"));
    }
}
