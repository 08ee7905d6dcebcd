//! The `_extra` column: fields without a column, and values that do not fit theirs.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::binary;
use super::encode::EMPTY;
use super::jsonb;
use super::unescape::unescape;

/// Byte offsets of a value in its record.
pub type Span = (u32, u32);

/// The place of an empty string that is written although it is in [`Extra::empty`].
const EMPTY_PLACE: Span = (u32::MAX, u32::MAX);
/// The member with the original text of a value that `jsonb` cannot hold.
const RAW: &str = "_raw";
/// The member with the values of a repeated field.
const VALUES: &str = "_values";
/// What stands for NUL in a name.
const NUL: &str = "\\u0000";

/// The values of one record that no column holds; reused from record to record.
#[derive(Debug, Default)]
pub struct Extra {
    entries: Vec<(Span, Span)>,
    /// Fields without a column that hold an empty string. They are part of the record's content, but are written only
    /// after [`Self::keep_empty`].
    empty: Vec<Span>,
    names: String,
    json: Vec<u8>,
}

impl Extra {
    pub fn clear(&mut self) {
        self.entries.clear();
        self.empty.clear();
        self.names.clear();
    }

    pub fn count(&self) -> usize {
        self.entries.len()
    }

    pub fn push(&mut self, field: &str, value: Span) {
        let name = self.name(field);
        self.entries.push((name, value));
    }

    /// Notes a field without a column that holds an empty string. It is not written.
    pub fn push_empty(&mut self, field: &str) {
        let name = self.name(field);
        self.empty.push(name);
    }

    /// The fields without a column that hold an empty string.
    pub fn empty(&self) -> impl ExactSizeIterator<Item = &str> {
        self.empty.iter().map(|name| cut(&self.names, *name))
    }

    /// Has the empty strings written too: their fields have no column yet, but may get one of text.
    pub fn keep_empty(&mut self) {
        self.entries.extend(self.empty.drain(..).map(|name| (name, EMPTY_PLACE)));
    }

    fn name(&mut self, field: &str) -> Span {
        let start = self.names.len();
        if field.contains('\0') {
            self.names.push_str(&field.replace('\0', NUL));
        } else {
            self.names.push_str(field);
        }
        span(start, self.names.len())
    }

    /// Each field with its value, in the order of the record.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Span)> {
        self.entries.iter().map(|(name, value)| (cut(&self.names, *name), *value))
    }

    /// Appends the column as a field of COPY's binary format: one member per field, or null without fields. What
    /// `jsonb` cannot hold is written as text under `_raw`; the values of a repeated field are written under `_values`.
    pub fn write(&mut self, record: &str, out: &mut Vec<u8>) {
        let Self { entries, names, json, .. } = self;
        if entries.is_empty() {
            binary::null(out);
            return;
        }
        entries.sort_by(|one, other| cut(names, one.0).cmp(cut(names, other.0)));
        json.clear();
        json.push(b'{');
        for same in entries.chunk_by(|one, other| cut(names, one.0) == cut(names, other.0)) {
            if json.len() > 1 {
                json.push(b',');
            }
            push_quoted(cut(names, same[0].0), json);
            json.push(b':');
            match same {
                [(_, value)] => push_value(value_at(record, *value), json),
                several => {
                    json.extend_from_slice(format!("{{\"{VALUES}\":[").as_bytes());
                    for (number, (_, value)) in several.iter().enumerate() {
                        if number > 0 {
                            json.push(b',');
                        }
                        push_value(value_at(record, *value), json);
                    }
                    json.extend_from_slice(b"]}");
                }
            }
        }
        json.push(b'}');
        binary::jsonb(json, out);
    }
}

/// A span of offsets; records are far smaller than 4 GiB.
pub fn span(start: usize, end: usize) -> Span {
    (u32::try_from(start).unwrap_or(u32::MAX), u32::try_from(end).unwrap_or(u32::MAX))
}

pub fn cut(text: &str, (start, end): Span) -> &str {
    &text[start as usize..end as usize]
}

/// A field and one of its values, as [`Extra::write`] had it.
#[derive(Debug, PartialEq, Eq)]
pub struct Stored<'e> {
    pub field: String,
    pub raw: Cow<'e, str>,
    /// Whether the value is JSON. Others, such as `NaN`, fit no column.
    pub is_json: bool,
    /// Whether the name is that of the vendor. A NUL in it was replaced.
    pub is_named: bool,
}

/// Reads what [`Extra::write`] wrote, from the text of the column. Returns `None` if it is not an object: then it was
/// written by others.
pub fn read(column: &str) -> Option<Vec<Stored<'_>>> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(column).ok()?;
    let mut stored = Vec::with_capacity(fields.len());
    for (field, value) in fields {
        let repeated = member::<Vec<&RawValue>>(value.get(), VALUES).filter(|values| values.len() > 1);
        for value in repeated.unwrap_or_else(|| vec![value]) {
            let raw = original(value.get()).map_or(Cow::Borrowed(value.get()), Cow::Owned);
            let is_json = serde_json::from_str::<&RawValue>(&raw).is_ok();
            stored.push(Stored { field: field.clone(), raw, is_json, is_named: !field.contains(NUL) });
        }
    }
    Some(stored)
}

