//! The connections of the configuration, and one of them with its streams, jobs and quotas.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::types::Json;

use super::events::Event;
use super::parameters::{AFTER_NAME, SEARCH};
use super::quotas::{LimitState, current_uses};
use super::streams::StreamRow;
use super::summary::{self, ConnectionSummary};
use super::{Document, Parameter, Query, ROWS_MAX, ReadError, Reading, streams};
use crate::store::reconciliation::{Compared, Difference, Reconciliation};
use crate::store::session::Deadline as _;

/// Events shown.
const EVENTS: i64 = 20;
/// Totals of the vendor shown that differ; `mart.reconciliation` has all.
const DIFFERENCES: i64 = 20;
/// Jobs shown.
const JOBS: usize = 50;

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Connections {
    pub at: DateTime<Utc>,
    /// Connections that match, on all pages.
    pub total: usize,
    pub connections: Vec<ConnectionSummary>,
    /// The parameter `after` of the next page.
    pub next: Option<String>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ConnectionPage {
    pub at: DateTime<Utc>,
    pub connection: String,
    pub vendor: &'static str,
    /// Where its calls go.
    pub host: String,
    pub summary: ConnectionSummary,
    /// The connections that share its credential and so its quotas.
    pub shares_with: Vec<String>,
    pub limits: Vec<LimitState>,
    /// The first jobs that use it.
    pub jobs: Vec<String>,
    pub jobs_total: usize,
    /// Its streams, those that need attention first.
    pub streams: Vec<StreamRow>,
    /// Vendor's totals that were compared with our rows, and the newest that differ.
    pub reconciliation: Reconciliation,
    /// Newest first.
    pub events: Vec<Event>,
}

impl Document for Connections {
    const PATH: &'static str = "/connections";
    const MEANING: &'static str = "The connections of the configuration, by name.";
    const PARAMETERS: &'static [Parameter] = &[SEARCH, AFTER_NAME];

    async fn read(reading: &mut Reading<'_>, query: &Query) -> Result<Option<Self>, ReadError> {
        let pattern = query.text("q").map(str::to_lowercase);
        let matches = |name: &&String| pattern.as_ref().is_none_or(|pattern| name.to_lowercase().contains(pattern));
        let config = std::sync::Arc::clone(reading.config);
        let all: Vec<&String> = config.connections.keys().filter(matches).collect();
        let rest = all.iter().filter(|name| query.text("after").is_none_or(|after| name.as_str() > after));
        let mut shown: Vec<String> = rest.take(ROWS_MAX + 1).map(|name| (*name).clone()).collect();
        let more = shown.len() > ROWS_MAX;
        shown.truncate(ROWS_MAX);
        let next = shown.last().filter(|_| more).cloned();
        let uses = current_uses(reading, Some(&shown)).await?;
        let connections = summary::summarize(reading, &shown, &uses).await?;
        Ok(Some(Self { at: reading.now, total: all.len(), connections, next }))
    }
}

impl Document for ConnectionPage {
    const PATH: &'static str = "/connections/{connection}";
    const MEANING: &'static str = "One connection with its streams, jobs and quotas.";

    async fn read(reading: &mut Reading<'_>, query: &Query) -> Result<Option<Self>, ReadError> {
        let config = std::sync::Arc::clone(reading.config);
        let Some(connection) = config.connections.get(query.name("connection")) else { return Ok(None) };
        let name = &connection.name;
        let uses = current_uses(reading, Some(std::slice::from_ref(name))).await?;
        let mut streams = streams::of_connection(reading, name).await?;
        let Some(summary) = summary::summarize_one(reading, name, &streams, &uses) else { return Ok(None) };
        streams.truncate(ROWS_MAX);
        streams::read_days(reading, &mut streams).await?;
        let own: Vec<_> = uses.into_iter().filter(|one| one.connections.contains(name)).collect();
        let mut shares: Vec<String> = own.iter().flat_map(|one| one.connections.iter().cloned()).collect();
        shares.sort_unstable();
        shares.dedup();
        shares.retain(|other| other != name && config.connections.contains_key(other));
        let jobs: Vec<&String> =
            config.jobs.values().filter(|job| job.connection == *name).map(|job| &job.name).collect();
        let (reconciliation, events) = reconciliation_and_events(reading, name).await?;
        Ok(Some(Self {
            at: reading.now,
            connection: name.clone(),
            vendor: connection.connector.vendor.name(),
            host: connection.base_url.host_str().unwrap_or_default().to_owned(),
            summary,
            shares_with: shares,
            limits: own.iter().map(|one| LimitState::from(&one.usage)).collect(),
            jobs_total: jobs.len(),
            jobs: jobs.into_iter().take(JOBS).cloned().collect(),
            streams,
            reconciliation,
            events,
        }))
    }
}

/// The last comparison with the vendor's totals, the newest that differ, and the newest events.
async fn reconciliation_and_events(
    reading: &mut Reading<'_>,
    connection: &str,
) -> Result<(Reconciliation, Vec<Event>), sqlx::Error> {
    let found = sqlx::query!(
        r#"
        select
            last.checked_at as "checked_at?",
            last.compared as "compared?",
            last.differences as "differences?",
            differences.list as "newest!: Json<Vec<Difference>>",
            events.list as "events!: Json<Vec<Event>>"
        from (
            select coalesce(json_agg(newest order by newest.bucket_start desc, newest.metric), '[]') as list
            from (
                select
                    connection, metric, bucket_start, bucket_end, vendor_total, our_count,
                    our_count - vendor_total as difference
                from tidegate.reconciliation_difference
                -- JSON has no other numbers.
                where connection = $1 and abs(vendor_total) < 'infinity'
                order by bucket_start desc, metric
                limit $2
            ) as newest
        ) as differences
        cross join (
            select coalesce(json_agg(newest order by newest.id desc), '[]') as list
            from (
                select id, at, kind, connection, stream, job, run_id, actor, summary
                from tidegate.event
                where connection = $1
                order by id desc
                limit $3
            ) as newest
        ) as events
        left join tidegate.reconciliation as last on last.connection = $1
        "#,
        connection,
        DIFFERENCES,
        EVENTS,
    )
    .fetch_one(&mut *reading.conn)
    .in_time()
    .await?;
    let last = found.checked_at.zip(found.compared).zip(found.differences);
    let compared = last.map(|((checked_at, compared), differences)| Compared {
        connection: connection.to_owned(),
        checked_at,
        compared,
        differences,
    });
    let reconciliation = Reconciliation {
        differences: compared.as_ref().map_or(0, |compared| compared.differences),
        connections: compared.into_iter().collect(),
        newest: found.newest.0,
    };
    Ok((reconciliation, found.events.0))
}
