//! The ledger in Postgres. Its SQL consists of functions in the migrations, which explain it.
//!
//! A grant is for now: nobody holds a slot in the future that a crash would waste. A call that does not fit is told
//! when to ask again, and its place is kept until shortly after that: callers of lower rank leave it its share. Rank
//! goes by priority, then by the older due time. A caller that stops asking delays others no longer than that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

use super::changed::wake;
use super::forecast::Snapshot;
use super::key::LedgerKey;
use super::limit::{CallKind, Limit, Unit};
use super::refusal::SHORT_MAX;
use super::reservation::{Change, CountedUse, Reservation};
use super::statement;
use super::window::{self, Spans};
use crate::store::session::{self, Deadline as _};

/// A statement of the ledger takes longer only if the database is in trouble. Then the caller gets an error that it can
/// retry.
const RESPONSE_MAX: Duration = Duration::from_secs(15);
/// How often a call is asked for if the database responds so late that the grant is stale.
const ASKED_MAX: u32 = 4;
/// Longest period of a limit; beyond it the arithmetic of times would leave its range.
const PER_MAX: Duration = Duration::from_hours(24 * 366);
/// A wait that a vendor states is shortened to the limit's period and this.
const WAIT_MARGIN: Duration = Duration::from_mins(1);

/// The quota ledger of one credential.
#[derive(Debug, Clone)]
pub struct Ledger {
    pub(super) pool: PgPool,
    id: i64,
    connection: Arc<str>,
    pub(super) limits: Arc<[LimitRow]>,
}

/// A limit and the id of its row.
#[derive(Debug)]
pub(super) struct LimitRow {
    pub(super) id: i64,
    /// As this process states it. The limit in force is the same or a tighter one.
    pub(super) limit: Limit,
}

/// One call that wants to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    pub kind: CallKind,
    /// Expected bytes of request and response.
    pub bytes: u64,
    /// Higher goes first.
    pub priority: i32,
    /// At equal priority the older goes first.
    pub due: DateTime<Utc>,
    /// Identifies the caller. If it asks again, it keeps its place.
    pub waiter: Uuid,
}

/// Identifies a task of a run as a [`Request::waiter`]. The same after a restart, so that the task keeps its place.
pub fn waiter_of_task(run_id: i64, stream: &str) -> Uuid {
    Uuid::from_u128(xxhash_rust::xxh3::xxh3_128(format!("{run_id} {stream}").as_bytes()))
}

/// The ledger's decision.
#[derive(Debug)]
#[must_use]
pub enum Grant {
    /// Send now.
    Now(Reservation),
    /// Ask again after `wait`. Asking sooner has no effect; asking much later loses the place in the queue.
    Wait {
        /// When the call is expected to fit, on the database's clock. May be hours later than `wait`: until then
        /// estimates are settled, and other callers give up.
        until: DateTime<Utc>,
        wait: Duration,
        /// The limit that the call must wait for longest.
        limit: String,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("quota ledger of connection `{connection}`: {}", session::summary(.source))]
    Database { connection: String, source: sqlx::Error },
    #[error("quota ledger of connection `{connection}`: no response from the database within {}s", RESPONSE_MAX.as_secs())]
    Timeout { connection: String },
    #[error(
        "quota `{limit}` of connection `{connection}`: limit and period must be above zero, the period at most 366d"
    )]
    InvalidLimit { connection: String, limit: String },
    #[error("connection `{connection}` has no quota `{limit}`")]
    UnknownLimit { connection: String, limit: String },
    #[error(
        "quota ledger of connection `{connection}`: its rows are gone from the database; restart to create them again"
    )]
    Gone { connection: String },
}

impl Ledger {
    /// Opens the ledger of `key` in the name of the process `owner`, and creates missing rows. If running processes
    /// state different limits, the tighter one is in force ([`statement`]). What was used stays counted.
    pub async fn open(
        pool: PgPool,
        owner: &str,
        key: &LedgerKey,
        connection_name: &str,
        limits: Vec<Limit>,
    ) -> Result<Self, LedgerError> {
        let mut ledger = Self::without_limits(pool, connection_name);
        for limit in &limits {
            let fine = limit.amount > 0 && limit.per >= Duration::from_millis(1) && limit.per <= PER_MAX;
            if !fine {
                let (connection, limit) = (connection_name.to_owned(), limit.name.clone());
                return Err(LedgerError::InvalidLimit { connection, limit });
            }
        }
        let (id, rows) = ledger.within_deadline(ledger.make_rows(owner, key, limits)).await?;
        ledger.id = id;
        ledger.limits = rows.into();
        Ok(ledger)
    }

