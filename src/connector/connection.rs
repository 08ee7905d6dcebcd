//! A connection: one configured account of a vendor. The common keys are read here, the others by the connector.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use url::{Host, Url};

use super::contract::{AccountSettings, Connector, OwnKeys, VendorPart};
use crate::catalogue::{Stream, Streams, Text, Vendor};
use crate::http::{Hosts, Retry};
use crate::quota::{Limit, LimitSpec, Unit};
use crate::settings::{
    Amount, DurationText, Integer, KeyPath, Node, Report, closest_hint, keys_of, parse_base_url, read, secs, size,
    stand_in,
};

/// One configured account of a vendor.
#[derive(Debug, Clone)]
pub struct Connection {
    pub name: String,
    /// Without a trailing slash in its path.
    pub base_url: Url,
    /// `host` or `host:port`, lower case: further hosts that vendor-supplied URLs may point to, including private
    /// hosts.
    pub allowed_hosts: Vec<String>,
    pub request_timeout: Duration,
    pub retry: Retry,
    /// Every limit in force: the vendor's, with the configured overrides.
    pub limits: Vec<Limit>,
    /// The connector that reads the account.
    pub connector: &'static Connector,
    /// The vendor's own settings.
    pub settings: Arc<dyn AccountSettings>,
    /// Every stream that the connection offers, including those from its configuration.
    pub streams: Vec<Arc<Stream>>,
    /// Names of the vendor's streams that this connection has not enabled.
    pub not_enabled: Vec<Text>,
}

/// What a connection is configured to be: two that are equal read the same account in the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity([u8; 32]);

impl Connection {
    /// A hash of its settings, and of the secrets that `Debug` does not show.
    pub fn identity(&self) -> Identity {
        let mut hash = Sha256::new();
        hash.update(format!("{self:?}"));
        for secret in self.settings.secrets() {
            // The length separates neighbouring secrets.
            hash.update((secret.expose().len() as u64).to_be_bytes());
            hash.update(secret.expose());
        }
        Identity(hash.finalize().into())
    }

    /// Its base URL and its credential. Connections that have the same share one quota.
    pub fn credential(&self) -> (&str, Vec<&str>) {
        (self.base_url.as_str().trim_end_matches('/'), self.settings.credential())
    }

    fn shares_credential(&self, other: &Self) -> bool {
        self.credential() == other.credential()
    }

    /// The limits that count if the connections `all` are in use: of those that share the credential the smaller amount
    /// within the longer period, as `tidegate.quota_agreed` has it of running processes.
    pub fn limits_among<'c>(&self, all: impl IntoIterator<Item = &'c Self>) -> Vec<Limit> {
        let mut limits = self.limits.clone();
        for other in all.into_iter().filter(|other| self.shares_credential(other)) {
            for limit in &mut limits {
                let Some(stated) = other.limits.iter().find(|stated| stated.name == limit.name) else { continue };
                limit.amount = limit.amount.min(stated.amount);
                limit.per = limit.per.max(stated.per);
            }
        }
        limits
    }

    pub const fn vendor(&self) -> Vendor {
        self.connector.vendor
    }

    /// The hosts to which calls may be sent.
    pub fn hosts(&self) -> Hosts {
        Hosts::new(&self.base_url, &self.settings.own_bases(), &self.allowed_hosts)
    }
}

use crate::text::show_duration;

const REQUEST_TIMEOUT_SECS: u64 = 60;
const ATTEMPTS: u32 = 5;
const RETRY_INITIAL_SECS: u64 = 1;
const RETRY_MAX_SECS: u64 = 60;

