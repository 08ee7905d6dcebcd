//! The grid and what is due on it, against zones, clock changes and a model of many runs.

use std::collections::BTreeSet;

use chrono::Offset as _;
use proptest::prelude::*;

use super::*;
use crate::store::reading::Position;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn grid(zone: Tz, length: SliceLength) -> Grid {
    Grid { anchor: NaiveDate::from_ymd_opt(2026, 1, 1).unwrap(), zone, length, filter_zone: Tz::UTC }
}

fn finished(window: Window, read_until: DateTime<Utc>, run: i64) -> (DateTime<Utc>, Slice) {
    let slice = Slice {
        id: 1,
        window_start: window.start,
        window_end: window.end,
        read_until: Some(read_until),
        finished_run: Some(run),
        rows_total: 0,
        position: Position { batches: Some(0), ..Position::default() },
        reading_present: None,
        released: false,
        again: false,
        held_rows_reported: None,
        held_records_rejected: 0,
        held_base_at: None,
    };
    (window.start, slice)
}

#[test]
fn p8_days_are_calendar_days_of_the_zone() {
    let grid = grid(chrono_tz::Europe::Berlin, SliceLength::Days(1));
    let spring = grid.around(at("2026-03-29T12:00:00Z"));
    assert_eq!((spring.end - spring.start).num_hours(), 23);
    let autumn = grid.around(at("2026-10-25T12:00:00Z"));
    assert_eq!((autumn.end - autumn.start).num_hours(), 25);
    assert_eq!(grid.before(grid.after(spring)), spring);
}

#[test]
fn p8_a_day_whose_midnight_is_skipped_begins_at_its_first_instant() {
    let day = NaiveDate::from_ymd_opt(2026, 9, 6).unwrap();
    assert_eq!(midnight(day, chrono_tz::America::Santiago), at("2026-09-06T04:00:00Z"));
    let never = NaiveDate::from_ymd_opt(2011, 12, 30).unwrap();
    assert_eq!(midnight(never, chrono_tz::Pacific::Apia), at("2011-12-30T10:00:00Z"));
}

#[test]
fn p8_slices_with_the_same_local_times_are_merged() {
    let hours = SliceLength::Time(Duration::from_hours(1));
    let hours = Grid { filter_zone: chrono_tz::Europe::Madrid, ..grid(chrono_tz::UTC, hours) };
    let starts = |grid: Grid, from: &str, until: &str| {
        grid.slices(at(from), at(until)).map(|slice| slice.start.format("%d %H").to_string()).collect::<Vec<_>>()
    };
    // From 02:00 to 03:00 occurs twice: from 00:00Z and from 01:00Z.
    let autumn = starts(hours, "2026-10-24T22:00:00Z", "2026-10-25T04:00:00Z");
    assert_eq!(autumn, ["24 22", "24 23", "25 02", "25 03"]);
    assert_eq!(hours.around(at("2026-10-25T00:30:00Z")), hours.around(at("2026-10-25T01:30:00Z")));
    // From 02:00 to 03:00 never occurs: its two sides meet at 01:00Z.
    let spring = starts(hours, "2026-03-28T23:00:00Z", "2026-03-29T03:00:00Z");
    assert_eq!(spring, ["28 23", "29 00", "29 01", "29 02"]);
    // A day that begins within the hour is one with the day before.
    let days = Grid { length: SliceLength::Days(1), ..hours };
    assert_eq!(starts(days, "2026-10-23T00:00:00Z", "2026-10-28T00:00:00Z"), ["23 00", "24 00", "26 00", "27 00"]);
    // Days of the zone itself begin at a time that occurs once.
    let own = Grid { zone: chrono_tz::Europe::Madrid, ..days };
    let regular = Grid { filter_zone: Tz::UTC, ..own };
    let (from, until) = ("2026-10-20T00:00:00Z", "2026-10-31T00:00:00Z");
    assert_eq!(starts(own, from, until), starts(regular, from, until));
}

