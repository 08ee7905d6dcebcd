//! Assigns the values of a stored row's `_extra` to columns that its table got later, by the rules for records.
//!
//! The result is that of a record with these values, as far as `jsonb` kept them: it spells a number and the white
//! space of an array in its own way, which only a column of text shows.

use super::{FLATTEN_DEPTH_MAX, PageWriter};
use crate::rows::binary;
use crate::rows::encode::Encoded;
use crate::rows::extra::{self, Span, Stored, cut, span};

/// The place of a value that the row has in its column already. A value of `_extra` has at least one byte.
const PRESENT: Span = (0, 0);

/// A row some of whose values got a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refilled {
    /// The values of the [added](crate::rows::layout::Layout::added) fields as fields of COPY's binary format; null for
    /// a column that keeps what it has.
    pub values: Vec<u8>,
    /// The remaining `_extra`, in the same format.
    pub extra: Vec<u8>,
}

impl PageWriter {
    /// Assigns what the text `stored` of a row's `_extra` holds. May add fields to the layout, as a record may.
    /// `has_value`: for each field of the layout, whether its column has a value. Such a column keeps it, and so does
    /// every documented column, which existed when the row was loaded. Returns `None` if nothing gets a column.
    pub fn refill(&mut self, stored: &str, has_value: &[bool]) -> Option<Refilled> {
        let stored = extra::read(stored)?;
        self.clear_record();
        self.row.clear();
        self.take_present(has_value);
        let (values, places) = joined(&stored);
        for (Stored { field, is_json, is_named, .. }, place) in stored.iter().zip(places) {
            if !is_named {
                self.extra.push(field, place);
                continue;
            }
            self.path.clear();
            self.path.push_str(field);
            // Objects were flattened when the record was read.
            self.member(&values, cut(&values, place), *is_json, FLATTEN_DEPTH_MAX).ok()?;
        }
        self.encode_refilled(&values)
    }

    /// Takes the slots of the columns that keep what they have.
    fn take_present(&mut self, has_value: &[bool]) {
        let count = self.layout.fields().len();
        self.slots.resize(count, None);
        for at in 0..count {
            let has_value = has_value.get(at).copied().unwrap_or(false);
            self.filled += usize::from(has_value);
            if has_value || self.layout.is_documented(at) {
                let field = &self.layout.fields()[at];
                // The value of a variant is that of its field.
                let home = field.variant.and_then(|_| self.layout.find(&field.path, usize::MAX)).unwrap_or(at);
                self.slots[home] = Some(PRESENT);
                self.slots[at] = Some(PRESENT);
            }
        }
    }

    fn encode_refilled(&mut self, values: &str) -> Option<Refilled> {
        // An empty string whose field still has no column is not kept, as in any other row.
        let mut moved = self.extra.empty().len();
        let mut at = self.layout.fields().len() - self.layout.added().len();
        // A value may add a variant, whose position is after its field.
        while at < self.layout.fields().len() {
            match self.slots.get(at).copied().flatten().filter(|place| *place != PRESENT) {
                None => binary::null(&mut self.row),
                Some(place) => match self.encode_field(values, at, place) {
                    Encoded::Value | Encoded::Moment(_) => moved += 1,
                    Encoded::Empty => {
                        binary::null(&mut self.row);
                        moved += 1;
                    }
                    Encoded::Nearest => {
                        self.extra.push(&self.layout.fields()[at].path, place);
                        moved += 1;
                    }
                    Encoded::Misfit => {
                        binary::null(&mut self.row);
                        self.extra.push(&self.layout.fields()[at].path, place);
                    }
                },
            }
            at += 1;
        }
        if moved == 0 {
            return None;
        }
        let mut extra = Vec::new();
        self.extra.write(values, &mut extra);
        Some(Refilled { values: self.row.clone(), extra })
    }
}

/// The values one after another, and the place of each.
fn joined(stored: &[Stored<'_>]) -> (String, Vec<Span>) {
    let mut values = String::with_capacity(stored.iter().map(|one| one.raw.len()).sum());
    let places = stored
        .iter()
        .map(|one| {
            let start = values.len();
            values.push_str(&one.raw);
            span(start, values.len())
        })
        .collect();
    (values, places)
}

#[cfg(test)]
mod tests {
    use super::super::tests::undocumented;
    use super::*;
    use crate::catalogue::ColumnType;
    use crate::rows::binary::tests::shown;
    use crate::rows::encode::Bound;
    use crate::rows::layout::Layout;
    use crate::rows::page::RowKey;

    /// The columns and `_extra` of a row, as text.
    fn refilled(writer: &mut PageWriter, stored: &str, has_value: &[bool]) -> Option<Vec<Option<String>>> {
        let Refilled { values, extra } = writer.refill(stored, has_value)?;
        let added = writer.layout().added();
        let (mut values, mut extra) = (values.as_slice(), extra.as_slice());
        let mut row: Vec<_> = added.iter().map(|field| shown(field.kind, &mut values)).collect();
        assert!(values.is_empty());
        row.push(shown(ColumnType::Jsonb, &mut extra));
        Some(row)
    }

    /// Empty values are null.
    fn row(values: &[&str]) -> Vec<Option<String>> {
        values.iter().map(|value| (!value.is_empty()).then(|| (*value).to_owned())).collect()
    }

    #[test]
    fn p5_new_fields_get_columns_and_what_fits_none_stays() {
        let mut writer = undocumented();
        let stored = r#"{"n": 7, "t": "x", "a.b": {"c": 1}, "w": {"_raw": "NaN"}, "r": {"_values": [1, 2]}}"#;
        let expected = row(&[r#"{"c": 1}"#, "7", "1", "x", r#"{"r":2,"w":{"_raw":"NaN"}}"#]);
        assert_eq!(refilled(&mut writer, stored, &[]), Some(expected));
        assert_eq!(refilled(&mut writer, r#"{"w": {"_raw": "NaN"}}"#, &[false; 4]), None);
    }

    #[test]
    fn p5_a_column_that_has_a_value_keeps_it() {
        let mut layout = Layout::new(&[], true);
        layout.know("n", ColumnType::Bigint, Bound::None);
        layout.know_variant("n", ColumnType::Text, ColumnType::Text, Bound::None);
        let mut writer = PageWriter::new(layout, RowKey::Content, None);
        for has_value in [[true, false], [false, true]] {
            assert_eq!(refilled(&mut writer, r#"{"n": 8}"#, &has_value), None);
        }
        assert_eq!(refilled(&mut writer, r#"{"n": 8}"#, &[false, false]), Some(row(&["8", "", ""])));
        assert_eq!(refilled(&mut writer, r#"{"n": "x"}"#, &[false, false]), Some(row(&["", "x", ""])));
    }

    #[test]
    fn p5_a_column_of_text_gets_empty_strings_and_others_get_null() {
        let mut layout = Layout::new(&[], true);
        layout.know("t", ColumnType::Text, Bound::None);
        layout.know("n", ColumnType::Bigint, Bound::None);
        let mut writer = PageWriter::new(layout, RowKey::Content, None);
        let stored = r#"{"t": "", "n": "", "unknown": ""}"#;
        assert_eq!(refilled(&mut writer, stored, &[]), Some(vec![Some(String::new()), None, None]));
    }
}
