-- A backfill that reaches back before what the jobs want, and ends early, leaves days unread between what it read and
-- the first day that is wanted. These days were rows with the state `missing`, although nothing is missing: the stream
-- has no gap, and no job reads them. Now they are no rows, as days before the first slice are not.
create or replace view mart.day_status as
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
        case
            when stream.wanted_from is not null then stream.wanted_from
            -- A process has said what its jobs want, and a list has no days.
            when stream.jobs is not null then null
            when exists (
                select
                from tidegate.slice
                where
                    slice.connection = stream.connection
                    and slice.stream = stream.stream
                    and slice.window_start = 'epoch'
            ) then null
            -- None has said it yet, as before the first start of the daemon.
            else stream.anchor::timestamp at time zone stream.day_zone
        end as wanted_from
) as wanted
cross join lateral (
    select
        least(
            wanted.wanted_from,
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
where
    coalesce(wanted.wanted_from, stream.covers_from) is not null
    and day.starts_at < day.ends_at
    -- An older day is not missing: no job asks for it. What a backfill has read of it is shown.
    and (part.slices > 0 or day.ends_at > coalesce(wanted.wanted_from, stream.covers_from));

comment on view mart.day_status is 'Whether a day is complete; one row per connection, table of windows, and day up to today, from the first day that the jobs want. Older days are rows only if they were read. Ask for one table or for few days. The rows of a table stand for its child tables too, as in mart.data_status';
comment on column mart.day_status.state is 'complete, partial (not read to its end, as today), missing (wanted and not read) or held (its reading was too doubtful to delete rows)';
