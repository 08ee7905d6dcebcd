//! `tidegate quota`: what each connection has used of its vendor's limits.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;

use super::context::require_schema;
use super::output::{self, Table};
use super::vendor_quota::{self, VendorQuota};
use super::{Context, Exit, QuotaArgs, names, show};
use crate::clock;
use crate::connector::Connection;
use crate::quota::QuotaUse;
use crate::quota::{Ledger, LedgerKey, Unit, Usage};
use crate::text::show_duration;

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
    /// Until when the limit is blocked after a refusal of the vendor.
    blocked_until: Option<DateTime<Utc>>,
    /// When one more call or byte fits. `None`: now.
    next_free: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize)]
struct Document {
    at: DateTime<Utc>,
    quotas: Vec<LimitUse>,
    /// What the vendors returned, if they were asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<Vec<VendorQuota>>,
}

pub(crate) async fn run(context: Context, args: QuotaArgs) -> anyhow::Result<Exit> {
    let connections = names::connections(&context.config, &args.connections)?;
    let asked = if args.ask { Some(ask(&context, &connections).await?) } else { None };
    // Read after the vendors were asked, because these calls count.
    let all = &context.config.connections;
    let reading = context.with_schema(async |database, _| read(&database.pool, all, connections.iter().copied()).await);
    let document = Document { at: clock::now(), quotas: reading.await?, asked };
    let failed = document.asked.as_deref().is_some_and(vendor_quota::report_failures);
    if args.json {
        output::print_json(&document)?;
    } else {
        output::print(&text(&document))?;
    }
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

/// Asks the vendors. The calls are reserved in the ledgers, so the database must have its schema.
async fn ask(context: &Context, connections: &[&Connection]) -> anyhow::Result<Vec<VendorQuota>> {
    context.require_cluster()?;
    let asking = context.with_database(async |database| {
        require_schema(&mut *database.pool.acquire().await?).await?;
        Ok(vendor_quota::ask(&database.pool, connections).await)
    });
    Box::pin(asking).await
}

/// Reads the ledgers of `connections` and writes nothing. A ledger that was never used is shown with zeros, and with
/// the strictest of the configured limits.
pub(super) async fn read<'c>(
    pool: &PgPool,
    all: &BTreeMap<String, Connection>,
    connections: impl IntoIterator<Item = &'c Connection>,
) -> anyhow::Result<Vec<LimitUse>> {
    let mut quotas = Vec::new();
    for connection in connections {
        let key = LedgerKey::derive(pool, &connection.base_url, &connection.settings.credential()).await?;
        let snapshot =
            Ledger::peek(pool.clone(), &key, &connection.name, &connection.limits_among(all.values())).await?;
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

    /// The part that the status page shows.
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
    let mut text = table(&document.quotas, document.at);
    if let Some(asked) = &document.asked {
        text.push('\n');
        text += &vendor_quota::table(asked);
    }
    text
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
