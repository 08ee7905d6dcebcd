//! Parses filters (`facts/jaicp.md §3`) strictly: a key, type or member that the vendor does not know is refused.

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::response::PlannedResponse;
use super::super::truth::Span;
use super::error;

const TIMES: [&str; 5] =
    ["MESSAGE_TIME", "SESSION_START_TIME", "SESSION_END_TIME", "CLIENT_JOIN_TIME", "CLIENT_LAST_ACTIVITY_TIME"];
/// Further keys that both generations have.
const OTHERS: [&str; 36] = [
    "MESSAGE_COUNT",
    "WITHOUT_EMPTY_SESSIONS",
    "WITHOUT_EMPTY_MESSAGES",
    "INITIATOR",
    "TRANSFER_TO_OPERATOR",
    "EXCEPTION_EXISTENCE",
    "CHANNEL_TYPE",
    "SESSION_ID",
    "BOT_ID",
    "CALL_TASK_ID",
    "CLIENT_ID_OR_NAME",
    "SESSION_RESULT",
    "SESSION_LABELS",
    "MESSAGE_TYPE",
    "INTENT",
    "LOG_LABELS",
    "NLP_CLASS",
    "NLP_STATE",
    "STATE_ROUTES",
    "MESSAGE_TEXT",
    "ANSWER_TEXT",
    "COMMENT_TEXT",
    "CUSTOM_FIELDS_IN_RESPONSE",
    "SESSION_DATA",
    "MESSAGE_OR_ANSWER_TEXT",
    "TEXT_CAMPAIGN_ID",
    "TEXT_CAMPAIGN_RESULT",
    "SESSION_TOPIC",
    "SCENARIO_ACTION",
    "PERIOD",
    "CHANNEL_NAME",
    "BOT_REPLIES",
    "CLIENT_TYPE",
    "AUTOMATION_STATUS",
    "NPS",
    "WITHOUT_TEST_SESSIONS",
];
const CHOICES: [&str; 5] = ["NOT_IMPORTANT", "NOT_EXISTS", "EXISTS", "CONTAINS", "NOT_CONTAINS"];
const TEXTS: [&str; 4] = ["NOT_IMPORTANT", "CONTAINS", "NOT_CONTAINS", "EQUALS"];
const PARTS: [&str; 7] =
    ["NOT_IMPORTANT", "CONTAINS", "NOT_CONTAINS", "EQUALS", "NOT_EQUALS", "STARTS_WITH", "ENDS_WITH"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    filters: Vec<Map<String, Value>>,
}

/// A time range, the field that it applies to, and further conditions.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Range {
    pub key: String,
    pub from: String,
    pub to: String,
    pub span: Span,
    pub also: Vec<Also>,
}

/// A further filter, as far as the simulator has data for it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Also {
    /// The row's channel is one of these, or none of these.
    Channels { options: Vec<String>, among: bool },
    /// The number of client phrases is in this range.
    Count { from: f64, to: f64 },
}

impl Range {
    /// Whether a row matches, apart from its time. Filters combine with AND.
    pub fn wants(&self, row: &Map<String, Value>) -> bool {
        self.also.iter().all(|also| also.holds(row))
    }

    /// The same for a row as text.
    pub fn wants_text(&self, row: &str) -> bool {
        self.also.is_empty() || serde_json::from_str(row).is_ok_and(|row| self.wants(&row))
    }
}

impl Also {
    fn holds(&self, row: &Map<String, Value>) -> bool {
        match self {
            Self::Channels { options, among } => {
                let channel = row.get("channelType").and_then(Value::as_str).unwrap_or_default();
                options.iter().any(|option| option.eq_ignore_ascii_case(channel)) == *among
            }
            Self::Count { from, to } => {
                let count = row.get("questionCount").and_then(Value::as_f64).unwrap_or_default();
                *from <= count && count <= *to
            }
        }
    }
}

