//! The limits that a vendor documents, enforced as Azure API Management does. Independent of HTTP.
//!
//! This arithmetic must never share code with the daemon's quota module, or one error would pass on both sides. Time is
//! a parameter: the duration since the simulator's start.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a vendor counts calls "within a period".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowKind {
    /// Consecutive periods from the subscription's start.
    Fixed,
    /// No interval of a period's length contains more than the amount.
    Sliding,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Calls,
    Bytes,
}

/// Which calls a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    Login,
    Data,
    Every,
}

/// Whether a call issues a token or reads data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    Login,
    Data,
}

/// A short limit is refused with 429, the quota of a long period with 403.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    Rate,
    Quota,
}

/// One documented limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    pub name: &'static str,
    pub applies: Applies,
    pub unit: Unit,
    pub refused: Refused,
    pub amount: u64,
    pub period: Duration,
}

/// Why a call was refused, and how long it should wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub limit: &'static str,
    pub unit: Unit,
    pub refused: Refused,
    pub wait: Duration,
}

/// Observations of one limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimitStats {
    pub unit: Unit,
    pub amount: u64,
    /// The period in real seconds, after applying the simulator's speed.
    pub period_secs: f64,
    /// Admitted calls or bytes.
    pub counted: u64,
    /// Calls that were refused because of this limit.
    pub refused: u64,
    /// The maximum in any interval of a period's length, including refused calls.
    pub highest_sliding: u64,
    /// The maximum in any fixed period, including refused calls.
    pub highest_fixed: u64,
}

/// All limits of one account.
#[derive(Debug)]
pub struct Limits {
    meters: Vec<Meter>,
    window: WindowKind,
}

impl Limits {
    /// `age`: how old the subscription was when the simulator started; fixed periods count from its start.
    pub fn new(rules: &[Rule], window: WindowKind, age: Duration) -> Self {
        Self { meters: rules.iter().map(|&rule| Meter::new(rule, age)).collect(), window }
    }

    /// Admits the call and counts it, or refuses it. A refused call does not count against the limits.
    pub fn admit(&mut self, call: CallKind, now: Duration) -> Result<(), Refusal> {
        let window = self.window;
        let mut refusals = Vec::new();
        for meter in self.meters.iter_mut().filter(|meter| meter.counts(call)) {
            if meter.rule.unit == Unit::Calls {
                meter.seen.add(now, 1);
            }
            if let Some(wait) = meter.admitted.wait(window, meter.rule.amount, now) {
                meter.refused += 1;
                refusals.push(Refusal {
                    limit: meter.rule.name,
                    unit: meter.rule.unit,
                    refused: meter.rule.refused,
                    wait,
                });
            }
        }
        // The rate policy comes before the quota policy, as in the default configuration.
        refusals.sort_by_key(|refusal| refusal.refused == Refused::Quota);
        if let Some(first) = refusals.first() {
            return Err(*first);
        }
        for meter in self.meters.iter_mut().filter(|meter| meter.counts(call) && meter.rule.unit == Unit::Calls) {
            meter.counted += 1;
            meter.admitted.add(now, 1);
        }
        Ok(())
    }

    /// Counts the bytes of an admitted call once its response is known.
    pub fn spend(&mut self, call: CallKind, bytes: u64, now: Duration) {
        for meter in self.meters.iter_mut().filter(|meter| meter.counts(call) && meter.rule.unit == Unit::Bytes) {
            meter.counted += bytes;
            meter.seen.add(now, bytes);
            meter.admitted.add(now, bytes);
        }
    }

    pub fn stats(&self) -> impl Iterator<Item = (&'static str, LimitStats)> {
        self.meters.iter().map(|meter| (meter.rule.name, meter.stats()))
    }
}

#[derive(Debug)]
struct Meter {
    rule: Rule,
    /// Admitted calls; used for enforcement.
    admitted: WindowCount,
    /// All calls; used for the maximums.
    seen: WindowCount,
    counted: u64,
    refused: u64,
}

