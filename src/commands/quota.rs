//! `tidegate quota`: what each connection has used of its vendor's limits.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use super::context::require_schema;
use super::output::{self, Table};
use super::vendor_quota::{self, VendorQuota};
use super::{Context, Exit, QuotaArgs, names, show};
use crate::clock;
use crate::config::Config;
use crate::connector::Connection;
use crate::quota::{Unit, Usage};
use crate::report::limits_used;
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
    let reading = context.with_schema(async |_, conn| read(conn, &context.config, connections.iter().copied()).await);
    let document = Document { at: clock::now(), quotas: reading.await?, asked };
    let failed = document.asked.as_deref().is_some_and(vendor_quota::report_failures);
    output::print_document(args.json, &document, || text(&document))?;
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

/// Reads the ledgers of `connections` and writes nothing.
pub(super) async fn read<'c>(
    conn: &mut PgConnection,
    config: &'c Config,
    connections: impl IntoIterator<Item = &'c Connection>,
) -> anyhow::Result<Vec<LimitUse>> {
    Ok(limits_used(conn, config, connections).await?.into_iter().map(LimitUse::new).collect())
}

impl LimitUse {
    pub(super) fn new((connection, usage): (&Connection, Usage)) -> Self {
        Self {
            connection: connection.name.clone(),
            unit: usage.unit.name(),
            used: usage.used,
            allowed: usage.amount,
            period: show_duration(usage.per),
            ratio: usage.ratio(),
            blocked_until: usage.blocked_until,
            next_free: usage.next_free,
            limit: usage.limit,
        }
    }

    fn amount(&self, amount: u64) -> String {
        if self.unit == Unit::Bytes.name() { show::bytes(amount) } else { amount.to_string() }
    }
}

fn text(document: &Document) -> String {
    if document.quotas.is_empty() {
        return format!("no connection is configured; {}\n", show::SAMPLES);
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
