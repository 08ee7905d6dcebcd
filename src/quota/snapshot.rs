//! Reads the state of a ledger.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use sqlx::postgres::types::PgInterval;

use super::forecast::{Entry, Snapshot};
use super::ledger::{Ledger, LedgerError, count, duration};
use super::limit::Limit;
use super::usage::Usage;
use super::window::{Spans, Window};
use crate::clock;
use crate::store::session::Deadline as _;

/// A limit with one of its uses, or with none.
struct Stored {
    now: DateTime<Utc>,
    id: i64,
    amount: i64,
    per: PgInterval,
    reach: PgInterval,
    width: PgInterval,
    blocked_until: Option<DateTime<Utc>>,
    ends_at: Option<DateTime<Utc>>,
    used: Option<i64>,
}

/// The stored rows by the id of their limit.
type Rows = HashMap<i64, Vec<Stored>>;

impl Ledger {
    /// The state of every limit.
    pub async fn snapshot(&self) -> Result<Snapshot, LedgerError> {
        self.assemble(&self.read(self.ids().collect()).await?)
    }

    /// What is used of each limit.
    pub async fn usage(&self) -> Result<Vec<Usage>, LedgerError> {
        Ok(self.snapshot().await?.usage())
    }

    fn ids(&self) -> impl Iterator<Item = i64> {
        self.limits.iter().map(|row| row.id)
    }

    async fn read(&self, ids: Vec<i64>) -> Result<Rows, LedgerError> {
        if ids.is_empty() {
            return Ok(Rows::new());
        }
        self.within_deadline(read(&self.pool, &ids)).await
    }

    fn assemble(&self, rows: &Rows) -> Result<Snapshot, LedgerError> {
        let mut of_limits = Vec::with_capacity(self.limits.len());
        for stated in &*self.limits {
            of_limits.push((&stated.limit, rows.get(&stated.id).ok_or_else(|| self.gone())?));
        }
        let now = of_limits.iter().flat_map(|(_, rows)| rows.iter()).map(|row| row.now).max();
        let now = now.unwrap_or_else(clock::now);
        let entries = of_limits.into_iter().filter_map(|(limit, rows)| entry(limit, rows, now)).collect();
        Ok(Snapshot { now, entries })
    }
}

async fn read(pool: &PgPool, ids: &[i64]) -> Result<Rows, sqlx::Error> {
    let stored = sqlx::query_as!(
        Stored,
        r#"select clock_timestamp() as "now!", l.id as "id!", l.amount as "amount!", l.per as "per!",
                l.reach as "reach!", l.width as "width!", l.blocked_until as "blocked_until?",
                u.ends_at as "ends_at?", u.used as "used?"
            from tidegate.quota_limit as l
            left join tidegate.quota_use as u on u.limit_id = l.id
            where l.id = any ($1)"#,
        ids,
    )
    .fetch_all(pool)
    .in_time()
    .await?;
    let mut rows = Rows::new();
    for row in stored {
        rows.entry(row.id).or_default().push(row);
    }
    Ok(rows)
}

/// A limit with its uses. `None` without any row.
fn entry(stated: &Limit, rows: &[Stored], now: DateTime<Utc>) -> Option<Entry> {
    let first = rows.first()?;
    // The limit in force may differ from what this process stated.
    let amount = count(first.amount);
    let spans = Spans { width: duration(&first.width), reach: duration(&first.reach) };
    let limit = Limit { amount, per: duration(&first.per), ..stated.clone() };
    let blocked_until = first.blocked_until.filter(|until| *until > now);
    let mut window = Window::with_spans(limit.unit, amount, spans);
    for row in rows {
        if let (Some(ends_at), Some(used)) = (row.ends_at, row.used) {
            window.restore(ends_at, count(used));
        }
    }
    window.prune(now);
    if let Some(until) = blocked_until {
        window.block(until);
    }
    Some(Entry { limit, window, blocked_until })
}
