//! Formats times, durations and amounts for people. Times are in UTC, so that they are the same for all readers.

use chrono::{DateTime, SecondsFormat, Utc};

/// Shown instead of a missing value.
pub(crate) const NOTHING: &str = "-";

/// Where a configuration that has nothing yet can begin.
pub(crate) const SAMPLES: &str = "the folder `config/jobs` of the source code has a sample for each vendor";

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// `2026-03-01T05:15:00Z`.
pub(crate) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// `2026-03-01T05:15:00Z, 3m ago`.
pub(crate) fn moment(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    format!("{}, {}", time(at), relative(at, now))
}

/// The same, or a dash.
pub(crate) fn moment_or_nothing(at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> String {
    at.map_or_else(|| NOTHING.to_owned(), |at| moment(at, now))
}

/// `3m ago`, `in 2h`, `now`.
pub(crate) fn relative(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let secs = (now - at).num_seconds();
    match secs {
        0 => "now".to_owned(),
        1.. => format!("{} ago", span(secs)),
        _ => format!("in {}", span(-secs)),
    }
}

/// Seconds in the largest suitable unit: `45s`, `3m`, `26h`, `9d`, `3y`.
pub(crate) fn span(secs: i64) -> String {
    match secs {
        ..MINUTE => format!("{}s", secs.max(0)),
        MINUTE..HOUR => format!("{}m", secs / MINUTE),
        HOUR..=172_799 => format!("{}h", secs / HOUR),
        172_800..=63_115_199 => format!("{}d", secs / DAY),
        _ => format!("{}y", secs / 31_557_600),
    }
}

/// Seconds since the newest data of a stream.
#[expect(clippy::cast_possible_truncation, reason = "saturates, and ages are far from the limits")]
pub(crate) fn age(secs: Option<f64>) -> String {
    secs.map_or_else(|| "never read".to_owned(), |secs| span(secs as i64))
}

/// `812 B`, `1.2 MB`: decimal units, as the limits are written.
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1_000.0;
    let mut unit = 0;
    while amount >= 999.95 && unit + 1 < UNITS.len() {
        amount /= 1_000.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

/// A word or a dash.
pub(crate) fn text(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or(NOTHING).to_owned()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn durations_and_amounts_are_shown_in_usual_units() {
        assert_eq!(
            [0, 59, 60, 3_599, 3_600, 172_799, 172_800, 63_115_199, 63_115_200].map(span),
            ["0s", "59s", "1m", "59m", "1h", "47h", "2d", "730d", "2y"]
        );
        assert_eq!(
            [0, 999, 1_000, 1_234_567, 999_999, 102_400_000].map(bytes),
            ["0 B", "999 B", "1.0 kB", "1.2 MB", "1.0 MB", "102.4 MB"]
        );
        let now = DateTime::UNIX_EPOCH;
        assert_eq!(moment(now - TimeDelta::minutes(3), now), "1969-12-31T23:57:00Z, 3m ago");
        assert_eq!(relative(now + TimeDelta::hours(2), now), "in 2h");
        assert_eq!(relative(now, now), "now");
    }
}
