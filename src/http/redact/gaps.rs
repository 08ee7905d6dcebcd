//! Gaps that may be between the letters of a secret: terminal sequences, line breaks, blanks, tags, and the frame of a
//! dump.

/// Maximum separator bytes between two letters of a secret; without a bound, the time would be quadratic.
pub(super) const GAP_MAX: usize = 64;
/// Begins a terminal sequence, such as the one for red text: ESC `[31m`.
pub(super) const ESC: u8 = 0x1b;
/// Ends a sequence that contains a text, such as the one for a window's title: ESC `]0;title` BEL.
pub(super) const BEL: u8 = 0x07;
/// How programs and JSON write ESC, and whether this includes the `[` after it.
pub(super) const ESCAPES: [(&str, bool); 10] = [
    ("\\u001b", false),
    ("\\x1b", false),
    ("\\033", false),
    ("\\e", false),
    ("\\u{1b}", false),
    ("^[", false),
    ("\\u009b", true),
    ("\\x9b", true),
    ("\\u{9b}", true),
    ("\\233", true),
];
/// How programs and JSON write BEL.
pub(super) const BELLS: [&str; 5] = ["\\u0007", "\\x07", "\\007", "\\u{7}", "\\a"];
/// Maximum length of a dump's row in hexadecimal digits.
pub(super) const DUMP_ROW_MAX: usize = 72;
/// Bytes between the last byte of a dump's row and the end of its line: two blanks and 16 characters, with a frame.
const DUMP_COLUMN_MAX: usize = 28;
/// The longest text of a terminal's sequence: a link's address, for example.
const SEQUENCE_TEXT_MAX: usize = 256;

/// The possible ends of a terminal sequence that begins before `at`, with a `[` there if `opens` is false. Terminals
/// differ in what they treat as a sequence, and it may be truncated. So it may end at each byte of its parameters.
pub(super) fn sequence(bytes: &[u8], at: usize, opens: bool, ends: &mut Vec<usize>) {
    ends.push(at);
    let parameters = match bytes.get(at) {
        _ if opens => at,
        Some(b'[') => at + 1,
        // A text up to BEL, or to ESC and a backslash.
        Some(b']' | b'P' | b'X' | b'^' | b'_') => {
            ends.push(at + 1);
            ends.extend(sequence_text_end(bytes, at + 1));
            return;
        }
        Some(b' '..=b'/') => at,
        // Two characters, such as ESC 7.
        Some(b'0'..=b'~') => return ends.push(at + 1),
        _ => return,
    };
    let count = bytes[parameters..].iter().take(GAP_MAX).take_while(|byte| matches!(byte, b' '..=b'?')).count();
    let end = parameters + count;
    ends.extend(parameters..=end);
    if matches!(bytes.get(end), Some(b'@'..=b'~')) {
        ends.push(end + 1);
    }
}

pub(super) fn sequence_text_end(bytes: &[u8], at: usize) -> Option<usize> {
    (at..bytes.len().min(at + SEQUENCE_TEXT_MAX)).find_map(|place| {
        let rest = &bytes[place..];
        match rest[0] {
            BEL => Some(place + 1),
            // The backslash follows as a sequence of its own.
            ESC => Some(place),
            b'\\' => {
                let bell = BELLS.iter().find(|bell| starts(rest, bell)).map(|bell| place + bell.len());
                bell.or_else(|| ESCAPES.iter().any(|(escape, _)| starts(rest, escape)).then_some(place))
            }
            _ => None,
        }
    })
}

pub(super) fn starts(rest: &[u8], with: &str) -> bool {
    rest.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()))
}

pub(super) fn blanks(rest: &[u8]) -> usize {
    rest.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == b'\x0b').count()
}

/// The length of the line breaks that `rest` begins with, as they are or as escapes.
pub(super) fn line_break(rest: &[u8]) -> Option<usize> {
    let mut end = 0;
    loop {
        end += match &rest[end..] {
            [b'\r' | b'\n', ..] => 1,
            rest if starts(rest, "\\r") || starts(rest, "\\n") => 2,
            _ => return (end > 0).then_some(end),
        };
    }
}

/// The length of blanks and line breaks.
pub(super) fn room(rest: &[u8]) -> usize {
    let mut end = 0;
    while end < GAP_MAX {
        let more = blanks(&rest[end..]);
        let more = if more > 0 { more } else { line_break(&rest[end..]).unwrap_or_default() };
        if more == 0 {
            break;
        }
        end += more;
    }
    end
}

/// The length of the end of one literal and the beginning of the next, with which programs concatenate long texts:
/// `" +`, `"`.
pub(super) fn concatenation(rest: &[u8]) -> Option<usize> {
    let quote = |rest: &[u8]| match rest {
        [b'\\', quote @ (b'"' | b'\'' | b'`'), ..] => Some((2, *quote)),
        [quote @ (b'"' | b'\'' | b'`'), ..] => Some((1, *quote)),
        _ => None,
    };
    let (mut end, opened) = quote(rest)?;
    end += room(&rest[end..]);
    if matches!(rest.get(end), Some(b'+' | b'.' | b',' | b'&' | b'\\')) && quote(&rest[end..]).is_none() {
        end += 1;
    }
    end += room(&rest[end..]);
    let (length, closed) = quote(&rest[end..])?;
    (closed == opened).then_some(end + length)
}

/// The end of the offset at the beginning of a dump's line, including the blanks after it.
pub(super) fn dump_offset(bytes: &[u8], at: usize) -> Option<usize> {
    let mut end = at + bytes[at..].iter().take_while(|byte| **byte == b' ').count();
    let digits = bytes[end..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    end += digits;
    if bytes.get(end) == Some(&b':') {
        end += 1;
    }
    let blanks = bytes[end..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    (matches!(digits, 4..=16) && blanks > 0).then_some(end + blanks)
}

/// The beginning of the next row of a dump if `at` is after the last byte of a row: it follows the text of the row, the
/// end of the line and an offset.
pub(super) fn dump_row(bytes: &[u8], at: usize) -> Option<usize> {
    let column = at..bytes.len().min(at + DUMP_COLUMN_MAX);
    let (place, length) = column.into_iter().find_map(|place| Some((place, line_break(&bytes[place..])?)))?;
    dump_offset(bytes, place + length)
}

/// The possible beginnings of the text of a dump's next row, if `at` is after the text of a row.
pub(super) fn dump_texts(bytes: &[u8], at: usize, ends: &mut Vec<usize>) {
    let line_end = if bytes[at] == b'|' { at + 1 } else { at };
    let Some(length) = line_break(&bytes[line_end..]) else { return };
    let Some(row) = dump_offset(bytes, line_end + length) else { return };
    let mut blanks = 0;
    let limit = bytes.len().min(row + DUMP_ROW_MAX);
    for (place, byte) in bytes.iter().copied().enumerate().take(limit).skip(row) {
        match byte {
            b' ' => blanks += 1,
            b'|' => return ends.push(place + 1),
            byte => {
                if blanks > 1 {
                    ends.push(place);
                }
                if !byte.is_ascii_hexdigit() {
                    return;
                }
                blanks = 0;
            }
        }
    }
}
