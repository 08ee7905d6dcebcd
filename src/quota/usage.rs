//! What is used of every limit, read with one statement for all ledgers.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::ledger::{count, duration};
use super::limit::{Limit, Unit};
use crate::store::session::Deadline as _;

/// What is used of one limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    pub limit: String,
    pub amount: u64,
    pub unit: Unit,
    /// May exceed `amount` if a response was larger than estimated.
    pub used: u64,
    pub per: Duration,
    /// The end of a block after a refusal. `None` if it has passed.
    pub blocked_until: Option<DateTime<Utc>>,
    /// When one more call, or byte, fits. `None` if it does now.
    pub next_free: Option<DateTime<Utc>>,
}

impl Usage {
    /// A limit of which nothing is used.
    pub fn unused(limit: &Limit) -> Self {
        Self {
            limit: limit.name.clone(),
            amount: limit.amount,
            unit: limit.unit,
            used: 0,
            per: limit.per,
            blocked_until: None,
            next_free: None,
        }
    }

    /// The used part of the amount; 1 for a limit that allows nothing.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people and graphs")]
    pub fn ratio(&self) -> f64 {
        if self.amount == 0 { 1.0 } else { self.used as f64 / self.amount as f64 }
    }
}

/// The use of a limit, and whose it is.
#[derive(Debug, Clone)]
pub struct LedgerUse {
    pub ledger: i64,
    pub key: String,
    /// Every connection that ever used the credential.
    pub connections: Vec<String>,
    /// Whether a running process uses the credential.
    pub is_stated: bool,
    pub usage: Usage,
}

/// The use of the limits of all ledgers.
#[derive(Debug, Default)]
pub struct Uses(Vec<LedgerUse>);

impl Uses {
    /// Reads the limits in force and the uses that still count, of all ledgers; or only of those of these connections,
    /// with all that share a connection with one of them.
    #[expect(clippy::too_many_lines, reason = "one statement")]
    pub async fn read(conn: &mut PgConnection, connections: Option<&[String]>) -> Result<Self, sqlx::Error> {
        let all = sqlx::query!(
            r#"
            with ledger as materialized (
                select id, key, connections
                from tidegate.quota_ledger
                where
                    $1::text[] is null
                    or connections && array(
                        select unnest(near.connections)
                        from tidegate.quota_ledger as near
                        where near.connections && $1
                    )
            )

            select
                ledger.id as "ledger!",
                ledger.key as "key!",
                ledger.connections as "connections!",
                l.name as "limit!",
                l.unit as "unit!",
                l.amount as "amount!",
                l.per as "per!",
                case when l.blocked_until > statement_timestamp() then l.blocked_until end as blocked_until,
                spent.used as "used!",
                -- What is used counts until the reach after the end of its bucket; the oldest is freed first. Only of a
                -- limit that is used up.
                case
                    when spent.used >= l.amount
                        then (
                            select min(counted.ends_at + l.reach)
                            from (
                                select
                                    use.ends_at,
                                    coalesce(
                                        sum(use.used) over (
                                            order by use.ends_at desc rows between unbounded preceding and 1 preceding
                                        ), 0
                                    ) as left_then
                                from tidegate.quota_use as use
                                where use.limit_id = l.id and use.ends_at > reach.since
                            ) as counted
                            where counted.left_then < l.amount
                        )
                end as next_free,
                exists (select from tidegate.quota_statement as stated where stated.limit_id = l.id) as "is_stated!"
            from ledger
            inner join tidegate.quota_limit as l on l.ledger_id = ledger.id
            cross join lateral (select statement_timestamp() - l.reach as since) as reach
            -- All at once: the rows of a limit are far apart, since the limits are used in turn.
            left join (
                select limit_id, sum(used)::bigint as used, min(ends_at) as oldest, max(ends_at) as newest
                from tidegate.quota_use
                where
                    $1::text[] is null
                    or limit_id = any(
                        array(
                            select wanted.id
                            from ledger
                            inner join tidegate.quota_limit as wanted on wanted.ledger_id = ledger.id
                        )
                    )
                group by limit_id
            ) as stored on stored.limit_id = l.id
            -- What no longer counts is deleted with the next reservation, so there is little of it.
            cross join lateral (
                select
                    case
                        when stored.oldest > reach.since then stored.used
                        when stored.newest > reach.since
                            then stored.used - (
                                select sum(past.used)::bigint
                                from tidegate.quota_use as past
                                where past.limit_id = l.id and past.ends_at <= reach.since
                            )
                        else 0
                    end as used
            ) as spent
            order by ledger.id, l.id
            "#,
            connections,
        )
        .map(|row| LedgerUse {
            ledger: row.ledger,
            key: row.key,
            connections: row.connections,
            is_stated: row.is_stated,
            usage: Usage {
                limit: row.limit,
                amount: count(row.amount),
                unit: if row.unit == Unit::Bytes.name() { Unit::Bytes } else { Unit::Calls },
                used: count(row.used),
                per: duration(&row.per),
                blocked_until: row.blocked_until,
                // Nothing is sent while the limit is blocked.
                next_free: row.next_free.max(row.blocked_until),
            },
        })
        .fetch_all(conn)
        .in_time()
        .await?;
        Ok(Self(all))
    }

    /// By ledger, without the credentials that connections had before, unless no running process uses another one.
    pub fn in_use(self) -> Vec<LedgerUse> {
        let stated: BTreeSet<String> =
            self.0.iter().filter(|one| one.is_stated).flat_map(|one| one.connections.clone()).collect();
        let is_old = |one: &LedgerUse| !one.is_stated && one.connections.iter().all(|name| stated.contains(name));
        self.0.into_iter().filter(|one| !is_old(one)).collect()
    }

    /// By the key of the ledger and the name of the limit.
    pub fn by_key(&self) -> HashMap<(&str, &str), &Usage> {
        self.0.iter().map(|one| ((&*one.key, &*one.usage.limit), &one.usage)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(ledger: i64, connections: &[&str], is_stated: bool) -> LedgerUse {
        let usage = Usage {
            limit: "requests".to_owned(),
            amount: 1,
            unit: Unit::Calls,
            used: 0,
            per: Duration::from_mins(1),
            blocked_until: None,
            next_free: None,
        };
        let connections = connections.iter().map(|name| (*name).to_owned()).collect();
        LedgerUse { ledger, key: format!("key {ledger}"), connections, is_stated, usage }
    }

    #[test]
    fn credentials_that_connections_had_before_are_left_out_while_a_process_uses_others() {
        let kept = |all: Vec<LedgerUse>| Uses(all).in_use().into_iter().map(|one| one.ledger).collect::<Vec<_>>();
        let all = vec![ledger(1, &["a"], false), ledger(2, &["a", "b"], true), ledger(3, &["c"], false)];
        assert_eq!(kept(all), [2, 3]);
        assert_eq!(kept(vec![ledger(1, &["a", "c"], false), ledger(2, &["a"], true)]), [1, 2]);
    }
}
