//! Responses of Outbound. They are not documented (`facts/lynn.md §6`): likely shapes are accepted and all others
//! refused, including a list that states that it is not complete.

use std::fmt::Write as _;

use super::super::StepError;
use super::super::lynn_account::complaint;
use crate::catalogue::{Text, column_name};
use crate::decode::object::Members;
use crate::decode::raw::Raw;
use crate::decode::{DecodeError, list};
use crate::http::Redactor;
use crate::text::of_vendor;

/// Maximum length of an id or a state.
const WORD_CHARS_MAX: usize = 200;
/// Usual numbers of rows in a page.
const PAGE_SIZES: &[u64] = &[50, 100, 200, 250, 500, 1_000, 2_000, 5_000, 10_000];

/// Members that mark a response as an error.
const FLAGS: &[&str] = &["is_valid", "success", "is_success"];
const ERRORS: &[&str] = &["errors", "error"];
/// Members that count all rows.
const TOTALS: &[&str] =
    &["total", "total_count", "total_rows", "total_records", "total_items", "count", "row_count", "record_count"];
const PAGES: &[&str] = &["page_count", "total_pages", "pages"];
/// Members that lead to further rows.
const FURTHER: &[&str] = &[
    "next",
    "next_page",
    "next_link",
    "has_more",
    "has_next",
    "has_next_page",
    "more",
    "last_document",
    "cursor",
    "continuation_token",
];

/// The first member that has one of these names, in the order of the names and in any spelling. Null counts as missing.
pub(super) fn member<'a>(members: &Members<'a>, names: &[&str]) -> Option<Raw<'a>> {
    let of = |wanted: &str| members.iter().find(|(name, raw)| column_name(name) == wanted && raw.get() != "null");
    names.iter().find_map(|name| of(name)).map(|(_, raw)| raw)
}

/// Like [`member`], for names of the catalogue; returns the value as text.
pub(super) fn id_of(members: &Members<'_>, names: &[Text]) -> Option<String> {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    word(member(members, &names)?)
}

/// A string or a number as trimmed text. Returns `None` if it is empty, too long, or of another type.
pub(super) fn word(raw: Raw<'_>) -> Option<String> {
    if !raw.is_json() {
        return None;
    }
    let text = match raw.get().as_bytes().first()? {
        b'"' => serde_json::from_str(raw.get()).ok()?,
        b'-' | b'0'..=b'9' => raw.get().to_owned(),
        _ => return None,
    };
    let text = text.trim();
    let fits = !text.is_empty() && text.chars().count() <= WORD_CHARS_MAX && !text.contains(char::is_control);
    fits.then(|| text.to_owned())
}

/// The vendor's error message, redacted and not quoted, if the response has one.
pub(super) fn complaint(members: &Members<'_>, redactor: &Redactor) -> Option<String> {
    let errors = member(members, ERRORS).filter(|errors| !complaint::is_blank(errors.get()) && errors.get() != "false");
    let refused = FLAGS.iter().filter_map(|flag| member(members, &[flag])).any(|flag| complaint::is_false(flag.get()));
    if errors.is_none() && !refused {
        return None;
    }
    let reason = errors.or_else(|| member(members, &["message"]));
    Some(reason.map_or_else(|| "no reason given".to_owned(), |reason| redactor.clean(&complaint::plain(reason.get()))))
}

/// The rows of a body that is not a bare array.
pub(super) fn wrapped<'a>(body: &'a [u8], redactor: &Redactor) -> Result<Vec<Raw<'a>>, StepError> {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let Some(members) = Members::parse(body) else { return Ok(list::read(body, list::Lone::Wrapper)?) };
    if let Some(said) = complaint(&members, redactor) {
        return Err(StepError::Failed(of_vendor(&said)));
    }
    further(&members)?;
    let is_list = |(name, _): &(&str, Raw<'_>)| {
        let name = column_name(name);
        !ERRORS.contains(&&*name) && !FURTHER.contains(&&*name)
    };
    let rows = list::unwrap(members.iter().filter(is_list))?;
    totals(&members, rows.len())?;
    Ok(rows)
}

fn partial(what: &str) -> StepError {
    StepError::Shape(format!("{what}: the vendor pages this list in an unknown way"))
}

/// Refuses a list that leads to further rows.
fn further(members: &Members<'_>) -> Result<(), StepError> {
    let nothing = |raw: Raw<'_>| matches!(raw.get(), "null" | "false" | "0" | "\"\"" | "[]" | "{}" | "\"false\"");
    let mut leads = members.iter().filter(|(_, raw)| !nothing(*raw)).map(|(name, _)| column_name(name));
    match leads.find(|name| FURTHER.contains(&name.as_str())) {
        Some(name) => Err(partial(&format!("`{name}` leads to further rows"))),
        None => Ok(()),
    }
}

