-- Turns firings, at most one of each job, into runs with their tasks, unless the job still has an unfinished scheduled
-- run. The caller holds the locks on the jobs' rows, so nothing changes between the check and the insert.
with firing as (
    select
        job,
        connection,
        priority,
        at,
        streams
    from unnest($1::text[], $2::text[], $3::int[], $4::timestamptz[], $5::text[])
        as firing (job, connection, priority, at, streams)
),
inserted as (
    insert into tidegate.run (job, connection, kind, priority, scheduled_for)
    select job, connection, 'schedule', priority, at
    from firing
    where job not in (
        select run.job from tidegate.run
        where run.kind = 'schedule' and run.state in ('queued', 'running', 'waiting')
    )
    -- A firing that has a run is done, in whichever process the run was created.
    on conflict on constraint run_firing_key do nothing
    returning id, job, scheduled_for
),
task as (
    insert into tidegate.task (run_id, stream)
    select distinct inserted.id, streams.stream
    from inserted
    inner join firing on firing.job = inserted.job
    -- An array of arrays of different lengths does not exist. A line feed is in no stream's name.
    cross join unnest(string_to_array(firing.streams, e'\n')) as streams (stream)
),
settled as (
    update tidegate.job set due_after = inserted.scheduled_for
    from inserted
    where job.name = inserted.job and job.due_after < inserted.scheduled_for
)
select id as "id!", job as "job!" from inserted