    /// The state of every limit of the ledger of `key`. Writes nothing: limits that have no row yet are shown as
    /// unused, and the limits in force do not change.
    pub async fn peek(
        pool: PgPool,
        key: &LedgerKey,
        connection_name: &str,
        limits: &[Limit],
    ) -> Result<Snapshot, LedgerError> {
        let mut ledger = Self::without_limits(pool, connection_name);
        let query = sqlx::query!(
            "select l.id, l.name
            from tidegate.quota_ledger as ledger
            join tidegate.quota_limit as l on l.ledger_id = ledger.id
            where ledger.key = $1",
            key.as_str(),
        );
        let rows = ledger.within_deadline(query.fetch_all(&ledger.pool)).await?;
        let id_of = |limit: &Limit| rows.iter().find(|row| row.name == limit.name).map(|row| row.id);
        ledger.limits =
            limits.iter().filter_map(|limit| Some(LimitRow { id: id_of(limit)?, limit: limit.clone() })).collect();
        let mut used = ledger.snapshot().await?;
        let mut snapshot = Snapshot::unused(limits, used.now);
        for entry in &mut snapshot.entries {
            if let Some(place) = used.entries.iter().position(|known| known.limit.name == entry.limit.name) {
                *entry = used.entries.swap_remove(place);
            }
        }
        Ok(snapshot)
    }

    fn without_limits(pool: PgPool, connection_name: &str) -> Self {
        Self { pool, id: 0, connection: connection_name.into(), limits: Arc::new([]) }
    }

    async fn make_rows(
        &self,
        owner: &str,
        key: &LedgerKey,
        limits: Vec<Limit>,
    ) -> Result<(i64, Vec<LimitRow>), sqlx::Error> {
        if let Some(stated) = statement::stated(&self.pool, owner, &self.connection, key.as_str(), &limits).await? {
            return Ok(stated);
        }
        let mut transaction = self.pool.begin().in_time().await?;
        // The update also takes the lock under which all rows of a ledger change.
        let ledger = sqlx::query_scalar!(
            "insert into tidegate.quota_ledger as ledger (key, connections)
            values ($1, array[$2::text])
            on conflict (key) do update set connections =
                case when $2 = any (ledger.connections) then ledger.connections else ledger.connections || $2 end
            returning id",
            key.as_str(),
            &*self.connection,
        )
        .fetch_one(&mut *transaction)
        .in_time()
        .await?;
        let mut rows = Vec::with_capacity(limits.len());
        for limit in limits {
            let spans = Spans::of(&limit);
            let id = sqlx::query_scalar!(
                "insert into tidegate.quota_limit (ledger_id, name, unit, amount, per, reach, width)
                values ($1, $2, $3, $4, $5, $6, $7)
                on conflict (ledger_id, name) do update set unit = excluded.unit
                returning id",
                ledger,
                limit.name,
                limit.unit.name(),
                units(limit.amount),
                interval(limit.per),
                interval(spans.reach),
                interval(spans.width),
            )
            .fetch_one(&mut *transaction)
            .in_time()
            .await?;
            rows.push(LimitRow { id, limit });
        }
        let has_changed = statement::state(&mut transaction, owner, &self.connection, ledger, &rows).await?;
        transaction.commit().in_time().await?;
        if has_changed {
            wake(&self.pool).await?;
        }
        Ok((ledger, rows))
    }

    /// The limits as this process states them, in the order they were opened with.
    pub fn limits(&self) -> impl Iterator<Item = &Limit> {
        self.limits.iter().map(|row| &row.limit)
    }

