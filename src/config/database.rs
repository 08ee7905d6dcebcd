//! Where the database is, and whether a database URL is unambiguous.
//!
//! A password with an `@`, `/`, `#` or `?` that is not percent-encoded moves the end of a URL's authority: the rest is
//! then taken as a host, looked up in DNS and shown in errors. Such a URL is refused before anything uses it.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::{Error, StrDeserializer};
use url::Url;

use crate::secret::Secret;

/// The URL parameters that have a meaning. sqlx ignores others with a warning that shows their values.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "application_name",
    "options",
];

/// Which database to use.
#[derive(Debug, Clone)]
pub enum DatabaseTarget {
    /// Nothing is configured: the private embedded Postgres.
    Embedded,
    /// `database.url`, checked: a parser finds the intended host.
    Url(Secret),
    /// `database.host` and the keys next to it.
    Parts(DatabaseParts),
}

/// A database given as parts. Nothing is encoded.
#[derive(Debug, Clone)]
pub struct DatabaseParts {
    /// A host name, an IP address without brackets, or the absolute path of a socket's folder.
    pub host: String,
    pub port: u16,
    /// Name of the database.
    pub name: String,
    pub user: String,
    pub password: Option<Secret>,
    pub ssl_mode: SslMode,
    /// A PEM file of additional authorities that may have signed the server's certificate.
    pub ssl_root_cert: Option<PathBuf>,
}

/// How a connection is encrypted, named as in libpq.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum SslMode {
    Disable,
    Allow,
    #[default]
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl DatabaseTarget {
    pub const fn is_embedded(&self) -> bool {
        matches!(self, Self::Embedded)
    }

    /// All values that must never be printed: the password as written and decoded, and the whole URL.
    pub fn secrets(&self) -> Vec<Secret> {
        match self {
            Self::Embedded => Vec::new(),
            Self::Parts(parts) => parts.password.iter().cloned().collect(),
            Self::Url(secret) => {
                let mut secrets = vec![secret.clone()];
                if let Ok(url) = Url::parse(secret.expose()) {
                    let written = url.password().unwrap_or_default();
                    let decoded = decoded(written).filter(|decoded| decoded != written);
                    secrets.extend(decoded.map(Secret::new));
                    secrets.push(Secret::from(written));
                    let parameters = url.query_pairs().filter(|(key, _)| key == "password");
                    secrets.extend(parameters.map(|(_, value)| Secret::new(value)));
                }
                secrets.retain(|secret| !secret.expose().is_empty());
                secrets
            }
        }
    }
}

/// What is wrong with a database URL. The messages contain no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UrlProblem {
    /// It has another scheme, or is not a URL.
    Shape,
    /// User, password and host cannot be distinguished reliably.
    Ambiguous,
    SslMode,
    Parameter,
    /// A parameter has an invalid value.
    Value,
}

impl fmt::Display for UrlProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Shape => {
                "is not a Postgres URL; write `postgres://user:password@host:5432/database`, or use `database.host`, \
                 `name`, `user` and `password` instead of the URL"
            }
            Self::Ambiguous => {
                "cannot be split reliably into user, password and host; write the password percent-encoded (`%40` for \
                 an `@`, `%2F` for a `/`, `%23` for a `#`, `%3F` for a `?`), or use `database.host`, `name`, `user` and \
                 `password` instead of the URL"
            }
            Self::SslMode => {
                "has an unknown `sslmode`; write disable, allow, prefer, require, verify-ca or verify-full"
            }
            Self::Parameter => {
                "has a parameter after `?` that is not known; the known ones are `sslmode`, `sslrootcert`, `sslcert`, `sslkey`, \
                 `host`, `hostaddr`, `port`, `dbname`, `user`, `application_name`, `options` and \
                 `statement-cache-capacity`"
            }
            Self::Value => "has a parameter after `?` with a wrong value; `port` is a number, `hostaddr` an IP address",
        })
    }
}

