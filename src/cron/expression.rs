//! Parses a schedule expression. If it is wrong, the error names the field and what to write instead.
//!
//! The grammar is croner's: five fields, or six with seconds first. Only the nicknames and the error messages are
//! Tidegate's.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use thiserror::Error;

/// Longer expressions are refused: no realistic one comes close, and long field lists take time to parse.
const EXPRESSION_BYTES_MAX: usize = 1_000;

/// What is wrong with a schedule expression, worded as a predicate. The caller adds file, line and value.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ScheduleError {
    #[error("is not a schedule; write five fields such as `15 * * * *`, or leave `schedule` out")]
    Empty,
    #[error("is longer than {EXPRESSION_BYTES_MAX} bytes; write five or six short fields")]
    TooLong,
    #[error("is not a schedule; write `@yearly`, `@monthly`, `@weekly`, `@daily`, `@hourly`, or five fields")]
    Nickname,
    #[error("has {0} fields; write five (minute hour day-of-month month day-of-week) or six (second first)")]
    FieldCount(usize),
    #[error("is not a schedule: {field} `{text}` is invalid; write {remedy}")]
    Field { field: &'static str, text: String, remedy: &'static str },
}

struct Field {
    name: &'static str,
    remedy: &'static str,
}

/// The fields of a six-field expression; five fields lack the first.
const FIELDS: [Field; 6] = [
    Field { name: "second", remedy: "0-59, *, */10, or a list or range of them" },
    Field { name: "minute", remedy: "0-59, *, */15, or a list or range of them" },
    Field { name: "hour", remedy: "0-23, *, */2, or a list or range of them" },
    Field { name: "day of month", remedy: "1-31, *, */2, L (the last), 15W (nearest weekday), or a list or range" },
    Field { name: "month", remedy: "1-12, JAN-DEC, *, */3, or a list or range of them" },
    Field { name: "day of week", remedy: "0-7 (0 and 7 are Sunday), SUN-SAT, *, MON#1, 5L, or a list or range" },
];

/// Parses `expression`.
pub(super) fn parse(expression: &str) -> Result<Cron, ScheduleError> {
    let given = expression.trim();
    if given.is_empty() {
        return Err(ScheduleError::Empty);
    }
    if given.len() > EXPRESSION_BYTES_MAX {
        return Err(ScheduleError::TooLong);
    }
    let spelled = if given.starts_with('@') { nickname(given).ok_or(ScheduleError::Nickname)? } else { given };

    let fields: Vec<&str> = spelled.split_whitespace().collect();
    let first = match fields.len() {
        5 => 1,
        6 => 0,
        count => return Err(ScheduleError::FieldCount(count)),
    };
    // Parsing takes croner 5,000 steps, one for each year. So only a wrong expression is parsed field by field.
    if fields.iter().all(|text| is_plain(text))
        && let Some(cron) = read(spelled)
    {
        return Ok(cron);
    }
    for (field, text) in FIELDS.iter().zip(0_usize..).skip(first).zip(&fields) {
        let (field, place) = field;
        if !understood(place, text) {
            return Err(ScheduleError::Field { field: field.name, text: (*text).to_owned(), remedy: field.remedy });
        }
    }
    // Every field is valid by itself, so the whole should be. The field count is the likeliest cause.
    Err(ScheduleError::FieldCount(fields.len()))
}

/// Whether the field has nothing that croner accepts and Tidegate does not: empty list items, which croner ignores, and
/// `@`, after which it looks for a nickname.
fn is_plain(text: &str) -> bool {
    !text.contains('@') && !text.split(',').any(str::is_empty)
}

fn nickname(given: &str) -> Option<&'static str> {
    Some(match given.to_ascii_lowercase().as_str() {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => return None,
    })
}

/// Whether `text` is a valid field at `place` if all other fields are `*`.
fn understood(place: usize, text: &str) -> bool {
    if !is_plain(text) {
        return false;
    }
    let mut fields = ["*"; FIELDS.len()];
    fields[place] = text;
    read(&fields.join(" ")).is_some()
}

/// As in cron, day of month and day of week must both match if one of them begins with `*`; otherwise one is enough.
fn read(expression: &str) -> Option<Cron> {
    let fields: Vec<&str> = expression.split_whitespace().collect();
    let begins_with_star = |from_end: usize| {
        fields.len().checked_sub(from_end).and_then(|at| fields.get(at)).is_some_and(|field| field.starts_with('*'))
    };
    let both = begins_with_star(1) || begins_with_star(3);
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).dom_and_dow(both).build();
    parser.parse(expression).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_fields_six_fields_and_nicknames_are_read() {
        for expression in [
            "15 * * * *",
            "  15  *\t* * * ",
            "30 15 * * * *",
            "@hourly",
            "@Daily",
            "@midnight",
            "@weekly",
            "@monthly",
            "@yearly",
            "@annually",
            "0 9 * jan-mar MON-FRI",
            "0 0 L * *",
            "0 0 15W * *",
            "0 0 * * MON#1",
            "0 0 ? * 5L",
            "0 0 1-7 * +MON",
        ] {
            assert!(parse(expression).is_ok(), "{expression}");
        }
    }

    #[test]
    fn p9_a_wrong_expression_causes_an_error_that_says_what_to_write() {
        for (expression, expected) in [
            ("", "is not a schedule; write five fields such as `15 * * * *`, or leave `schedule` out"),
            (
                "@fortnightly",
                "is not a schedule; write `@yearly`, `@monthly`, `@weekly`, `@daily`, `@hourly`, or five fields",
            ),
            ("15 * * *", "has 4 fields; write five (minute hour day-of-month month day-of-week) or six (second first)"),
            (
                "61 * * * *",
                "is not a schedule: minute `61` is invalid; write 0-59, *, */15, or a list or range of them",
            ),
            ("0 25 * * *", "is not a schedule: hour `25` is invalid; write 0-23, *, */2, or a list or range of them"),
            (
                "0,,5 * * * *",
                "is not a schedule: minute `0,,5` is invalid; write 0-59, *, */15, or a list or range of them",
            ),
        ] {
            assert_eq!(parse(expression).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn p9_nonsense_is_refused_and_never_panics() {
        let many = "0 0 1 1 * * *".repeat(100);
        for expression in [
            "a b c d e",
            "*/0 * * * *",
            "5-1 * * * *",
            "1,,2 * * * *",
            "0 9, * * *",
            "0 9 * * MON,",
            ", * * * *",
            "0 0 0 * *",
            "0 0 32 * *",
            "0 0 * 13 *",
            "0 0 * * 8",
            "0 0 * * * * 2030",
            "@ * * * *",
            "-1 * * * *",
            "1/2 * * * *",
            "é * * * *",
            "0 0 * * MON#9",
            "99999999999999999999 * * * *",
            "* * * * * * * * *",
            "0 0 W * *",
            "0 0 # * *",
            "/ / / / /",
            many.as_str(),
        ] {
            assert!(parse(expression).is_err(), "{expression}");
        }
    }
}
