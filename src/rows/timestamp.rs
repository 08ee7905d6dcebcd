//! ISO-8601 timestamps as vendors print them.

use chrono::{DateTime, Datelike as _, FixedOffset, NaiveDate, NaiveDateTime, TimeDelta, Utc};

/// A timestamp with the microseconds that Postgres keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    pub at: DateTime<Utc>,
    /// Whether nothing was cut: every digit of the fraction after the sixth is zero.
    pub exact: bool,
}

/// A point in time, as precise as a value gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Instant(DateTime<Utc>),
    /// A local time whose zone is not given.
    Local(NaiveDateTime),
}

impl Moment {
    /// Whether it may lie in the second that begins at `boundary`. A local time may if some zone has that time then.
    pub fn may_share_second(self, boundary: DateTime<Utc>) -> bool {
        let since = match self {
            Self::Instant(at) => return at >= boundary && at < boundary + TimeDelta::seconds(1),
            Self::Local(at) => at.and_utc() - boundary,
        };
        // Zones differ from UTC by at most 14 hours, in quarters of an hour.
        since.num_seconds().abs() <= 14 * 3600 && since.num_milliseconds().rem_euclid(900_000) < 1000
    }
}

/// Reads `2024-03-01T11:02:45.1230000Z`: `T` or a space, a fraction of any length (cut to microseconds), and `Z` or an
/// offset. Returns `None` for a time without a zone, and for one that Postgres would not accept.
pub fn parse(text: &str) -> Option<Timestamp> {
    let (local, exact, zone_at) = wall_clock(text)?;
    let zone = &text.as_bytes()[zone_at..];
    let at = local.checked_sub_signed(TimeDelta::seconds(i64::from(offset(zone)?.local_minus_utc())))?.and_utc();
    (1..=9999).contains(&at.year()).then_some(Timestamp { at, exact })
}

/// Reads a timestamp with or without a zone.
pub fn moment(text: &str) -> Option<Moment> {
    let (local, _, zone_at) = wall_clock(text)?;
    if zone_at == text.len() {
        return Some(Moment::Local(local));
    }
    parse(text).map(|parsed| Moment::Instant(parsed.at))
}

/// Date and time of day, whether they are exact, and the offset at which the zone begins.
fn wall_clock(text: &str) -> Option<(NaiveDateTime, bool, usize)> {
    let bytes = text.as_bytes();
    if bytes.len() < 19 || bytes.len() > 64 {
        return None;
    }
    let shape_holds = bytes[4] == b'-' && bytes[7] == b'-' && bytes[13] == b':' && bytes[16] == b':';
    if !shape_holds || !matches!(bytes[10], b'T' | b't' | b' ') {
        return None;
    }
    let number = |from: usize, to: usize| digits(&bytes[from..to]);
    let date = NaiveDate::from_ymd_opt(i32::try_from(number(0, 4)?).ok()?, number(5, 7)?, number(8, 10)?)?;
    let (micros, exact, length) = fraction(&bytes[19..])?;
    let time = date.and_hms_micro_opt(number(11, 13)?, number(14, 16)?, number(17, 19)?, micros)?;
    Some((time, exact, 19 + length))
}

fn digits(bytes: &[u8]) -> Option<u32> {
    bytes.iter().try_fold(0_u32, |number, byte| {
        byte.is_ascii_digit().then(|| number.checked_mul(10)?.checked_add(u32::from(byte - b'0'))).flatten()
    })
}

/// Microseconds, whether they are exact, and the offset at which the zone begins.
fn fraction(bytes: &[u8]) -> Option<(u32, bool, usize)> {
    if !matches!(bytes.first(), Some(b'.' | b',')) {
        return Some((0, true, 0));
    }
    let length = bytes[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 {
        return None;
    }
    let (kept, cut) = bytes[1..=length].split_at(length.min(6));
    let scale = 10_u32.pow(6 - u32::try_from(kept.len()).ok()?);
    Some((digits(kept)? * scale, cut.iter().all(|byte| *byte == b'0'), length + 1))
}

fn offset(bytes: &[u8]) -> Option<FixedOffset> {
    let sign = match bytes {
        [b'Z' | b'z'] => return FixedOffset::east_opt(0),
        [b'+', ..] => 1,
        [b'-', ..] => -1,
        _ => return None,
    };
    let (hours, minutes) = match bytes[1..] {
        [a, b] => ([a, b], [b'0', b'0']),
        [a, b, b':', c, d] | [a, b, c, d] => ([a, b], [c, d]),
        _ => return None,
    };
    let (hours, minutes) = (digits(&hours)?, digits(&minutes)?);
    if minutes > 59 {
        return None;
    }
    FixedOffset::east_opt(sign * i32::try_from(hours * 3600 + minutes * 60).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn shown(text: &str) -> Option<(String, bool)> {
        parse(text).map(|t| (t.at.format("%Y-%m-%d %H:%M:%S%.6f").to_string(), t.exact))
    }

    #[test]
    fn fractions_of_any_length_are_cut_to_microseconds() {
        for (text, at, exact) in [
            ("2024-03-01T11:02:45.1230000Z", "2024-03-01 11:02:45.123000", true),
            ("2024-03-01T11:02:45.123456789Z", "2024-03-01 11:02:45.123456", false),
            ("2024-03-01 11:02:45Z", "2024-03-01 11:02:45.000000", true),
            ("2024-03-01T11:02:45.5+02:00", "2024-03-01 09:02:45.500000", true),
            ("2024-03-01T11:02:45-0330", "2024-03-01 14:32:45.000000", true),
            ("0001-01-01T00:00:00Z", "0001-01-01 00:00:00.000000", true),
        ] {
            assert_eq!(shown(text), Some((at.to_owned(), exact)), "{text}");
        }
    }

    #[test]
    fn a_text_that_is_not_an_instant_is_refused() {
        for text in [
            "",
            "2024-03-01",
            "2024-03-01T11:02:45",
            "2024-13-01T11:02:45Z",
            "2024-02-30T11:02:45Z",
            "2024-03-01T25:02:45Z",
            "2024-03-01T11:02:45.Z",
            "2024-03-01T11:02:45+2:00",
            "2024-03-01T11:02:45+99:00",
            "24-03-01T11:02:45Z00000",
            "2024-03-01T11:02:45Zulu",
            "0000-03-01T11:02:45Z",
            "0001-01-01T00:00:00+05:00",
            "9999-12-31T23:59:59-01:00",
            "2024-06-30T23:59:60Z",
            "٢٠٢٤-03-01T11:02:45Z",
        ] {
            assert_eq!(shown(text), None, "{text}");
        }
    }

    #[test]
    fn p4_a_local_time_may_share_a_second_in_any_zone() {
        let midnight = at("2024-03-02T00:00:00Z");
        for (text, shares) in [
            ("2024-03-02T00:00:00.999Z", true),
            ("2024-03-02T00:00:01Z", false),
            ("2024-03-01T23:59:59.999Z", false),
            ("2024-03-02T00:00:00.5", true),
            ("2024-03-01 21:00:00", true),
            ("2024-03-02 05:45:00.9", true),
            ("2024-03-01 21:00:01", false),
            ("2024-03-03 00:00:00", false),
        ] {
            assert_eq!(moment(text).unwrap().may_share_second(midnight), shares, "{text}");
        }
        assert_eq!(moment("2024-03-01"), None);
    }
}
