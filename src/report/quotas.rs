//! How much of each quota is used, when work goes on, and who uses it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::PgConnection;

use super::{Document, Query, ReadError, Reading};
use crate::store::session::Deadline as _;

/// Credentials on one page, fewer than rows of other lists: each has several limits, a week of hours and its waiters.
const CREDENTIALS_MAX: usize = 25;
/// Waiting calls shown per credential.
const WAITERS_MAX: usize = 10;
/// Hours of history: a week.
const HOURS: i32 = 168;

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Quotas {
    pub at: DateTime<Utc>,
    /// Credentials that match, on all pages.
    pub total: usize,
    /// By how much they are used, the fullest first.
    pub credentials: Vec<Credential>,
    /// The parameter `after` of the next page.
    pub next: Option<String>,
}

/// A credential, whose limits all of its connections share.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Credential {
    /// The configured connections that use it.
    pub connections: Vec<String>,
    pub limits: Vec<LimitState>,
    /// Calls that wait, in the order in which they are expected to be sent.
    pub waiters: Vec<Waiter>,
    pub waiters_total: usize,
    /// The last week by the hour, for hours in which something was used, waited for or refused.
    pub hours: Vec<Hour>,
}

/// The use of a limit.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct LimitState {
    pub limit: String,
    /// `calls` or `bytes`.
    pub unit: String,
    pub used: i64,
    pub allowed: i64,
    pub period_seconds: f64,
    /// The used part; more than 1 if a response was larger than expected.
    pub ratio: f64,
    /// Until when the limit is blocked after a refusal of the vendor.
    pub blocked_until: Option<DateTime<Utc>>,
    /// When one more call or byte fits. `None`: now.
    pub next_free: Option<DateTime<Utc>>,
}

/// A call that waits for limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Waiter {
    pub limits: Vec<String>,
    pub priority: i32,
    pub expected_at: DateTime<Utc>,
}

/// An hour of a credential.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Hour {
    pub hour: DateTime<Utc>,
    pub calls: i64,
    pub bytes: i64,
    pub waited_seconds: f64,
    pub refused: i64,
}

/// The use of a limit, and whose it is.
#[derive(Debug, Clone)]
pub(super) struct LedgerUse {
    pub(super) ledger: i64,
    /// Every connection that ever used the credential.
    pub(super) connections: Vec<String>,
    /// Whether a running process uses the credential.
    pub(super) is_stated: bool,
    pub(super) state: LimitState,
}

impl Document for Quotas {
    const PATH: &'static str = "/quotas";

    async fn read(reading: &mut Reading<'_>, query: &Query) -> Result<Option<Self>, ReadError> {
        let uses = uses(reading.conn).await?;
        let configured: BTreeSet<&String> = reading.config.connections.keys().collect();
        let wanted = query.text("connection");
        let pattern = query.text("q").map(str::to_lowercase);
        let mut credentials: BTreeMap<i64, Credential> = BTreeMap::new();
        for one in uses {
            let connections: Vec<String> =
                one.connections.into_iter().filter(|connection| configured.contains(connection)).collect();
            let matches = wanted.is_none_or(|wanted| connections.iter().any(|connection| connection == wanted))
                && pattern.as_ref().is_none_or(|pattern| {
                    connections.iter().any(|connection| connection.to_lowercase().contains(pattern))
                });
            if connections.is_empty() || !matches {
                continue;
            }
            let new = Credential { connections, limits: vec![], waiters: vec![], waiters_total: 0, hours: vec![] };
            credentials.entry(one.ledger).or_insert(new).limits.push(one.state);
        }
        let mut ordered: Vec<(i64, Credential)> = credentials.into_iter().collect();
        ordered.sort_by(|(_, a), (_, b)| {
            fullest(b).total_cmp(&fullest(a)).then_with(|| a.connections.cmp(&b.connections))
        });
        let total = ordered.len();
        // The order changes with every call, so a page continues by its number.
        let skipped = query.number("after")?.and_then(|after| usize::try_from(after).ok()).unwrap_or(0);
        let mut shown: Vec<(i64, Credential)> = ordered.into_iter().skip(skipped).take(CREDENTIALS_MAX).collect();
        add_waiters(reading.conn, &mut shown).await?;
        add_hours(reading.conn, &mut shown).await?;
        let next = skipped.saturating_add(shown.len());
        Ok(Some(Self {
            at: reading.now,
            total,
            credentials: shown.into_iter().map(|(_, credential)| credential).collect(),
            next: (next < total).then(|| next.to_string()),
        }))
    }
}

fn fullest(credential: &Credential) -> f64 {
    credential.limits.iter().map(|limit| limit.ratio).fold(0.0, f64::max)
}

