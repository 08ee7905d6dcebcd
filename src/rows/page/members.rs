//! Visits the members of a record in place and assigns their values to fields: no map, no copies of values.

use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{FLATTEN_DEPTH_MAX, PageWriter, RECORD_FIELDS_MAX, ROW_VALUES_MAX};
use crate::decode::raw::{self, Name};
use crate::rows::encode::EMPTY;
use crate::rows::extra::{Span, cut, span};
use crate::rows::layout::FIELD_BYTES_MAX;

/// Why a record cannot become a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Malformed,
    NotAnObject,
    Names,
    Fields,
    Empty,
}

impl Refusal {
    /// For `tidegate.rejected_record`. `None` if the body itself is malformed.
    pub(super) fn reason(self) -> Option<String> {
        match self {
            Self::Malformed => None,
            Self::NotAnObject => Some("not an object".to_owned()),
            Self::Names => Some("a field's name is not a valid text".to_owned()),
            Self::Empty => Some("no field has a value".to_owned()),
            Self::Fields => Some(format!("more than {RECORD_FIELDS_MAX} fields")),
        }
    }
}

impl PageWriter {
    /// Takes the members of a record.
    pub(super) fn record_members(&mut self, record: &str) -> Result<(), Refusal> {
        self.json_members(record, record, 0).unwrap_or_else(|_| {
            // The slower reader distinguishes bare values, such as `NaN`, and invalid names from malformed text.
            self.clear_record();
            self.bare_members(record, record, 0)
        })
    }

    /// Takes the members of a nested object, whose path is `self.path`.
    pub(super) fn members(&mut self, record: &str, object: &str, is_json: bool, depth: usize) -> Result<(), Refusal> {
        if !is_json {
            return self.bare_members(record, object, depth);
        }
        // The object is valid JSON, so only a name can be invalid.
        self.json_members(record, object, depth).unwrap_or(Err(Refusal::Names))
    }

    /// The outer error means that the object is not JSON or has a name that is not a valid text.
    fn json_members(&mut self, record: &str, object: &str, depth: usize) -> serde_json::Result<Result<(), Refusal>> {
        serde_json::Deserializer::from_str(object).deserialize_map(Members { writer: self, record, depth })
    }

    /// Takes the members of an object that has bare values, or names that are not valid texts.
    fn bare_members(&mut self, record: &str, object: &str, depth: usize) -> Result<(), Refusal> {
        let parent = self.path.len();
        for part in raw::lenient_members(object).map_err(|_| Refusal::Malformed)? {
            let (name, raw) = part.map_err(|_| Refusal::Malformed)?;
            let Name(name) = serde_json::from_str(name).map_err(|_| Refusal::Names)?;
            self.named_member(record, (&name, raw.get()), raw.is_json(), (parent, depth))?;
        }
        Ok(())
    }

    fn named_member(
        &mut self,
        record: &str,
        (name, raw): (&str, &str),
        is_json: bool,
        (parent, depth): (usize, usize),
    ) -> Result<(), Refusal> {
        if depth == 0 && is_json && self.is_next(record, name, raw) {
            return Ok(());
        }
        self.path.truncate(parent);
        if depth > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        self.member(record, raw, is_json, depth)
    }
}

impl PageWriter {
    /// Takes a member of the record itself if it is the expected field, without a look-up.
    pub(super) fn is_next(&mut self, record: &str, name: &str, raw: &str) -> bool {
        let at = self.expected;
        let is_plain = !raw.starts_with(['{', 'n']);
        let is_known = self.layout.is_field(at, name);
        let has_room = self.filled < ROW_VALUES_MAX && self.record_fields() < RECORD_FIELDS_MAX;
        if !is_plain || !is_known || !has_room || self.slots.len() > at {
            return false;
        }
        let start = raw.as_ptr().addr() - record.as_ptr().addr();
        self.slots.resize(at, None);
        self.slots.push(Some(span(start, start + raw.len())));
        self.filled += 1;
        self.expected = at + 1;
        true
    }

    /// Takes the member at `self.path`. Whether an object is flattened must not depend on columns that were found in
    /// the data. A value that is not JSON fits no column, and gets none.
    pub(super) fn member(&mut self, record: &str, raw: &str, is_json: bool, depth: usize) -> Result<(), Refusal> {
        if raw == "null" {
            return Ok(());
        }
        let known = self.layout.find(&self.path, self.expected);
        if raw.starts_with('{')
            && depth < FLATTEN_DEPTH_MAX
            && self.path.len() <= FIELD_BYTES_MAX
            && !self.layout.is_whole(&self.path, known)
            && has_members(raw)
        {
            return self.members(record, raw, is_json, depth + 1);
        }
        let start = raw.as_ptr().addr() - record.as_ptr().addr();
        let place = span(start, start + raw.len());
        match known.filter(|at| is_json && (self.filled < ROW_VALUES_MAX || self.is_key_column(*at))) {
            Some(at) if self.is_filled(at) => self.collide(record, at, place),
            Some(at) => {
                if !self.layout.is_field(at, &self.path) {
                    self.respelt.push((at, self.path.clone()));
                }
                self.fill(at, place);
            }
            None => self.place_unknown(raw, place, is_json),
        }
        if self.record_fields() > RECORD_FIELDS_MAX {
            return Err(Refusal::Fields);
        }
        Ok(())
    }

