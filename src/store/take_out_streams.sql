-- Takes jobs out of the streams that they do not read any more.
--
-- $1: the jobs of this process's configuration. $2: the hash of that configuration. $3, $4, $5: the streams that the
-- jobs read, with those jobs. Processes with equal configurations agree. A command has no hash, and takes none out.
with decided as (
    select own.job
    from unnest($1::text[]) as own (job)
    where
        not exists (
            select
            from tidegate.instance
            where
                instance.seen_at > clock_timestamp() - interval '1 minute'
                and instance.config_hash <> $2
                and own.job = any(instance.jobs)
        )
),

read as (
    select planned.connection, planned.stream, reader.job
    from unnest($3::text[], $4::text[], $5::text[]) as planned (connection, stream, jobs)
    cross join unnest(string_to_array(planned.jobs, E'\n')) as reader (job)
),

left_out as (
    select known.connection, known.stream, array_agg(known.job) as jobs
    from (
        select stream.connection, stream.stream, unnest(stream.jobs) as job
        from tidegate.stream
        where stream.jobs && $1
    ) as known
    inner join decided on known.job = decided.job
    left join read
        on known.connection = read.connection and known.stream = read.stream and known.job = read.job
    where read.job is null
    group by known.connection, known.stream
),

-- In the order in which everyone locks several.
locked as (
    select
        stream.connection,
        stream.stream,
        array(select known.job from unnest(stream.jobs) as known (job) where known.job <> all(left_out.jobs)) as jobs,
        -- Null if no process has said which jobs are paused.
        case
            when stream.active_jobs is not null
                then array(
                    select known.job
                    from unnest(stream.active_jobs) as known (job)
                    where known.job <> all(left_out.jobs)
                )
        end as active_jobs
    from tidegate.stream
    inner join left_out on stream.connection = left_out.connection and stream.stream = left_out.stream
    order by stream.connection, stream.stream
    for update of stream
)

update tidegate.stream
set
    jobs = locked.jobs,
    active_jobs = locked.active_jobs,
    paused = locked.jobs <> '{}' and coalesce(locked.active_jobs = '{}', stream.paused),
    expected_by = case when locked.jobs <> '{}' then stream.expected_by end,
    expected_every_seconds = case when locked.jobs <> '{}' then stream.expected_every_seconds end
from locked
where stream.connection = locked.connection and stream.stream = locked.stream
