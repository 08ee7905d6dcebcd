//! Lifts the blocks that the refusals of a vendor left on a ledger.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use super::changed::wake;
use super::key::LedgerKey;
use crate::store::session::Deadline as _;

/// A limit whose block was lifted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifted {
    pub limit: String,
    /// Until when it was blocked.
    pub blocked_until: DateTime<Utc>,
}

/// Those of these limits that are blocked now.
pub async fn blocked(
    executor: impl PgExecutor<'_>,
    key: &LedgerKey,
    limits: &[String],
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "
        select l.name
        from tidegate.quota_ledger as ledger
        join tidegate.quota_limit as l on l.ledger_id = ledger.id
        where ledger.key = $1 and l.name = any($2) and l.blocked_until > clock_timestamp()
        order by l.id
        ",
        key.as_str(),
        limits,
    )
    .fetch_all(executor)
    .in_time()
    .await
}

/// Lifts the blocks of these limits of the ledger of `key`. Returns those that were in force, and how many tasks that
/// waited for one are due now. What was used stays counted. The next refusal is waited out as if it were the first.
pub async fn unblock(
    conn: &mut PgConnection,
    key: &LedgerKey,
    limits: &[String],
) -> Result<(Vec<Lifted>, i64), sqlx::Error> {
    let lifted = sqlx::query_as!(
        Lifted,
        r#"
        with blocked as (
            select l.id, l.name, l.blocked_until
            from tidegate.quota_ledger as ledger
            join tidegate.quota_limit as l on l.ledger_id = ledger.id
            where ledger.key = $1 and l.name = any($2) and l.blocked_until > clock_timestamp()
            order by l.id
            for update of l
        ),

        lifted as (
            update tidegate.quota_limit as l
            set blocked_until = null, blocked_for = null, changed_at = clock_timestamp()
            from blocked
            where l.id = blocked.id
            returning l.id
        )

        select
            blocked.name as "limit!",
            blocked.blocked_until as "blocked_until!"
        from blocked
        join lifted on lifted.id = blocked.id
        order by blocked.id
        "#,
        key.as_str(),
        limits,
    )
    .fetch_all(&mut *conn)
    .in_time()
    .await?;
    let due = if lifted.is_empty() { 0 } else { wake(conn).await? };
    Ok((lifted, due))
}
