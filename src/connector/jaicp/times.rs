//! Formats of times in JAICP's requests and responses (`facts/jaicp.md §2, §13.9, §13.10`).

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Utc};
use serde_json::json;

use super::super::Window;

/// A smaller number is in seconds, a larger one in milliseconds: 1e11 ms is in 1973, 1e11 s in the year 5138.
const SECONDS_BELOW: u64 = 100_000_000_000;

/// `yyyy-MM-ddTHH:mm:ss.SSSZ`
pub(super) fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The filter for a range of times; `key` names the time. Every request has one, because the vendor's default range is
/// not documented (`§13.7`).
pub(super) fn filter(key: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> serde_json::Value {
    json!({ "key": key, "type": "DATE_TIME_RANGE", "from": text(from), "to": text(to) })
}

/// The last millisecond of a window, for a filter whose end may be inclusive and whose rows must belong to one window.
pub(super) fn last(window: Window) -> DateTime<Utc> {
    window.end - chrono::TimeDelta::milliseconds(1)
}

/// Parses a time with a zone: `Z`, `+00:00`, `+0000`, fractions of any length.
pub(super) fn parse(text: &str) -> Option<DateTime<Utc>> {
    let parsed =
        DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"));
    parsed.ok().map(|at| at.to_utc())
}

/// Whether a text is a time without a zone, which is read as UTC.
pub(super) fn is_naive(text: &str) -> bool {
    !text.ends_with('Z')
        && ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
            .iter()
            .any(|form| NaiveDateTime::parse_from_str(text, form).is_ok())
}

/// Parses a number of seconds or milliseconds since 1970, depending on its size.
pub(super) fn epoch(number: &str) -> Option<DateTime<Utc>> {
    let number = number.parse::<i64>().ok().or_else(|| {
        let number = number.parse::<f64>().ok().filter(|number| number.is_finite())?;
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and is then not a time")]
        Some(number as i64)
    })?;
    if number.unsigned_abs() < SECONDS_BELOW {
        DateTime::from_timestamp(number, 0)
    } else {
        DateTime::from_timestamp_millis(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_zone_in_any_format_or_none() {
        for time in [
            "2024-05-01T08:00:00.120Z",
            "2024-05-01T08:00:00.120+00:00",
            "2024-05-01T08:00:00.120+0000",
            "2024-05-01T11:00:00.120000000+0300",
            "2024-05-01T04:30:00.12-03:30",
        ] {
            assert_eq!(parse(time).map(text).as_deref(), Some("2024-05-01T08:00:00.120Z"), "{time}");
            assert!(!is_naive(time), "{time}");
        }
        assert_eq!(parse("2024-05-01T08:00:00Z").map(text).as_deref(), Some("2024-05-01T08:00:00.000Z"));
        for naive in ["2024-05-01T08:00:00", "2024-05-01T08:00:00.123456789", "2024-05-01 08:00:00.1"] {
            assert!(is_naive(naive) && parse(naive).is_none(), "{naive}");
        }
        assert!(!is_naive("yesterday") && parse("yesterday").is_none() && !is_naive("2024-05-01"));
    }

    #[test]
    fn numbers_are_seconds_or_milliseconds_by_their_size() {
        for number in ["1714550400", "1714550400000", "1.7145504e12"] {
            assert_eq!(epoch(number).map(text).as_deref(), Some("2024-05-01T08:00:00.000Z"), "{number}");
        }
        for number in ["", "x", "NaN", "1e300", "-1e300", "-9223372036854775808", "9223372036854775808"] {
            assert_eq!(epoch(number), None, "{number}");
        }
    }
}
