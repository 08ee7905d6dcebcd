//! Who may use the status port: `server.auth` and `server.origins`.

use super::super::{Auth, raw};
use crate::secret::Secret;
use crate::settings::{Credential, KeyPath, Report, credential, credential_problem};

/// A shorter password or token can be found by trying.
const SECRET_CHARACTERS_MIN: usize = 12;
const EXAMPLE: &str = "https://tidegate.example.com";

/// `None` if no login is configured.
pub(super) fn auth(raw: Option<raw::Auth>, path: &KeyPath, report: &mut Report<'_>) -> Option<Auth> {
    let raw = raw?;
    if raw.user.is_none() && raw.password.is_none() && raw.token.is_none() {
        if !report.is_refused(path) {
            report.state(path, "is empty; write `user` and `password`, or leave `auth` out");
        }
        return None;
    }
    let user_path = path.key("user");
    let user = raw.user.unwrap_or_default();
    if user.is_empty() {
        report.missing(&user_path, "write the name that people log in with: `user: operator`");
    } else if user.contains(':') || user.chars().any(char::is_control) || user.trim() != user {
        report.refuse(&user_path, "is not a name to log in with; leave out `:`, control characters and outer spaces");
    }
    let password = credential(raw.password, &path.key("password"), "write the password", report);
    long_enough(&password, &path.key("password"), report);
    let token = raw.token.map(|Credential(token)| {
        let path = path.key("token");
        if let Some(problem) = credential_problem(token.expose()) {
            report.refuse(&path, format!("{problem}; write a token for scripts, or leave the key out"));
        } else if !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            report.refuse(&path, "cannot be sent in a header; use letters, digits and ASCII punctuation only");
        }
        long_enough(&token, &path, report);
        token
    });
    Some(Auth { user, password, token })
}

fn long_enough(secret: &Secret, path: &KeyPath, report: &mut Report<'_>) {
    if secret.expose().chars().count() < SECRET_CHARACTERS_MIN && !report.is_refused(path) {
        report.refuse(path, format!("has fewer than {SECRET_CHARACTERS_MIN} characters; write a longer one"));
    }
}

/// Origins as browsers write them, in lower case.
pub(super) fn origins(raw: Option<Vec<Option<String>>>, path: &KeyPath, report: &mut Report<'_>) -> Vec<String> {
    let mut origins = Vec::new();
    // A reference that cannot be resolved was refused earlier.
    for (at, text) in raw.unwrap_or_default().into_iter().enumerate() {
        let Some(text) = text else { continue };
        match url::Url::parse(&text) {
            Ok(url)
                if matches!(url.scheme(), "http" | "https")
                    && url.host().is_some()
                    && url.username().is_empty()
                    && url.password().is_none()
                    && url.path() == "/"
                    && url.query().is_none()
                    && url.fragment().is_none() =>
            {
                origins.push(url.origin().ascii_serialization());
            }
            _ => report.refuse(
                &path.index(at),
                format!("is not an origin; write scheme, host and port only, for instance `{EXAMPLE}`"),
            ),
        }
    }
    origins
}
