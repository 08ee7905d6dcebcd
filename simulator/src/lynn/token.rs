//! Bearer tokens that look like JWTs, with a correct `exp`.

use std::collections::HashMap;
use std::time::Duration;

use chrono::Utc;

use super::super::truth::Dice;

/// All valid tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    dice: Dice,
    good_until: HashMap<String, Duration>,
}

impl Tokens {
    pub fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed, &[19]), good_until: HashMap::new() }
    }

    pub fn mint(&mut self, tenant: i64, lifetime: Duration, now: Duration) -> String {
        self.good_until.retain(|_, until| *until > now);
        let issued = Utc::now();
        // Whole seconds, rounded down: a token never claims a longer life than it has.
        let expires = (issued + lifetime).timestamp();
        let id = self.dice.guid();
        let payload = serde_json::json!({ "tenant": tenant, "jti": id, "iat": issued.timestamp(), "exp": expires });
        let signature = self.dice.guid() + &self.dice.guid();
        let part = |text: &str| base64url(text.as_bytes());
        let token =
            format!("{}.{}.{}", part(r#"{"alg":"HS256","typ":"JWT"}"#), part(&payload.to_string()), part(&signature));
        self.good_until.insert(token.clone(), now + lifetime);
        token
    }

    pub fn is_good(&self, token: &str, now: Duration) -> bool {
        self.good_until.get(token).is_some_and(|until| *until > now)
    }

    pub fn expire(&mut self, token: &str) {
        self.good_until.remove(token);
    }

    pub fn expire_all(&mut self) {
        self.good_until.clear();
    }
}

fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for sextet in 0..=chunk.len() {
            let index = (bits >> (18 - 6 * sextet)) & 63;
            text.push(char::from(ALPHABET[usize::try_from(index).unwrap_or_default()]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_valid_until_they_expire() {
        assert_eq!(base64url(b"a"), "YQ");
        assert_eq!(base64url(b"ab?>~"), "YWI_Pn4");
        let mut tokens = Tokens::new(1);
        let token = tokens.mint(7, Duration::from_secs(10), Duration::ZERO);
        assert_eq!(token.split('.').count(), 3);
        assert!(tokens.is_good(&token, Duration::from_secs(9)));
        assert!(!tokens.is_good(&token, Duration::from_secs(10)));
        assert_ne!(token, tokens.mint(7, Duration::from_secs(10), Duration::ZERO));
        tokens.expire(&token);
        assert!(!tokens.is_good(&token, Duration::ZERO));
    }
}
