//! Promise 2 as arithmetic: any pattern of demand, against a brute-force count.

use proptest::prelude::*;

use super::*;
use crate::quota::Calls;

fn time(micros: i64) -> DateTime<Utc> {
    at(1_800_000_000_000_000 + micros)
}

fn limit(unit: Unit, amount: u64, per: Duration) -> Limit {
    Limit { name: "requests".to_owned(), calls: Calls::Every, unit, amount, per }
}

fn any_limit() -> impl Strategy<Value = Limit> {
    let unit = prop_oneof![Just(Unit::Calls), Just(Unit::Bytes)];
    let amount = prop_oneof![Just(1), 2_u64..20, 150_u64..260, 1_000_u64..5_000];
    let per = prop_oneof![50_u64..500, 1_000_u64..10_000, Just(43_200_000)];
    (unit, amount, per).prop_map(|(unit, amount, per)| limit(unit, amount, Duration::from_millis(per)))
}

/// Demand: pauses in thousandths of the period (mostly none), and sizes in thousandths of the amount.
fn any_demand() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let pause = prop_oneof![3 => Just(0_u64), 1 => 0_u64..50, 1 => 0_u64..2_500];
    prop::collection::vec((pause, 0_u64..1_200), 1..400)
}

/// The most that any interval of length `per`, ends included, holds.
fn most_in_any_window(sends: &[(i64, u64)], per: Duration) -> u64 {
    let mut sends = sends.to_vec();
    sends.sort_unstable();
    let (mut from, mut held, mut most) = (0, 0, 0);
    for (sent_at, units) in &sends {
        held += units;
        while sends[from].0 < sent_at - micros(per) {
            held -= sends[from].1;
            from += 1;
        }
        most = most.max(held);
    }
    most
}

/// Sends each request as soon as it fits, following the hints.
fn play(limit: &Limit, demand: &[(u64, u64)]) -> Vec<(i64, u64)> {
    let mut window = Window::new(limit);
    let (mut now, mut sends) = (0, Vec::new());
    for (pause, size) in demand {
        now += micros(limit.per) / 1_000 * i64::try_from(*pause).unwrap();
        let units = window.need(limit.amount * size / 1_000);
        window.prune(time(now));
        let fits = window.earliest(time(now), units, 0);
        now += (fits - time(now)).num_microseconds().unwrap();
        window.prune(time(now));
        window.take(time(now), units);
        sends.push((now, units));
    }
    sends
}

proptest! {
    #[test]
    fn p2_no_interval_of_a_period_ever_holds_more_than_the_amount(limit in any_limit(), demand in any_demand()) {
        let sends = play(&limit, &demand);
        prop_assert!(most_in_any_window(&sends, limit.per) <= limit.amount);
    }

    #[test]
    fn p2_a_hint_is_exact(limit in any_limit(), demand in any_demand(), size in 1_u64..1_200) {
        let mut window = Window::new(&limit);
        for (sent_at, units) in play(&limit, &demand) {
            window.prune(time(sent_at));
            window.take(time(sent_at), units);
        }
        let units = window.need((limit.amount * size / 1_000).max(1));
        let now = time(play(&limit, &demand).last().unwrap().0);
        let hint = window.earliest(now, units, 0);
        if hint > now {
            let just_before = hint - chrono::TimeDelta::microseconds(1);
            window.prune(just_before);
            prop_assert_eq!(window.earliest(just_before, units, 0), hint);
            window.prune(hint);
        }
        prop_assert_eq!(window.earliest(hint, units, 0), hint);
    }

    #[test]
    fn p2_steady_demand_uses_95_percent(limit in any_limit(), calls_per_amount in 1_u64..30, start in 0_i64..1_000_000) {
        prop_assume!(limit.per >= Duration::from_millis(170));
        // Calls that divide the amount: a remainder would be the caller's loss, not the ledger's.
        let units = match limit.unit { Unit::Calls => 1, Unit::Bytes => (limit.amount / calls_per_amount).max(1) };
        let limit = Limit { amount: limit.amount / units * units, ..limit };
        let mut window = Window::new(&limit);
        let mut now = time(start);
        let periods = 5;
        let goal = limit.amount * periods;
        let mut sent = 0;
        while sent < goal + units {
            window.prune(now);
            now = window.earliest(now, units, 0);
            window.prune(now);
            window.take(now, units);
            sent += units;
        }
        // The first send of the next round marks how long the rounds before it took.
        let took = (now - time(start)).num_microseconds().unwrap();
        let permitted = micros(limit.per) * i64::try_from(periods).unwrap();
        prop_assert!(permitted * 100 >= took * 95, "{permitted} µs of work took {took} µs");
    }

    #[test]
    fn p2_a_late_call_that_is_reported_keeps_the_limit(
        limit in any_limit(), demand in any_demand(), late in prop::collection::vec(0_i64..900, 400),
    ) {
        let mut window = Window::new(&limit);
        let (mut now, mut sends) = (0, Vec::new());
        for ((pause, size), late) in demand.iter().zip(late) {
            now += micros(limit.per) / 1_000 * i64::try_from(*pause).unwrap();
            let counted = window.need(limit.amount * size / 1_000);
            window.prune(time(now));
            now += (window.earliest(time(now), counted, 0) - time(now)).num_microseconds().unwrap();
            window.prune(time(now));
            let end = window.take(time(now), counted);
            // It is sent late, and is smaller than estimated.
            now += micros(limit.per) / 1_000 * late;
            let used = if limit.unit == Unit::Bytes { counted / 2 } else { counted };
            window.settle(end, counted, used, time(now));
            sends.push((now, used));
        }
        prop_assert!(most_in_any_window(&sends, limit.per) <= limit.amount);
    }

    #[test]
    fn callers_of_higher_rank_only_make_the_hint_later(
        limit in any_limit(), demand in any_demand(), claimed in 0_u64..50, more in 0_u64..50,
    ) {
        let mut window = Window::new(&limit);
        let sends = play(&limit, &demand);
        for (sent_at, units) in &sends {
            window.prune(time(*sent_at));
            window.take(time(*sent_at), *units);
        }
        let now = time(sends.last().unwrap().0);
        window.prune(now);
        prop_assert!(window.earliest(now, 1, claimed) <= window.earliest(now, 1, claimed + more));
    }
}

