//! Pins a connection to the account that it first read: another account under the same name would replace one
//! customer's rows with another's.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};

use super::session::Deadline as _;
use crate::secret::Secret;

/// Name and value of each part of an account. The value of a secret part is a salted hash.
type Parts = BTreeMap<String, String>;

/// The account of a connection in the configuration.
#[derive(Debug, Clone)]
pub struct Account<'a> {
    pub connection: &'a str,
    pub vendor: &'static str,
    pub parts: Vec<AccountPart>,
}

/// A part of what distinguishes the accounts of a vendor.
#[derive(Debug, Clone)]
pub struct AccountPart {
    pub name: &'static str,
    pub value: Secret,
    /// Whether it may be shown and stored.
    pub is_public: bool,
}

/// Pins a connection to its account if nothing was ever read from it: a name or a number that was mistyped at first can
/// be corrected. Returns how the configured account differs from the pinned one, or `None` if it is the same. A part
/// that only one of them has is ignored.
pub async fn pin(pool: &PgPool, account: &Account<'_>) -> Result<Option<String>, sqlx::Error> {
    let mut conn = pool.acquire().await?;
    let configured = configured(&mut conn, account).await?;
    let pinned = match read(&mut conn, account.connection).await? {
        Some(pinned) => pinned,
        None => write(&mut conn, account, &configured).await?,
    };
    if difference(&pinned, account.vendor, &configured).is_none() {
        return Ok(None);
    }
    let pinned = write(&mut conn, account, &configured).await?;
    Ok(difference(&pinned, account.vendor, &configured))
}

/// Like [`pin`], but pins nothing.
pub async fn compare(pool: &PgPool, account: &Account<'_>) -> Result<Option<String>, sqlx::Error> {
    let mut conn = pool.acquire().await?;
    let configured = configured(&mut conn, account).await?;
    let pinned = read(&mut conn, account.connection).await?;
    Ok(pinned.and_then(|pinned| difference(&pinned, account.vendor, &configured)))
}

/// The pinned account of one connection.
struct Pinned {
    vendor: String,
    account: Parts,
}

async fn read(conn: &mut PgConnection, name: &str) -> Result<Option<Pinned>, sqlx::Error> {
    let found = sqlx::query!(
        r#"select vendor, account as "account: Json<Parts>" from tidegate.connection where name = $1"#,
        name,
    )
    .fetch_optional(conn)
    .in_time()
    .await?;
    Ok(found.map(|found| Pinned { vendor: found.vendor, account: found.account.0 }))
}

/// Pins the account unless something was read from the connection under another one. Returns the account that is pinned
/// now: another process may have been first.
async fn write(conn: &mut PgConnection, account: &Account<'_>, parts: &Parts) -> Result<Pinned, sqlx::Error> {
    sqlx::query!(
        "
        insert into tidegate.connection (name, vendor, account)
        values ($1, $2, $3)
        on conflict (name) do update
        set vendor = excluded.vendor, account = excluded.account, pinned_at = excluded.pinned_at
        where not exists (
            select
            from tidegate.slice
            where
                slice.connection = excluded.name
                and (slice.finished_run is not null or slice.reading_run is not null)
        )
        ",
        account.connection,
        account.vendor,
        Json(parts) as Json<&Parts>,
    )
    .execute(&mut *conn)
    .in_time()
    .await?;
    let pinned = read(conn, account.connection).await?;
    Ok(pinned.unwrap_or_else(|| Pinned { vendor: account.vendor.to_owned(), account: parts.clone() }))
}

async fn configured(conn: &mut PgConnection, account: &Account<'_>) -> Result<Parts, sqlx::Error> {
    let salt = sqlx::query_scalar!("select value from tidegate.setting where name = 'ledger_salt'");
    let salt = salt.fetch_one(conn).in_time().await?;
    let stored = |part: &AccountPart| {
        let value = part.value.expose();
        if part.is_public { value.to_owned() } else { hashed(&salt, part.name, value) }
    };
    Ok(account.parts.iter().map(|part| (part.name.to_owned(), stored(part))).collect())
}

