//! What a request asks for: names in its path, and parameters after the question mark.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime, Utc};
use url::form_urlencoded;

/// The names and parameters of a request. A parameter without a value counts as absent, as browsers send empty fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Query {
    path: BTreeMap<String, String>,
    parameters: BTreeMap<String, String>,
}

/// A parameter that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the parameter `{name}` is not {expected}")]
pub struct QueryError {
    pub name: &'static str,
    pub expected: &'static str,
}

impl Query {
    /// From the names in the path and the text after the question mark.
    pub fn new(path: impl IntoIterator<Item = (String, String)>, parameters: &str) -> Self {
        let parameters = form_urlencoded::parse(parameters.as_bytes())
            .filter(|(_, value)| !value.trim().is_empty())
            .map(|(name, value)| (name.into_owned(), value.trim().to_owned()))
            .collect();
        Self { path: path.into_iter().collect(), parameters }
    }

    /// The first parameter that is not one of `known`.
    pub fn unknown<'q>(&'q self, known: &[&str]) -> Option<&'q str> {
        self.parameters.keys().map(String::as_str).find(|name| !known.contains(name))
    }

    /// Whether a name or a parameter has a character that Postgres cannot hold.
    pub fn has_nul(&self) -> bool {
        self.path.values().chain(self.parameters.values()).any(|text| text.contains('\0'))
    }

    /// A name in the path.
    pub fn name(&self, name: &str) -> &str {
        self.path.get(name).map_or("", String::as_str)
    }

    /// A number in the path; `None` if it is not one, so that there is no such thing.
    pub fn id(&self, name: &str) -> Option<i64> {
        self.name(name).parse().ok()
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    pub fn number(&self, name: &'static str) -> Result<Option<i64>, QueryError> {
        let expected = QueryError { name, expected: "a whole number" };
        self.text(name).map(|text| text.parse().map_err(|_| expected)).transpose()
    }

    pub fn date(&self, name: &'static str) -> Result<Option<NaiveDate>, QueryError> {
        let expected = QueryError { name, expected: "a date such as 2026-11-28" };
        self.text(name).map(|text| text.parse().ok().filter(|day| is_known(*day)).ok_or(expected)).transpose()
    }

    /// A moment as RFC 3339, without an offset in UTC, as browsers send it; or a date, which begins at 00:00 UTC.
    pub fn moment(&self, name: &'static str) -> Result<Option<DateTime<Utc>>, QueryError> {
        let expected =
            QueryError { name, expected: "a date such as 2026-11-28, or a time such as 2026-11-28T10:00:00Z" };
        let read = |text: &str| {
            let day = || Some(text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0)?.and_utc());
            let in_utc = || Some(NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M").ok()?.and_utc());
            DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc()).or_else(in_utc).or_else(day)
        };
        self.text(name).map(|text| read(text).filter(|at| is_known(at.date_naive())).ok_or(expected)).transpose()
    }

    /// The two parts of a name such as `acme-lynn/survey_result`.
    pub fn pair(&self, name: &'static str) -> Result<Option<(&str, &str)>, QueryError> {
        let expected = QueryError { name, expected: "a connection and a stream with a slash between" };
        self.text(name).map(|text| text.split_once('/').ok_or(expected)).transpose()
    }

    /// The parameters with another value of `name`, for a link: empty, or beginning with a question mark. The position
    /// in a list is dropped, because another list follows.
    pub fn with(&self, name: &str, value: Option<&str>) -> String {
        let kept = self.parameters.iter().filter(|(key, _)| *key != name && *key != "after");
        let mut text = form_urlencoded::Serializer::new(String::new());
        text.extend_pairs(kept);
        if let Some(value) = value {
            text.append_pair(name, value);
        }
        let text = text.finish();
        if text.is_empty() { text } else { format!("?{text}") }
    }

    /// Whether the list is filtered, so that an empty one need not mean that there is nothing.
    pub fn is_filtered(&self) -> bool {
        self.parameters.keys().any(|name| name != "after")
    }
}

/// Whether Postgres and people know the year.
fn is_known(day: NaiveDate) -> bool {
    (1..=9_999).contains(&day.year())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_reads_its_parameters_and_names_the_one_that_is_wrong() {
        let path = [("connection".to_owned(), "a/b".to_owned())];
        let query = Query::new(path, "q=%3Cb%3E&n=12&day=2026-11-28&at=2026-11-28&empty=&bad=x&after=a%2Fb");
        assert_eq!((query.name("connection"), query.name("other")), ("a/b", ""));
        assert_eq!((query.text("q"), query.text("empty")), (Some("<b>"), None));
        assert_eq!(query.number("n"), Ok(Some(12)));
        assert_eq!(query.pair("after"), Ok(Some(("a", "b"))));
        assert_eq!(query.moment("at").unwrap().unwrap().to_rfc3339(), "2026-11-28T00:00:00+00:00");
        let local = Query::new([], "at=2026-11-28T10:30");
        assert_eq!(local.moment("at").unwrap().unwrap().to_rfc3339(), "2026-11-28T10:30:00+00:00");
        assert_eq!(query.date("day").unwrap().unwrap().to_string(), "2026-11-28");
        assert_eq!(query.number("bad").unwrap_err().to_string(), "the parameter `bad` is not a whole number");
        for far in ["-99999-01-01", "+12345-01-01", "0000-01-01"] {
            let query = Query::new([], &format!("day={}", far.replace('+', "%2B")));
            assert!(query.date("day").is_err() && query.moment("day").is_err(), "{far}");
        }
        assert!(!query.has_nul() && Query::new([], "q=%00").has_nul());
        assert!(query.pair("bad").is_err() && query.moment("bad").is_err() && query.date("bad").is_err());
    }

    #[test]
    fn a_link_keeps_the_other_parameters_and_begins_the_list_again() {
        let query = Query::new([], "state=late&q=a%26b&after=x");
        assert_eq!(query.with("state", Some("failed")), "?q=a%26b&state=failed");
        assert_eq!(query.with("state", None), "?q=a%26b");
        assert!(query.is_filtered() && !Query::new([], "after=x").is_filtered());
        assert_eq!(Query::new([], "after=x").with("q", None), "");
    }
}
