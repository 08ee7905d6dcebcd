//! Reads the response with which a vendor refuses a call: how long to wait, and which limit was exceeded.
//!
//! Pure, and safe for any input: the body may be JSON, text, HTML, empty, huge or binary. A wait is at least a second
//! and at most two days. Without a wait that can be understood, the ledger waits in growing steps.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::limit::{CallKind, Limit, Unit};

/// Bytes of a body that are searched. The wording is at the start or nowhere.
const BODY_MAX: usize = 64 * 1024;
/// Minimum wait, also after "0 seconds".
const WAIT_MIN: Duration = Duration::from_secs(1);
/// Documented periods are 12 h. A longer wait than this is a mistake, and asking again costs one call.
const WAIT_MAX: Duration = Duration::from_hours(48);

/// If the vendor states no wait, a limit of at most this period is waited out.
pub(super) const SHORT_MAX: Duration = Duration::from_mins(15);

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Too many calls in a short time.
    RateLimited { wait: Option<Duration> },
    /// The calls or bytes of a long period are used up. Not an authentication failure: a new token would not help.
    QuotaSpent { wait: Option<Duration>, unit: Option<Unit> },
    /// A 403 without a word about quota: a permission is missing, and waiting does not help.
    Forbidden,
    /// Neither 429 nor 403.
    Other,
}

impl Refusal {
    /// The limit that a call of `kind` exceeded: the shortest for a rate, the longest of its unit for a quota. If no
    /// wait is stated, a rate may be any of the short limits, so the longest of them is waited out.
    pub fn limit(self, kind: CallKind, limits: &[Limit]) -> Option<&Limit> {
        let counted = limits.iter().filter(|limit| limit.calls.include(kind));
        let is_short = |limit: &&Limit| limit.unit == Unit::Calls && limit.per <= SHORT_MAX;
        match self {
            Self::RateLimited { wait: None } if counted.clone().any(|limit| is_short(&limit)) => {
                counted.filter(is_short).max_by_key(|limit| limit.per)
            }
            Self::RateLimited { .. } => counted.min_by_key(|limit| (limit.unit == Unit::Bytes, limit.per)),
            Self::QuotaSpent { unit, .. } => counted.max_by_key(|limit| (Some(limit.unit) == unit, limit.per)),
            Self::Forbidden | Self::Other => None,
        }
    }

    /// The wait that the vendor stated.
    pub const fn wait(self) -> Option<Duration> {
        match self {
            Self::RateLimited { wait } | Self::QuotaSpent { wait, .. } => wait,
            Self::Forbidden | Self::Other => None,
        }
    }
}

/// Reads a response. `reason` is the reason phrase of the status line, `body_prefix` the part of the body that was
/// read.
pub fn parse_wait(
    status: u16,
    retry_after: Option<&str>,
    reason: &str,
    body_prefix: &[u8],
    now: DateTime<Utc>,
) -> Refusal {
    if !matches!(status, 403 | 429) {
        return Refusal::Other;
    }
    let body = &body_prefix[..body_prefix.len().min(BODY_MAX)];
    let said = format!("{reason} . {}", without_tags(&String::from_utf8_lossy(body))).to_ascii_lowercase();
    let wait = retry_after
        .and_then(|value| header_wait(value, now))
        .max(said_wait(&said))
        .map(|wait| wait.clamp(WAIT_MIN, WAIT_MAX));
    if status == 429 {
        return Refusal::RateLimited { wait };
    }
    if said.contains("quota") || said.contains("replenished") {
        let unit = if said.contains("bandwidth") {
            Some(Unit::Bytes)
        } else if said.contains("call") {
            Some(Unit::Calls)
        } else {
            None
        };
        return Refusal::QuotaSpent { wait, unit };
    }
    Refusal::Forbidden
}

