-- The unfinished tasks of a run that is cancelled are cancelled with it, by whichever statement ends the run.

alter table tidegate.task
    drop constraint task_state_check,
    add constraint task_state_check check (
        state in ('queued', 'running', 'waiting', 'succeeded', 'held', 'failed', 'cancelled')
    );
comment on column tidegate.task.state is 'queued, running, waiting, succeeded, held, failed or cancelled (with its run)';
comment on column tidegate.task.error is
'Why it failed, waits, was cancelled or has slices held, without vendor data or secrets';

create function tidegate.run_cancelled() returns trigger
language plpgsql
as $$
begin
    update tidegate.task
    set
        state = 'cancelled',
        finished_at = coalesce(new.finished_at, clock_timestamp()),
        waiting_for = null,
        waiting_until = null,
        -- An error that the run had before is not why it was cancelled.
        error = case
            when new.error is distinct from old.error then coalesce(new.error, 'the run was cancelled')
            else 'the run was cancelled'
        end,
        hint = case when new.error is distinct from old.error then new.hint end
    where run_id = new.id and state in ('queued', 'running', 'waiting');
    return null;
end
$$;
comment on function tidegate.run_cancelled() is 'Cancels the unfinished tasks of a run that is cancelled';

create trigger run_cancelled
after update of state on tidegate.run
for each row
when (new.state = 'cancelled' and old.state <> 'cancelled')
execute function tidegate.run_cancelled();

-- Those of runs that were cancelled before.
update tidegate.task
set
    state = 'cancelled',
    finished_at = coalesce(run.finished_at, task.finished_at, clock_timestamp()),
    waiting_for = null,
    waiting_until = null,
    error = case
        when run.error like 'cancelled by %' or run.error = 'the job is not in the configuration any more' then run.error
        else 'the run was cancelled'
    end,
    hint = case when run.error = 'the job is not in the configuration any more' then run.hint end
from tidegate.run
where
    run.id = task.run_id
    and run.state = 'cancelled'
    and task.state in ('queued', 'running', 'waiting');
