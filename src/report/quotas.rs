//! How much of each quota is used, when work goes on, and who uses it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::parameters::{CONNECTION, SEARCH, parameter};
use super::{Document, Parameter, ParameterKind, Query, ReadError, Reading};
use crate::config::Config;
use crate::connector::Connection;
use crate::quota::{LedgerKey, LedgerKeys, LedgerUse, Limit, Usage, Uses, limit_waited_for, waiter_of_task};
use crate::store::session::Deadline as _;

/// Credentials on one page, fewer than rows of other lists: each has several limits, a week of hours and its waiters.
const CREDENTIALS_MAX: usize = 25;
/// Waiting calls shown per credential.
const WAITERS_MAX: usize = 10;
/// Waiting calls that are counted, and tasks among which those that wait are found.
const WAITERS_READ: i64 = 1_000;
const TASKS_READ: i64 = 10_000;
/// Hours of history: a week.
const HOURS: i32 = 168;

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Quotas {
    pub at: DateTime<Utc>,
    /// Credentials that match, on all pages.
    pub total: usize,
    /// Those that are blocked first, then by how much they are used.
    pub credentials: Vec<Credential>,
    /// The parameter `after` of the next page.
    pub next: Option<String>,
}

/// A credential, whose limits all of its connections share.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Credential {
    /// The configured connections that use it, or used it before they had another one.
    pub connections: Vec<String>,
    /// Whether one of them uses it now. Otherwise it is an earlier credential.
    pub in_use: bool,
    pub limits: Vec<LimitState>,
    /// Calls that wait, in the order in which they are expected to be sent: of running tasks, and the next one of each
    /// task that waits for a limit.
    pub waiters: Vec<Waiter>,
    pub waiters_total: usize,
    /// The connections whose use `hours` adds up: those that use it now. The use of a week is known by connection, so
    /// it includes what an earlier credential was used for, and is shown only here.
    pub hours_of: Vec<String>,
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
    /// The run whose task waits. `None` for a command, and if the task has ended.
    pub run_id: Option<i64>,
    pub job: Option<String>,
    pub stream: Option<String>,
    pub limits: Vec<String>,
    pub priority: i32,
    /// When it is expected to be sent, or until when its task waits.
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

impl From<&Usage> for LimitState {
    fn from(usage: &Usage) -> Self {
        let signed = |units: u64| i64::try_from(units).unwrap_or(i64::MAX);
        Self {
            limit: usage.limit.clone(),
            unit: usage.unit.name().to_owned(),
            used: signed(usage.used),
            allowed: signed(usage.amount),
            period_seconds: usage.per.as_secs_f64(),
            ratio: usage.ratio(),
            blocked_until: usage.blocked_until,
            next_free: usage.next_free,
        }
    }
}

