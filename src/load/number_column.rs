//! SQL that moves numbers from a column of one type to a column of another without loss.
//!
//! It must choose the same column as [`crate::rows::encode`] does for the same number.

use crate::catalogue::ColumnType;

/// The smallest and the largest positive double. A cast of a number between them cannot fail.
const DOUBLE_MIN: &str = "4.9e-324";
const DOUBLE_MAX: &str = "1.7976931348623157e308";

/// The expression that converts a column of numbers to `numeric`. A direct cast of a double would keep only 15 digits.
pub(super) fn conversion(column: &str, from: ColumnType) -> String {
    match from {
        ColumnType::Double => format!("{column}::text::numeric"),
        _ => format!("{column}::numeric"),
    }
}

/// The expressions that divide the numbers of a column between a column of the narrower type `to` and a `numeric` one.
pub(super) fn split(column: &str, from: ColumnType, to: ColumnType) -> [String; 2] {
    let number = conversion(column, from);
    let (fits, narrow) = match to {
        ColumnType::Bigint => (
            format!("{number} = trunc({number}) and {number} between {} and {}", i64::MIN, i64::MAX),
            format!("{number}::bigint"),
        ),
        _ => (
            format!(
                "case when abs({number}) between {DOUBLE_MIN} and {DOUBLE_MAX} \
                 then {number}::double precision::text::numeric = {number} else {number} = 0 end"
            ),
            format!("{number}::double precision"),
        ),
    };
    [format!("case when {fits} then {narrow} end"), format!("case when not ({fits}) then {number} end")]
}
