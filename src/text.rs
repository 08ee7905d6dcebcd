//! Makes external text safe to show on a terminal, in a log and on a page.
//!
//! [`shown`] decides for all of them how a character is shown. A vendor, the database, the configuration or a file name
//! may contain any character; some make a reader see a different text.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};

/// Whether `c` has no width and no glyph of its own: format characters and others that Unicode calls ignorable by
/// default. They are invisible between two letters.
pub const fn is_invisible(c: char) -> bool {
    is_variation_selector(c)
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}')
        || matches!(c, '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}')
        || matches!(c, '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether a reader sees at least one character.
pub fn is_readable(text: &str) -> bool {
    text.chars().any(is_visible)
}

/// Whether `c` has a glyph of its own.
fn is_visible(c: char) -> bool {
    // They are blank although they have a width, join others, or stand for something that is not there.
    let is_blank = matches!(c, '\u{2800}' | '\u{fffc}' | '\u{13430}'..='\u{13442}' | '\u{16fe4}' | '\u{1d159}');
    // They belong to the character before them.
    let is_mark = matches!(c, '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}')
        || matches!(c, '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}');
    // Each font shows them as it likes, or not.
    let is_private = matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{f0000}'..='\u{10ffff}');
    !(c.is_whitespace() || c.is_control() || is_invisible(c) || is_blank || is_mark || is_private)
}

/// Variation selectors: they choose between two glyphs of the character before them, most often an emoji.
const fn is_variation_selector(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}')
}

/// Whether `c` is a control character (C0, DEL, C1), ends a line, changes the direction of text or is invisible.
pub const fn steers(c: char) -> bool {
    shown(c) != c
}

/// The character that is shown for `c`: a blank for tabs and line ends, U+FFFD for everything else that a terminal
/// would interpret or a reader would not see, and `c` itself otherwise.
pub const fn shown(c: char) -> char {
    match c {
        '\t'..='\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => ' ',
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => char::REPLACEMENT_CHARACTER,
        c if is_invisible(c) && !is_variation_selector(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

/// Whether `text` has only visible ASCII characters and blanks, which are shown unchanged. Most text does, and this is
/// found out much faster.
fn is_visible_ascii(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// The same for text with line feeds.
fn has_visible_ascii_lines(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~'))
}

/// `text` on one line, with [`shown`] for every character.
pub fn plain(text: &str) -> String {
    if is_visible_ascii(text) { text.to_owned() } else { text.chars().map(shown).collect() }
}

/// `text` on as many lines as it has, with [`shown`] for every other character.
pub fn lines(text: &str) -> Cow<'_, str> {
    let keeps = |c: char| c == '\n' || !steers(c);
    if has_visible_ascii_lines(text) || text.chars().all(keeps) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if keeps(c) { c } else { shown(c) }).collect())
}

/// `text` on one line, with an escape such as `\u{202e}` for every character that would not be shown unchanged. For
/// configuration errors, where the reader has to find the character.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if !steers(c) {
            line.push(c);
        } else if c.escape_debug().len() > 1 {
            line.extend(c.escape_debug());
        } else {
            line.extend(c.escape_unicode());
        }
    }
    Cow::Owned(line)
}

/// Marks where text that a vendor wrote begins and ends in an error or a state.
const VENDOR_TEXT: [char; 2] = ['“', '”'];

/// Text that a vendor wrote, in the only form in which errors and states contain such text: in quotation marks, of
/// which it has none itself. [`without_vendor_text`] removes it. "nothing" for an empty text.
pub fn of_vendor(text: &str) -> String {
    if text.is_empty() {
        return "nothing".to_owned();
    }
    let [begin, end] = VENDOR_TEXT;
    format!("{begin}{}{end}", text.replace(VENDOR_TEXT, "\""))
}

/// `text` with `“…”` for everything that a vendor wrote, for readers outside the installation.
pub fn without_vendor_text(text: &str) -> Cow<'_, str> {
    let [begin, end] = VENDOR_TEXT;
    if !text.contains(begin) {
        return Cow::Borrowed(text);
    }
    let (mut kept, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, foreign)) = rest.split_once(begin) {
        kept.extend([before, "“…”"]);
        // A text that was shortened has no end.
        rest = foreign.split_once(end).map_or("", |(_, after)| after);
    }
    kept.push_str(rest);
    Cow::Owned(kept)
}

