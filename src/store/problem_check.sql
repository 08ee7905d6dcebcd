-- Checks all streams, opens and closes problems of them and of everything else, and returns what opened and what is
-- over.
--
-- $1, $2, $3: kinds, the seconds that each must hold before it opens, and the seconds without it before it closes, at
-- the earliest at the second check without it. $4: what happened since then is new. $5: so many streams of a connection
-- are one problem. $6: what is wrong that is not about streams.
with setting as (
    select kind, make_interval(secs => delay) as delay, make_interval(secs => quiet) as quiet
    from unnest($1::text[], $2::double precision[], $3::double precision[]) as setting (kind, delay, quiet)
),

unclosed as (
    select
        id, kind, scope, cause, connection, stream, members, straying, seen_first_at, opened_at, missed, seen_last_at,
        muted_until, muted_by
    from tidegate.problem
    where closed_at is null
),

strayed as (
    select unclosed.id, member.stream
    from unclosed
    cross join unnest(unclosed.straying) as member (stream)
),

-- The problem that each stream belongs to, of its own or of its connection.
belonging as (
    select distinct on (unclosed.kind, unclosed.connection, member.stream)
        unclosed.kind,
        unclosed.connection,
        member.stream,
        unclosed.opened_at is not null as is_open,
        case when unclosed.stream is null then unclosed.cause end as shared_cause,
        strayed.stream is not null as has_strayed
    from unclosed
    cross join unnest(coalesce(unclosed.members, array[unclosed.stream])) as member (stream)
    left join strayed on unclosed.id = strayed.id and member.stream = strayed.stream
    where unclosed.connection is not null and member.stream is not null
    -- The members of a problem that was not found again are those that it had when it was.
    order by unclosed.kind, unclosed.connection, member.stream, unclosed.stream nulls last, unclosed.missed,
        unclosed.id desc
),

open_now as (
    select kind, scope, array_agg(cause) as causes
    from unclosed
    where opened_at is not null
    group by kind, scope
),

-- Streams that a run will read, and what they wait for, the first end of a wait first.
live as (
    select
        run.connection,
        task.stream,
        (array_agg(task.waiting_for order by task.waiting_until) filter (where task.state = 'waiting'))[1]
            as waiting_for,
        min(task.waiting_until) filter (where task.state = 'waiting') as waiting_until
    from tidegate.run
    inner join tidegate.task on run.id = task.run_id
    where run.state in ('queued', 'waiting', 'running') and task.state in ('queued', 'waiting', 'running')
    group by run.connection, task.stream
),

-- The state of each stream that a job reads, and everything that is wrong with it, also what the state does not show
-- because the stream is paused or because something else is worse.
stream_now as (
    select
        state.connection,
        state.stream,
        state.state,
        state.last_error,
        state.expected_by,
        state.complete_until,
        known.jobs[1] as job,
        -- An error may have the time and the id of the request: words with a digit, and names of months and days. A
        -- long quotation may be cut off, without its end.
        md5(
            regexp_replace(
                coalesce(state.last_error, ''),
                '[[:alnum:]_+/=-]*[0-9][[:alnum:]_+/=-]*'
                || '|[“”]'
                || '|\m(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mon|tue|wed|thu|fri|sat|sun)\M',
                '',
                'gi'
            )
        ) as cause,
        live.stream is not null as is_live,
        state.is_waiting,
        live.waiting_for,
        live.waiting_until,
        state.is_failed,
        state.is_held,
        -- What was expected during a pause of an operator is not late. Nothing is expected during one of the
        -- configuration.
        state.is_late
        or (
            state.state = 'paused'
            and coalesce(state.expected_by < coalesce(pause.since, now()), false)
            and coalesce(known.last_success_at <= known.expected_after, true)
        ) as is_late,
        known.has_gap
    from tidegate.stream_state as state
    inner join tidegate.stream as known on state.connection = known.connection and state.stream = known.stream
    left join live on state.connection = live.connection and state.stream = live.stream
    cross join lateral (
        select min(by_operator.since) as since
        from tidegate.pause as by_operator
        where
            state.state = 'paused'
            and by_operator.until > now()
            and (by_operator.job = '' or by_operator.job = any(known.active_jobs))
    ) as pause
    where state.state <> 'retired'
),

