-- Stores the streams as the configuration of this process has them. Rows that are the same already are not locked.
insert into tidegate.stream as known (
    connection, stream, table_schema, table_name, anchor, timezone, slice, unread, wanted_from, jobs, paused,
    expected_after, expected_by, expected_every_seconds, active_jobs
)
select
    planned.connection,
    planned.stream,
    planned.table_schema,
    planned.table_name,
    planned.anchor,
    planned.timezone,
    planned.slice,
    true,
    planned.wanted_from,
    string_to_array(planned.jobs, E'\n'),
    planned.paused,
    planned.expected_after,
    planned.expected_by,
    planned.expected_every_seconds,
    string_to_array(planned.active_jobs, E'\n')
from unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::date[], $6::text[], $7::text[], $8::timestamptz[], $9::text[],
    $10::boolean[], $11::timestamptz[], $12::timestamptz[], $13::bigint[],
    $14::text[]
) as planned (
    connection, stream, table_schema, table_name, anchor, timezone, slice, wanted_from, jobs,
    paused, expected_after, expected_by, expected_every_seconds, active_jobs
)
left join tidegate.stream as present
    on present.connection = planned.connection and present.stream = planned.stream
where
    (present.wanted_from, present.jobs, present.paused, present.active_jobs)
    is distinct from (
        planned.wanted_from,
        string_to_array(planned.jobs, E'\n'),
        planned.paused,
        string_to_array(planned.active_jobs, E'\n')
    )
    or (
        present.last_success_at is not distinct from planned.expected_after
        and (present.expected_after, present.expected_by, present.expected_every_seconds)
        is distinct from (planned.expected_after, planned.expected_by, planned.expected_every_seconds)
    )
order by planned.connection, planned.stream
on conflict on constraint stream_pkey do update
set
    wanted_from = excluded.wanted_from,
    jobs = excluded.jobs,
    paused = excluded.paused,
    active_jobs = excluded.active_jobs,
    -- If a task has succeeded since they were computed, the worker stored newer ones.
    expected_after = case
        when known.last_success_at is not distinct from excluded.expected_after then excluded.expected_after
        else known.expected_after
    end,
    expected_by = case
        when known.last_success_at is not distinct from excluded.expected_after then excluded.expected_by
        else known.expected_by
    end,
    expected_every_seconds = case
        when known.last_success_at is not distinct from excluded.expected_after then excluded.expected_every_seconds
        else known.expected_every_seconds
    end
