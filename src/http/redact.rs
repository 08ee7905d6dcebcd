//! Removes a connection's secrets from text that comes from its vendor.
//!
//! A secret is found in plain text, in JSON, percent-encoded, as base64 and as hexadecimal digits. It is also found
//! with invisible characters between its letters, split by line breaks and blanks, and with ANSI sequences inside. The
//! text is scanned once: at each position each spelling of each secret is compared over at most [`COMPARED_MAX`] bytes
//! plus separators, so the time is linear in the length of the text.

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
/// Starts an ANSI sequence, such as the one for red text: ESC `[31m`.
const ESC: char = '\u{1b}';
/// The same as ESC `[`, in one character.
const CSI: char = '\u{9b}';
/// Text that agrees with a secret for this many bytes is removed as far as it agrees.
const COMPARED_MAX: usize = 32;
/// A run of this many letters with dots in it is a signed token, not a word.
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

    /// A redactor that also knows `secret`, such as a token issued later.
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
        for at in 0..bytes.len() {
            for (spelling, followed) in self.spellings.iter().zip(&mut followed) {
                let Some(end) = spelling.end(bytes, at, at >= *followed) else { continue };
                *followed = end.max(*followed);
                let found = spelling.widened(bytes, at..end);
                match all.last_mut() {
                    Some(last) if found.start <= last.end => {
                        last.start = last.start.min(found.start);
                        last.end = last.end.max(found.end);
                    }
                    _ => all.push(found),
                }
            }
        }
        all
    }
}

/// The bytes of a text without invisible ones, and the position of each in the text.
struct Visible {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

impl Visible {
    fn of(text: &str) -> Self {
        let mut visible = Self { bytes: Vec::with_capacity(text.len()), places: Vec::with_capacity(text.len()) };
        for (place, c) in text.char_indices() {
            let end = place + c.len_utf8();
            if is_seen(c) {
                visible.bytes.extend_from_slice(&text.as_bytes()[place..end]);
                visible.places.extend(place..end);
            } else if begins_sequence(c, &text[end..]) {
                visible.bytes.push(ESC as u8);
                visible.places.push(place);
            }
        }
        visible
    }
}

/// Whether `c` starts an ANSI sequence that continues in `rest`. U+FFFD may have replaced the start character.
fn begins_sequence(c: char, rest: &str) -> bool {
    c == CSI || (matches!(c, ESC | char::REPLACEMENT_CHARACTER) && rest.starts_with('['))
}

/// U+FFFD may have replaced such a character, if the text was cleaned before.
fn is_seen(c: char) -> bool {
    c.is_whitespace() || !(steers(c) || is_invisible(c) || c == char::REPLACEMENT_CHARACTER)
}

/// One spelling of a secret.
#[derive(Debug, Clone)]
struct Spelling {
    /// Without invisible characters; never empty.
    text: Secret,
    encoding: Encoding,
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
    /// The end of the secret that begins at `start`. If `follow` is false, it may continue after that.
    fn end(&self, bytes: &[u8], start: usize, follow: bool) -> Option<usize> {
        let mut at = start;
        for (compared, wanted) in self.text.expose().bytes().enumerate() {
            if compared == COMPARED_MAX && !follow {
                break;
            }
            let next = if compared == 0 {
                self.after(bytes, at, wanted)
            } else {
                self.after_gaps(bytes, at, wanted, compared)
            };
            match next {
                Some(next) => at = next,
                None if compared >= COMPARED_MAX => break,
                None => return None,
            }
        }
        Some(at)
    }

    /// The position after the byte `wanted`, if it is at `at` or after separators there.
    fn after_gaps(&self, bytes: &[u8], mut at: usize, wanted: u8, compared: usize) -> Option<usize> {
        let end = at + GAP_MAX;
        while at <= end {
            if let Some(after) = self.after(bytes, at, wanted) {
                return Some(after);
            }
            at = match bytes.get(at)? {
                // The letter may look like the end of a sequence.
                b'\x1b' => match self.after(bytes, at + 1, wanted) {
                    Some(after) => return Some(after),
                    None => sequence_end(bytes, at + 1).unwrap_or(at + 1),
                },
                _ => self.gap_end(bytes, at, compared)?,
            };
        }
        None
    }

