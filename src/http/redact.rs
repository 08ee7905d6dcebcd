//! Removes a connection's secrets from text that comes from its vendor.
//!
//! A secret is found as it is, in a JSON text, percent-encoded, as base64 and as hexadecimal digits; whole, or as a beginning or
//! an end of at least [`PART_MIN`] letters. It is also found with characters between its letters that nobody sees, broken by
//! what [`Spelling::gaps`] lists, and with terminal sequences within it. Where a byte may be a letter of the secret or
//! part of a gap, both readings are followed.
//!
//! The text is passed over once: at each place each spelling of each secret is compared over at most [`COMPARED_MAX`] bytes
//! and the gaps between them, so the work grows with the length of the text and no faster.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::secret::Secret;
use crate::text::{is_invisible, steers};

/// A longer vendor error text adds nothing.
const TEXT_CHARS_MAX: usize = 500;
/// Shorter values would match ordinary words.
const SECRET_BYTES_MIN: usize = 4;
/// Shorter pieces of base64 are compared case-sensitively, or they would match ordinary words.
const ANY_CASE_MIN: usize = 8;
/// Shorter spellings are not matched across blanks, or `the map` would contain the secret `them`. They are matched
/// across line breaks.
const BLANKS_MIN: usize = 8;
/// Maximum separator bytes between two letters of a secret; without a bound, the time would be quadratic.
const GAP_MAX: usize = 64;
/// Begins a sequence for the terminal, such as the one for red text: ESC `[31m`.
const ESC: u8 = 0x1b;
/// Ends a sequence that holds a text, such as the one for a window's title: ESC `]0;title` BEL.
const BEL: u8 = 0x07;
/// How programs and JSON write ESC, and whether the `[` after it is part of that.
const ESCAPES: [(&str, bool); 10] = [
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
/// How they write BEL.
const BELLS: [&str; 5] = ["\\u0007", "\\x07", "\\007", "\\u{7}", "\\a"];
/// The longest text of a terminal's sequence: a link's address, for example.
const SEQUENCE_TEXT_MAX: usize = 256;
/// The longest tag of HTML that may break a secret apart.
const TAG_MAX: usize = 64;
/// Bytes between the last byte of a dump's row and the end of its line: two blanks and 16 characters, with a frame.
const DUMP_COLUMN_MAX: usize = 28;
/// Bytes of a dump's row in hexadecimal digits.
const DUMP_ROW_MAX: usize = 72;
/// A beginning or an end of a secret that has so many letters is taken out too: some vendors shorten what they quote. Fewer letters
/// could be a word, so of a secret that is shorter itself, only the whole is taken out.
const PART_MIN: usize = 12;
/// Further letters are compared only where the same spelling was not followed before.
const COMPARED_MAX: usize = 32;
/// So many readings of what was compared are followed at a time, those with the shortest gaps.
const READINGS_MAX: usize = 8;
/// A run of letters as long as this, with points in it, is a signed token and no word.
const TOKEN_BYTES_MIN: usize = 40;

/// Knows a connection's secrets.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    spellings: Vec<Spelling>,
}

impl Redactor {
    pub fn new(secrets: Vec<Secret>) -> Self {
        Self { spellings: secrets.into_iter().flat_map(|secret| spellings(secret.expose())).collect() }
    }

    /// One that takes out whole secrets and no parts of them, for texts that may quote what is no secret in itself: the host of a
    /// database's URL, for example.
    pub fn of_whole(secrets: Vec<Secret>) -> Self {
        let mut redactor = Self::new(secrets);
        for spelling in &mut redactor.spellings {
            spelling.part_min = usize::MAX;
        }
        redactor
    }

    /// One that knows `secret` too: a token that was minted later.
    #[must_use]
    pub fn and(&self, secret: &Secret) -> Self {
        Self { spellings: self.spellings.iter().cloned().chain(spellings(secret.expose())).collect() }
    }

    /// `text` on one line, shortened. Replaces every secret in any case and encoding, everything that looks like a
    /// bearer token, and the query of every URL.
    pub fn clean(&self, text: &str) -> String {
        let text = self.without_secrets(text);
        let shown: String = text.chars().filter(|c| c.is_whitespace() || !steers(*c)).collect();
        let words: Vec<&str> = shown.split_whitespace().collect();
        // Again, because a secret with blanks may have been written with different blanks.
        let line = self.without_secrets(&words.join(" "));
        let line = without_tokens(&without_queries(&line));
        match line.char_indices().nth(TEXT_CHARS_MAX) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }

    /// `text` with `***` for every secret, otherwise unchanged.
    pub fn without_secrets(&self, text: &str) -> String {
        let visible = Visible::of(text);
        let mut kept = String::with_capacity(text.len());
        let mut from = 0;
        for found in self.find(&visible.bytes) {
            let start = text.floor_char_boundary(visible.places[found.start]).max(from);
            kept.push_str(&text[from..start]);
            kept.push_str("***");
            from = text.ceil_char_boundary(visible.places[found.end - 1] + 1);
        }
        kept.push_str(&text[from..]);
        kept
    }