/// The text of a value that `jsonb` cannot hold.
fn original(value: &str) -> Option<String> {
    let text = member::<&RawValue>(value, RAW).filter(|text| text.get().starts_with('"'))?;
    let raw = unescape(text.get())?.into_owned();
    // Otherwise it is an object of the vendor that looks like ours.
    (!jsonb::holds(&raw)).then_some(raw)
}

/// The value of an object's only member, if that has this name.
fn member<'v, T: serde::Deserialize<'v>>(value: &'v str, name: &str) -> Option<T> {
    if !value.starts_with('{') {
        return None;
    }
    let mut members: BTreeMap<String, &RawValue> = serde_json::from_str(value).ok()?;
    let only = members.remove(name).filter(|_| members.is_empty())?;
    serde_json::from_str(only.get()).ok()
}

fn value_at(record: &str, place: Span) -> &str {
    if place == EMPTY_PLACE { EMPTY } else { cut(record, place) }
}

fn push_value(raw: &str, json: &mut Vec<u8>) {
    if jsonb::holds(raw) {
        json.extend_from_slice(raw.as_bytes());
    } else {
        json.extend_from_slice(format!("{{\"{RAW}\":").as_bytes());
        push_quoted(raw, json);
        json.push(b'}');
    }
}

fn push_quoted(text: &str, json: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = serde_json::to_writer(json, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::ColumnType;

    fn written(record: &str, values: &[(&str, &str)]) -> String {
        let mut extra = Extra::default();
        for (field, value) in values {
            let start = record.find(value).unwrap();
            extra.push(field, span(start, start + value.len()));
        }
        let mut out = Vec::new();
        extra.write(record, &mut out);
        let shown = binary::tests::shown(ColumnType::Jsonb, &mut out.as_slice());
        shown.map_or_else(|| "\\N".to_owned(), |json| json.replace('\\', "\\\\"))
    }

    #[test]
    fn p5_every_value_is_kept_under_its_field() {
        assert_eq!(written("", &[]), "\\N");
        assert_eq!(written("1 2", &[("b", "1"), ("a", "2")]), r#"{"a":2,"b":1}"#);
    }

    #[test]
    fn p5_a_repeated_field_keeps_both_values_in_order() {
        assert_eq!(
            written("7 [3] 1e999", &[("a", "7"), ("b", "[3]"), ("a", "1e999")]),
            r#"{"a":{"_values":[7,{"_raw":"1e999"}]},"b":[3]}"#
        );
    }

    #[test]
    fn p5_what_jsonb_cannot_hold_is_written_as_text() {
        assert_eq!(written(r#""\u0000""#, &[("a\0", r#""\u0000""#)]), r#"{"a\\\\u0000":{"_raw":"\\"\\\\u0000\\""}}"#);
    }

    #[test]
    fn p5_what_was_written_is_read_again_as_the_vendor_sent_it() {
        let shown = |column: &str| -> Vec<(String, String, bool, bool)> {
            let stored = read(column).unwrap();
            stored.into_iter().map(|one| (one.field, one.raw.into_owned(), one.is_json, one.is_named)).collect()
        };
        let one = |raw: &str, is_json| ("a".to_owned(), raw.to_owned(), is_json, true);
        for (column, values) in [
            ("{}", vec![]),
            (r#"{"a": "x"}"#, vec![one(r#""x""#, true)]),
            (r#"{"a": ""}"#, vec![one(r#""""#, true)]),
            (r#"{"a": {"_raw": "NaN"}}"#, vec![one("NaN", false)]),
            (r#"{"a": {"_raw": "1e999"}}"#, vec![one("1e999", true)]),
            (r#"{"a": {"_raw": "\"\\u0000\""}}"#, vec![one(r#""\u0000""#, true)]),
            (r#"{"a": {"_values": [7, {"_raw": "1e999"}]}}"#, vec![one("7", true), one("1e999", true)]),
            // Objects of the vendor.
            (r#"{"a": {"_raw": "7"}}"#, vec![one(r#"{"_raw": "7"}"#, true)]),
            (r#"{"a": {"_values": [7]}}"#, vec![one(r#"{"_values": [7]}"#, true)]),
            (r#"{"a\\u0000": 5}"#, vec![("a\\u0000".to_owned(), "5".to_owned(), true, false)]),
        ] {
            assert_eq!(shown(column), values, "{column}");
        }
        assert_eq!(read("[1]"), None);
    }

    #[test]
    fn p5_an_empty_string_is_kept_if_its_field_may_get_a_column() {
        let mut extra = Extra::default();
        extra.push_empty("b");
        extra.keep_empty();
        let mut out = Vec::new();
        extra.write("", &mut out);
        assert_eq!(binary::tests::shown(ColumnType::Jsonb, &mut out.as_slice()).as_deref(), Some(r#"{"b":""}"#));
    }
}
