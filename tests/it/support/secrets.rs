//! Searches for secrets where none belongs.

use std::fmt::Write as _;

use super::World;

/// Every text in the tables of a schema. Rejected records are left out, since they are kept on purpose.
pub async fn texts(world: &World, schema: &str) -> String {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "select table_name::text, column_name::text from information_schema.columns
        where table_schema = $1 and data_type in ('text', 'jsonb', 'ARRAY', 'character varying')
        and (table_name, column_name) <> ('rejected_record', 'record')",
    )
    .bind(schema)
    .fetch_all(&world.database.pool())
    .await
    .unwrap();
    assert!(columns.len() > 40, "{columns:?}");
    let mut all = String::new();
    for (table, column) in columns {
        let query =
            format!("select coalesce(string_agg(distinct \"{column}\"::text, e'\\n'), '') from {schema}.\"{table}\"");
        let text: String = world.scalar(&query).await;
        let _ = writeln!(all, "{table}.{column}: {text}");
    }
    all
}

/// Asserts that a text holds none of these secrets.
#[track_caller]
pub fn assert_silent(place: &str, text: &str, secrets: &[impl AsRef<str>]) {
    for secret in secrets {
        let secret = secret.as_ref();
        let line = text.lines().find(|line| line.contains(secret));
        let shown = line.map(|line| line.chars().take(600).collect::<String>());
        assert_eq!(shown, None, "{place} holds {secret}");
    }
}
