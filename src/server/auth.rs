//! Who sends a request: the login of `server.auth`, as Basic or Bearer.
//!
//! There is one configured login and nothing is stored, so no session, cookie or password hash exists. Secrets are
//! compared as SHA-256 hashes in constant time, so neither length nor content can be measured.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::config::Auth;

/// How a request is logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Login {
    /// No login is configured: the request may read.
    Open,
    /// With user and password, which a browser sends by itself, also when a page of someone else makes it.
    Basic,
    /// With the token, which only its owner can send.
    Bearer,
}

/// Why a request is not logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoLogin {
    /// It has no credentials. A browser then asks for them.
    Missing,
    Wrong,
}

/// The login of a request.
pub(super) fn login(auth: Option<&Auth>, headers: &HeaderMap) -> Result<Login, NoLogin> {
    let Some(auth) = auth else { return Ok(Login::Open) };
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Err(NoLogin::Missing) };
    if values.next().is_some() {
        return Err(NoLogin::Wrong);
    }
    let (scheme, credentials) = value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or(NoLogin::Wrong)?;
    let credentials = credentials.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        let is_right = auth.token.as_ref().is_some_and(|token| same(token.expose().as_bytes(), credentials.as_bytes()));
        return if is_right { Ok(Login::Bearer) } else { Err(NoLogin::Wrong) };
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(NoLogin::Wrong);
    }
    let decoded = STANDARD.decode(credentials).map_err(|_| NoLogin::Wrong)?;
    let colon = decoded.iter().position(|byte| *byte == b':').ok_or(NoLogin::Wrong)?;
    let user = same(auth.user.as_bytes(), &decoded[..colon]);
    let password = same(auth.password.expose().as_bytes(), &decoded[colon + 1..]);
    // Both are compared before either decides.
    if user & password { Ok(Login::Basic) } else { Err(NoLogin::Wrong) }
}

/// Compares in a time that does not depend on where the two differ.
fn same(expected: &[u8], sent: &[u8]) -> bool {
    Sha256::digest(expected).as_slice().ct_eq(Sha256::digest(sent).as_slice()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn p7_only_the_configured_login_is_accepted() {
        let password = Secret::new("pässword: with colon");
        let auth = Auth { user: "operator".to_owned(), password, token: Some(Secret::new("t0ken-of-scripts")) };
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let right = basic("operator:pässword: with colon");
        let cases = [
            (None, Err(NoLogin::Missing)),
            (Some(right.clone()), Ok(Login::Basic)),
            (Some(right.replace("Basic", "bAsIc")), Ok(Login::Basic)),
            (Some("Bearer t0ken-of-scripts".to_owned()), Ok(Login::Bearer)),
            (Some("bearer  t0ken-of-scripts".to_owned()), Ok(Login::Bearer)),
            (Some("Bearer t0ken-of-script".to_owned()), Err(NoLogin::Wrong)),
            (Some("Bearer".to_owned()), Err(NoLogin::Wrong)),
            (Some("Bearer ".to_owned()), Err(NoLogin::Wrong)),
            (Some("t0ken-of-scripts".to_owned()), Err(NoLogin::Wrong)),
            (Some(basic("operator:wrong")), Err(NoLogin::Wrong)),
            (Some(basic("Operator:pässword: with colon")), Err(NoLogin::Wrong)),
            (Some(basic(":pässword: with colon")), Err(NoLogin::Wrong)),
            (Some(basic("operator:")), Err(NoLogin::Wrong)),
            (Some(basic("operator")), Err(NoLogin::Wrong)),
            (Some("Basic ***".to_owned()), Err(NoLogin::Wrong)),
            (Some("Digest username=operator".to_owned()), Err(NoLogin::Wrong)),
        ];
        for (sent, expected) in cases {
            let mut headers = HeaderMap::new();
            if let Some(sent) = &sent {
                headers.insert(AUTHORIZATION, sent.parse().unwrap());
            }
            assert_eq!(login(Some(&auth), &headers), expected, "{sent:?}");
            assert_eq!(login(None, &headers), Ok(Login::Open));
        }
        let mut twice = HeaderMap::new();
        twice.append(AUTHORIZATION, right.parse().unwrap());
        twice.append(AUTHORIZATION, "Basic eA==".parse().unwrap());
        assert_eq!(login(Some(&auth), &twice), Err(NoLogin::Wrong));
        let without_token = Auth { token: None, ..auth };
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "Bearer ".parse().unwrap());
        assert_eq!(login(Some(&without_token), &headers), Err(NoLogin::Wrong));
    }
}
