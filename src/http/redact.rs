//! Takes a connection's secrets out of text that comes from its vendor.

use std::cmp::Reverse;

use crate::secret::Secret;

/// A vendor's error text beyond this says nothing more.
const TEXT_CHARS_MAX: usize = 500;
/// Shorter values would blot out ordinary words.
const SECRET_BYTES_MIN: usize = 4;
/// A run of letters as long as this, with points in it, is a signed token and no word.
const TOKEN_BYTES_MIN: usize = 40;

/// Knows a connection's secrets.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    secrets: Vec<Secret>,
}

impl Redactor {
    pub fn new(secrets: Vec<Secret>) -> Self {
        let mut secrets = secrets;
        secrets.retain(|secret| secret.expose().len() >= SECRET_BYTES_MIN);
        // One that holds another is taken out first, or what is left of it would be shown.
        secrets.sort_by_key(|secret| Reverse(secret.expose().len()));
        Self { secrets }
    }

    /// One that knows `secret` too: a token that was minted later.
    #[must_use]
    pub fn and(&self, secret: &Secret) -> Self {
        Self::new(self.secrets.iter().chain([secret]).cloned().collect())
    }

    /// `text` on one line, shortened, with every secret, in whatever case and however it is escaped in JSON or a URL,
    /// everything that looks like a bearer token and the query of every URL replaced.
    pub fn clean(&self, text: &str) -> String {
        let text = self.without_secrets(text.to_owned());
        // Again behind what is not shown: a secret with such characters in it would come together once they are gone.
        let shown = text.chars().filter(|c| c.is_whitespace() || !steers(*c)).collect();
        let words = without_tokens(&without_queries(&self.without_secrets(shown)));
        let words: Vec<&str> = words.split_whitespace().collect();
        let line = words.join(" ");
        match line.char_indices().nth(TEXT_CHARS_MAX) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }

    fn without_secrets(&self, mut text: String) -> String {
        for secret in &self.secrets {
            for spelling in spellings(secret.expose()) {
                text = without(&text, &spelling);
            }
        }
        text
    }
}

/// What makes a terminal or a reader see another text than there is: control characters and those that turn the direction
/// of writing.
pub const fn steers(c: char) -> bool {
    matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A secret as it is, inside a JSON text, and as base64 is spelt in URLs.
fn spellings(secret: &str) -> Vec<String> {
    let mut spellings = vec![secret.to_owned()];
    let json = serde_json::Value::from(secret).to_string();
    spellings.push(json[1..json.len() - 1].to_owned());
    let unpadded = secret.trim_end_matches('=');
    if unpadded.len() >= SECRET_BYTES_MIN {
        spellings.push(unpadded.to_owned());
        spellings.push(unpadded.replace('+', "-").replace('/', "_"));
    }
    spellings.dedup();
    spellings
}

/// `text` with `***` for every `secret`, whatever the case of ASCII letters and whichever bytes are percent-encoded.
fn without(text: &str, secret: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = after(rest.as_bytes(), secret.as_bytes()).and_then(|length| rest.get(length..)) {
            kept.push_str("***");
            rest = after;
        } else {
            kept.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    kept
}

/// Bytes of `text` that spell `secret`, if it begins with it.
fn after(text: &[u8], secret: &[u8]) -> Option<usize> {
    let mut at = 0;
    for wanted in secret {
        let same = |byte: u8| byte.eq_ignore_ascii_case(wanted);
        let encoded = || {
            let digits = std::str::from_utf8(text.get(at + 1..at + 3)?).ok()?;
            u8::from_str_radix(digits, 16).ok()
        };
        at += match text.get(at)? {
            byte if same(*byte) => 1,
            b'%' if encoded().is_some_and(same) => 3,
            // In a form.
            b'+' if *wanted == b' ' => 1,
            _ => return None,
        };
    }
    Some(at)
}

/// `text` with `***` for what stands behind the `?` of a URL, absolute or not. A question ends in a blank.
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

/// A signed token: long parts of base64 with points between them, whatever stands around it.
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
    fn p7_secrets_and_tokens_are_taken_out_and_long_text_is_shortened() {
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
    fn p7_a_secret_that_holds_another_is_taken_out_whole() {
        let redactor = Redactor::new(vec![Secret::new("acme"), Secret::new("acme-t0ken")]);
        assert_eq!(redactor.clean("acme-t0ken of acme"), "*** of ***");
        assert_eq!(redactor.and(&Secret::new("x-acme-t0ken-y")).clean("x-acme-t0ken-y"), "***");
    }

    #[test]
    fn p7_what_would_steer_a_terminal_is_dropped_and_hides_no_secret() {
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
    fn p7_secrets_are_found_however_a_url_or_a_header_spells_them() {
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
    fn p7_queries_of_urls_are_blanked_and_questions_are_not() {
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
