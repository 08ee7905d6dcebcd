//! What a request asks for: names in its path, and parameters after the question mark.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime, Utc};
use url::form_urlencoded;

use crate::settings::closest;

/// The names and parameters of a request. A parameter without a value counts as absent, as browsers send empty fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Query {
    path: BTreeMap<String, String>,
    parameters: BTreeMap<String, String>,
    /// A parameter that has two values.
    twice: Option<String>,
}

/// What is wrong with a parameter, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct QueryError {
    /// The parameter.
    pub name: String,
    pub problem: String,
    /// The first of the values, or of the names of parameters, that are possible. Empty if there is no list of them.
    pub allowed: Vec<String>,
}

/// Possible values that an error lists.
const ALLOWED_MAX: usize = 24;

impl QueryError {
    /// A value that is not `expected`.
    pub fn new(name: &str, expected: &str) -> Self {
        Self::of(name, &format!("the parameter `{name}` is not {expected}"))
    }

    /// A value with this problem, which may be that it is missing.
    pub fn of(name: &str, problem: &str) -> Self {
        Self { name: name.to_owned(), problem: problem.to_owned(), allowed: Vec::new() }
    }

    /// A value that is not `expected`, which is one of `allowed`. `value` is what was sent.
    pub fn not_one_of<'a>(
        name: &str,
        value: &str,
        expected: &str,
        allowed: impl IntoIterator<Item = &'a str> + Clone,
    ) -> Self {
        let suggestion = closest(value, allowed.clone());
        let meant = suggestion.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default();
        let total = allowed.clone().into_iter().count();
        let allowed: Vec<String> = allowed.into_iter().take(ALLOWED_MAX).map(ToOwned::to_owned).collect();
        let more = if total > allowed.len() { format!(" and {} more", total - allowed.len()) } else { String::new() };
        let list = if allowed.is_empty() { String::new() } else { format!(": {}{more}", allowed.join(", ")) };
        Self {
            name: name.to_owned(),
            problem: format!("the parameter `{name}` is not {expected}{list}{meant}"),
            allowed,
        }
    }
}

impl Query {
    /// From the names in the path and the text after the question mark.
    pub fn new(path: impl IntoIterator<Item = (String, String)>, parameters: &str) -> Self {
        let written = form_urlencoded::parse(parameters.as_bytes())
            .filter(|(_, value)| !value.trim().is_empty())
            .map(|(name, value)| (name.into_owned(), value.trim().to_owned()));
        let (mut parameters, mut twice) = (BTreeMap::new(), None);
        for (name, value) in written {
            if parameters.contains_key(&name) {
                twice = Some(name.clone());
            }
            parameters.insert(name, value);
        }
        Self { path: path.into_iter().collect(), parameters, twice }
    }

    /// Refuses a parameter that is not one of `known`, or that has two values.
    pub fn only(&self, known: &[&str]) -> Result<(), QueryError> {
        if let Some(name) = self.parameters.keys().find(|name| !known.contains(&name.as_str())) {
            let of = if known.is_empty() {
                "there are no parameters here".to_owned()
            } else {
                format!("the parameters are: {}", known.join(", "))
            };
            let allowed = known.iter().map(|name| (*name).to_owned()).collect();
            return Err(QueryError {
                name: name.clone(),
                problem: format!("there is no parameter `{name}`; {of}"),
                allowed,
            });
        }
        match &self.twice {
            None => Ok(()),
            Some(name) => Err(QueryError::new(name, "written once")),
        }
    }

    /// The names in the path and the parameters except `without`, in the order of their names, as one text.
    pub fn canonical(&self, without: &str) -> String {
        let parameters = self.parameters.iter().filter(|(name, _)| *name != without);
        let mut text = form_urlencoded::Serializer::new(String::new());
        text.extend_pairs(&self.path);
        // No name is empty.
        text.append_pair("", "");
        text.extend_pairs(parameters);
        text.finish()
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

    /// The parameters and their values, in the order of their names.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    pub fn number(&self, name: &str) -> Result<Option<i64>, QueryError> {
        let wrong = |_| QueryError::new(name, "a whole number");
        self.text(name).map(|text| text.parse().map_err(wrong)).transpose()
    }

