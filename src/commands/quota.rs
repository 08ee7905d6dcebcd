//! `tidegate quota`: what each connection has used of its vendor's limits.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;

use super::output::{self, Table};
use super::{Context, Exit, QuotaArgs, show};
use crate::config::{Config, Connection, show_duration};
use crate::quota::{Ledger, LedgerKey, Unit, Usage};
use crate::server::QuotaUse;

/// One limit of one connection.
#[derive(Debug, Serialize)]
pub(super) struct LimitUse {
    connection: String,
    limit: String,
    /// `calls` or `bytes`.
    unit: &'static str,
    used: u64,
    allowed: u64,
    period: String,
    ratio: f64,
    /// The vendor said no until then.
    blocked_until: Option<DateTime<Utc>>,
    /// When one more call, or byte, fits; none: now.
    next_free: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize)]
struct Document {
    at: DateTime<Utc>,
    quotas: Vec<LimitUse>,
}

pub async fn run(context: Context, args: QuotaArgs) -> anyhow::Result<Exit> {
    let quotas = context.with_schema(async |database, _| read(&database.pool, &context.config).await).await?;
    let document = Document { at: Utc::now(), quotas };
    if args.json {
        output::print_json(&document)?;
    } else {
        output::print(&text(&document))?;
    }
    Ok(Exit::Done)
}

/// Reads every connection's ledger, writing nothing: one that was never used shows zeros.
pub(super) async fn read(pool: &PgPool, config: &Config) -> anyhow::Result<Vec<LimitUse>> {
    let mut quotas = Vec::new();
    for connection in config.connections.values() {
        let key = LedgerKey::derive(pool, &connection.base_url, &connection.settings.credential()).await?;
        let snapshot = Ledger::peek(pool.clone(), &key, &connection.name, &connection.limits).await?;
        quotas.extend(snapshot.usage().into_iter().map(|usage| LimitUse::new(connection, usage)));
    }
    Ok(quotas)
}

impl LimitUse {
    fn new(connection: &Connection, usage: Usage) -> Self {
        let of_status = QuotaUse {
            connection: connection.name.clone(),
            limit: usage.limit.clone(),
            used: usage.used,
            allowed: usage.amount,
            blocked_until: usage.blocked_until,
        };
        Self {
            connection: connection.name.clone(),
            limit: usage.limit,
            unit: match usage.unit {
                Unit::Calls => "calls",
                Unit::Bytes => "bytes",
            },
            used: usage.used,
            allowed: usage.amount,
            period: show_duration(usage.per),
            ratio: of_status.ratio(),
            blocked_until: usage.blocked_until,
            next_free: usage.next_free,
        }
    }

    /// What the status page shows of it.
    pub(super) fn of_status(&self) -> QuotaUse {
        QuotaUse {
            connection: self.connection.clone(),
            limit: self.limit.clone(),
            used: self.used,
            allowed: self.allowed,
            blocked_until: self.blocked_until,
        }
    }

    fn amount(&self, amount: u64) -> String {
        if self.unit == "bytes" { show::bytes(amount) } else { amount.to_string() }
    }
}

fn text(document: &Document) -> String {
    if document.quotas.is_empty() {
        return "no connection is configured; see `config/jobs/lynn.yaml` for one\n".to_owned();
    }
    table(&document.quotas, document.at)
}

pub(super) fn table(quotas: &[LimitUse], now: DateTime<Utc>) -> String {
    let mut table = Table::new().left(&["CONNECTION", "LIMIT"]).right(&["USED", "OF", "%"]).left(&[
        "PER",
        "BLOCKED UNTIL",
        "NEXT FREE",
    ]);
    for quota in quotas {
        table.row([
            quota.connection.clone(),
            quota.limit.clone(),
            quota.amount(quota.used),
            quota.amount(quota.allowed),
            format!("{:.1}", quota.ratio * 100.0),
            quota.period.clone(),
            show::moment_or_nothing(quota.blocked_until, now),
            quota.next_free.map_or_else(|| "now".to_owned(), |at| show::moment(at, now)),
        ]);
    }
    table.show()
}
