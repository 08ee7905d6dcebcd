//! Fields of COPY's binary format: a length, then the bytes that Postgres's receive functions read. The server parses
//! no text.

use chrono::{DateTime, Utc};

/// The header of a binary COPY: signature, flags, length of a header extension.
pub(crate) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The trailer of a binary COPY.
pub(crate) const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// A null field.
pub(crate) const NULL: [u8; 4] = (-1_i32).to_be_bytes();
/// Postgres's epoch, 2000-01-01, in microseconds of Unix time.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// Version number of `jsonb`'s binary form; JSON text follows it.
const JSONB_VERSION: u8 = 1;
/// Decimal digits in one digit of `numeric`, whose base is 10,000.
const NUMERIC_DIGIT: i32 = 4;
const NUMERIC_NEGATIVE: u16 = 0x4000;

pub(crate) fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(&NULL);
}

pub(crate) fn bytes(value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&length(value.len()).to_be_bytes());
    out.extend_from_slice(value);
}

pub(crate) fn boolean(value: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0, 0, 1, u8::from(value)]);
}

pub(crate) fn integer(value: i32, out: &mut Vec<u8>) {
    bytes(&value.to_be_bytes(), out);
}

pub(crate) fn bigint(value: i64, out: &mut Vec<u8>) {
    let mut field = [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    field[4..].copy_from_slice(&value.to_be_bytes());
    out.extend_from_slice(&field);
}

pub(crate) fn double(value: f64, out: &mut Vec<u8>) {
    bigint(value.to_bits().cast_signed(), out);
}

pub(crate) fn uuid(value: u128, out: &mut Vec<u8>) {
    let mut field = [0; 20];
    field[3] = 16;
    field[4..].copy_from_slice(&value.to_be_bytes());
    out.extend_from_slice(&field);
}

pub(crate) fn instant(at: DateTime<Utc>, out: &mut Vec<u8>) {
    bigint(at.timestamp_micros() - EPOCH_MICROS, out);
}

/// The `uuid` at the beginning of a row; 0 if it is null.
pub(crate) fn first_key(row: &[u8]) -> u128 {
    match row.split_first_chunk::<4>() {
        Some(([0, 0, 0, 16], rest)) => rest.first_chunk().map_or(0, |key| u128::from_be_bytes(*key)),
        _ => 0,
    }
}

/// The values of a row's fields; `None` for null.
pub(crate) fn fields(mut row: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    std::iter::from_fn(move || {
        let (length, rest) = row.split_first_chunk::<4>()?;
        let length = usize::try_from(i32::from_be_bytes(*length)).ok();
        let (value, rest) = rest.split_at_checked(length.unwrap_or(0))?;
        row = rest;
        Some(length.map(|_| value))
    })
}

/// The instant that [`instant`] wrote.
pub(crate) fn read_instant(value: &[u8]) -> Option<DateTime<Utc>> {
    let micros = i64::from_be_bytes(value.try_into().ok()?);
    DateTime::from_timestamp_micros(micros.checked_add(EPOCH_MICROS)?)
}

/// Appends JSON text as `jsonb`.
pub(crate) fn jsonb(json: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&length(json.len() + 1).to_be_bytes());
    out.push(JSONB_VERSION);
    out.extend_from_slice(json);
}

/// Appends a JSON number as `numeric`, with the digits and the scale that Postgres would read from its text. Returns
/// `false` and appends nothing if `numeric` cannot hold the number.
pub(crate) fn numeric(number: &str, out: &mut Vec<u8>) -> bool {
    let (negative, unsigned) = number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (Ok(exponent), Ok(whole_digits), Ok(fraction_digits)) =
        (exponent.parse::<i32>(), i32::try_from(whole.len()), i32::try_from(fraction.len()))
    else {
        return false;
    };
    // Digits before the point, once the exponent has moved it.
    let before_point = whole_digits.saturating_add(exponent);
    let weight = (before_point - 1).div_euclid(NUMERIC_DIGIT);
    let lead = (weight + 1) * NUMERIC_DIGIT - before_point;
    let scale = fraction_digits.saturating_sub(exponent).max(0);
    let decimals =
        std::iter::repeat_n(b'0', usize::try_from(lead).unwrap_or(0)).chain(whole.bytes()).chain(fraction.bytes());
    let mut digits: Vec<i16> = Vec::new();
    for (at, decimal) in decimals.enumerate() {
        let value = i16::from(decimal - b'0');
        match digits.last_mut().filter(|_| at % 4 != 0) {
            Some(digit) => *digit = *digit * 10 + value,
            None => digits.push(value),
        }
    }
    let decimals = usize::try_from(lead + whole_digits + fraction_digits).unwrap_or(0);
    if let Some(last) = digits.last_mut() {
        *last *= 10_i16.pow(u32::try_from((4 - decimals % 4) % 4).unwrap_or(0));
    }
    let leading = digits.iter().take_while(|digit| **digit == 0).count();
    let significant = &digits[leading..];
    let kept = &significant[..significant.iter().rposition(|digit| *digit != 0).map_or(0, |last| last + 1)];
    let weight = if kept.is_empty() { 0 } else { weight - i32::try_from(leading).unwrap_or(0) };
    let (Ok(count), Ok(weight), Ok(scale)) = (i16::try_from(kept.len()), i16::try_from(weight), u16::try_from(scale))
    else {
        return false;
    };
    let sign = if negative && !kept.is_empty() { NUMERIC_NEGATIVE } else { 0 };
    out.extend_from_slice(&length(8 + kept.len() * 2).to_be_bytes());
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&scale.to_be_bytes());
    for digit in kept {
        out.extend_from_slice(&digit.to_be_bytes());
    }
    true
}

