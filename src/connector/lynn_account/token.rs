//! The shared token: created when first needed, kept until it expires or is refused (`facts/lynn.md §2, §10.5`).

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

use super::super::{StepError, request};
use super::{Account, denied, is_about_key, subscription_key};
use crate::clock;
use crate::http::{Call, Excerpt, Payload, Session};
use crate::quota::CallKind;
use crate::secret::Secret;

/// Responses with a token have a few hundred bytes.
const RESPONSE_BYTES_MAX: u64 = 64 << 10;
/// A token is no longer used when it expires within this time, or within a tenth of its lifetime.
const EXPIRY_MARGIN: Duration = Duration::from_secs(30);
/// A shorter lifetime is ignored: clocks may differ, and a new token for every page would cost more than an occasional
/// 401.
const LIFETIME_MIN: Duration = Duration::from_mins(1);
/// A longer lifetime is ignored.
const LIFETIME_MAX: Duration = Duration::from_hours(24 * 366);

/// The token of one account. The lock is held while a token is created, so that all callers wait for the same one.
#[derive(Debug, Default)]
pub(in crate::connector) struct Tokens(Mutex<Held>);

#[derive(Debug, Default)]
enum Held {
    #[default]
    Nothing,
    Token(Token),
    /// When the account was refused, and the error.
    Refused(Instant, fn() -> StepError),
}

#[derive(Debug)]
struct Token {
    secret: Secret,
    use_until: Option<Instant>,
}

impl Tokens {
    /// Returns the token, and creates it if there is none.
    pub(in crate::connector) async fn get(
        &self,
        session: &Session<'_>,
        base_url: &Url,
        account: &Account,
    ) -> Result<Secret, StepError> {
        let mut held = self.0.lock().await;
        match &*held {
            Held::Token(token) if token.use_until.is_none_or(|until| Instant::now() < until) => {
                return Ok(token.secret.clone());
            }
            // Otherwise each stream of the run would use a login call for the same refusal.
            Held::Refused(at, error) if at.elapsed() < session.pace(CallKind::Login) => return Err(error()),
            _ => {}
        }
        match mint(session, base_url, account).await {
            Ok(token) => {
                let secret = token.secret.clone();
                *held = Held::Token(token);
                Ok(secret)
            }
            Err(error) => {
                let refused: Option<fn() -> StepError> = match error {
                    StepError::Credentials => Some(|| StepError::Credentials),
                    StepError::Refused { .. } => Some(subscription_key),
                    StepError::Forbidden => Some(|| StepError::Forbidden),
                    _ => None,
                };
                *held = refused.map_or(Held::Nothing, |error| Held::Refused(Instant::now(), error));
                Err(error)
            }
        }
    }

    /// Drops the token that was refused, unless it has been replaced already.
    pub(in crate::connector) async fn forget(&self, refused: &Secret) {
        let mut held = self.0.lock().await;
        if matches!(&*held, Held::Token(token) if token.secret.expose() == refused.expose()) {
            *held = Held::Nothing;
        }
    }

    /// After a call was refused with status 401: drops its token, so that the next attempt gets another. Fails if the
    /// subscription key is the reason, or if the token was `renewed` before.
    pub(in crate::connector) async fn renew(
        &self,
        excerpt: &Excerpt,
        renewed: &mut bool,
        token: &Secret,
    ) -> Result<(), StepError> {
        if is_about_key(excerpt) {
            return Err(subscription_key());
        }
        if std::mem::replace(renewed, true) {
            return Err(StepError::Credentials);
        }
        self.forget(token).await;
        Ok(())
    }
}

async fn mint(session: &Session<'_>, base_url: &Url, account: &Account) -> Result<Token, StepError> {
    let mut retry = session.retry(CallKind::Login);
    loop {
        let call = login(account, account.url(base_url, &account.create_token_path)?);
        match request::whole(session, call).await {
            Ok(response) => return read(&response),
            Err(error) if retry.again(&error).await => {}
            // Not repeated: each attempt uses one of three calls per minute, and the next would fail as well.
            Err(error) => return Err(denied(error)),
        }
    }
}

/// A call of `CreateToken`, with or without `?info`.
pub(super) fn login(account: &Account, url: Url) -> Call {
    let body = serde_json::json!({
        "accessToken": account.access_token.expose(),
        "accessTokenSecret": account.access_token_secret.expose(),
        "tenant": account.tenant,
    });
    Call {
        kind: CallKind::Login,
        headers: account.subscription_header(),
        bytes_expected: 4_000,
        bytes_max: RESPONSE_BYTES_MAX,
        ..Call::post(url, Payload::Json(body.to_string().into_bytes()))
    }
}

