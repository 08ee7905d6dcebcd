-- What several pages show of a stream, each selected in one place: what it waits for, and what of the last days is held.

create view tidegate.stream_wait as
select distinct on (run.connection, task.stream)
    run.connection,
    task.stream,
    run.id as run_id,
    run.job,
    task.waiting_for,
    case when task.waiting_until > statement_timestamp() then task.waiting_until end as waiting_until,
    task.attempts,
    task.error,
    task.hint
from tidegate.run
inner join tidegate.task on run.id = task.run_id
where run.state in ('queued', 'waiting', 'running') and task.state = 'waiting'
order by run.connection, task.stream, task.waiting_until, run.id;
comment on view tidegate.stream_wait is 'Streams that wait for a limit, an export or a fault to pass, each with the task that goes on first';
comment on column tidegate.stream_wait.connection is 'Connection';
comment on column tidegate.stream_wait.stream is 'Stream';
comment on column tidegate.stream_wait.run_id is 'The run of the task';
comment on column tidegate.stream_wait.job is 'The job of the run';
comment on column tidegate.stream_wait.waiting_for is 'As in tidegate.task';
comment on column tidegate.stream_wait.waiting_until is 'When the task goes on; null if the time has come and it waits for a worker';
comment on column tidegate.stream_wait.attempts is 'As in tidegate.task';
comment on column tidegate.stream_wait.error is 'As in tidegate.task';
comment on column tidegate.stream_wait.hint is 'As in tidegate.task';

create view tidegate.held_range as
select
    connection,
    stream,
    window_start,
    least(read_until, window_end) as read_until
from tidegate.slice
where
    held_since is not null
    -- A list has no range.
    and window_start > 'epoch'
    and window_end > statement_timestamp() - interval '32 days';
comment on view tidegate.held_range is 'What was read of the held slices of the last 32 days, which is more than a page shows of a connection';
comment on column tidegate.held_range.connection is 'Connection';
comment on column tidegate.held_range.stream is 'Stream';
comment on column tidegate.held_range.window_start is 'As in tidegate.slice';
comment on column tidegate.held_range.read_until is 'The end of what was read, at the latest the end of the slice';
