//! Quotes SQL identifiers and literals. The only place that does.

/// `name` as a quoted identifier. NUL is not allowed in identifiers and is dropped.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('\0', "").replace('"', "\"\""))
}

/// `text` as a string literal, for the statements that take no parameters (comments, DDL).
pub fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\0', "").replace('\\', "\\\\").replace('\'', "''"))
}

/// The same for statements that people read: standard SQL, unless the text has backslashes, whose meaning there depends
/// on the server's settings.
pub fn standard_literal(text: &str) -> String {
    if text.contains('\\') { literal(text) } else { format!("'{}'", text.replace('\0', "").replace('\'', "''")) }
}

/// A table's qualified, quoted name.
pub fn table(schema: &str, name: &str) -> String {
    format!("{}.{}", quote(schema), quote(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p7_hostile_names_stay_names() {
        assert_eq!(quote(r#"a"; drop table x --"#), r#""a""; drop table x --""#);
        assert_eq!(literal(r"it's \ fine"), r"E'it''s \\ fine'");
        assert_eq!(standard_literal("it's"), "'it''s'");
        assert_eq!(standard_literal(r"it's \"), r"E'it''s \\'");
        assert_eq!(table("lynn", "user"), r#""lynn"."user""#);
    }
}
