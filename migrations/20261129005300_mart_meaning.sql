-- What figures of the mart mean when vendors send odd times, several persons, or numbers with signs.

create function tidegate.known_time(at timestamptz, loaded_at timestamptz) returns timestamptz
language sql stable parallel safe
return case when at >= timestamptz '1990-01-01 00:00:00+00' and at <= loaded_at + interval '24 hours' then at end;
comment on function tidegate.known_time(timestamptz, timestamptz) is 'The one rule for times in the mart: a time before 1990, or more than a day after its row was loaded (a day, because a local time may be taken for UTC), is a mistake of the vendor and not known';

-- The last text by time is the greatest one with its time before it, so that no aggregate has to sort.

create function tidegate.with_time(at timestamptz, value text) returns text
language sql immutable parallel safe
return encode(timestamptz_send(coalesce(at, timestamptz '2000-01-01 00:00:00+00')), 'hex') || value;
comment on function tidegate.with_time(timestamptz, text) is 'The text after its time, so that the greatest one (collate "C") is the last by time; null if the text is null';

create function tidegate.without_time(value text) returns text
language sql immutable parallel safe
return substr(value, 17);
comment on function tidegate.without_time(text) is 'The text that tidegate.with_time was given';

grant execute on function
    tidegate.known_time(timestamptz, timestamptz),
    tidegate.with_time(timestamptz, text),
    tidegate.without_time(text)
to public;

create function tidegate.is_person(identity text) returns boolean
language sql immutable parallel safe
return identity like '%_@_%'
    or (identity collate "C") ~ '[^[:space:]._0-9-][[:space:]._-]+[^[:space:]._0-9-]';
comment on function tidegate.is_person(text) is 'Whether a text tells persons apart: an e-mail address, or a name or user name of two words; many people share a first name';

grant execute on function tidegate.is_person(text) to public;

-- Until a process has stored what its jobs want of a stream, days are wanted from the stream's anchor on, as in the
-- summary of the stream: days before the first slice were in no row.
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
where coalesce(wanted.wanted_from, stream.covers_from) is not null and day.starts_at < day.ends_at;

-- Surrounding blanks and a percent sign do not make a value ambiguous. A comma, or a day before its month, does: such
-- a value stays null, and `tidegate mart` counts it.

create or replace function tidegate.text_as_time(value text) returns timestamptz
language sql stable parallel safe
return case
    when (btrim(value, E' \t\r\n') collate "C") ~ '^[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?( ?(Z|UTC|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?))?)?$'
    then case
        -- The day exists in its month.
        when extract(
            month from
            make_date(substr(ltrim(value, E' \t\r\n'), 1, 4)::int, substr(ltrim(value, E' \t\r\n'), 6, 2)::int, 1)
            + (substr(ltrim(value, E' \t\r\n'), 9, 2)::int - 1)
        ) = substr(ltrim(value, E' \t\r\n'), 6, 2)::int
        then (
            case
                when (btrim(value, E' \t\r\n') collate "C") ~ '[T ].*(Z|UTC|[+-][0-9][0-9](:?[0-9][0-9])?)$'
                then btrim(value, E' \t\r\n')
                else btrim(value, E' \t\r\n') || ' UTC'
            end
        )::timestamptz
    end
end;

create or replace function tidegate.text_as_number(value text) returns double precision
language sql immutable parallel safe
return case
    when (btrim(value, E' \t\r\n') collate "C") ~ '^[-+]?([0-9]{1,150}(\.[0-9]{0,99})?|\.[0-9]{1,99})([eE][-+]?[0-9]{1,2})?( ?%)?$'
    then rtrim(btrim(value, E' \t\r\n'), ' %')::double precision
end;
comment on function tidegate.text_as_number(text) is 'A decimal number, of 95% the number 95; null if the text is none';

create or replace function tidegate.text_as_seconds(value text) returns double precision
language sql immutable parallel safe
return case
    when (btrim(value, E' \t\r\n') collate "C") ~ '^-?[0-9]{1,6}:[0-5]?[0-9]:[0-5]?[0-9](\.[0-9]{1,9})?$'
    then (case when ltrim(value, E' \t\r\n') like '-%' then -1 else 1 end) * (
        ltrim(split_part(value, ':', 1), E'- \t\r\n')::double precision * 3600
        + split_part(value, ':', 2)::double precision * 60
        + rtrim(split_part(value, ':', 3), E' \t\r\n')::double precision
    )
    when value not like '%\%%' then tidegate.text_as_number(value)
end;

-- Stable, as what they call is: the planner then writes the calls out in the query, which takes a third of the time.

create or replace function tidegate.pseudonym(salt text, id text) returns text
language sql stable parallel safe
return left(encode(sha256(convert_to(salt || id, 'UTF8')), 'hex'), 24);

create or replace function tidegate.agent_id(salt text, id text) returns text
language sql stable parallel safe
return case when id like '%@%' then tidegate.pseudonym(salt, id) else id end;

create or replace function tidegate.person_key(salt text, identity text) returns text
language sql stable parallel safe
return tidegate.pseudonym(
    salt, lower(trim(regexp_replace(identity collate "C", '\s+', ' ', 'g')) collate "default")
);