/// Parses a body: one time range and further filters. `end_inclusive`: a row exactly at `to` matches.
pub(super) fn read(body: &[u8], end_inclusive: bool) -> Result<Range, PlannedResponse> {
    let wrong = |what: &str| error(StatusCode::BAD_REQUEST, what);
    let body: Body = serde_json::from_slice(body).map_err(|_| wrong("filters"))?;
    let (mut range, mut also) = (None, Vec::new());
    for filter in body.filters {
        let text = |name: &str| filter.get(name).and_then(Value::as_str);
        let (Some(key), Some(kind)) = (text("key"), text("type")) else { return Err(wrong("filter")) };
        if !TIMES.contains(&key) && !OTHERS.contains(&key) {
            return Err(wrong("filter_key"));
        }
        if TIMES.contains(&key) != (kind == "DATE_TIME_RANGE") || !is_documented(kind, &filter) {
            return Err(wrong("filter_type"));
        }
        if kind != "DATE_TIME_RANGE" {
            also.push(simulated(key, &filter).ok_or_else(|| wrong("filter_not_simulated"))?);
            continue;
        }
        if range.is_some() {
            return Err(wrong("filter_type"));
        }
        let (Some(from), Some(to)) = (text("from"), text("to")) else { return Err(wrong("range_without_end")) };
        let (Some(start), Some(end)) = (moment(from), moment(to)) else { return Err(wrong("date_time")) };
        let mut span = Span::new(start, end);
        // The vendor's clock has milliseconds.
        span.until += if end_inclusive { 10_000 } else { 0 };
        if span.is_empty() {
            return Err(wrong("range"));
        }
        let (key, from, to) = (key.to_owned(), from.to_owned(), to.to_owned());
        range = Some(Range { key, from, to, span, also: Vec::new() });
    }
    let range = range.ok_or_else(|| wrong("no_date_range"))?;
    Ok(Range { also, ..range })
}

/// Whether a filter has exactly the members of its type.
fn is_documented(kind: &str, filter: &Map<String, Value>) -> bool {
    let has = |name: &str, holds: &dyn Fn(&Value) -> bool| filter.get(name).is_some_and(holds);
    let may_have = |name: &str, holds: &dyn Fn(&Value) -> bool| filter.get(name).is_none_or(holds);
    let only = |names: &[&str]| {
        filter.keys().all(|name| ["key", "type"].contains(&name.as_str()) || names.contains(&name.as_str()))
    };
    let text = Value::is_string;
    let texts = |value: &Value| value.as_array().is_some_and(|items| items.iter().all(Value::is_string));
    // The specifications say numbers; the vendor's example sends strings.
    let number = |value: &Value| value.is_number() || value.as_str().is_some_and(|text| text.parse::<f64>().is_ok());
    let one_of =
        |words: &'static [&'static str]| move |value: &Value| value.as_str().is_some_and(|word| words.contains(&word));
    let part = |value: &Value| {
        value.as_object().is_some_and(|part| {
            part.get("key").is_some_and(Value::is_string)
                && part.get("value").is_none_or(Value::is_string)
                && part.get("caseSensitive").is_none_or(Value::is_boolean)
                && part.get("comparisonOption").is_some_and(one_of(&PARTS))
                && part.len() <= 4
        })
    };
    match kind {
        "DATE_TIME_RANGE" => only(&["from", "to"]) && may_have("from", &text) && may_have("to", &text),
        "NUMERIC_RANGE" => only(&["from", "to"]) && may_have("from", &number) && may_have("to", &number),
        "RADIO" => only(&["option"]) && may_have("option", &text),
        "CHECKBOX" | "TREE" => {
            only(&["options", "comparisonType"])
                && has("options", &texts)
                && may_have("comparisonType", &one_of(&CHOICES))
        }
        "TEXT" => {
            only(&["values", "comparisonType", "isCaseSensitive"])
                && has("values", &texts)
                && has("comparisonType", &one_of(&TEXTS))
                && has("isCaseSensitive", &Value::is_boolean)
        }
        "CUSTOM_FIELDS_IN_RESPONSE" => only(&["responseDataJsonPaths"]) && may_have("responseDataJsonPaths", &texts),
        "COMPOSITE_FILTER" => {
            only(&["options"])
                && may_have("options", &|value| value.as_array().is_some_and(|options| options.iter().all(part)))
        }
        _ => false,
    }
}

