//! Filters as they are sent (`vendors/jaicp.md §3`), read strictly: a key, a type or a member that the vendor does not
//! know is refused.

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::super::answer::Answer;
use super::super::truth::Span;
use super::error;

const TIMES: [&str; 5] =
    ["MESSAGE_TIME", "SESSION_START_TIME", "SESSION_END_TIME", "CLIENT_JOIN_TIME", "CLIENT_LAST_ACTIVITY_TIME"];
/// Keys that are known and that no connector needs.
const OTHERS: [&str; 6] = [
    "MESSAGE_COUNT",
    "WITHOUT_EMPTY_SESSIONS",
    "WITHOUT_EMPTY_MESSAGES",
    "CHANNEL_TYPE",
    "SESSION_LABELS",
    "LOG_LABELS",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    filters: Vec<Filter>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    key: String,
    #[serde(rename = "type")]
    kind: String,
    from: Option<String>,
    to: Option<String>,
}

/// A range of times, and whose they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub key: String,
    pub from: String,
    pub to: String,
    pub span: Span,
}

/// The one range of times that a body asks for. `end_inclusive`: a row exactly at `to` belongs to it.
pub(super) fn read(body: &[u8], end_inclusive: bool) -> Result<Range, Answer> {
    let wrong = |what: &str| error(StatusCode::BAD_REQUEST, what);
    let body: Body = serde_json::from_slice(body).map_err(|_| wrong("filters"))?;
    let mut range = None;
    for filter in body.filters {
        let is_time = TIMES.contains(&filter.key.as_str());
        if !is_time {
            return Err(wrong(if OTHERS.contains(&filter.key.as_str()) {
                "filter_not_simulated"
            } else {
                "filter_key"
            }));
        }
        if filter.kind != "DATE_TIME_RANGE" || range.is_some() {
            return Err(wrong("filter_type"));
        }
        let (Some(from), Some(to)) = (filter.from, filter.to) else { return Err(wrong("range_without_end")) };
        let (Some(start), Some(end)) = (moment(&from), moment(&to)) else { return Err(wrong("date_time")) };
        let mut span = Span::new(start, end);
        // The vendor's clock has milliseconds.
        span.until += if end_inclusive { 10_000 } else { 0 };
        if span.is_empty() {
            return Err(wrong("range"));
        }
        range = Some(Range { key: filter.key, from, to, span });
    }
    range.ok_or_else(|| wrong("no_date_range"))
}

/// `yyyy-MM-ddTHH:mm:ss.SSSZ` and nothing else (`§2`).
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
        for bad in [
            body("MESSAGE_TIMES", "DATE_TIME_RANGE", "2024-03-01T00:00:00.000Z"),
            body("MESSAGE_TIME", "RADIO", "2024-03-01T00:00:00.000Z"),
            body("MESSAGE_TIME", "DATE_TIME_RANGE", "2024-03-01T00:00:00Z"),
            body("MESSAGE_TIME", "DATE_TIME_RANGE", "2024-03-01T00:00:00.000+00:00"),
            body("MESSAGE_TIME", "DATE_TIME_RANGE", "2024-03-03T00:00:00.000Z"),
            r#"{"filters":[]}"#.to_owned(),
            "{}".to_owned(),
            String::new(),
        ] {
            assert!(read(bad.as_bytes(), false).is_err(), "{bad}");
        }
    }
}
