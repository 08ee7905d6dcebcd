-- Pauses that operators set, with an end: of a job, or of everything. A pause in the configuration has no end and wins.

create table tidegate.pause (
    job text not null,
    until timestamptz not null,
    reason text not null,
    actor text not null,
    since timestamptz not null default clock_timestamp(),
    constraint pause_pkey primary key (job)
);
comment on table tidegate.pause is 'Jobs whose firings wait until a time that an operator set; afterwards catch_up decides about them';
comment on column tidegate.pause.job is 'The job; empty for every job';
comment on column tidegate.pause.until is 'End of the pause; a row whose end has passed has no effect';
comment on column tidegate.pause.reason is 'Why, as the operator wrote it';
comment on column tidegate.pause.actor is 'Who set it';
comment on column tidegate.pause.since is 'When it was set';

alter table tidegate.stream
    add column active_jobs text [];
comment on column tidegate.stream.active_jobs is 'Those of its jobs that the configuration does not pause; null if no process has said so';

-- A stream is paused if each of its jobs is, by the configuration or by an operator.
create or replace view tidegate.stream_state as
select
    known.connection,
    known.stream,
    known.table_schema,
    known.table_name,
    known.covers_from,
    known.complete_until,
    known.newest_data_until,
    known.has_gap,
    known.held_slices,
    known.last_success_at,
    known.last_error,
    known.last_error_at,
    -- Not negative after the clock was set back.
    case
        when known.complete_until > statement_timestamp() then 0
        else extract(epoch from statement_timestamp() - known.complete_until)
    end::double precision as age_seconds,
    known.expected_by,
    known.expected_every_seconds,
    known.is_late,
    case
        when known.jobs = '{}' then 'retired'
        when known.paused then 'paused'
        when known.needs_operator or known.failures >= 3 then 'failed'
        when known.held_slices > 0 then 'held'
        when known.is_late then 'late'
        when known.has_gap then 'gap'
        when live.is_waiting then 'waiting'
        when live.is_reading then 'reading'
        when
            known.complete_until is null
            or known.last_success_at is null
            or coalesce(known.reset_at > known.last_success_at, false)
            then 'pending'
        else 'on time'
    end as state
from (
    select
        stream.connection,
        stream.stream,
        stream.table_schema,
        stream.table_name,
        stream.jobs,
        stream.paused or coalesce(pauses.of_all or stream.active_jobs <@ pauses.jobs, false) as paused,
        stream.covers_from,
        -- If the clock was ahead, what was read then is not known to be complete.
        case
            when coalesce(stream.last_finish_at <= statement_timestamp(), true) then stream.complete_until
        end as complete_until,
        stream.newest_data_until,
        stream.has_gap,
        stream.held_slices,
        stream.last_success_at,
        stream.reset_at,
        stream.failures,
        stream.needs_operator,
        stream.last_error,
        stream.last_error_at,
        stream.expected_by,
        stream.expected_every_seconds,
        (
            coalesce(stream.jobs <> '{}', true)
            and not (stream.paused or coalesce(pauses.of_all or stream.active_jobs <@ pauses.jobs, false))
            and coalesce(stream.expected_by < statement_timestamp(), false)
            and coalesce(stream.last_success_at <= stream.expected_after, true)
        ) as is_late
    from tidegate.stream
    cross join (
        select coalesce(bool_or(job = ''), false) as of_all, coalesce(array_agg(job), '{}') as jobs
        from tidegate.pause
        where until > statement_timestamp()
    ) as pauses
) as known
left join (
    select
        run.connection,
        task.stream,
        bool_or(task.state = 'waiting') as is_waiting,
        bool_or(task.state = 'running' and run.state = 'running' and run.lease_until > statement_timestamp()) as is_reading
    from tidegate.run
    inner join tidegate.task on run.id = task.run_id
    where run.state in ('queued', 'waiting', 'running') and task.state in ('waiting', 'running')
    group by run.connection, task.stream
) as live
    on known.connection = live.connection and known.stream = live.stream;
