//! Removes a connection's secrets from text that comes from its vendor.
//!
//! A secret is found unchanged, escaped as in JSON, percent-encoded, as base64 and as hexadecimal digits (`spelling`).
//! It is found as a whole, and as a beginning or an end of at least `PART_MIN` letters. Invisible characters, terminal
//! sequences and other `gaps` may be between its letters. If a byte may be a letter of the secret or part of a gap,
//! both possibilities are followed.
//!
//! The text is read once. At each position, each spelling of each secret is compared over at most `COMPARED_MAX` bytes
//! and the gaps between them, so the work is linear in the length of the text.

mod gaps;
mod spelling;
#[cfg(test)]
mod tests;

use std::ops::Range;

use self::gaps::{BEL, ESC};
use self::spelling::{Readings, Spelling, spellings};
use crate::secret::Secret;
use crate::text::{is_invisible, of_vendor, steers};

/// A longer vendor error text adds nothing.
const TEXT_CHARS_MAX: usize = 500;
/// Letters of this length with points between them are a signed token, not a word.
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

    /// A redactor that removes whole secrets and no parts of them, for texts that may quote a part that is not secret:
    /// the host of a database URL, for example.
    pub fn of_whole(secrets: Vec<Secret>) -> Self {
        let mut redactor = Self::new(secrets);
        for spelling in &mut redactor.spellings {
            spelling.part_min = usize::MAX;
        }
        redactor
    }

    /// A redactor that knows `secret` too, for example a token that was obtained later.
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

    /// The same in the form of [`of_vendor`]: errors and states quote a vendor with this function only.
    pub fn quote(&self, text: &str) -> String {
        of_vendor(&self.clean(text))
    }

    /// The texts of these members of a JSON error, each different one once. `None` if the error has another shape.
    pub fn quote_members(&self, error: &serde_json::Value, members: &[&str]) -> Option<String> {
        let mut texts: Vec<&str> = Vec::new();
        for text in members.iter().filter_map(|name| error.get(*name)?.as_str()).map(str::trim) {
            if !text.is_empty() && !texts.contains(&text) {
                texts.push(text);
            }
        }
        (!texts.is_empty()).then(|| self.quote(&texts.join(": ")))
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

/// The bytes of a text without the invisible ones, and the position of each in the text.
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

/// U+FFFD may replace such a character if the text was made printable before.
fn is_seen(c: char) -> bool {
    c.is_whitespace() || !(steers(c) || is_invisible(c) || c == char::REPLACEMENT_CHARACTER)
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