-- The state decides what opens. A stream that waits for a limit or for a fault to pass is not yet a problem. What is
-- open stays open until it is over itself: a pause, a wait and something worse do not end it.
stream_trouble as (
    select
        own.kind,
        state.connection,
        state.stream,
        case when own.kind = 'failed' then state.cause else '' end as cause,
        belonging.shared_cause,
        coalesce(belonging.has_strayed, false) as has_strayed,
        -- A pause opens no problem of a stream.
        state.state = own.kind as is_shown,
        state.job,
        null::bigint as run_id,
        case own.kind
            when 'failed' then coalesce(state.last_error, 'the last readings failed')
            when 'held'
                then coalesce(
                    case when not state.is_failed then state.last_error end,
                    'the last reading was too doubtful to delete rows'
                )
            when 'gap' then 'data before the newest are missing'
        end as summary,
        state.last_error,
        state.expected_by,
        state.complete_until,
        state.is_live,
        state.is_waiting,
        state.waiting_for,
        state.waiting_until
    from stream_now as state
    cross join lateral (
        values
        ('failed', state.is_failed),
        ('held', state.is_held),
        ('late', state.is_late),
        ('gap', state.has_gap)
    ) as own (kind, holds)
    left join belonging
        on own.kind = belonging.kind and state.connection = belonging.connection and state.stream = belonging.stream
    left join open_now as of_connection
        on own.kind = of_connection.kind and state.connection = of_connection.scope
    where
        own.holds
        and (
            (
                own.kind = state.state
                and case own.kind when 'late' then not state.is_waiting when 'gap' then not state.is_live else true end
            )
            or belonging.is_open
            or (own.kind <> 'failed' and of_connection.kind is not null)
            or (
                own.kind = 'failed'
                and coalesce('' = any(of_connection.causes) or state.cause = any(of_connection.causes), false)
            )
        )
    union all
    select
        'rejects',
        run.connection,
        task.stream,
        '',
        null,
        false,
        false,
        max(run.job),
        max(run.id),
        format(
            '%s could not become rows',
            case when sum(task.records_rejected) = 1 then '1 record' else sum(task.records_rejected) || ' records' end
        ),
        null,
        null,
        null,
        null,
        null,
        null,
        null
    from tidegate.run
    inner join tidegate.task on run.id = task.run_id
    where run.finished_at >= $4 and task.records_rejected > 0
    group by run.connection, task.stream
),

-- The error that more than half of the streams of a problem have now: an outage may show one error after another.
prevailing as (
    select counted.kind, counted.connection, counted.shared_cause, counted.cause
    from (
        select
            trouble.kind,
            trouble.connection,
            trouble.shared_cause,
            trouble.cause,
            count(*) as streams,
            sum(count(*)) over (partition by trouble.kind, trouble.connection, trouble.shared_cause) as all_streams
        from stream_trouble as trouble
        where trouble.shared_cause <> ''
        group by trouble.kind, trouble.connection, trouble.shared_cause, trouble.cause
    ) as counted
    where 2 * counted.streams > counted.all_streams
),

joinable as (
    select kind, connection, cause, min(shared_cause) as shared_cause
    from prevailing
    group by kind, connection, cause
),

-- A problem of a connection has two errors: the one with which it began, and the prevailing one. A stream with another
-- error leaves the problem at the second check in a row.
judged as (
    select
        trouble.*,
        trouble.is_shown
        and trouble.shared_cause <> ''
        and trouble.cause <> trouble.shared_cause
        and prevailing.cause is distinct from trouble.cause as is_straying
    from stream_trouble as trouble
    left join prevailing
        on
            trouble.kind = prevailing.kind
            and trouble.connection = prevailing.connection
            and trouble.shared_cause = prevailing.shared_cause
),