/// Checks that `text` is unambiguous. Returns the paths of the files that it names.
pub(super) fn check_url(text: &str) -> Result<Vec<PathBuf>, UrlProblem> {
    let text = text.trim();
    let (scheme, rest) = text.split_once("://").ok_or(UrlProblem::Shape)?;
    if !["postgres", "postgresql"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(UrlProblem::Shape);
    }
    // A URL parser silently drops tabs and line breaks, and a `#` and the text after it are never sent.
    if rest.contains(|c: char| c.is_control() || c == '#') {
        return Err(UrlProblem::Ambiguous);
    }
    let (authority, after) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if after.contains('@') || !is_plain_authority(authority) {
        return Err(UrlProblem::Ambiguous);
    }
    let url = Url::parse(text).map_err(|_| UrlProblem::Ambiguous)?;
    check_parameters(&url)
}

/// Whether `authority` is `user:password@host:port`, where only the host is required and everything else is encoded.
fn is_plain_authority(authority: &str) -> bool {
    let (user_info, server) = match authority.split_once('@') {
        Some((user_info, server)) => (user_info, server),
        None => ("", authority),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:%".contains(c);
    if !user_info.chars().all(plain) || decoded(user_info).is_none() {
        return false;
    }
    let (host, port) = match server.rfind(':') {
        Some(colon) if !server.ends_with(']') => (&server[..colon], Some(&server[colon + 1..])),
        _ => (server, None),
    };
    let port_fits = port.is_none_or(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    // An encoded `/` starts the path of a socket's folder. Without a host, the parameter `host` contains it.
    let host_fits = host.is_empty()
        || is_host(host)
        || (host.to_ascii_uppercase().starts_with("%2F") && decoded(host).is_some_and(|path| is_host(&path)));
    port_fits && host_fits
}

/// Whether `text` is a host name, an IP address (IPv6 with or without brackets), or a socket's folder.
pub(super) fn is_host(text: &str) -> bool {
    if text.starts_with('/') {
        return !text.contains(char::is_control);
    }
    let version_6 = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(text);
    if version_6.parse::<Ipv6Addr>().is_ok() {
        return true;
    }
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !text.is_empty() && text.bytes().all(letter)
}

fn check_parameters(url: &Url) -> Result<Vec<PathBuf>, UrlProblem> {
    let mut files = Vec::new();
    for (key, value) in url.query_pairs() {
        let is_option = key.strip_prefix("options[").is_some_and(|rest| rest.ends_with(']'));
        if !is_option && !PARAMETERS.contains(&&*key) {
            return Err(UrlProblem::Parameter);
        }
        let fits = match &*key {
            "sslmode" | "ssl-mode" => {
                if SslMode::read(&value).is_none() {
                    return Err(UrlProblem::SslMode);
                }
                true
            }
            "sslrootcert" | "ssl-root-cert" | "ssl-ca" | "sslcert" | "ssl-cert" | "sslkey" | "ssl-key" => {
                files.push(PathBuf::from(&*value));
                true
            }
            "host" => is_host(&value),
            "hostaddr" => value.parse::<std::net::IpAddr>().is_ok(),
            "port" => value.parse::<u16>().is_ok_and(|port| port > 0),
            "statement-cache-capacity" => value.parse::<usize>().is_ok(),
            _ => true,
        };
        if !fits {
            return Err(UrlProblem::Value);
        }
    }
    Ok(files)
}

impl SslMode {
    /// Ignores case, as Postgres's own programs do.
    fn read(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        Self::deserialize(StrDeserializer::<Error>::new(&lower)).ok()
    }
}

/// `text` percent-decoded. `None` if a `%` is not followed by two hexadecimal digits, or if the result is not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = after;
            continue;
        }
        let digits = after.first_chunk::<2>().filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        let byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        bytes.push(byte);
        rest = &after[2..];
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_an_unambiguous_url_is_accepted() {
        for text in [
            "postgres://host/db",
            "postgresql://u@host",
            "POSTGRES://u:p@host:5432/db",
            "postgres://u:p%40ss%2Fw%23rd%3Fx@db.example:5432/warehouse?sslmode=Require",
            "postgres://u:p:w!$&'()*+,;=@10.0.0.5/db",
            "postgres://u:p@[::1]:5432/db",
            "postgres://u@[2001:db8::7]/db",
            "postgres:///db?host=/run/postgresql",
            "postgres://u@%2Frun%2Fpostgresql/db",
            "postgres://u:@host/db?options[search_path]=a&application_name=b&port=6432&hostaddr=::1",
        ] {
            assert_eq!(check_url(text), Ok(Vec::new()), "{text}");
        }
        let files = check_url("postgres://u@h/d?sslmode=verify-full&sslrootcert=/ca%20b.pem");
        assert_eq!(files, Ok(vec![PathBuf::from("/ca b.pem")]));
    }

    #[test]
    fn p9_an_ambiguous_url_is_refused() {
        for text in [
            "postgres://u:p@ss/w#rd?x@host/db",
            "postgres://u:p@ss@host/db",
            "postgres://u:p/ss@host/db",
            "postgres://u:1/ss@host/db",
            "postgres://u:p?ss@host/db",
            "postgres://u:p#ss@host/db",
            "postgres://u:p@host/db#x",
            "postgres://u:p\\ss@host/db",
            "postgres://u:p ss@host/db",
            "postgres://u:p\tss@host/db",
            "postgres://u:pä@host/db",
            "postgres://u:p%ss@host/db",
            "postgres://u:p%00@host/db",
            "postgres://u:p%ff@host/db",
            "postgres://u:p[ss@host/db",
            "postgres://host:password/db",
            "postgres://u:p@host:port/db",
            "postgres://u:p@host:/db",
            "postgres://u:p@host:0/db",
            "postgres://u:p@host:70000/db",
            "postgres://u:p@one,two/db",
            "postgres://u:p@h%6Fst/db",
            "postgres://u:p@[::1/db",
            "postgres://u:p@[bad]/db",
            "postgres://u:p@host/db?application_name=a@b",
        ] {
            assert_eq!(check_url(text), Err(UrlProblem::Ambiguous), "{text}");
        }
    }

    #[test]
    fn p9_a_url_of_another_kind_or_with_a_wrong_parameter_is_refused() {
        for (text, problem) in [
            ("mysql://u:p@h/d", UrlProblem::Shape),
            ("host=h user=u", UrlProblem::Shape),
            ("postgres:u", UrlProblem::Shape),
            ("postgres://u:p@h/d?sslmode=on", UrlProblem::SslMode),
            ("postgres://u:p@h/d?connect_timeout=10", UrlProblem::Parameter),
            ("postgres://u:p@h/d?options[x=1", UrlProblem::Parameter),
            ("postgres://u:p@h/d?port=x", UrlProblem::Value),
            ("postgres://u:p@h/d?hostaddr=h", UrlProblem::Value),
            ("postgres://u:p@h/d?host=a%20b", UrlProblem::Value),
        ] {
            assert_eq!(check_url(text), Err(problem), "{text}");
        }
    }

    #[test]
    fn p7_the_password_of_a_url_is_a_secret_written_and_decoded() {
        let target = DatabaseTarget::Url("postgres://u:p%40ss@h/d?password=more".into());
        let secrets = target.secrets();
        let secrets: Vec<&str> = secrets.iter().map(Secret::expose).collect();
        for secret in ["p%40ss", "p@ss", "more", "postgres://u:p%40ss@h/d?password=more"] {
            assert!(secrets.contains(&secret), "{secrets:?}");
        }
        assert!(!format!("{target:?}").contains("ss@"));
    }
}
