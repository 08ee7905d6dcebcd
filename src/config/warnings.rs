//! What a configuration says that is allowed and yet is hardly meant. Shown by `tidegate check`; nothing is refused.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use url::{Host, Url};

use super::{Config, Connection, DatabaseTarget, Job};
use crate::http::is_public;
use crate::vendor::Settings;
use crate::vendor::lexer::UtcOffset;

/// The values of `sslmode` with which nothing is sent without TLS.
const SSL_MODES_WITH_TLS: &[&str] = &["require", "verify-ca", "verify-full"];

/// Clocks change for weeks at a time, so a look per week finds every difference.
const STEP: TimeDelta = TimeDelta::days(7);
/// So far ahead of now offsets are compared.
const AHEAD: TimeDelta = TimeDelta::days(366);

impl Config {
    /// One sentence for each thing that deserves a second look, with what to write instead.
    pub fn warnings(&self, now: DateTime<Utc>) -> Vec<String> {
        let of_job = |job: &Job| days_apart(job, self.connections.get(&job.connection)?, now);
        let database = match &self.database.target {
            DatabaseTarget::Embedded => None,
            DatabaseTarget::Url(url) => database_url(url.expose()),
            DatabaseTarget::Parts(parts) => database(&parts.host, Some(parts.ssl_mode.word())),
        };
        let mut warnings: Vec<String> = database.into_iter().chain(every_interface(self.server.listen)).collect();
        warnings.extend(self.connections.values().flat_map(plain_http));
        warnings.extend(quotas_apart(&self.connections));
        warnings.extend(self.jobs.values().filter_map(of_job));
        warnings
    }
}

/// `database` for the host and the `sslmode` of a URL.
fn database_url(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let parameter = |names: &[&str]| {
        let named = url.query_pairs().filter(|(key, _)| names.contains(&&**key));
        named.last().map(|(_, value)| value.into_owned())
    };
    let host = parameter(&["host", "hostaddr"]).or_else(|| url.host_str().map(str::to_owned)).unwrap_or_default();
    database(&host, parameter(&["sslmode", "ssl-mode"]).as_deref())
}

/// A database on another host that may be spoken to without TLS. `host` is a name, an address or the folder of a Unix
/// socket; empty, it is this host. Without `ssl_mode`, Postgres' default `prefer` holds.
fn database(host: &str, ssl_mode: Option<&str>) -> Option<String> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    // In a URL, the slashes of a folder are percent-encoded.
    let is_socket = bare.starts_with('/') || bare.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("%2f"));
    let is_local = bare.is_empty()
        || is_socket
        || is_localhost(bare)
        // A name without a dot is not a public one: a service of Compose or Kubernetes.
        || bare.parse::<IpAddr>().map_or(!bare.contains('.'), |address| address.to_canonical().is_loopback());
    let has_tls = ssl_mode.is_some_and(|mode| SSL_MODES_WITH_TLS.contains(&mode.to_lowercase().as_str()));
    if is_local || has_tls {
        return None;
    }
    let mode = ssl_mode.map_or_else(|| "`sslmode` is not set".to_owned(), |mode| format!("`sslmode` is `{mode}`"));
    Some(format!(
        "database: the server `{bare}` is on another host and {mode}, so the password and all rows may be sent without \
         encryption; set `sslmode` to `verify-full`, or to `require` if its certificate cannot be checked"
    ))
}

/// A status port that other hosts can reach: it has no login.
fn every_interface(listen: SocketAddr) -> Option<String> {
    listen.ip().to_canonical().is_unspecified().then(|| {
        format!(
            "server.listen: `{listen}` listens on every interface, and the status port has no login; write \
             `127.0.0.1:{}`, or let a firewall or a network policy keep others away",
            listen.port()
        )
    })
}

/// Hosts of a connection that credentials are sent to without encryption.
fn plain_http(connection: &Connection) -> Vec<String> {
    let own = connection.settings.own_bases().into_iter().map(|url| ("status_base_url", url));
    let bases = [("base_url", &connection.base_url)].into_iter().chain(own);
    let plain = bases.filter(|(_, url)| url.scheme() == "http" && !is_near(url));
    plain
        .map(|(key, url)| {
            format!(
                "connection `{}`: `{key}` is `{url}`, so credentials and records are sent without encryption; write \
                 `https://…`",
                connection.name
            )
        })
        .collect()
}

/// Connections that share a credential, and so a ledger, and state different limits for it.
fn quotas_apart(connections: &BTreeMap<String, Connection>) -> Vec<String> {
    let mut first: BTreeMap<(&str, Vec<&str>), &Connection> = BTreeMap::new();
    let mut warnings = Vec::new();
    for connection in connections.values() {
        let credential = (connection.base_url.as_str(), connection.settings.credential());
        let known = *first.entry(credential).or_insert(connection);
        for limit in &connection.limits {
            let other = known.limits.iter().find(|other| other.name == limit.name);
            if other.is_some_and(|other| (other.amount, other.per) != (limit.amount, limit.per)) {
                warnings.push(format!(
                    "connections `{}` and `{}` share a credential, and so its quota, but state different limits `{}`; \
                     the smaller amount within the longer period holds for both: write the same limit in both",
                    known.name, connection.name, limit.name
                ));
            }
        }
    }
    warnings
}

