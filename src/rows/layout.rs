//! Which vendor fields a stream's rows have, and their types: known from the catalogue, or found in the data.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::encode::{self, Bound, Trust};
use super::number;
use super::unescape::exact_text;
use crate::catalogue::{Child, Column, ColumnType, column_name};

/// Further fields go to `_extra`: Postgres allows 1,600 columns, and readers cope with far fewer.
pub const ADDED_FIELDS_MAX: usize = 400;
/// A field with a longer name goes to `_extra`: the name is part of an index entry, which may have 2,700 bytes in
/// Postgres.
pub const FIELD_BYTES_MAX: usize = 500;

/// The columns that a stream's records fill, in the order in which COPY rows carry them.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    fields: Vec<Field>,
    /// Position of each vendor field, without variants.
    index: HashMap<String, usize>,
    /// The same by the name in lower case. Of names that differ only in case, the first.
    folded: HashMap<String, usize>,
    /// How many fields are documented; they come first.
    documented: usize,
    may_add: bool,
    /// Types that the job states, by vendor field.
    stated: Arc<BTreeMap<String, ColumnType>>,
}

/// A vendor field that has, or will have, a column; or a variant of such a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The vendor's name; nested fields are joined with `.`.
    pub path: String,
    pub kind: ColumnType,
    /// A limit of the column that is narrower than its type.
    pub bound: Bound,
    pub trust: Trust,
    /// The array whose elements become rows of a child table; it has no column of its own.
    pub child: Option<Child>,
    /// `None` for the field itself. A variant takes the values that the field's own column does not hold.
    pub variant: Option<ColumnType>,
    /// Of a field of the key.
    pub id: IdType,
    /// Positions of the field's variants.
    numeric: Option<usize>,
    text: Option<usize>,
}

/// Where the type of a key's column comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdType {
    /// The documentation, or the job.
    #[default]
    Given,
    /// The first ids of the table. Digits in quotes that are not spelt like a number are another id than the number.
    Found,
    /// Chosen on the current page: whole numbers may still become texts.
    Open,
    /// Not chosen before the first id.
    Unseen,
}

impl IdType {
    /// Whether a column of type `kind` holds the id `raw` without confusing it with another.
    pub fn holds(self, kind: ColumnType, raw: &str) -> bool {
        if self == Self::Given || kind != ColumnType::Bigint {
            return true;
        }
        if !raw.starts_with('"') {
            return number::whole(raw).is_some();
        }
        let mut unescaped = Vec::new();
        let digits = if raw.contains('\\') {
            exact_text(raw, &mut unescaped);
            &*unescaped
        } else {
            raw.trim_matches('"').as_bytes()
        };
        let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<i64>().ok());
        number.is_some_and(|number| number.to_string().as_bytes() == digits)
    }
}

/// The destination of a value that the field's own column does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detour {
    /// The same column, which gets this type.
    Widen(ColumnType),
    /// This variant.
    Variant(ColumnType),
    Extra,
}

impl Field {
    fn new(path: &str, kind: ColumnType, trust: Trust) -> Self {
        let bound = Bound::None;
        Self {
            path: path.to_owned(),
            kind,
            bound,
            trust,
            child: None,
            variant: None,
            id: IdType::Given,
            numeric: None,
            text: None,
        }
    }
}

impl Layout {
    /// The layout of a stream with these documented columns. `may_add`: other fields get columns too.
    pub fn new(documented: &[Column], may_add: bool) -> Self {
        let mut layout = Self { may_add, documented: documented.len(), ..Self::default() };
        for column in documented {
            layout.push(Field::new(&column.field, column.kind, Trust::Documented));
        }
        layout
    }

    /// Adds the arrays that fill these child tables.
    #[must_use]
    pub fn with_children(mut self, children: &[Child]) -> Self {
        for child in children {
            let field = Field::new(&child.field, ColumnType::Jsonb, Trust::Documented);
            self.push(Field { child: Some(child.clone()), ..field });
            self.documented += 1;
        }
        self
    }

    /// Sets the types that a job states for fields that the vendor does not document.
    #[must_use]
    pub fn with_types(mut self, stated: &BTreeMap<String, ColumnType>) -> Self {
        self.stated = Arc::new(stated.clone());
        self
    }

