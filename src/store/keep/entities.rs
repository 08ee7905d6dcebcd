//! Old rows of tables without windows, by their own time.

use sqlx::{AssertSqlSafe, PgConnection};

use super::super::ident::{quote, table as qualified};
use super::Expired;
use super::windows::Step;

/// A child table whose rows go with those of their parents.
#[derive(Debug, Clone)]
pub struct ChildTable {
    pub name: String,
    /// The parent's column and the child's, for each column of the parent's key.
    pub key: Vec<(String, String)>,
}

impl ChildTable {
    /// Deletes the rows whose parents are in `gone`.
    fn delete_orphans(&self, schema: &str) -> String {
        let same = |(own, theirs): &(String, String)| format!("child.{} = gone.{}", quote(theirs), quote(own));
        let same: Vec<String> =
            ["child._connection = gone._connection".to_owned()].into_iter().chain(self.key.iter().map(same)).collect();
        format!(
            "    delete from {} as child
    using gone
    where
        {}",
            qualified(schema, &self.name),
            same.join("\n        and ")
        )
    }
}

/// Deletes up to `limit` rows whose time is in `column` and too old, with their rows in child tables. Rows without a
/// time stay.
pub async fn rows(
    conn: &mut PgConnection,
    expired: Expired<'_>,
    column: &str,
    children: &[ChildTable],
    limit: i64,
) -> Result<Step, sqlx::Error> {
    let table = qualified(expired.schema, expired.table);
    let time = quote(column);
    let mut keys: Vec<&str> = children.iter().flat_map(|child| &child.key).map(|(own, _)| own.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    let keys: Vec<String> = keys.iter().map(|name| format!(", {}", quote(name))).collect();
    let orphans: Vec<String> = children
        .iter()
        .enumerate()
        .map(|(number, child)| format!(",\n\norphans_{number} as (\n{}\n)", child.delete_orphans(expired.schema)))
        .collect();
    let (keys, orphans) = (keys.concat(), orphans.concat());
    let statement = format!(
        "with gone as (
    delete from {table}
    where ctid = any(array(
        select ctid
        from {table}
        where {time} < $1
        limit $2
        for update skip locked
    ))
    returning _connection{keys}
){orphans}

select count(*) from gone"
    );
    let gone: i64 = sqlx::query_scalar(AssertSqlSafe(statement))
        .persistent(false)
        .bind(expired.kept_from)
        .bind(limit)
        .fetch_one(conn)
        .await?;
    Ok(Step { rows: u64::try_from(gone).unwrap_or(0), more: gone >= limit })
}
