//! Decimal numbers by value, independent of their spelling: `1001`, `1001.0` and `1.001e3` are one number.

/// If more zeros than this lie between a number's digits and its point, it is written with an exponent to keep the text
/// short.
const ZEROS_MAX: i64 = 400;
/// Texts with more bytes or a larger exponent are not read as whole numbers.
const WHOLE_BYTES_MAX: usize = 1000;
const WHOLE_EXPONENT_MAX: i64 = 300;

/// Limits of the JSON numbers that are written as `numeric`.
const NUMERIC_DIGITS_MAX: usize = 1000;
const NUMERIC_EXPONENT_MAX: i32 = 300;

/// The value of a number's text.
#[derive(Debug, Clone, Copy)]
struct Decimal<'n> {
    negative: bool,
    /// Digits before and after the point, as written.
    whole: &'n str,
    fraction: &'n str,
    exponent: i64,
}

/// The digits of a number without leading and trailing zeros, and the position of its point.
struct Significant<'n> {
    digits: std::iter::Take<std::iter::Skip<std::iter::Chain<std::str::Bytes<'n>, std::str::Bytes<'n>>>>,
    count: i64,
    /// Digits before the point; negative where zeros follow it.
    point: i64,
}

impl<'n> Decimal<'n> {
    /// Returns `None` if the text is not a JSON number (leading zeros are accepted) or its exponent exceeds 64 bits.
    fn parse(text: &'n str) -> Option<Self> {
        let (negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse().ok()?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        let is_number = !whole.is_empty() && whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
        is_number.then_some(Self { negative, whole, fraction, exponent })
    }

    /// Returns `None` for zero.
    fn significant(self) -> Option<Significant<'n>> {
        let all = || self.whole.bytes().chain(self.fraction.bytes());
        let first = all().position(|digit| digit != b'0')?;
        let last = all().rev().position(|digit| digit != b'0')?;
        let count = self.whole.len() + self.fraction.len() - first - last;
        let signed = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let point = (signed(self.whole.len()) - signed(first)).saturating_add(self.exponent);
        Some(Significant { digits: all().skip(first).take(count), count: signed(count), point })
    }
}

/// Appends the canonical text of a JSON number: equal numbers have equal texts. A number without point, exponent and
/// sign is already canonical.
pub(crate) fn canonical(number: &str, out: &mut Vec<u8>) {
    if is_plain_integer(number) {
        out.extend_from_slice(number.as_bytes());
        return;
    }
    let Some(decimal) = Decimal::parse(number) else {
        out.extend_from_slice(number.as_bytes());
        return;
    };
    let Some(Significant { digits, count, point }) = decimal.significant() else {
        out.push(b'0');
        return;
    };
    if decimal.negative {
        out.push(b'-');
    }
    if !(-ZEROS_MAX..=ZEROS_MAX).contains(&point) {
        out.extend(digits);
        out.extend_from_slice(format!("e{}", point.saturating_sub(count)).as_bytes());
        return;
    }
    if point <= 0 {
        out.extend_from_slice(b"0.");
        out.extend((point..0).map(|_| b'0'));
        out.extend(digits);
        return;
    }
    for (place, digit) in (0..).zip(digits) {
        if place == point {
            out.push(b'.');
        }
        out.push(digit);
    }
    out.extend((count..point).map(|_| b'0'));
}

