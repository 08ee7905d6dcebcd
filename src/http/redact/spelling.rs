//! One spelling of a secret, and where a text has it.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::gaps::{
    BEL, BELLS, DUMP_ROW_MAX, ESC, ESCAPES, GAP_MAX, blanks, concatenation, dump_row, dump_texts, line_break, sequence,
    starts,
};
use super::is_seen;
use crate::secret::Secret;

/// Shorter values would match ordinary words.
const SECRET_BYTES_MIN: usize = 4;
/// Shorter pieces of base64 are compared case-sensitively, or they would match ordinary words.
const ANY_CASE_MIN: usize = 8;
/// Shorter spellings are not matched across blanks, or `the map` would contain the secret `them`. They are matched
/// across line breaks.
const BLANKS_MIN: usize = 8;
/// Maximum length of an HTML tag within a secret.
const TAG_MAX: usize = 64;
/// A beginning or an end of a secret with this many letters is removed too, because some vendors shorten what they
/// quote. Fewer letters could be a word, so a secret that is shorter itself is removed only as a whole.
const PART_MIN: usize = 12;
/// Further letters are compared only where the same spelling was not followed before.
const COMPARED_MAX: usize = 32;
/// Maximum number of possibilities that are followed at the same time: those with the shortest gaps.
const READINGS_MAX: usize = 8;

/// Positions at which a comparison may continue.
#[derive(Debug, Default)]
pub(super) struct Readings {
    /// After the letter that was compared last.
    now: Vec<usize>,
    /// After the next letter.
    next: Vec<usize>,
    /// Before the next letter, which is compared next.
    open: Vec<usize>,
}

/// One spelling of a secret.
#[derive(Debug, Clone)]
pub(super) struct Spelling {
    /// Without invisible characters; never empty.
    pub(super) text: Secret,
    encoding: Encoding,
    /// A part of the secret with at least this many bytes of `text` is removed.
    pub(super) part_min: usize,
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

    /// The beginning of the shortest end that is removed.
    pub(super) fn tail(&self) -> Option<usize> {
        self.text.expose().len().checked_sub(self.part_min).filter(|tail| *tail > 0)
    }

    /// The end of the secret whose byte `first` is at `start`. If `follow` is false, the secret may continue after it.
    pub(super) fn end(
        &self,
        bytes: &[u8],
        start: usize,
        first: usize,
        follow: bool,
        readings: &mut Readings,
    ) -> Option<usize> {
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

    /// The beginning of the end of the secret whose byte `index` is at `at`: as far before `at` as the text matches.
    /// Bytes up to `known` were found before and are not compared again.
    pub(super) fn start_of_end(
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

    /// Moves every possibility over the gaps and past the byte `wanted`, which is number `index` of the secret.
    fn step(&self, bytes: &[u8], wanted: u8, index: usize, readings: &mut Readings) {
        let Readings { now, next, open } = readings;
        // Most letters have one possible meaning, and no gap begins with a letter.
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

    /// The ends of the possible gaps at `at`, before byte `index` of the secret.
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
                    // A line that continues in the next one.
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
    pub(super) fn widened(&self, bytes: &[u8], found: Range<usize>) -> Range<usize> {
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

fn hex_pair(digits: &[u8]) -> Option<u8> {
    let value = |digit: &u8| char::from(*digit).to_digit(16);
    let [high, low] = digits else { return None };
    u8::try_from(value(high)? * 16 + value(low)?).ok()
}

/// The spellings of `secret`; empty if it is too short to be searched for.
pub(super) fn spellings(secret: &str) -> Vec<Spelling> {
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