/// The same JSON document, with `\u` escapes for characters that would not be shown unchanged. Its meaning is the same
/// and it cannot control a terminal. Line feeds between tokens stay.
pub fn json(document: &str) -> Cow<'_, str> {
    let keeps = |c: char| c == '\n' || !steers(c);
    if has_visible_ascii_lines(document) || document.chars().all(keeps) {
        return Cow::Borrowed(document);
    }
    let mut text = String::with_capacity(document.len());
    for c in document.chars() {
        if keeps(c) {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    Cow::Owned(text)
}

/// A message as a sentence: with a capital letter and a final point.
pub fn sentence(message: &str) -> String {
    let mut characters = message.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    first + &ended(characters.as_str())
}

/// A message with a final point, unless it ends like a sentence already.
pub fn ended(message: &str) -> String {
    let end = if message.ends_with(['.', '?', '!', '…']) { "" } else { "." };
    format!("{message}{end}")
}

/// In milliseconds, largest first.
pub(crate) const DURATION_UNITS: &[(&str, u64)] =
    &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A duration in the usual notation: `1h30m`.
pub fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, unit) in DURATION_UNITS {
        if rest >= *unit {
            let _ = write!(text, "{}{name}", rest / unit);
            rest %= unit;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// The end of the minute of a time until which something waits: shown without seconds, it must not be over before.
pub fn up_to_minute(at: DateTime<Utc>) -> DateTime<Utc> {
    let minute = TimeDelta::minutes(1);
    at.duration_trunc(minute).map_or(at, |begin| if begin == at { at } else { begin + minute })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_until_which_something_waits_is_rounded_up_to_the_next_minute() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        assert_eq!(up_to_minute(at("2026-11-30T17:03:59.960Z")), at("2026-11-30T17:04:00Z"));
        assert_eq!(up_to_minute(at("2026-11-30T17:03:00.000001Z")), at("2026-11-30T17:04:00Z"));
        assert_eq!(up_to_minute(at("2026-11-30T17:03:00Z")), at("2026-11-30T17:03:00Z"));
        assert_eq!(up_to_minute(DateTime::<Utc>::MAX_UTC), DateTime::<Utc>::MAX_UTC);
    }

    /// One character of every kind that must not be shown unchanged.
    const HOSTILE: &[char] = &[
        '\0',
        '\u{7}',
        '\u{1b}',
        '\u{7f}',
        '\u{9b}',
        '\u{ad}',
        '\u{61c}',
        '\u{180e}',
        '\u{200b}',
        '\u{200c}',
        '\u{200d}',
        '\u{200e}',
        '\u{200f}',
        '\u{202a}',
        '\u{202e}',
        '\u{2060}',
        '\u{2064}',
        '\u{2066}',
        '\u{2069}',
        '\u{feff}',
        '\u{fff9}',
        '\u{e0041}',
    ];

    #[test]
    fn p7_control_and_invisible_characters_are_replaced() {
        for c in HOSTILE {
            let text = format!("a{c}b");
            assert_eq!(plain(&text), "a\u{fffd}b", "{c:?}");
            assert_eq!(lines(&text), "a\u{fffd}b", "{c:?}");
            assert!(escaped(&text).is_ascii() && escaped(&text).contains('\\'), "{c:?}");
        }
        for c in ['\t', '\n', '\u{b}', '\u{c}', '\r', '\u{85}', '\u{2028}', '\u{2029}'] {
            assert_eq!(plain(&format!("a{c}b")), "a b", "{c:?}");
        }
        assert_eq!(lines("a\nb\tc\rd"), "a\nb c d");
        assert_eq!(escaped("a\n\u{202e}b é"), r"a\n\u{202e}b é");
    }

    #[test]
    fn p7_what_a_vendor_wrote_can_be_removed_from_any_error() {
        for (written, sent) in [
            (format!("status 400, {}", of_vendor("maria@example.com")), "status 400, “…”"),
            (format!("{}: {} (2)", of_vendor("maria"), of_vendor("” “+56 9”")), "“…”: “…” (2)"),
            (of_vendor("”") + " and more", "“…” and more"),
            ("it said “maria@exam".to_owned(), "it said “…”"),
            (of_vendor(""), "nothing"),
            ("the vendor responded with status 401".to_owned(), "the vendor responded with status 401"),
        ] {
            assert_eq!(without_vendor_text(&written), sent, "{written}");
            assert_eq!(without_vendor_text(sent), sent);
        }
    }

    #[test]
    fn p7_text_without_a_visible_character_is_not_readable() {
        for blank in [
            "",
            " ",
            "\u{2800}",
            "\u{3164}",
            "\u{ffa0}",
            "\u{115f}\u{1160}",
            "\u{200b} \u{2060}",
            "\u{1d159}",
            "\u{3000}",
            "\u{16fe4}",
            "\u{13441}",
            "\u{13442}",
            "\u{1680}",
            "\u{e0041}",
            "\u{fffc}",
            "\u{301}",
            "\u{fe0f}",
            "\u{13430}",
            "\u{e000}",
            "\u{0}\u{85}",
        ] {
            assert!(!is_readable(blank), "{blank:?}");
        }
        for text in
            ["x", "7", "\u{2800}x", "заметка", "保守", "صيانة", "…é", "—", "?", "🔧", "❤\u{fe0f}", "👩\u{200d}🔧", "🇨🇱"]
        {
            assert!(is_readable(text), "{text:?}");
        }
    }

    #[test]
    fn every_character_is_shown_alone_as_within_other_text() {
        for c in (0..=0x2fff).filter_map(char::from_u32) {
            let text = c.to_string();
            assert_eq!(plain(&text), shown(c).to_string(), "{c:?}");
            assert_eq!(plain(&format!("{c}é")), format!("{}é", shown(c)), "{c:?}");
            let kept = if c == '\n' { c } else { shown(c) };
            assert_eq!(lines(&text), kept.to_string(), "{c:?}");
            assert_eq!(json(&text) == *text, c == '\n' || !steers(c), "{c:?}");
        }
    }

    #[test]
    fn ordinary_text_is_unchanged() {
        let text = "Año 2026, „Straße“, שלום, مرحبا, 日本語, ❤\u{fe0f} a\u{a0}b – c…";
        assert_eq!(plain(text), text);
        assert_eq!(lines(text), text);
        assert_eq!(escaped(text), text);
        assert_eq!(json(text), text);
    }

    #[test]
    fn p7_a_json_document_cannot_control_a_terminal_and_keeps_its_meaning() {
        let hostile: String = HOSTILE.iter().collect::<String>() + "\u{2028}\n\t";
        let document = serde_json::to_string_pretty(&serde_json::json!({ "name": hostile })).unwrap();
        let text = json(&document);
        assert!(!text.chars().any(|c| c != '\n' && steers(c)), "{text:?}");
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["name"], *hostile);
    }
}
