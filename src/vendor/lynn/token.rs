//! The shared token: minted when first needed, kept until it expires or is refused (`vendors/lynn.md §2, §10.5`).

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

use super::super::StepError;
use super::settings::Settings;
use crate::http::{Call, HttpError, Session};
use crate::quota::CallKind;
use crate::secret::Secret;

/// Token answers are a few hundred bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Tries of CreateToken keep this distance (`§8.4`).
const RETRY_PAUSE_MIN: Duration = Duration::from_secs(20);
/// A token this close to its end is not used any more.
const EXPIRY_MARGIN_SECS: i64 = 30;

/// Credentials that were refused are not tried again within this: a job's streams fail together, on one login.
const REFUSED_FOR: Duration = Duration::from_mins(1);

/// The token of one account. Holding the lock while minting makes everyone else wait for the same token.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    token: Option<Token>,
    refused: Option<(Instant, Refused)>,
}

/// Why no token was minted, where trying again would not help.
#[derive(Debug, Clone, Copy)]
enum Refused {
    Credentials,
    SubscriptionKey,
    Forbidden,
}

impl Refused {
    const fn of(error: &StepError) -> Option<Self> {
        match error {
            StepError::Credentials => Some(Self::Credentials),
            StepError::SubscriptionKey => Some(Self::SubscriptionKey),
            StepError::Forbidden => Some(Self::Forbidden),
            _ => None,
        }
    }
}

impl From<Refused> for StepError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Credentials => Self::Credentials,
            Refused::SubscriptionKey => Self::SubscriptionKey,
            Refused::Forbidden => Self::Forbidden,
        }
    }
}

#[derive(Debug)]
struct Token {
    secret: Secret,
    expires: Option<DateTime<Utc>>,
}

impl Tokens {
    /// The token, minted if there is none.
    pub(super) async fn get(
        &self,
        session: &Session<'_>,
        base_url: &Url,
        settings: &Settings,
    ) -> Result<Secret, StepError> {
        let mut held = self.0.lock().await;
        let soon = Utc::now() + TimeDelta::seconds(EXPIRY_MARGIN_SECS);
        if let Some(token) = held.token.as_ref().filter(|token| token.expires.is_none_or(|expires| expires > soon)) {
            return Ok(token.secret.clone());
        }
        if let Some((_, refused)) = held.refused.filter(|(since, _)| since.elapsed() < REFUSED_FOR) {
            return Err(refused.into());
        }
        let minted = mint(session, base_url, settings).await;
        held.refused = minted.as_ref().err().and_then(Refused::of).map(|refused| (Instant::now(), refused));
        let token = minted?;
        let secret = token.secret.clone();
        held.token = Some(token);
        Ok(secret)
    }

    /// Drops the token that was refused, unless another took its place already.
    pub(super) async fn forget(&self, refused: &Secret) {
        let mut held = self.0.lock().await;
        if held.token.as_ref().is_some_and(|token| token.secret.expose() == refused.expose()) {
            held.token = None;
        }
    }
}

async fn mint(session: &Session<'_>, base_url: &Url, settings: &Settings) -> Result<Token, StepError> {
    let mut retry = session.retry(RETRY_PAUSE_MIN);
    loop {
        let body = serde_json::json!({
            "accessToken": settings.access_token.expose(),
            "accessTokenSecret": settings.access_token_secret.expose(),
            "tenant": settings.tenant,
        });
        let call = Call {
            kind: CallKind::Login,
            method: Method::POST,
            url: settings.create_token_url(base_url)?,
            headers: settings.subscription_header(),
            authorization: None,
            json: Some(body.to_string().into_bytes()),
            bytes_expected: 4_000,
        };
        let outcome = match session.send(call).await {
            Ok(body) => body.small(ANSWER_BYTES_MAX).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(answer) => return read(&answer),
            // Each try burns one of three per minute, and the next would fail as well.
            Err(HttpError::Status { status: 401, excerpt }) => {
                let about_key = excerpt.mentions("subscription key");
                return Err(if about_key { StepError::SubscriptionKey } else { StepError::Credentials });
            }
            Err(HttpError::Status { status: 403, .. }) => return Err(StepError::Forbidden),
            Err(error) => {
                if !retry.again(&error).await {
                    return Err(error.into());
                }
            }
        }
    }
}

/// `{"token": "…"}` with any further keys, or a bare JSON string.
fn read(answer: &[u8]) -> Result<Token, StepError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Answer {
        Bare(String),
        Object {
            #[serde(alias = "Token")]
            token: String,
        },
    }
    let token = match serde_json::from_slice(answer) {
        Ok(Answer::Bare(token) | Answer::Object { token }) if !token.trim().is_empty() => token,
        _ => return Err(StepError::Missing("token")),
    };
    Ok(Token { expires: expiry(&token), secret: Secret::new(token) })
}

/// `exp` of a token that decodes as a JWT: a hint only, the signature is not ours to check.
fn expiry(token: &str) -> Option<DateTime<Utc>> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?.trim_end_matches('=')).ok()?;
    let claims: Claims = serde_json::from_slice(&payload).ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and an absurd time is refused below")]
    let secs = claims.exp as i64;
    DateTime::from_timestamp(secs, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_as_an_object_or_bare_and_tells_its_end_if_it_is_a_jwt() {
        let payload = URL_SAFE_NO_PAD.encode(r#"{"exp":1893456000}"#);
        let jwt = format!("h.{payload}.s");
        let token = read(format!(r#"{{"token":"{jwt}","more":1}}"#).as_bytes()).unwrap();
        assert_eq!(token.expires, DateTime::from_timestamp(1_893_456_000, 0));
        assert_eq!(token.secret.expose(), jwt);
        assert_eq!(read(br#""opaque""#).unwrap().expires, None);
        for broken in [&b""[..], b"{}", br#"{"token":""}"#, b"<html>", br#"{"token":7}"#] {
            assert!(matches!(read(broken), Err(StepError::Missing("token"))));
        }
    }
}