impl Document for Quotas {
    const PATH: &'static str = "/quotas";
    const MEANING: &'static str = "The credentials with their limits: those that are blocked, then the fullest, first.";
    const PARAMETERS: &'static [Parameter] = &[
        CONNECTION,
        SEARCH,
        parameter("after", ParameterKind::Number(0, i64::MAX), "the field `next` of the part before"),
    ];

    async fn read(reading: &mut Reading<'_>, query: &Query) -> Result<Option<Self>, ReadError> {
        let uses = Uses::read(reading.conn, None).await?;
        let ledgers = ledgers(&uses, reading.config);
        let configured: BTreeSet<&String> = reading.config.connections.keys().collect();
        let wanted = query.text("connection");
        let pattern = query.text("q").map(str::to_lowercase);
        let mut credentials: BTreeMap<i64, Credential> = BTreeMap::new();
        for one in uses.in_use(&ledgers) {
            let connections: Vec<String> =
                one.connections.into_iter().filter(|connection| configured.contains(connection)).collect();
            let matches = wanted.is_none_or(|wanted| connections.iter().any(|connection| connection == wanted))
                && pattern.as_ref().is_none_or(|pattern| {
                    connections.iter().any(|connection| connection.to_lowercase().contains(pattern))
                });
            if connections.is_empty() || !matches {
                continue;
            }
            let is_of = |connection: &&String| ledgers.get(*connection) == Some(&one.ledger);
            let hours_of: Vec<String> = connections.iter().filter(is_of).cloned().collect();
            let new = Credential {
                connections,
                in_use: !hours_of.is_empty(),
                limits: vec![],
                waiters: vec![],
                waiters_total: 0,
                hours_of,
                hours: vec![],
            };
            let credential = credentials.entry(one.ledger).or_insert(new);
            // Of a limit that was removed from the configuration, nothing is stated.
            credential.in_use |= one.is_stated;
            credential.limits.push(LimitState::from(&one.usage));
        }
        let mut ordered: Vec<(i64, Credential)> = credentials.into_iter().collect();
        ordered.sort_by(|(_, a), (_, b)| {
            most_urgent(b).cmp(&most_urgent(a)).then_with(|| a.connections.cmp(&b.connections))
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

/// The ledger of each connection of the configuration, of the credential that it uses.
fn ledgers(uses: &Uses, config: &Config) -> BTreeMap<String, i64> {
    let connections = config.connections.values();
    uses.ledgers(connections.map(|one| (one.name.as_str(), &one.base_url, one.settings.credential())))
}

/// The use of the credentials that are in use, each with the connections that use it; only of those of `connections`.
pub(super) async fn current_uses(
    reading: &mut Reading<'_>,
    connections: Option<&[String]>,
) -> Result<Vec<LedgerUse>, sqlx::Error> {
    let uses = Uses::read(reading.conn, connections).await?;
    let ledgers = ledgers(&uses, reading.config);
    Ok(uses.current(&ledgers))
}

/// How much a limit matters to a person: the larger one matters more. The end of a block, then the used part.
pub(super) type Urgency = (Option<DateTime<Utc>>, u64);

/// A blocked limit matters most, because nothing is sent. A limit of less than a minute only sets the pace.
pub(super) fn urgency(blocked_until: Option<DateTime<Utc>>, ratio: f64, period_seconds: f64) -> Urgency {
    let part = if period_seconds < 60.0 { ratio.min(1.0) / 1e6 } else { ratio };
    // A part is not negative, so its bits have the same order.
    (blocked_until, part.to_bits())
}

fn most_urgent(credential: &Credential) -> Option<Urgency> {
    let limits = credential.limits.iter();
    limits.map(|limit| urgency(limit.blocked_until, limit.ratio, limit.period_seconds)).max()
}

/// What each of `connections` uses of its limits, in the order of the configuration. Of a credential that was never
/// used, nothing is; then the strictest of the limits that are configured for it count.
pub async fn limits_used<'c>(
    conn: &mut PgConnection,
    config: &'c Config,
    connections: impl IntoIterator<Item = &'c Connection>,
) -> Result<Vec<(&'c Connection, Usage)>, sqlx::Error> {
    let keys = LedgerKeys::read(&mut *conn).await?;
    let uses = Uses::read(conn, None).await?;
    let known = uses.by_key();
    let key_of = |connection: &Connection| keys.key(&connection.base_url, &connection.settings.credential());
    // The connections by credential: that each is compared with all would be too much for hundreds of new ones.
    let mut sharing: HashMap<LedgerKey, Vec<&Connection>> = HashMap::new();
    let mut used = Vec::new();
    for connection in connections {
        let key = key_of(connection);
        let found = |limit: &Limit| known.get(&(key.as_str(), &*limit.name)).map(|usage| (*usage).clone());
        let stored: Option<Vec<Usage>> = connection.limits.iter().map(found).collect();
        let all = stored.unwrap_or_else(|| {
            if sharing.is_empty() {
                for other in config.connections.values() {
                    sharing.entry(key_of(other)).or_default().push(other);
                }
            }
            let limits = connection.limits_among(sharing.get(&key).into_iter().flatten().copied());
            limits.iter().map(|limit| found(limit).unwrap_or_else(|| Usage::unused(limit))).collect()
        });
        used.extend(all.into_iter().map(|usage| (connection, usage)));
    }
    Ok(used)
}

/// A waiting call, or a task that may wait: a call knows its task only by a hash.
struct WaitingRow {
    ledger: Option<i64>,
    waiter: Option<Uuid>,
    priority: Option<i32>,
    expected_at: Option<DateTime<Utc>>,
    limits: Option<Vec<String>>,
    run_id: Option<i64>,
    job: Option<String>,
    connection: Option<String>,
    stream: Option<String>,
    /// What the task waits for, if `expected_at` is to come.
    waiting_for: Option<String>,
}

async fn waiting_rows(
    conn: &mut PgConnection,
    ledgers: &[i64],
    connections: &[String],
) -> Result<Vec<WaitingRow>, sqlx::Error> {
    sqlx::query_as!(
        WaitingRow,
        r#"
        select
            found.ledger as "ledger?",
            found.waiter as "waiter?",
            found.priority as "priority?",
            found.expected_at as "expected_at?",
            found.limits as "limits?",
            found.run_id as "run_id?",
            found.job as "job?",
            found.connection as "connection?",
            found.stream as "stream?",
            found.waiting_for as "waiting_for?"
        from (
            (
                select
                    waiter.ledger_id as ledger,
                    waiter.waiter,
                    waiter.priority,
                    waiter.expected_at,
                    array(
                        select l.name
                        from tidegate.quota_limit as l
                        where l.id = any(waiter.limit_ids)
                        order by l.id
                    ) as limits,
                    null::bigint as run_id,
                    null::text as job,
                    null::text as connection,
                    null::text as stream,
                    null::text as waiting_for
                from tidegate.quota_waiter as waiter
                where waiter.ledger_id = any($1) and waiter.expires_at > statement_timestamp()
                order by waiter.expected_at, waiter.priority desc
                limit $3
            )
            union all
            (
                select
                    null, null, run.priority, task.waiting_until, null, run.id, run.job, run.connection, task.stream,
                    case
                        when task.state = 'waiting' and task.waiting_until > statement_timestamp() then task.waiting_for
                    end
                from tidegate.run
                inner join tidegate.task on task.run_id = run.id
                where
                    run.state in ('queued', 'running', 'waiting')
                    and task.state in ('running', 'waiting')
                    and run.connection = any($2)
                limit $4
            )
        ) as found
        "#,
        ledgers,
        connections,
        WAITERS_READ,
        TASKS_READ,
    )
    .fetch_all(conn)
    .in_time()
    .await
}

/// A task that may wait.
struct Task {
    run_id: i64,
    job: String,
    stream: String,
}

async fn add_waiters(conn: &mut PgConnection, shown: &mut [(i64, Credential)]) -> Result<(), sqlx::Error> {
    let ledgers: Vec<i64> = shown.iter().map(|(ledger, _)| *ledger).collect();
    let connections: Vec<String> = shown.iter().flat_map(|(_, credential)| credential.connections.clone()).collect();
    let rows = waiting_rows(conn, &ledgers, &connections).await?;
    let mut tasks: HashMap<Uuid, Task> = HashMap::new();
    let mut waiting: BTreeMap<i64, Vec<(Uuid, Waiter)>> = BTreeMap::new();
    let mut postponed = Vec::new();
    for row in rows {
        let limits = row.limits.unwrap_or_default();
        let waiter = row.priority.zip(row.expected_at).map(|(priority, expected_at)| Waiter {
            run_id: None,
            job: None,
            stream: None,
            limits,
            priority,
            expected_at,
        });
        if let (Some(run_id), Some(job), Some(stream)) = (row.run_id, row.job, row.stream) {
            let id = waiter_of_task(run_id, &stream);
            tasks.insert(id, Task { run_id, job, stream });
            let limit = row.waiting_for.as_deref().and_then(limit_waited_for);
            if let (Some(limit), Some(connection), Some(waiter)) = (limit, row.connection, waiter) {
                postponed.push((connection, id, Waiter { limits: vec![limit.to_owned()], ..waiter }));
            }
        } else if let (Some(ledger), Some(id), Some(waiter)) = (row.ledger, row.waiter, waiter) {
            waiting.entry(ledger).or_default().push((id, waiter));
        }
    }
    // A task that waits for long has given up its place in the queue. One that still has it is there already.
    let known: HashSet<Uuid> = waiting.values().flatten().map(|(id, _)| *id).collect();
    for (connection, id, waiter) in postponed {
        let is_of = |credential: &Credential| {
            credential.hours_of.contains(&connection)
                && credential.limits.iter().any(|limit| waiter.limits.contains(&limit.limit))
        };
        if !known.contains(&id)
            && let Some((ledger, _)) = shown.iter().find(|(_, credential)| is_of(credential))
        {
            waiting.entry(*ledger).or_default().push((id, waiter));
        }
    }
    for (ledger, credential) in shown {
        let mut of_ledger = waiting.remove(&*ledger).unwrap_or_default();
        of_ledger.sort_by_key(|(id, waiter)| (waiter.expected_at, Reverse(waiter.priority), *id));
        credential.waiters_total = of_ledger.len();
        let named = |(id, mut waiter): (Uuid, Waiter)| {
            if let Some(task) = tasks.get(&id) {
                waiter.run_id = Some(task.run_id);
                waiter.job = Some(task.job.clone());
                waiter.stream = Some(task.stream.clone());
            }
            waiter
        };
        credential.waiters = of_ledger.into_iter().take(WAITERS_MAX).map(named).collect();
    }
    Ok(())
}

async fn add_hours(conn: &mut PgConnection, shown: &mut [(i64, Credential)]) -> Result<(), sqlx::Error> {
    let connections: Vec<String> = shown.iter().flat_map(|(_, credential)| credential.hours_of.clone()).collect();
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
        for hour in hours.iter().filter(|hour| credential.hours_of.contains(&hour.connection)) {
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
