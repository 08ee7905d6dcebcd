//! Schedules against the calendar, the clock changes and a brute-force clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use chrono::{DateTime, Datelike, Duration, NaiveDateTime, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use proptest::prelude::*;

use super::{CatchUp, Schedule};

const NOTHING: [DateTime<Utc>; 0] = [];

fn schedule(expression: &str, timezone: Tz) -> Schedule {
    Schedule::parse(expression, timezone).unwrap()
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The firings in `(from, to]`, as the zone's clocks and offsets show them.
fn firings(expression: &str, timezone: Tz, from: &str, to: &str) -> Vec<String> {
    schedule(expression, timezone)
        .due(Some(at(from)), at(to), CatchUp::All, 100)
        .into_iter()
        .map(|firing| firing.with_timezone(&timezone).format("%d %H:%M %:z").to_string())
        .collect()
}

#[test]
fn p8_berlin_keeps_its_wall_clock_across_both_changes() {
    let spring = ("2026-03-27T12:00:00Z", "2026-03-30T12:00:00Z");
    let autumn = ("2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z");
    let zone = Tz::Europe__Berlin;
    assert_eq!(
        firings("0 7 * * *", zone, spring.0, spring.1),
        ["28 07:00 +01:00", "29 07:00 +02:00", "30 07:00 +02:00"]
    );
    assert_eq!(
        firings("30 2 * * *", zone, spring.0, spring.1),
        ["28 02:30 +01:00", "29 03:00 +02:00", "30 02:30 +02:00"],
        "02:30 does not exist on the 29th"
    );
    assert_eq!(
        firings("0,30 2,3 * * *", zone, "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"),
        ["29 03:00 +02:00", "29 03:30 +02:00"],
        "times in the gap fire right after it, together with what is due there anyway"
    );
    assert_eq!(firings("30 2 * * *", zone, autumn.0, autumn.1), ["25 02:30 +02:00", "26 02:30 +01:00"]);
    assert_eq!(firings("0,30 2 * * *", zone, autumn.0, "2026-10-25T12:00:00Z"), ["25 02:00 +02:00", "25 02:30 +02:00"]);
    assert_eq!(
        firings("15 * * * *", zone, "2026-10-24T23:00:00Z", "2026-10-25T02:59:00Z"),
        ["25 01:15 +02:00", "25 02:15 +02:00", "25 02:15 +01:00", "25 03:15 +01:00"],
        "an hourly job keeps its interval through the repeated hour"
    );
    assert_eq!(
        firings("15 * * * *", zone, "2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z"),
        ["29 01:15 +01:00", "29 03:15 +02:00"]
    );
}

#[test]
fn p8_santiago_loses_its_midnight_in_spring() {
    let zone = Tz::America__Santiago;
    assert_eq!(
        firings("0 0 * * *", zone, "2026-09-05T00:00:00Z", "2026-09-07T12:00:00Z"),
        ["05 00:00 -04:00", "06 01:00 -03:00", "07 00:00 -03:00"]
    );
    assert_eq!(
        firings("30 23 * * *", zone, "2026-04-04T12:00:00Z", "2026-04-06T12:00:00Z"),
        ["04 23:30 -03:00", "05 23:30 -04:00"],
        "the hour before midnight is repeated"
    );
}

#[test]
fn p8_lord_howe_shifts_by_half_an_hour() {
    let zone = Tz::Australia__Lord_Howe;
    assert_eq!(
        firings("10 2 * * *", zone, "2026-10-03T00:00:00Z", "2026-10-05T00:00:00Z"),
        ["04 02:30 +11:00", "05 02:10 +11:00"]
    );
    assert_eq!(
        firings("45 1 * * *", zone, "2026-04-04T00:00:00Z", "2026-04-06T00:00:00Z"),
        ["05 01:45 +11:00", "06 01:45 +10:30"]
    );
    assert_eq!(
        firings("*/15 * * * *", zone, "2026-04-04T14:15:00Z", "2026-04-04T15:30:00Z"),
        ["05 01:30 +11:00", "05 01:45 +11:00", "05 01:30 +10:30", "05 01:45 +10:30", "05 02:00 +10:30"]
    );
}

#[test]
fn p8_cairo_nuuk_and_apia_have_gaps_at_the_edge_of_a_day() {
    assert_eq!(
        firings("0 0 * * *", Tz::Africa__Cairo, "2026-04-23T00:00:00Z", "2026-04-25T00:00:00Z"),
        ["24 01:00 +03:00", "25 00:00 +03:00"]
    );
    assert_eq!(
        firings("30 23 28 3 *", Tz::America__Nuuk, "2026-03-01T00:00:00Z", "2026-04-30T00:00:00Z"),
        ["29 00:00 -01:00"],
        "the gap ends on the next date, and the firing is not lost"
    );
    assert_eq!(
        firings("0 9 * * *", Tz::Pacific__Apia, "2011-12-29T00:00:00Z", "2011-12-31T12:00:00Z"),
        ["29 09:00 -10:00", "31 00:00 +14:00", "31 09:00 +14:00"],
        "a whole day is missing"
    );
}

#[test]
fn p8_a_schedule_of_every_second_passes_a_clock_change_quickly() {
    let everything = schedule("* * * * * *", Tz::Europe__Berlin);
    let in_the_first_hour = at("2026-10-25T00:59:58Z");
    let started = Instant::now();
    assert_eq!(everything.next_after(in_the_first_hour), Some(at("2026-10-25T00:59:59Z")));
    assert_eq!(everything.next_after(at("2026-10-25T00:59:59Z")), Some(at("2026-10-25T01:00:00Z")));
    let one_hour = schedule("* * 2 * * *", Tz::Europe__Berlin);
    assert_eq!(one_hour.next_after(at("2026-10-25T00:59:59Z")), Some(at("2026-10-26T01:00:00Z")));
    assert!(started.elapsed().as_secs() < 5, "bounded work: {:?}", started.elapsed());
}

#[test]
fn rare_dates_are_found_and_impossible_ones_end_the_search() {
    let leap = schedule("0 0 29 2 *", Tz::UTC);
    assert_eq!(leap.next_after(at("2026-01-01T00:00:00Z")), Some(at("2028-02-29T00:00:00Z")));
    assert_eq!(
        leap.next_after(at("2096-03-01T00:00:00Z")),
        Some(at("2104-02-29T00:00:00Z")),
        "2100 is not a leap year"
    );
    assert_eq!(
        firings("0 0 31 * *", Tz::UTC, "2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z"),
        ["31 00:00 +00:00", "31 00:00 +00:00", "31 00:00 +00:00"]
    );
    for impossible in ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
        let started = Instant::now();
        let never = schedule(impossible, Tz::America__Santiago);
        assert_eq!(never.next_after(at("2026-01-01T00:00:00Z")), None, "{impossible}");
        assert!(!never.ever_fires() && leap.ever_fires());
        assert_eq!(never.due(Some(at("2020-01-01T00:00:00Z")), at("2026-01-01T00:00:00Z"), CatchUp::All, 10), NOTHING);
        assert!(started.elapsed().as_secs() < 5, "{impossible}: {:?}", started.elapsed());
    }
}