    /// The ranges of secrets, in order and disjoint.
    fn find(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut all: Vec<Range<usize>> = Vec::new();
        // How far each spelling was followed. No byte is followed twice, however often a spelling repeats.
        let mut followed = vec![0; self.spellings.len()];
        let mut readings = Readings::default();
        let begins = self.begins();
        for at in (0..bytes.len()).filter(|at| begins[usize::from(bytes[*at])]) {
            for (spelling, followed) in self.spellings.iter().zip(&mut followed) {
                if let Some(end) = spelling.end(bytes, at, 0, at >= *followed, &mut readings) {
                    *followed = end.max(*followed);
                    add(&mut all, spelling.widened(bytes, at..end));
                }
                let Some(tail) = spelling.tail() else { continue };
                if let Some(end) = spelling.end(bytes, at, tail, true, &mut readings) {
                    let known = all.last().map_or(0, |last| last.end);
                    let start = spelling.start_of_end(bytes, at, tail, known, &mut readings);
                    add(&mut all, spelling.widened(bytes, start..end));
                }
            }
        }
        all
    }
}

impl Redactor {
    /// By byte, whether it may begin a secret or the end of one.
    fn begins(&self) -> [bool; 256] {
        let mut begins = [false; 256];
        for spelling in &self.spellings {
            let text = spelling.text.expose().as_bytes();
            let firsts = [Some(0), spelling.tail()].into_iter().flatten().filter_map(|place| text.get(place));
            for first in firsts {
                begins[usize::from(first.to_ascii_lowercase())] = true;
                begins[usize::from(first.to_ascii_uppercase())] = true;
            }
        }
        // Encoded letters begin with these, and two of base64 have two forms.
        for byte in b"%=\\+-/_" {
            begins[usize::from(*byte)] = true;
        }
        begins
    }
}

/// Adds `found` to ranges that are in order and apart from each other. It ends after the last of them begins.
fn add(all: &mut Vec<Range<usize>>, mut found: Range<usize>) {
    while let Some(last) = all.last().filter(|last| found.start <= last.end) {
        found = last.start.min(found.start)..last.end.max(found.end);
        all.pop();
    }
    all.push(found);
}

/// Places at which a comparison may go on.
#[derive(Debug, Default)]
struct Readings {
    /// After the letter that was compared last.
    now: Vec<usize>,
    /// After the next letter.
    next: Vec<usize>,
    /// Before the next letter, to be looked at.
    open: Vec<usize>,
}

/// The bytes of a text without those that nobody sees, and the place of each in the text.
struct Visible {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

impl Visible {
    fn of(text: &str) -> Self {
        let mut visible = Self { bytes: Vec::with_capacity(text.len()), places: Vec::with_capacity(text.len()) };
        let mut in_sequence_text = false;
        for (place, c) in text.char_indices() {
            let end = place + c.len_utf8();
            if is_seen(c) {
                visible.bytes.extend_from_slice(&text.as_bytes()[place..end]);
                visible.places.extend(place..end);
                continue;
            }
            let before: &[u8] = match (c, text.as_bytes().get(end)) {
                ('\u{1b}', Some(0x20..=0x7e)) | (char::REPLACEMENT_CHARACTER, Some(b'[' | b']')) => &[ESC],
                // It may stand for either of the two.
                ('\u{9b}', _) | (char::REPLACEMENT_CHARACTER, Some(0x20..=0x7e)) => &[ESC, b'['],
                ('\u{9d}', _) => &[ESC, b']'],
                ('\u{90}' | '\u{98}' | '\u{9e}' | '\u{9f}', _) => &[ESC, b'_'],
                ('\u{7}' | '\u{9c}', _) if in_sequence_text => &[BEL],
                _ => continue,
            };
            visible.bytes.extend_from_slice(before);
            visible.places.extend(before.iter().map(|_| place));
            in_sequence_text = before != [BEL];
        }
        visible
    }
}

/// U+FFFD may stand for such a character, where a text was made fit to be shown before it comes here.
fn is_seen(c: char) -> bool {
    c.is_whitespace() || !(steers(c) || is_invisible(c) || c == char::REPLACEMENT_CHARACTER)
}

/// One spelling of a secret.
#[derive(Debug, Clone)]
struct Spelling {
    /// Without invisible characters; never empty.
    text: Secret,
    encoding: Encoding,
    /// A part of the secret that has at least so many bytes of `text` is taken out.
    part_min: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Plain,
    /// Two hexadecimal digits for each byte.
    Hex,
    /// The base64 characters that depend only on the secret. `before` and `after` say whether the adjacent character
    /// depends on it too.
    Base64 {
        before: bool,
        after: bool,
    },
}

impl Spelling {
    const fn new(text: Secret, encoding: Encoding) -> Self {
        let part_min = match encoding {
            Encoding::Plain => PART_MIN,
            Encoding::Hex => PART_MIN * 2,
            Encoding::Base64 { .. } => PART_MIN * 4 / 3,
        };
        Self { text, encoding, part_min }
    }

    /// Where the shortest end begins that is taken out.
    fn tail(&self) -> Option<usize> {
        self.text.expose().len().checked_sub(self.part_min).filter(|tail| *tail > 0)
    }

