//! The limits that the running processes state, and the quota that follows from them.
//!
//! Processes, or connections of one process, may state different quotas for one credential. The smaller amount within
//! the longer period is then in force (`tidegate.quota_agreed`), which exceeds neither of them. A statement counts as
//! long as its process is running according to `tidegate.instance`.

use std::time::Duration;

use sqlx::postgres::types::PgInterval;
use sqlx::{PgConnection, PgPool};

use super::changed::wake;
use super::ledger::{LimitRow, count, duration, interval, units};
use super::limit::Limit;
use super::window::Spans;
use crate::store::instance;
use crate::store::session::Deadline as _;

/// A quota as one process states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stated {
    /// Calls or bytes.
    pub amount: u64,
    pub per: Duration,
}

/// Two statements of one limit that differ.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dispute {
    pub limit: String,
    /// The connection of this process that states `here`.
    pub connection: String,
    pub here: Stated,
    /// The process that states `there`. It is this process if two of its connections differ.
    pub other_owner: String,
    pub other_connection: String,
    pub there: Stated,
    pub in_force: Stated,
}

/// The id of the ledger of `key` and the rows of `limits`, if the process `owner` states exactly these for the
/// connection and they are in force: then nothing needs to be written. A process states the limits of all its
/// connections when it starts, so the first run of each only reads.
pub(super) async fn stated(
    pool: &PgPool,
    owner: &str,
    connection: &str,
    key: &str,
    limits: &[Limit],
) -> Result<Option<(i64, Vec<LimitRow>)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select
            l.ledger_id,
            l.id,
            l.name,
            l.unit,
            stated.amount,
            stated.per,
            stated.reach,
            stated.width,
            ledger.key = $3
            and $2 = any(ledger.connections)
            and (l.amount, l.per, l.reach, l.width)
            is not distinct from (stated.amount, stated.per, stated.reach, stated.width) as "is_in_force!"
        from tidegate.quota_statement as stated
        inner join tidegate.quota_limit as l on l.id = stated.limit_id
        inner join tidegate.quota_ledger as ledger on ledger.id = l.ledger_id
        where
            stated.owner = $1
            and stated.connection = $2
            -- Another process might take a silent one for ended.
            and exists (
                select from tidegate.instance
                where instance.owner = $1 and instance.seen_at > clock_timestamp() - interval '30 seconds'
            )
        "#,
        owner,
        connection,
        key,
    )
    .fetch_all(pool)
    .in_time()
    .await?;
    if rows.len() != limits.len() || !rows.iter().all(|row| row.is_in_force) {
        return Ok(None);
    }
    let Some(ledger) = rows.first().map(|row| row.ledger_id) else { return Ok(None) };
    let row_of = |limit: &Limit| {
        let spans = Spans::of(limit);
        let wanted = (units(limit.amount), interval(limit.per), interval(spans.reach), interval(spans.width));
        let row = rows.iter().find(|row| row.name == limit.name && row.unit == limit.unit.name())?;
        let found = (row.amount, row.per, row.reach, row.width);
        (found == wanted).then(|| LimitRow { id: row.id, limit: limit.clone() })
    };
    Ok(limits.iter().map(row_of).collect::<Option<Vec<_>>>().map(|rows| (ledger, rows)))
}

/// Replaces what the process `owner` states for a connection, and puts the resulting limits into force. Returns whether
/// a limit has changed, or the connection has left one: the caller then wakes tasks. It holds the ledger's lock.
pub(super) async fn state(
    conn: &mut PgConnection,
    owner: &str,
    connection: &str,
    ledger: i64,
    limits: &[LimitRow],
) -> Result<bool, sqlx::Error> {
    instance::touch(&mut *conn, owner).await?;
    let ids: Vec<i64> = limits.iter().map(|row| row.id).collect();
    // Including limits of the ledger that the connection had before its credential changed.
    let left = sqlx::query!(
        "
        with withdrawn as (
            delete from tidegate.quota_statement
            where owner = $1 and connection = $2 and limit_id <> all ($3)
            returning limit_id
        )

        update tidegate.quota_limit
        set changed_at = clock_timestamp()
        where id in (select limit_id from withdrawn)
        ",
        owner,
        connection,
        &ids,
    )
    .execute(&mut *conn)
    .in_time()
    .await?;
    let spans: Vec<Spans> = limits.iter().map(|row| Spans::of(&row.limit)).collect();
    let amounts: Vec<i64> = limits.iter().map(|row| units(row.limit.amount)).collect();
    let periods: Vec<_> = limits.iter().map(|row| interval(row.limit.per)).collect();
    let reaches: Vec<_> = spans.iter().map(|spans| interval(spans.reach)).collect();
    let widths: Vec<_> = spans.iter().map(|spans| interval(spans.width)).collect();
    sqlx::query!(
        "
        insert into tidegate.quota_statement (owner, connection, limit_id, amount, per, reach, width)
        select $1, $2, stated.*
        from unnest($3::bigint[], $4::bigint[], $5::interval[], $6::interval[], $7::interval[]) as stated
        on conflict on constraint quota_statement_pkey do update
        set amount = excluded.amount, per = excluded.per, reach = excluded.reach, width = excluded.width
        ",
        owner,
        connection,
        &ids,
        &amounts,
        &periods,
        &reaches,
        &widths,
    )
    .execute(&mut *conn)
    .in_time()
    .await?;
    Ok(agree(conn, ledger).await? || left.rows_affected() > 0)
}