/// Whether a URL leads to this host, to a private address or to a name without a dot, which no public name is.
fn is_near(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => is_localhost(name) || !name.trim_end_matches('.').contains('.'),
        Some(Host::Ipv4(address)) => !is_public(address.into()),
        Some(Host::Ipv6(address)) => !is_public(address.into()),
        None => true,
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// A day of the job that is not a day of the connection (`vendors/lexer.md §8`).
fn days_apart(job: &Job, connection: &Connection, now: DateTime<Utc>) -> Option<String> {
    let Settings::LexerActivity(settings) = &connection.settings else { return None };
    if !job.streams.iter().any(|entry| entry.stream.windowed()) {
        return None;
    }
    let at = first_difference(job, settings.utc_offset, now)?;
    let (zone, asked) = (job.timezone.name(), shown(settings.utc_offset));
    let remedy = match (settings.utc_offset, job.timezone) {
        (UtcOffset::Zone(zone), _) => format!("write `timezone: {zone}` in the job"),
        (UtcOffset::Fixed(_), Tz::UTC) => "write `utc_offset: \"+00:00\"` in the connection".to_owned(),
        (UtcOffset::Fixed(_), zone) => format!("write `utc_offset: {zone}` in the connection"),
    };
    Some(format!(
        "job `{}`: its days are those of {zone}, the connection `{}` asks with `utc_offset: {asked}`, which differs on {}: the \
         last day of a slice is not over when the slice is; {remedy}, or see that `lookback` is two days or more",
        job.name,
        connection.name,
        at.date_naive(),
    ))
}

fn first_difference(job: &Job, offset: UtcOffset, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let start = job.start.and_time(NaiveTime::MIN).and_utc();
    let moments = std::iter::successors(Some(start), |at| at.checked_add_signed(STEP));
    let local = |at: &DateTime<Utc>| at.with_timezone(&job.timezone).naive_local();
    moments.take_while(|at| *at <= now + AHEAD).find(|at| local(at) != at.with_timezone(&offset.at(*at)).naive_local())
}

fn shown(offset: UtcOffset) -> String {
    match offset {
        UtcOffset::Fixed(offset) => offset.to_string(),
        UtcOffset::Zone(zone) => zone.name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p7_a_database_that_may_be_reached_without_tls_is_warned_of() {
        for url in [
            "postgres://u:hunter2@db.example.com:5432/d",
            "postgres://u:hunter2@db.example.com/d?sslmode=prefer",
            "postgres://u:hunter2@10.0.0.5/d?sslmode=disable",
            "postgres://u:hunter2@db.example.com/d?ssl-mode=allow",
            "postgres://u:hunter2@[2001:db8::1]/d",
            "postgres:///d?host=db.example.com",
        ] {
            let warning = database_url(url).unwrap_or_default();
            assert!(
                warning.starts_with("database: the server `") && warning.contains("verify-full"),
                "{url}: {warning}"
            );
            assert!(!warning.contains("hunter2"), "{warning}");
        }
        for url in [
            "postgres://u:p@db.example.com/d?sslmode=require",
            "postgres://u:p@db.example.com/d?sslmode=verify-full",
            "postgres://u:p@localhost/d",
            "postgres://u:p@postgres/d?sslmode=disable",
            "postgres://u:p@127.0.0.1:5433/d?sslmode=disable",
            "postgres://u:p@[::1]/d",
            "postgres://u:p@%2Fvar%2Frun%2Fpostgresql/d",
            "postgres:///d?host=/var/run/postgresql",
            "postgres:///d",
        ] {
            assert_eq!(database_url(url), None, "{url}");
        }
    }

    #[test]
    fn a_status_port_on_every_interface_is_warned_of() {
        for (listen, warned) in
            [("0.0.0.0:8080", true), ("[::]:8080", true), ("127.0.0.1:8080", false), ("[::1]:8080", false)]
        {
            let warning = every_interface(listen.parse().unwrap());
            assert_eq!(warning.is_some(), warned, "{warning:?}");
        }
    }

    #[test]
    fn p7_plain_http_is_near_hosts_only() {
        for (url, near) in [
            ("http://localhost:9400", true),
            ("http://simulator:9400", true),
            ("http://127.0.0.1/", true),
            ("http://192.168.1.4/", true),
            ("http://[fd00::1]/", true),
            ("http://api.vendor.example/", false),
            ("http://8.8.8.8/", false),
            ("http://[2606:4700::1111]/", false),
        ] {
            assert_eq!(is_near(&url.parse().unwrap()), near, "{url}");
        }
    }
}