impl Meter {
    fn new(rule: Rule, age: Duration) -> Self {
        let count = || WindowCount::new(rule.period.max(Duration::from_nanos(1)), age);
        Self { rule, admitted: count(), seen: count(), counted: 0, refused: 0 }
    }

    fn counts(&self, call: CallKind) -> bool {
        match self.rule.applies {
            Applies::Login => call == CallKind::Login,
            Applies::Data => call == CallKind::Data,
            Applies::Every => true,
        }
    }

    fn stats(&self) -> LimitStats {
        LimitStats {
            unit: self.rule.unit,
            amount: self.rule.amount,
            period_secs: self.rule.period.as_secs_f64(),
            counted: self.counted,
            refused: self.refused,
            highest_sliding: self.seen.highest_sliding,
            highest_fixed: self.seen.highest_fixed,
        }
    }
}

/// Sums over the current fixed period and over the last period's length, with their maximums.
#[derive(Debug)]
struct WindowCount {
    period: Duration,
    age: Duration,
    /// Arrivals in the last period, oldest first. An arrival exactly one period old no longer counts.
    recent: VecDeque<(Duration, u64)>,
    sliding: u64,
    fixed_period: u128,
    fixed: u64,
    highest_sliding: u64,
    highest_fixed: u64,
}

impl WindowCount {
    fn new(period: Duration, age: Duration) -> Self {
        Self {
            period,
            age,
            recent: VecDeque::new(),
            sliding: 0,
            fixed_period: 0,
            fixed: 0,
            highest_sliding: 0,
            highest_fixed: 0,
        }
    }

    fn roll(&mut self, now: Duration) {
        while let Some(&(at, amount)) = self.recent.front() {
            if at + self.period > now {
                break;
            }
            self.sliding -= amount;
            self.recent.pop_front();
        }
        let period = (now + self.age).as_nanos() / self.period.as_nanos();
        // Two calls may be passed in reverse order; the later period gets both.
        if period > self.fixed_period {
            self.fixed_period = period;
            self.fixed = 0;
        }
    }

    fn add(&mut self, now: Duration, amount: u64) {
        self.roll(now);
        self.recent.push_back((now, amount));
        self.sliding += amount;
        self.fixed += amount;
        self.highest_sliding = self.highest_sliding.max(self.sliding);
        self.highest_fixed = self.highest_fixed.max(self.fixed);
    }

    /// `None` if the call fits, otherwise how long until it does.
    fn wait(&mut self, window: WindowKind, limit: u64, now: Duration) -> Option<Duration> {
        self.roll(now);
        match window {
            WindowKind::Fixed => (self.fixed >= limit).then(|| self.until_next_period(now)),
            WindowKind::Sliding => (self.sliding >= limit).then(|| self.until_room(limit, now)),
        }
    }