    /// Sets the type that a documented field's column has in the table.
    pub fn know_documented(&mut self, path: &str, kind: ColumnType, bound: Bound) {
        if let Some(&at) = self.index.get(path) {
            (self.fields[at].kind, self.fields[at].bound) = (kind, bound);
        }
    }

    /// Sets where the type of a key's column comes from.
    pub fn know_id(&mut self, path: &str, id: IdType) {
        if let Some(&at) = self.index.get(path) {
            self.set_id(at, id);
        }
    }

    pub(super) fn set_id(&mut self, at: usize, id: IdType) {
        self.fields[at].id = id;
    }

    /// Whether the type of every column of the key is known.
    pub fn has_key(&self) -> bool {
        self.fields.iter().all(|field| field.id != IdType::Unseen)
    }

    /// Whether the type of a column of the key may still change.
    pub fn is_open(&self) -> bool {
        self.fields.iter().any(|field| matches!(field.id, IdType::Open | IdType::Unseen))
    }

    /// The types of the key's columns do not change any more.
    pub fn close_key(&mut self) {
        for field in self.fields.iter_mut().filter(|field| field.id == IdType::Open) {
            field.id = IdType::Found;
        }
    }

    /// Sets the columns that a child table has, which may be fewer than in the catalogue.
    pub fn know_child(&mut self, child: &Child) {
        if let Some(&at) = self.index.get(&*child.field) {
            self.fields[at].child = Some(child.clone());
        }
    }

    /// Adds a field whose column exists. Returns the type that the job states, if the column has another.
    pub fn know(&mut self, path: &str, kind: ColumnType, bound: Bound) -> Option<ColumnType> {
        if self.index.contains_key(path) {
            return None;
        }
        let stated = self.stated.get(path).copied();
        let trust = if stated == Some(kind) { Trust::Stated } else { Trust::Inferred };
        self.push(Field { bound, ..Field::new(path, kind, trust) });
        stated.filter(|stated| *stated != kind)
    }

    /// Adds a variant whose column exists. Its field must have been added before.
    pub fn know_variant(&mut self, path: &str, variant: ColumnType, kind: ColumnType, bound: Bound) {
        if let Some(&home) = self.index.get(path) {
            self.push_variant(home, Field { bound, ..Field::new(path, kind, Trust::Inferred) }, variant);
        }
    }

    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The fields that were found in the data, and variants. They come after the documented ones.
    pub fn added(&self) -> &[Field] {
        &self.fields[self.documented..]
    }

    /// The position of a field, which is expected at `hint`. Letter case is ignored, since the spelling of one field
    /// varies between a vendor's responses.
    pub fn find(&self, path: &str, hint: usize) -> Option<usize> {
        if self.is_field(hint, path) {
            return Some(hint);
        }
        self.index.get(path).or_else(|| self.folded.get(&path.to_lowercase())).copied()
    }

    /// Whether a field of that name is known: from the catalogue, the table, or the job's `types`.
    pub fn knows(&self, name: &str) -> bool {
        self.find(name, 0).is_some() || self.stated.contains_key(name)
    }

    /// Whether the vendor field `path`, and not a variant of it, is at this position.
    pub fn is_field(&self, at: usize, path: &str) -> bool {
        self.fields.get(at).is_some_and(|field| field.path == path && field.variant.is_none())
    }

    /// The positions of fields whose column would have one of these names, in the order of the names.
    pub fn find_named(&self, names: &[String]) -> Vec<usize> {
        let fields: Vec<Option<String>> =
            self.fields.iter().map(|field| field.variant.is_none().then(|| column_name(&field.path))).collect();
        let named = |name: &String| {
            let is_named = |field: &Option<String>| field.as_ref() == Some(name);
            fields.iter().enumerate().filter(move |(_, field)| is_named(field)).map(|(at, _)| at).collect::<Vec<_>>()
        };
        names.iter().flat_map(named).collect()
    }

    /// Whether the field is documented, so that its type is given.
    pub fn is_documented(&self, at: usize) -> bool {
        at < self.documented
    }

