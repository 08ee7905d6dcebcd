//! Converts cells of the SLA file to the types of their columns (`facts/lexer.md §6.2`). The draft that names the
//! columns does not specify the formats of times and flags, so all usual formats are accepted. Other values stay
//! unchanged, and the loader keeps them in `_extra`.

use std::borrow::Cow;

use chrono::NaiveDateTime;

/// The header as documented.
const REPLY_DATE: &str = "Agent Reponse Date (UTC)";
/// The header in correct spelling.
const REPLY_DATE_SPELT: &str = "Agent Response Date (UTC)";
/// Times in UTC, as their titles state.
const MOMENTS: [&str; 3] = ["Last Action Date (UTC)", "Customer Publish Date (UTC)", REPLY_DATE];
const FLAGS: [&str; 2] = ["Within Customer SLA", "Within Agent SLA"];
const TIMES: [&str; 5] =
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M:%S%.f"];

/// A converted value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Moment(String),
    Flag(bool),
}

/// The documented spelling of a title.
pub(super) fn title(name: &str) -> &str {
    if name == REPLY_DATE_SPELT { REPLY_DATE } else { name }
}

/// The value of a cell with that title, if it must be converted. `text` returns the content of the cell.
pub(super) fn read(title: &str, text: impl FnOnce() -> Option<Cow<'static, str>>) -> Option<Cell> {
    if MOMENTS.contains(&title) {
        return moment(text()?.trim()).map(Cell::Moment);
    }
    if FLAGS.contains(&title) {
        return flag(text()?.trim()).map(Cell::Flag);
    }
    None
}

/// Reads a time without a zone as UTC. Returns `None` for a time with a zone, a date without a time, or a format whose
/// day and month are ambiguous.
fn moment(text: &str) -> Option<String> {
    let bare = text.strip_suffix("UTC").map_or(text, str::trim_end);
    let at = TIMES.iter().find_map(|form| NaiveDateTime::parse_from_str(bare, form).ok())?;
    Some(at.and_utc().to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
}

fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_and_flags_are_flags_in_any_usual_format() {
        let read = |title: &str, text: &'static str| read(title, || Some(Cow::Borrowed(text)));
        let at = Some(Cell::Moment("2025-03-01T09:15:00Z".to_owned()));
        for text in [
            "2025-03-01 09:15:00",
            "2025-03-01T09:15:00",
            "2025-03-01 09:15",
            "2025-03-01 09:15:00 UTC",
            " 2025-03-01 09:15:00.000 ",
            "2025/03/01 09:15:00",
        ] {
            assert_eq!(read("Customer Publish Date (UTC)", text), at, "{text}");
        }
        for text in ["", "2025-03-01T09:15:00Z", "2025-03-01 09:15:00+02:00", "01/03/2025 09:15", "2025-03-01", "now"] {
            assert_eq!(read(REPLY_DATE, text), None, "{text}");
        }
        for (text, value) in [("true", true), ("Yes", true), ("1", true), ("FALSE", false), ("no", false), ("0", false)]
        {
            assert_eq!(read("Within Agent SLA", text), Some(Cell::Flag(value)), "{text}");
        }
        for text in ["", "2", "n/a"] {
            assert_eq!(read("Within Customer SLA", text), None, "{text}");
        }
        assert_eq!(read("State", "true"), None);
        assert_eq!(title("Agent Response Date (UTC)"), REPLY_DATE);
    }
}