    /// The end of the secret whose byte `first` is at `start`. If `follow` is false, it may go on after that.
    fn end(&self, bytes: &[u8], start: usize, first: usize, follow: bool, readings: &mut Readings) -> Option<usize> {
        let mut wanted = self.text.expose().bytes().enumerate().skip(first);
        let mut end = self.after(bytes, start, wanted.next()?.1)?;
        readings.now.clear();
        readings.now.push(end);
        for (index, wanted) in wanted {
            let compared = index - first;
            if compared >= COMPARED_MAX && !follow {
                break;
            }
            self.step(bytes, wanted, index, readings);
            match readings.now.iter().max() {
                Some(last) => end = *last,
                None if compared >= self.part_min.min(COMPARED_MAX) => break,
                None => return None,
            }
        }
        Some(end)
    }

    /// Where the end of the secret begins whose byte `index` is at `at`: as far before `at` as the text agrees. What was found up to
    /// `known` is not looked at again.
    fn start_of_end(
        &self,
        bytes: &[u8],
        mut at: usize,
        mut index: usize,
        known: usize,
        readings: &mut Readings,
    ) -> usize {
        let text = self.text.expose().as_bytes();
        let Some(mut after) = self.after(bytes, at, text[index]) else { return at };
        while index > 0 && at > known {
            let mut leads_here = |place: &usize| {
                let Some(next) = self.after(bytes, *place, text[index - 1]).filter(|next| *next <= at) else {
                    return false;
                };
                readings.now.clear();
                readings.now.push(next);
                self.step(bytes, text[index], index, readings);
                readings.now.contains(&after)
            };
            let nearest = at.saturating_sub(GAP_MAX + DUMP_ROW_MAX).max(known);
            let Some(before) = (nearest..at).rev().find(&mut leads_here) else { break };
            after = self.after(bytes, before, text[index - 1]).unwrap_or(at);
            (at, index) = (before, index - 1);
        }
        at
    }

    /// Moves every reading behind the byte `wanted`, which is number `index` of the secret, over the gaps before it.
    fn step(&self, bytes: &[u8], wanted: u8, index: usize, readings: &mut Readings) {
        let Readings { now, next, open } = readings;
        // Most letters have one reading, and no gap begins with a letter.
        if let [at] = now[..]
            && self.encoding != Encoding::Hex
            && bytes.get(at).is_some_and(u8::is_ascii_alphanumeric)
        {
            now.clear();
            now.extend(self.after(bytes, at, wanted));
            return;
        }
        next.clear();
        open.clear();
        let base = now.iter().copied().min().unwrap_or_default();
        open.append(now);
        // Gaps lead forward, and those that begin later than `GAP_MAX` are not crossed.
        let mut seen = 0_u128;
        while next.len() < READINGS_MAX
            && let Some(nearest) = (0..open.len()).min_by_key(|place| open[*place])
        {
            let at = open.swap_remove(nearest);
            if at - base <= GAP_MAX {
                if seen >> (at - base) & 1 == 1 {
                    continue;
                }
                seen |= 1 << (at - base);
                self.gaps(bytes, at, index, open);
            }
            next.extend(self.after(bytes, at, wanted).filter(|after| !next.contains(after)));
        }
        std::mem::swap(now, next);
    }

    /// The ends of what may break a secret apart at `at`, before its byte `index`.
    fn gaps(&self, bytes: &[u8], at: usize, index: usize, ends: &mut Vec<usize>) {
        let rest = &bytes[at..];
        let Some(first) = rest.first() else { return };
        if first.is_ascii_alphanumeric() && self.encoding != Encoding::Hex {
            return;
        }
        let is_long = self.text.expose().len() >= BLANKS_MIN;
        let blanks = blanks(rest);
        if blanks > 0 {
            let has_break = rest[..blanks].iter().any(|byte| matches!(byte, b'\r' | b'\n'));
            if is_long || has_break {
                ends.push(at + blanks);
            }
        }
        match first {
            &ESC => sequence(bytes, at + 1, false, ends),
            &BEL => ends.push(at + 1),
            b'\\' | b'^' => {
                if let Some((escape, opens)) = ESCAPES.iter().find(|(escape, _)| starts(rest, escape)) {
                    sequence(bytes, at + escape.len(), *opens, ends);
                }
                if let Some(bell) = BELLS.iter().find(|bell| starts(rest, bell)) {
                    ends.push(at + bell.len());
                }
                match rest.get(1) {
                    Some(b'n' | b'r' | b't' | b'v' | b'f' | b'N' | b'R' | b'T') if *first == b'\\' => ends.push(at + 2),
                    // A line that goes on in the next one.
                    Some(b'\r' | b'\n') => ends.push(at + 1),
                    _ => {}
                }
            }
            // So are lines of quoted-printable text.
            b'=' if line_break(&rest[1..]).is_some() => ends.push(at + 1),
            b'<' if rest.get(1).is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'/') => {
                ends.extend(rest.iter().take(TAG_MAX).position(|byte| *byte == b'>').map(|end| at + end + 1));
            }
            b'-' if self.encoding == Encoding::Plain && is_long => ends.push(at + 1),
            _ => {}
        }
        if is_long {
            ends.extend(concatenation(rest).map(|end| at + end));
        }
        if self.encoding != Encoding::Hex {
            dump_texts(bytes, at, ends);
        } else if index.is_multiple_of(2) {
            // Between the bytes of a dump.
            match first {
                b':' | b'-' | b',' => ends.push(at + 1),
                _ if starts(rest, "0x") || starts(rest, "\\x") => ends.push(at + 2),
                _ => {}
            }
            ends.extend(dump_row(bytes, at));
        }
    }

