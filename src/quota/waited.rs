//! The time that tasks wait for a limit without a worker.
//!
//! A call that has to wait for less than a minute waits in memory, and its session counts that. A longer wait is stored
//! with the task (`tidegate.task.waiting_since`). [`end_wait`] counts it when a worker takes up the task again.

use std::time::Duration;

use sqlx::PgExecutor;

use super::changed::PREFIX;
use crate::store::session::Deadline as _;

/// A wait that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Waited {
    pub limit: String,
    pub time: Duration,
}

/// Ends the wait of a task that this claim (run and fence) takes up: adds its time to the hours in
/// `tidegate.quota_hour` and returns it. `None` if it waited for no limit, or if its wait was counted already. The time
/// after `waiting_until` is not counted: then it waited for a worker. The wait of a task that is cancelled is not
/// counted.
pub async fn end_wait(
    executor: impl PgExecutor<'_>,
    (run, fence): (i64, i64),
    stream: &str,
) -> Result<Option<Waited>, sqlx::Error> {
    let waited = sqlx::query!(
        r#"
        with waited as (
            select
                task.run_id,
                task.stream,
                run.connection,
                substr(task.waiting_for, length($1::text) + 1) as name,
                -- Older hours are not kept.
                greatest(task.waiting_since, clock_timestamp() - interval '90 days') as since,
                least(task.waiting_until, clock_timestamp()) as until
            from tidegate.task
            inner join tidegate.run on run.id = task.run_id
            where
                task.run_id = $2
                and task.stream = $3
                and task.state = 'waiting'
                and task.waiting_since is not null
                and starts_with(task.waiting_for, $1)
                and run.fence = $4
                and run.state = 'running'
            for update of task
        ),

        counted as (
            update tidegate.task
            set waiting_since = null
            from waited
            where task.run_id = waited.run_id and task.stream = waited.stream
        ),

        hours as (
            insert into tidegate.quota_hour as known (connection, hour, waited_seconds)
            select
                waited.connection,
                hours.hour,
                extract(
                    epoch from least(waited.until, hours.hour + interval '1 hour') - greatest(waited.since, hours.hour)
                )
            from waited
            cross join lateral generate_series(date_trunc('hour', waited.since, 'UTC'), waited.until, interval '1 hour')
                as hours (hour)
            where hours.hour < waited.until and waited.since < waited.until
            order by hours.hour
            on conflict on constraint quota_hour_pkey
            do update set waited_seconds = known.waited_seconds + excluded.waited_seconds
        )

        select
            name as "name!",
            extract(epoch from until - since)::double precision as "seconds!"
        from waited
        -- Not if the clock was set back meanwhile.
        where since < until
        "#,
        PREFIX,
        run,
        stream,
        fence,
    )
    .fetch_optional(executor)
    .in_time()
    .await?;
    Ok(waited.map(|waited| Waited {
        limit: waited.name,
        time: Duration::try_from_secs_f64(waited.seconds).unwrap_or_default(),
    }))
}