/// A vendor that counts by brute force: all calls it ever received, again for each call.
struct Vendor {
    amount: u64,
    per: i64,
    /// When its fixed windows begin. `None`: its window slides.
    phase: Option<i64>,
    seen: Vec<(i64, u64)>,
}

impl Vendor {
    fn takes(&mut self, arrived_at: i64, units: u64) -> bool {
        let counts = |seen_at: i64| match self.phase {
            Some(phase) => (seen_at - phase).div_euclid(self.per) == (arrived_at - phase).div_euclid(self.per),
            None => seen_at > arrived_at - self.per,
        };
        let used: u64 = self.seen.iter().filter(|(at, _)| counts(*at)).map(|(_, units)| units).sum();
        self.seen.push((arrived_at, units));
        used + units <= self.amount
    }
}

/// When `units` first fit, found by trying: now, and each instant at which something stops to count.
fn first_fit(limit: &Limit, sends: &[(i64, u64)], now: i64, units: u64) -> i64 {
    let spans = Spans::of(limit);
    let (width, reach) = (micros(spans.width), micros(spans.reach));
    let counts_until = |sent_at: i64| {
        // Buckets are counted from the epoch of Postgres's own clock, as `time` is.
        let since = time(sent_at).timestamp_micros();
        let end = if width == 0 { since } else { (since.div_euclid(width) + 1) * width };
        sent_at + (end - since) + reach
    };
    let ends: Vec<(i64, u64)> = sends.iter().map(|(at, units)| (counts_until(*at), *units)).collect();
    let fits = |at: i64| {
        let used: u64 = ends.iter().filter(|(end, _)| *end > at).map(|(_, units)| units).sum();
        used + units <= limit.amount
    };
    let mut tries: Vec<i64> = ends.iter().map(|(end, _)| *end).filter(|end| *end > now).collect();
    tries.push(now);
    tries.sort_unstable();
    tries.into_iter().find(|at| fits(*at)).unwrap()
}

