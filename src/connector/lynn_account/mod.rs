//! A credential of Lynn: what the families of its API share (`facts/lynn.md §1, §2, §8, §9`).
//!
//! Quotas belong to the credential, whichever family is called. Tokens do not: every family creates its own (`§10.18`),
//! so each source has its own [`Tokens`].

pub(in crate::connector) mod complaint;
mod config;
pub(in crate::connector) mod info;
mod token;

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

pub(in crate::connector) use self::config::{AccountKeys, read, schema, template};
pub(in crate::connector) use self::token::Tokens;
use super::StepError;
use super::request::below;
use crate::http::{Excerpt, HttpError};
use crate::quota::{Calls, LimitSpec, Unit};
use crate::secret::Secret;

/// Production environment of the Reporting and Outbound families (`§1`).
pub(super) const DEFAULT_BASE_URL: &str = "https://premium-production.lynn.cx";

/// A checked credential, and how its token is obtained and sent.
#[derive(Debug, Clone)]
pub struct Account {
    /// A tenant is a Lynn application (`§1.1`).
    pub tenant: i64,
    pub access_token: Secret,
    pub access_token_secret: Secret,
    pub product: Product,
    /// `Ocp-Apim-Subscription-Key`, premium only; never sent empty.
    pub subscription_key: Option<Secret>,
    /// Path template of the family, with `{tenant}` (`§10.18`).
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
    /// What distinguishes this account's quota from another's (`§9`).
    pub(in crate::connector) fn credential(&self) -> Vec<&str> {
        let key = self.subscription_key.as_ref().map_or("", Secret::expose);
        vec![self.access_token.expose(), self.access_token_secret.expose(), key]
    }

    pub(in crate::connector) fn secrets(&self) -> Vec<Secret> {
        let mut secrets = vec![self.access_token.clone(), self.access_token_secret.clone()];
        secrets.extend(self.subscription_key.clone());
        secrets
    }

    /// The URL of a path template, with `{tenant}` filled in.
    pub(in crate::connector) fn url(&self, base_url: &Url, template: &str) -> Result<Url, HttpError> {
        let path = template.replace("{tenant}", &self.tenant.to_string());
        let (path, query) = path.split_once('?').map_or((&*path, None), |(path, query)| (path, Some(query)));
        below(base_url, path, query)
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

const CREATE_TOKEN: LimitSpec = LimitSpec { calls: Calls::Login, ..LimitSpec::calls("create_token", 3, 60) };
const REQUESTS: LimitSpec = LimitSpec::calls("requests", 1, 4);

/// `§8.1`; a kilobyte is 1000 bytes, the stricter reading (`§10.10`).
const BASIC: &[LimitSpec] = &[CREATE_TOKEN, REQUESTS, period_calls(10_000), period_bandwidth(102_400_000)];
const PREMIUM: &[LimitSpec] = &[CREATE_TOKEN, REQUESTS, period_calls(20_000), period_bandwidth(997_200_000)];
const PERIOD_SECS: u64 = 12 * 3_600;

const fn period_calls(amount: u64) -> LimitSpec {
    LimitSpec { calls: Calls::Every, ..LimitSpec::calls("period_calls", amount, PERIOD_SECS) }
}

const fn period_bandwidth(amount: u64) -> LimitSpec {
    LimitSpec { name: "period_bandwidth", unit: Unit::Bytes, ..period_calls(amount) }
}

/// What a refusal of the credentials means.
pub(in crate::connector) fn denied(error: HttpError) -> StepError {
    match error {
        HttpError::Status { status: 401, excerpt } if is_about_key(&excerpt) => subscription_key(),
        HttpError::Status { status: 401, .. } => StepError::Credentials,
        HttpError::Status { status: 403, .. } => StepError::Forbidden,
        other => other.into(),
    }
}

/// Whether status 401 refuses the subscription key, not the token.
pub(in crate::connector) fn is_about_key(excerpt: &Excerpt) -> bool {
    excerpt.mentions("subscription key")
}

fn subscription_key() -> StepError {
    StepError::Refused {
        what: "the subscription key".to_owned(),
        hint: "check `subscription_key`, and whether `product` is `premium`. A running daemon loads a corrected file as soon as it is saved",
    }
}

/// What the refusal of a call for data means.
pub(in crate::connector) fn classify(error: StepError) -> StepError {
    match error {
        StepError::Http(HttpError::Status { status: 403, .. }) => StepError::Forbidden,
        StepError::Http(HttpError::Status { status: status @ (400 | 404..=407 | 409..=428 | 430..=499), .. }) => {
            StepError::NotServed(status)
        }
        other => other,
    }
}

/// What an operator can do about an error, if it depends on Lynn's settings.
pub(in crate::connector) const fn hint(error: &StepError) -> Option<&'static str> {
    Some(match error {
        StepError::Credentials => {
            "check the credentials; they are issued per environment. A running daemon loads a corrected file as soon as it is saved"
        }
        StepError::Forbidden => "the credential lacks a permission or a division; ask the tenant's administrator",
        _ => return None,
    })
}