#[test]
fn p4_a_slice_that_was_read_with_other_bounds_is_due_once_more() {
    let hours = grid(chrono_tz::UTC, SliceLength::Time(Duration::from_hours(1)));
    let merged = Grid { filter_zone: chrono_tz::Europe::Madrid, ..hours };
    let (from, limit) = (at("2026-10-24T22:00:00Z"), at("2026-10-30T00:00:00Z"));
    let scope = Scope { from, range_end: None, limit, lookback: Duration::ZERO, run: 5 };
    for (before, now) in [(hours, merged), (merged, hours)] {
        let mut known: HashMap<_, _> = before.slices(from, limit).map(|slice| finished(slice, slice.end, 4)).collect();
        let found = due(now, scope, &known);
        let starts: Vec<_> = found.iter().map(|due| due.window.start).collect();
        assert_eq!(starts[0], at("2026-10-24T23:00:00Z"));
        assert_eq!(starts.len(), if now == merged { 1 } else { 3 });
        known.extend(found.iter().map(|due| finished(due.window, due.until, 5)));
        assert_eq!(due(now, Scope { run: 6, ..scope }, &known), []);
    }
}

#[test]
fn a_new_stream_reads_everything_from_its_start_up_to_the_limit() {
    let grid = grid(chrono_tz::UTC, SliceLength::Days(1));
    let limit = at("2026-01-03T14:00:00Z");
    let scope = Scope { from: at("2026-01-01T00:00:00Z"), range_end: None, limit, lookback: Duration::ZERO, run: 5 };
    let due = due(grid, scope, &HashMap::new());
    let ends: Vec<_> = due.iter().map(|due| due.until).collect();
    assert_eq!(ends, [at("2026-01-02T00:00:00Z"), at("2026-01-03T00:00:00Z"), limit]);
}

#[test]
fn finished_slices_are_read_again_within_the_lookback_and_once_per_run() {
    let grid = grid(chrono_tz::UTC, SliceLength::Days(1));
    let limit = at("2026-01-04T14:00:00Z");
    let days: Vec<Window> = grid.slices(at("2026-01-01T00:00:00Z"), limit).collect();
    let mut known: HashMap<_, _> = days[..3].iter().map(|day| finished(*day, day.end, 4)).collect();
    known.extend([finished(days[3], at("2026-01-04T13:00:00Z"), 4)]);
    let lookback = Duration::from_hours(24);
    let mut scope = Scope { from: days[0].start, range_end: None, limit, lookback, run: 5 };
    let starts = |due: Vec<Due>| due.iter().map(|due| due.window.start).collect::<Vec<_>>();
    assert_eq!(starts(due(grid, scope, &known)), [days[2].start, days[3].start]);
    scope.run = 4;
    let newest = |due: Vec<Due>| due.iter().map(|due| due.newest).collect::<Vec<_>>();
    assert_eq!(newest(due(grid, Scope { run: 5, ..scope }, &known)), [false, true]);
    assert!(due(grid, scope, &known).is_empty(), "what this run has finished is not read again");
    scope = Scope { run: 5, range_end: Some(days[1].end), ..scope };
    assert_eq!(newest(due(grid, scope, &known)), [false, false], "a past range is not now");
    assert_eq!(starts(due(grid, scope, &known)), [days[0].start, days[1].start]);
}

#[test]
fn p4_a_held_slice_that_a_due_one_covers_is_not_read_beside_it() {
    let grid = grid(chrono_tz::UTC, SliceLength::Days(1));
    let limit = at("2026-01-09T00:00:00Z");
    let noon = at("2026-01-05T12:00:00Z");
    let (old, day) = (grid.around(at("2026-01-02T12:00:00Z")), grid.around(noon));
    let scope =
        Scope { from: grid.after(old).start, range_end: None, limit, lookback: Duration::from_hours(12), run: 5 };
    let held = |window: Window| {
        let (start, slice) = finished(window, window.end, 4);
        (start, Slice { again: true, ..slice })
    };
    let mut known: HashMap<_, _> = grid.slices(scope.from, limit).map(|day| finished(day, day.end, 4)).collect();
    // Half days of another grid: the first has the start of a day, so that the whole day is due.
    known.extend([held(Window { start: day.start, end: noon }), held(Window { start: noon, end: day.end })]);
    // Before the data that the job asks for.
    known.extend([held(old)]);
    let mut due = due(grid, scope, &known);
    add_again(&mut due, scope, known.values());
    let windows: Vec<Window> = due.iter().map(|due| due.window).collect();
    assert_eq!(windows, [old, day, grid.before(grid.around(limit))]);
    assert_eq!(due.iter().map(|due| due.newest).collect::<Vec<_>>(), [false, false, true]);
}

