-- Promise 11: from when to when a table is complete, and why it is not, as columns and views.
--
-- A stream's summary is kept in its row of tidegate.stream, by triggers of tidegate.slice: every transaction that finishes,
-- holds, releases or deletes a slice changes it too, in whichever version of Tidegate. Readers then scan small rows and
-- never the slices.

alter table tidegate.stream
    add column unread boolean not null default false,
    add column jobs text[],
    add column paused boolean not null default false,
    add column day_zone text,
    add column wanted_from timestamptz,
    add column covers_from timestamptz,
    add column read_through timestamptz,
    add column complete_until timestamptz,
    add column newest_data_until timestamptz,
    add column has_gap boolean not null default false,
    add column held_slices integer not null default 0,
    add column last_finish_at timestamptz,
    add column reset_at timestamptz,
    add column failures integer not null default 0,
    add column needs_operator boolean not null default false,
    add column last_error text,
    add column last_error_at timestamptz,
    add column expected_by timestamptz,
    add column expected_after timestamptz,
    add column expected_every_seconds bigint;
comment on column tidegate.stream.unread is 'Whether no run has begun it: a job of a running process reads it, and the row was made for that';
comment on column tidegate.stream.jobs is 'The jobs that read it, as the last process that has them says; empty if no running process has any of them; null if no process has said';
comment on column tidegate.stream.paused is 'Whether every job that reads it is paused';
comment on column tidegate.stream.day_zone is 'Zone of the days of mart.day_status: timezone, or UTC if the server does not know that zone';
comment on column tidegate.stream.wanted_from is 'Start of the data that its jobs ask for; null for a list, and if no process has said';
comment on column tidegate.stream.covers_from is 'Start of the first finished slice of the part without gaps that contains wanted_from; null for a list';
comment on column tidegate.stream.read_through is 'End of that part, held slices included';
comment on column tidegate.stream.complete_until is 'End of that part before its first held slice; for a list, when its last reading that was not held began';
comment on column tidegate.stream.newest_data_until is 'How far the newest finished slice that is not held was read; for a list, as complete_until';
comment on column tidegate.stream.has_gap is 'Whether something between wanted_from and the newest finished slice was not read';
comment on column tidegate.stream.held_slices is 'Slices that are held';
comment on column tidegate.stream.last_finish_at is 'When a slice was last finished; in the future if the clock was ahead then, and the summary is out of date';
comment on column tidegate.stream.reset_at is 'When finished slices were last deleted, to be read again';
comment on column tidegate.stream.failures is 'Tasks that failed in a row';
comment on column tidegate.stream.needs_operator is 'Whether the last task failed in a way that an operator must put right';
comment on column tidegate.stream.last_error is 'Why the last task failed or has slices held, without vendor data or secrets; null after a success';
comment on column tidegate.stream.last_error_at is 'When that was';
comment on column tidegate.stream.expected_by is 'When the next success is late: the first firing of its jobs after expected_after, and time to read; null if no job with a schedule reads it';
comment on column tidegate.stream.expected_after is 'The success that expected_by follows; after a later one nothing is late yet';
comment on column tidegate.stream.expected_every_seconds is 'Seconds from that firing to the next one';
comment on column tidegate.slice.rows_total is 'Rows of the last finished reading: in tables of windows and lists, the rows that the table then had; in tables of modes upsert and observe, the rows that the reading reported, which other slices may have reported too';

-- Writes the summary of a stream. With `anew` from all of its slices. Otherwise the stored part without gaps is extended,
-- which reads few rows and is right unless a slice was deleted or now reaches less far.
create function tidegate.summarize_stream(of_connection text, of_stream text, anew boolean, finish timestamptz)
returns void
language plpgsql
as $$
declare
    known record;
    list record;
    slice record;
    first timestamptz;
    through timestamptz;
    reach timestamptz;
    newest timestamptz;
    held integer;
    held_from timestamptz;
