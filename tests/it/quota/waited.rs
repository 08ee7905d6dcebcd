//! Tasks that wait for a limit without a worker.

use std::time::Duration;

use tidegate::quota::{Waited, end_wait};

use super::new_pool;
use crate::support::TestDatabase;

/// A claimed run with fence 3 whose tasks have waited: one for a limit from the middle of an hour, for 90 minutes, and
/// since then for a worker.
const WAITED: &str = "
    with run as (
        insert into tidegate.run (job, connection, kind, state, fence)
        values ('read', 'acme', 'schedule', 'running', 3)
        returning id
    )

    insert into tidegate.task (run_id, stream, state, waiting_for, waiting_since, waiting_until)
    select
        run.id,
        wait.stream,
        'waiting',
        wait.waiting_for,
        date_trunc('hour', now(), 'UTC') - interval '150 minutes',
        date_trunc('hour', now(), 'UTC') - interval '60 minutes'
    from run
    cross join (values ('calls', 'quota period_calls'), ('file', 'export')) as wait (stream, waiting_for)
    returning run_id";

#[tokio::test]
async fn the_wait_of_a_postponed_task_is_counted_once_in_the_hours_in_which_it_waited() {
    let database = TestDatabase::create().await;
    let pool = new_pool(&database);
    let run: i64 = sqlx::query_scalar(WAITED).fetch_one(&pool).await.unwrap();
    assert_eq!(end_wait(&pool, (run, 2), "calls").await.unwrap(), None, "another worker holds the run");
    assert_eq!(end_wait(&pool, (run, 3), "file").await.unwrap(), None, "an export is no limit");
    let waited = Waited { limit: "period_calls".to_owned(), time: Duration::from_mins(90) };
    assert_eq!(end_wait(&pool, (run, 3), "calls").await.unwrap(), Some(waited));
    // As the next worker does, if this one was killed before the task began.
    assert_eq!(end_wait(&pool, (run, 3), "calls").await.unwrap(), None);
    let hours = "
        select (extract(epoch from wait.ended_at - hour) / 3600)::int, waited_seconds, calls
        from tidegate.quota_hour
        cross join (select max(waiting_until) as ended_at from tidegate.task) as wait
        where connection = 'acme'
        order by hour";
    let hours: Vec<(i32, f64, i64)> = sqlx::query_as(hours).fetch_all(&pool).await.unwrap();
    assert_eq!(hours, [(2, 1_800.0, 0), (1, 3_600.0, 0)]);
}
