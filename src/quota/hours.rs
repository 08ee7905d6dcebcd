//! What was used by the hour, which the ledger forgets: for people who look back on a week.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use sqlx::PgPool;

use crate::clock;
use crate::store::session::Deadline as _;

/// What connections used since it was last stored.
#[derive(Debug, Default)]
pub struct Hours {
    sums: Mutex<BTreeMap<(String, DateTime<Utc>), Traffic>>,
}

/// Calls of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Traffic {
    pub calls: u64,
    pub bytes: u64,
    pub waited: Duration,
    /// Calls that the vendor refused because of a limit.
    pub refused: u64,
}

impl Traffic {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.bytes += other.bytes;
        self.waited += other.waited;
        self.refused += other.refused;
    }
}

impl Hours {
    /// Counts traffic in the current hour.
    pub fn record(&self, connection: &str, traffic: Traffic) {
        if traffic != Traffic::default() {
            let now = clock::now();
            let hour = now.duration_trunc(TimeDelta::hours(1)).unwrap_or(now);
            self.add((connection.to_owned(), hour), traffic);
        }
    }

    fn add(&self, key: (String, DateTime<Utc>), traffic: Traffic) {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().add(traffic);
    }

    /// Stores what was counted. If that fails, it is stored the next time.
    pub async fn store(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let sums = std::mem::take(&mut *self.sums.lock().unwrap_or_else(PoisonError::into_inner));
        if sums.is_empty() {
            return Ok(());
        }
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let (connections, hours): (Vec<String>, Vec<DateTime<Utc>>) = sums.keys().cloned().unzip();
        let calls: Vec<i64> = sums.values().map(|sum| signed(sum.calls)).collect();
        let bytes: Vec<i64> = sums.values().map(|sum| signed(sum.bytes)).collect();
        let waited: Vec<f64> = sums.values().map(|sum| sum.waited.as_secs_f64()).collect();
        let refused: Vec<i64> = sums.values().map(|sum| signed(sum.refused)).collect();
        let stored = sqlx::query!(
            "
            with old as (
                delete from tidegate.quota_hour where hour < clock_timestamp() - interval '90 days'
            )

            insert into tidegate.quota_hour as known (connection, hour, calls, bytes, waited_seconds, refused)
            select *
            from unnest($1::text[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::double precision[], $6::bigint[])
            on conflict on constraint quota_hour_pkey
            do update set
                calls = known.calls + excluded.calls,
                bytes = known.bytes + excluded.bytes,
                waited_seconds = known.waited_seconds + excluded.waited_seconds,
                refused = known.refused + excluded.refused
            ",
            &connections,
            &hours,
            &calls,
            &bytes,
            &waited,
            &refused,
        )
        .execute(pool)
        .in_time()
        .await;
        if let Err(error) = stored {
            for (key, sum) in sums {
                self.add(key, sum);
            }
            return Err(error);
        }
        Ok(())
    }
}
