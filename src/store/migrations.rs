//! The migrations that are compiled in, and the schemas and comments in their text.

use std::borrow::Cow;
use std::sync::LazyLock;

use sqlx::migrate::Migrator;

use super::comments::{Comment, comments};

/// The list of applied migrations, named in full: an unqualified name would first be looked up in a schema that is
/// named like the user.
pub(super) const LIST: &str = "tidegate._sqlx_migrations";

pub(super) static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!("./migrations");
    migrator.dangerous_set_table_name(LIST);
    migrator
});

/// The latest migration of this version.
pub fn newest() -> Option<i64> {
    MIGRATOR.iter().map(|migration| migration.version).max()
}

/// A schema that a migration creates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    pub name: String,
    /// Its comment. Empty if the migration has none.
    pub meaning: String,
}

/// The schemas that the migrations create, that of the control tables first.
pub fn schemas() -> Vec<Schema> {
    let texts: Vec<&str> = MIGRATOR.iter().map(|migration| migration.sql.as_str()).collect();
    let lines = || texts.iter().flat_map(|text| text.lines());
    lines()
        .filter_map(|line| line.strip_prefix("create schema ")?.strip_suffix(';'))
        .map(|name| {
            let comment = format!("comment on schema {name} is '");
            // A later migration may replace it.
            let meaning = lines().filter_map(|line| line.strip_prefix(&comment)?.strip_suffix("';")).next_back();
            Schema { name: name.to_owned(), meaning: meaning.unwrap_or_default().replace("''", "'") }
        })
        .collect()
}

/// The comments of the views that the migrations create in a schema, in the order of the first ones. A later migration
/// replaces the text of an earlier one.
pub fn view_comments(schema: &str) -> Vec<Comment> {
    let texts: Vec<&str> = MIGRATOR.iter().map(|migration| migration.sql.as_str()).collect();
    let names = texts.iter().flat_map(|text| text.lines()).filter_map(|line| {
        let (name, _) = line.strip_prefix("create view ")?.split_once(" as")?;
        name.starts_with(&format!("{schema}.")).then_some(name)
    });
    let views: Vec<&str> = names.collect();
    let mut found: Vec<Comment> = Vec::new();
    for comment in texts.iter().flat_map(|text| comments(text)).filter(|comment| views.contains(&&*comment.relation)) {
        let is_same = |known: &&mut Comment| (&known.relation, &known.column) == (&comment.relation, &comment.column);
        match found.iter_mut().find(is_same) {
            Some(known) => known.text = comment.text,
            None => found.push(comment),
        }
    }
    found
}

/// The comment of a schema. A default text if no migration has one.
pub fn schema_meaning(name: &str) -> Cow<'static, str> {
    let known = schemas().into_iter().find(|schema| schema.name == name && !schema.meaning.is_empty());
    known.map_or(Cow::Borrowed("Reports of a vendor"), |schema| Cow::Owned(schema.meaning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_has_a_comment() {
        let schemas = schemas();
        assert!(schemas.len() >= 5 && schemas[0].name == "tidegate", "{schemas:?}");
        assert!(schemas.iter().all(|schema| !schema.meaning.is_empty()), "{schemas:?}");
    }
}
