//! The keys of a Lexer Activity connection (`vendors/lexer.md`).

use std::collections::BTreeMap;

use chrono::FixedOffset;
use serde_json::Value;
use url::Url;

use super::super::read::read;
use super::super::scalar::Whole;
use super::super::tree::{KeyPath, Node};
use super::super::{Connection, Job, SliceLength, raw, suggest};
use super::connection::{Special, credential, csv, parse_base_url, polling, stand_in};
use super::{Report, lynn};
use crate::connector;
use crate::connector::lexer::{
    BY_HOURS, DEFAULT_BASE_URL, DEFAULT_NPS_CATEGORY, DEFAULT_STATUS_BASE_URL, DEFAULT_WORKFLOW_STATES_TYPE,
    HOURLY_DAYS_MAX, Intervals, OWN_FIELDS, ResponseUnit, Settings, UtcOffset,
};

/// No zone is further from UTC.
const OFFSET_SECS_MAX: i32 = 14 * 3600;
const UTC_OFFSET: &str = "+00:00";

pub(super) fn check(own: &Node, shared: &[&str], path: &KeyPath, report: &mut Report<'_>) -> Special {
    let raw: raw::LexerActivity = read(own, path, shared, "a lexer_activity connection", report);
    let settings = Settings {
        polling: polling(raw.polling, path, report),
        api_token: credential(
            raw.api_token,
            &path.key("api_token"),
            "write the token: `api_token: ${LEXER_API_TOKEN}`",
            report,
        ),
        status_base_url: status_base_url(raw.status_base_url.as_deref(), &path.key("status_base_url"), report),
        forms: forms(&raw.forms.unwrap_or_default(), &path.key("forms"), report),
        nps_category: word(raw.nps_category, DEFAULT_NPS_CATEGORY, &path.key("nps_category"), report),
        utc_offset: utc_offset(raw.utc_offset.as_deref(), &path.key("utc_offset"), report),
        intervals: match raw.intervals {
            Some(raw::LexerIntervals::Hour) => Intervals::Hour,
            Some(raw::LexerIntervals::Day) | None => Intervals::Day,
        },
        parameters: parameters(raw.parameters.unwrap_or_default(), &path.key("parameters"), report),
        workflow_states_type: word(
            raw.workflow_states_type,
            DEFAULT_WORKFLOW_STATES_TYPE,
            &path.key("workflow_states_type"),
            report,
        ),
        response_volume_unit: match raw.response_volume_unit {
            Some(raw::LexerUnit::Seconds) => ResponseUnit::Seconds,
            Some(raw::LexerUnit::Minutes) => ResponseUnit::Minutes,
            Some(raw::LexerUnit::Unknown) | None => ResponseUnit::Unknown,
        },
        csv: csv(raw.csv, path, report),
    };
    Special {
        settings: connector::Settings::LexerActivity(settings),
        default_base_url: DEFAULT_BASE_URL,
        extra_streams: Vec::new(),
    }
}

fn status_base_url(raw: Option<&str>, path: &KeyPath, report: &mut Report<'_>) -> Url {
    parse_base_url(raw.unwrap_or(DEFAULT_STATUS_BASE_URL)).unwrap_or_else(|problem| {
        report.refuse(path, problem.replace(lynn::DEFAULT_BASE_URL, DEFAULT_STATUS_BASE_URL));
        stand_in()
    })
}

fn forms(raw: &[Option<Whole>], path: &KeyPath, report: &mut Report<'_>) -> Vec<i64> {
    let mut forms = Vec::new();
    for (index, form) in raw.iter().enumerate() {
        let path = path.index(index);
        match form {
            None => report.missing(&path, "write the id of a form, or remove the entry"),
            Some(Whole(form)) if forms.contains(form) => report.refuse(&path, "is in the list already; keep one"),
            Some(Whole(form)) => forms.push(*form),
        }
    }
    forms
}

/// A word of the vendor's.
fn word(raw: Option<String>, default: &str, path: &KeyPath, report: &mut Report<'_>) -> String {
    let text = raw.unwrap_or_else(|| default.to_owned());
    if text.is_empty() || text.len() > 100 || !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    {
        report.refuse(path, format!("is not a word of the vendor's; the default is `{default}`"));
    }
    text
}

