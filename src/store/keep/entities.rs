//! Old rows of tables without windows, by their own time.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::super::ident::{quote, table as qualified};
use super::super::session::Deadline as _;
use super::{Expired, LIMITS, STEP_MAX, Step};

/// A child table whose rows go with those of their parents.
#[derive(Debug, Clone)]
pub struct ChildTable {
    pub name: String,
    /// The parent's column and the child's, for each column of the parent's key.
    pub key: Vec<(String, String)>,
}

impl ChildTable {
    /// Deletes the rows whose parents are in `gone`. `of_one`: a condition on the child table.
    fn delete_orphans(&self, schema: &str, of_one: &str) -> String {
        let same = |(own, theirs): &(String, String)| format!("child.{} = gone.{}", quote(theirs), quote(own));
        let same: Vec<String> =
            ["child._connection = gone._connection".to_owned()].into_iter().chain(self.key.iter().map(same)).collect();
        format!(
            "    delete from {} as child
    using gone
    where
        {}{of_one}",
            qualified(schema, &self.name),
            same.join("\n        and ")
        )
    }
}

/// Which rows of a table of entities are deleted by their own time.
#[derive(Debug, Clone)]
pub struct Entities {
    /// The column with the time. Rows without a time stay.
    pub column: String,
    pub children: Vec<ChildTable>,
    /// Only those of this connection. On Citus each connection is named, because its rows are on one node, and only
    /// there a `ctid` is unique.
    pub connection: Option<String>,
}

/// Connections of which a slice is held in the table. What a held slice reported cannot be told from the rows, so all
/// rows of its connection stay until it is released and read again.
pub(super) async fn holding(conn: &mut PgConnection, expired: Expired<'_>) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "
        select distinct slice.connection
        from tidegate.slice
        inner join tidegate.stream
            on stream.connection = slice.connection and stream.stream = slice.stream
        where stream.table_schema = $1 and stream.table_name = $2 and slice.held_since is not null
        ",
        expired.schema,
        expired.table,
    )
    .fetch_all(conn)
    .in_time()
    .await
}

/// Deletes up to `limit` rows that are too old, with their rows in child tables.
pub async fn rows(
    conn: &mut PgConnection,
    expired: Expired<'_>,
    of: &Entities,
    limit: i64,
) -> Result<Step, sqlx::Error> {
    let mut transaction = conn.begin().in_time().await?;
    sqlx::raw_sql(LIMITS).execute(&mut *transaction).in_time().await?;
    let holding = holding(&mut transaction, expired).await?;
    let mut delete = sqlx::query_scalar(AssertSqlSafe(statement(expired, of)))
        .persistent(false)
        .bind(expired.kept_from)
        .bind(limit)
        .bind(holding);
    if let Some(connection) = &of.connection {
        delete = delete.bind(connection);
    }
    let gone: i64 = delete.fetch_one(&mut *transaction).within(STEP_MAX).await?;
    transaction.commit().in_time().await?;
    Ok(Step { gone: u64::try_from(gone).unwrap_or(0), more: gone >= limit })
}

/// `$1` from when rows are kept, `$2` how many are deleted, `$3` connections that are left out, `$4` the only
/// connection, if it is set.
fn statement(expired: Expired<'_>, of: &Entities) -> String {
    let table = qualified(expired.schema, expired.table);
    let time = quote(&of.column);
    let mut keys: Vec<&str> = of.children.iter().flat_map(|child| &child.key).map(|(own, _)| own.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    let keys: Vec<String> = keys.iter().map(|name| format!(", {}", quote(name))).collect();
    let of_one = |name: &str, indent: &str| match of.connection {
        Some(_) => format!("\n{indent}and {name}_connection = $4"),
        None => String::new(),
    };
    let orphans: Vec<String> = of
        .children
        .iter()
        .enumerate()
        .map(|(number, child)| {
            let delete = child.delete_orphans(expired.schema, &of_one("child.", "        "));
            format!(",\n\norphans_{number} as (\n{delete}\n)")
        })
        .collect();
    let (keys, orphans) = (keys.concat(), orphans.concat());
    format!(
        "with gone as (
    delete from {table}
    where ctid = any(array(
        select old.ctid
        from {table} as old
        where
            old.{time} < $1
            and old._connection <> all($3::text[]){}
        limit $2
        for update of old skip locked
    )){}
    returning _connection{keys}
){orphans}

select count(*) from gone",
        of_one("old.", "            "),
        of_one("", "    "),
    )
}