proptest! {
    #[test]
    fn p2_vendors_with_fixed_or_sliding_windows_refuse_nothing(
        limit in any_limit(), demand in any_demand(),
        phase in prop::option::of(0_u64..1_000), hurry in prop::collection::vec(0_u64..=1_000, 400),
    ) {
        let per = micros(limit.per);
        let phase = phase.map(|phase| per / 1_000 * i64::try_from(phase).unwrap());
        let mut vendor = Vendor { amount: limit.amount, per, phase, seen: Vec::new() };
        // A call may arrive faster than those before, by up to the margin.
        let margin = micros(margin(limit.per)) - 1;
        let mut arrivals: Vec<(i64, u64)> = play(&limit, &demand)
            .into_iter()
            .zip(hurry)
            .map(|((sent_at, units), hurry)| (sent_at - margin * i64::try_from(hurry).unwrap() / 1_000, units))
            .collect();
        arrivals.sort_unstable();
        for (arrived_at, units) in arrivals {
            prop_assert!(vendor.takes(arrived_at, units), "refused at {arrived_at}");
        }
    }

    #[test]
    fn p2_a_call_is_granted_at_the_first_instant_that_a_brute_force_count_allows(
        limit in any_limit(), demand in any_demand(), later in 0_u64..2_500, size in 0_u64..1_200,
    ) {
        let sends = play(&limit, &demand);
        let mut window = Window::new(&limit);
        for (sent_at, units) in &sends {
            window.prune(time(*sent_at));
            window.take(time(*sent_at), *units);
        }
        let now = sends.last().unwrap().0 + micros(limit.per) / 1_000 * i64::try_from(later).unwrap();
        let units = window.need(limit.amount * size / 1_000);
        window.prune(time(now));
        prop_assert_eq!(window.earliest(time(now), units, 0), time(first_fit(&limit, &sends, now, units)));
    }

    #[test]
    fn p2_a_window_restored_from_the_ledger_counts_the_same(
        limit in any_limit(), demand in any_demand(), later in 0_u64..2_500,
    ) {
        let mut window = Window::new(&limit);
        let mut restored = Window::new(&limit);
        let mut now = 0;
        for (sent_at, units) in play(&limit, &demand) {
            window.prune(time(sent_at));
            let end = window.take(time(sent_at), units);
            restored.restore(end, units);
            now = sent_at;
        }
        now += micros(limit.per) / 1_000 * i64::try_from(later).unwrap();
        window.prune(time(now));
        restored.prune(time(now));
        prop_assert_eq!(window.used(), restored.used());
        prop_assert_eq!(window.earliest(time(now), 1, 0), restored.earliest(time(now), 1, 0));
    }
}

#[test]
fn one_call_per_four_seconds_is_sent_every_4120_milliseconds() {
    let windows = [Window::new(&limit(Unit::Calls, 1, Duration::from_secs(4)))];
    assert_eq!(finish_time(&windows, 0, 0, time(0)), time(0));
    assert_eq!(finish_time(&windows, 1, 0, time(0)), time(0));
    assert_eq!(finish_time(&windows, 11, 0, time(0)), time(41_200_010));
}

#[test]
fn a_forecast_waits_for_the_period_when_the_bandwidth_is_used_up() {
    let half_day = Duration::from_hours(12);
    let windows =
        [Window::new(&limit(Unit::Calls, 1, Duration::from_secs(4))), Window::new(&limit(Unit::Bytes, 100, half_day))];
    let (tenth, eleventh) = (finish_time(&windows, 10, 10, time(0)), finish_time(&windows, 11, 10, time(0)));
    assert!(tenth < time(40_000_000));
    assert!(eleventh - time(0) >= chrono::TimeDelta::hours(12));
    assert!(eleventh - time(0) <= chrono::TimeDelta::minutes(12 * 60 + 8));
}

#[test]
fn a_forecast_of_very_many_calls_is_bounded_work() {
    let windows = [Window::new(&limit(Unit::Calls, 1, Duration::from_secs(4)))];
    let end = finish_time(&windows, 10_000_000, 0, time(0));
    let expected = Duration::from_micros(4_120_001) * 9_999_999;
    let error = (end - time(0)).num_seconds() - i64::try_from(expected.as_secs()).unwrap();
    assert!(error.abs() < 1_000, "{error} s");
}

#[test]
fn a_blocked_window_opens_when_the_vendor_stated() {
    let mut window = Window::new(&limit(Unit::Calls, 1, Duration::from_secs(4)));
    window.block(time(9_000_000));
    assert_eq!(window.earliest(time(0), 1, 0), time(9_000_000));
    assert_eq!(window.earliest(time(9_500_000), 1, 0), time(9_500_000));
}

#[test]
fn an_estimate_beyond_the_whole_limit_waits_for_an_empty_window_and_no_longer() {
    let mut window = Window::new(&limit(Unit::Bytes, 100, Duration::from_secs(100)));
    let needed = window.need(5_000);
    assert_eq!(window.earliest(time(0), needed, 0), time(0));
    window.take(time(0), 1);
    let free = window.earliest(time(0), needed, 0);
    assert!(free > time(100_000_000) && free <= time(101_400_000), "{free}");
}
