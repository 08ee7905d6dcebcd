//! Identifies a ledger by its credential, not by the connection, and without revealing the credential (promise 7).

use crate::store::session::Deadline as _;
use sha2::{Digest, Sha256};
use sqlx::{PgExecutor, PgPool};
use url::Url;

/// Identifies the ledger of a credential: a salted hash, never the secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LedgerKey(String);

/// Derives the keys of many ledgers.
#[derive(Debug)]
pub struct LedgerKeys {
    salt: String,
}

impl LedgerKeys {
    /// With the salt of the database.
    pub(super) const fn new(salt: String) -> Self {
        Self { salt }
    }

    /// Reads the salt of the database.
    pub async fn read(executor: impl PgExecutor<'_>) -> Result<Self, sqlx::Error> {
        let salt = sqlx::query_scalar!("select value from tidegate.setting where name = 'ledger_salt'");
        Ok(Self::new(salt.fetch_one(executor).in_time().await?))
    }

    /// The key of a credential at a base URL. `credential` is everything that distinguishes accounts.
    pub fn key(&self, base_url: &Url, credential: &[&str]) -> LedgerKey {
        LedgerKey::new(&self.salt, base_url, credential)
    }
}

impl LedgerKey {
    /// The key of one ledger; [`LedgerKeys`] derives those of many.
    pub async fn derive(pool: &PgPool, base_url: &Url, credential: &[&str]) -> Result<Self, sqlx::Error> {
        Ok(LedgerKeys::read(pool).await?.key(base_url, credential))
    }

    fn new(salt: &str, base_url: &Url, credential: &[&str]) -> Self {
        let base_url = base_url.as_str().trim_end_matches('/');
        let mut hash = Sha256::new();
        for part in [salt, base_url].iter().chain(credential) {
            // The length separates neighbouring parts.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hex::encode(hash.finalize()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p7_a_key_is_a_hash_that_differs_whenever_any_part_does() {
        let url = |url: &str| Url::parse(url).unwrap();
        let base = LedgerKey::new("salt", &url("https://a.example/x/"), &["token", "secret"]);
        assert_eq!(base.as_str().len(), 64);
        assert_eq!(base, LedgerKey::new("salt", &url("https://A.example/x"), &["token", "secret"]));
        let others = [
            LedgerKey::new("other", &url("https://a.example/x"), &["token", "secret"]),
            LedgerKey::new("salt", &url("https://b.example/x"), &["token", "secret"]),
            LedgerKey::new("salt", &url("https://a.example/x"), &["tokens", "ecret"]),
            LedgerKey::new("salt", &url("https://a.example/x"), &["tokensecret"]),
        ];
        assert!(!others.contains(&base));
    }
}