/// The keys of every vendor's connection.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// The vendor system; it determines which further keys there are.
    vendor: Option<String>,
    /// Base URL of the vendor's API; every vendor has a default.
    base_url: Option<String>,
    /// Further hosts, as `host` or `host:port`, to which URLs from the vendor may point.
    #[schemars(with = "Option<Vec<String>>", extend("default" = []))]
    allowed_hosts: Option<Vec<Option<String>>>,
    /// Timeout of one request.
    #[schemars(extend("default" = "60s"))]
    request_timeout: Option<DurationText>,
    /// Retries of one request, within seconds.
    retry: Option<RetryKeys>,
    /// Limits that differ from the vendor's documented ones, by the limit's name.
    #[schemars(extend("default" = {}))]
    quotas: Option<BTreeMap<String, QuotaKeys>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RetryKeys {
    /// Attempts of one request, including the first.
    #[schemars(range(min = 1, max = 20), extend("default" = 5))]
    max_attempts: Option<Integer>,
    /// The wait before the second attempt; it doubles with each further attempt.
    #[schemars(extend("default" = "1s"))]
    initial: Option<DurationText>,
    /// The longest wait between two attempts.
    #[schemars(extend("default" = "60s"))]
    max: Option<DurationText>,
}

/// At most `limit` within any `per`; a key that is left out keeps its documented value.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct QuotaKeys {
    /// A number of calls, or a size such as `102400kB` for a limit that counts bytes.
    limit: Option<Amount>,
    /// The period.
    per: Option<DurationText>,
}

