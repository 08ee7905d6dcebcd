//! Whether the tables exist that the daemon cannot work without, and may be used by its role.

use sqlx::PgConnection;

use super::session::Deadline as _;

/// The tables and the view that runs, quotas and pages need. Those of notifications, the mart, comparisons and pushes
/// are left out: without them the others still work.
const NEEDED: [&str; 22] = [
    "connection",
    "event",
    "fingerprint",
    "instance",
    "job",
    "lock",
    "pause",
    "problem",
    "quota_ledger",
    "quota_limit",
    "quota_statement",
    "quota_use",
    "rejected_record",
    "run",
    "schema_change",
    "setting",
    "slice",
    "stream",
    "stream_state",
    "table_column",
    "table_key",
    "task",
];

/// What the session finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usable {
    /// Whether the server can be written to.
    pub is_writable: bool,
    /// Those of the tables that do not exist.
    pub missing: Vec<String>,
    /// Those that the role may not read and write.
    pub refused: Vec<String>,
}

/// Reads only the catalogue, so it waits for no lock of a table.
pub async fn usable(conn: &mut PgConnection) -> Result<Usable, sqlx::Error> {
    let needed = NEEDED.map(str::to_owned);
    sqlx::query_as!(
        Usable,
        r#"
        select
            current_setting('transaction_read_only') = 'off' and not pg_is_in_recovery() as "is_writable!",
            coalesce(array_agg(needed.name order by needed.name) filter (where class.oid is null), '{}') as "missing!",
            coalesce(
                array_agg(needed.name order by needed.name) filter (
                    where
                    not (
                        has_schema_privilege(class.relnamespace, 'usage')
                        and has_table_privilege(class.oid, 'select')
                        and (class.relkind = 'v' or has_table_privilege(class.oid, 'insert'))
                        and (class.relkind = 'v' or has_table_privilege(class.oid, 'update'))
                    )
                ),
                '{}'
            ) as "refused!"
        from unnest($1::text[]) as needed (name)
        left join pg_class as class
            on needed.name = class.relname and class.relnamespace = to_regnamespace('tidegate')
        "#,
        &needed[..],
    )
    .fetch_one(conn)
    .in_time()
    .await
}