/// The filters for which the simulator has data.
fn simulated(key: &str, filter: &Map<String, Value>) -> Option<Also> {
    let number = |name: &str, default: f64| match filter.get(name) {
        None => Some(default),
        Some(Value::String(text)) => text.parse().ok(),
        Some(value) => value.as_f64(),
    };
    match key {
        "CHANNEL_TYPE" => {
            let options = filter.get("options")?.as_array()?;
            let options = options.iter().filter_map(|option| option.as_str().map(ToOwned::to_owned)).collect();
            let among = match filter.get("comparisonType").and_then(Value::as_str) {
                None | Some("CONTAINS") => true,
                Some("NOT_CONTAINS") => false,
                Some(_) => return None,
            };
            Some(Also::Channels { options, among })
        }
        "MESSAGE_COUNT" => Some(Also::Count { from: number("from", 0.0)?, to: number("to", f64::MAX)? }),
        _ => None,
    }
}

/// Parses exactly `yyyy-MM-ddTHH:mm:ss.SSSZ` (`§2`).
pub(super) fn moment(text: &str) -> Option<DateTime<Utc>> {
    let shape = "dddd-dd-ddTdd:dd:dd.dddZ";
    let fits = text.len() == shape.len()
        && text
            .bytes()
            .zip(shape.bytes())
            .all(|(byte, wanted)| byte == wanted || (wanted == b'd' && byte.is_ascii_digit()));
    text.parse().ok().filter(|_| fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_documented_filters_are_read() {
        let body = |key: &str, kind: &str, from: &str| {
            format!(
                r#"{{"filters":[{{"key":"{key}","type":"{kind}","from":"{from}","to":"2024-03-02T00:00:00.000Z"}}]}}"#
            )
        };
        let good = body("MESSAGE_TIME", "DATE_TIME_RANGE", "2024-03-01T00:00:00.000Z");
        let range = read(good.as_bytes(), false).ok().unwrap();
        assert_eq!(range.span.until - range.span.from, 864_000_000_000);
        assert_eq!(read(good.as_bytes(), true).ok().unwrap().span.until, range.span.until + 10_000);
        let also = good.replace("}]", r#"},{"key":"CHANNEL_TYPE","type":"CHECKBOX","options":["vk"]},{"key":"MESSAGE_COUNT","type":"NUMERIC_RANGE","from":2}]"#);
        let range = read(also.as_bytes(), false).ok().unwrap();
        assert!(range.wants_text(r#"{"channelType":"VK","questionCount":2}"#));
        assert!(!range.wants_text(r#"{"channelType":"VK","questionCount":1}"#));
        assert!(!range.wants_text(r#"{"channelType":"viber","questionCount":2}"#));
        for bad in [
            body("MESSAGE_TIMES", "DATE_TIME_RANGE", "2024-03-01T00:00:00.000Z"),
            body("MESSAGE_TIME", "RADIO", "2024-03-01T00:00:00.000Z"),
            body("MESSAGE_TIME", "DATE_TIME_RANGE", "2024-03-01T00:00:00Z"),
            body("MESSAGE_TIME", "DATE_TIME_RANGE", "2024-03-01T00:00:00.000+00:00"),
            body("MESSAGE_TIME", "DATE_TIME_RANGE", "2024-03-03T00:00:00.000Z"),
            good.replace("}]", r#"},{"key":"CHANNEL_TYPE","type":"CHECKBOX","options":"telegram"}]"#),
            good.replace("}]", r#"},{"key":"CHANNEL_TYPE","type":"CHECKBOX"}]"#),
            good.replace("}]", r#"},{"key":"CHANNEL_TYPE","type":"CHECKBOX","options":[],"comparisonType":"LIKE"}]"#),
            good.replace("}]", r#"},{"key":"MESSAGE_TEXT","type":"TEXT","values":["a"],"comparisonType":"EQUALS","isCaseSensitive":"true"}]"#),
            good.replace("}]", r#"},{"key":"MESSAGE_COUNT","type":"NUMERIC_RANGE","from":"many"}]"#),
            good.replace("}]", r#"},{"key":"MESSAGE_TIME","type":"DATE_TIME_RANGE"}]"#),
            r#"{"filters":[]}"#.to_owned(),
            "{}".to_owned(),
            String::new(),
        ] {
            assert!(read(bad.as_bytes(), false).is_err(), "{bad}");
        }
    }
}