    /// Whether an object is not flattened: its field is documented, or the job states a type that holds it.
    pub fn is_whole(&self, path: &str, known: Option<usize>) -> bool {
        known.is_some_and(|at| self.is_documented(at))
            || matches!(self.stated.get(path), Some(ColumnType::Jsonb | ColumnType::Text))
    }

    /// Whether [`Self::add`] would add the field.
    pub fn may_add(&self, path: &str) -> bool {
        // Postgres cannot store NUL, neither in a column's name nor in the table of fields.
        self.has_room() && path.len() <= FIELD_BYTES_MAX && !path.contains('\0')
    }

    fn has_room(&self) -> bool {
        self.may_add && self.fields.len() - self.documented < ADDED_FIELDS_MAX
    }

    /// The type of a new column for the field: the stated type, else the type of the value. Returns `None` for a value
    /// from which no type is inferred.
    pub fn type_for(&self, path: &str, raw: &str) -> Option<ColumnType> {
        self.stated.get(path).copied().or_else(|| encode::infer(raw))
    }

    /// Adds a field that was found in the data. Returns `None` if its values go to `_extra`.
    pub fn add(&mut self, path: &str, kind: ColumnType) -> Option<usize> {
        if !self.may_add(path) {
            return None;
        }
        let trust = if self.stated.get(path) == Some(&kind) { Trust::Stated } else { Trust::Inferred };
        self.push(Field::new(path, kind, trust));
        Some(self.fields.len() - 1)
    }

    /// The destination of a value that the field's column does not hold. It depends only on the value and the columns.
    pub fn detour(&self, at: usize, raw: &str) -> Detour {
        let field = &self.fields[at];
        if field.trust == Trust::Documented || field.variant.is_some() || !encode::is_json(raw) {
            return Detour::Extra;
        }
        let is_number = field.kind.is_number() && encode::infer(raw).is_some_and(ColumnType::is_number);
        if field.trust == Trust::Inferred && is_number && field.kind != ColumnType::Numeric {
            // A column that has a numeric variant is not widened: otherwise a value's column would depend on the order
            // of values.
            let may_widen = field.numeric.is_none() && field.bound == Bound::None && self.may_add;
            return if may_widen { Detour::Widen(ColumnType::Numeric) } else { Detour::Variant(ColumnType::Numeric) };
        }
        Detour::Variant(ColumnType::Text)
    }

    /// Gives a field the type that [`Self::detour`] returned.
    pub fn widen(&mut self, at: usize, wider: ColumnType) {
        self.fields[at].kind = wider;
    }

    /// The position of a variant of the field at `home`.
    pub fn variant(&self, home: usize, variant: ColumnType) -> Option<usize> {
        match variant {
            ColumnType::Numeric => self.fields[home].numeric,
            _ => self.fields[home].text,
        }
    }

    /// Whether [`Self::add_variant`] would add one.
    pub fn may_add_variant(&self) -> bool {
        self.has_room()
    }

    /// Adds a variant of a field. Returns `None` if its values go to `_extra`.
    pub fn add_variant(&mut self, home: usize, variant: ColumnType) -> Option<usize> {
        if !self.may_add_variant() {
            return None;
        }
        let field = Field::new(&self.fields[home].path, variant, Trust::Inferred);
        Some(self.push_variant(home, field, variant))
    }

    fn push_variant(&mut self, home: usize, field: Field, variant: ColumnType) -> usize {
        let at = self.fields.len();
        self.fields.push(Field { variant: Some(variant), ..field });
        match variant {
            ColumnType::Numeric => self.fields[home].numeric = Some(at),
            _ => self.fields[home].text = Some(at),
        }
        at
    }

