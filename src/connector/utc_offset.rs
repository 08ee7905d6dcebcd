//! The UTC offset by which a vendor counts days.

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveTime, Offset as _, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;

/// A fixed offset, or that of a time zone at the start of each slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UtcOffset {
    Fixed(FixedOffset),
    Zone(Tz),
}

impl UtcOffset {
    /// The offset for a slice that starts at `start`.
    pub fn at(self, start: DateTime<Utc>) -> FixedOffset {
        match self {
            Self::Fixed(offset) => offset,
            Self::Zone(zone) => start.with_timezone(&zone).offset().fix(),
        }
    }

    /// When a local date begins: the first local time that exists, if the zone skips midnight.
    pub(super) fn midnight(self, date: NaiveDate) -> DateTime<Utc> {
        let local = date.and_time(NaiveTime::MIN);
        let zone = match self {
            Self::Fixed(offset) => return (local - TimeDelta::seconds(offset.local_minus_utc().into())).and_utc(),
            Self::Zone(zone) => zone,
        };
        let mut quarters = (0..96).map(|quarter| local + TimeDelta::minutes(15 * quarter));
        let first = quarters.find_map(|time| zone.from_local_datetime(&time).earliest());
        first.map_or_else(|| local.and_utc(), |at| at.with_timezone(&Utc))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_has_the_offset_of_the_slice_and_its_own_midnights() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let (berlin, fixed) =
            (UtcOffset::Zone(chrono_tz::Europe::Berlin), UtcOffset::Fixed(FixedOffset::west_opt(12_600).unwrap()));
        for (offset, start, secs) in [
            (berlin, "2026-03-28T23:00:00Z", 3600),
            (berlin, "2026-03-29T22:00:00Z", 7200),
            (fixed, "2026-03-28T23:00:00Z", -12_600),
            (fixed, "2026-07-28T23:00:00Z", -12_600),
        ] {
            assert_eq!(offset.at(at(start)).local_minus_utc(), secs, "{start}");
        }
        let midnight = |offset: UtcOffset, date: &str| offset.midnight(date.parse().unwrap());
        assert_eq!(midnight(berlin, "2026-03-29"), at("2026-03-28T23:00:00Z"));
        assert_eq!(midnight(berlin, "2026-03-30"), at("2026-03-29T22:00:00Z"));
        assert_eq!(midnight(fixed, "2026-03-29"), at("2026-03-29T03:30:00Z"));
        // On that day the zone skips midnight.
        assert_eq!(midnight(UtcOffset::Zone(chrono_tz::America::Santiago), "2026-09-06"), at("2026-09-06T04:00:00Z"));
    }
}
