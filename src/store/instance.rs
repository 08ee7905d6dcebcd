//! Records the running processes with their jobs, and cancels runs whose job is in no process's configuration.

use std::collections::BTreeMap;

use sqlx::PgExecutor;
use sqlx::types::Json;

use super::session::Deadline as _;

/// A run that was cancelled because no running process has its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    pub run: i64,
    pub job: String,
}

/// What a process records about itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct About {
    /// A hash of its configuration, to see whether processes differ.
    pub config_hash: Option<String>,
    /// Whether the configuration on disk is wrong; the previous one is then in force.
    pub config_refused: bool,
    /// By loop: seconds since it last succeeded. Empty for commands.
    pub loops: BTreeMap<&'static str, f64>,
}

/// Records that the process `owner` is running and has these jobs. Deletes processes that were last seen over
/// a week ago: a process that was suspended for less finds its quota statements again.
pub async fn beat(
    executor: impl PgExecutor<'_>,
    owner: &str,
    jobs: &[String],
    about: &About,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        with silent as (
            delete from tidegate.instance
            where seen_at < clock_timestamp() - interval '7 days' and owner <> $1
        )

        insert into tidegate.instance
            (owner, jobs, seen_at, started_at, version, config_hash, config_refused, loops)
        values ($1, $2, clock_timestamp(), clock_timestamp(), $3, $4, $5, $6)
        on conflict on constraint instance_pkey
        do update set
            jobs = excluded.jobs,
            seen_at = excluded.seen_at,
            started_at = coalesce(instance.started_at, excluded.started_at),
            version = excluded.version,
            config_hash = excluded.config_hash,
            config_refused = excluded.config_refused,
            loops = excluded.loops
        ",
        owner,
        jobs,
        env!("CARGO_PKG_VERSION"),
        about.config_hash,
        about.config_refused,
        Json(&about.loops) as _,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// Records that the process `owner` is running. Its jobs stay as they were last recorded.
pub async fn touch(executor: impl PgExecutor<'_>, owner: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into tidegate.instance (owner, jobs, seen_at)
        values ($1, '{}', clock_timestamp())
        on conflict on constraint instance_pkey do update set seen_at = excluded.seen_at
        ",
        owner,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// Whether a daemon is running. Commands have no hash of a configuration.
pub async fn has_daemon(executor: impl PgExecutor<'_>) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select exists (
            select
            from tidegate.instance
            where seen_at > clock_timestamp() - interval '1 minute' and config_hash is not null
        ) as "has_daemon!"
        "#
    )
    .fetch_one(executor)
    .in_time()
    .await
}

/// Deletes the record of the process `owner`, which is stopping, and its quota statements.
pub async fn leave(executor: impl PgExecutor<'_>, owner: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from tidegate.instance where owner = $1", owner).execute(executor).in_time().await?;
    Ok(())
}

/// Cancels unfinished runs that no worker holds and whose job is in no running process's configuration. Committed rows
/// and cursors are kept.
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
            hint = 'no action is needed if the job was removed or renamed; the rows that were read are kept'
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
    .in_time()
    .await
}
