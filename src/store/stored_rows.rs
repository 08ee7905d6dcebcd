//! How old the stored rows of the mart's relations are (`mart.materialize`).

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::PgConnection;

use super::session::Deadline as _;

/// A relation of the mart whose rows are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StoredRows {
    /// Name of the view in the schema `mart`.
    pub relation: String,
    /// The view shows what the tables had at this time.
    pub refreshed_at: DateTime<Utc>,
    /// Seconds since then.
    pub age_seconds: i64,
}

/// The relations that read stored rows, like `mart.stored_relations`, which need not exist. None if every view computes
/// its rows.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<StoredRows>, sqlx::Error> {
    sqlx::query_as!(
        StoredRows,
        r#"
        select
            stored.relation,
            stored.refreshed_at,
            floor(extract(epoch from statement_timestamp() - stored.refreshed_at))::bigint as "age_seconds!"
        from tidegate.mart_table as stored
        where exists (
            select
            from pg_catalog.pg_depend as depend
            inner join pg_catalog.pg_rewrite as rule on rule.oid = depend.objid
            inner join pg_catalog.pg_class as view on view.oid = rule.ev_class
            inner join pg_catalog.pg_namespace as namespace on namespace.oid = view.relnamespace
            where
                depend.refclassid = 'pg_catalog.pg_class'::regclass
                and depend.refobjid = to_regclass(format('tidegate.%I', stored.name))
                and depend.classid = 'pg_catalog.pg_rewrite'::regclass
                and namespace.nspname = 'mart'
        )
        order by stored.relation
        "#,
    )
    .fetch_all(conn)
    .in_time()
    .await
}