begin
    select covers_from, read_through, complete_until, wanted_from as wanted, anchor, timezone, day_zone
    into known
    from tidegate.stream
    where connection = of_connection and stream = of_stream
    for no key update;
    if not found then
        return;
    end if;
    if anew or known.day_zone is null then
        begin
            known.day_zone := known.timezone;
            known.wanted := coalesce(known.wanted, known.anchor::timestamp at time zone known.day_zone);
            perform statement_timestamp() at time zone known.day_zone;
        exception
            when invalid_parameter_value then
                known.day_zone := 'UTC';
        end;
    end if;
    known.wanted := coalesce(known.wanted, known.anchor::timestamp at time zone known.day_zone);
    -- A finish in the future was stored while the clock was ahead: the slice counts as unread.
    select
        s.read_until, s.held_since, s.finished_at,
        coalesce(s.finished_at <= clock_timestamp(), false) as is_read
    into list
    from tidegate.slice as s
    where s.connection = of_connection and s.stream = of_stream and s.window_start = 'epoch';
    if found then
        reach := case
            when list.is_read and list.held_since is null then list.read_until
            -- When the last reading that was not held began is not stored anywhere else.
            when list.is_read then known.complete_until
        end;
        update tidegate.stream
        set
            day_zone = known.day_zone,
            covers_from = null,
            read_through = null,
            complete_until = reach,
            newest_data_until = reach,
            has_gap = false,
            held_slices = (list.held_since is not null)::integer,
            last_finish_at = case when list.is_read then list.finished_at end
        where connection = of_connection and stream = of_stream;
        return;
    end if;

    if not anew and known.covers_from <= known.wanted and known.wanted < known.read_through then
        first := known.covers_from;
        through := known.read_through;
    else
        -- The slice that contains `wanted`; else the first one after it, else the last one before it.
        select s.window_start, s.window_end into slice
        from tidegate.slice as s
        where
            s.connection = of_connection and s.stream = of_stream and s.window_start > 'epoch'
            and s.window_start <= known.wanted and s.finished_at <= clock_timestamp()
        order by s.window_start desc
        limit 1;
        first := slice.window_start;
        if first is null or slice.window_end <= known.wanted then
            select s.window_start into slice
            from tidegate.slice as s
            where
                s.connection = of_connection and s.stream = of_stream
                and s.window_start > known.wanted and s.finished_at <= clock_timestamp()
            order by s.window_start
            limit 1;
            first := coalesce(slice.window_start, first);
        end if;
        through := first;
    end if;

    -- Forward, while one slice begins where the one before it was read to its end. One row at a time, so that the index is
    -- used whatever the planner believes.
    loop
        select s.window_end, s.read_until, coalesce(s.finished_at <= clock_timestamp(), false) as is_read into slice
        from tidegate.slice as s
        where
            s.connection = of_connection and s.stream = of_stream and s.window_start > 'epoch'
            and s.window_start <= through
        order by s.window_start desc
        limit 1;
        exit when not found or not slice.is_read or least(slice.read_until, slice.window_end) <= through;
        through := least(slice.read_until, slice.window_end);
        exit when slice.read_until < slice.window_end;
    end loop;
    -- Backward.
    loop
        select s.window_start into slice
        from tidegate.slice as s
        where
            s.connection = of_connection and s.stream = of_stream and s.window_start > 'epoch'
            and s.window_end = first and s.finished_at <= clock_timestamp() and s.read_until >= s.window_end;
        exit when not found;
        first := slice.window_start;
    end loop;

    select least(s.read_until, s.window_end) into reach
    from tidegate.slice as s
    where s.connection = of_connection and s.stream = of_stream and s.finished_at <= clock_timestamp()
    order by s.window_end desc
    limit 1;
    select least(s.read_until, s.window_end) into newest
    from tidegate.slice as s
    where
        s.connection = of_connection and s.stream = of_stream and s.finished_at <= clock_timestamp()
        and s.held_since is null
    order by s.window_end desc
    limit 1;
    select count(*), min(s.window_start) filter (where s.window_start >= first) into held, held_from
    from tidegate.slice as s
    where s.connection = of_connection and s.stream = of_stream and s.held_since is not null;

    update tidegate.stream
    set
        day_zone = known.day_zone,
        covers_from = first,
        read_through = through,
        complete_until = least(through, held_from),
        newest_data_until = newest,
        has_gap = coalesce(first > known.wanted or reach > through, false),
        held_slices = held,
        last_finish_at = case
            when anew then (
                select max(s.finished_at)
                from tidegate.slice as s
                where
                    s.connection = of_connection and s.stream = of_stream and s.finished_at <= clock_timestamp()
            )
            else greatest(last_finish_at, finish)
        end
    where connection = of_connection and stream = of_stream;
end
$$;
comment on function tidegate.summarize_stream(text, text, boolean, timestamptz) is
'Writes from when to when a stream is complete to its row of tidegate.stream';

create function tidegate.slice_changed() returns trigger
language plpgsql
as $$
declare
    reached_before timestamptz := case when old.finished_at is not null then least(old.read_until, old.window_end) end;
    reaches timestamptz := case when new.finished_at is not null then least(new.read_until, new.window_end) end;