    /// The end of the separators at `at`, other than a literal ANSI sequence.
    fn gap_end(&self, bytes: &[u8], at: usize, compared: usize) -> Option<usize> {
        let rest = &bytes[at..];
        let blanks = rest.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == b'\x0b').count();
        if blanks > 0 {
            let has_break = || rest[..blanks].iter().any(|byte| matches!(byte, b'\r' | b'\n'));
            return (self.text.expose().len() >= BLANKS_MIN || has_break()).then_some(at + blanks);
        }
        let starts =
            |with: &str| rest.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()));
        // Escaped, in JSON or in a program's text.
        if let Some(escape) = ["\\u001b", "\\x1b"].iter().find(|escape| starts(escape)) {
            return sequence_end(bytes, at + escape.len());
        }
        if starts("\\n") || starts("\\r") {
            return Some(at + 2);
        }
        // Between the bytes of a dump.
        if self.encoding == Encoding::Hex && compared.is_multiple_of(2) {
            return match rest[0] {
                b':' | b'-' | b',' => Some(at + 1),
                _ if starts("0x") || starts("\\x") => Some(at + 2),
                _ => None,
            };
        }
        None
    }

    /// The position after the byte `wanted`, if it is at `at`: plain, percent-encoded or escaped as in JSON.
    fn after(&self, bytes: &[u8], at: usize, wanted: u8) -> Option<usize> {
        let byte = *bytes.get(at)?;
        if self.is_same(byte, wanted) {
            return Some(at + 1);
        }
        let encoded = |from: usize| hex_pair(bytes.get(from..from + 2)?).filter(|byte| self.is_same(*byte, wanted));
        match byte {
            b'%' => encoded(at + 1).map(|_| at + 3),
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

/// The end of the ANSI sequence whose parameters, or the `[` before them, begin at `at`.
fn sequence_end(bytes: &[u8], at: usize) -> Option<usize> {
    let at = if bytes.get(at) == Some(&b'[') { at + 1 } else { at };
    let parameters = bytes.get(at..)?.iter().take_while(|byte| matches!(byte, 0x20..=0x3f)).count();
    let last = bytes.get(at + parameters)?;
    matches!(last, 0x40..=0x7e).then_some(at + parameters + 1)
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
    let plain = texts.into_iter().map(|text| Spelling { text: Secret::new(text), encoding: Encoding::Plain });
    let digits = Spelling { text: Secret::new(hex::encode(secret)), encoding: Encoding::Hex };
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
    Some(Spelling { text: Secret::from(text), encoding })
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
        ] {
            assert_eq!(redactor.clean(&format!("key {broken} is bad")), "key *** is bad", "{broken:?}");
            assert_eq!(redactor.without_secrets(&format!("({broken})")), "(***)", "{broken:?}");
        }
        assert_eq!(redactor.without_secrets("\u{1b}[s3cret-value"), "\u{1b}[***");
        assert_eq!(redactor.without_secrets("\u{1b}[31ms3cret-value\u{1b}[0m"), "\u{1b}[31m***\u{1b}[0m");
        assert_eq!(redactor.clean("the map, s3cret, val ue"), "the map, s3cret, val ue");
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
    fn p7_text_that_repeatedly_almost_contains_a_secret_takes_linear_time() {
        let redactor = Redactor::new(vec![Secret::new("aaaaaaaaaaaaaaaab"), Secret::new("s3cret-value")]);
        let begun = std::time::Instant::now();
        for text in
            ["a \n".repeat(100_000), format!("s{}", " \n".repeat(100)).repeat(1_000), "\u{1b}[a".repeat(100_000)]
        {
            assert_eq!(redactor.without_secrets(&text), text);
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
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
        assert_eq!(redactor.clean(&long[..31]), &long[..31]);
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
