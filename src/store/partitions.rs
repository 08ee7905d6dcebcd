//! The partitions of a warehouse table that is divided by `_window_start`.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// One partition: the rows whose `_window_start` is in `[from, to)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    pub schema: String,
    pub name: String,
    /// `None`: from the beginning of time.
    pub from: Option<DateTime<Utc>>,
    /// `None`: without end. So is a default partition.
    pub to: Option<DateTime<Utc>>,
    /// Storage parameters, each as `name=value`.
    pub options: Vec<String>,
}

impl Partition {
    /// Whether it is the same partition with the same bounds. Its storage parameters may have changed.
    pub fn is(&self, other: &Self) -> bool {
        (&self.schema, &self.name, self.from, self.to) == (&other.schema, &other.name, other.from, other.to)
    }

    /// Whether rows with this `_window_start` belong here.
    pub fn has(&self, window_start: DateTime<Utc>) -> bool {
        self.from.is_none_or(|from| from <= window_start) && self.to.is_none_or(|to| window_start < to)
    }
}

/// The partitions of a table, in their order. `None` for a table that is not divided by ranges of `_window_start`
/// alone.
pub async fn of_table(
    conn: &mut PgConnection,
    schema: &str,
    name: &str,
) -> Result<Option<Vec<Partition>>, sqlx::Error> {
    // The catalogue itself: the session's cache may be older than a lock that it waited for.
    let found = sqlx::query!(
        r#"
        select
            part_namespace.nspname::text as "schema?",
            part.relname::text as "name?",
            nullif(substring(bound.text from $$FROM \('([^']+)'\)$$)::timestamptz, '-infinity') as from_at,
            nullif(substring(bound.text from $$TO \('([^']+)'\)$$)::timestamptz, 'infinity') as to_at,
            part.reloptions as options
        from pg_catalog.pg_class as parent
        inner join pg_catalog.pg_namespace as namespace on namespace.oid = parent.relnamespace
        inner join pg_catalog.pg_partitioned_table as divided
            on divided.partrelid = parent.oid and divided.partstrat = 'r' and divided.partnatts = 1
        inner join pg_catalog.pg_attribute as attribute
            on
                attribute.attrelid = parent.oid
                and attribute.attnum = divided.partattrs[0]
                and attribute.attname = '_window_start'
        left join pg_catalog.pg_inherits as inherited on inherited.inhparent = parent.oid
        left join pg_catalog.pg_class as part on part.oid = inherited.inhrelid
        left join pg_catalog.pg_namespace as part_namespace on part_namespace.oid = part.relnamespace
        left join lateral pg_catalog.pg_get_expr(part.relpartbound, part.oid) as bound (text) on true
        where namespace.nspname = $1 and parent.relname = $2
        order by from_at nulls first
        "#,
        schema,
        name,
    )
    .fetch_all(conn)
    .await?;
    if found.is_empty() {
        return Ok(None);
    }
    let partition = |row: (Option<String>, Option<String>, Option<_>, Option<_>, Option<Vec<String>>)| {
        let (schema, name, from, to, options) = row;
        Some(Partition { schema: schema?, name: name?, from, to, options: options.unwrap_or_default() })
    };
    let rows = found.into_iter().map(|row| (row.schema, row.name, row.from_at, row.to_at, row.options));
    Ok(Some(rows.filter_map(partition).collect()))
}