    /// Asks to send one call now.
    pub async fn reserve(&self, request: &Request) -> Result<Grant, LedgerError> {
        let mut counted: Vec<&LimitRow> =
            self.limits.iter().filter(|row| row.limit.calls.include(request.kind)).collect();
        counted.sort_unstable_by_key(|row| row.id);
        let mut tries = ASKED_MAX;
        loop {
            let mut reservation = match self.within_deadline(self.ask(request, &counted)).await? {
                Some(Grant::Now(reservation)) => reservation,
                Some(refused) => return Ok(refused),
                None => return Err(self.gone()),
            };
            reservation.catch_up(self).await?;
            tries -= 1;
            if tries == 0 || !reservation.is_stale() {
                return Ok(Grant::Now(reservation));
            }
            reservation.release(self).await?;
        }
    }

    /// Returns `None` if the ledger's rows are gone.
    async fn ask(&self, request: &Request, counted: &[&LimitRow]) -> Result<Option<Grant>, sqlx::Error> {
        let ids: Vec<i64> = counted.iter().map(|row| row.id).collect();
        // The wait for a free connection is not part of the way to the database.
        let mut connection = self.pool.acquire().await?;
        let asked = Instant::now();
        let row = sqlx::query!(
            r#"select asked_at as "asked_at!", answered_at as "answered_at!",
                granted_ends, granted_units, expected_at, again_at, scarce
            from tidegate.quota_reserve($1, $2, $3, $4, $5, $6)"#,
            self.id,
            &ids,
            units(request.bytes),
            request.waiter,
            request.priority,
            request.due,
        )
        .fetch_one(&mut *connection)
        .in_time()
        .await?;
        if let (Some(until), Some(again_at)) = (row.expected_at, row.again_at) {
            let wait = (again_at - row.answered_at).to_std().unwrap_or_default();
            return Ok(Some(Grant::Wait { until, wait, limit: row.scarce.unwrap_or_default() }));
        }
        let granted_units = row.granted_units.unwrap_or_default();
        let granted: Vec<_> = row.granted_ends.unwrap_or_default().into_iter().zip(granted_units).collect();
        if granted.len() != ids.len() {
            return Ok(None);
        }
        let place = |(row, (ends_at, units)): (&&LimitRow, _)| {
            let slack = TimeDelta::from_std(window::margin(row.limit.per) / 2).unwrap_or_default();
            CountedUse { limit_id: row.id, unit: row.limit.unit, ends_at, units, slack }
        };
        let counted_in = counted.iter().zip(granted).map(place).collect();
        // The statement reached the server after `asked`, so this is not later than the grant.
        let granted = asked + (row.answered_at - row.asked_at).to_std().unwrap_or_default();
        let shortest = counted.iter().filter(|row| row.limit.unit == Unit::Calls).map(|row| row.limit.per).min();
        let good_for = shortest.unwrap_or(Duration::MAX);
        Ok(Some(Grant::Now(Reservation { granted_at: row.answered_at, granted, good_for, counted_in })))
    }

    /// Gives up the place of a waiter that will not ask again.
    pub async fn cancel_wait(&self, waiter: Uuid) -> Result<(), LedgerError> {
        let query =
            sqlx::query!("delete from tidegate.quota_waiter where ledger_id = $1 and waiter = $2", self.id, waiter);
        self.within_deadline(query.execute(&self.pool)).await.map(|_| ())
    }

    /// Blocks `limit` because the vendor refused a call, for `wait` if the vendor stated one. Returns when the block
    /// ends. Never shortens a block that is in force. Without a `wait`, a refusal soon after the last block is waited
    /// out twice as long, up to 12 h. A `wait` is shortened to the limit's period plus one minute.
    pub async fn block(&self, limit: &str, wait: Option<Duration>) -> Result<DateTime<Utc>, LedgerError> {
        let Some(row) = self.limits.iter().find(|row| row.limit.name == limit) else {
            return Err(LedgerError::UnknownLimit { connection: self.connection.to_string(), limit: limit.to_owned() });
        };
        // Vendors state whole seconds, perhaps rounded down. No wait is shorter than the limit's own pace.
        let pace = row.limit.pace();
        // A longer wait than the limit's period is a mistake or belongs to another limit, so it is shortened.
        let longest = row.limit.per.saturating_add(WAIT_MARGIN).min(PER_MAX);
        let said = wait.map(|wait| interval(wait.saturating_add(Duration::from_secs(1)).max(pace).min(longest)));
        // A short period is waited out. With a long one, we ask again soon, then less and less often.
        let first = if row.limit.per <= SHORT_MAX { row.limit.per } else { Duration::from_mins(1) };
        let first = interval(first.max(Duration::from_secs(1)));
        let query = sqlx::query_scalar!(
            r#"update tidegate.quota_limit as l
            set blocked_until = greatest(l.blocked_until, next.at),
                blocked_for = case when l.blocked_until > now.at then l.blocked_for else next.at - now.at end
            from (select clock_timestamp() as at) as now
            cross join lateral (
                select now.at + coalesce($2::interval, case
                    -- Several calls were under way when the limit was hit: one refusal, not several.
                    when held.blocked_until > now.at then interval '0'
                    when held.blocked_until > now.at - greatest(held.blocked_for, $3::interval)
                        then least(held.blocked_for * 2, interval '12 hours')
                    else $3::interval
                end) as at
                from tidegate.quota_limit as held
                where held.id = $1
            ) as next
            where l.id = $1
            returning l.blocked_until as "blocked_until!""#,
            row.id,
            said,
            first,
        );
        self.within_deadline(query.fetch_optional(&self.pool)).await?.ok_or_else(|| self.gone())
    }

