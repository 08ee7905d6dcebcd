//! The processes that work on runs, and the runs of jobs that none of them has in its configuration.

use sqlx::PgExecutor;

/// A run that was ended because nobody has its job any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    pub run: i64,
    pub job: String,
}

/// Says that `owner` is alive and has these jobs. Processes that fell silent an hour ago are forgotten.
pub async fn beat(executor: impl PgExecutor<'_>, owner: &str, jobs: &[String]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        with silent as (
            delete from tidegate.instance
            where seen_at < clock_timestamp() - interval '1 hour' and owner <> $1
        )

        insert into tidegate.instance (owner, jobs, seen_at)
        values ($1, $2, clock_timestamp())
        on conflict on constraint instance_pkey
        do update set jobs = excluded.jobs, seen_at = excluded.seen_at
        ",
        owner,
        jobs,
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Says that `owner` works no more.
pub async fn leave(executor: impl PgExecutor<'_>, owner: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from tidegate.instance where owner = $1", owner).execute(executor).await?;
    Ok(())
}

/// Ends runs of jobs that no process alive has, and that nobody works on. What they have read stays, with its cursors.
pub async fn cancel_orphans(executor: impl PgExecutor<'_>) -> Result<Vec<Orphan>, sqlx::Error> {
    sqlx::query_as!(
        Orphan,
        "
        update tidegate.run
        set
            state = 'cancelled',
            finished_at = clock_timestamp(),
            owner = null,
            lease_until = null,
            error = 'the job is not in the configuration any more',
            hint = 'nothing to do if it was removed or renamed; what the run has read stays'
        where
            (state in ('queued', 'waiting') or (state = 'running' and lease_until < clock_timestamp()))
            and created_at < clock_timestamp() - interval '1 minute'
            and not exists (
                select
                from tidegate.instance
                where seen_at > clock_timestamp() - interval '1 minute' and run.job = any(jobs)
            )
        returning id as run, job
        ",
    )
    .fetch_all(executor)
    .await
}