-- Streams with the same error have one cause, such as a credential or an outage.
shared as (
    select
        judged.*,
        coalesce(
            case when not (judged.is_straying and judged.has_strayed) then judged.shared_cause end,
            joinable.shared_cause,
            judged.cause
        ) as joint_cause
    from judged
    left join joinable
        on judged.kind = joinable.kind and judged.connection = joinable.connection and judged.cause = joinable.cause
),

caused as (
    select
        shared.*,
        shared.joint_cause <> '' and (
            count(*) over (partition by shared.kind, shared.connection, shared.joint_cause) > 1
            or exists (
                select
                from unclosed
                where
                    unclosed.kind = shared.kind
                    and unclosed.scope = shared.connection
                    and unclosed.cause = shared.joint_cause
            )
        ) as by_cause
    from shared
),

placed as (
    select
        caused.kind,
        caused.connection,
        caused.stream,
        caused.job,
        caused.run_id,
        caused.summary,
        caused.last_error,
        caused.expected_by,
        caused.complete_until,
        caused.is_live,
        caused.is_waiting,
        caused.waiting_for,
        caused.waiting_until,
        caused.is_straying,
        case when caused.by_cause then caused.joint_cause else '' end as cause,
        (
            caused.by_cause
            or count(*) filter (where not caused.by_cause) over (partition by caused.kind, caused.connection) >= $5
            or exists (
                select
                from unclosed
                where
                    unclosed.kind = caused.kind
                    and unclosed.scope = caused.connection
                    and unclosed.cause = ''
            )
        ) as is_group
    from caused
),

stream_problem as (
    select
        placed.kind,
        case when placed.is_group then placed.connection else placed.connection || '/' || placed.stream end as scope,
        placed.cause,
        placed.connection,
        case when not placed.is_group then min(placed.stream) end as stream,
        case when count(distinct placed.job) = 1 then min(placed.job) end as job,
        min(placed.stream) as example,
        max(placed.run_id) as run_id,
        count(*)::integer as streams,
        mode() within group (order by placed.summary) as summary,
        min(placed.expected_by) as expected_by,
        case when count(placed.complete_until) = count(*) then min(placed.complete_until) end as complete_until,
        bool_or(placed.is_live) as is_live,
        bool_or(placed.is_waiting) as is_waiting,
        (array_agg(placed.waiting_for order by placed.waiting_until) filter (where placed.is_waiting))[1]
            as waiting_for,
        min(placed.waiting_until) filter (where placed.is_waiting) as waiting_until,
        mode() within group (order by placed.last_error) as last_error
    from placed
    group by
        placed.kind,
        placed.connection,
        placed.is_group,
        placed.cause,
        case when placed.is_group then placed.connection else placed.connection || '/' || placed.stream end
),

-- A problem of a connection that takes over problems of its streams is as old as the oldest of them, open if one of
-- them is, and muted if each of its streams had an open problem that was muted.
grouped as (
    select
        placed.kind,
        placed.connection as scope,
        placed.cause,
        array_agg(placed.stream order by placed.stream) as members,
        array_agg(placed.stream order by placed.stream) filter (
            where placed.is_straying and belonging.shared_cause = placed.cause
        ) as straying,
        min(unclosed.seen_first_at) as seen_first_at,
        bool_or(unclosed.opened_at is not null) as is_open,
        case
            when bool_and(coalesce(unclosed.opened_at is not null and unclosed.muted_until > now(), false))
                then min(unclosed.muted_until)
        end as muted_until,
        (array_agg(unclosed.muted_by order by unclosed.muted_until))[1] as muted_by,
        -- If it exists already, its mute ends with the first one of those of the streams that join it. That of a stream
        -- without a muted problem has ended.
        min(
            case
                when unclosed.opened_at is not null and unclosed.muted_until > now() then unclosed.muted_until
                else now()
            end
        ) filter (where belonging.shared_cause is distinct from placed.cause) as joined_muted_until
    from placed
    left join unclosed
        on placed.kind = unclosed.kind and placed.connection || '/' || placed.stream = unclosed.scope
    left join belonging
        on
            placed.kind = belonging.kind
            and placed.connection = belonging.connection
            and placed.stream = belonging.stream
    where placed.is_group
    group by placed.kind, placed.connection, placed.cause
),

