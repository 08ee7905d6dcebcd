//! The comments in the text of SQL statements.

/// A statement that comments on a table, a view or one of its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// `schema.name`, without quotes.
    pub relation: String,
    /// The column, without quotes. `None` for the relation itself.
    pub column: Option<String>,
    pub text: String,
}

/// The comments on tables, views and columns in `sql`, in their order. Only statements that begin a line and name
/// everything without blanks are found, which is how the migrations and the views are written.
pub fn comments(sql: &str) -> Vec<Comment> {
    let mut found = Vec::new();
    for (at, _) in sql.match_indices("comment on ") {
        let begins_line = at == 0 || sql[..at].ends_with('\n');
        if let Some(comment) = Some(&sql[at + "comment on ".len()..]).filter(|_| begins_line).and_then(comment) {
            found.push(comment);
        }
    }
    found
}

/// The comment after `comment on `.
fn comment(rest: &str) -> Option<Comment> {
    let (kind, rest) = rest.split_once(' ')?;
    let (name, rest) = rest.split_once(" is")?;
    let name = name.replace('"', "");
    let text = literal(rest.trim_start().strip_prefix('\'')?)?;
    let (relation, column) = match kind {
        "table" | "view" => (name, None),
        "column" => {
            let (relation, column) = name.rsplit_once('.')?;
            (relation.to_owned(), Some(column.to_owned()))
        }
        _ => return None,
    };
    Some(Comment { relation, column, text })
}

/// The text of a literal whose opening quote was read.
fn literal(rest: &str) -> Option<String> {
    let mut text = String::new();
    let mut parts = rest.split('\'');
    text.push_str(parts.next()?);
    loop {
        // Between two quotes that stand for one there is nothing.
        match (parts.next()?, parts.clone().next()) {
            ("", Some(more)) => {
                text.push('\'');
                text.push_str(more);
                parts.next();
            }
            _ => return Some(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_found_with_their_quotes() {
        let sql = "comment on view mart.a is\n    'One row. Key: x';\ncomment on column mart.a.x is 'Lexer''s; it''s';\n\
            comment on schema mart is 'no';\ncomment on table khoros.\"user\" is '';\n\
            comment on column khoros.\"user\".\"id\" is 'an id''';\n  comment on view b.c is 'inside a block';\n";
        let found = comments(sql);
        let shown: Vec<_> = found.iter().map(|c| (&*c.relation, c.column.as_deref(), &*c.text)).collect();
        assert_eq!(
            shown,
            [
                ("mart.a", None, "One row. Key: x"),
                ("mart.a", Some("x"), "Lexer's; it's"),
                ("khoros.user", None, ""),
                ("khoros.user", Some("id"), "an id'"),
            ]
        );
    }
}