#[test]
fn the_first_and_last_instants_do_not_panic() {
    let daily = schedule("@daily", Tz::America__Santiago);
    assert_eq!(daily.next_after(DateTime::<Utc>::MAX_UTC), None);
    let _ = daily.next_after(DateTime::<Utc>::MIN_UTC);
    assert_eq!(daily.due(Some(DateTime::<Utc>::MAX_UTC), DateTime::<Utc>::MAX_UTC, CatchUp::All, 5), NOTHING);
}

#[test]
fn p8_missed_firings_are_caught_up_as_the_job_says() {
    let hourly = schedule("15 * * * *", Tz::UTC);
    let (last, now) = (Some(at("2026-01-01T00:15:00Z")), at("2026-01-01T05:20:00Z"));
    assert_eq!(hourly.due(last, now, CatchUp::Latest, 10), [at("2026-01-01T05:15:00Z")]);
    assert_eq!(hourly.due(last, now, CatchUp::None, 10), NOTHING, "five minutes ago is missed");
    assert_eq!(hourly.due(last, at("2026-01-01T05:15:40Z"), CatchUp::None, 10), [at("2026-01-01T05:15:00Z")]);
    let all = hourly.due(last, now, CatchUp::All, 3);
    assert_eq!(all, [at("2026-01-01T01:15:00Z"), at("2026-01-01T02:15:00Z"), at("2026-01-01T03:15:00Z")]);
    let rest = hourly.due(all.last().copied(), now, CatchUp::All, 3);
    assert_eq!(rest, [at("2026-01-01T04:15:00Z"), at("2026-01-01T05:15:00Z")], "the next call continues");
}

#[test]
fn p8_nothing_is_due_twice_nor_before_the_job_was_seen() {
    let hourly = schedule("15 * * * *", Tz::UTC);
    let firing = at("2026-01-01T05:15:00Z");
    for catch_up in [CatchUp::Latest, CatchUp::All, CatchUp::None] {
        assert_eq!(hourly.due(Some(firing), firing + Duration::seconds(5), catch_up, 10), NOTHING);
        assert_eq!(hourly.due(None, firing, catch_up, 10), NOTHING);
        assert_eq!(
            hourly.due(Some(firing), firing - Duration::hours(3), catch_up, 10),
            NOTHING,
            "a clock that was set back"
        );
        assert_eq!(hourly.due(Some(firing - Duration::seconds(1)), firing, catch_up, 10), [firing]);
    }
}