#[test]
fn an_interrupted_slice_is_due_at_any_age() {
    let grid = grid(chrono_tz::UTC, SliceLength::Days(1));
    let day = grid.around(at("2026-01-01T12:00:00Z"));
    let (start, mut slice) = finished(day, day.end, 9);
    slice.position.run = Some(3);
    let limit = at("2026-01-09T00:00:00Z");
    let scope = Scope { from: day.start, range_end: Some(day.end), limit, lookback: Duration::ZERO, run: 5 };
    assert_eq!(due(grid, scope, &HashMap::from([(start, slice)])).len(), 1);
}

proptest! {
    #[test]
    fn slices_have_no_gap_and_no_overlap(
        zone in proptest::sample::select(chrono_tz::TZ_VARIANTS.as_slice()),
        days in 1_u32..40,
        hours in proptest::sample::select(&[1_u64, 2, 3, 4, 6, 8, 12][..]),
        whole in any::<bool>(),
        from in 1_500_000_000_i64..1_900_000_000,
    ) {
        let length = if whole { SliceLength::Days(days) } else { SliceLength::Time(Duration::from_hours(hours)) };
        let grid = grid(zone, length);
        let from = DateTime::from_timestamp(from, 0).unwrap();
        let slices: Vec<Window> = grid.slices(from, from + TimeDelta::days(120)).take(500).collect();
        prop_assert!(slices[0].start <= from && from < slices[0].end);
        for pair in slices.windows(2) {
            prop_assert_eq!(pair[0].end, pair[1].start);
            prop_assert!(pair[0].start < pair[0].end);
            prop_assert_eq!(grid.before(pair[1]), pair[0]);
        }
    }
}

/// One run: how much later it is, what it may read and how many slices it gets through before it is stopped.
#[derive(Debug, Clone)]
struct Turn {
    later_secs: i64,
    lookback_secs: u64,
    settle_secs: u64,
    slices: usize,
    /// Leaves the slice after those unfinished.
    interrupted: bool,
    /// Read again from so many seconds ago, for so long.
    range: Option<(i64, i64)>,
}

fn any_turn() -> impl Strategy<Value = Turn> {
    let later = prop_oneof![0_i64..7_200, 0_i64..200_000, 0_i64..2_000_000];
    let lookback = prop_oneof![Just(0_u64), 0_u64..200_000, 0_u64..3_000_000];
    let slices = prop_oneof![1 => 0_usize..6, 3 => Just(usize::MAX)];
    let range = prop::option::weighted(0.2, (0_i64..5_000_000, 0_i64..1_000_000));
    (later, lookback, 0_u64..90_000, slices, any::<bool>(), range).prop_map(
        |(later_secs, lookback_secs, settle_secs, slices, interrupted, range)| Turn {
            later_secs,
            lookback_secs,
            settle_secs,
            slices,
            interrupted,
            range,
        },
    )
}

fn any_length() -> impl Strategy<Value = SliceLength> {
    prop_oneof![
        (1_u32..40).prop_map(SliceLength::Days),
        (1_u64..13).prop_map(|hours| SliceLength::Time(Duration::from_hours(hours))),
    ]
}

/// Some hours before the first change of the zone's clocks in the year after `from`; `from` itself if there is none.
fn around_a_change(zone: Tz, from: DateTime<Utc>) -> DateTime<Utc> {
    let offset = |at: DateTime<Utc>| at.with_timezone(&zone).offset().fix();
    let hours = (0..366 * 24).map(|hour| from + TimeDelta::hours(hour));
    hours
        .into_iter()
        .find(|at| offset(*at) != offset(*at + TimeDelta::hours(1)))
        .map_or(from, |at| at - TimeDelta::hours(30))
}

