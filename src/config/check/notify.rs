//! `notify`: the targets of notifications.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderName;
use url::Url;

use super::super::notify::{NotifyFormat, Target};
use super::super::raw;
use crate::secret::Secret;
use crate::settings::{Credential, KeyPath, Report, check_name, closest_hint, credential_problem, secs};
use crate::store::topic::Topic;

const REPEAT_SECS: u64 = 24 * 3_600;
/// More targets would let an outage of all of them delay each other's messages.
const TARGETS_MAX: usize = 50;
/// The prefix of a signing secret, by the specification of Standard Webhooks.
const SECRET_PREFIX: &str = "whsec_";
/// Headers that the message itself has.
const OWN_HEADERS: &[&str] = &[
    "content-type",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "host",
    "connection",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
];

/// The names that `only` may contain.
pub(super) struct Known<'a> {
    pub(super) connections: Vec<&'a str>,
    pub(super) jobs: Vec<&'a str>,
}

pub(super) fn check(raw: Vec<Option<raw::Notify>>, known: &Known<'_>, report: &mut Report<'_>) -> Vec<Target> {
    let path = KeyPath::default().key("notify");
    if raw.len() > TARGETS_MAX {
        report.state(&path, &format!("has more than {TARGETS_MAX} targets; remove some"));
    }
    let mut targets: Vec<Target> = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let path = path.index(index);
        let Some(raw) = raw else {
            report.missing(&path, "write a target, `{ url: …, format: slack }`, or remove the entry");
            continue;
        };
        let Some(target) = target(raw, &path, known, report) else { continue };
        if targets.iter().any(|other| other.name == target.name) {
            let message = format!(
                "another target has the name `{}` already; give each its own `name`, which is by default the host of \
                 `url`",
                target.name
            );
            report.state(&path, &message);
        }
        targets.push(target);
    }
    targets
}

fn target(raw: raw::Notify, path: &KeyPath, known: &Known<'_>, report: &mut Report<'_>) -> Option<Target> {
    let format = raw.format;
    if format.is_none() {
        report.missing(&path.key("format"), "write `format: slack` or `format: cloudevents`");
    }
    let url = url(raw.url, &path.key("url"), report);
    let on = topics(raw.on, &path.key("on"), report);
    let only = raw.only.unwrap_or_default();
    let path_of_only = path.key("only");
    let connections = names(only.connections, &known.connections, &path_of_only.key("connections"), report);
    let jobs = names(only.jobs, &known.jobs, &path_of_only.key("jobs"), report);
    let headers = headers(raw.headers.unwrap_or_default(), &path.key("headers"), report);
    let secret = raw.secret.map(|Credential(secret)| secret);
    if let Some(secret) = &secret {
        check_secret(secret, format, &path.key("secret"), report);
    }
    let repeat = report.duration(&path.key("repeat"), raw.repeat, &(secs(60)..=secs(7 * 86_400)), secs(REPEAT_SECS));
    let (url, host, name) = url?;
    let (path_of_name, name) = match raw.name {
        Some(given) => (path.key("name"), given),
        None => (path.clone(), name),
    };
    check_name(&path_of_name, &name, report);
    Some(Target { name, url, host, format: format?, on, connections, jobs, headers, secret, repeat })
}