#[test]
fn years_of_downtime_cost_few_steps() {
    let busy = schedule("* * 1 * * *", Tz::Europe__Berlin);
    let started = Instant::now();
    let newest = busy.due(Some(at("2015-01-01T00:00:00Z")), at("2026-01-01T12:00:00Z"), CatchUp::Latest, 1);
    assert_eq!(newest, [at("2026-01-01T00:59:59Z")]);
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

/// A simple expression as sets, so that the brute-force clock needs no parser.
#[derive(Debug, Clone)]
struct Simple {
    minutes: BTreeSet<u32>,
    /// `None` means every hour.
    hours: Option<BTreeSet<u32>>,
    days: Option<BTreeSet<u32>>,
    months: Option<BTreeSet<u32>>,
}

impl Simple {
    fn expression(&self) -> String {
        let list = |set: &BTreeSet<u32>| set.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let any = |set: &Option<BTreeSet<u32>>| set.as_ref().map_or_else(|| "*".to_owned(), list);
        format!("{} {} {} {} *", list(&self.minutes), any(&self.hours), any(&self.days), any(&self.months))
    }

    fn names(&self, wall: NaiveDateTime) -> bool {
        let any = |set: &Option<BTreeSet<u32>>, value| set.as_ref().is_none_or(|set| set.contains(&value));
        self.minutes.contains(&wall.minute())
            && any(&self.hours, wall.hour())
            && any(&self.days, wall.day())
            && any(&self.months, wall.month())
    }
}

/// Every firing in `(after, until]`, found by checking the clock once a minute for two days longer.
fn by_looking_at_the_clock(
    simple: &Simple,
    zone: Tz,
    after: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Vec<DateTime<Utc>> {
    let minute = Duration::minutes(1);
    let mut firings = Vec::new();
    let mut instant = after - Duration::days(2);
    let mut latest_shown = zone.from_utc_datetime(&instant.naive_utc()).naive_local();
    while instant < until {
        instant += minute;
        let wall = zone.from_utc_datetime(&instant.naive_utc()).naive_local();
        let fires = if simple.hours.is_none() {
            simple.names(wall)
        } else {
            // The minutes that the clock skipped, and the current one unless it was shown before.
            let mut passed = latest_shown + minute;
            let mut fires = false;
            while passed <= wall {
                fires |= simple.names(passed);
                passed += minute;
            }
            fires
        };
        latest_shown = latest_shown.max(wall);
        if fires && instant > after {
            firings.push(instant);
        }
    }
    firings
}

/// An instant shortly before a clock change of the zone after `from`, if there is one within a year.
fn before_a_change(zone: Tz, from: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let offset = |hours: i64| {
        let instant = from + Duration::hours(hours);
        let local = zone.from_utc_datetime(&instant.naive_utc()).naive_local();
        local - instant.naive_utc()
    };
    (0..366 * 24).find(|hours| offset(*hours) != offset(hours + 1)).map(|hours| from + Duration::hours(hours))
}

fn some_of(range: std::ops::RangeInclusive<u32>) -> impl Strategy<Value = Option<BTreeSet<u32>>> {
    proptest::option::of(proptest::collection::btree_set(range, 1..4))
}

fn simple() -> impl Strategy<Value = Simple> {
    let minutes = proptest::collection::btree_set(0_u32..=59, 1..4);
    // Hours near the usual clock changes are more frequent.
    let hours = proptest::option::weighted(
        0.7,
        proptest::collection::btree_set(prop_oneof![0_u32..=3, 22_u32..=23, 0_u32..=23], 1..4),
    );
    (minutes, hours, some_of(1..=31), some_of(1..=12)).prop_map(|(minutes, hours, days, months)| Simple {
        minutes,
        hours,
        days,
        months,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn p8_next_after_agrees_with_a_clock_that_is_read_every_minute(
        simple in simple(),
        zone in proptest::sample::select(chrono_tz::TZ_VARIANTS.to_vec()),
        minutes in 0_i64..15 * 365 * 24 * 60,
        near_a_change in any::<bool>(),
        lead_minutes in 0_i64..2_000,
    ) {
        let start = at("2020-01-01T00:00:00Z") + Duration::minutes(minutes);
        let start = if near_a_change { before_a_change(zone, start).unwrap_or(start) } else { start };
        let after = start - Duration::minutes(lead_minutes);
        let until = after + Duration::days(5);
        let expected = by_looking_at_the_clock(&simple, zone, after, until);
        let schedule = schedule(&simple.expression(), zone);
        let found = schedule.due(Some(after), until, CatchUp::All, usize::MAX);
        prop_assert_eq!(&found, &expected, "{} in {}", simple.expression(), zone);
        let latest = schedule.due(Some(after), until, CatchUp::Latest, 1);
        prop_assert_eq!(latest.first(), expected.last());
    }
}

/// A clock change: the last minute before it, and the clock's distance from UTC before and after.
type ClockChange = (DateTime<Utc>, Duration, Duration);

fn offset(zone: Tz, instant: DateTime<Utc>) -> Duration {
    zone.from_utc_datetime(&instant.naive_utc()).naive_local() - instant.naive_utc()
}

/// Every change of the zone's clock from 2020 to 2035. No zone changes twice within half a day.
fn changes(zone: Tz) -> Vec<ClockChange> {
    let (start, end, step) = (at("2020-01-01T00:00:00Z"), at("2036-01-01T00:00:00Z"), Duration::hours(12));
    let mut found = Vec::new();
    let (mut instant, mut before) = (start, offset(zone, start));
    while instant < end {
        let next = instant + step;
        let after = offset(zone, next);
        if after != before {
            let (mut low, mut high) = (0, step.num_minutes());
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                if offset(zone, instant + Duration::minutes(middle)) == before { low = middle } else { high = middle }
            }
            found.push((instant + Duration::minutes(low), before, after));
        }
        (instant, before) = (next, after);
    }
    found
}

#[test]
fn p8_every_clock_change_of_every_zone_from_2020_to_2035_fires_the_times_that_a_clock_shows() {
    // Zones that change in the same way at the same moment show the same times around the change.
    let zones: BTreeMap<_, Tz> = chrono_tz::TZ_VARIANTS
        .iter()
        .flat_map(|zone| changes(*zone).into_iter().map(|change| (change, *zone)))
        .map(|((instant, before, after), zone)| ((instant, before.num_minutes(), after.num_minutes()), zone))
        .collect();
    assert!(zones.len() > 500, "{} kinds of change", zones.len());
    for (&(instant, before, after), zone) in &zones {
        let wall = (instant + Duration::minutes(before)).naive_utc();
        let (hour, next, day, month) = (wall.hour(), (wall.hour() + 1) % 24, wall.day(), wall.month());
        let at = |minutes: &[u32], hours: Option<&[u32]>| Simple {
            minutes: minutes.iter().copied().collect(),
            hours: hours.map(|hours| hours.iter().copied().collect()),
            days: None,
            months: None,
        };
        let two_hours_on = (hour + 2) % 24;
        let around = [hour, next, two_hours_on];
        let dated = |simple: Simple| Simple { days: Some([day].into()), months: Some([month].into()), ..simple };
        for simple in [
            at(&[0, 30], None),
            at(&[17], None),
            at(&[0], Some(&[0])),
            at(&[30], Some(&[hour])),
            at(&[30], Some(&[next])),
            at(&[0, 15, 59], Some(&around)),
            dated(at(&[10, 40], Some(&around))),
            dated(at(&[5], None)),
        ] {
            let (from, until) = (instant - Duration::hours(5), instant + Duration::hours(8));
            let expected = by_looking_at_the_clock(&simple, *zone, from, until);
            let schedule = schedule(&simple.expression(), *zone);
            let found = schedule.due(Some(from), until, CatchUp::All, usize::MAX);
            assert_eq!(found, expected, "{} in {zone} at {instant} ({before} to {after} min)", simple.expression());
        }
    }
}

#[test]
fn p8_day_of_month_and_day_of_week_combine_as_in_cron() {
    let days = |expression| firings(expression, Tz::UTC, "2026-06-01T00:00:00Z", "2026-07-01T00:00:00Z").len();
    let brute = |fits: fn(u32, bool) -> bool| {
        let june = (1..=30).map(|day| chrono::NaiveDate::from_ymd_opt(2026, 6, day).unwrap());
        june.filter(|date| fits(date.day(), date.weekday() == chrono::Weekday::Mon)).count()
    };
    assert_eq!(days("0 9 1,15 * 1"), brute(|day, monday| day == 1 || day == 15 || monday), "one match is enough");
    assert_eq!(days("0 9 */2 * 1"), brute(|day, monday| day % 2 == 1 && monday), "one begins with a star: both");
    assert_eq!(days("0 9 1-7 * *"), 7);
    assert_eq!(days("0 9 * * 1"), brute(|_, monday| monday));
    assert_eq!(days("0 0 9 1-7 * */7"), brute(|day, _| day <= 7 && [7].contains(&day)), "Sunday the 7th");
}
