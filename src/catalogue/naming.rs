//! The naming rule of design.md §5: from a vendor's field name to a column name.

use std::collections::HashSet;

/// Postgres cuts longer identifiers silently, so the rule cuts them first.
const NAME_BYTES_MAX: usize = 63;

/// The column name for one vendor field, before a second equal name gets its `_2`.
///
/// Split where a lower-case letter or digit meets an upper-case letter, lower-case, every run of characters that are
/// neither letters nor digits becomes `_`, cut to 63 bytes on a character boundary, then no `_` at either end, a
/// leading digit gets `_` before it, an empty name becomes `column`.
pub fn column_name(field: &str) -> String {
    let mut name = String::with_capacity(field.len() + 4);
    let mut before: Option<char> = None;
    for character in field.chars() {
        if character.is_alphanumeric() {
            let hump = character.is_uppercase() && before.is_some_and(|b| b.is_lowercase() || b.is_numeric());
            if hump {
                name.push('_');
            }
            name.extend(character.to_lowercase().filter(|c| c.is_alphanumeric()));
        } else if !name.ends_with('_') {
            name.push('_');
        }
        before = Some(character);
    }
    let name = cut(&name, NAME_BYTES_MAX).trim_matches('_');
    match name.chars().next() {
        None => "column".to_owned(),
        Some(first) if first.is_numeric() => cut(&format!("_{name}"), NAME_BYTES_MAX).trim_end_matches('_').to_owned(),
        Some(_) => name.to_owned(),
    }
}

fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// Hands out column names that are unique within one table.
#[derive(Debug, Clone, Default)]
pub struct ColumnNames {
    taken: HashSet<String>,
}

impl ColumnNames {
    /// A table that already has the columns `taken`.
    pub fn new(taken: impl IntoIterator<Item = String>) -> Self {
        Self { taken: taken.into_iter().collect() }
    }

    /// The name for `field`: the rule's, with `_2`, `_3` … where it is taken already.
    pub fn assign(&mut self, field: &str) -> String {
        let plain = column_name(field);
        let name = if self.taken.contains(&plain) { self.numbered(&plain) } else { plain };
        self.taken.insert(name.clone());
        name
    }

    fn numbered(&self, plain: &str) -> String {
        let mut number = 2_usize;
        loop {
            let suffix = format!("_{number}");
            let name = format!("{}{suffix}", cut(plain, NAME_BYTES_MAX - suffix.len()));
            if !self.taken.contains(&name) {
                return name;
            }
            number += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn follows_the_examples_of_the_design() {
        for (field, name) in [
            ("markName", "mark_name"),
            ("CONVERSATION_ID", "conversation_id"),
            ("Customer Wait Time (min)", "customer_wait_time_min"),
            ("NameVisualization", "name_visualization"),
            ("idReporting", "id_reporting"),
            ("HTTPStatus", "httpstatus"),
            ("v2Count", "v2_count"),
            ("2nd", "_2nd"),
            ("", "column"),
            ("---", "column"),
            ("señalÑandú", "señal_ñandú"),
            ("顧客 待ち時間", "顧客_待ち時間"),
        ] {
            assert_eq!(column_name(field), name, "{field:?}");
        }
    }

    #[test]
    fn cuts_on_a_character_boundary() {
        let name = column_name(&"é".repeat(40));
        assert_eq!(name.len(), 62);
        assert_eq!(name, "é".repeat(31));
    }

    #[test]
    fn a_second_equal_name_gets_a_number() {
        let mut names = ColumnNames::default();
        assert_eq!(names.assign("Mark Name"), "mark_name");
        assert_eq!(names.assign("markName"), "mark_name_2");
        assert_eq!(names.assign("mark-name"), "mark_name_3");
        let long = "x".repeat(80);
        assert_eq!(names.assign(&long).len(), 63);
        assert!(names.assign(&long).ends_with("_2"));
    }

    proptest! {
        #[test]
        fn any_field_gets_a_usable_name(field in "\\PC{0,90}") {
            let name = column_name(&field);
            prop_assert!(!name.is_empty() && name.len() <= 63);
            prop_assert!(!name.ends_with('_'));
            prop_assert!(name.chars().all(|c| c == '_' || c.is_alphanumeric()));
        }

        #[test]
        fn names_within_a_table_are_unique(fields in proptest::collection::vec("[a-cA-C _]{0,4}", 0..40)) {
            let mut names = ColumnNames::default();
            let assigned: HashSet<String> = fields.iter().map(|f| names.assign(f)).collect();
            prop_assert_eq!(assigned.len(), fields.len());
        }
    }
}