/// Reads a whole number in any spelling: `11`, `11.0`, `1.2e1`. Returns `None` for a fraction and for a number that
/// does not fit 64 bits.
pub(crate) fn whole(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    if text.len() > WHOLE_BYTES_MAX {
        return None;
    }
    let decimal = Decimal::parse(text).filter(|decimal| decimal.exponent.abs() <= WHOLE_EXPONENT_MAX)?;
    let Some(Significant { digits, count, point }) = decimal.significant() else { return Some(0) };
    if count > point || point > 19 {
        return None;
    }
    let zeros = (count..point).map(|_| b'0');
    let magnitude = digits.chain(zeros).fold(0_i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
    i64::try_from(if decimal.negative { -magnitude } else { magnitude }).ok()
}

/// Whether the text is a number, and not just made of the characters of numbers.
pub(crate) fn is_number(text: &str) -> bool {
    is_plain_integer(text) || Decimal::parse(text).is_some()
}

fn is_plain_integer(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !matches!(digits.as_bytes(), [b'0', ..] if number != "0")
}

/// Whether the number is within our limits for `numeric`.
pub(super) fn numeric_holds(number: &str) -> bool {
    is_modest(number, NUMERIC_EXPONENT_MAX)
}

/// Whether the byte may be part of a JSON number.
pub(super) const fn is_number_part(byte: u8) -> bool {
    matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')
}

/// Whether the number has few digits and an exponent of at most `exponent_max`, positive or negative.
pub(super) fn is_modest(number: &str, exponent_max: i32) -> bool {
    let mut parts = number.splitn(2, ['e', 'E']);
    let mantissa = parts.next().unwrap_or_default();
    let exponent_is_small = parts
        .next()
        .is_none_or(|exponent| exponent.parse::<i32>().is_ok_and(|exponent| exponent.abs() <= exponent_max));
    mantissa.len() <= NUMERIC_DIGITS_MAX && exponent_is_small
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(number: &str) -> String {
        let mut out = Vec::new();
        canonical(number, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn equal_numbers_have_one_text() {
        for (number, text) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.00e5", "0"),
            ("0e99999999999999999999999", "0e99999999999999999999999"),
            ("1001", "1001"),
            ("-1001", "-1001"),
            ("1001.0", "1001"),
            ("1.001e3", "1001"),
            ("10.010E+2", "1001"),
            ("100100e-2", "1001"),
            ("1.50", "1.5"),
            ("0.050", "0.05"),
            ("5e-2", "0.05"),
            ("-12.5e-1", "-1.25"),
            ("1e401", "1e401"),
            ("10e400", "1e401"),
            ("1.5e-500", "15e-501"),
            ("0.15e-499", "15e-501"),
        ] {
            assert_eq!(shown(number), text, "{number}");
        }
    }

    #[test]
    fn a_whole_number_is_read_in_any_spelling_and_never_rounded() {
        for (text, number) in [
            ("11", Some(11)),
            ("11.0", Some(11)),
            ("1.2e1", Some(12)),
            ("-0.0", Some(0)),
            ("-120e-1", Some(-12)),
            ("007.0", Some(7)),
            ("9223372036854775807.000", Some(i64::MAX)),
            ("-9.223372036854775808e18", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("1e19", None),
            ("11.5", None),
            ("1e-1", None),
            ("1e301", None),
            ("0e301", None),
            ("1.", None),
            ("1.0.0", None),
            ("1-2", None),
            ("e1", None),
            ("-", None),
        ] {
            assert_eq!(whole(text), number, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_spelling_of_a_number_has_one_text(digits in "[1-9][0-9]{0,20}", shift in -30_i64..30, zeros in 0_usize..5, negative: bool) {
            // digits × 10^shift, with the point in another place and zeros at both ends.
            let sign = if negative { "-" } else { "" };
            let plain = shown(&format!("{sign}{digits}e{shift}"));
            for cut in 0..=digits.len() {
                let (whole, fraction) = digits.split_at(cut);
                let whole = if whole.is_empty() { "0" } else { whole };
                let exponent = shift + i64::try_from(digits.len() - cut).unwrap();
                let spelled = format!("{sign}{whole}.{fraction}0{}e{exponent:+}", "0".repeat(zeros));
                prop_assert_eq!(shown(&spelled), plain.clone(), "{}", spelled);
            }
            prop_assert_eq!(shown(&plain), plain.clone(), "it is already canonical");
            let value: i128 = digits.parse().unwrap();
            if shift == 0 {
                let expected = i64::try_from(if negative { -value } else { value }).ok();
                prop_assert_eq!(whole(&format!("{sign}{digits}.{}", "0".repeat(zeros + 1))), expected);
            }
        }
    }
}