fn utc_offset(raw: Option<&str>, path: &KeyPath, report: &mut Report<'_>) -> UtcOffset {
    let text = raw.unwrap_or(UTC_OFFSET);
    if let Some(offset) = read_offset(text) {
        return UtcOffset::Fixed(offset);
    }
    if let Ok(zone) = text.parse() {
        return UtcOffset::Zone(zone);
    }
    let hint = suggest::zone(text).map_or_else(
        || {
            "write hours and minutes with a sign, such as `-03:00`, or an IANA zone such as `America/Santiago`"
                .to_owned()
        },
        |zone| format!("did you mean `{zone}`?"),
    );
    report.refuse(path, format!("is neither an offset nor a time zone; {hint}"));
    UtcOffset::Fixed(chrono::Offset::fix(&chrono::Utc))
}

/// The vendor gives hours for short ranges only (`§8`); how long a slice is, the job says.
pub(super) fn check_intervals(
    connections: &BTreeMap<String, Connection>,
    jobs: &BTreeMap<String, Job>,
    report: &mut Report<'_>,
) {
    for job in jobs.values() {
        let Some(connector::Settings::LexerActivity(settings)) =
            connections.get(&job.connection).map(|connection| &connection.settings)
        else {
            continue;
        };
        let is_too_long = |slice: SliceLength| matches!(slice, SliceLength::Days(days) if days > HOURLY_DAYS_MAX);
        let too_long =
            job.streams.iter().find(|entry| BY_HOURS.contains(&&*entry.stream.name) && is_too_long(entry.slice));
        if let (Intervals::Hour, Some(entry)) = (settings.intervals, too_long) {
            let message = format!(
                "a slice of `{}` is too long for `{}` by hours, which the vendor gives for at most `{HOURLY_DAYS_MAX}d`; write \
                 `slice: 1d` for this stream, or `intervals: day` for the connection `{}`",
                entry.slice, entry.stream.name, job.connection,
            );
            report.state(&KeyPath::default().key("jobs").key(&job.name).key("streams"), &message);
        }
    }
}

/// `+HH:MM` or `-HH:MM`.
fn read_offset(text: &str) -> Option<FixedOffset> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':').filter(|(hours, minutes)| hours.len() == 2 && minutes.len() == 2)?;
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<i32>().ok())?;
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let secs = hours * 3600 + minutes * 60;
    (minutes < 60 && secs <= OFFSET_SECS_MAX).then(|| FixedOffset::east_opt(sign * secs))?
}

/// What is written as text comes as text; what reads as a number or a flag is meant as one.
fn parameters(raw: BTreeMap<String, Value>, path: &KeyPath, report: &mut Report<'_>) -> BTreeMap<String, Value> {
    for name in raw.keys().filter(|name| OWN_FIELDS.contains(&name.as_str())) {
        report.state(&path.key(name), "is set by Tidegate itself; remove it");
    }
    raw.into_iter().map(|(name, value)| (name, typed(value))).collect()
}

fn typed(value: Value) -> Value {
    match value {
        Value::String(text) => match serde_json::from_str(&text) {
            Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
            _ => Value::String(text),
        },
        Value::Array(items) => items.into_iter().map(typed).collect(),
        Value::Object(members) => members.into_iter().map(|(name, value)| (name, typed(value))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_hours_and_minutes_with_a_sign() {
        let secs = |text| read_offset(text).map(|offset| offset.local_minus_utc());
        assert_eq!(secs("+00:00"), Some(0));
        assert_eq!((secs("-03:30"), secs("+14:00")), (Some(-12_600), Some(50_400)));
        for odd in ["", "+", "Z", "UTC", "00:00", "+0:00", "+00:60", "+14:01", "+1400", "+ab:00", "é00:00", "++1:00"] {
            assert_eq!(secs(odd), None, "{odd}");
        }
    }

    #[test]
    fn parameters_that_read_as_numbers_are_numbers() {
        let typed = typed(serde_json::json!({ "a": "41", "b": ["true", "x", "1.5"], "c": { "d": "" } }));
        assert_eq!(typed, serde_json::json!({ "a": 41, "b": [true, "x", 1.5], "c": { "d": "" } }));
    }
}
