//! ISO-8601 timestamps as vendors print them.

use chrono::{DateTime, FixedOffset, NaiveDate, TimeDelta, Utc};

/// A timestamp with the microseconds that Postgres keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    pub at: DateTime<Utc>,
    /// Whether nothing was cut: at most six digits of the fraction say something.
    pub exact: bool,
}

/// Reads `2024-03-01T11:02:45.1230000Z`: `T` or a space, a fraction of any length (cut to microseconds), and `Z` or an
/// offset. A time without a zone is no instant and answers none.
pub fn parse(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    if bytes.len() < 20 || bytes.len() > 64 || !text.is_ascii() {
        return None;
    }
    let shape_holds = bytes[4] == b'-' && bytes[7] == b'-' && bytes[13] == b':' && bytes[16] == b':';
    if !shape_holds || !matches!(bytes[10], b'T' | b't' | b' ') {
        return None;
    }
    let number = |from: usize, to: usize| digits(&bytes[from..to]);
    let date = NaiveDate::from_ymd_opt(i32::try_from(number(0, 4)?).ok()?, number(5, 7)?, number(8, 10)?)?;
    let (micros, exact, zone_at) = fraction(&bytes[19..])?;
    let time = date.and_hms_micro_opt(number(11, 13)?, number(14, 16)?, number(17, 19)?, micros)?;
    let offset = offset(&bytes[19 + zone_at..])?;
    let at = time.checked_sub_signed(TimeDelta::seconds(i64::from(offset.local_minus_utc())))?.and_utc();
    Some(Timestamp { at, exact })
}

fn digits(bytes: &[u8]) -> Option<u32> {
    bytes.iter().try_fold(0_u32, |number, byte| {
        byte.is_ascii_digit().then(|| number.checked_mul(10)?.checked_add(u32::from(byte - b'0'))).flatten()
    })
}

/// Microseconds, whether they are exact, and where the zone begins.
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
    fn what_is_no_instant_is_refused() {
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
            "٢٠٢٤-03-01T11:02:45Z",
        ] {
            assert_eq!(shown(text), None, "{text}");
        }
    }
}