found as (
    select
        trouble.kind,
        trouble.scope,
        trouble.cause,
        trouble.connection,
        trouble.stream,
        trouble.job,
        coalesce(trouble.run_id, last.run_id) as run_id,
        trouble.streams,
        case
            when trouble.kind = 'late'
                then concat_ws(
                    '; ',
                    format(
                        '%s expected by %s UTC',
                        case when trouble.streams = 1 then 'data were' else 'the first data were' end,
                        to_char(trouble.expected_by at time zone 'UTC', 'YYYY-MM-DD HH24:MI')
                    ),
                    coalesce(
                        concat(case when trouble.streams > 1 then 'all are ' end, 'complete until ')
                        || to_char(trouble.complete_until at time zone 'UTC', 'YYYY-MM-DD HH24:MI" UTC"'),
                        case
                            when trouble.streams = 1 then 'not read to the end yet'
                            else 'not all are read to the end yet'
                        end
                    ),
                    case
                        when trouble.is_waiting
                            then concat(
                                case when trouble.streams = 1 then 'it waits for ' else 'the first waits for ' end,
                                coalesce(trouble.waiting_for, 'its next attempt'),
                                to_char(
                                    date_trunc(
                                        'minute',
                                        trouble.waiting_until at time zone 'UTC' + interval '59.999999 seconds'
                                    ),
                                    '" until "YYYY-MM-DD HH24:MI" UTC"'
                                )
                            )
                        when trouble.last_error is not null then 'the last error: ' || trouble.last_error
                    end
                )
            else trouble.summary
        end as summary,
        case trouble.kind
            when 'failed' then last.hint
            when 'held'
                then concat(
                    'compare with the vendor; if the rows are really gone, ',
                    -- Null if there are several of them, or none is known.
                    coalesce(
                        'run `tidegate held release ' || trouble.job || ' --stream ' || trouble.stream || '`',
                        '`tidegate held` shows how to release them'
                    )
                )
            when 'late'
                then case
                    when trouble.is_waiting and trouble.waiting_for like 'quota %'
                        then concat(
                            'see the use of the quotas with `tidegate quota --connection ', trouble.connection, '`'
                        )
                    else
                        concat(
                            'see the last runs with `tidegate runs',
                            ' ' || trouble.job,
                            ' --tasks`',
                            case when not trouble.is_live then '; to read now, run `tidegate sync' end,
                            case when not trouble.is_live then coalesce(' ' || trouble.job, '') || '`' end
                        )
                end
            when 'gap' then 'read the missing days with `tidegate backfill`'
            when 'rejects' then 'see the reasons with `tidegate rejects`'
        end as hint
    from stream_problem as trouble
    left join lateral (
        -- Stops at the first one; a stream that fails was read by one of the last runs.
        select task.run_id, task.hint
        from (
            select run.id
            from tidegate.run
            where run.connection = trouble.connection
            order by run.id desc
            limit 1000
        ) as recent
        inner join tidegate.task on recent.id = task.run_id
        where task.stream = trouble.example and task.state = trouble.kind
        order by recent.id desc
        limit 1
    ) as last
        on trouble.kind in ('failed', 'held')
    union all
    select
        'schema',
        lacking.connection || '/' || lacking.stream,
        '',
        lacking.connection,
        lacking.stream,
        stream.jobs[1],
        null,
        1,
        format(
            'values of new fields are in the column _extra in %s, because another session has locked the table %s.%s',
            case when count(*) = 1 then '1 slice' else count(*) || ' slices' end,
            stream.table_schema,
            stream.table_name
        ),
        'end the transactions that use the table for long (pg_stat_activity); the next run then adds the columns and '
        || 'moves the values to them'
    from tidegate.slice as lacking
    inner join tidegate.stream on lacking.connection = stream.connection and lacking.stream = stream.stream
    where
        lacking.lacks_columns_since is not null
        -- The values of a slice that is held wait for the decision about it.
        and lacking.held_since is null
        and stream.jobs <> '{}'
    group by lacking.connection, lacking.stream, stream.jobs, stream.table_schema, stream.table_name
    -- A short lock is over when the next run reads.
    having min(lacking.lacks_columns_since) < now() - interval '10 minutes'
    union all
    select
        other.kind,
        other.scope,
        other.cause,
        other.connection,
        null,
        other.job,
        other.run_id,
        other.streams,
        other.summary,
        other.hint
    from jsonb_to_recordset($6) as other (
        kind text,
        scope text,
        cause text,
        connection text,
        job text,
        run_id bigint,
        streams integer,
        summary text,
        hint text
    )
),

