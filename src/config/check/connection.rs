//! What every vendor's connection says: base URL, allowed hosts, retries, quotas.

use std::collections::BTreeMap;
use std::time::Duration;

use url::{Host, Url};

use super::super::read::{keys_of, read};
use super::super::scalar::Credential;
use super::super::tree::{Kind, Node};
use super::super::{Connection, Retry, raw, suggest, units};
use super::{KeyPath, Report, jaicp, khoros, lexer, lynn, lynn_outbound, secs};
use crate::catalogue::{self, Stream, Text};
use crate::connector::export::Polling;
use crate::connector::{self, CsvForm, Vendor};
use crate::decode::text::Charset;
use crate::quota::{Limit, LimitSpec, Unit};
use crate::secret::Secret;

const REQUEST_TIMEOUT_SECS: u64 = 60;
const ATTEMPTS: u32 = 5;
const RETRY_INITIAL_SECS: u64 = 1;
const RETRY_MAX_SECS: u64 = 60;

/// A connection as far as it could be understood; its streams are known as soon as its vendor is.
pub(super) struct Checked {
    pub(super) connection: Option<Connection>,
    pub(super) offer: Option<Offer>,
}

/// What jobs can ask a connection for.
pub(super) struct Offer {
    pub(super) vendor: Vendor,
    pub(super) streams: Vec<Stream>,
    /// Streams of the vendor that this connection has not enabled.
    pub(super) withheld: Vec<Text>,
}

/// What a vendor's own keys say.
pub(super) struct Special {
    pub(super) settings: connector::Settings,
    pub(super) default_base_url: &'static str,
    pub(super) extra_streams: Vec<Stream>,
}

pub(super) fn check(name: &str, node: &Node, path: &KeyPath, report: &mut Report<'_>) -> Checked {
    let shared = keys_of::<raw::Connection>();
    let (common, own) = split(node, shared);
    let raw: raw::Connection = read(&common, path, &[], "", report);
    let Some(vendor) = known_vendor(raw.vendor.as_deref(), path, report) else {
        return Checked { connection: None, offer: None };
    };
    let special = match vendor {
        Vendor::LynnReporting => lynn::check(&own, shared, path, report),
        Vendor::LynnOutbound => lynn_outbound::check(&own, shared, path, report),
        Vendor::KhorosCare => khoros::check(&own, shared, path, report),
        Vendor::LexerActivity => lexer::check(&own, shared, path, report),
        Vendor::JaicpReporter => jaicp::check(&own, shared, path, report),
    };
    let (mut streams, withheld): (Vec<Stream>, Vec<Stream>) =
        catalogue::streams(vendor).into_iter().partition(|stream| special.settings.offers(stream));
    streams = streams.into_iter().map(|stream| special.settings.adapted(stream)).collect();
    streams.extend(special.extra_streams);
    streams.retain(|stream| special.settings.offers(stream));
    let limits = limits(special.settings.limits(), raw.quotas.unwrap_or_default(), vendor, path, report);
    let timeout = path.key("request_timeout");
    let connection = Connection {
        name: name.to_owned(),
        base_url: base_url(raw.base_url.as_deref(), special.default_base_url, path, report),
        allowed_hosts: allowed_hosts(raw.allowed_hosts.unwrap_or_default(), path, report),
        request_timeout: report.span(
            &timeout,
            raw.request_timeout,
            &(Duration::from_millis(1)..=secs(3_600)),
            secs(REQUEST_TIMEOUT_SECS),
        ),
        retry: retry(&raw.retry.unwrap_or_default(), path, report),
        limits,
        settings: special.settings,
        streams: streams.clone(),
    };
    let withheld = withheld.into_iter().map(|stream| stream.name).collect();
    Checked { connection: Some(connection), offer: Some(Offer { vendor, streams, withheld }) }
}

/// The keys that every connection has, and the others.
fn split(node: &Node, shared: &[&str]) -> (Node, Node) {
    let Kind::Map(entries) = &node.kind else {
        return (node.clone(), Node::new(node.place.clone(), Kind::Null));
    };
    let (common, own) = entries.iter().cloned().partition(|(key, _)| shared.contains(&key.as_str()));
    (Node::new(node.place.clone(), Kind::Map(common)), Node::new(node.place.clone(), Kind::Map(own)))
}

fn known_vendor(name: Option<&str>, path: &KeyPath, report: &mut Report<'_>) -> Option<Vendor> {
    let path = path.key("vendor");
    let names = || Vendor::ALL.iter().map(|vendor| vendor.name());
    let Some(name) = name else {
        let known = names().collect::<Vec<_>>().join(", ");
        report.missing(&path, &format!("write `vendor: …` with one of {known}"));
        return None;
    };
    let vendor = Vendor::from_name(name);
    if vendor.is_none() {
        report.refuse(&path, format!("is not a known vendor{}", suggest::hint(name, names())));
    }
    vendor
}

fn base_url(raw: Option<&str>, default: &str, path: &KeyPath, report: &mut Report<'_>) -> Url {
    let path = path.key("base_url");
    match parse_base_url(raw.unwrap_or(default)) {
        Ok(url) => url,
        Err(problem) => {
            report.refuse(&path, problem);
            stand_in()
        }
    }
}

pub(super) fn stand_in() -> Url {
    #[expect(clippy::expect_used, reason = "a constant that parses; it only stands in for a refused value")]
    Url::parse(lynn::DEFAULT_BASE_URL).expect("the default base URL parses")
}