/// `{"token": "…"}` with any further keys and in any letter case, or a bare JSON string.
fn read(response: &[u8]) -> Result<Token, StepError> {
    let token = match serde_json::from_slice(response) {
        Ok(Value::String(token)) => Some(token),
        Ok(Value::Object(members)) => members
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("token"))
            .and_then(|(_, token)| match token {
                Value::String(token) => Some(token),
                _ => None,
            }),
        _ => None,
    };
    let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
    let token = token.ok_or(StepError::Missing("token"))?;
    let life = life(&token, clock::now().timestamp());
    let use_until = life.map(|life| Instant::now() + life.saturating_sub(EXPIRY_MARGIN.min(life / 10)));
    Ok(Token { use_until, secret: Secret::new(token) })
}

/// The lifetime of a new token, if it is a JWT with `exp`. The signature is not checked, because the lifetime is only a
/// hint. With `iat` the clocks need not agree.
fn life(token: &str, now: i64) -> Option<Duration> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?.trim_end_matches('=')).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    let claim = |name: &str| claims.get(name)?.as_f64().filter(|secs| secs.is_finite());
    #[expect(clippy::cast_precision_loss, reason = "seconds of this age are exact")]
    let issued = claim("iat").unwrap_or(now as f64);
    let life = Duration::try_from_secs_f64(claim("exp")? - issued).ok()?;
    (LIFETIME_MIN..=LIFETIME_MAX).contains(&life).then_some(life)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fuzz::damaged;

    const RESPONSES: &[&[u8]] = &[
        br#"{"token":"eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjEwMDM2MDAsImlhdCI6MTAwMDAwMH0.c2ln","more":{"a":1}}"#,
        br#"" opaque""#,
        br#"{"TOKEN":"h.eyJleHAiOjFlMzAwfQ.s"}"#,
    ];

    proptest! {
        #[test]
        fn p7_a_damaged_response_is_a_token_that_does_not_print_or_is_refused(response in damaged(RESPONSES)) {
            match read(&response) {
                Ok(token) => {
                    let shown = format!("{token:?}");
                    prop_assert!(!shown.contains("eyJ"));
                }
                Err(error) => prop_assert!(matches!(error, StepError::Missing("token")), "{error:?}"),
            }
        }

        #[test]
        fn claims_of_any_kind_give_a_plausible_lifetime_or_none(claims in "[{]\"(exp|iat)\":-?[0-9]{1,20}(e[0-9]{1,3})?(,\"(iat|exp)\":(-?[0-9.]{1,12}|null|\"x\"))?[}]", now in any::<i64>()) {
            let life = life(&jwt(&claims), now);
            prop_assert!(life.is_none_or(|life| (LIFETIME_MIN..=LIFETIME_MAX).contains(&life)));
        }
    }

    fn jwt(claims: &str) -> String {
        format!("h.{}.s", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_token_comes_as_an_object_or_bare() {
        for response in [r#"{"token":"opaque","more":{"a":1}}"#, r#"{"TOKEN":"opaque"}"#, r#"" opaque""#] {
            let token = read(response.as_bytes()).unwrap();
            assert_eq!(token.secret.expose(), "opaque");
            assert!(token.use_until.is_none());
        }
        for broken in [&b""[..], b"{}", br#"{"token":""}"#, b"<html>", br#"{"token":7}"#, b"null", b"[]"] {
            assert!(matches!(read(broken), Err(StepError::Missing("token"))));
        }
    }

    #[test]
    fn a_jwt_states_its_lifetime_and_clocks_need_not_agree() {
        let hour = Some(Duration::from_hours(1));
        assert_eq!(life(&jwt(r#"{"exp":1003600,"iat":1000000}"#), 9_000_000), hour);
        assert_eq!(life(&jwt(r#"{"exp":1003600.0}"#), 1_000_000), hour);
        // Expired at creation, or nearly: one of the clocks is wrong, and each page would create a token.
        for implausible in
            [r#"{"exp":1000030}"#, r#"{"exp":999000}"#, r#"{"exp":1e300}"#, r#"{"exp":"soon"}"#, "{}", "x"]
        {
            assert_eq!(life(&jwt(implausible), 1_000_000), None, "{implausible}");
        }
        let token = read(format!("\"{}\"", jwt(r#"{"exp":1003600,"iat":1000000}"#)).as_bytes()).unwrap();
        let left = token.use_until.unwrap() - Instant::now();
        assert!(left > Duration::from_mins(59) && left <= Duration::from_secs(3_570), "{left:?}");
    }
}