    fn is_filled(&self, at: usize) -> bool {
        self.slots.get(at).is_some_and(Option::is_some)
    }

    fn fill(&mut self, at: usize, place: Span) {
        self.expected = at + 1;
        if self.slots.len() <= at {
            self.slots.resize(at + 1, None);
        }
        self.slots[at] = Some(place);
        self.filled += 1;
    }

    /// Takes the value of an unknown field, which may be added.
    fn place_unknown(&mut self, raw: &str, place: Span, is_json: bool) {
        let added = if is_json && self.filled < ROW_VALUES_MAX { self.add_field(raw) } else { None };
        match added {
            Some(at) => self.fill(at, place),
            // No type is inferred from it.
            None if raw == EMPTY => self.extra.push_empty(&self.path),
            None => self.extra.push(&self.path, place),
        }
    }

    /// Takes the value of a field that has one already: the record repeats the name, or has it in another letter case.
    /// Two spellings in one record are two fields, unless the field is documented. The exact name gets the slot,
    /// whichever comes first.
    fn collide(&mut self, record: &str, at: usize, place: Span) {
        if self.layout.is_documented(at) {
            return self.extra.push(&self.path, place);
        }
        if !self.layout.is_field(at, &self.path) {
            return self.place_unknown(cut(record, place), place, true);
        }
        let Some(respelt) = self.respelt.iter().position(|(taken, _)| *taken == at) else {
            return self.extra.push(&self.path, place);
        };
        let (_, name) = self.respelt.swap_remove(respelt);
        let exact = std::mem::replace(&mut self.path, name);
        if let Some(other) = self.slots[at].replace(place) {
            self.place_unknown(cut(record, other), other, true);
        }
        self.path = exact;
    }
}

/// Hands the members of an object to the writer.
struct Members<'w, 'r> {
    writer: &'w mut PageWriter,
    record: &'r str,
    depth: usize,
}

impl<'r> Visitor<'r> for Members<'_, '_> {
    type Value = Result<(), Refusal>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'r>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let parent = self.writer.path.len();
        let mut outcome = Ok(());
        // Reads on after a refusal: a record that is not JSON fails the page.
        while let Some((Name(name), raw)) = map.next_entry::<Name<'r>, &'r RawValue>()? {
            if outcome.is_ok() {
                let place = (parent, self.depth);
                outcome = self.writer.named_member(self.record, (&name, raw.get()), true, place);
            }
        }
        Ok(outcome)
    }
}

/// Whether an object that is valid JSON has a member.
fn has_members(object: &str) -> bool {
    object.as_bytes()[1..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'"')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{fields, page, undocumented};
    use super::*;
    use crate::decode::Sink as _;

    fn is_taken(record: &str) -> bool {
        let mut writer = undocumented();
        writer.begin(None);
        writer.record(record.as_bytes()).is_ok()
    }

    #[test]
    fn members_are_taken_as_written() {
        let text = "{ \"a\" : 1.50e+3 ,\"b\\u0041\":\"x\\\"}\",\n\"\":[1, {\"c\":null}],\"d\":{ },\"e\":-0,\"é\":true}";
        let chunks = page(&mut undocumented(), &[text]);
        let layout = &chunks.last().unwrap().layout;
        let paths: Vec<&str> = layout.fields().iter().map(|field| &*field.path).collect();
        assert_eq!(paths, ["a", "bA", "", "d", "e", "é"]);
        assert_eq!(fields(&chunks)[0][1..], ["1500", "x\"}", "[1, {\"c\":null}]", "{ }", "0", "true", "\\N"]);
    }

    #[test]
    fn a_record_that_is_not_json_fails_the_page() {
        for text in [
            "",
            "{",
            "[",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":01}",
            "{\"a\":-}",
            "{\"a\":1.}",
            "{\"a\":.5}",
            "{\"a\":1e}",
            "{\"a\":1e+}",
            "{\"a\":tru}",
            "{\"a\":nul",
            "{\"a\":\"x}",
            "{\"a\":\"\n\"}",
            "{\"a\":\"\\x\"}",
            "{a:1}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":[1}",
            "{\"a\":1]",
            "{\"a\":+1}",
            "{\"a\":\"\\ud8\"}",
            "{\"a\":Na}",
            "{\"a\":NaNs}",
            "{\"a\":-In}",
            "{\"a\":[NaN}",
            "{\"a\":[NaN,]}",
            "{\"a\":{NaN:1}}",
        ] {
            assert!(!is_taken(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_record_is_taken_if_it_is_json_once_bare_values_are_strings(
            text in r#"\{("[a\\n]{0,2}" ?: ?(-?[0-9]{1,2}(\.[0-9]?)?([eE][+-]?[0-9]?)?|"[a-b\\nu0 ]{0,6}"|true|null|NaN|\[1?\]|\{"x":1\}) ?,? ?){0,3}\}"#
        ) {
            let copy = raw::quoted(&text);
            let strict = serde_json::from_str::<&RawValue>(copy.as_deref().unwrap_or(&text));
            prop_assert_eq!(strict.is_ok(), is_taken(&text), "{}", text);
        }
    }
}
