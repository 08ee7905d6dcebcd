//! The section `database`: a URL, or parts, or neither for the embedded Postgres.
//!
//! The embedded Postgres is used if nothing is written. A key that is written but empty is an error: writing a key
//! means that a server is wanted.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::database::{self, DatabaseParts, DatabaseTarget, SslMode};
use super::super::{Database, Worker, raw};
use crate::secret::Secret;
use crate::settings::{Credential, KeyPath, Kind, Report, cannot_read, credential_problem};
use crate::store::distribution::Distribution;

const CONNECTIONS: u32 = 8;
const CONNECTIONS_MAX: u32 = 1_000;
const PORT: u16 = 5432;

/// The keys that together replace a URL.
const PARTS: &[&str] = &["host", "port", "name", "user", "password", "sslmode", "sslrootcert"];

pub(super) fn check(raw: raw::Database, worker: &Worker, report: &mut Report<'_>) -> Database {
    let path = KeyPath::default().key("database");
    // A run that adds columns holds two connections at a time, so more runs need more connections.
    let wanted = u32::try_from(worker.concurrency).unwrap_or(u32::MAX).saturating_mul(2);
    let default = CONNECTIONS.max(wanted).min(CONNECTIONS_MAX);
    let range = 1..=CONNECTIONS_MAX.into();
    let max_connections = report.integer(&path.key("max_connections"), raw.max_connections, range, default);
    let distribution = raw.distribute.unwrap_or_default();
    refuse_what_is_empty(&path, report);
    let parts: Vec<&str> = PARTS.iter().copied().filter(|key| is_written(&path, key, report)).collect();
    let has_url = is_written(&path, "url", report);
    if distribution == Distribution::Citus && !has_url && parts.is_empty() {
        report.state(
            &path.key("distribute"),
            "needs a server with Citus, and the embedded Postgres has none; name the cluster's coordinator with `url`, \
             or with `host`, `name` and `user`",
        );
    }
    let target = match (has_url, parts.as_slice()) {
        (false, []) => DatabaseTarget::Embedded,
        (true, []) => url(raw.url, &path.key("url"), report),
        (true, parts) => {
            let parts: Vec<String> = parts.iter().map(|key| format!("`{key}`")).collect();
            let message = format!(
                "is given together with {}; keep the URL, which accepts `?sslmode=` and `?sslrootcert=`, or keep the \
                 parts",
                parts.join(", ")
            );
            report.state(&path.key("url"), &message);
            DatabaseTarget::Embedded
        }
        (false, _) => DatabaseTarget::Parts(parts_of(raw, &path, report)),
    };
    Database { target, max_connections, distribution }
}

fn is_written(path: &KeyPath, key: &str, report: &Report<'_>) -> bool {
    report.written(&path.key(key)).is_some()
}

fn refuse_what_is_empty(path: &KeyPath, report: &mut Report<'_>) {
    let is_empty = |path: &KeyPath, report: &Report<'_>| match report.written(path).map(|node| &node.kind) {
        Some(Kind::Null) => true,
        Some(Kind::Scalar(text)) => text.trim().is_empty(),
        Some(Kind::Map(entries)) => entries.is_empty(),
        Some(Kind::List(_)) | None => false,
    };
    let mut refuse = |path: &KeyPath, message: &str| {
        // Unresolvable references and invalid numbers were refused earlier.
        if is_empty(path, report) && !report.is_refused(path) {
            report.state(path, message);
        }
    };
    refuse(
        path,
        "is empty; write `url`, or `host`, `name` and `user`, or leave `database` out to use the embedded Postgres",
    );
    refuse(&path.key("url"), "is empty; write the URL, or leave the key out to use the embedded Postgres");
    for key in PARTS {
        refuse(&path.key(key), "is empty; write a value, or leave the key out");
    }
}

fn url(raw: Option<Credential>, path: &KeyPath, report: &mut Report<'_>) -> DatabaseTarget {
    let Some(Credential(url)) = raw.filter(|url| !url.0.expose().trim().is_empty()) else {
        // Refused earlier: it is empty, or not a plain value.
        return DatabaseTarget::Embedded;
    };
    match database::check_url(url.expose()) {
        Ok(files) => {
            for file in files {
                if let Some(problem) = file_problem(&file) {
                    // The path comes from a value that contains a password.
                    report.refuse(path, format!("names a certificate or key that {problem}"));
                }
            }
        }
        Err(problem) => report.refuse(path, problem),
    }
    DatabaseTarget::Url(Secret::new(url.expose().trim()))
}

fn parts_of(raw: raw::Database, path: &KeyPath, report: &mut Report<'_>) -> DatabaseParts {
    let required = |key: &str, value: Option<String>, remedy: &str, report: &mut Report<'_>| {
        if !is_written(path, key, report) {
            report.missing(&path.key(key), remedy);
        }
        let value = value.unwrap_or_default();
        if value.contains(char::is_control) {
            report.state(&path.key(key), "holds a line break or another control character; remove it");
        }
        value
    };
    let host = required("host", raw.host, "write the server's name or address: `host: db.example.com`", report);
    let name = required("name", raw.name, "write the database's name: `name: warehouse`", report);
    let user = required("user", raw.user, "write the role to log in as: `user: tidegate`", report);
    if !host.trim().is_empty() && !database::is_host(&host) {
        // Without the value, which may be a whole URL.
        report.state(
            &path.key("host"),
            "is not a host; write a host name, an IP address, or the absolute path of a socket's folder; the port has a key \
             of its own, `port`",
        );
    }
    let password = raw.password.map(|Credential(password)| password).filter(|text| !text.expose().trim().is_empty());
    if let Some(problem) = password.as_ref().and_then(password_problem) {
        report.refuse(&path.key("password"), problem);
    }
    let ssl_root_cert = raw.sslrootcert.filter(|file| !file.trim().is_empty()).map(PathBuf::from);
    if let Some(problem) = ssl_root_cert.as_deref().and_then(file_problem) {
        report.refuse(&path.key("sslrootcert"), problem);
    }
    let ssl_mode = raw.sslmode.unwrap_or_default();
    if ssl_root_cert.is_some() && !matches!(ssl_mode, SslMode::VerifyCa | SslMode::VerifyFull) {
        // An unknown mode was refused, and may have been meant to verify.
        if !report.is_refused(&path.key("sslmode")) {
            report.state(
                &path.key("sslrootcert"),
                "has no effect with this `sslmode`; write `sslmode: verify-full` or `verify-ca`",
            );
        }
    }
    DatabaseParts {
        host: host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host).to_owned(),
        port: report.integer(&path.key("port"), raw.port, 1..=u16::MAX.into(), PORT),
        name,
        user,
        password,
        ssl_mode,
        ssl_root_cert,
    }
}

fn password_problem(password: &Secret) -> Option<String> {
    // A space at the end is rarely part of a password and often a mistake.
    credential_problem(password.expose()).map(|problem| format!("{problem}; write the password alone"))
}

/// The error for a certificate file that cannot be used.
fn file_problem(path: &Path) -> Option<String> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => None,
        Ok(_) => Some("is not a file; write the path of a PEM file".to_owned()),
        Err(error) => Some(format!("{}; write the path of a PEM file", cannot_read(path, &error))),
    }
}
