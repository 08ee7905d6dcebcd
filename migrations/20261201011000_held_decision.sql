-- What is held needs a decision until it is released. Whether it does was not part of the state of a stream: a released
-- one stayed held until its next reading, which may be a week later. Now it is stored beside the number of held slices,
-- is_held is the one definition, and a stream whose held slices are all released is pending: the next reading decides.

alter table tidegate.stream
    add column released_slices integer not null default 0;
alter table tidegate.stream
    add column is_held boolean generated always as (held_slices > released_slices) stored;
comment on column tidegate.stream.released_slices is 'Held slices that an operator has released';
comment on column tidegate.stream.is_held is 'Whether a slice is held that no operator has released, so that a decision is needed';

-- Each change of what is held is stored by an update of held_slices, if only to the number that it had. What is released
-- is then counted; a release alone changes the number, since there may be thousands in one statement.
create function tidegate.count_released() returns trigger
language plpgsql
as $$
begin
    new.released_slices := (
        select count(*)
        from tidegate.slice
        where
            slice.connection = new.connection
            and slice.stream = new.stream
            and slice.held_since is not null
            and slice.released
    );
    return new;
end
$$;
comment on function tidegate.count_released() is 'Keeps the number of released slices with that of the held ones';
create trigger count_released
before update of held_slices on tidegate.stream
for each row
when (new.held_slices > 0 or old.released_slices > 0)
execute function tidegate.count_released();

create function tidegate.slices_released() returns trigger
language plpgsql
as $$
begin
    update tidegate.stream
    set released_slices = released_slices + case when new.released then 1 else -1 end
    where connection = new.connection and stream = new.stream;
    return null;
end
$$;
comment on function tidegate.slices_released() is 'Keeps the number of released slices when a slice is released, or its release is used up';
create trigger slices_released
after update of released on tidegate.slice
for each row
when (
    old.released is distinct from new.released
    and new.held_since is not null
    -- A slice that was read again is counted with all others of its stream.
    and old.held_since is not distinct from new.held_since
    and old.finished_at is not distinct from new.finished_at
)
execute function tidegate.slices_released();

update tidegate.stream
set held_slices = held_slices
where held_slices > 0;

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
        when known.is_held then 'held'
        when known.is_late then 'late'
        when known.has_gap then 'gap'
        when live.is_waiting then 'waiting'
        when live.is_reading then 'reading'
        when
            known.complete_until is null
            or known.last_success_at is null
            or coalesce(known.reset_at > known.last_success_at, false)
            -- All that is held is released.
            or known.held_slices > 0
            then 'pending'
        else 'on time'
    end as state,
    known.timezone,
    known.wanted_from,
    known.is_failed,
    coalesce(live.is_waiting, false) as is_waiting,
    known.is_held
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
        stream.is_held,
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
            -- What is released was read on time and waits for its next reading. It is late if that one does not come:
            -- if nothing was read for the time between two firings and the time that a success had.
            and (
                stream.held_slices = 0
                or stream.is_held
                or coalesce(
                    greatest(stream.expected_by, stream.last_error_at)
                    + make_interval(secs => stream.expected_every_seconds)
                    + (stream.expected_by - stream.expected_after)
                    < statement_timestamp(),
                    true
                )
            )
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
comment on column tidegate.stream_state.state is 'retired, paused, failed (as is_failed), held (as is_held), late, gap, waiting, reading, pending (not read to its end yet, or not since all that is held was released) or on time';
comment on column tidegate.stream_state.held_slices is 'As in tidegate.stream';
comment on column tidegate.stream_state.is_late is 'Whether no success came in time; after a release, whether no reading did';
comment on column tidegate.stream_state.is_held is 'As in tidegate.stream';

comment on column mart.data_status.held is 'Whether the last reading of a slice was too doubtful to delete rows; the state is held until an operator has decided';

-- What pages, commands and metrics count and show as open, each in the same way.
create view tidegate.open_problem as
select
    problem.id,
    problem.kind,
    problem.scope,
    problem.connection,
    problem.stream,
    problem.job,
    problem.run_id,
    problem.streams,
    problem.seen_first_at,
    problem.summary,
    problem.hint,
    case when problem.muted_until > statement_timestamp() then problem.muted_until end as muted_until,
    (problem.kind <> 'schema' or problem.stream is not null)
    and not coalesce(problem.muted_until > statement_timestamp(), false) as needs_operator
from tidegate.problem
where
    problem.closed_at is null
    and problem.opened_at is not null
    -- It ends with the next checks.
    and case
        when problem.kind = 'held'
            then coalesce(
                (
                    select bool_or(stream.is_held)
                    from tidegate.stream
                    where
                        stream.connection = problem.connection
                        and (problem.stream is null or stream.stream = problem.stream)
                        and stream.held_slices > 0
                ),
                true
            )
        else true
    end;
comment on view tidegate.open_problem is 'The problems that are open, without those that an operator has decided: everything that they hold is released';
comment on column tidegate.open_problem.id is 'As in tidegate.problem';
comment on column tidegate.open_problem.kind is 'As in tidegate.problem';
comment on column tidegate.open_problem.scope is 'As in tidegate.problem';
comment on column tidegate.open_problem.connection is 'As in tidegate.problem';
comment on column tidegate.open_problem.stream is 'As in tidegate.problem';
comment on column tidegate.open_problem.job is 'As in tidegate.problem';
comment on column tidegate.open_problem.run_id is 'As in tidegate.problem';
comment on column tidegate.open_problem.streams is 'As in tidegate.problem';
comment on column tidegate.open_problem.seen_first_at is 'As in tidegate.problem';
comment on column tidegate.open_problem.summary is 'As in tidegate.problem';
comment on column tidegate.open_problem.hint is 'As in tidegate.problem';
comment on column tidegate.open_problem.muted_until is 'As in tidegate.problem; null if it has passed';
comment on column tidegate.open_problem.needs_operator is 'Whether it needs a person: it is not muted, and not about columns that changed';
