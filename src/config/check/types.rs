//! `types:` of a stream: the types of columns that the vendor does not document.

use std::collections::BTreeMap;

use crate::catalogue::{ColumnType, Stream, column_name};
use crate::settings::{KeyPath, Report, closest_hint};

pub(super) fn check(
    written: Option<&BTreeMap<String, Option<String>>>,
    stream: &Stream,
    path: &KeyPath,
    report: &mut Report<'_>,
) -> BTreeMap<String, ColumnType> {
    let mut types = BTreeMap::new();
    for (field, word) in written.into_iter().flatten() {
        let path = path.key(field);
        if field.is_empty() {
            report.state(&path, "a field without a name cannot have a type; remove the entry");
            continue;
        }
        let Some(word) = word else {
            report.missing(&path, "write a type, for instance `double`");
            continue;
        };
        let kind =
            if word == ColumnType::Double.sql() { Some(ColumnType::Double) } else { ColumnType::from_word(word) };
        let Some(kind) = kind else {
            let hint = closest_hint(word, ColumnType::ALL.map(ColumnType::word));
            report.refuse(&path, format!("is not a type{hint}"));
            continue;
        };
        let name = column_name(field);
        let documented = stream.columns.iter().find(|column| {
            column.field.to_lowercase() == field.to_lowercase() || (column.name == name && !column.is_ours)
        });
        match documented {
            Some(column) if column.kind != kind => {
                let documented = column.kind.word();
                report.refuse(
                    &path,
                    format!("contradicts the vendor's documentation, by which it is `{documented}`; remove the entry"),
                );
            }
            Some(_) => {}
            None if stream.children.iter().any(|child| child.field == *field) => {
                report.state(&path, "the elements of this field are rows of a table of their own; remove the entry");
            }
            None => {
                types.insert(field.clone(), kind);
            }
        }
    }
    types
}
