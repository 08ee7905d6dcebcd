//! `startDate` and `endDate`: whole seconds of local time in the filter zone (`facts/lynn.md §10.1, §10.2, §10.3`).
//!
//! The requested range is never smaller than the window. A local time that occurs twice, when clocks go back, is
//! ambiguous: such a bound is moved outwards to a local time that occurs once.

use chrono::{DateTime, DurationRound as _, LocalResult, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;

/// The search range: clocks have never been put back further.
const FOLD_MINUTES_MAX: i64 = 26 * 60;

pub(super) fn start(at: DateTime<Utc>, zone: Tz, format: &str) -> String {
    let whole = at.duration_trunc(TimeDelta::seconds(1)).unwrap_or(at);
    shown(outwards(whole, zone, -1), zone, format)
}

pub(super) fn end(at: DateTime<Utc>, zone: Tz, format: &str) -> String {
    let cut = at.duration_trunc(TimeDelta::seconds(1)).unwrap_or(at);
    let whole = if cut < at { cut + TimeDelta::seconds(1) } else { at };
    shown(outwards(whole, zone, 1), zone, format)
}

/// `at` itself, or the next instant whose local time occurs once.
pub(super) fn unambiguous(at: DateTime<Utc>, zone: Tz) -> DateTime<Utc> {
    outwards(at, zone, 1)
}

fn shown(at: DateTime<Utc>, zone: Tz, format: &str) -> String {
    at.with_timezone(&zone).format(format).to_string()
}

/// The nearest time in that direction, in whole minutes, whose local time occurs once; usually `at` itself.
fn outwards(at: DateTime<Utc>, zone: Tz, direction: i64) -> DateTime<Utc> {
    let twice = |at: DateTime<Utc>| {
        matches!(zone.from_local_datetime(&at.with_timezone(&zone).naive_local()), LocalResult::Ambiguous(..))
    };
    if !twice(at) {
        return at;
    }
    let minute = at.duration_trunc(TimeDelta::minutes(1)).unwrap_or(at);
    (1..FOLD_MINUTES_MAX)
        .map(|minutes| minute + TimeDelta::minutes(direction * minutes))
        .find(|at| !twice(*at))
        .unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: &str = "%Y-%m-%d %H:%M:%S";

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn both(from: &str, to: &str, zone: Tz) -> (String, String) {
        (start(at(from), zone, FORMAT), end(at(to), zone, FORMAT))
    }

    fn is(from: &str, to: &str) -> (String, String) {
        (from.to_owned(), to.to_owned())
    }

    #[test]
    fn dates_are_24_hour_times_of_the_filter_zone() {
        let (from, to) = ("2024-03-01T00:00:00Z", "2024-03-01T13:05:09Z");
        assert_eq!(both(from, to, Tz::UTC), is("2024-03-01 00:00:00", "2024-03-01 13:05:09"));
        assert_eq!(both(from, to, Tz::America__Santiago), is("2024-02-29 21:00:00", "2024-03-01 10:05:09"));
        assert_eq!(both(from, to, Tz::Asia__Kathmandu), is("2024-03-01 05:45:00", "2024-03-01 18:50:09"));
    }

    #[test]
    fn fractions_of_a_second_widen_the_window() {
        let asked = both("2024-03-01T00:00:00.999Z", "2024-03-01T13:05:09.001Z", Tz::UTC);
        assert_eq!(asked, is("2024-03-01 00:00:00", "2024-03-01 13:05:10"));
    }

    #[test]
    fn p8_days_of_23_and_25_hours_are_requested_completely() {
        // Santiago: clocks go forward at 00:00 on 8 September 2024, and back at 24:00 on 6 April.
        let spring = both("2024-09-08T04:00:00Z", "2024-09-09T03:00:00Z", Tz::America__Santiago);
        assert_eq!(spring, is("2024-09-08 01:00:00", "2024-09-09 00:00:00"));
        let before = both("2024-09-07T04:00:00Z", "2024-09-08T04:00:00Z", Tz::America__Santiago);
        assert_eq!(before, is("2024-09-07 00:00:00", "2024-09-08 01:00:00"));
        let autumn = both("2024-04-06T03:00:00Z", "2024-04-07T04:00:00Z", Tz::America__Santiago);
        assert_eq!(autumn, is("2024-04-06 00:00:00", "2024-04-07 00:00:00"));
    }

    #[test]
    fn p8_a_part_of_a_window_ends_at_a_time_that_occurs_once() {
        let zone = Tz::America__Santiago;
        for (wanted, to) in [
            ("2024-04-07T01:59:59Z", "2024-04-07T01:59:59Z"),
            ("2024-04-07T02:00:00Z", "2024-04-07T04:00:00Z"),
            ("2024-04-07T03:20:30Z", "2024-04-07T04:00:00Z"),
            ("2024-04-07T04:00:01Z", "2024-04-07T04:00:01Z"),
        ] {
            assert_eq!(unambiguous(at(wanted), zone), at(to), "{wanted}");
        }
    }

    #[test]
    fn a_bound_that_occurs_twice_moves_outwards() {
        // 23:00 to 24:00 happens twice: from 02:00Z and from 03:00Z.
        let zone = Tz::America__Santiago;
        let first = both("2024-04-07T02:00:00Z", "2024-04-07T03:00:00Z", zone);
        assert_eq!(first, is("2024-04-06 22:59:00", "2024-04-07 00:00:00"));
        let second = both("2024-04-07T03:20:30Z", "2024-04-07T04:00:00Z", zone);
        assert_eq!(second, is("2024-04-06 22:59:00", "2024-04-07 00:00:00"));
    }
}
