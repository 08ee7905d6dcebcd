//! Settings that all kinds of connectors have: credentials and base URLs.

use url::Url;

use super::report::Report;
use super::scalar::Credential;
use super::tree::KeyPath;
use crate::secret::Secret;

/// The base URL that replaces a refused one.
pub fn stand_in() -> Url {
    #[expect(clippy::expect_used, reason = "a constant that parses; it only replaces a refused value")]
    Url::parse("https://refused.invalid").expect("the stand-in parses")
}

/// A URL with scheme, host and path only, without a slash at the end. A fault shows `example`.
pub fn parse_base_url(text: &str, example: &str) -> Result<Url, String> {
    let shape = || format!("is not a URL; write for instance `{example}`");
    let mut url = Url::parse(text).map_err(|_| shape())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(shape());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("contains a user or password; credentials have their own keys".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or fragment; write scheme, host and path only".to_owned());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// A required credential; an empty one counts as missing.
pub fn credential(raw: Option<Credential>, path: &KeyPath, remedy: &str, report: &mut Report<'_>) -> Secret {
    let Some(Credential(secret)) = raw else {
        report.missing(path, remedy);
        return Secret::new("");
    };
    if let Some(problem) = credential_problem(secret.expose()) {
        report.refuse(path, format!("{problem}; {remedy}"));
    }
    secret
}

/// Why a text cannot be a credential, which is sent in a header or between quotation marks.
pub fn credential_problem(text: &str) -> Option<&'static str> {
    if text.trim().is_empty() {
        Some("is empty")
    } else if text.contains(char::is_control) {
        Some("has a line break or another control character")
    } else if text.trim() != text {
        Some("has a space at its start or end")
    } else {
        None
    }
}
