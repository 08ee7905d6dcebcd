//! Tasks that wait for a limit are due when the limit changes.
//!
//! A task that waits for a limit stores until when, and the worker is released. Everything that changes a limit, lifts
//! its block or moves a connection to another ledger stores the time in `tidegate.quota_limit.changed_at`. [`wake`]
//! makes the tasks due that have waited since before: they ask the ledger again, and only the ledger decides whether a
//! call is sent.

use sqlx::PgExecutor;

use crate::store::session::Deadline as _;

/// What `tidegate.task.waiting_for` begins with if a task waits for a limit.
pub(super) const PREFIX: &str = "quota ";

/// The value of `tidegate.task.waiting_for` for a task that waits for `limit`.
pub fn waiting_for(limit: &str) -> String {
    format!("{PREFIX}{limit}")
}

/// The limit that a task with this value of `tidegate.task.waiting_for` waits for. `None` if it waits for something
/// else.
pub fn limit_waited_for(waiting_for: &str) -> Option<&str> {
    waiting_for.strip_prefix(PREFIX)
}

/// Makes tasks due now that wait for a limit which has changed since they began to wait, and their runs with them.
/// Returns how many tasks. A run that is locked at the moment is left to the next time.
pub async fn wake(executor: impl PgExecutor<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        with changed as (
            -- A connection has several ledgers if its credential has changed.
            select used_by.connection, $1::text || l.name as waiting_for, max(l.changed_at) as changed_at
            from tidegate.quota_limit as l
            inner join tidegate.quota_ledger as ledger on ledger.id = l.ledger_id
            cross join lateral unnest(ledger.connections) as used_by (connection)
            -- Not one that changed while the clock was ahead.
            where l.changed_at <= clock_timestamp()
            group by used_by.connection, l.name
        ),

        outdated as (
            select run.id as run_id, task.stream
            from tidegate.run
            inner join tidegate.task on task.run_id = run.id
            inner join changed on changed.connection = run.connection and changed.waiting_for = task.waiting_for
            where
                run.state in ('queued', 'waiting', 'running')
                and task.state = 'waiting'
                -- A task may have asked before the change and stored its wait after it.
                and coalesce(task.waiting_since < changed.changed_at + interval '10 seconds', true)
                and (
                    task.waiting_until > clock_timestamp()
                    or (run.state = 'waiting' and run.due_at > clock_timestamp())
                )
        ),

        -- Runs before their tasks, as everyone locks them.
        locked as (
            select run.id
            from tidegate.run
            where run.id in (select run_id from outdated) and run.state in ('queued', 'waiting', 'running')
            order by run.id
            for update skip locked
        ),

        woken as (
            update tidegate.task
            set waiting_until = clock_timestamp()
            from outdated
            inner join locked on locked.id = outdated.run_id
            where
                task.run_id = outdated.run_id
                and task.stream = outdated.stream
                and task.state = 'waiting'
                and task.waiting_until > clock_timestamp()
            returning task.run_id
        ),

        runs as (
            update tidegate.run
            set due_at = clock_timestamp()
            from locked
            where run.id = locked.id and run.state = 'waiting' and run.due_at > clock_timestamp()
        )

        select count(*) as "tasks!"
        from woken
        "#,
        PREFIX,
    )
    .fetch_one(executor)
    .in_time()
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_task_waits_for_names_its_limit() {
        assert_eq!(limit_waited_for(&waiting_for("period_calls")), Some("period_calls"));
        assert_eq!(limit_waited_for("export"), None);
    }
}