/// Refuses a list whose count exceeds its rows.
fn totals(members: &Members<'_>, rows: usize) -> Result<(), StepError> {
    let number = |raw: Raw<'_>| word(raw).and_then(|text| text.parse::<f64>().ok());
    #[expect(clippy::cast_precision_loss, reason = "a list has at most a million rows")]
    let rows_found = rows as f64;
    for (name, raw) in members.iter() {
        let column = column_name(name);
        let exceeds = |names: &[&str], most: f64| {
            names.contains(&column.as_str()) && number(raw).is_some_and(|count| count > most)
        };
        if exceeds(TOTALS, rows_found) {
            return Err(partial(&format!("it holds {rows} rows, and `{column}` counts more")));
        }
        if exceeds(PAGES, 1.0) {
            return Err(partial(&format!("`{column}` counts further pages")));
        }
    }
    Ok(())
}

/// Warns if a list may be a page: it is not documented that these lists are complete (`§6`).
pub(super) fn warn_if_page(stream: &str, rows: u64) {
    if PAGE_SIZES.contains(&rows) {
        tracing::warn!(stream, rows, "the list has a usual page size; if the vendor pages it, rows are missing");
    }
}

/// A path with `id` as one segment, percent-encoded.
pub(super) fn with_id(template: &str, placeholder: &str, id: &str) -> Result<String, StepError> {
    // Even when encoded, these would be removed from a URL.
    if matches!(id, "" | "." | "..") {
        return Err(StepError::Shape("an id that cannot stand in a path".to_owned()));
    }
    let mut segment = String::with_capacity(id.len());
    for byte in id.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => segment.push(char::from(byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(segment, "%{byte:02X}");
            }
        }
    }
    Ok(template.replace(placeholder, &segment))
}

/// The error for a body that is a web page.
pub(super) fn not_json(body: &[u8]) -> Option<DecodeError> {
    (body.trim_ascii_start().first() == Some(&b'<')).then_some(DecodeError::NotJson("HTML or XML"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(body: &str) -> Result<Vec<&str>, String> {
        let rows = wrapped(body.as_bytes(), &Redactor::default()).map_err(|error| error.to_string())?;
        Ok(rows.into_iter().map(Raw::get).collect())
    }

    #[test]
    fn a_wrapper_may_have_empty_errors_and_counts_that_agree() {
        let body = r#"{"isValid":true,"errors":[],"total":2,"pageCount":1,"next":null,"hasMore":false,"list":[{"a":1},{"a":2}]}"#;
        assert_eq!(rows(body).unwrap(), [r#"{"a":1}"#, r#"{"a":2}"#]);
        assert!(rows(r#"{"count":"0","contacts":[]}"#).unwrap().is_empty());
    }

    #[test]
    fn p5_a_response_that_is_an_error_or_incomplete_is_not_a_list() {
        for (body, said) in [
            (r#"{"IsValid":"false","errors":["no division"],"list":[]}"#, "no division"),
            (r#"{"success":false,"message":"no","list":[]}"#, ": “no”"),
            (r#"{"isValid":false,"list":[]}"#, "no reason given"),
            (r#"{"error":{"code":7},"list":[{"a":1}]}"#, r#"{"code":7}"#),
            (r#"{"TotalCount":3,"list":[{"a":1}]}"#, "`total_count` counts more"),
            (r#"{"pageCount":4,"list":[{"a":1}]}"#, "`page_count` counts further pages"),
            (r#"{"nextPage":"/x","list":[{"a":1}]}"#, "`next_page` leads to further rows"),
            (r#"{"lastDocument":"d1","list":[{"a":1}]}"#, "leads to further rows"),
            (r#"{"hasMore":true,"list":[{"a":1}]}"#, "leads to further rows"),
            (r#"{"a":[],"b":[]}"#, "an object with several arrays"),
            (r#"{"list":null}"#, "an object without an array"),
            ("null", "a single value"),
            ("<html>", "HTML or XML"),
            ("", "empty"),
        ] {
            let refused = rows(body).unwrap_err();
            assert!(refused.contains(said), "{body}: {refused}");
        }
    }

    #[test]
    fn p7_an_id_stays_one_segment_of_the_path() {
        let of = |id: &str| with_id("/x/{contact_id}/y", "{contact_id}", id);
        assert_eq!(of("a-1_~.b").unwrap(), "/x/a-1_~.b/y");
        assert_eq!(of("../a?b#c/%é").unwrap(), "/x/..%2Fa%3Fb%23c%2F%25%C3%A9/y");
        assert!(of("..").is_err() && of(".").is_err() && of("").is_err());
    }
}
