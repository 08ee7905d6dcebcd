//! A table's structure according to Postgres's catalogue.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::catalogue::ColumnType;
use crate::rows::encode::Bound;

/// A relation that has the name of a table.
#[derive(Debug, Clone)]
pub(super) struct Relation {
    pub(super) oid: i64,
    /// `pg_class.relkind`.
    pub(super) kind: String,
    /// Differs after every change of the columns, and from that of an earlier table of the same name.
    pub(super) version: i64,
    /// How many columns it has.
    pub(super) columns: i64,
    /// Whether a row may be replaced by deleting it and inserting it again: neither triggers (also those of foreign
    /// keys) nor rules would notice the difference.
    pub(super) is_plain: bool,
    /// Whether it has check constraints.
    pub(super) has_checks: bool,
    /// The time of the transaction.
    pub(super) now: DateTime<Utc>,
}

impl Relation {
    pub(super) fn is_table(&self) -> bool {
        matches!(&*self.kind, "r" | "p")
    }

    pub(super) fn is_partitioned(&self) -> bool {
        self.kind == "p"
    }

    /// Its kind, for an error.
    pub(super) fn what(&self) -> &'static str {
        match &*self.kind {
            "v" => "a view",
            "m" => "a materialized view",
            "f" => "a foreign table",
            "S" => "a sequence",
            "i" | "I" => "an index",
            "c" => "a composite type",
            _ => "another relation",
        }
    }
}

/// A column of a table.
#[derive(Debug, Clone)]
pub(super) struct Attribute {
    /// As `format_type` prints it.
    pub(super) sql_type: String,
    /// The type that its values are encoded in. `None` if Tidegate cannot write to it.
    pub(super) usable: Option<(ColumnType, Bound)>,
    /// `pg_attribute.attnum`: a later column of the same name has another number.
    pub(super) number: i16,
}

/// Reads the catalogue itself: the session's cache may be older than a lock that it waited for.
pub(super) async fn relation(
    connection: &mut PgConnection,
    schema: &str,
    name: &str,
) -> Result<Option<Relation>, sqlx::Error> {
    sqlx::query_as!(
        Relation,
        r#"
        select
            pg_class.oid::bigint as "oid!",
            relkind::text as "kind!",
            hashtextextended(
                coalesce(
                    string_agg(
                        concat_ws(' ', attnum, attname, atttypid, atttypmod, attnotnull, attgenerated, attidentity),
                        e'\n' order by attnum
                    ),
                    ''
                ),
                pg_class.oid::bigint
            ) as "version!",
            count(attnum) as "columns!",
            relkind in ('r', 'p') and not relhastriggers and not relhasrules and not relrowsecurity as "is_plain!",
            relchecks > 0 as "has_checks!",
            now() as "now!"
        from pg_catalog.pg_class
        inner join pg_catalog.pg_namespace on pg_namespace.oid = pg_class.relnamespace
        left join pg_catalog.pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped
        where nspname = $1 and relname = $2
        group by pg_class.oid, relkind, relhastriggers, relhasrules, relrowsecurity, relchecks
        "#,
        schema,
        name,
    )
    .fetch_optional(connection)
    .await
}

/// The columns of a relation by name.
pub(super) async fn attributes(
    connection: &mut PgConnection,
    oid: i64,
) -> Result<HashMap<String, Attribute>, sqlx::Error> {
    let found = sqlx::query!(
        r#"
        select
            attname::text as "name!",
            format_type(atttypid, atttypmod) as "sql_type!",
            attnum as "number!",
            (attgenerated <> '' or attidentity = 'a') as "computed!"
        from pg_catalog.pg_attribute
        where attrelid = $1::bigint::oid and attnum > 0 and not attisdropped
        "#,
        oid,
    )
    .fetch_all(connection)
    .await?;
    let attribute = |sql_type: String, computed: bool, number| {
        let usable = if computed { None } else { usable(&sql_type) };
        Attribute { sql_type, usable, number }
    };
    Ok(found.into_iter().map(|row| (row.name, attribute(row.sql_type, row.computed, row.number))).collect())
}

/// Whether a unique index has exactly these columns, so that `on conflict` finds it.
pub(super) async fn has_key(connection: &mut PgConnection, oid: i64, key: &[String]) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select exists (
            select
            from pg_catalog.pg_index
            where
                indrelid = $1::bigint::oid
                and indisunique
                and indimmediate
                and indpred is null
                and indexprs is null
                and (
                    select array_agg(attname::text order by attname::text collate "C")
                    from pg_catalog.pg_attribute
                    where attrelid = indrelid and attnum = any(indkey[0:indnkeyatts - 1])
                ) = (select array_agg(name order by name collate "C") from unnest($2::text[]) as key (name))
        ) as "exists!"
        "#,
        oid,
        key,
    )
    .fetch_one(connection)
    .await
}

/// How values are encoded for a column of this type. `None` for a type that Tidegate does not write.
fn usable(sql_type: &str) -> Option<(ColumnType, Bound)> {
    if let Some(kind) = ColumnType::from_sql(sql_type) {
        return Some((kind, Bound::None));
    }
    let length = |prefix: &str| sql_type.strip_prefix(prefix)?.strip_prefix('(')?.strip_suffix(')')?.parse().ok();
    match sql_type {
        "integer" => Some((ColumnType::Bigint, Bound::Int4)),
        "smallint" => Some((ColumnType::Bigint, Bound::Int2)),
        "character varying" => Some((ColumnType::Text, Bound::None)),
        _ => {
            let chars = length("character varying").map(Bound::Chars);
            let bound = chars.or_else(|| length("character").map(Bound::Padded))?;
            Some((ColumnType::Text, bound))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_usable_if_it_is_a_column_type_or_holds_some_values_of_one() {
        for (sql_type, expected) in [
            ("bigint", Some((ColumnType::Bigint, Bound::None))),
            ("timestamp with time zone", Some((ColumnType::Timestamptz, Bound::None))),
            ("integer", Some((ColumnType::Bigint, Bound::Int4))),
            ("smallint", Some((ColumnType::Bigint, Bound::Int2))),
            ("character varying", Some((ColumnType::Text, Bound::None))),
            ("character varying(10)", Some((ColumnType::Text, Bound::Chars(10)))),
            ("character(3)", Some((ColumnType::Text, Bound::Padded(3)))),
            ("date", None),
            ("numeric(10,2)", None),
            ("timestamp(3) with time zone", None),
            ("text[]", None),
            ("character varying(10)[]", None),
            ("public.text", None),
            ("uuid", None),
        ] {
            assert_eq!(usable(sql_type), expected, "{sql_type}");
        }
    }
}