/// Scheme, host and path, nothing else; without the slash at the end.
pub(super) fn parse_base_url(text: &str) -> Result<Url, &'static str> {
    const SHAPE: &str = "is not a URL; write for instance `https://premium-production.lynn.cx`";
    let mut url = Url::parse(text).map_err(|_| SHAPE)?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(SHAPE);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or password; credentials have keys of their own");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or fragment; write scheme, host and path only");
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
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

/// `host` or `host:port`, lower case, names of other scripts as the network spells them.
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

fn retry(raw: &raw::Retry, path: &KeyPath, report: &mut Report<'_>) -> Retry {
    let path = path.key("retry");
    let range = Duration::from_millis(1)..=secs(600);
    let attempts_max = report.whole(&path.key("max_attempts"), raw.max_attempts, 1..=20, ATTEMPTS);
    let max = report.span(&path.key("max"), raw.max, &range, secs(RETRY_MAX_SECS));
    let initial = report.span(&path.key("initial"), raw.initial, &range, secs(RETRY_INITIAL_SECS));
    if initial > max {
        let key = if raw.initial.is_some() { "initial" } else { "max" };
        let (initial_shown, max_shown) = (units::show_duration(initial), units::show_duration(max));
        report.refuse(
            &path.key(key),
            format!("does not fit: the first wait ({initial_shown}) exceeds the longest ({max_shown}); lower `initial` or raise `max`"),
        );
    }
    Retry { attempts_max, initial, max }
}

/// The documented limits with what the configuration says instead.
fn limits(
    documented: &[LimitSpec],
    raw: BTreeMap<String, raw::Quota>,
    vendor: Vendor,
    path: &KeyPath,
    report: &mut Report<'_>,
) -> Vec<Limit> {
    let path = path.key("quotas");
    let mut limits: Vec<Limit> = documented.iter().copied().map(Limit::from).collect();
    for (name, quota) in raw {
        let path = path.key(&name);
        let Some(limit) = limits.iter_mut().find(|limit| limit.name == name) else {
            let hint = suggest::hint(&name, documented.iter().map(|limit| limit.name));
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
        limit.per = report.span(&path.key("per"), quota.per, &range, limit.per);
    }
    limits
}

fn amount(text: &str, unit: Unit) -> Result<u64, String> {
    let amount = match unit {
        Unit::Bytes => units::size(text)?,
        Unit::Calls => text
            .parse()
            .map_err(|_| "is not a number of calls; this quota counts calls: write digits only".to_owned())?,
    };
    if amount == 0 {
        return Err("would let nothing through; write 1 or more".to_owned());
    }
    if i64::try_from(amount).is_err() {
        return Err("is larger than can be counted".to_owned());
    }
    Ok(amount)
}

/// How patiently export jobs are asked after.
pub(super) fn polling(raw: Option<raw::Polling>, path: &KeyPath, report: &mut Report<'_>) -> Polling {
    let (raw, path, default) = (raw.unwrap_or_default(), path.key("polling"), Polling::default());
    let range = Duration::from_millis(1)..=secs(7 * 86_400);
    let polling = Polling {
        initial: report.span(&path.key("initial"), raw.initial, &range, default.initial),
        max: report.span(&path.key("max"), raw.max, &range, default.max),
        deadline: report.span(&path.key("deadline"), raw.deadline, &range, default.deadline),
    };
    if polling.initial > polling.max || polling.max > polling.deadline {
        report.state(&path, "does not fit: `initial` is at most `max`, and `max` at most `deadline`");
    }
    polling
}

/// How CSV files are written.
pub(super) fn csv(raw: Option<raw::Csv>, path: &KeyPath, report: &mut Report<'_>) -> CsvForm {
    let (raw, path, default) = (raw.unwrap_or_default(), path.key("csv"), CsvForm::default());
    let mut character = |key: &str, raw: Option<&str>, remedy: &str| {
        let text = raw?;
        let fit = |byte: u8| byte == b'\t' || (byte.is_ascii_punctuation() || byte == b' ');
        match text.as_bytes() {
            [byte] if fit(*byte) => Some(*byte),
            _ => {
                let what = "is not a single ASCII character that separates or surrounds fields";
                report.refuse(&path.key(key), format!("{what}; {remedy}"));
                None
            }
        }
    };
    let delimiter =
        character("delimiter", raw.delimiter.as_deref(), "write for instance `\";\"`, or `\"\\t\"` for a tab");
    let quote = character("quote", raw.quote.as_deref(), "write for instance `\"'\"`; the default is `'\"'`");
    let quote = quote.unwrap_or(default.quote);
    if delimiter == Some(quote) {
        report.state(&path, "does not fit: `delimiter` and `quote` are the same character; change one of them");
    }
    let charset = raw.charset.as_deref().and_then(|name| {
        let charset = Charset::named(name.trim());
        if charset.is_none() {
            let known = "`utf-8`, `windows-1252`, `iso-8859-2`, `utf-16le` or `shift_jis`";
            report.refuse(&path.key("charset"), format!("is not a charset that is known; write for instance {known}"));
        }
        charset
    });
    CsvForm { delimiter, quote, charset }
}

/// A credential that must be there; an empty one is none.
pub(super) fn credential(raw: Option<Credential>, path: &KeyPath, remedy: &str, report: &mut Report<'_>) -> Secret {
    let Some(Credential(secret)) = raw else {
        report.missing(path, remedy);
        return Secret::new("");
    };
    if let Some(problem) = credential_problem(secret.expose()) {
        report.refuse(path, format!("{problem}; {remedy}"));
    }
    secret
}

/// Why a text can be no credential: such a one travels in a header or between quotation marks.
pub(super) fn credential_problem(text: &str) -> Option<&'static str> {
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