/// Values are parts of records, which are far smaller than 2 GiB.
fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use chrono::{DateTime, SecondsFormat};

    use super::*;
    use crate::catalogue::ColumnType;

    /// The next field as text; `None` for null.
    pub(crate) fn shown(kind: ColumnType, field: &mut &[u8]) -> Option<String> {
        let (head, rest) = field.split_first_chunk::<4>().unwrap();
        let length = usize::try_from(i32::from_be_bytes(*head)).ok();
        let (value, rest) = rest.split_at(length.unwrap_or(0));
        *field = rest;
        length?;
        let bigint = || i64::from_be_bytes(value.try_into().unwrap());
        Some(match kind {
            ColumnType::Boolean => (value == [1]).to_string(),
            ColumnType::Bigint => bigint().to_string(),
            ColumnType::Double => f64::from_bits(bigint().cast_unsigned()).to_string(),
            ColumnType::Timestamptz => {
                let at = DateTime::from_timestamp_micros(bigint() + EPOCH_MICROS).unwrap();
                at.to_rfc3339_opts(SecondsFormat::Micros, true)
            }
            ColumnType::Text => String::from_utf8(value.to_vec()).unwrap(),
            ColumnType::Jsonb => String::from_utf8(value.strip_prefix(&[JSONB_VERSION]).unwrap().to_vec()).unwrap(),
            ColumnType::Numeric => decimal(value),
        })
    }

    fn decimal(value: &[u8]) -> String {
        let parts: Vec<i16> = value.chunks(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]])).collect();
        let [count, weight, sign, scale, digits @ ..] = parts.as_slice() else { panic!("the numeric is too short") };
        assert_eq!(usize::try_from(*count).unwrap(), digits.len());
        let digit =
            |power: i16| usize::try_from(weight - power).ok().and_then(|at| digits.get(at)).copied().unwrap_or(0);
        let whole: Vec<String> = (0..=(*weight).max(0)).rev().map(|power| format!("{:04}", digit(power))).collect();
        let fraction: Vec<String> = (1..=(scale + 3) / 4).map(|power| format!("{:04}", digit(-power))).collect();
        let (whole, fraction) = (whole.concat(), fraction.concat());
        let whole = whole.trim_start_matches('0');
        let whole = if whole.is_empty() { "0" } else { whole };
        let minus = if *sign == 0 { "" } else { "-" };
        let point = if *scale > 0 { "." } else { "" };
        format!("{minus}{whole}{point}{}", &fraction[..usize::try_from(*scale).unwrap()])
    }

    #[test]
    fn p5_a_number_keeps_every_digit_as_numeric() {
        for (raw, text) in [
            ("0", "0"),
            ("-0.00", "0.00"),
            ("7", "7"),
            ("10000", "10000"),
            ("-12345678901234567890.10", "-12345678901234567890.10"),
            ("0.0001", "0.0001"),
            ("0.00001234", "0.00001234"),
            ("1e3", "1000"),
            ("1.50e1", "15.0"),
            ("1.5E+5", "150000"),
            ("123.456e-7", "0.0000123456"),
            ("1e-9", "0.000000001"),
            ("1e10", "10000000000"),
        ] {
            let mut out = Vec::new();
            assert!(numeric(raw, &mut out));
            assert_eq!(shown(ColumnType::Numeric, &mut out.as_slice()).unwrap(), text, "{raw}");
        }
    }
}
