//! Parses durations (`40ms 4s 10m 12h 1d 1h30m`) and sizes (`100MB`, `102400kB`, `1MiB`).

use std::time::Duration;

use crate::text::DURATION_UNITS;
#[cfg(test)]
use crate::text::show_duration;

/// Longer than any useful setting, and far from every overflow.
const DURATION_MAX: Duration = Duration::from_hours(3_660 * 24);

/// A kilobyte is 1000 bytes, as in the vendors' limits (`facts/lynn.md §10.10`).
const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// The JSON Schema pattern of a duration.
pub(crate) const DURATION_PATTERN: &str = r"^([0-9]+(ms|s|m|h|d))+$";

/// The JSON Schema pattern of a duration, or of `forever`.
pub(crate) const KEEP_PATTERN: &str = r"^(forever|([0-9]+(ms|s|m|h|d))+)$";

/// The JSON Schema pattern of a number of months or years.
pub(crate) const MONTHS_PATTERN: &str = "^(0|[1-9][0-9]* ?(months?|years?))$";

/// A century. More is rather a mistake than a wish.
const MONTHS_MAX: u64 = 1_200;

/// Parses a number of months, written as months or years; 0 needs no unit. The error follows the value in a fault.
pub(super) fn months(text: &str) -> Result<u16, String> {
    const SHAPE: &str = "write whole months or years, `36 months` or `3 years`, or `0` to keep all";
    let wrong = || format!("is not a number of months; {SHAPE}");
    if matches!(text, "forever" | "none") {
        return Err("is not a number of months; to keep all, write `0`".to_owned());
    }
    let (number, unit) = number(text).ok_or_else(wrong)?;
    let months = match unit.trim_start() {
        _ if number == 0 => return Ok(0),
        "month" | "months" => number,
        "year" | "years" => number.saturating_mul(12),
        "d" | "day" | "days" => {
            let months = number.div_ceil(30);
            return Err(format!("is in days, but whole months are kept; write `{months} months`"));
        }
        "" => return Err(format!("has no unit; write `{number} months` or `{number} years`")),
        _ => return Err(wrong()),
    };
    u16::try_from(months)
        .ok()
        .filter(|_| months <= MONTHS_MAX)
        .ok_or_else(|| "is longer than a century; to keep all, write `0`".to_owned())
}

/// Parses a duration. The error follows the value in a fault.
pub fn duration(text: &str) -> Result<Duration, String> {
    const SHAPE: &str = "write for instance `40ms`, `4s`, `10m`, `12h`, `7d` or `1h30m`";
    if text.starts_with('-') {
        return Err("is negative; write a duration of 0s or more".to_owned());
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("has no unit; a duration ends in `ms`, `s`, `m`, `h` or `d`".to_owned());
    }
    let mut rest = text;
    let mut total_ms = 0_u64;
    let mut unit_before = u64::MAX;
    while !rest.is_empty() || unit_before == u64::MAX {
        let (number, after) = number(rest).ok_or_else(|| format!("is not a duration; {SHAPE}"))?;
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (name, after) = after.split_at(letters);
        let unit = DURATION_UNITS.iter().find(|(unit, _)| *unit == name).map(|(_, ms)| *ms);
        let unit = unit.filter(|unit| *unit < unit_before).ok_or_else(|| format!("is not a duration; {SHAPE}"))?;
        total_ms = number.checked_mul(unit).and_then(|ms| total_ms.checked_add(ms)).unwrap_or(u64::MAX);
        unit_before = unit;
        rest = after;
    }
    let total = Duration::from_millis(total_ms);
    if total > DURATION_MAX {
        return Err("is longer than ten years; write a shorter duration".to_owned());
    }
    Ok(total)
}

/// Parses a size in bytes. The error follows the value in a fault.
pub fn size(text: &str) -> Result<u64, String> {
    const SHAPE: &str = "write for instance `100MB`, `102400kB` or `64KiB`";
    let (number, unit) = number(text).ok_or_else(|| format!("is not a size; {SHAPE}"))?;
    let unit = unit.trim_start();
    if unit.is_empty() {
        return Err(format!("has no unit; {SHAPE}"));
    }
    let factor = SIZE_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let factor = factor.ok_or_else(|| format!("is not a size; {SHAPE}"))?;
    number.checked_mul(factor).ok_or_else(|| "is too large; write a smaller size".to_owned())
}

/// The digits at the start of `text`, and the rest; a number too large becomes the maximum.
fn number(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(digits);
    (!digits.is_empty()).then(|| (digits.parse().unwrap_or(u64::MAX), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_parsed_as_in_the_design() {
        for (text, ms) in [
            ("40ms", 40),
            ("4s", 4_000),
            ("10m", 600_000),
            ("12h", 43_200_000),
            ("1d", 86_400_000),
            ("1h30m", 5_400_000),
            ("0s", 0),
            ("1m500ms", 60_500),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "4", "4 s", "4S", "-4s", "1.5h", "30m1h", "1h1h", "99999999999999999999d", "4s ", "4sx"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_parsed_as_in_the_design() {
        assert_eq!(size("100MB"), Ok(100_000_000));
        assert_eq!(size("102400kB"), Ok(102_400_000));
        assert_eq!(size("102400 kB"), Ok(102_400_000));
        assert_eq!(size("2KiB"), Ok(2_048));
        assert_eq!(size("1MiB"), Ok(1_048_576));
        for text in ["", "MB", "100", "100mb", "-1MB", "1.5MB", "99999999999999999999GB"] {
            assert!(size(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn months_are_whole() {
        for (text, expected) in
            [("0", 0), ("0 months", 0), ("36 months", 36), ("1 month", 1), ("3 years", 36), ("2years", 24)]
        {
            assert_eq!(months(text), Ok(expected), "{text}");
        }
        for (text, part) in [
            ("90d", "write `3 months`"),
            ("91 days", "write `4 months`"),
            ("36", "`36 months` or `36 years`"),
            ("forever", "write `0`"),
            ("1.5 years", "whole months"),
            ("-1 months", "whole months"),
            ("", "whole months"),
            ("101 years", "century"),
            ("99999999999999999999 months", "century"),
        ] {
            assert!(months(text).unwrap_err().contains(part), "{text}: {:?}", months(text));
        }
    }

    proptest! {
        #[test]
        fn a_shown_duration_reads_back(ms in 0_u64..300_000_000_000) {
            let span = Duration::from_millis(ms);
            prop_assert_eq!(duration(&show_duration(span)), Ok(span));
        }

        #[test]
        fn any_text_is_a_value_or_a_fault(text in "\\PC{0,20}") {
            let _ = (duration(&text), size(&text));
        }
    }
}
