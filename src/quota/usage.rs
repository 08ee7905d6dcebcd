//! What is used of every limit, read with one statement for all ledgers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use url::Url;

use super::key::{LedgerKey, LedgerKeys};
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
pub struct Uses {
    all: Vec<LedgerUse>,
    /// `None` without a ledger.
    keys: Option<LedgerKeys>,
}

impl Uses {
    /// Reads the limits in force and the uses that still count, of all ledgers; or only of those of these connections,
    /// with all that share a connection with one of them.
    #[expect(clippy::too_many_lines, reason = "one statement")]
    pub async fn read(conn: &mut PgConnection, connections: Option<&[String]>) -> Result<Self, sqlx::Error> {
        let found = sqlx::query!(
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
                exists (
                    select
                    from tidegate.quota_statement as stated
                    inner join tidegate.instance as alive on stated.owner = alive.owner
                    where stated.limit_id = l.id and alive.seen_at > clock_timestamp() - interval '1 minute'
                ) as "is_stated!",
                (select value from tidegate.setting where name = 'ledger_salt') as "salt!"
            from ledger
            inner join tidegate.quota_limit as l on l.ledger_id = ledger.id
            cross join lateral (select statement_timestamp() - l.reach as since) as reach
            left join tidegate.quota_spent as stored on stored.limit_id = l.id
            -- What no longer counts is deleted with the next reservation, so there is little of it.
            cross join lateral (
                select
                    case
                        when stored.first_ends_at > reach.since then stored.used
                        when stored.last_ends_at > reach.since
                            then stored.used - (
                                select sum(past.used)::bigint
                                from tidegate.quota_use as past
                                where past.limit_id = l.id and past.ends_at <= reach.since
                            )
                        else 0
                    end as used
                -- Computed once, although it is used twice.
                offset 0
            ) as spent
            order by ledger.id, l.id
            "#,
            connections,
        )
        .map(|row| {
            let one = LedgerUse {
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
            };
            (one, row.salt)
        })
        .fetch_all(conn)
        .in_time()
        .await?;
        let keys = found.first().map(|(_, salt)| LedgerKeys::new(salt.clone()));
        Ok(Self { all: found.into_iter().map(|(one, _)| one).collect(), keys })
    }

    /// By ledger, without the credentials that connections had before, unless no running process uses another one.
    /// Those of `ledgers` are kept.
    pub fn in_use(self, ledgers: &BTreeMap<String, i64>) -> Vec<LedgerUse> {
        let stated: BTreeSet<String> =
            self.all.iter().filter(|one| one.is_stated).flat_map(|one| one.connections.clone()).collect();
        let kept: BTreeSet<i64> = ledgers.values().copied().collect();
        let is_old = |one: &LedgerUse| {
            !one.is_stated && !kept.contains(&one.ledger) && one.connections.iter().all(|name| stated.contains(name))
        };
        self.all.into_iter().filter(|one| !is_old(one)).collect()
    }

    /// The ledger whose credential each connection uses, of those that it ever used: the one with the credential that
    /// is configured for it, else one that a running process uses, else the one that was made last. `configured`: the
    /// connections of a configuration, each with its base URL and its credential.
    pub fn ledgers<'c>(
        &self,
        configured: impl IntoIterator<Item = (&'c str, &'c Url, Vec<&'c str>)>,
    ) -> BTreeMap<String, i64> {
        let Some(keys) = &self.keys else { return BTreeMap::new() };
        let key =
            |(name, base_url, credential): (&'c str, &'c Url, Vec<&'c str>)| (name, keys.key(base_url, &credential));
        let configured: HashMap<&str, LedgerKey> = configured.into_iter().map(key).collect();
        let mut best: BTreeMap<&String, (bool, bool, i64)> = BTreeMap::new();
        for one in &self.all {
            for name in &one.connections {
                let is_configured = configured.get(name.as_str()).is_some_and(|key| key.as_str() == one.key);
                let rank = (is_configured, one.is_stated, one.ledger);
                let known = best.entry(name).or_insert(rank);
                *known = rank.max(*known);
            }
        }
        best.into_iter().map(|(name, (_, _, ledger))| (name.clone(), ledger)).collect()
    }

    /// Only with the connections that use it, and without ledgers that no connection uses, according to `ledgers`.
    pub fn current(self, ledgers: &BTreeMap<String, i64>) -> Vec<LedgerUse> {
        let mut all = self.all;
        for one in &mut all {
            let ledger = one.ledger;
            one.connections.retain(|name| ledgers.get(name) == Some(&ledger));
        }
        all.retain(|one| !one.connections.is_empty());
        all
    }

    /// By the key of the ledger and the name of the limit.
    pub fn by_key(&self) -> HashMap<(&str, &str), &Usage> {
        self.all.iter().map(|one| ((&*one.key, &*one.usage.limit), &one.usage)).collect()
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
        let kept = |all: Vec<LedgerUse>, ledgers: &[(&str, i64)]| {
            let ledgers: BTreeMap<String, i64> =
                ledgers.iter().map(|(name, ledger)| ((*name).to_owned(), *ledger)).collect();
            let kept = Uses { all, keys: None }.in_use(&ledgers);
            kept.into_iter().map(|one| one.ledger).collect::<Vec<_>>()
        };
        let all = vec![ledger(1, &["a"], false), ledger(2, &["a", "b"], true), ledger(3, &["c"], false)];
        assert_eq!(kept(all.clone(), &[]), [2, 3]);
        assert_eq!(kept(all, &[("a", 1)]), [1, 2, 3]);
        assert_eq!(kept(vec![ledger(1, &["a", "c"], false), ledger(2, &["a"], true)], &[]), [1, 2]);
    }

    #[test]
    fn a_connection_uses_the_configured_credential_or_that_of_a_running_process_or_the_newest() {
        let keys = LedgerKeys::new("salt".to_owned());
        let url = Url::parse("https://a.example/").unwrap();
        let mut old = ledger(1, &["a", "b"], false);
        keys.key(&url, &["token"]).as_str().clone_into(&mut old.key);
        let all = vec![old, ledger(2, &["a", "b", "c"], true), ledger(3, &["c", "d"], false), ledger(4, &["d"], false)];
        let uses = Uses { all, keys: Some(keys) };
        let ledgers = uses.ledgers([("a", &url, vec!["token"]), ("b", &url, vec!["another"])]);
        let found: Vec<_> = ledgers.iter().map(|(name, ledger)| (name.as_str(), *ledger)).collect();
        assert_eq!(found, [("a", 1), ("b", 2), ("c", 2), ("d", 4)]);
        let current: Vec<_> = uses.current(&ledgers).into_iter().map(|one| (one.ledger, one.connections)).collect();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(current, [(1, names(&["a"])), (2, names(&["b", "c"])), (4, names(&["d"]))]);
    }
}
