//! The index of a table by business time.
//!
//! It is a BRIN index with several ranges of time per range of blocks. One range of time is not enough: several
//! connections are loaded at the same time, each at another day of its history, and their rows get blocks in turn. The
//! measurements are in docs/performance.md#large-tables.

use sqlx::PgConnection;
use xxhash_rust::xxh3::xxh3_64;

use super::LoadError;
use super::shape;
use super::table::run_ddl;
use crate::store::ident::{quote, table as qualified};

/// Postgres cuts longer names.
const NAME_BYTES_MAX: usize = 63;

/// Creates the index of a table that has no rows, in the transaction that holds the lock on its structure.
pub(super) async fn create(
    connection: &mut PgConnection,
    (schema, table): (&str, &str),
    column: &str,
) -> Result<(), LoadError> {
    let name = free_name(connection, (schema, table), column).await?;
    Ok(run_ddl(connection, statement((schema, table), column, &name, "")).await?)
}

/// The statement that creates the index. `how`: empty, or `concurrently `.
pub(super) fn statement((schema, table): (&str, &str), column: &str, name: &str, how: &str) -> String {
    format!(
        "create index {how}{name} on {table} using brin ({column} timestamptz_minmax_multi_ops (values_per_range = 8)) \
         with (pages_per_range = 32, autosummarize = on)",
        name = quote(name),
        table = qualified(schema, table),
        column = quote(column),
    )
}

/// A name for the index that no other relation of the schema has.
pub(super) async fn free_name(
    connection: &mut PgConnection,
    (schema, table): (&str, &str),
    column: &str,
) -> Result<String, sqlx::Error> {
    let [plain, hashed] = names(table, column);
    let is_free = shape::relation(connection, schema, &plain).await?.is_none();
    Ok(if is_free { plain } else { hashed })
}

/// The preferred name, and another one for a schema that has a relation of that name.
pub(super) fn names(table: &str, column: &str) -> [String; 2] {
    let hash = format!("_{:016x}_time", xxh3_64(format!("{table}\n{column}").as_bytes()));
    let begin = &table[..table.floor_char_boundary(NAME_BYTES_MAX - hash.len())];
    let hashed = format!("{begin}{hash}");
    let plain = format!("{table}_{column}_time");
    if plain.len() <= NAME_BYTES_MAX { [plain, hashed] } else { [hashed.clone(), hashed] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_differ_between_tables_and_columns_with_the_same_beginning() {
        assert_eq!(names("navigation_marks", "timestamp")[0], "navigation_marks_timestamp_time");
        let long = "ñ".repeat(31);
        let all = [names(&long, "date"), names(&long, "timestamp"), names(&format!("{long}x"), "date")];
        assert!(all.iter().flatten().all(|name| name.len() <= NAME_BYTES_MAX && name.ends_with("_time")), "{all:?}");
        assert!(all[0][0] != all[1][0] && all[0][0] != all[2][0], "{all:?}");
        let [plain, hashed] = names("calls", "at");
        assert!(plain == "calls_at_time" && hashed.starts_with("calls_") && hashed.len() == 27, "{hashed}");
    }

    #[test]
    fn p7_hostile_names_stay_names() {
        let statement = statement(("s", r#"a"; drop"#), r#"b"c"#, r#"x"y"#, "concurrently ");
        assert!(
            statement.starts_with(r#"create index concurrently "x""y" on "s"."a""; drop" using brin ("b""c" time"#),
            "{statement}"
        );
    }
}