begin
    perform tidegate.summarize_stream(
        new.connection,
        new.stream,
        -- Null at the first finish, whose slice had no earlier one.
        coalesce(
            old.window_start <> new.window_start
            or old.window_end <> new.window_end
            or (reached_before is not null and (reaches is null or reaches < reached_before))
            or new.finished_at < old.finished_at
            or new.finished_at > clock_timestamp(),
            false
        ),
        new.finished_at
    );
    return null;
end
$$;
comment on function tidegate.slice_changed() is 'Keeps the summary of a stream when one of its slices changes';

create function tidegate.slices_added() returns trigger
language plpgsql
as $$
declare
    changed record;
begin
    for changed in
        select distinct added.connection, added.stream
        from added
        where added.finished_at is not null
        order by added.connection, added.stream
    loop
        perform tidegate.summarize_stream(changed.connection, changed.stream, true, null);
    end loop;
    return null;
end
$$;
comment on function tidegate.slices_added() is 'Keeps the summaries of streams when finished slices are added';

create function tidegate.slices_deleted() returns trigger
language plpgsql
as $$
declare
    changed record;
begin
    for changed in
        select deleted.connection, deleted.stream
        from deleted
        where deleted.finished_at is not null
        group by deleted.connection, deleted.stream
        order by deleted.connection, deleted.stream
    loop
        update tidegate.stream
        set reset_at = clock_timestamp(), complete_until = null
        where connection = changed.connection and stream = changed.stream;
        perform tidegate.summarize_stream(changed.connection, changed.stream, true, null);
    end loop;
    return null;
end
$$;
comment on function tidegate.slices_deleted() is 'Keeps the summaries of streams when finished slices are deleted';

create function tidegate.grid_changed() returns trigger
language plpgsql
as $$
begin
    perform tidegate.summarize_stream(new.connection, new.stream, true, null);
    return null;
end
$$;
comment on function tidegate.grid_changed() is 'Keeps the summary of a stream when its jobs ask for data from another time on';

-- A page that is committed changes no column named here, so it costs nothing.
create trigger slice_changed
after update of window_start, window_end, read_until, finished_at, held_since on tidegate.slice
for each row
when (
    (old.window_start, old.window_end, old.read_until, old.finished_at, old.held_since)
    is distinct from (new.window_start, new.window_end, new.read_until, new.finished_at, new.held_since)
)
execute function tidegate.slice_changed();
create trigger slices_added
after insert on tidegate.slice
referencing new table as added
for each statement
execute function tidegate.slices_added();
create trigger slices_deleted
after delete on tidegate.slice
referencing old table as deleted
for each statement
execute function tidegate.slices_deleted();
create trigger stream_added
after insert on tidegate.stream
for each row
execute function tidegate.grid_changed();
create trigger grid_changed
after update of wanted_from, anchor, timezone on tidegate.stream
for each row
-- A process that says for the first time what is assumed already changes nothing.
when (
    (coalesce(old.wanted_from, old.anchor::timestamp at time zone old.day_zone), old.anchor, old.timezone)
    is distinct from (coalesce(new.wanted_from, new.anchor::timestamp at time zone new.day_zone), new.anchor, new.timezone)
)
execute function tidegate.grid_changed();

do $$
declare
    known record;
begin
    for known in select connection, stream from tidegate.stream loop
        perform tidegate.summarize_stream(known.connection, known.stream, true, null);
    end loop;
end
$$;
update tidegate.stream
set failures = (newest.state = 'failed')::integer, last_error = newest.error, last_error_at = newest.finished_at
from (
    select distinct on (run.connection, task.stream)
        run.connection, task.stream, task.state, task.error, task.finished_at
    from tidegate.task
    inner join tidegate.run on task.run_id = run.id
    where task.finished_at is not null
    order by run.connection, task.stream, task.finished_at desc, run.id desc
) as newest
where
    newest.connection = stream.connection
    and newest.stream = stream.stream
    and newest.state in ('failed', 'held');

