//! One credential of Lynn: what the families of its API have in common (`facts/lynn.md §1, §2, §8, §9`).
//!
//! Quotas belong to the credential, whichever family is called. Tokens do not: every family mints its own
//! (`§10.18`), so each source keeps [`Tokens`] of its own.

pub(in crate::connector) mod complaint;
mod config;
pub(in crate::connector) mod info;
mod token;

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

pub(in crate::connector) use self::config::{AccountKeys, account, template};
pub(in crate::connector) use self::token::Tokens;
use super::StepError;
use crate::http::HttpError;
use crate::quota::{Calls, LimitSpec, Unit};
use crate::secret::Secret;

/// Production environment of the Reporting and Outbound families (`§1`).
pub const DEFAULT_BASE_URL: &str = "https://premium-production.lynn.cx";

/// A checked credential, and how its token is obtained and sent.
#[derive(Debug, Clone)]
pub struct Account {
    /// One tenant is one Lynn application (`§1.1`).
    pub tenant: i64,
    pub access_token: Secret,
    pub access_token_secret: Secret,
    pub product: Product,
    /// `Ocp-Apim-Subscription-Key`, premium only; never sent empty.
    pub subscription_key: Option<Secret>,
    /// Path template with `{tenant}`: that of the family (`§10.18`).
    pub create_token_path: String,
    /// Scheme word of the Authorization header; the vendor's examples use `bearer` (`§2`).
    pub authorization_scheme: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Product {
    Basic,
    Premium,
}

impl Account {
    /// What tells this account's quota from another's (`§9`).
    pub(in crate::connector) fn credential(&self) -> Vec<&str> {
        let key = self.subscription_key.as_ref().map_or("", Secret::expose);
        vec![self.access_token.expose(), self.access_token_secret.expose(), key]
    }

    pub(in crate::connector) fn secrets(&self) -> Vec<Secret> {
        let mut secrets = vec![self.access_token.clone(), self.access_token_secret.clone()];
        secrets.extend(self.subscription_key.clone());
        secrets
    }

    /// The URL of a path template, its `{tenant}` filled in.
    pub(in crate::connector) fn url(&self, base_url: &Url, template: &str) -> Result<Url, HttpError> {
        joined(base_url, &template.replace("{tenant}", &self.tenant.to_string()))
    }

    /// The premium key; the header is left out for basic accounts.
    pub(in crate::connector) fn subscription_header(&self) -> Vec<(&'static str, Secret)> {
        let key = self.subscription_key.iter().filter(|key| !key.expose().is_empty());
        match self.product {
            Product::Premium => key.map(|key| ("Ocp-Apim-Subscription-Key", key.clone())).collect(),
            Product::Basic => Vec::new(),
        }
    }

    /// Scheme and credential of the Authorization header.
    pub(in crate::connector) fn authorization(&self, token: &Secret) -> (String, Secret) {
        (self.authorization_scheme.clone(), token.clone())
    }

    /// The documented limits.
    pub const fn limits(&self) -> &'static [LimitSpec] {
        match self.product {
            Product::Basic => BASIC,
            Product::Premium => PREMIUM,
        }
    }
}

/// A path below the base URL; never another host.
fn joined(base_url: &Url, path: &str) -> Result<Url, HttpError> {
    let mut url = base_url.clone();
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let base = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{base}/{}", path.trim_start_matches('/')));
    url.set_query(query);
    if url.host() == base_url.host() && url.port() == base_url.port() {
        Ok(url)
    } else {
        Err(HttpError::Request("the path leads to another host".to_owned()))
    }
}

const fn limit(name: &'static str, calls: Calls, unit: Unit, amount: u64, per_secs: u64) -> LimitSpec {
    LimitSpec { name, calls, unit, amount, per_secs }
}

const CREATE_TOKEN: LimitSpec = limit("create_token", Calls::Login, Unit::Calls, 3, 60);
const REQUESTS: LimitSpec = limit("requests", Calls::Data, Unit::Calls, 1, 4);

/// `§8.1`; a kilobyte is 1000 bytes, the stricter reading (`§10.10`).
const BASIC: &[LimitSpec] = &[
    CREATE_TOKEN,
    REQUESTS,
    limit("period_calls", Calls::Every, Unit::Calls, 10_000, 43_200),
    limit("period_bandwidth", Calls::Every, Unit::Bytes, 102_400_000, 43_200),
];

const PREMIUM: &[LimitSpec] = &[
    CREATE_TOKEN,
    REQUESTS,
    limit("period_calls", Calls::Every, Unit::Calls, 20_000, 43_200),
    limit("period_bandwidth", Calls::Every, Unit::Bytes, 997_200_000, 43_200),
];

/// What an operator can do about an error that only Lynn's settings can change.
pub(in crate::connector) const fn hint(error: &StepError) -> Option<&'static str> {
    Some(match error {
        StepError::Credentials => "check the credentials; they are issued per environment",
        StepError::SubscriptionKey => "check `subscription_key`, and whether `product` is `premium`",
        StepError::Forbidden => "the credential lacks a permission or a division; ask the tenant's administrator",
        _ => return None,
    })
}