proptest! {
    #[test]
    fn p8_every_instant_is_in_exactly_one_slice(
        zone in proptest::sample::select(chrono_tz::TZ_VARIANTS.as_slice()),
        length in any_length(),
        anchor in 0_u64..8_000,
        instant in 1_400_000_000_i64..2_100_000_000,
    ) {
        let anchor = NaiveDate::from_ymd_opt(2014, 1, 1).unwrap() + Days::new(anchor);
        let grid = Grid { anchor, zone, length, filter_zone: Tz::UTC };
        let instant = DateTime::from_timestamp(instant, 0).unwrap();
        let slice = grid.around(instant);
        prop_assert!(slice.start <= instant && instant < slice.end, "{slice:?}");
        // Its bounds belong to it and to its neighbour.
        prop_assert_eq!(grid.around(slice.start), slice);
        prop_assert_eq!(grid.around(slice.end - TimeDelta::seconds(1)), slice);
        prop_assert_eq!(grid.around(slice.end).start, slice.end);
        // A slice of days begins when the date of the zone changes.
        if let SliceLength::Days(days) = length {
            let start = slice.start.with_timezone(&zone);
            prop_assert_ne!((slice.start - TimeDelta::seconds(1)).with_timezone(&zone).date_naive(), start.date_naive());
            prop_assert!(((slice.end - slice.start).num_hours() - i64::from(days) * 24).abs() <= 25);
        }
    }

    #[test]
    fn p8_no_two_slices_request_the_same_local_time(
        zone in proptest::sample::select(chrono_tz::TZ_VARIANTS.as_slice()),
        filter_zone in proptest::sample::select(chrono_tz::TZ_VARIANTS.as_slice()),
        same in any::<bool>(),
        length in prop_oneof![
            any_length(),
            proptest::sample::select(&[1_u64, 5, 15, 20, 30, 45][..])
                .prop_map(|minutes| SliceLength::Time(Duration::from_mins(minutes))),
        ],
        anchor in 0_u64..8_000,
        from in 1_400_000_000_i64..2_100_000_000,
    ) {
        let filter_zone = if same { zone } else { filter_zone };
        let anchor = NaiveDate::from_ymd_opt(2014, 1, 1).unwrap() + Days::new(anchor);
        let grid = Grid { anchor, zone, length, filter_zone };
        let regular = Grid { filter_zone: Tz::UTC, ..grid };
        let from = around_a_change(filter_zone, DateTime::from_timestamp(from, 0).unwrap());
        let local = |at: DateTime<Utc>| at.with_timezone(&filter_zone).naive_local();
        let slices: Vec<Window> = grid.slices(from, from + TimeDelta::days(400)).take(400).collect();
        prop_assert!(slices[0].start <= from && from < slices[0].end);
        for slice in &slices {
            // The local time of each bound occurs once, so that both slices at a bound request the same instant.
            prop_assert!(!occurs_twice(slice.start, filter_zone) && !occurs_twice(slice.end, filter_zone));
            prop_assert!(slice.start < slice.end && local(slice.start) < local(slice.end), "{:?}", slice);
            // Slices that were stored before keep their starts.
            prop_assert_eq!(regular.around(slice.start).start, slice.start);
            for instant in [slice.start, slice.start + (slice.end - slice.start) / 3, slice.end - TimeDelta::seconds(1)] {
                prop_assert_eq!(grid.around(instant), *slice);
            }
        }
        for pair in slices.windows(2) {
            prop_assert_eq!(pair[0].end, pair[1].start);
            prop_assert_eq!(grid.before(pair[1]), pair[0]);
        }
    }

    #[test]
    fn p3_p4_runs_read_exactly_what_is_due(
        zone in proptest::sample::select(chrono_tz::TZ_VARIANTS.as_slice()),
        length in any_length(),
        from in 1_600_000_000_i64..1_900_000_000,
        turns in prop::collection::vec(any_turn(), 1..8),
    ) {
        let grid = grid(zone, length);
        let from = DateTime::from_timestamp(from, 0).unwrap();
        let mut now = from;
        let mut known = HashMap::new();
        for (run, turn) in (1..).zip(turns) {
            now += TimeDelta::seconds(turn.later_secs);
            let (limit, lookback) = (Scope::limit(now, Duration::from_secs(turn.settle_secs)), Duration::from_secs(turn.lookback_secs));
            let range = turn.range.map(|(ago, length)| (now - TimeDelta::seconds(ago), now - TimeDelta::seconds(ago - length)));
            let start = range.map_or(from, |range| range.0);
            let scope = Scope { from: start, range_end: range.map(|range| range.1), limit, lookback, run };
            let found = due(grid, scope, &known);

            // Slices of the grid, in order, none twice, none empty, none beyond the limit.
            for pair in found.windows(2) {
                prop_assert!(pair[0].window.end <= pair[1].window.start);
            }
            for due in &found {
                prop_assert_eq!(grid.around(due.window.start), due.window);
                prop_assert!(due.window.start < due.until && due.until <= limit && due.until <= due.window.end);
                prop_assert!(due.window.end > start);
                prop_assert_eq!(due.newest, range.is_none() && grid.after(due.window).start >= limit, "{:?}", due);
            }
            // By instants: those that were not read, or are to be read again, are due; finished ones are not.
            let planned: BTreeSet<_> = found.iter().map(|due| due.window.start).collect();
            let end = range.map_or(limit, |range| range.1.min(limit));
            let again_from = limit - TimeDelta::from_std(lookback).unwrap();
            let step = ((end - start).num_seconds() / 500).max(600);
            for instant in (0..).map(|n| start + TimeDelta::seconds(n * step)).take_while(|instant| *instant < end) {
                let slice = grid.around(instant);
                let unread = known.get(&slice.start).is_none_or(|known: &Slice| {
                    known.position.run.is_some() || known.read_until.is_none_or(|until| until <= instant)
                });
                let again = range.is_some() || slice.end > again_from;
                // An open slice that was read up to yesterday's limit is continued up to the limit of this run.
                let grew = known.get(&slice.start).is_some_and(|known| known.read_until < Some(slice.end.min(limit)));
                prop_assert_eq!(planned.contains(&slice.start), unread || again || grew, "{:?} of {:?}", instant, slice);
            }

            let mut left = turn.slices;
            for due in found {
                let (start, mut slice) = finished(due.window, due.until, run);
                if left == 0 {
                    if turn.interrupted {
                        slice.position.run = Some(run);
                        slice.finished_run = known.get(&start).and_then(|known: &Slice| known.finished_run);
                        slice.read_until = known.get(&start).and_then(|known: &Slice| known.read_until);
                        known.insert(start, slice);
                    }
                    break;
                }
                left -= 1;
                known.insert(start, slice);
            }
            if turn.slices == usize::MAX {
                // A complete run leaves nothing, and every instant up to the limit is read.
                prop_assert_eq!(due(grid, scope, &known), []);
                let whole = Scope { from, range_end: None, lookback: Duration::ZERO, ..scope };
                prop_assert!(range.is_some() || due(grid, whole, &known).is_empty());
            }
        }
    }
}