/// Puts into force what follows from the statements of all running processes. Returns whether a limit has changed. The
/// caller holds the ledger's lock, or an older result could replace a newer one.
async fn agree(conn: &mut PgConnection, ledger: i64) -> Result<bool, sqlx::Error> {
    let changed = sqlx::query!(
        "
        update tidegate.quota_limit as l
        set
            amount = agreed.amount,
            per = agreed.per,
            reach = agreed.reach,
            width = agreed.width,
            changed_at = clock_timestamp()
        from tidegate.quota_agreed as agreed
        where
            agreed.limit_id = l.id
            and l.ledger_id = $1
            and (l.amount, l.per, l.reach, l.width)
            is distinct from (agreed.amount, agreed.per, agreed.reach, agreed.width)
        ",
        ledger,
    )
    .execute(conn)
    .in_time()
    .await?;
    Ok(changed.rows_affected() > 0)
}

/// Updates the quotas in force after other processes have started or ended, and makes tasks due that wait for a limit
/// which has changed. Withdraws what the process `owner` states for connections that it no longer has. Returns what
/// others state differently from this process.
pub async fn renew(pool: &PgPool, owner: &str, connections: &[String]) -> Result<Vec<Dispute>, sqlx::Error> {
    sqlx::query!(
        "delete from tidegate.quota_statement where owner = $1 and connection <> all ($2)",
        owner,
        connections,
    )
    .execute(pool)
    .in_time()
    .await?;
    let changed = sqlx::query_scalar!(
        "
        select distinct l.ledger_id
        from tidegate.quota_limit as l
        inner join tidegate.quota_agreed as agreed on agreed.limit_id = l.id
        where
            (l.amount, l.per, l.reach, l.width)
            is distinct from (agreed.amount, agreed.per, agreed.reach, agreed.width)
        ",
    );
    for ledger in changed.fetch_all(pool).in_time().await? {
        let mut transaction = pool.begin().in_time().await?;
        sqlx::query!("select id from tidegate.quota_ledger where id = $1 for no key update", ledger)
            .fetch_optional(&mut *transaction)
            .in_time()
            .await?;
        agree(&mut transaction, ledger).await?;
        transaction.commit().in_time().await?;
    }
    wake(pool).await?;
    disputes(pool, owner).await
}

async fn disputes(pool: &PgPool, owner: &str) -> Result<Vec<Dispute>, sqlx::Error> {
    let rows = sqlx::query!(
        "
        select
            l.name,
            l.amount,
            l.per,
            here.connection,
            here.amount as here_amount,
            here.per as here_per,
            there.owner as other_owner,
            there.connection as other_connection,
            there.amount as there_amount,
            there.per as there_per
        from tidegate.quota_statement as here
        inner join tidegate.quota_limit as l on l.id = here.limit_id
        inner join tidegate.quota_statement as there on there.limit_id = here.limit_id
        inner join tidegate.instance as alive on alive.owner = there.owner
        where
            here.owner = $1
            and (here.amount, here.per) <> (there.amount, there.per)
            -- Each pair of connections of this process once.
            and (there.owner <> here.owner or there.connection > here.connection)
            and alive.seen_at > clock_timestamp() - interval '1 minute'
        ",
        owner,
    )
    .fetch_all(pool)
    .in_time()
    .await?;
    let stated = |amount: i64, per: PgInterval| Stated { amount: count(amount), per: duration(&per) };
    let disputes = rows.into_iter().map(|row| Dispute {
        limit: row.name,
        connection: row.connection,
        here: stated(row.here_amount, row.here_per),
        other_owner: row.other_owner,
        other_connection: row.other_connection,
        there: stated(row.there_amount, row.there_per),
        in_force: stated(row.amount, row.per),
    });
    Ok(disputes.collect())
}