    pub fn date(&self, name: &str) -> Result<Option<NaiveDate>, QueryError> {
        let wrong = || QueryError::new(name, "a date such as 2026-11-28");
        self.text(name).map(|text| text.parse().ok().filter(|day| is_known(*day)).ok_or_else(wrong)).transpose()
    }

    /// A moment as RFC 3339, without an offset in UTC, as browsers send it; or a date, which begins at 00:00 UTC.
    pub fn moment(&self, name: &str) -> Result<Option<DateTime<Utc>>, QueryError> {
        let wrong = || QueryError::new(name, "a date such as 2026-11-28, or a time such as 2026-11-28T10:00:00Z");
        let read = |text: &str| {
            let day = || Some(text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0)?.and_utc());
            let in_utc = || Some(NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M").ok()?.and_utc());
            DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc()).or_else(in_utc).or_else(day)
        };
        // A leap second has no place in Postgres.
        let is_moment = |at: &DateTime<Utc>| is_known(at.date_naive()) && at.timestamp_subsec_nanos() < 1_000_000_000;
        self.text(name).map(|text| read(text).filter(is_moment).ok_or_else(wrong)).transpose()
    }

    /// The two parts of a name such as `acme-lynn/survey_result`.
    pub fn pair(&self, name: &str) -> Result<Option<(&str, &str)>, QueryError> {
        let wrong = || QueryError::new(name, "a connection and a stream with a slash between");
        self.text(name).map(|text| text.split_once('/').ok_or_else(wrong)).transpose()
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
        for wrong in ["2026-11-28T10:30:60Z", "2026-11-28T23:59:60Z", "2026-11-28T10:30:61Z", "2026-11-28T24:00Z"] {
            assert!(Query::new([], &format!("at={wrong}")).moment("at").is_err(), "{wrong}");
        }
        assert!(!query.has_nul() && Query::new([], "q=%00").has_nul());
        assert!(query.pair("bad").is_err() && query.moment("bad").is_err() && query.date("bad").is_err());
    }

    #[test]
    fn an_unknown_or_repeated_parameter_is_refused_with_those_that_exist() {
        let query = Query::new([], "state=late&sort=age");
        let error = query.only(&["state", "q"]).unwrap_err();
        assert_eq!(error.to_string(), "there is no parameter `sort`; the parameters are: state, q");
        assert_eq!(
            (error.name.as_str(), error.allowed.as_slice()),
            ("sort", &["state".to_owned(), "q".to_owned()][..])
        );
        assert!(query.only(&[]).unwrap_err().to_string().ends_with("there are no parameters here"));
        let twice = Query::new([], "q=a&q=b").only(&["q"]).unwrap_err();
        assert_eq!(twice.to_string(), "the parameter `q` is not written once");
        assert_eq!(Query::new([], "q=&q=b&state=").only(&["q"]), Ok(()));
    }

    #[test]
    fn an_error_lists_the_allowed_values_and_suggests_one() {
        let states = ["failed", "held", "late"];
        let error = QueryError::not_one_of("state", "faild", "a state", states);
        let expected = "the parameter `state` is not a state: failed, held, late; did you mean `failed`?";
        assert_eq!((error.to_string().as_str(), error.allowed), (expected, states.map(ToOwned::to_owned).to_vec()));
        let many: Vec<String> = (0..30).map(|number| format!("job-{number:02}")).collect();
        let error = QueryError::not_one_of("job", "x", "a job", many.iter().map(String::as_str));
        assert!(error.to_string().ends_with("job-23 and 6 more") && error.allowed.len() == 24, "{error}");
    }

    #[test]
    fn the_canonical_text_has_everything_but_the_excluded_parameter_in_one_order() {
        let text = |path: &str, parameters: &str| {
            Query::new([("job".to_owned(), path.to_owned())], parameters).canonical("request")
        };
        assert_eq!(text("a", "to=2&from=1&request=7"), text("a", "request=8&from=1&to=2&stream="));
        for other in
            [text("b", "from=1&to=2"), text("a", "from=1"), text("a", "from=1&to=2&x=1"), text("a&=&from=1", "to=2")]
        {
            assert_ne!(other, text("a", "from=1&to=2"));
        }
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
