-- The state of a stream, as before, except that a stream that has not succeeded yet has failed with its first failure:
-- without a success it is not known when the next one is expected, so it is never late, and three failures of a daily
-- job take three days. Notifications and metrics read here what they need beside the state.

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
        when cardinality(known.jobs) = 0 then 'retired'
        when known.paused then 'paused'
        when known.is_failed then 'failed'
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
    end as state,
    known.timezone,
    known.wanted_from,
    known.is_failed,
    coalesce(live.is_waiting, false) as is_waiting
from (
    select
        stream.connection,
        stream.stream,
        stream.table_schema,
        stream.table_name,
        stream.timezone,
        stream.jobs,
        stream.paused or coalesce(pauses.of_all or stream.active_jobs <@ pauses.jobs, false) as paused,
        stream.wanted_from,
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
        (
            stream.needs_operator
            or stream.failures >= 3
            or (
                stream.failures > 0
                and (
                    stream.last_success_at is null
                    -- What failed before the reset is over.
                    or coalesce(
                        stream.reset_at > stream.last_success_at and stream.last_error_at > stream.reset_at, false
                    )
                )
            )
        ) as is_failed,
        stream.last_error,
        stream.last_error_at,
        stream.expected_by,
        stream.expected_every_seconds,
        (
            coalesce(stream.expected_by < statement_timestamp(), false)
            and coalesce(stream.last_success_at <= stream.expected_after, true)
            and coalesce(cardinality(stream.jobs) > 0, true)
            and not (stream.paused or coalesce(pauses.of_all or stream.active_jobs <@ pauses.jobs, false))
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
comment on column tidegate.stream_state.state is 'retired, paused, failed (as is_failed), held, late, gap, waiting, reading, pending (not read to its end yet) or on time';
comment on column tidegate.stream_state.is_failed is 'Whether an operator is needed, three readings failed in a row, or one failed and none has succeeded yet, or since a reset';
comment on column tidegate.stream_state.is_waiting is 'Whether a run waits for a limit, an export or a fault to pass before it reads the stream further';