/// Reads `Retry-After`: seconds, or an HTTP date.
pub fn header_wait(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return (seconds >= 0.0).then(|| seconds_wait(seconds));
    }
    let until = DateTime::parse_from_rfc2822(value).ok()?;
    Some((until.with_timezone(&Utc) - now).to_std().unwrap_or(Duration::ZERO))
}

/// Rounds up to whole seconds. A value out of range becomes [`WAIT_MAX`].
fn seconds_wait(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.ceil()).unwrap_or(WAIT_MAX)
}

/// Removes tags, which may stand between a number and its unit.
fn without_tags(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, tag)) = rest.split_once('<') {
        // Without an end it is not a tag. Nor is anything after it, so do not search again.
        let Some((_, after)) = tag.split_once('>') else { break };
        plain.push_str(before);
        plain.push(' ');
        rest = after;
    }
    plain.push_str(rest);
    plain.replace("&nbsp;", " ")
}

/// A word or a number; points and colons belong to numbers only.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Number(&'a str),
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
        rest = &rest[start..];
        let number = rest.starts_with(|c: char| c.is_ascii_digit());
        let inside =
            |c: char| if number { c.is_ascii_digit() || c == ':' || c == '.' } else { c.is_ascii_alphabetic() };
        let (token, after) = rest.split_at(rest.find(|c| !inside(c)).unwrap_or(rest.len()));
        tokens.push(if number { Token::Number(token.trim_end_matches([':', '.'])) } else { Token::Word(token) });
        rest = after;
    }
    tokens
}

/// The longest wait that the text states: "in T seconds", "in HH:MM:SS", "after 5 minutes", `"retryAfter": 30`.
fn said_wait(text: &str) -> Option<Duration> {
    let tokens = tokens(text);
    let waits = tokens.iter().enumerate().filter_map(|(place, token)| {
        let Token::Number(number) = *token else { return None };
        if !introduced(&tokens[..place]) {
            return None;
        }
        if number.contains(':') {
            return clock_wait(number);
        }
        let seconds = match tokens.get(place + 1) {
            Some(Token::Word(word)) => unit_seconds(word),
            _ => None,
        };
        // A number without a unit may be anything ("in 2026"), unless the text is about waiting.
        let seconds = seconds.or_else(|| about_waiting(&tokens[..place]).then_some(1.0))?;
        Some(seconds_wait(number.parse::<f64>().ok()? * seconds))
    });
    waits.max()
}

/// Whether a number after these words can be a wait: "in", "in about", "after the next", `retry_after`.
fn introduced(before: &[Token<'_>]) -> bool {
    before.iter().rev().take(3).any(|token| {
        matches!(token, Token::Word("in" | "after" | "within" | "for" | "retryafter" | "wait" | "retryafterseconds"))
    })
}

fn about_waiting(before: &[Token<'_>]) -> bool {
    before.iter().rev().take(5).any(|token| match token {
        Token::Word(word) => {
            ["again", "retry", "replenish", "wait", "available", "reset"].iter().any(|start| word.starts_with(start))
        }
        Token::Number(_) => false,
    })
}

fn unit_seconds(word: &str) -> Option<f64> {
    Some(match word {
        "ms" | "millisecond" | "milliseconds" => 0.001,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600.0,
        "d" | "day" | "days" => 86_400.0,
        _ => return None,
    })
}

/// `HH:MM:SS`, `D.HH:MM:SS`, either with a fraction of a second.
fn clock_wait(text: &str) -> Option<Duration> {
    let mut parts = text.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (days, hours) = hours.split_once('.').unwrap_or(("0", hours));
    let whole = [(days, 86_400.0), (hours, 3_600.0), (minutes, 60.0), (seconds, 1.0)];
    let mut total = 0.0;
    for (number, unit) in whole {
        total += number.parse::<f64>().ok()? * unit;
    }
    Some(seconds_wait(total))
}

#[cfg(test)]
#[path = "refusal_tests.rs"]
mod tests;
