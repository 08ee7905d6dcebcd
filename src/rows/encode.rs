//! One JSON value as one field of COPY's binary format.

use std::borrow::Cow;

use super::timestamp::{self, Moment};
use super::unescape::{nearest_json, nearest_text, unescape};
use super::{binary, jsonb, number};
use crate::catalogue::ColumnType;

/// The empty string as JSON. It fits every type, and no type is inferred from it.
pub const EMPTY: &str = "\"\"";

/// Beyond this an inferred `double precision` could not be widened to `numeric`.
const DOUBLE_EXPONENT_MAX: i32 = 2000;

/// 2^52. Below it, a number midway between two doubles has more than the 17 digits that identify a double.
const MIDWAY_MIN: f64 = 4_503_599_627_370_496.0;

/// The result of encoding a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Encoded {
    /// Written.
    Value,
    /// Written; the value is a timestamp.
    Moment(Moment),
    /// Written with a replacement for characters that Postgres cannot hold.
    Nearest,
    /// Not written: an empty string, which is null in a column that is not text.
    Empty,
    /// Not written: the column cannot hold it.
    Misfit,
}

/// Where a column's type comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The vendor's documentation.
    Documented,
    /// The job, with `types`.
    Stated,
    /// The first value of the field. Such a column must not lose any digit or character.
    Inferred,
}

/// A limit of a column whose type in the table is narrower than its [`ColumnType`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bound {
    #[default]
    None,
    /// `smallint`.
    Int2,
    /// `integer`.
    Int4,
    /// `varchar(n)`: at most `n` characters.
    Chars(u32),
    /// `char(n)`: at most `n` characters, without a space at the end.
    Padded(u32),
}

/// Appends `raw` like [`value`], if it is also within `bound`.
pub fn bounded(kind: ColumnType, bound: Bound, trust: Trust, raw: &str, out: &mut Vec<u8>) -> Encoded {
    let start = out.len();
    let encoded = value(kind, trust, raw, out);
    if bound == Bound::None || matches!(encoded, Encoded::Misfit | Encoded::Empty) {
        return encoded;
    }
    let value = out.get(start + 4..).unwrap_or_default();
    let whole = || value.try_into().map(i64::from_be_bytes);
    let text = || std::str::from_utf8(value).unwrap_or_default();
    let chars = |max: u32| text().chars().nth(max as usize).is_none();
    let fits = match bound {
        Bound::None => true,
        Bound::Int2 => whole().is_ok_and(|number| i16::try_from(number).is_ok()),
        Bound::Int4 => whole().is_ok_and(|number| i32::try_from(number).is_ok()),
        Bound::Chars(max) => chars(max),
        Bound::Padded(max) => chars(max) && !text().ends_with(' '),
    };
    if fits {
        return encoded;
    }
    out.truncate(start);
    Encoded::Misfit
}

/// Appends `raw`, a JSON value that is not null, to `out` as a field of type `kind`, unless it is empty or does not
/// fit.
pub fn value(kind: ColumnType, trust: Trust, raw: &str, out: &mut Vec<u8>) -> Encoded {
    if raw == EMPTY && kind != ColumnType::Text {
        return Encoded::Empty;
    }
    let first = raw.as_bytes().first().copied().unwrap_or(b'n');
    if matches!(first, b'N' | b'I') || raw.starts_with("-I") {
        // `NaN` or `Infinity` is not a value of any type.
        return Encoded::Misfit;
    }
    match kind {
        ColumnType::Text => text(trust, first, raw, out),
        ColumnType::Boolean if matches!(first, b't' | b'f') => {
            binary::boolean(first == b't', out);
            Encoded::Value
        }
        // A CSV file has no other booleans.
        ColumnType::Boolean if trust == Trust::Stated && matches!(raw, r#""true""# | r#""false""#) => {
            binary::boolean(raw == r#""true""#, out);
            Encoded::Value
        }
        ColumnType::Bigint => match scalar(trust, raw).and_then(|text| number::whole(&text)) {
            Some(number) => {
                binary::bigint(number, out);
                Encoded::Value
            }
            None => Encoded::Misfit,
        },
        ColumnType::Double => match scalar(trust, raw).and_then(|text| double(trust, &text)) {
            Some(number) => {
                binary::double(number, out);
                Encoded::Value
            }
            None => Encoded::Misfit,
        },
        ColumnType::Numeric => match scalar(trust, raw).filter(|text| numeric(text, out)) {
            Some(_) => Encoded::Value,
            None => Encoded::Misfit,
        },
        ColumnType::Timestamptz if first == b'"' => instant(trust, raw, out),
        // An inferred column holds only containers, so that a string differs from the JSON that it contains.
        ColumnType::Jsonb if trust != Trust::Inferred || matches!(first, b'{' | b'[') => json(raw, out),
        ColumnType::Boolean | ColumnType::Timestamptz | ColumnType::Jsonb => Encoded::Misfit,
    }
}

/// The narrowest type that holds `raw`, a JSON value that is neither null, nor an empty string, nor an object to be
/// flattened. Returns `None` for a value that no type but text holds, though it is not a string: it must not decide the
/// type of its column.
pub fn infer(raw: &str) -> Option<ColumnType> {
    match raw.as_bytes().first() {
        Some(b't' | b'f') => Some(ColumnType::Boolean),
        Some(b'{' | b'[') if json(raw, &mut Vec::new()) != Encoded::Misfit => Some(ColumnType::Jsonb),
        Some(b'-' | b'0'..=b'9') => {
            if raw.parse::<i64>().is_ok() {
                Some(ColumnType::Bigint)
            } else if is_fractional(raw) && double(Trust::Inferred, raw).is_some() {
                Some(ColumnType::Double)
            } else {
                (number::numeric_holds(raw) && number::is_number(raw)).then_some(ColumnType::Numeric)
            }
        }
        Some(b'"') if instant(Trust::Inferred, raw, &mut Vec::new()) != Encoded::Misfit => {
            Some(ColumnType::Timestamptz)
        }
        Some(b'"') => Some(ColumnType::Text),
        _ => None,
    }
}

/// Whether a value of a record is JSON, and not a bare word such as `NaN`.
pub fn is_json(raw: &str) -> bool {
    match raw.as_bytes().first() {
        Some(b't' | b'f' | b'{' | b'[' | b'"') => true,
        Some(b'-' | b'0'..=b'9') => number::is_number(raw),
        _ => false,
    }
}

fn text(trust: Trust, first: u8, raw: &str, out: &mut Vec<u8>) -> Encoded {
    match first {
        b'"' => {
            if let Some(text) = unescape(raw) {
                binary::bytes(text.as_bytes(), out);
                return timestamp::moment(&text).map_or(Encoded::Value, Encoded::Moment);
            }
            let mut text = Vec::with_capacity(raw.len());
            nearest_text(raw, &mut text);
            binary::bytes(&text, out);
            Encoded::Nearest
        }
        b'{' | b'[' if trust == Trust::Documented => Encoded::Misfit,
        _ => {
            binary::bytes(raw.as_bytes(), out);
            Encoded::Value
        }
    }
}

/// Appends JSON, or the nearest JSON that `jsonb` holds.
fn json(raw: &str, out: &mut Vec<u8>) -> Encoded {
    if jsonb::holds(raw) {
        binary::jsonb(raw.as_bytes(), out);
        return Encoded::Value;
    }
    match nearest_json(raw).filter(|nearest| jsonb::holds(nearest)) {
        Some(nearest) => {
            binary::jsonb(nearest.as_bytes(), out);
            Encoded::Nearest
        }
        None => Encoded::Misfit,
    }
}

/// A number's text; a number whose type is not inferred may also come as a string of digits.
fn scalar(trust: Trust, raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'-' | b'0'..=b'9' => Some(Cow::Borrowed(raw)),
        b'"' if trust != Trust::Inferred => unescape(raw).filter(|text| number::is_number(text)),
        _ => None,
    }
}

