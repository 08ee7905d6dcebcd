//! The remaining quotas of a credential, as Lynn reports them: `CreateToken?info` (`facts/lynn.md §2.1, §10.6`).
//!
//! Only the URL is documented. The response may hold quota data, a token, or both. So it is only displayed, without
//! anything that may be a secret.

use serde_json::Value;
use url::Url;

use super::super::{StepError, request};
use super::token::login;
use super::{Account, denied};
use crate::decode::DecodeError;
use crate::http::{Redactor, Session};

/// Members whose text describes a number. The texts of other members may be tokens, and are shown only if they are
/// numbers or times.
const WORDY: [&str; 12] =
    ["name", "type", "kind", "unit", "period", "product", "plan", "limit", "quota", "status", "message", "description"];
const HIDDEN: &str = "***";
/// A word of this length may be a token.
const TOKEN_BYTES_MIN: usize = 24;

/// Sends one call. Whether it counts is not documented, so it is counted as a login. `path` is the template of
/// `CreateToken`.
pub(in crate::connector) async fn ask(
    session: &Session<'_>,
    base_url: &Url,
    account: &Account,
    path: &str,
    redactor: &Redactor,
) -> Result<Value, StepError> {
    let mut url = account.url(base_url, path)?;
    // The vendor writes the flag without a value.
    let query = url.query().map_or_else(|| "info".to_owned(), |query| format!("{query}&info"));
    url.set_query(Some(&query));
    let response = request::whole(session, login(account, url)).await.map_err(denied)?;
    Ok(shown(&response, redactor)?)
}

/// The response without anything that may be a secret. A single string is most likely a token.
fn shown(response: &[u8], redactor: &Redactor) -> Result<Value, DecodeError> {
    let response = response.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(response).trim_ascii();
    match serde_json::from_slice(response) {
        Ok(Value::String(_)) => Ok(HIDDEN.into()),
        Ok(value) => Ok(redacted(value, false, redactor)),
        Err(_) if response.is_empty() => Err(DecodeError::Empty),
        Err(_) if response.starts_with(b"<") => Err(DecodeError::NotJson("HTML or XML")),
        Err(_) => Err(DecodeError::NotJson("text")),
    }
}

/// `is_wordy`: the value belongs to a member whose text is shown.
fn redacted(value: Value, is_wordy: bool, redactor: &Redactor) -> Value {
    match value {
        Value::String(text) if is_wordy || is_figure(&text) => visible(&text, redactor).into(),
        Value::String(_) => HIDDEN.into(),
        Value::Array(items) => items.into_iter().map(|item| redacted(item, is_wordy, redactor)).collect(),
        Value::Object(members) => {
            let members = members.into_iter().map(|(name, value)| {
                let is_wordy = WORDY.iter().any(|word| name.eq_ignore_ascii_case(word));
                (visible(&name, redactor), redacted(value, is_wordy, redactor))
            });
            Value::Object(members.collect())
        }
        other => other,
    }
}

/// Whether a text is a number, a date, a time or a percentage.
fn is_figure(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit() || "+-.,:/% TZ".contains(c))
}

/// A text, or `***` if it has a word as long as a token. A description of a quota has no such word.
fn visible(text: &str, redactor: &Redactor) -> String {
    let in_token = |c: char| c.is_ascii_alphanumeric() || "-_.+/=~".contains(c);
    let is_long = text.split(|c| !in_token(c)).any(|run| run.len() >= TOKEN_BYTES_MIN);
    if is_long { HIDDEN.to_owned() } else { redactor.clean(text) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::fuzz::damaged;
    use crate::secret::Secret;

    const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjEwMDM2MDAsImlhdCI6MTAwMDAwMH0.c2lnbmF0dXJlc2lnbmF0dXJl";

    #[test]
    fn p7_the_response_is_shown_without_tokens_and_credentials() {
        let redactor = Redactor::new(vec![Secret::new("7c01d94ab3e2f5")]);
        let said = json!({
            "Token": "opaque-token", "jwt": JWT, "tokensLeft": 2, "user": "7C01d94ab3e2f5",
            "secrets": [{ "a": "b", "n": 3 }],
            "quota": [{ "name": "calls", "remaining": 9_973, "until": "2024-03-01T11:00:00Z", "used": "27 %" }],
            "result": "abc123", "7c01d94ab3e2f5": null,
        });
        let expected = json!({
            "Token": "***", "jwt": "***", "tokensLeft": 2, "user": "***", "secrets": [{ "a": "***", "n": 3 }],
            "quota": [{ "name": "calls", "remaining": 9_973, "until": "2024-03-01T11:00:00Z", "used": "27 %" }],
            "result": "***", "***": null,
        });
        assert_eq!(shown(said.to_string().as_bytes(), &redactor).unwrap(), expected);
        assert_eq!(shown(b"\xEF\xBB\xBF \"opaque\"", &redactor).unwrap(), json!("***"));
        for broken in [&b""[..], b" ", b"<html>", b"opaque-token", b"{"] {
            let error = shown(broken, &redactor).unwrap_err().to_string();
            assert!(!error.contains("opaque"), "{error}");
        }
    }

    fn assert_no_token(response: &[u8]) {
        if let Ok(value) = shown(response, &Redactor::default()) {
            let claims_and_signature = JWT.split_once('.').unwrap().1;
            assert!(!value.to_string().contains(claims_and_signature), "{value}");
        }
    }

    /// Found by the property below.
    #[test]
    fn p7_a_token_with_a_slash_for_its_first_dot_is_not_shown() {
        assert_no_token(format!("[\"{}\"]", JWT.replacen('.', "/", 1)).as_bytes());
    }

    proptest! {
        #[test]
        fn p7_a_damaged_response_shows_no_token(response in damaged(&[
            br#"{"token":"eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjEwMDM2MDAsImlhdCI6MTAwMDAwMH0.c2lnbmF0dXJlc2lnbmF0dXJl","left":{"calls":1}}"#,
            br#"["eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjEwMDM2MDAsImlhdCI6MTAwMDAwMH0.c2lnbmF0dXJlc2lnbmF0dXJl"]"#,
        ])) {
            assert_no_token(&response);
        }
    }
}
