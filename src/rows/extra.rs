//! The `_extra` column: fields without a column, and values that do not fit theirs.

use super::binary;
use super::jsonb;

/// Byte offsets of a value in its record.
pub type Span = (u32, u32);

/// The values of one record that no column holds; reused from record to record.
#[derive(Debug, Default)]
pub struct Extra {
    entries: Vec<(Span, Span)>,
    /// Fields without a column that hold an empty string. They are not written, but are part of the record's content.
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

    fn name(&mut self, field: &str) -> Span {
        let start = self.names.len();
        if field.contains('\0') {
            self.names.push_str(&field.replace('\0', "\\u0000"));
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
                [(_, value)] => push_value(cut(record, *value), json),
                several => {
                    json.extend_from_slice(b"{\"_values\":[");
                    for (number, (_, value)) in several.iter().enumerate() {
                        if number > 0 {
                            json.push(b',');
                        }
                        push_value(cut(record, *value), json);
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

fn push_value(raw: &str, json: &mut Vec<u8>) {
    if jsonb::holds(raw) {
        json.extend_from_slice(raw.as_bytes());
    } else {
        json.extend_from_slice(b"{\"_raw\":");
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
}
