//! The naming rule (docs/warehouse.md#names): from a vendor's field name to a column name.

use std::collections::HashSet;

/// Postgres cuts longer identifiers silently, so the rule cuts them first.
const NAME_BYTES_MAX: usize = 63;

/// The column name for one vendor field, before a second equal name gets its `_2`.
///
/// Split where a lower-case letter or digit is followed by an upper-case letter; convert to lower case; replace every
/// run of characters that are neither letters nor digits with `_`; cut to 63 bytes on a character boundary; remove `_`
/// at either end; put `_` before a leading digit; replace an empty name with `column`.
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

/// Assigns column names that are unique within one table.
#[derive(Debug, Clone, Default)]
pub struct ColumnNames {
    taken: HashSet<String>,
}

impl ColumnNames {
    /// A table that already has the columns `taken`.
    pub fn new(taken: impl IntoIterator<Item = String>) -> Self {
        Self { taken: taken.into_iter().collect() }
    }

    /// The name for `field` by the rule, with `_2`, `_3` … if it is already taken.
    pub fn assign(&mut self, field: &str) -> String {
        let plain = column_name(field);
        let name = if self.taken.contains(&plain) { self.numbered(&plain) } else { plain };
        self.taken.insert(name.clone());
        name
    }

    /// The name for the variant `suffix` of the column `name`, with a number if it is already taken.
    pub fn assign_variant(&mut self, name: &str, suffix: &str) -> String {
        let plain = format!("{}_{suffix}", cut(name, NAME_BYTES_MAX - suffix.len() - 1));
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

    /// A second implementation of the naming rule (docs/warehouse.md#names), sentence by sentence.
    fn by_the_book(field: &str) -> String {
        let letters: Vec<char> = field.chars().collect();
        let is_word = |c: char| c.is_alphabetic() || c.is_numeric();
        // "split where a lower-case letter or digit meets an upper-case letter"
        let mut split = Vec::new();
        for (at, &letter) in letters.iter().enumerate() {
            if at > 0 && letter.is_uppercase() && (letters[at - 1].is_lowercase() || letters[at - 1].is_numeric()) {
                split.push('_');
            }
            split.push(letter);
        }
        // "lower-case, every run of characters that are neither letters nor digits becomes `_`". A combining dot that
        // only results from lower-casing (of İ) is not a character of the field.
        let mut name = String::new();
        for letter in split {
            if is_word(letter) {
                name.extend(letter.to_lowercase().filter(|c| is_word(*c)));
            } else if !name.ends_with('_') {
                name.push('_');
            }
        }
        // "cut to 63 bytes on a character boundary, then no leading or trailing `_`"
        while name.len() > 63 {
            name.pop();
        }
        let name = name.trim_matches('_');
        // "a leading digit gets `_` before it, an empty name becomes `column`"
        if name.is_empty() {
            return "column".to_owned();
        }
        let mut name = if name.starts_with(char::is_numeric) { format!("_{name}") } else { name.to_owned() };
        while name.len() > 63 {
            name.pop();
        }
        name.trim_end_matches('_').to_owned()
    }

    fn any_field() -> impl Strategy<Value = String> {
        prop_oneof![
            "\\PC{0,90}",
            "([a-zA-Z0-9_. -]|[ñÑßİıǅÅéЖж顧٣½Ⅷ𝐀-]){0,80}",
            "([0-9]{1,3})?_{0,3}[A-Z]{0,70}[_-]{0,3}[a-z]{0,40}",
            prop::collection::vec(any::<char>(), 0..40).prop_map(|letters| letters.into_iter().collect()),
        ]
    }

    proptest! {
        #[test]
        fn names_follow_the_rule(field in any_field()) {
            prop_assert_eq!(column_name(&field), by_the_book(&field));
        }

        #[test]
        fn naming_a_name_again_does_not_change_it(field in any_field()) {
            let name = column_name(&field);
            // Upper-case letters without a lower case (𝐀) stay, and the letters before them determine whether they are
            // split.
            prop_assume!(!name.chars().any(char::is_uppercase));
            prop_assert_eq!(column_name(&name), name);
        }

        #[test]
        fn names_are_always_unique_and_short(
            fields in prop::collection::vec(prop_oneof!["[xX_ ]{0,3}", "x{60,66}(_[1-9]{1,2})?", "(é){30,33}", any_field()], 0..60),
            taken in prop::collection::vec("x{1,2}(_[2-9])?", 0..6),
        ) {
            let mut names = ColumnNames::new(taken.iter().cloned());
            let mut all: HashSet<String> = taken.into_iter().collect();
            for field in &fields {
                let name = names.assign(field);
                prop_assert!(name.len() <= 63 && !name.is_empty());
                prop_assert!(all.insert(name.clone()), "{name} twice");
                let plain = column_name(field);
                prop_assert!(name == plain || name.trim_end_matches(|c: char| c.is_ascii_digit()).ends_with('_'));
            }
        }

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