    fn push(&mut self, field: Field) {
        self.index.insert(field.path.clone(), self.fields.len());
        self.folded.entry(field.path.to_lowercase()).or_insert(self.fields.len());
        self.fields.push(field);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p4_a_number_is_held_in_any_spelling_and_other_digits_are_not() {
        let holds = |raw: &&str| IdType::Found.holds(ColumnType::Bigint, raw);
        let all = ["10", "1e1", "10.0", r#""10""#, r#""\u0031\u0030""#, r#""-10""#];
        assert_eq!(all.iter().filter(|raw| !holds(raw)).count(), 0);
        let none = ["10.5", r#""010""#, r#""+10""#, r#""1e1""#, r#""\u00310 ""#, r#""""#, r#""x""#, "true", "1e99"];
        assert_eq!(none.iter().filter(|raw| holds(raw)).count(), 0);
    }

    #[test]
    fn a_column_is_only_widened_between_numbers_and_other_values_go_to_a_variant() {
        let mut layout = Layout::new(&[], true);
        let at = layout.add("a", ColumnType::Bigint).unwrap();
        assert_eq!(layout.detour(at, "1.5"), Detour::Widen(ColumnType::Numeric));
        assert_eq!(layout.detour(at, "\"x\""), Detour::Variant(ColumnType::Text));
        assert_eq!(layout.detour(at, "1e999"), Detour::Variant(ColumnType::Text), "numeric does not hold it");
        assert_eq!(layout.detour(at, "NaN"), Detour::Extra, "that is not JSON");
        layout.add_variant(at, ColumnType::Numeric).unwrap();
        assert_eq!(layout.detour(at, "1.5"), Detour::Variant(ColumnType::Numeric));
        layout.widen(at, ColumnType::Numeric);
        assert_eq!(layout.detour(at, "1e999"), Detour::Variant(ColumnType::Text));
        let text = layout.add_variant(at, ColumnType::Text).unwrap();
        assert_eq!((layout.variant(at, ColumnType::Text), layout.find("a", text)), (Some(text), Some(at)));
    }

    #[test]
    fn fields_are_found_in_any_case_and_the_exact_name_comes_first() {
        let mut layout = Layout::new(&[], true);
        let (lower, upper) = (layout.add("né", ColumnType::Text).unwrap(), layout.add("NÉ", ColumnType::Text).unwrap());
        let found = ["né", "NÉ", "Né", "nE"].map(|name| layout.find(name, usize::MAX));
        assert_eq!(found, [Some(lower), Some(upper), Some(lower), None]);
    }

    #[test]
    fn documented_fields_are_found_in_any_case_and_have_no_variants() {
        let column = Column::new("markName", "mark_name", ColumnType::Bigint, "");
        let layout = Layout::new(&[column], true);
        assert_eq!(layout.find("markName", 0), Some(0));
        assert_eq!(layout.find("MARKNAME", 7), Some(0));
        assert_eq!(layout.detour(0, "\"x\""), Detour::Extra);
    }

    #[test]
    fn a_stated_type_is_the_columns_unless_the_table_has_another() {
        let types = [("a".to_owned(), ColumnType::Double), ("b".to_owned(), ColumnType::Double)].into();
        let mut layout = Layout::new(&[], true).with_types(&types);
        assert_eq!(layout.type_for("a", "\"soon\""), Some(ColumnType::Double));
        let at = layout.add("a", ColumnType::Double).unwrap();
        assert_eq!(
            (layout.fields()[at].trust, layout.detour(at, "\"x\"")),
            (Trust::Stated, Detour::Variant(ColumnType::Text))
        );
        assert_eq!(layout.know("b", ColumnType::Text, Bound::None), Some(ColumnType::Double));
        assert_eq!(layout.fields()[1].trust, Trust::Inferred);
    }

    #[test]
    fn p5_the_number_of_added_fields_is_bounded_variants_included() {
        let mut layout = Layout::new(&[], true);
        let added = (0..1000).filter(|n| {
            let added = layout.add(&format!("f{n}"), ColumnType::Bigint);
            added.is_some_and(|at| layout.add_variant(at, ColumnType::Text).is_some())
        });
        assert_eq!(added.count() * 2, ADDED_FIELDS_MAX);
        assert_eq!(layout.add_variant(0, ColumnType::Numeric), None);
        assert_eq!(Layout::new(&[], false).add("f", ColumnType::Text), None);
        assert_eq!(Layout::new(&[], true).add(&"f".repeat(501), ColumnType::Text), None);
        assert_eq!(Layout::new(&[], true).add("f\0", ColumnType::Text), None);
    }
}