    /// The position after the byte `wanted`, if it is at `at`: plain, percent-encoded or escaped as in JSON.
    fn after(&self, bytes: &[u8], at: usize, wanted: u8) -> Option<usize> {
        let byte = *bytes.get(at)?;
        if self.is_same(byte, wanted) {
            return Some(at + 1);
        }
        let encoded = |from: usize| hex_pair(bytes.get(from..from + 2)?).filter(|byte| self.is_same(*byte, wanted));
        match byte {
            // In quoted-printable text as well.
            b'%' | b'=' => encoded(at + 1).map(|_| at + 3),
            b'\\' if bytes[at + 1..].starts_with(b"u00") => encoded(at + 4).map(|_| at + 6),
            b'\\' => bytes.get(at + 1).filter(|byte| self.is_same(**byte, wanted)).map(|_| at + 2),
            // As in a form.
            b'+' if wanted == b' ' => Some(at + 1),
            _ => None,
        }
    }

    fn is_same(&self, byte: u8, wanted: u8) -> bool {
        match self.encoding {
            Encoding::Plain | Encoding::Hex => byte.eq_ignore_ascii_case(&wanted),
            Encoding::Base64 { .. } => {
                let byte = match byte {
                    b'-' => b'+',
                    b'_' => b'/',
                    byte => byte,
                };
                byte == wanted || (self.text.expose().len() >= ANY_CASE_MIN && byte.eq_ignore_ascii_case(&wanted))
            }
        }
    }

    /// Extends the range by the adjacent characters that depend on a part of the secret, and by padding.
    fn widened(&self, bytes: &[u8], found: Range<usize>) -> Range<usize> {
        let Range { mut start, mut end } = found;
        let Encoding::Base64 { before, after } = self.encoding else { return start..end };
        let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
        if before && start.checked_sub(1).and_then(|at| bytes.get(at)).is_some_and(is_base64) {
            start -= 1;
        }
        if after && bytes.get(end).is_some_and(is_base64) {
            end += 1;
        }
        let padding = bytes[end..].iter().take(2).take_while(|byte| **byte == b'=').count();
        start..end + padding
    }
}

/// Where a sequence for the terminal may end that begins before `at`, with a `[` there if `opens` is false. Terminals differ in
/// what they take for one, and it may be cut short. So it may end at each byte of its parameters.
fn sequence(bytes: &[u8], at: usize, opens: bool, ends: &mut Vec<usize>) {
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

fn sequence_text_end(bytes: &[u8], at: usize) -> Option<usize> {
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

fn starts(rest: &[u8], with: &str) -> bool {
    rest.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()))
}

fn blanks(rest: &[u8]) -> usize {
    rest.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == b'\x0b').count()
}