-- One row per problem, because one statement cannot update a row twice.
condition as (
    select distinct on (kind, scope, cause) *
    from found
    order by kind, scope, cause
),

seen as (
    insert into tidegate.problem as problem (
        kind, scope, cause, connection, stream, members, straying, job, run_id, streams, summary, hint, seen_first_at,
        seen_last_at, opened_at, muted_until, muted_by
    )
    select
        condition.kind,
        condition.scope,
        condition.cause,
        condition.connection,
        condition.stream,
        grouped.members,
        grouped.straying,
        condition.job,
        condition.run_id,
        condition.streams,
        condition.summary,
        condition.hint,
        coalesce(grouped.seen_first_at, now()),
        now(),
        case when setting.delay <= interval '0' or coalesce(grouped.is_open, false) then now() end,
        grouped.muted_until,
        case when grouped.muted_until is not null then grouped.muted_by end
    from condition
    inner join setting on condition.kind = setting.kind
    left join grouped
        on condition.kind = grouped.kind and condition.scope = grouped.scope and condition.cause = grouped.cause
    order by condition.kind, condition.scope, condition.cause
    on conflict (kind, scope, cause) where closed_at is null
    do update set
        connection = excluded.connection,
        stream = excluded.stream,
        -- A check finds only the streams with new rejects.
        members = case
            when problem.kind = 'rejects' and excluded.members is not null
                then array(select distinct member from unnest(problem.members || excluded.members) as member order by 1)
            else excluded.members
        end,
        straying = excluded.straying,
        job = excluded.job,
        run_id = excluded.run_id,
        streams = excluded.streams,
        summary = excluded.summary,
        hint = excluded.hint,
        seen_last_at = excluded.seen_last_at,
        missed = 0,
        muted_until = case
            -- It is about one stream, or a version began it that did not store its streams.
            when problem.members is null then problem.muted_until
            when problem.muted_until is not null
                then least(
                    problem.muted_until,
                    (
                        select grouped.joined_muted_until
                        from grouped
                        where
                            grouped.kind = problem.kind
                            and grouped.scope = problem.scope
                            and grouped.cause = problem.cause
                    )
                )
        end,
        opened_at = coalesce(
            problem.opened_at,
            case
                when problem.seen_first_at <= now() - (select delay from setting where setting.kind = problem.kind)
                    then now()
            end
        )
    returning
        problem.id, problem.kind, problem.scope, problem.cause, problem.connection, problem.stream, problem.job,
        problem.run_id, problem.summary, problem.opened_at
),