    fn until_next_period(&self, now: Duration) -> Duration {
        let into = (now + self.age).as_nanos() % self.period.as_nanos();
        let left = self.period.as_nanos() - into;
        Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX))
    }

    fn until_room(&self, limit: u64, now: Duration) -> Duration {
        let mut left = self.sliding;
        for &(at, amount) in &self.recent {
            left -= amount;
            if left < limit {
                return (at + self.period).saturating_sub(now);
            }
        }
        self.period
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rule = Rule {
        name: "requests",
        applies: Applies::Data,
        unit: Unit::Calls,
        refused: Refused::Rate,
        amount: 2,
        period: Duration::from_secs(10),
    };
    const BYTES: Rule = Rule {
        name: "period_bandwidth",
        applies: Applies::Every,
        unit: Unit::Bytes,
        refused: Refused::Quota,
        amount: 1000,
        period: Duration::from_secs(100),
    };

    fn secs(secs: f64) -> Duration {
        Duration::from_secs_f64(secs)
    }

    /// Passes the arrivals in. Returns which were admitted, and the wait of the others.
    fn outcomes(limits: &mut Limits, arrivals: &[f64]) -> Vec<Result<(), f64>> {
        let admit = |&at: &f64| limits.admit(CallKind::Data, secs(at)).map_err(|refusal| refusal.wait.as_secs_f64());
        arrivals.iter().map(admit).collect()
    }

    #[test]
    fn fixed_windows_start_with_the_subscription() {
        let mut limits = Limits::new(&[RATE], WindowKind::Fixed, Duration::ZERO);
        let got = outcomes(&mut limits, &[8.0, 9.0, 9.5, 10.0, 11.0, 12.0]);
        assert_eq!(got, [Ok(()), Ok(()), Err(0.5), Ok(()), Ok(()), Err(8.0)]);
        let mut limits = Limits::new(&[RATE], WindowKind::Fixed, secs(1.5));
        assert_eq!(outcomes(&mut limits, &[8.0, 8.1, 8.2, 8.5]), [Ok(()), Ok(()), Err(0.3), Ok(())]);
    }

    #[test]
    fn sliding_windows_look_back_from_every_call() {
        let mut limits = Limits::new(&[RATE], WindowKind::Sliding, Duration::ZERO);
        let got = outcomes(&mut limits, &[8.0, 9.0, 10.0, 17.5, 18.0, 18.5, 19.0]);
        assert_eq!(got, [Ok(()), Ok(()), Err(8.0), Err(0.5), Ok(()), Err(0.5), Ok(())]);
    }

    #[test]
    fn a_burst_across_a_boundary_is_measured_even_if_it_is_allowed() {
        let mut limits = Limits::new(&[RATE], WindowKind::Fixed, Duration::ZERO);
        assert!(outcomes(&mut limits, &[8.0, 9.0, 10.0, 11.0]).iter().all(Result::is_ok));
        let (_, stats) = limits.stats().next().unwrap();
        assert_eq!((stats.highest_fixed, stats.highest_sliding), (2, 4));
        assert_eq!((stats.counted, stats.refused), (4, 0));
    }

    #[test]
    fn bytes_are_counted_after_the_response_and_then_block_every_call() {
        for window in [WindowKind::Fixed, WindowKind::Sliding] {
            let mut limits = Limits::new(&[BYTES], window, Duration::ZERO);
            assert!(limits.admit(CallKind::Data, secs(1.0)).is_ok());
            limits.spend(CallKind::Data, 999, secs(2.0));
            assert!(limits.admit(CallKind::Login, secs(3.0)).is_ok(), "one byte is left");
            limits.spend(CallKind::Login, 500, secs(3.0));
            let refusal = limits.admit(CallKind::Login, secs(4.0)).unwrap_err();
            assert_eq!((refusal.limit, refusal.refused), ("period_bandwidth", Refused::Quota));
            let wait = if window == WindowKind::Fixed { 96.0 } else { 98.0 };
            assert_eq!(refusal.wait, secs(wait));
            assert!(limits.admit(CallKind::Data, secs(4.0) + refusal.wait).is_ok());
        }
    }

    #[test]
    fn a_rate_is_refused_before_a_quota_and_costs_nothing() {
        let mut limits = Limits::new(&[BYTES, RATE], WindowKind::Sliding, Duration::ZERO);
        limits.spend(CallKind::Data, 2000, secs(0.0));
        assert_eq!(limits.admit(CallKind::Data, secs(0.0)).unwrap_err().limit, "period_bandwidth");
        let mut limits = Limits::new(&[BYTES, RATE], WindowKind::Sliding, Duration::ZERO);
        assert!(outcomes(&mut limits, &[0.0, 0.0]).iter().all(Result::is_ok));
        limits.spend(CallKind::Data, 2000, secs(0.0));
        assert_eq!(limits.admit(CallKind::Data, secs(1.0)).unwrap_err().limit, "requests");
        assert!(limits.admit(CallKind::Login, secs(1.0)).is_err(), "the quota counts every call");
    }
}
