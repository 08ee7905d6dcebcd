//! Takes a connection's secrets out of text that comes from its vendor.

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
        Self { secrets: secrets.into_iter().filter(|secret| secret.expose().len() >= SECRET_BYTES_MIN).collect() }
    }

    /// One that knows `secret` too: a token that was minted later.
    #[must_use]
    pub fn and(&self, secret: &Secret) -> Self {
        Self::new(self.secrets.iter().chain([secret]).cloned().collect())
    }

    /// `text` on one line, shortened, with every secret, in whatever case, and everything that looks like a bearer token
    /// replaced.
    pub fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            text = without(&text, secret.expose());
            // As it stands inside a JSON text.
            let escaped = serde_json::Value::from(secret.expose()).to_string();
            text = without(&text, &escaped[1..escaped.len() - 1]);
        }
        let words = without_tokens(&text);
        let words: Vec<&str> = words.split_whitespace().collect();
        let line: String = words.join(" ").chars().filter(|c| !c.is_control()).collect();
        match line.char_indices().nth(TEXT_CHARS_MAX) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }
}

/// `text` with `***` for every `secret`, whatever the case of ASCII letters.
fn without(text: &str, secret: &str) -> String {
    let (lower, wanted) = (text.to_ascii_lowercase(), secret.to_ascii_lowercase());
    let mut kept = String::with_capacity(text.len());
    let mut at = 0;
    // Lower case of ASCII has the same bytes in the same places.
    while let Some(found) = lower[at..].find(&wanted) {
        kept.push_str(&text[at..at + found]);
        kept.push_str("***");
        at += found + wanted.len();
    }
    kept.push_str(&text[at..]);
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
        assert_eq!(redactor.clean(&inside), r#"{"url":"https://x/?t=***","why":"expired"}"#);
        assert_eq!(redactor.and(&Secret::new("opaque")).clean("an opaque one"), "an *** one");
        assert_eq!(redactor.clean(&"x".repeat(5000)).chars().count(), TEXT_CHARS_MAX + 1);
    }
}
