//! Which vendor fields a stream's rows have, and of what type: known from the catalogue, or met in the data.

use std::collections::HashMap;

use super::encode::Trust;
use crate::catalogue::{Child, Column, ColumnType, column_name};

/// Fields beyond this go to `_extra`: Postgres ends at 1600 columns, readers long before.
pub const ADDED_FIELDS_MAX: usize = 400;
/// A field with a longer name goes to `_extra`: it is the key of an index, where Postgres takes 2,700 bytes in all.
pub const FIELD_BYTES_MAX: usize = 500;

/// The fields of a stream, in the order in which COPY rows carry them.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    fields: Vec<Field>,
    index: HashMap<String, usize>,
    /// How many fields are documented; they come first.
    documented: usize,
    may_add: bool,
}

/// One vendor field that has, or will have, a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The vendor's name; nested fields are joined with `.`.
    pub path: String,
    pub kind: ColumnType,
    pub trust: Trust,
    /// The array whose elements become rows of a child table; it has no column of its own.
    pub child: Option<Child>,
}

impl Layout {
    /// A stream whose documented columns are `documented`; `may_add` lets fields without a column get one.
    pub fn new(documented: &[Column], may_add: bool) -> Self {
        let mut layout = Self { may_add, documented: documented.len(), ..Self::default() };
        for column in documented {
            layout.push(&column.field, column.kind, Trust::Documented);
        }
        layout
    }

    /// With the arrays that fill these child tables.
    #[must_use]
    pub fn with_children(mut self, children: &[Child]) -> Self {
        for child in children {
            self.push(&child.field, ColumnType::Jsonb, Trust::Documented);
            if let Some(field) = self.fields.last_mut() {
                field.child = Some(child.clone());
            }
            self.documented += 1;
        }
        self
    }

    /// Tells of a column that an earlier page added; a field that is known already may only be widened by it.
    pub fn know(&mut self, path: &str, kind: ColumnType) {
        match self.index.get(path) {
            Some(&at) => self.fields[at].kind = join(self.fields[at].kind, kind),
            None => self.push(path, kind, Trust::Inferred),
        }
    }

    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Where the field stands; `hint` is where it is expected. Documented fields are found whatever their case: vendors'
    /// spelling wavers (`vendors/lynn.md §10.20`).
    pub fn find(&self, path: &str, hint: usize) -> Option<usize> {
        if self.fields.get(hint).is_some_and(|field| field.path == path) {
            return Some(hint);
        }
        if let Some(&at) = self.index.get(path) {
            return Some(at);
        }
        let documented = &self.fields[..self.documented];
        if path.is_ascii() {
            return documented.iter().position(|field| field.path.eq_ignore_ascii_case(path));
        }
        let path = path.to_lowercase();
        documented.iter().position(|field| field.path.to_lowercase() == path)
    }

    /// Where fields stand whose column would have one of these names, in the names' order.
    pub fn find_named(&self, names: &[String]) -> Vec<usize> {
        let fields: Vec<String> = self.fields.iter().map(|field| column_name(&field.path)).collect();
        let named = |name| fields.iter().enumerate().filter(move |(_, field)| *field == name).map(|(at, _)| at);
        names.iter().flat_map(named).collect()
    }

    /// Whether the field is documented, and its type not ours to choose.
    pub fn is_documented(&self, at: usize) -> bool {
        at < self.documented
    }

    /// Whether [`Self::add`] would add the field.
    pub fn may_add(&self, path: &str) -> bool {
        let added = self.fields.len() - self.documented;
        // Postgres keeps no NUL, neither in a column's name nor in the table of fields.
        self.may_add && added < ADDED_FIELDS_MAX && path.len() <= FIELD_BYTES_MAX && !path.contains('\0')
    }

    /// Adds a field met in the data; none when its values go to `_extra`.
    pub fn add(&mut self, path: &str, kind: ColumnType) -> Option<usize> {
        if !self.may_add(path) {
            return None;
        }
        self.push(path, kind, Trust::Inferred);
        Some(self.fields.len() - 1)
    }

    /// The type that an inferred field must have to hold `kind` too; none when it must not or need not change.
    pub fn wider(&self, at: usize, kind: ColumnType) -> Option<ColumnType> {
        let field = &self.fields[at];
        let wider = join(field.kind, kind);
        (field.trust == Trust::Inferred && self.may_add && wider != field.kind).then_some(wider)
    }

    /// Gives a field the type that [`Self::wider`] answered.
    pub fn widen(&mut self, at: usize, wider: ColumnType) {
        self.fields[at].kind = wider;
    }

    fn push(&mut self, path: &str, kind: ColumnType, trust: Trust) {
        self.index.insert(path.to_owned(), self.fields.len());
        self.fields.push(Field { path: path.to_owned(), kind, trust, child: None });
    }
}

/// The narrowest type that holds every value of both without loss.
pub fn join(one: ColumnType, other: ColumnType) -> ColumnType {
    use ColumnType::{Bigint, Double, Numeric, Text};
    match (one, other) {
        _ if one == other => one,
        (Bigint | Double | Numeric, Bigint | Double | Numeric) => Numeric,
        _ => Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [ColumnType; 7] = [
        ColumnType::Boolean,
        ColumnType::Bigint,
        ColumnType::Double,
        ColumnType::Numeric,
        ColumnType::Timestamptz,
        ColumnType::Text,
        ColumnType::Jsonb,
    ];

    #[test]
    fn widening_is_a_join() {
        for a in ALL {
            assert_eq!(join(a, a), a);
            assert_eq!(join(a, ColumnType::Text), ColumnType::Text);
            for b in ALL {
                assert_eq!(join(a, b), join(b, a), "{a:?} {b:?}");
                for c in ALL {
                    assert_eq!(join(join(a, b), c), join(a, join(b, c)), "{a:?} {b:?} {c:?}");
                }
            }
        }
    }

    #[test]
    fn documented_fields_are_found_in_any_case_and_never_widened() {
        let column = Column::new("markName", "mark_name", ColumnType::Bigint, "");
        let mut layout = Layout::new(&[column], true);
        assert_eq!(layout.find("markName", 0), Some(0));
        assert_eq!(layout.find("MARKNAME", 7), Some(0));
        assert_eq!(layout.wider(0, ColumnType::Text), None);
        let new = layout.add("other", ColumnType::Bigint).unwrap();
        assert_eq!(layout.wider(new, ColumnType::Bigint), None);
        assert_eq!(layout.wider(new, ColumnType::Double), Some(ColumnType::Numeric));
    }

    #[test]
    fn p5_the_number_of_added_fields_is_bounded() {
        let mut layout = Layout::new(&[], true);
        let added = (0..1000).filter(|n| layout.add(&format!("f{n}"), ColumnType::Text).is_some()).count();
        assert_eq!(added, ADDED_FIELDS_MAX);
        assert_eq!(Layout::new(&[], false).add("f", ColumnType::Text), None);
        assert_eq!(Layout::new(&[], true).add(&"f".repeat(501), ColumnType::Text), None);
        assert_eq!(Layout::new(&[], true).add("f\0", ColumnType::Text), None);
    }
}