/// Appends a number as `numeric`, if that holds it. A column that was widened from doubles still holds every double.
fn numeric(text: &str, out: &mut Vec<u8>) -> bool {
    let holds = number::numeric_holds(text) || double(Trust::Inferred, text).is_some();
    holds && number::is_number(text) && binary::numeric(text, out)
}

fn is_fractional(number: &str) -> bool {
    number.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'))
}

/// The number as `double precision`, if that holds it. An inferred column takes only numbers that keep every digit.
pub(crate) fn double(trust: Trust, number: &str) -> Option<f64> {
    let double = number.parse::<f64>().ok().filter(|double| double.is_finite())?;
    // Postgres refuses a number that is too small for a double; it does not round it to zero.
    if double == 0.0 && significant_digits(number).next().is_some() {
        return None;
    }
    if trust != Trust::Inferred {
        return Some(double);
    }
    // Zero included, which may be written with any exponent.
    if !number::is_modest(number, DOUBLE_EXPONENT_MAX) {
        return None;
    }
    if double == 0.0 {
        return Some(double);
    }
    let may_be_midway = double.abs() >= MIDWAY_MIN;
    // A double that is not denormal keeps fifteen digits.
    if double.is_normal() && !may_be_midway && significant_digits(number).nth(15).is_none() {
        return Some(double);
    }
    let shown = format!("{double:e}");
    let round_trips = significant_digits(number).eq(significant_digits(&shown));
    (round_trips && !(may_be_midway && is_midway(double, &shown))).then_some(double)
}

/// Whether `shown`, the shortest number that is read as `double`, lies midway between two doubles. It is only rounded
/// to this one, so Postgres prints other digits for it.
fn is_midway(double: f64, shown: &str) -> bool {
    // Slightly below or slightly above such a number, another double is nearer. 10^20.
    const LITTLE: u128 = 100_000_000_000_000_000_000;
    let Some((mantissa, exponent)) = shown.split_once('e') else { return false };
    let digits = mantissa.trim_start_matches('-').replace('.', "");
    let (Ok(whole), Ok(exponent), Ok(count)) =
        (digits.parse::<u128>(), exponent.parse::<i64>(), i64::try_from(digits.len()))
    else {
        return false;
    };
    let exponent = exponent - (count - 1) - 20;
    let beside = |number: u128| format!("{number}e{exponent}").parse() != Ok(double.abs());
    beside(whole * LITTLE - 1) || beside(whole * LITTLE + 1)
}

/// The digits from the first to the last that is not zero.
fn significant_digits(number: &str) -> impl Iterator<Item = u8> + '_ {
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa.trim_end_matches(['0', '.']).trim_start_matches(['-', '+', '0', '.']);
    // `100` has lost its trailing zeros here, `1.00` its point as well.
    digits.bytes().filter(u8::is_ascii_digit)
}

fn instant(trust: Trust, raw: &str, out: &mut Vec<u8>) -> Encoded {
    let Some(text) = unescape(raw) else { return Encoded::Misfit };
    let Some(parsed) = timestamp::parse(&text) else { return Encoded::Misfit };
    if !parsed.exact && trust == Trust::Inferred {
        return Encoded::Misfit;
    }
    binary::instant(parsed.at, out);
    Encoded::Moment(Moment::Instant(parsed.at))
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
