//! Encrypts secrets that must outlive the process, because control tables hold no plain secrets (promises 3 and 7).
//!
//! The token of a vendor's job gives access to its file, but without the token a restart cannot poll the job. So the
//! token is stored encrypted (ChaCha20-Poly1305 with a random nonce). The key is derived by HKDF-SHA-256 from the
//! connection's credential, which no table holds. After a change of the credential nothing can be opened, and the job
//! is requested again.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};

use crate::secret::Secret;

/// Prefix of every sealed text: the version of the format.
const VERSION: &str = "s1.";
const SALT: &[u8] = b"tidegate sealed 1";

/// Seals and opens secrets for one credential and purpose.
pub(super) struct Seal {
    /// Boxed because the key tables are large.
    key: Box<LessSafeKey>,
    purpose: &'static str,
}

impl Seal {
    /// A text that was sealed for one purpose cannot be opened for another.
    pub(super) fn new(credential: &Secret, purpose: &'static str) -> Option<Self> {
        let source = Salt::new(HKDF_SHA256, SALT).extract(credential.expose().as_bytes());
        let key: UnboundKey = source.expand(&[purpose.as_bytes()], &CHACHA20_POLY1305).ok()?.into();
        Some(Self { key: Box::new(LessSafeKey::new(key)), purpose })
    }

    /// Encrypts a secret. Returns `None` if the secret is too long for the cipher.
    pub(super) fn close(&self, secret: &Secret) -> Option<String> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = secret.expose().as_bytes().to_vec();
        let aad = Aad::from(self.purpose.as_bytes());
        self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).ok()?;
        Some(format!("{VERSION}{}", URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())))
    }

    /// Decrypts a text. Returns `None` if it was not sealed with this credential and purpose, or was changed.
    pub(super) fn open(&self, text: &str) -> Option<Secret> {
        let mut sealed = URL_SAFE_NO_PAD.decode(text.strip_prefix(VERSION)?).ok()?;
        if sealed.len() < NONCE_LEN {
            return None;
        }
        let mut rest = sealed.split_off(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(&sealed).ok()?;
        let opened = self.key.open_in_place(nonce, Aad::from(self.purpose.as_bytes()), &mut rest).ok()?;
        std::str::from_utf8(opened).ok().map(Secret::new)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fuzz::damaged_text;

    const TOKEN: &str = "0b7f3a52-1111-4222-8333-944445555666";

    /// Sealed by this version; every later version must be able to open it.
    const SEALED: &str = "s1.AAECAwQFBgcICQoLQNSAJ85tAS3XMXcVRtsGfTGC9BBI9y1mQ3PU0SAzOjHPWSaoneXwsmA7J0QObQi6WOAs-w";
    const SAMPLES: &[&[u8]] = &[SEALED.as_bytes(), b"s1.AAAAAAAAAAAAAAAA", b"s2.AAAA"];

    proptest! {
        #[test]
        fn p7_a_damaged_text_opens_nothing(text in damaged_text(SAMPLES)) {
            let opened = seal("credential", "job").open(&text);
            prop_assert_eq!(opened.is_some(), text == SEALED);
            prop_assert!(opened.is_none_or(|opened| opened.expose() == TOKEN));
        }
    }

    fn seal(credential: &str, purpose: &'static str) -> Seal {
        Seal::new(&Secret::new(credential), purpose).unwrap()
    }

    #[test]
    fn p3_a_sealed_secret_can_be_opened_by_another_process() {
        for secret in ["", TOKEN, "täglich\n\u{1f600}", &"x".repeat(10_000)] {
            let text = seal("credential", "job").close(&Secret::new(secret)).unwrap();
            assert_eq!(seal("credential", "job").open(&text).unwrap().expose(), secret);
        }
    }

    #[test]
    fn p7_a_sealed_text_reveals_nothing_and_is_never_the_same() {
        let seal = seal("credential", "job");
        let (one, other) = (seal.close(&Secret::new(TOKEN)).unwrap(), seal.close(&Secret::new(TOKEN)).unwrap());
        assert_ne!(one, other);
        let bytes = URL_SAFE_NO_PAD.decode(&one[VERSION.len()..]).unwrap();
        for part in TOKEN.as_bytes().windows(4) {
            assert!(!bytes.windows(4).any(|window| window == part) && !one.as_bytes().windows(4).any(|w| w == part));
        }
        assert!(one.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\'));
    }

    #[test]
    fn p7_only_the_same_credential_and_purpose_open_an_unchanged_text() {
        let text = seal("credential", "job").close(&Secret::new(TOKEN)).unwrap();
        assert!(seal("credentiaL", "job").open(&text).is_none());
        assert!(seal("credential", "other").open(&text).is_none());
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The spare bits of the last character hold no data; base64 refuses them if they are set.
            assert!(seal("credential", "job").open(&changed).is_none(), "{at}");
        }
        for odd in ["", "s1.", "s1.AAAA", "s2.AAAA", "täglich", &text[..text.len() - 1], TOKEN] {
            assert!(seal("credential", "job").open(odd).is_none(), "{odd}");
        }
    }
}
