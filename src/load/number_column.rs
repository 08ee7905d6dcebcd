//! SQL that takes numbers from a column of one type into a column of another without loss.
//!
//! What it decides is what [`crate::rows::encode`] decides of the same numbers, so that a number ends in the same column on
//! either way.

use crate::catalogue::ColumnType;

/// The doubles next to zero and to infinity; a cast of what lies between them never fails.
const DOUBLE_MIN: &str = "4.9e-324";
const DOUBLE_MAX: &str = "1.7976931348623157e308";

/// The expression that makes a `numeric` of a column of numbers. A direct cast of a double would keep only 15 digits.
pub(super) fn conversion(column: &str, from: ColumnType) -> String {
    match from {
        ColumnType::Double => format!("{column}::text::numeric"),
        _ => format!("{column}::numeric"),
    }
}

/// The expressions that share the numbers of a column between a column of the narrower type `to` and one of `numeric`.
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