not_found as materialized (
    select unclosed.*
    from unclosed
    where
        not exists (
            select
            from condition
            where
                condition.kind = unclosed.kind
                and condition.scope = unclosed.scope
                and condition.cause = unclosed.cause
        )
),

-- A problem of a stream that became part of that of its connection ends at once. So does one of a connection whose
-- streams left it for other problems: it has not recovered.
absent as (
    select
        not_found.id,
        not_found.opened_at,
        not_found.missed,
        not_found.seen_last_at,
        not_found.kind,
        -- Columns that changed are news of a day. Columns that are missing are a problem until they are there.
        not_found.kind = 'schema' and not_found.stream is null as is_news,
        successor.scope is not null as is_merged,
        successor.scope as merged_scope,
        successor.cause as merged_cause
    from not_found
    left join lateral (
        select
            case when placed.is_group then placed.connection else placed.connection || '/' || placed.stream end as scope,
            placed.cause
        from placed
        where
            placed.kind = not_found.kind
            and placed.connection = not_found.connection
            and (
                placed.stream = not_found.stream
                or (
                    not_found.stream is null
                    -- A check finds only the streams with new rejects.
                    and not_found.kind <> 'rejects'
                    and placed.stream = any(not_found.members)
                )
            )
        order by placed.stream
        limit 1
    ) as successor on true
),

dropped as (
    delete from tidegate.problem
    using absent
    where problem.id = absent.id and absent.opened_at is null
),

missed as (
    update tidegate.problem as problem
    set
        missed = problem.missed + 1,
        closed_at = case
            when
                absent.is_merged
                or (
                    absent.missed >= 1
                    and (
                        (absent.kind = 'schema' and not absent.is_news)
                        or absent.seen_last_at
                        <= now() - (select quiet from setting where setting.kind = absent.kind)
                    )
                )
                then now()
        end,
        merged_into = whole.id
    from absent
    left join seen as whole
        on
            absent.is_merged
            and absent.kind = whole.kind
            and absent.merged_scope = whole.scope
            and absent.merged_cause = whole.cause
    where problem.id = absent.id and absent.opened_at is not null
    returning
        problem.id, problem.kind, problem.scope, problem.connection, problem.stream, problem.job, problem.run_id,
        problem.summary, problem.closed_at, absent.is_merged
),

change as (
    select id, kind, scope, connection, stream, job, run_id, summary, false as is_over, false as is_silent,
        false as is_merged
    from seen
    where opened_at = now()
    union all
    select
        missed.id,
        missed.kind,
        missed.scope,
        missed.connection,
        missed.stream,
        missed.job,
        missed.run_id,
        missed.summary,
        true,
        -- A chat receives no message for a stream that is no longer read.
        missed.is_merged
        or (missed.kind = 'schema' and missed.stream is null)
        or (
            missed.kind in ('failed', 'held', 'late', 'gap')
            and case
                when missed.stream is not null
                    then not exists (
                        select
                        from stream_now as state
                        where state.connection = missed.connection and state.stream = missed.stream
                    )
                else not exists (
                    select
                    from stream_now as state
                    where state.connection = missed.connection
                )
            end
        ),
        missed.is_merged
    from missed
    where missed.closed_at is not null
)

select
    change.id as "id!",
    change.kind as "kind!",
    change.scope as "scope!",
    change.connection as "connection?",
    change.stream as "stream?",
    change.job as "job?",
    change.run_id as "run_id?",
    change.summary as "summary!",
    change.is_over as "is_over!",
    change.is_silent as "is_silent!",
    change.is_merged as "is_merged!",
    coalesce(
        (
            select array_agg(distinct reader.job)
            from tidegate.stream
            cross join unnest(stream.jobs) as reader (job)
            where stream.connection = change.connection and stream.stream = coalesce(change.stream, stream.stream)
        ),
        array_remove(array[change.job], null)
    ) as "jobs!"
from change
order by change.is_over, change.id