/// The use of every limit of every credential that was ever used, read with one statement.
pub(super) async fn uses(conn: &mut PgConnection) -> Result<Vec<LedgerUse>, sqlx::Error> {
    let all = sqlx::query!(
        r#"
        select
            ledger.id as "ledger!",
            ledger.connections as "connections!",
            l.name as "limit!",
            l.unit as "unit!",
            l.amount as "allowed!",
            extract(epoch from l.per)::double precision as "period_seconds!",
            case when l.blocked_until > statement_timestamp() then l.blocked_until end as blocked_until,
            spent.used as "used!",
            freed.next_free,
            exists (select from tidegate.quota_statement as stated where stated.limit_id = l.id) as "is_stated!"
        from tidegate.quota_ledger as ledger
        inner join tidegate.quota_limit as l on l.ledger_id = ledger.id
        cross join lateral (
            select coalesce(sum(counted.used), 0)::bigint as used
            from tidegate.quota_use as counted
            where counted.limit_id = l.id and counted.ends_at > statement_timestamp() - l.reach
        ) as spent
        -- What is used counts until the reach after the end of its bucket; the oldest is freed first.
        left join lateral (
            select min(counted.ends_at + l.reach) as next_free
            from (
                select
                    use.ends_at,
                    coalesce(
                        sum(use.used) over (order by use.ends_at desc rows between unbounded preceding and 1 preceding), 0
                    ) as left_then
                from tidegate.quota_use as use
                where use.limit_id = l.id and use.ends_at > statement_timestamp() - l.reach
            ) as counted
            where counted.left_then < l.amount
        ) as freed on spent.used >= l.amount
        order by ledger.id, l.id
        "#,
    )
    .map(|row| LedgerUse {
        is_stated: row.is_stated,
        ledger: row.ledger,
        connections: row.connections,
        state: LimitState {
            limit: row.limit,
            unit: row.unit,
            used: row.used,
            allowed: row.allowed,
            period_seconds: row.period_seconds,
            ratio: ratio(row.used, row.allowed),
            blocked_until: row.blocked_until,
            // Nothing is sent while the limit is blocked.
            next_free: row.next_free.max(row.blocked_until),
        },
    })
    .fetch_all(conn)
    .in_time()
    .await?;
    Ok(in_use(all))
}

/// Without the credentials that connections had before, unless no running process uses another one.
fn in_use(all: Vec<LedgerUse>) -> Vec<LedgerUse> {
    let stated: BTreeSet<String> =
        all.iter().filter(|one| one.is_stated).flat_map(|one| one.connections.clone()).collect();
    let is_old = |one: &LedgerUse| !one.is_stated && one.connections.iter().all(|name| stated.contains(name));
    all.into_iter().filter(|one| !is_old(one)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
fn ratio(used: i64, allowed: i64) -> f64 {
    if allowed <= 0 { 1.0 } else { used as f64 / allowed as f64 }
}

async fn add_waiters(conn: &mut PgConnection, shown: &mut [(i64, Credential)]) -> Result<(), sqlx::Error> {
    let ledgers: Vec<i64> = shown.iter().map(|(ledger, _)| *ledger).collect();
    let waiters = sqlx::query!(
        r#"
        select
            waiter.ledger_id as "ledger!",
            waiter.priority as "priority!",
            waiter.expected_at as "expected_at!",
            array(select l.name from tidegate.quota_limit as l where l.id = any(waiter.limit_ids) order by l.id) as "limits!"
        from tidegate.quota_waiter as waiter
        where waiter.ledger_id = any($1) and waiter.expires_at > statement_timestamp()
        order by waiter.expected_at, waiter.priority desc
        limit 1000
        "#,
        &ledgers,
    )
    .fetch_all(conn)
    .in_time()
    .await?;
    for (ledger, credential) in shown {
        let of_ledger = waiters.iter().filter(|waiter| waiter.ledger == *ledger);
        credential.waiters_total = of_ledger.clone().count();
        credential.waiters = of_ledger
            .take(WAITERS_MAX)
            .map(|waiter| Waiter {
                limits: waiter.limits.clone(),
                priority: waiter.priority,
                expected_at: waiter.expected_at,
            })
            .collect();
    }
    Ok(())
}

async fn add_hours(conn: &mut PgConnection, shown: &mut [(i64, Credential)]) -> Result<(), sqlx::Error> {
    let connections: Vec<String> = shown.iter().flat_map(|(_, credential)| credential.connections.clone()).collect();
    let hours = sqlx::query!(
        r#"
        select connection, hour, calls, bytes, waited_seconds, refused
        from tidegate.quota_hour
        where connection = any($1) and hour > statement_timestamp() - make_interval(hours => $2)
        order by connection, hour
        "#,
        &connections,
        HOURS,
    )
    .fetch_all(conn)
    .in_time()
    .await?;
    for (_, credential) in shown {
        let mut sums: BTreeMap<DateTime<Utc>, Hour> = BTreeMap::new();
        for hour in hours.iter().filter(|hour| credential.connections.contains(&hour.connection)) {
            let new = Hour { hour: hour.hour, calls: 0, bytes: 0, waited_seconds: 0.0, refused: 0 };
            let sum = sums.entry(hour.hour).or_insert(new);
            sum.calls += hour.calls;
            sum.bytes += hour.bytes;
            sum.waited_seconds += hour.waited_seconds;
            sum.refused += hour.refused;
        }
        credential.hours = sums.into_values().collect();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(ledger: i64, connections: &[&str], is_stated: bool) -> LedgerUse {
        let state = LimitState {
            limit: "requests".to_owned(),
            unit: "calls".to_owned(),
            used: 0,
            allowed: 1,
            period_seconds: 60.0,
            ratio: 0.0,
            blocked_until: None,
            next_free: None,
        };
        LedgerUse { ledger, connections: connections.iter().map(|name| (*name).to_owned()).collect(), is_stated, state }
    }

    #[test]
    fn credentials_that_connections_had_before_are_left_out_while_a_process_uses_others() {
        let kept = |all: Vec<LedgerUse>| in_use(all).into_iter().map(|one| one.ledger).collect::<Vec<_>>();
        let all = vec![ledger(1, &["a"], false), ledger(2, &["a", "b"], true), ledger(3, &["c"], false)];
        assert_eq!(kept(all), [2, 3]);
        assert_eq!(kept(vec![ledger(1, &["a", "c"], false), ledger(2, &["a"], true)]), [1, 2]);
    }
}