-- The one definition of a stream's state, for pages, metrics, alerts and mart.data_status.
create view tidegate.stream_state as
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
        stream.paused,
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
            and not stream.paused
            and coalesce(stream.expected_by < statement_timestamp(), false)
            and coalesce(stream.last_success_at <= stream.expected_after, true)
        ) as is_late
    from tidegate.stream
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
comment on view tidegate.stream_state is 'From when to when each stream is complete, and its state: the first that applies, in the order of the case expression';
comment on column tidegate.stream_state.connection is 'The connection';
comment on column tidegate.stream_state.stream is 'The stream';
comment on column tidegate.stream_state.table_schema is 'Schema of the table it fills';
comment on column tidegate.stream_state.table_name is 'The table it fills';
comment on column tidegate.stream_state.covers_from is 'As in tidegate.stream';
comment on column tidegate.stream_state.complete_until is 'As in tidegate.stream; null if a slice was finished in the future, while the clock was ahead';
comment on column tidegate.stream_state.newest_data_until is 'As in tidegate.stream';
comment on column tidegate.stream_state.has_gap is 'As in tidegate.stream';
comment on column tidegate.stream_state.held_slices is 'As in tidegate.stream';
comment on column tidegate.stream_state.last_success_at is 'As in tidegate.stream';
comment on column tidegate.stream_state.last_error is 'As in tidegate.stream';
comment on column tidegate.stream_state.last_error_at is 'As in tidegate.stream';
comment on column tidegate.stream_state.age_seconds is 'Seconds since complete_until';
comment on column tidegate.stream_state.expected_by is 'As in tidegate.stream';
comment on column tidegate.stream_state.expected_every_seconds is 'As in tidegate.stream';
comment on column tidegate.stream_state.is_late is 'Whether expected_by has passed without a success, and a job that is not paused reads the stream';
comment on column tidegate.stream_state.state is 'retired, paused, failed (an operator is needed, or three failures in a row), held, late, gap, waiting, reading, pending (not read to its end yet) or on time';

create schema mart;
comment on schema mart is 'Questions answered over all vendors, for analysts: views of the tables of all connections';

create view mart.data_status as
select
    state.table_schema as source,
    state.connection,
    state.table_schema || '.' || state.table_name as table_name,
    state.covers_from,
    state.complete_until,
    state.newest_data_until,
    state.has_gap,
    state.held_slices > 0 as held,
    state.last_success_at,
    state.last_error,
    state.age_seconds,
    state.expected_every_seconds,
    state.is_late,
    state.state,
    state.expected_by,
    state.held_slices,
    state.stream
from tidegate.stream_state as state;
comment on view mart.data_status is 'From when to when a table is complete, and why it is not; one row per connection and table';
comment on column mart.data_status.source is 'The vendor, as the schema of its tables';
comment on column mart.data_status.connection is 'The connection, as in the column _connection of the table';
comment on column mart.data_status.table_name is 'The table, with its schema';
comment on column mart.data_status.covers_from is 'Start of the part without gaps that complete_until ends; null for a list, which has no time of its own';
comment on column mart.data_status.complete_until is 'Everything from covers_from to here was read and is not held; for a list, when its last complete reading began; null if nothing is complete';
comment on column mart.data_status.newest_data_until is 'How far the newest data reach, possibly after a gap; held data do not count';
comment on column mart.data_status.has_gap is 'Whether something before the newest data was not read; mart.day_status tells which days';
comment on column mart.data_status.held is 'Whether the last reading of a slice was too doubtful to delete rows, and an operator has to decide';
comment on column mart.data_status.held_slices is 'Slices (a list is one) that are held';
comment on column mart.data_status.last_success_at is 'When the table was last read to its end, with nothing held';
comment on column mart.data_status.last_error is 'Why the last reading failed or is held; null after a success';
comment on column mart.data_status.age_seconds is 'Seconds since complete_until';
comment on column mart.data_status.expected_every_seconds is 'Seconds between readings by the schedule; null without a schedule';
comment on column mart.data_status.is_late is 'Whether the reading that the schedule asks for has not succeeded in time; never for paused jobs and those without a schedule';
comment on column mart.data_status.state is 'retired (no job reads it any more), paused, failed, held, late, gap, waiting (for a limit, an export or a fault to pass), reading, pending (not read to its end yet) or on time; the first that applies';
comment on column mart.data_status.expected_by is 'When the next success is late';
comment on column mart.data_status.stream is 'The stream that fills the table, as in the configuration';

create view mart.day_status as
select
    stream.table_schema as source,
    stream.connection,
    stream.table_schema || '.' || stream.table_name as table_name,
    day.day,
    case
        when part.slices = 0 then 'missing'
        when part.is_held then 'held'
        when part.covered >= day.ends_at - day.starts_at then 'complete'
        else 'partial'
    end as state,
    part.rows,
    part.last_read_at
