//! Settings that are allowed but probably not intended. `tidegate check` shows them; nothing is refused.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use url::{Host, Url};

use super::{Config, Job, Server, Target};
use crate::connector::{Connection, UtcOffset};

/// Clock changes last for weeks, so one comparison per week finds every difference.
const STEP: TimeDelta = TimeDelta::days(7);
/// How far ahead of now offsets are compared.
const AHEAD: TimeDelta = TimeDelta::days(366);

impl Config {
    /// One sentence per suspicious setting, with what to write instead.
    pub fn warnings(&self, now: DateTime<Utc>) -> Vec<String> {
        let of_job = |job: &Job| days_apart(job, self.connections.get(&job.connection)?, now);
        let mut warnings = self.unread.clone();
        warnings.extend(open_port(&self.server));
        warnings.extend(self.connections.values().flat_map(plain_http));
        warnings.extend(self.notify.iter().filter_map(plain_http_to_target));
        warnings.extend(quotas_apart(&self.connections));
        warnings.extend(self.jobs.values().filter_map(of_job));
        warnings
    }
}

/// A status port without a login that other hosts can reach.
fn open_port(server: &Server) -> Option<String> {
    let listen = server.listen;
    let where_to = if listen.ip().to_canonical().is_unspecified() { "every interface" } else { "a public interface" };
    (server.auth.is_none() && !listen.ip().to_canonical().is_loopback()).then(|| {
        format!(
            "server.listen: `{listen}` listens on {where_to}, and the status port has no login; write `server.auth` with \
             `user` and `password`, or `127.0.0.1:{}`, or let a firewall or a network policy keep others away",
            listen.port()
        )
    })
}

/// Base URLs of a connection to which credentials are sent without encryption.
fn plain_http(connection: &Connection) -> Vec<String> {
    let own = connection.settings.own_bases().into_iter().map(|url| ("status_base_url", url));
    let bases = [("base_url", &connection.base_url)].into_iter().chain(own);
    let plain = bases.filter(|(_, url)| url.scheme() == "http" && !is_local(url));
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

/// A target to which messages are sent without encryption.
fn plain_http_to_target(target: &Target) -> Option<String> {
    let url: Url = target.url.expose().parse().ok()?;
    (url.scheme() == "http" && !is_local(&url)).then(|| {
        format!(
            "notify `{}`: its `url` begins with `http://`, so messages and credentials are sent to `{}` without \
             encryption; write `https://…`",
            target.name, target.host
        )
    })
}

/// Connections that share a credential, and so a ledger, but configure different limits.
fn quotas_apart(connections: &BTreeMap<String, Connection>) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut first: HashMap<(&str, Vec<&str>), &Connection> = HashMap::new();
    for connection in connections.values() {
        let known = *first.entry(connection.credential()).or_insert(connection);
        for limit in &connection.limits {
            let other = known.limits.iter().find(|other| other.name == limit.name);
            if other.is_some_and(|other| (other.amount, other.per) != (limit.amount, limit.per)) {
                warnings.push(format!(
                    "connections `{}` and `{}` share a credential, and so its quota, but configure different limits `{}`; \
                     the smaller amount within the longer period holds for both: write the same limit in both",
                    known.name, connection.name, limit.name
                ));
            }
        }
    }
    warnings
}

/// Whether a URL points to this host. In a private network others may listen.
fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => is_localhost(name),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        None => true,
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// A job whose days differ from those of its connection (`facts/lexer.md §8`).
fn days_apart(job: &Job, connection: &Connection, now: DateTime<Utc>) -> Option<String> {
    let offset = connection.settings.utc_offset()?;
    if !job.streams.iter().any(|entry| entry.stream.windowed()) {
        return None;
    }
    let at = first_difference(job, offset, now)?;
    let (zone, asked) = (job.timezone.name(), shown(offset));
    let remedy = match (offset, job.timezone) {
        (UtcOffset::Zone(zone), _) => format!("write `timezone: {zone}` in the job"),
        (UtcOffset::Fixed(_), Tz::UTC) => "write `utc_offset: \"+00:00\"` in the connection".to_owned(),
        (UtcOffset::Fixed(_), zone) => format!("write `utc_offset: {zone}` in the connection"),
    };
    Some(format!(
        "job `{}`: its days are those of {zone}, the connection `{}` uses `utc_offset: {asked}`, which differs on {}: the \
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
    use crate::config::{Auth, MetricsPer};
    use crate::secret::Secret;

    #[test]
    fn p7_a_status_port_without_login_that_others_can_reach_causes_a_warning() {
        for (listen, warned) in [
            ("0.0.0.0:8080", true),
            ("[::]:8080", true),
            ("10.0.0.5:80", true),
            ("127.0.0.1:8080", false),
            ("[::1]:8080", false),
        ] {
            let auth = Auth { user: "operator".to_owned(), password: Secret::new("x"), token: None };
            let listen = listen.parse().unwrap();
            let title = String::new();
            let metrics_per = MetricsPer::Stream;
            let server = Server { listen, url: None, title, auth: None, origins: Vec::new(), metrics_per };
            let warning = open_port(&server);
            assert_eq!(warning.is_some(), warned, "{warning:?}");
            assert_eq!(open_port(&Server { auth: Some(auth), ..server }), None);
        }
    }

    #[test]
    fn p7_plain_http_is_for_this_host_only() {
        for (url, local) in [
            ("http://localhost:9400", true),
            ("http://a.localhost.:9400", true),
            ("http://127.0.0.1/", true),
            ("http://[::1]/", true),
            ("http://[::ffff:127.0.0.1]/", true),
            ("http://simulator:9400", false),
            ("http://10.0.0.5/", false),
            ("http://192.168.1.4/", false),
            ("http://[fd00::1]/", false),
            ("http://api.vendor.example/", false),
            ("http://8.8.8.8/", false),
            ("http://[2606:4700::1111]/", false),
        ] {
            assert_eq!(is_local(&url.parse().unwrap()), local, "{url}");
        }
    }
}