/// The URL, its host with port, and its host.
fn url(raw: Option<Credential>, path: &KeyPath, report: &mut Report<'_>) -> Option<(Secret, String, String)> {
    const EXAMPLE: &str = "write for instance `url: ${SLACK_WEBHOOK_URL}`";
    let Some(Credential(secret)) = raw else {
        report.missing(path, EXAMPLE);
        return None;
    };
    if let Some(problem) = credential_problem(secret.expose()) {
        report.refuse(path, format!("{problem}; {EXAMPLE}"));
        return None;
    }
    let parsed = Url::parse(secret.expose()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some((url, host)) = parsed.as_ref().and_then(|url| Some((url, url.host_str()?))) else {
        report.refuse(path, "is not a URL that begins with `https://` or `http://`");
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        report.refuse(path, "contains a user or password; write them as a header: `headers: { Authorization: … }`");
        return None;
    }
    let place = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    Some((secret.clone(), place, host.to_owned()))
}

/// Changes of columns are usual where vendors add fields, and most runs succeed. These and actions are sent only if
/// they are listed.
fn topics(raw: Option<Vec<Option<Topic>>>, path: &KeyPath, report: &mut Report<'_>) -> BTreeSet<Topic> {
    let Some(listed) = raw else {
        let usual = Topic::PROBLEMS.into_iter().filter(|topic| *topic != Topic::Schema);
        return usual.chain([Topic::Recovered]).collect();
    };
    let mut topics = BTreeSet::new();
    for (index, topic) in listed.iter().enumerate() {
        match topic {
            Some(topic) => {
                topics.insert(*topic);
            }
            None => report.missing(&path.index(index), "write a word such as `failed`, or remove the entry"),
        }
    }
    if listed.is_empty()
        || (listed.iter().flatten().all(|topic| *topic == Topic::Recovered) && !report.is_refused(path))
    {
        report.state(path, "names no problem, so nothing would be sent; write for instance `on: [failed, recovered]`");
    }
    topics
}

fn names(
    raw: Option<Vec<Option<String>>>,
    known: &[&str],
    path: &KeyPath,
    report: &mut Report<'_>,
) -> Option<BTreeSet<String>> {
    let listed = raw?;
    if listed.is_empty() {
        report.state(path, "is empty, so nothing would be sent; write names, or leave the key out");
    }
    let mut names = BTreeSet::new();
    for (index, name) in listed.into_iter().enumerate() {
        let path = path.index(index);
        match name.filter(|name| !name.is_empty()) {
            None => report.missing(&path, "write a name, or remove the entry"),
            Some(name) if !known.contains(&name.as_str()) => {
                let hint = closest_hint(&name, known.iter().copied());
                report.refuse(&path, format!("is not configured{hint}"));
            }
            Some(name) => {
                names.insert(name);
            }
        }
    }
    Some(names)
}

fn headers(
    raw: BTreeMap<String, Option<Credential>>,
    path: &KeyPath,
    report: &mut Report<'_>,
) -> Vec<(String, Secret)> {
    let mut headers = Vec::new();
    for (name, value) in raw {
        let path = path.key(&name);
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            report.state(&path, "is not the name of a header; write for instance `Authorization`");
        } else if OWN_HEADERS.contains(&name.to_lowercase().as_str()) {
            report.state(&path, "is a header that the message itself has; remove it");
        }
        let Some(Credential(value)) = value else {
            report.missing(&path, "write the header's value, or remove the header");
            continue;
        };
        if let Some(problem) = credential_problem(value.expose()) {
            report.refuse(&path, format!("{problem}; write the header's value, or remove the header"));
        } else if !value.expose().is_ascii() {
            report.refuse(&path, "has a character that is not ASCII; headers cannot contain it");
        }
        headers.push((name, value));
    }
    headers
}

fn check_secret(secret: &Secret, format: Option<NotifyFormat>, path: &KeyPath, report: &mut Report<'_>) {
    if format == Some(NotifyFormat::Slack) {
        report.state(path, "is for `format: cloudevents`; messages to Slack are not signed: remove it");
    } else if signing_key(secret).is_none() {
        report.refuse(
            path,
            "is not a signing secret; write `whsec_` and 24 to 64 random bytes in base64, as this command makes them: \
             `echo whsec_$(openssl rand -base64 32)`",
        );
    }
}

/// The key of a signing secret.
pub(in crate::config) fn signing_key(secret: &Secret) -> Option<Vec<u8>> {
    let key = STANDARD.decode(secret.expose().strip_prefix(SECRET_PREFIX)?).ok()?;
    (24..=64).contains(&key.len()).then_some(key)
}
