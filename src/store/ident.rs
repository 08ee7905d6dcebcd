//! Quotes SQL identifiers and literals. The only place that does.

/// `name` as a quoted identifier. NUL is not allowed in identifiers and is dropped.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('\0', "").replace('"', "\"\""))
}

/// `text` as a string literal, for the statements that take no parameters (comments, DDL).
pub fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\0', "").replace('\\', "\\\\").replace('\'', "''"))
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
        assert_eq!(table("lynn", "user"), r#""lynn"."user""#);
    }
}
