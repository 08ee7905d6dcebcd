//! Requests and responses of ExecuteReport (`facts/lynn.md §3`).

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::StepError;
use super::super::lynn_account::{self, complaint};
use super::config::Settings;
use super::cursor::Query;
use crate::decode::json::Envelope;
use crate::http::{HttpError, Redactor};

/// The body of a query.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportRequest<'a> {
    #[serde(flatten)]
    query: &'a Query,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_document: Option<&'a RawValue>,
}

/// The body of a query; `last_document` is sent back unchanged.
pub(super) fn request_body(query: &Query, last_document: Option<&RawValue>) -> Result<Vec<u8>, HttpError> {
    serde_json::to_vec(&ReportRequest { query, last_document }).map_err(|error| HttpError::Request(error.to_string()))
}

/// The members of a page besides its rows.
#[derive(Debug)]
pub(super) struct Response {
    /// `None` if it is missing or not a number.
    pub(super) page_count: Option<u64>,
    pub(super) rows: u64,
    pub(super) last_document: Option<Box<RawValue>>,
}

impl Response {
    /// A response without a body: no rows, and no further page.
    pub(super) const fn empty() -> Self {
        Self { page_count: None, rows: 0, last_document: None }
    }

    /// Checks a response (`§8.4, §10.21, §10.22`).
    pub(super) fn read(envelope: &Envelope, settings: &Settings, redactor: &Redactor) -> Result<Self, StepError> {
        let errors = envelope.member("errors").filter(|errors| !complaint::is_blank(errors.get()));
        let shown = |errors: &RawValue| redactor.quote(&complaint::plain(errors.get()));
        if is_false(envelope) {
            return Err(StepError::Failed(errors.map_or_else(|| "no reason given".to_owned(), shown)));
        }
        if let Some(errors) = errors {
            let text = shown(errors);
            if settings.fail_on_errors {
                return Err(StepError::Failed(text));
            }
            tracing::warn!(errors = text, "the vendor reports errors in a valid response");
        }
        // Null is an empty window. Any other value that is not an array could hold rows that would be lost.
        if !envelope.has_records && envelope.member("result").is_some() {
            return Err(StepError::Shape("`result` is not a list".to_owned()));
        }
        if !envelope.has_records && !envelope.has("result") {
            return Err(StepError::Missing("result"));
        }
        // Rows alone do not tell whether more pages follow.
        if !["isValid", "pageCount", "lastDocument"].into_iter().any(|name| envelope.has(name)) {
            return Err(StepError::Missing("isValid"));
        }
        Ok(Self {
            page_count: page_count(envelope),
            rows: envelope.records,
            last_document: envelope.member("lastDocument").map(ToOwned::to_owned),
        })
    }

    pub(super) fn last_document_text(&self) -> Option<&str> {
        self.last_document.as_deref().map(RawValue::get)
    }
}

fn is_false(envelope: &Envelope) -> bool {
    envelope.member("isValid").is_some_and(|flag| complaint::is_false(flag.get()))
}

/// A count may be a number in any notation or a string. A negative count is 0.
fn page_count(envelope: &Envelope) -> Option<u64> {
    let number = match envelope.parsed::<Value>("pageCount")? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and is then above the maximum"
    )]
    let count = number.filter(|number| number.is_finite()).map(|number| number.ceil() as u64);
    if count.is_none() {
        tracing::warn!("pageCount is not a number, reading until a page is not full");
    }
    count
}

/// Classifies the refusal of a data call (`§8.4, §10.1, §10.17`).
pub(super) fn classify(error: StepError, query: &Query) -> StepError {
    match error {
        StepError::Http(HttpError::Status { status: 400, excerpt }) if excerpt.mentions("date") => {
            StepError::DatesRefused { start: query.start_date.clone(), end: query.end_date.clone() }
        }
        other => lynn_account::classify(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::json::Splitter;
    use crate::secret::Secret;
    use crate::test_kit::Collected;

    fn envelope(body: &str) -> Envelope {
        let mut splitter = Splitter::new("result");
        splitter.feed(body.as_bytes(), &mut Collected::default()).unwrap();
        splitter.finish().unwrap()
    }

    #[test]
    fn a_page_count_may_have_any_form() {
        for (form, count) in [
            ("3", Some(3)),
            ("\"3\"", Some(3)),
            ("\" 3 \"", Some(3)),
            ("3.0", Some(3)),
            ("-1", Some(0)),
            ("1e30", Some(u64::MAX)),
            ("null", None),
            ("\"many\"", None),
            ("[3]", None),
        ] {
            assert_eq!(page_count(&envelope(&format!(r#"{{"PageCount":{form}}}"#))), count, "{form}");
        }
        assert_eq!(page_count(&envelope("{}")), None);
    }

    #[test]
    fn false_may_be_a_string_and_any_other_value_is_valid() {
        for (form, expected) in [("false", true), ("\"False\"", true), ("true", false), ("null", false), ("0", false)] {
            assert_eq!(is_false(&envelope(&format!(r#"{{"IsValid":{form}}}"#))), expected, "{form}");
        }
    }

    #[test]
    fn p7_errors_of_any_shape_are_shown_without_secrets() {
        let redactor = Redactor::new(vec![Secret::new("s3cret-value")]);
        for (raw, shown) in [
            (r#""boom""#, "boom"),
            (r#"["one", {"code":2}]"#, r#"one; {"code":2}"#),
            (r#"{"token":"\u00733cret-value"}"#, r#"{"token":"***"}"#),
            (r#""\u0053\u0033CRET-value is wrong""#, "*** is wrong"),
            ("17", "17"),
        ] {
            let errors: Box<RawValue> = serde_json::from_str(raw).unwrap();
            assert_eq!(redactor.clean(&complaint::plain(errors.get())), shown);
        }
    }
}
