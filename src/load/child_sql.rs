//! SQL expressions that take the elements of an array apart, into the columns of a child table.

use super::ident::{literal, quote};
use super::table::Links;
use crate::catalogue::{Column, ColumnType};

/// That a child row belongs to a parent.
pub(super) fn links_of(links: &Links, child: &str, parent: &str) -> String {
    let pairs = links.child.parent.iter();
    pairs
        .map(|(theirs, ours)| format!("{child}.{} = {parent}.{}", quote(ours), quote(theirs)))
        .collect::<Vec<_>>()
        .join(" and ")
}

/// A child's column out of an element of the array; `links::fit` has made sure that it can be had.
pub(super) fn element(column: &Column, is_id: bool) -> String {
    let (json, text) = if column.field.is_empty() {
        ("element".to_owned(), "(element #>> '{}')".to_owned())
    } else {
        let name = literal(&column.field);
        (format!("(element -> {name})"), format!("(element ->> {name})"))
    };
    match column.kind {
        // A number is the same id however it is spelled.
        ColumnType::Text if is_id => {
            format!("case jsonb_typeof({json}) when 'number' then trim_scale({text}::numeric)::text else {text} end")
        }
        ColumnType::Text => text,
        ColumnType::Jsonb => format!("nullif({json}, '\"\"')"),
        // `11.0` is a whole number.
        ColumnType::Bigint => format!("nullif({text}, '')::numeric::bigint"),
        kind => format!("nullif({text}, '')::{}", kind.sql()),
    }
}

/// The members of an element that have no column.
pub(super) fn leftover(columns: &[Column]) -> String {
    if columns.iter().any(|column| column.field.is_empty()) {
        return "null::jsonb".to_owned();
    }
    let known: Vec<String> = columns.iter().map(|column| literal(&column.field)).collect();
    format!("nullif(element - array[{}], '{{}}')", known.join(", "))
}