/// Reads a connection and reports every fault in it. Returns `None` if its vendor is unknown. `known` are the streams
/// of other connections.
pub fn check(
    name: &str,
    node: &Node,
    path: &KeyPath,
    connectors: &[&'static Connector],
    known: &mut Streams,
    report: &mut Report<'_>,
) -> Option<Connection> {
    let common_keys = keys_of::<Keys>();
    let (common, own) = node.split(common_keys);
    let raw: Keys = read(&common, path, &[], "", report);
    let connector = known_connector(raw.vendor.as_deref(), connectors, path, report)?;
    let VendorPart { settings, extra_streams } =
        (connector.read)(&OwnKeys { node: &own, common: common_keys, path }, report);
    let (streams, not_enabled): (Vec<Stream>, Vec<Stream>) =
        (connector.streams)().into_iter().partition(|stream| settings.offers(stream));
    let extra_streams = extra_streams.into_iter().filter(|stream| settings.offers(stream));
    let streams = streams.into_iter().map(|stream| settings.adapted(stream)).chain(extra_streams);
    let streams = streams.map(|stream| known.share(stream)).collect();
    Some(Connection {
        name: name.to_owned(),
        base_url: base_url(raw.base_url.as_deref(), connector.default_base_url, path, report),
        allowed_hosts: allowed_hosts(raw.allowed_hosts.unwrap_or_default(), path, report),
        request_timeout: report.duration(
            &path.key("request_timeout"),
            raw.request_timeout,
            &(Duration::from_millis(1)..=secs(3_600)),
            secs(REQUEST_TIMEOUT_SECS),
        ),
        retry: retry(&raw.retry.unwrap_or_default(), path, report),
        limits: limits(settings.limits(), raw.quotas.unwrap_or_default(), connector.vendor, path, report),
        connector,
        streams,
        not_enabled: not_enabled.into_iter().map(|stream| stream.name).collect(),
        settings,
    })
}

fn known_connector(
    name: Option<&str>,
    connectors: &[&'static Connector],
    path: &KeyPath,
    report: &mut Report<'_>,
) -> Option<&'static Connector> {
    let path = path.key("vendor");
    let names = || connectors.iter().map(|connector| connector.vendor.name());
    let Some(name) = name else {
        let known = names().collect::<Vec<_>>().join(", ");
        report.missing(&path, &format!("write `vendor: …` with one of {known}"));
        return None;
    };
    let connector = connectors.iter().find(|connector| connector.vendor.name() == name);
    if connector.is_none() {
        report.refuse(&path, format!("is not a known vendor{}", closest_hint(name, names())));
    }
    connector.copied()
}

fn base_url(raw: Option<&str>, default: &str, path: &KeyPath, report: &mut Report<'_>) -> Url {
    let path = path.key("base_url");
    match parse_base_url(raw.unwrap_or(default), default) {
        Ok(url) => url,
        Err(problem) => {
            report.refuse(&path, problem);
            stand_in()
        }
    }
}

fn allowed_hosts(raw: Vec<Option<String>>, path: &KeyPath, report: &mut Report<'_>) -> Vec<String> {
    let path = path.key("allowed_hosts");
    let mut hosts = Vec::new();
    for (index, entry) in raw.into_iter().enumerate() {
        let item = path.index(index);
        let Some(entry) = entry else {
            report.missing(&item, "write `host` or `host:port`, or remove the entry");
            continue;
        };
        match parse_host(&entry) {
            Some(host) if !hosts.contains(&host) => hosts.push(host),
            Some(_) => {}
            None => report.refuse(&item, "is not a host; write `host` or `host:port`, without scheme, path or `*`"),
        }
    }
    hosts
}

/// `host` or `host:port`, in lower case; international names in their ASCII form.
fn parse_host(text: &str) -> Option<String> {
    let port_at = text.rfind(':').filter(|colon| !text[*colon..].contains(']'));
    let (host, port) = port_at.map_or((text, None), |colon| (&text[..colon], Some(&text[colon + 1..])));
    let host = Host::parse(host).ok().filter(|_| !host.contains('*'))?;
    match port {
        None => Some(host.to_string()),
        Some(port) => {
            let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
            Some(format!("{host}:{port}"))
        }
    }
}

fn retry(raw: &RetryKeys, path: &KeyPath, report: &mut Report<'_>) -> Retry {
    let path = path.key("retry");
    let range = Duration::from_millis(1)..=secs(600);
    let attempts_max = report.integer(&path.key("max_attempts"), raw.max_attempts, 1..=20, ATTEMPTS);
    let max = report.duration(&path.key("max"), raw.max, &range, secs(RETRY_MAX_SECS));
    let initial = report.duration(&path.key("initial"), raw.initial, &range, secs(RETRY_INITIAL_SECS));
    if initial > max {
        let key = if raw.initial.is_some() { "initial" } else { "max" };
        let (initial_shown, max_shown) = (show_duration(initial), show_duration(max));
        report.refuse(
            &path.key(key),
            format!("does not fit: the first wait ({initial_shown}) exceeds the longest ({max_shown}); lower `initial` or raise `max`"),
        );
    }
    Retry { attempts_max, initial, max }
}

/// The documented limits, with the overrides of the configuration.
fn limits(
    documented: &[LimitSpec],
    raw: BTreeMap<String, QuotaKeys>,
    vendor: Vendor,
    path: &KeyPath,
    report: &mut Report<'_>,
) -> Vec<Limit> {
    let path = path.key("quotas");
    let mut limits: Vec<Limit> = documented.iter().copied().map(Limit::from).collect();
    for (name, quota) in raw {
        let path = path.key(&name);
        let Some(limit) = limits.iter_mut().find(|limit| limit.name == name) else {
            let hint = closest_hint(&name, documented.iter().map(|limit| limit.name));
            report.state(&path, &format!("{} has no quota of this name{hint}", vendor.name()));
            continue;
        };
        if quota.limit.is_none() && quota.per.is_none() {
            report.missing(&path.key("limit"), "write for instance `{ limit: 1, per: 4s }`");
        }
        if let Some(text) = quota.limit {
            match amount(&text.0, limit.unit) {
                Ok(amount) => limit.amount = amount,
                Err(problem) => report.refuse(&path.key("limit"), problem),
            }
        }
        let range = Duration::from_millis(1)..=secs(366 * 86_400);
        limit.per = report.duration(&path.key("per"), quota.per, &range, limit.per);
    }
    limits
}

fn amount(text: &str, unit: Unit) -> Result<u64, String> {
    let amount = match unit {
        Unit::Bytes => size(text)?,
        Unit::Calls => text
            .parse()
            .map_err(|_| "is not a number of calls; this quota counts calls: write digits only".to_owned())?,
    };
    if amount == 0 {
        return Err("would let nothing through; write 1 or more".to_owned());
    }
    if i64::try_from(amount).is_err() {
        return Err("is too large; write a smaller size".to_owned());
    }
    Ok(amount)
}
