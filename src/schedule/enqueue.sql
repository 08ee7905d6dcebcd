-- Turns one firing of a job into a run with its tasks, unless the job still has an unfinished scheduled run.
-- The caller holds the lock on the job's row, so nothing changes between the check and the insert.
with inserted as (
    insert into tidegate.run (job, connection, kind, priority, scheduled_for)
    select $1, $2, 'schedule', $3, $4
    where not exists (
        select from tidegate.run
        where job = $1 and kind = 'schedule' and state in ('queued', 'running', 'waiting')
    )
    -- A firing that has a run is done, in whichever process the run was created.
    on conflict on constraint run_firing_key do nothing
    returning id
),
task as (
    insert into tidegate.task (run_id, stream)
    select inserted.id, streams.stream
    from inserted, (select distinct unnest($5::text[]) as stream) as streams
),
settled as (
    update tidegate.job set due_after = $4
    where name = $1 and due_after < $4 and exists (select from inserted)
)
select id from inserted
