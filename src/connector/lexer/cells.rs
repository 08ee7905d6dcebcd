//! Cells of the SLA file in the form that their columns take (`facts/lexer.md §6.2`). The draft that names the columns types
//! all of them as text and does not say how times and flags are written, so any usual way is understood. What is
//! understood in no way stays as it came, and is kept in `_extra` by the loader.

use std::borrow::Cow;

use chrono::NaiveDateTime;

/// The header as documented.
pub(super) const REPLY_DATE: &str = "Agent Reponse Date (UTC)";
/// The same as it would be spelt right.
const REPLY_DATE_SPELT: &str = "Agent Response Date (UTC)";
/// In UTC, as their titles say.
const MOMENTS: [&str; 3] = ["Last Action Date (UTC)", "Customer Publish Date (UTC)", REPLY_DATE];
const FLAGS: [&str; 2] = ["Within Customer SLA", "Within Agent SLA"];
const TIMES: [&str; 5] =
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M:%S%.f"];

/// A value instead of the one that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Moment(String),
    Flag(bool),
}

/// The documented spelling of a title.
pub(super) fn title(name: &str) -> &str {
    if name == REPLY_DATE_SPELT { REPLY_DATE } else { name }
}

/// What a cell of that title says, if it is to be written another way than it came. `text` is what the cell holds.
pub(super) fn read(title: &str, text: impl FnOnce() -> Option<Cow<'static, str>>) -> Option<Cell> {
    if MOMENTS.contains(&title) {
        return moment(text()?.trim()).map(Cell::Moment);
    }
    if FLAGS.contains(&title) {
        return flag(text()?.trim()).map(Cell::Flag);
    }
    None
}

/// A time without a zone as one in UTC. None where a zone is told, or nothing is understood: a date alone, or one whose day and
/// month could be either.
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
    fn times_are_utc_and_flags_are_flags_in_any_usual_spelling() {
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