/// Prefix of a stored secret part.
const HASH_MARK: &str = "sha256:";

fn hashed(salt: &str, name: &str, value: &str) -> String {
    let mut hash = Sha256::new();
    for part in [salt, name, value] {
        // The length separates neighbouring parts.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    format!("{HASH_MARK}{}", hex::encode(hash.finalize()))
}

fn difference(pinned: &Pinned, vendor: &str, configured: &Parts) -> Option<String> {
    if pinned.vendor != vendor {
        return Some(format!("it was first read as `{}`, now it is `{vendor}`", pinned.vendor));
    }
    let differs = |(name, value): &(&String, &String)| pinned.account.get(*name).is_some_and(|other| other != *value);
    let (name, value) = configured.iter().find(differs)?;
    if value.starts_with(HASH_MARK) {
        return Some(format!("it was first read with another `{name}`"));
    }
    Some(format!("it was first read with {name} `{}`, now it has {name} `{value}`", pinned.account[name]))
}

/// A connection that is pinned to an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KnownConnection {
    pub connection: String,
    pub vendor: String,
    /// Its account, part by part; a part that is a secret is left out.
    pub account: Parts,
    /// When it was pinned, which is when it was first read; `None` if nothing was read.
    pub first_read_at: Option<DateTime<Utc>>,
    /// Streams that were ever read.
    pub streams: i64,
    pub last_success_at: Option<DateTime<Utc>>,
}

/// Every connection that is pinned to an account, by name.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<KnownConnection>, sqlx::Error> {
    let found = sqlx::query!(
        r#"
        select
            connection.name,
            connection.vendor,
            connection.account as "account: Json<Parts>",
            case
                when
                    exists (
                        select
                        from tidegate.slice
                        where
                            slice.connection = connection.name
                            and (slice.finished_run is not null or slice.reading_run is not null)
                    )
                    then connection.pinned_at
            end as first_read_at,
            count(stream.stream) as "streams!",
            max(stream.last_success_at) as last_success_at
        from tidegate.connection
        left join tidegate.stream on stream.connection = connection.name and not stream.unread
        group by connection.name
        order by connection.name
        "#
    )
    .fetch_all(conn)
    .in_time()
    .await?;
    let known = found.into_iter().map(|found| {
        let mut account = found.account.0;
        account.retain(|_, value| !value.starts_with(HASH_MARK));
        KnownConnection {
            connection: found.name,
            vendor: found.vendor,
            account,
            first_read_at: found.first_read_at,
            streams: found.streams,
            last_success_at: found.last_success_at,
        }
    });
    Ok(known.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(parts: &[(&str, &str)]) -> Parts {
        parts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn p10_another_account_is_reported_with_the_part_that_differs() {
        let pinned = Pinned {
            vendor: "lynn_reporting".to_owned(),
            account: parts(&[("host", "a.example"), ("tenant", "1"), ("company_key", "sha256:aa")]),
        };
        let found = |vendor: &str, configured: &[(&str, &str)]| difference(&pinned, vendor, &parts(configured));
        assert_eq!(found("lynn_reporting", &[("host", "a.example"), ("tenant", "1")]), None);
        assert_eq!(
            found("lynn_reporting", &[("host", "a.example"), ("project", "new")]),
            None,
            "nothing to compare with"
        );
        assert_eq!(
            found("lynn_reporting", &[("host", "a.example"), ("tenant", "2")]).as_deref(),
            Some("it was first read with tenant `1`, now it has tenant `2`")
        );
        assert_eq!(
            found("lynn_reporting", &[("company_key", "sha256:bb")]).as_deref(),
            Some("it was first read with another `company_key`")
        );
        assert!(found("khoros_care", &[]).is_some());
    }

    #[test]
    fn p7_a_secret_part_is_stored_as_a_hash() {
        let hash = hashed("salt", "company_key", "s3cret-value");
        assert!(hash.len() == HASH_MARK.len() + 64 && !hash.contains("s3cret"));
        assert_ne!(hash, hashed("other", "company_key", "s3cret-value"));
    }
}
