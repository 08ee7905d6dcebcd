//! Arrays whose elements become rows of a child table.

use std::fmt;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::encode::{self, EMPTY, Trust};
use super::jsonb;
use super::unescape::unescape;
use crate::catalogue::{Child, Column, ColumnType};
use crate::decode::object::Members;
use crate::decode::raw::Raw;

/// The first column of a child is part of its key, after the parent's columns: together they must fit an index entry.
const ID_BYTES_MAX: usize = 500;

/// Whether every element of the array can be a row of the child table, so that the SQL that splits the array cannot
/// fail. An array that does not fit is kept in the parent's `_extra`. Elements are read one by one: there may be
/// millions.
pub(crate) fn fit(child: &Child, raw: &str) -> bool {
    let mut deserializer = serde_json::Deserializer::from_str(raw);
    jsonb::holds(raw) && deserializer.deserialize_seq(Elements(child)).unwrap_or(false)
}

struct Elements<'c>(&'c Child);

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<bool, A::Error> {
        let mut all = true;
        while let Some(element) = elements.next_element::<&RawValue>()? {
            all = all && fits(self.0, element.get());
        }
        Ok(all)
    }
}

fn fits(child: &Child, element: &str) -> bool {
    let is_plain = child.columns.iter().any(|column| column.field.is_empty());
    let members = Members::parse(element.as_bytes());
    if !is_plain && members.is_none() {
        return false;
    }
    let value = |column: &Column| match &*column.field {
        "" => Some(element).filter(|element| *element != "null"),
        name => members.as_ref().and_then(|members| members.get(name)).map(Raw::get),
    };
    child.columns.iter().enumerate().all(|(place, column)| match value(column) {
        None => place > 0,
        Some(raw) => holds(column.kind, raw) && (place > 0 || (raw != EMPTY && is_short(raw))),
    })
}

/// Whether the cast in the SQL takes the value.
fn holds(kind: ColumnType, raw: &str) -> bool {
    let first = raw.as_bytes().first().copied().unwrap_or(b'n');
    match kind {
        ColumnType::Bigint | ColumnType::Double => {
            encode::value(kind, Trust::Documented, raw, &mut Vec::new()) != encode::Encoded::Misfit
        }
        ColumnType::Text => !matches!(first, b'{' | b'['),
        ColumnType::Boolean => matches!(first, b't' | b'f') || raw == EMPTY,
        ColumnType::Jsonb => true,
        // No child table has such a column, and it is not known here which texts the cast would accept.
        ColumnType::Numeric | ColumnType::Timestamptz => false,
    }
}

fn is_short(raw: &str) -> bool {
    let text = if raw.starts_with('"') { unescape(raw) } else { Some(raw.into()) };
    text.is_some_and(|text| text.len() <= ID_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    const LABELS: &[Column] =
        &[Column::new("id", "label_id", ColumnType::Bigint, ""), Column::new("name", "name", ColumnType::Text, "")];
    const MEASURES: &[Column] =
        &[Column::new("id", "id", ColumnType::Text, ""), Column::new("value", "value", ColumnType::Double, "")];
    const GROUPS: &[Column] = &[Column::new("", "group_id", ColumnType::Bigint, "")];

    fn child(columns: &'static [Column]) -> Child {
        Child {
            name: "links".into(),
            meaning: "".into(),
            field: "labels".into(),
            parent: Cow::Borrowed(&[]),
            columns: columns.into(),
        }
    }

    #[test]
    fn p5_only_an_array_that_can_be_split_without_loss_becomes_rows() {
        for (columns, raw, expected) in [
            (GROUPS, "[]", true),
            (GROUPS, "[1, 2]", true),
            (GROUPS, r#"["7"]"#, true),
            (GROUPS, r#"["seven"]"#, false),
            (GROUPS, r#"[11.0, "1.2e1"]"#, true),
            (GROUPS, r#"[""]"#, false),
            (GROUPS, "[1.5]", false),
            (GROUPS, "[null]", false),
            (GROUPS, "7", false),
            (LABELS, r#"[{"id":1,"name":"a"},{"id":2}]"#, true),
            (LABELS, r#"[{"id":1,"name":null,"more":[1]}]"#, true),
            (LABELS, r#"[{"name":"a"}]"#, false),
            (LABELS, r#"[{"id":1,"name":{}}]"#, false),
            (LABELS, "[1]", false),
            (LABELS, r#"[{"id":1,"name":"a\u0000"}]"#, false),
            (LABELS, "{}", false),
            (LABELS, r#"[{"id":1,"name":"a"}"#, false),
            (MEASURES, r#"[{"id":"a","value":1e-300}, {"id":"b","value":"2.5"}, {"id":"c","value":0.000}]"#, true),
            (MEASURES, r#"[{"id":"a","value":""}]"#, true),
            (MEASURES, r#"[{"id":"","value":1}]"#, false),
            (MEASURES, r#"[{"id":"a","value":1e400}]"#, false),
            (MEASURES, r#"[{"id":"a","value":NaN}]"#, false),
        ] {
            assert_eq!(fit(&child(columns), raw), expected, "{raw}");
        }
        // Postgres refuses a number that is too small for a double, although JSON readers take it for zero.
        assert!(!fit(&child(MEASURES), &format!(r#"[{{"id":"a","value":0.{}1}}]"#, "0".repeat(400))));
        assert!(
            fit(&child(MEASURES), &format!(r#"[{{"id":"{}"}}]"#, r"\u0444".repeat(250))),
            "500 bytes in any spelling"
        );
        assert!(!fit(&child(MEASURES), &format!(r#"[{{"id":"{}"}}]"#, "x".repeat(501))));
    }
}