    /// Bytes that may still be read before a bandwidth limit is used up. `None` if bandwidth is not limited.
    pub async fn remaining_bytes(&self) -> Result<Option<u64>, LedgerError> {
        Ok(self.snapshot().await?.remaining_bytes())
    }

    /// When the last of `calls` further calls of `bytes` each could be sent, if nobody else sends any.
    pub async fn earliest(&self, kind: CallKind, calls: u64, bytes: u64) -> Result<DateTime<Utc>, LedgerError> {
        Ok(self.snapshot().await?.finish(kind, calls, bytes))
    }

    /// Applies changes, and returns where the uses are counted now.
    pub(super) async fn apply(&self, mut changes: Vec<Change>) -> Result<Vec<CountedUse>, LedgerError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        changes.sort_unstable_by_key(|change| change.counted.limit_id);
        // If losing the change in a crash would count no less than now, the commit need not wait for the disk.
        let is_lossy =
            |change: &Change| change.used <= change.counted.units && change.sent_at <= change.counted.ends_at;
        let lossy = changes.iter().all(is_lossy);
        let ids: Vec<i64> = changes.iter().map(|change| change.counted.limit_id).collect();
        let ends: Vec<_> = changes.iter().map(|change| change.counted.ends_at).collect();
        let counted: Vec<i64> = changes.iter().map(|change| change.counted.units).collect();
        let used: Vec<i64> = changes.iter().map(|change| change.used).collect();
        let sent: Vec<_> = changes.iter().map(|change| change.sent_at).collect();
        let query = sqlx::query_scalar!(
            "select tidegate.quota_settle($1, $2, $3, $4, $5, $6, $7)",
            self.id,
            &ids,
            &ends,
            &counted,
            &used,
            &sent,
            lossy,
        );
        let ends = self.within_deadline(query.fetch_one(&self.pool)).await?.unwrap_or_default();
        let moved = changes.into_iter().zip(ends);
        Ok(moved.map(|(change, ends_at)| CountedUse { ends_at, units: change.used, ..change.counted }).collect())
    }

    pub(super) async fn within_deadline<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, LedgerError> {
        let connection = || self.connection.to_string();
        match tokio::time::timeout(RESPONSE_MAX, work).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => Err(LedgerError::Database { connection: connection(), source }),
            Err(_) => Err(LedgerError::Timeout { connection: connection() }),
        }
    }

    pub(super) fn gone(&self) -> LedgerError {
        LedgerError::Gone { connection: self.connection.to_string() }
    }
}

/// Units as Postgres counts them. A petabyte is more than any limit, and sums of it stay in range.
pub(super) fn units(units: u64) -> i64 {
    i64::try_from(units.min(1 << 50)).unwrap_or(i64::MAX)
}

pub(super) fn count(units: i64) -> u64 {
    u64::try_from(units).unwrap_or_default()
}

pub(super) fn interval(duration: Duration) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: i64::try_from(duration.as_micros()).unwrap_or(i64::MAX) }
}

pub(super) fn duration(interval: &PgInterval) -> Duration {
    Duration::from_micros(u64::try_from(interval.microseconds).unwrap_or_default())
}