/// The length of the line breaks that `rest` begins with, as they are or as escapes.
fn line_break(rest: &[u8]) -> Option<usize> {
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
fn room(rest: &[u8]) -> usize {
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

/// The length of the end of one literal and the beginning of the next, as programs put long texts together: `" +`, `"`.
fn concatenation(rest: &[u8]) -> Option<usize> {
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

/// The end of the offset that a line of a dump begins with, and of the blanks after it.
fn dump_offset(bytes: &[u8], at: usize) -> Option<usize> {
    let mut end = at + bytes[at..].iter().take_while(|byte| **byte == b' ').count();
    let digits = bytes[end..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    end += digits;
    if bytes.get(end) == Some(&b':') {
        end += 1;
    }
    let blanks = bytes[end..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    (matches!(digits, 4..=16) && blanks > 0).then_some(end + blanks)
}

/// Where the next row of a dump begins if `at` is after the last byte of a row: after the row's text, the end of the line and an
/// offset.
fn dump_row(bytes: &[u8], at: usize) -> Option<usize> {
    let column = at..bytes.len().min(at + DUMP_COLUMN_MAX);
    let (place, length) = column.into_iter().find_map(|place| Some((place, line_break(&bytes[place..])?)))?;
    dump_offset(bytes, place + length)
}

/// Where the text of a dump's next row may begin if `at` is after the text of a row.
fn dump_texts(bytes: &[u8], at: usize, ends: &mut Vec<usize>) {
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

fn hex_pair(digits: &[u8]) -> Option<u8> {
    let value = |digit: &u8| char::from(*digit).to_digit(16);
    let [high, low] = digits else { return None };
    u8::try_from(value(high)? * 16 + value(low)?).ok()
}

/// The spellings of `secret`; empty if it is too short to be searched for.
fn spellings(secret: &str) -> Vec<Spelling> {
    if secret.len() < SECRET_BYTES_MIN {
        return Vec::new();
    }
    let unpadded = secret.trim_end_matches('=');
    let json = serde_json::Value::from(secret).to_string();
    let mut texts = vec![
        secret.to_owned(),
        json[1..json.len() - 1].to_owned(),
        json_ascii(secret),
        // A secret that is itself base64.
        unpadded.to_owned(),
        unpadded.replace('+', "-").replace('/', "_"),
    ];
    for text in &mut texts {
        text.retain(is_seen);
    }
    texts.retain(|text| text.len() >= SECRET_BYTES_MIN);
    texts.sort();
    texts.dedup();
    let plain = texts.into_iter().map(|text| Spelling::new(Secret::new(text), Encoding::Plain));
    let digits = Spelling::new(Secret::new(hex::encode(secret)), Encoding::Hex);
    plain.chain([digits]).chain((0..3).filter_map(|skipped| base64_within(secret, skipped))).collect()
}

/// Escaped as by JSON writers that produce only ASCII.
fn json_ascii(secret: &str) -> String {
    let mut text = String::with_capacity(secret.len());
    for c in secret.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            text.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    text
}

/// The base64 form of `secret` inside a longer text, `skipped` bytes after a multiple of three. A base64 character
/// holds six bits, so the characters at the ends may depend on adjacent bytes and are left out.
fn base64_within(secret: &str, skipped: usize) -> Option<Spelling> {
    let mut bytes = vec![0; skipped];
    bytes.extend_from_slice(secret.as_bytes());
    let bits = bytes.len() * 8;
    let text = STANDARD_NO_PAD.encode(&bytes);
    let text = text.get((skipped * 8).div_ceil(6)..bits / 6).filter(|text| text.len() >= SECRET_BYTES_MIN)?;
    let encoding = Encoding::Base64 { before: skipped > 0, after: !bits.is_multiple_of(6) };
    Some(Spelling::new(Secret::from(text), encoding))
}

/// `text` with `***` for the query of every URL, absolute or relative. A question mark followed by a blank is not a
/// query.
fn without_queries(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '`' | '<' | '>');
    let mut kept = String::with_capacity(text.len());
    for word in text.split_inclusive(ends) {
        let (body, end) = word.split_at(word.rfind(ends).unwrap_or(word.len()));
        match body.split_once('?') {
            Some((path, query)) if !query.is_empty() && (path.contains('/') || query.contains('=')) => {
                kept.push_str(path);
                kept.push_str("?***");
            }
            _ => kept.push_str(body),
        }
        kept.push_str(end);
    }
    kept
}

/// Replaces signed tokens: long parts of base64 separated by dots, in any context.
fn without_tokens(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(in_token) {
        let (before, run) = rest.split_at(start);
        let (run, after) = run.split_at(run.find(|c| !in_token(c)).unwrap_or(run.len()));
        kept.push_str(before);
        let token = run.len() >= TOKEN_BYTES_MIN && run.matches('.').count() >= 2;
        kept.push_str(if token { "***" } else { run });
        rest = after;
    }
    kept.push_str(rest);
    kept
}

const fn in_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::super::basic;
    use super::*;

    #[test]
    fn p7_secrets_and_tokens_are_removed_and_long_text_is_shortened() {
        let redactor = Redactor::new(vec![Secret::new("s3cret-value"), Secret::new("a"), Secret::new("q\"uote\\d")]);
        assert_eq!(redactor.clean("bad\nsecret s3cret-value, again: 's3cret-value'"), "bad secret ***, again: '***'");
        assert_eq!(redactor.clean("S3CRET-Value and é S3cret-value"), "*** and é ***");
        assert_eq!(redactor.clean(r#"{"raw":"q\"uote\\d"} q"uote\d"#), r#"{"raw":"***"} ***"#);
        let token = format!("{}.{}.{}", "e".repeat(30), "f".repeat(30), "g".repeat(30));
        assert_eq!(redactor.clean(&format!("token {token} expired")), "token *** expired");
        let inside = format!(r#"{{"url":"https://x/?t={token}","why":"expired"}}"#);
        assert_eq!(redactor.clean(&inside), r#"{"url":"https://x/?***","why":"expired"}"#);
        assert_eq!(redactor.and(&Secret::new("opaque")).clean("an opaque one"), "an *** one");
        assert_eq!(redactor.clean(&"x".repeat(5000)).chars().count(), TEXT_CHARS_MAX + 1);
    }

    #[test]
    fn p7_a_secret_that_contains_another_is_removed_completely() {
        let redactor = Redactor::new(vec![Secret::new("acme"), Secret::new("acme-t0ken")]);
        assert_eq!(redactor.clean("acme-t0ken of acme"), "*** of ***");
        assert_eq!(redactor.and(&Secret::new("x-acme-t0ken-y")).clean("x-acme-t0ken-y"), "***");
    }

    #[test]
    fn p7_terminal_controls_are_dropped_and_do_not_hide_a_secret() {
        let redactor = Redactor::new(vec![Secret::new("s3cret-value"), Secret::new("tab\tbed")]);
        assert_eq!(redactor.clean("a\u{1b}[31mred\u{7}\r\nlevel=ERROR \u{202e}x\u{9b}2J"), "a[31mred level=ERROR x2J");
        for hidden in
            ["s3c\u{1}ret-value", "s3cret\u{202e}-value", "\u{feff}s\u{0}3cret-val\u{7f}ue", "tab\t\u{2066}bed"]
        {
            assert_eq!(redactor.clean(hidden), "***", "{hidden:?}");
        }
        assert_eq!(redactor.clean("tab\tbed"), "***");
        let token = format!("{}.{}\u{1}{}.{}", "e".repeat(30), "f".repeat(9), "f".repeat(9), "g".repeat(30));
        assert_eq!(redactor.clean(&token), "***");
    }

    #[test]
    fn p7_secrets_are_found_in_all_spellings_of_urls_and_headers() {
        let redactor =
            Redactor::new(vec![Secret::new("abcd1234:0f/9+=é x"), basic("api-user", &Secret::new("p?a>s~s"))]);
        for spelt in [
            "abcd1234:0f/9+=é x",
            "abcd1234%3A0f%2F9%2B%3D%C3%A9%20x",
            "abcd1234%3a0f%2f9%2b%3d%c3%a9+x",
            "%41bcd1234:0F/9%2B=%C3%a9%20X",
            r"abcd1234:0f/9+=é x",
        ] {
            assert_eq!(
                redactor.clean(&format!("no /p/{spelt}/sessions, really")),
                "no /p/***/sessions, really",
                "{spelt}"
            );
        }
        for header in ["YXBpLXVzZXI6cD9hPnN+cw==", "YXBpLXVzZXI6cD9hPnN-cw", "YXBpLXVzZXI6cD9hPnN%2Bcw%3D%3D"] {
            let cleaned = redactor.clean(&format!("Authorization: Basic {header}"));
            assert!(cleaned.starts_with("Authorization: Basic ***") && cleaned.len() < 32, "{cleaned}");
        }
        assert_eq!(redactor.clean("100% of 5%, %zz, %4, abcd1234%3"), "100% of 5%, %zz, %4, abcd1234%3");
    }

    #[test]
    fn p7_invisible_characters_do_not_hide_a_secret() {
        let redactor = Redactor::new(vec![Secret::new("s3cret-value"), Secret::new("with\u{200b}joiner")]);
        for c in ('\u{200b}'..='\u{200f}')
            .chain('\u{202a}'..='\u{202e}')
            .chain('\u{2060}'..='\u{2064}')
            .chain('\u{2066}'..='\u{2069}')
            .chain(['\u{ad}', '\u{34f}', '\u{61c}', '\u{180e}', '\u{fe0f}', '\u{feff}', '\u{e0041}', '\u{1}'])
        {
            let between = |text: &str| {
                let letters: Vec<String> = text.chars().map(String::from).collect();
                letters.join(&format!("{c}{c}"))
            };
            assert_eq!(redactor.clean(&format!("key {} is bad", between("s3cret-value"))), "key *** is bad", "{c:?}");
            assert_eq!(redactor.clean(&between("czNjcmV0LXZhbHVl")), "***", "{c:?}");
            assert_eq!(redactor.clean(&between("%733cret%2Dvalue")), "***", "{c:?}");
            assert_eq!(redactor.clean(&between("withjoiner")), "***", "{c:?}");
        }
        assert_eq!(redactor.without_secrets("a\u{200b}b s3cret\u{200b}-value\n"), "a\u{200b}b ***\n");
        assert_eq!(redactor.without_secrets("a\u{fffd}b s3c\u{fffd}\u{fffd}ret-value"), "a\u{fffd}b ***");
    }

    #[test]
    fn p7_secrets_are_found_in_base64_at_each_alignment_and_in_hexadecimal() {
        use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
        for secret in ["s3cret-value", "p?a>s~s", "ab~?", "é>>>???é", "0123456789012345678901234567890123456789"] {
            let redactor = Redactor::new(vec![Secret::new(secret)]);
            for before in ["", "u", "us", "use", "api-user:", "{\"password\":\""] {
                for after in ["", "\"", "\"}", ", and more"] {
                    let text = format!("{before}{secret}{after}");
                    for encoded in [
                        STANDARD.encode(&text),
                        STANDARD_NO_PAD.encode(&text),
                        URL_SAFE.encode(&text),
                        URL_SAFE_NO_PAD.encode(&text),
                    ] {
                        let shown = redactor.clean(&format!("Basic {encoded} refused"));
                        assert!(shown.contains("***"), "{text}: {encoded}: {shown}");
                        let left = shown.split(' ').nth(1).unwrap();
                        // The rest of the encoded text contains only what surrounded the secret.
                        let around = (before.len() + after.len()) * 4 / 3 + 3;
                        assert!(left.len() <= around + 3, "{text}: {encoded}: {shown}");
                    }
                }
            }
            assert_eq!(redactor.clean(&format!("x{}y", hex::encode(secret))), "x***y");
            assert_eq!(redactor.clean(&hex::encode_upper(format!("u:{secret}"))), "753A***");
        }
        let redactor = Redactor::new(vec![Secret::new("s3cret-value")]);
        assert_eq!(redactor.clean("dTpzM2Ny\r\nZXQtdmFsdWU="), "dT***");
        assert_eq!(redactor.clean("dTpzM2NyZXQtdmFsdWU%3D"), "dT***%3D");
        assert_eq!(redactor.clean("the word user stays, so does abcd"), "the word user stays, so does abcd");
        assert_eq!(Redactor::new(vec![Secret::new("abc")]).clean("abc YWJj 616263"), "abc YWJj 616263");
    }

    #[test]
    fn p7_a_secret_that_is_broken_by_lines_blanks_or_colours_is_found() {
        let redactor = Redactor::new(vec![Secret::new("s3cret-value"), Secret::new("them")]);
        for broken in [
            "s3cret\n-value",
            "s3c\r\n   ret-val\tue",
            "s3cret -\u{b} value",
            "s 3 c r e t - v a l u e",
            r"s3cret\n-val\r\nue",
            "s3c\u{1b}[1;31mret\u{1b}[0m\u{1b}[K-value",
            "s3c\u{9b}31mret-value",
            "s3c\u{fffd}[31mret-value",
            r"s3c\u001b[31mret\u001B[0m-value",
            r"s3c\x1b[31mret-value",
            "s3c\u{1b}[31m\nret-value",
            "czNjcmV0\r\nLXZh\n  bHVl",
            "czNj\u{1b}[31mcmV0LXZhbHVl",
            "th\nem",
            "th\u{1b}[31mem",
            "s3c\u{1b}(Bret\u{1b}7-val\u{1b}=ue",
            "s3c\u{1b}]0;the title\u{7}ret-value",
            "s3c\u{1b}]8;;https://x.example/a?b\u{1b}\\ret\u{9d}8;;\u{9c}-value",
            "s3c\u{90}q\u{9c}ret-value",
            r"s3c\u009b31mret\033[0m-val\e[1;31mue",
            r"s3c\u{1b}[31mret^[[0m-val\x9b0mue",
            r"s3c\u001b]0;title\u0007ret\x1b]0;title\a-value",
            r"s3c\tret\v-value",
            "s3cret<br>-val<br />ue",
            "s3c</b>ret<span style='color: red'>-value",
            "s3cret=\r\n-val=\nue",
            "s3cret=2Dvalue",
            "s3cret\" +\n    \"-value",
            "s3cret' . '-val' 'ue",
            r#"s3cret\" +\n \"-value"#,
            "s3cret\\\n-value",
            "s3cr-et-v-alue",
            "S3CR ET-V - ALUE",
        ] {
            assert_eq!(redactor.clean(&format!("key {broken} is bad")), "key *** is bad", "{broken:?}");
            assert_eq!(redactor.without_secrets(&format!("({broken})")), "(***)", "{broken:?}");
        }
        assert_eq!(redactor.without_secrets("\u{1b}[s3cret-value"), "\u{1b}[***");
        assert_eq!(redactor.without_secrets("\u{1b}[31ms3cret-value\u{1b}[0m"), "\u{1b}[31m***\u{1b}[0m");
        for other in ["the map, s3cret, val ue", "th-em [\"th\", \"em\"]", "a <b> c </b> \u{1b}[31mred s3cret"] {
            assert_eq!(redactor.without_secrets(other), other);
        }
    }

    #[test]
    fn p7_hexadecimal_digits_are_found_however_they_are_grouped() {
        let redactor = Redactor::new(vec![Secret::new("s3cret-value")]);
        let bytes: Vec<String> = "s3cret-value".bytes().map(|byte| format!("{byte:02X}")).collect();
        for between in [" ", ":", "-", ", ", "\n", " 0x", "\\x", ",0x"] {
            assert_eq!(redactor.clean(&format!("({})", bytes.join(between))), "(***)", "{between:?}");
        }
        let words: Vec<String> = bytes.chunks(2).map(<[String]>::concat).collect();
        assert_eq!(redactor.clean(&format!("00000000: {}  s3cr", words.join(" "))), "00000000: *** s3cr");
        assert_eq!(redactor.clean("73:33:63 and 7:3"), "73:33:63 and 7:3");
    }

    #[test]
    fn p7_dumps_of_several_lines_hide_no_secret() {
        let secret = "Zk3-9fQx.7LmW_2bTq8RdYv5dead0123beefcafe4567ab";
        let redactor = Redactor::new(vec![Secret::new(secret)]);
        for shift in 0..16 {
            let held = format!("{}{secret}, end", &"key is refused: "[16 - shift..]);
            for (is_framed, end) in [(false, "\n"), (true, "\n"), (false, "\r\n"), (true, "\\n")] {
                let mut dump = String::new();
                for (number, row) in held.as_bytes().chunks(16).enumerate() {
                    let text = std::str::from_utf8(row).unwrap();
                    let digits: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
                    let line = if is_framed {
                        let (left, right) = digits.split_at(digits.len().min(8));
                        let digits = format!("{}  {}", left.join(" "), right.join(" "));
                        format!("{:08x}  {digits:<48}  |{text}|{end}", number * 16)
                    } else {
                        let words: Vec<String> = digits.chunks(2).map(<[String]>::concat).collect();
                        format!("{:08x}: {:<39}  {text}{end}", number * 16, words.join(" "))
                    };
                    dump.push_str(&line);
                }
                let shown = redactor.without_secrets(&dump);
                let pieces = secret.as_bytes().windows(8).map(|piece| std::str::from_utf8(piece).unwrap());
                for piece in pieces {
                    assert!(!shown.contains(piece), "{shift} {is_framed}: {dump}{shown}");
                    let digits: Vec<String> = piece.bytes().map(|byte| format!("{byte:02x}")).collect();
                    let words: Vec<String> = digits.chunks(2).map(<[String]>::concat).collect();
                    assert!(!shown.contains(&digits.join(" ")) && !shown.contains(&words.join(" ")), "{dump}{shown}");
                }
            }
        }
        let harmless = "00000000: 6162 6364 6566  abcdef\n00000010: 6768 69  ghi\n";
        assert_eq!(redactor.without_secrets(harmless), harmless);
    }

    #[test]
    fn p7_text_that_nearly_holds_a_secret_again_and_again_takes_no_longer() {
        let redactor = Redactor::new(vec![Secret::new("aaaaaaaaaaab"), Secret::new("s3cret-value")]);
        let begun = std::time::Instant::now();
        for text in [
            "a \n".repeat(10_000),
            format!("s{}", " \n".repeat(100)).repeat(300),
            "\u{1b}[a".repeat(10_000),
            "s- ".repeat(10_000),
            format!("s{}3", "\u{1b}]".repeat(60)).repeat(200),
            "s\" + \"<b>\\u001b[3;3;".repeat(2_000),
            "73 |\n00000010  ".repeat(3_000),
        ] {
            assert_eq!(redactor.without_secrets(&text), text);
        }
        assert!(begun.elapsed() < std::time::Duration::from_mins(1), "{:?}", begun.elapsed());
    }

    #[test]
    fn p7_secrets_are_found_in_ascii_json_and_with_other_blanks() {
        let redactor = Redactor::new(vec![Secret::new("clé/du portail")]);
        for said in [r"cl\u00e9/du portail", r"cl\u00E9\/du portail", "clé\\u002Fdu\u{b}portail", "clé/du \n portail"]
        {
            assert_eq!(redactor.clean(&format!("'{said}'")), "'***'", "{said}");
        }
    }

    #[test]
    fn p7_overlapping_secrets_and_the_beginning_of_a_long_one_are_removed() {
        let redactor = Redactor::new(vec![Secret::new("foo-x"), Secret::new("x-other-secret")]);
        assert_eq!(redactor.clean("foo-x-other-secret!"), "***!");
        let long = "0123456789abcdefghijklmnopqrstuvwxyz".repeat(4);
        let redactor = Redactor::new(vec![Secret::new(long.as_str())]);
        assert_eq!(redactor.clean(&format!("({long})")), "(***)");
        assert_eq!(redactor.clean(&format!("({}…)", &long[..50])), "(***…)");
        assert_eq!(redactor.clean(&long[..31]), "***");
    }

    #[test]
    fn p7_a_shortened_secret_is_found_if_it_has_twelve_letters() {
        use base64::engine::general_purpose::STANDARD;
        let secret = "Zk3-9fQx.7LmW_2bTq8RdYv5";
        let redactor = Redactor::new(vec![Secret::new(secret), Secret::new("s3cret-value")]);
        let (hex, base64) = (hex::encode(secret), STANDARD.encode(secret));
        for part in [
            &secret[..12],
            &secret[..20],
            &secret[1..],
            &secret[5..],
            &secret[secret.len() - 12..],
            &hex[..24],
            &hex[10..],
            &base64[..20],
            &base64[base64.len() - 18..],
            "Zk3-9fQx.\n7LmW_2b",
            "9f\u{1b}[31mQx.7 LmW_2b\nTq8RdYv5",
        ] {
            assert_eq!(redactor.without_secrets(&format!("key ({part}...) is bad")), "key (***...) is bad", "{part:?}");
            assert_eq!(redactor.without_secrets(&format!("(...{part})")), "(...***)", "{part:?}");
        }
        for short in [&secret[..11], &secret[secret.len() - 11..], "s3cret-valu", "3cret-value"] {
            assert_eq!(redactor.clean(short), short);
        }
        // What repeats is taken out once, and what stands between two parts stays.
        let (start, end) = (&secret[..16], &secret[6..]);
        assert_eq!(redactor.clean(&format!("{start} or {end}{end}, {secret}!")), "*** or ***, ***!");
        let whole = Redactor::of_whole(vec![Secret::new(secret)]);
        assert_eq!(whole.clean(&format!("{start} {secret}")), format!("{start} ***"));
    }

    #[test]
    fn p7_where_a_letter_may_be_part_of_a_gap_both_readings_are_followed() {
        let redactor = Redactor::new(vec![Secret::new("s3cret-31m\\nvalue"), Secret::new("n-\"t<b>r:0a")]);
        for said in [
            "s\u{9b}31m3cret-31m\\nvalue",
            "s\u{1b}[31m3cret-31m\\nvalue",
            "s\u{1b}[3cret-31m\\nvalue",
            "s3cret-\u{9b}31m31m\\nvalue",
            "s3cret-31m\\\\n\\nvalue",
            "s3cret--31m\\nvalue",
            "s3cre\\t-31m\\nvalue",
            "n-\"\" + \"t<b>r:0a",
            "n-\"<b>t<b>r:0a",
        ] {
            assert_eq!(redactor.without_secrets(&format!("({said})")), "(***)", "{said:?}");
        }
    }

    #[test]
    fn p7_queries_of_urls_are_replaced_and_questions_are_not() {
        let redactor = Redactor::default();
        for (said, shown) in [
            ("see https://x.example/a?companyKey=k&t=1#f for more", "see https://x.example/a?*** for more"),
            (r#"{"a":"https://x/?signed","b":"what?"}"#, r#"{"a":"https://x/?***","b":"what?"}"#),
            (r#"{"a":"https:\/\/x\/b?t\u003dk"}"#, r#"{"a":"https:\/\/x\/b?***"}"#),
            ("GET /reports/1?key=k HTTP/1.1", "GET /reports/1?*** HTTP/1.1"),
            ("<a href='b?key=k'>b</a>", "<a href='b?***'>b</a>"),
            ("why? because? yes", "why? because? yes"),
            ("this/that? no?yes", "this/that? no?yes"),
        ] {
            assert_eq!(redactor.clean(said), shown);
        }
    }
}