from tidegate.stream
cross join lateral (
    select
        least(
            stream.wanted_from,
            stream.covers_from,
            (
                select slice.window_start
                from tidegate.slice
                where
                    slice.connection = stream.connection
                    and slice.stream = stream.stream
                    and slice.window_start > 'epoch'
                    and slice.finished_at is not null
                order by slice.window_start
                limit 1
            )
        ) at time zone stream.day_zone as first_time,
        case
            -- Nobody expects more data of a stream that no job reads.
            when stream.jobs = '{}' then stream.newest_data_until - interval '1 microsecond'
            else statement_timestamp()
        end at time zone stream.day_zone as last_time
) as range
cross join lateral (
    select
        series.day::date as day,
        series.day::timestamp at time zone stream.day_zone as starts_at,
        (series.day + interval '1 day')::timestamp at time zone stream.day_zone as ends_at
    from generate_series(range.first_time::date::timestamp, range.last_time, interval '1 day') as series (day)
) as day
cross join lateral (
    select
        count(*) as slices,
        bool_or(slice.held_since is not null) as is_held,
        sum(least(slice.read_until, slice.window_end, day.ends_at) - greatest(slice.window_start, day.starts_at)) as covered,
        -- The rows of a longer slice are not counted by day.
        case
            when bool_and(slice.window_start >= day.starts_at and slice.window_end <= day.ends_at)
                then sum(slice.rows_total)::bigint
        end as rows,
        max(slice.finished_at) as last_read_at
    from tidegate.slice
    where
        slice.connection = stream.connection
        and slice.stream = stream.stream
        and slice.window_start > 'epoch'
        and slice.window_start >= coalesce(
            (
                select max(before.window_start)
                from tidegate.slice as before
                where
                    before.connection = stream.connection
                    and before.stream = stream.stream
                    and before.window_start <= day.starts_at
            ),
            day.starts_at
        )
        and slice.window_start < day.ends_at
        and least(slice.read_until, slice.window_end) > day.starts_at
        -- A finish in the future was stored while the clock was ahead: the slice counts as unread.
        and slice.finished_at <= statement_timestamp()
) as part
where coalesce(stream.wanted_from, stream.covers_from) is not null and day.starts_at < day.ends_at;
comment on view mart.day_status is 'Whether a day is complete; one row per connection, table of windows, and day up to today. Ask for one table or for few days';
comment on column mart.day_status.source is 'The vendor, as the schema of its tables';
comment on column mart.day_status.connection is 'The connection, as in the column _connection of the table';
comment on column mart.day_status.table_name is 'The table, with its schema';
comment on column mart.day_status.day is 'Local date in the time zone of the job';
comment on column mart.day_status.state is 'complete, partial (not read to its end, as today), missing (not read) or held (its reading was too doubtful to delete rows)';
comment on column mart.day_status.rows is 'Rows that the last reading of the day reported; null if it was read together with other days';
comment on column mart.day_status.last_read_at is 'When the day was last read';

create view mart.schema_changes as
select
    change.table_schema as source,
    change.connection,
    change.table_schema || '.' || change.table_name as table_name,
    change.column_name,
    change.change,
    change.old_type,
    change.new_type,
    change.changed_at
from tidegate.schema_change as change;
comment on view mart.schema_changes is 'What changed in the tables; one row per change';
comment on column mart.schema_changes.source is 'The vendor, as the schema of its tables';
comment on column mart.schema_changes.connection is 'The connection whose data asked for the change, where known; the table serves all connections';
comment on column mart.schema_changes.table_name is 'The table, with its schema';
comment on column mart.schema_changes.column_name is 'The column; null for a new table';
comment on column mart.schema_changes.change is 'add_table, add_column, add_variant (a column for values that do not fit theirs), widen_column, or retype_column (not by Tidegate)';
comment on column mart.schema_changes.old_type is 'Type before, if it was changed; for a variant, the type of the column whose values it takes';
comment on column mart.schema_changes.new_type is 'Type since';
comment on column mart.schema_changes.changed_at is 'When';

-- As tidegate_reader: an administrator may have made the role, and a login that may make no role need not be told then.
do $$
begin
    if not exists (select from pg_roles where rolname = 'tidegate_analyst') then
        create role tidegate_analyst nologin;
    end if;
exception
    when duplicate_object or unique_violation then null;
    when insufficient_privilege then
        raise warning 'role tidegate_analyst was not made: ask an administrator for "create role tidegate_analyst nologin"';
end
$$;

do $$
declare
    role record;
begin
    for role in select rolname as name from pg_roles where rolname in ('tidegate_reader', 'tidegate_analyst') loop
        execute format('grant usage on schema mart to %I', role.name);
        execute format('grant select on all tables in schema mart to %I', role.name);
        execute format('alter default privileges in schema mart grant select on tables to %I', role.name);
    end loop;
end
$$;
