//! Arrays whose elements become rows of a child table.

use serde_json::Value;

use super::jsonb;
use crate::catalogue::{Child, Column, ColumnType};

/// The first column of a child is part of a key.
const ID_BYTES_MAX: usize = 1_000;

/// Whether every element of the array can be a row of the child table, so that the SQL which takes it apart cannot fail. An
/// array that does not fit is kept in the parent's `_extra`.
pub(super) fn fit(child: &Child, raw: &str) -> bool {
    let Ok(Value::Array(elements)) = serde_json::from_str(raw) else { return false };
    jsonb::holds(raw) && elements.iter().all(|element| fits(child, element))
}

fn fits(child: &Child, element: &Value) -> bool {
    let member = |column: &Column| match &*column.field {
        "" => Some(element),
        name => element.get(name),
    };
    let shaped = child.columns.iter().any(|column| column.field.is_empty()) || element.is_object();
    shaped
        && child.columns.iter().enumerate().all(|(place, column)| match member(column) {
            None | Some(Value::Null) => place > 0,
            Some(value) => holds(column.kind, value) && (place > 0 || value.to_string().len() <= ID_BYTES_MAX),
        })
}

fn holds(kind: ColumnType, value: &Value) -> bool {
    match kind {
        ColumnType::Bigint => match value {
            Value::Number(number) => number.is_i64(),
            Value::String(text) => text.parse::<i64>().is_ok() && !text.starts_with('+'),
            _ => false,
        },
        ColumnType::Text => !value.is_object() && !value.is_array(),
        ColumnType::Boolean => value.is_boolean(),
        ColumnType::Double => value.as_f64().is_some_and(f64::is_finite),
        ColumnType::Jsonb => true,
        // A child has none; what SQL would make of any text is not known here.
        ColumnType::Numeric | ColumnType::Timestamptz => false,
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    const LABELS: &[Column] =
        &[Column::new("id", "label_id", ColumnType::Bigint, ""), Column::new("name", "name", ColumnType::Text, "")];
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
    fn p5_only_an_array_that_falls_apart_without_loss_becomes_rows() {
        for (columns, raw, expected) in [
            (GROUPS, "[]", true),
            (GROUPS, "[1, 2]", true),
            (GROUPS, r#"["7"]"#, true),
            (GROUPS, r#"["seven"]"#, false),
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
        ] {
            assert_eq!(fit(&child(columns), raw), expected, "{raw}");
        }
    }
}