#[test]
fn a_plan_is_bounded() {
    let grid = grid(chrono_tz::UTC, SliceLength::Time(Duration::from_hours(1)));
    let limit = Scope::limit(at("2026-06-01T00:00:00Z"), Duration::ZERO);
    let mut scope = Scope { from: at("1000-01-01T00:00:00Z"), range_end: None, limit, lookback: Duration::MAX, run: 1 };
    assert_eq!(due(grid, scope, &HashMap::new()).len(), SLICES_MAX);
    scope.limit = Scope::limit(limit, Duration::MAX);
    assert!(due(grid, scope, &HashMap::new()).is_empty(), "an endless settle reads nothing");
}

#[test]
fn a_backfill_of_days_that_only_a_typing_error_asks_for_is_refused() {
    let day = |text: &str| text.parse::<NaiveDate>().unwrap();
    let now = at("2026-11-30T02:00:00Z");
    // It is still the 29th there.
    let range = |from, to| past_days(day(from), day(to), Tz::America__Santiago, now);
    let window = range("2026-11-01", "2026-11-30").unwrap();
    assert_eq!((window.start, window.end), (at("2026-11-01T03:00:00Z"), at("2026-11-30T03:00:00Z")));
    assert!(range("2000-01-01", "2000-01-02").is_ok() && range("2026-11-29", "2026-11-30").is_ok());
    for (from, to, error) in [
        ("2026-11-02", "2026-11-02", "2026-11-02 is not before 2026-11-02, which is the day after the range"),
        ("1990-01-01", "9999-01-01", "1990-01-01 is before the year 2000, and no vendor has data of that time"),
        ("2026-11-30", "2026-12-01", "2026-11-30 is in the future: there is nothing to read"),
        (
            "2026-11-01",
            "2026-12-01",
            "2026-12-01 is more than a day in the future; 2026-11-30, the day after today, reads up to now",
        ),
    ] {
        assert_eq!(range(from, to).unwrap_err().to_string(), error);
    }
    assert!(past_days(NaiveDate::MIN, NaiveDate::MAX, Tz::UTC, now).is_err());
    assert!(past_days(NaiveDate::MAX, NaiveDate::MIN, Tz::UTC, now).is_err());
}
