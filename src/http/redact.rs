//! Takes a connection's secrets out of text that comes from its vendor.

use crate::secret::Secret;

/// A vendor's error text beyond this says nothing more.
const TEXT_CHARS_MAX: usize = 500;
/// Shorter values would blot out ordinary words.
const SECRET_BYTES_MIN: usize = 4;

/// Knows a connection's secrets.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    secrets: Vec<Secret>,
}

impl Redactor {
    pub fn new(secrets: Vec<Secret>) -> Self {
        Self { secrets: secrets.into_iter().filter(|secret| secret.expose().len() >= SECRET_BYTES_MIN).collect() }
    }

    /// `text` on one line, shortened, with every secret, and everything that looks like a bearer token, replaced.
    pub fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            text = text.replace(secret.expose(), "***");
        }
        let words: Vec<&str> =
            text.split_whitespace().map(|word| if looks_like_token(word) { "***" } else { word }).collect();
        let line: String = words.join(" ").chars().filter(|c| !c.is_control()).collect();
        match line.char_indices().nth(TEXT_CHARS_MAX) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }
}

/// A signed token: three long parts of base64 with points between them.
fn looks_like_token(word: &str) -> bool {
    word.len() > 60 && word.matches('.').count() >= 2 && !word.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p7_secrets_and_tokens_are_taken_out_and_long_text_is_shortened() {
        let redactor = Redactor::new(vec![Secret::new("s3cret-value"), Secret::new("a")]);
        assert_eq!(redactor.clean("bad\nsecret s3cret-value, again: 's3cret-value'"), "bad secret ***, again: '***'");
        let token = format!("{}.{}.{}", "e".repeat(30), "f".repeat(30), "g".repeat(30));
        assert_eq!(redactor.clean(&format!("token {token} expired")), "token *** expired");
        assert_eq!(redactor.clean(&"x".repeat(5000)).chars().count(), TEXT_CHARS_MAX + 1);
    }
}
