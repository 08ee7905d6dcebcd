create or replace view mart.backlog_days as
with opened as (
    select
        c.source,
        c.connection,
        c.kind,
        c.agent_key,
        -- Before the first day that any job reads, nothing is known to be complete.
        greatest(c.day, (select coalesce(min(anchor), (now() at time zone {timezone})::date) from tidegate.stream)) as first_day,
        case
            when c.status <> 'closed' then (now() at time zone {timezone})::date
            -- Without the time of its end, a closed conversation is in the backlog of no day, rather than of every day.
            when c.ended_at is not null
                then least((c.ended_at at time zone {timezone})::date, (now() at time zone {timezone})::date) - 1
        end as last_day,
        c.started_at,
        case when c.status in ('pending', 'unknown') then c.status else 'open' end as state
    from mart.conversations c
    where c.kind in ('conversation', 'case') and c.day is not null and c.source in ('khoros', 'lexer')
)
select
    d.day::date as day,
    d.source::text as source,
    d.connection::text as connection,
    d.unit::text as unit,
    d.state::text as state,
    d.agent_key::text as agent_key,
    d.open_count::bigint as open_count,
    d.age_seconds::double precision as age_seconds,
    d.oldest_seconds::double precision as oldest_seconds
from (
    select
        d::date as day,
        o.source,
        o.connection,
        o.kind as unit,
        o.state,
        o.agent_key,
        count(*) as open_count,
        avg(tidegate.seconds_between(o.started_at, least(now(), (d + interval '1 day') at time zone {timezone}))) as age_seconds,
        max(tidegate.seconds_between(o.started_at, least(now(), (d + interval '1 day') at time zone {timezone}))) as oldest_seconds
    from opened o
    cross join generate_series(o.first_day::timestamp, o.last_day::timestamp, interval '1 day') d
    where o.last_day >= o.first_day
    group by 1, 2, 3, 4, 5, 6
    union all
    select
        v.day,
        'lexer',
        v._connection,
        'message',
        'inbox ' || v.state,
        'lexer:' || v._connection || ':' || tidegate.agent_id(v.user_id),
        v.count,
        null,
        null
    from (
        -- Counts are those of a moment: of several slices of a day, the last one's are the day's.
        select distinct on (v._connection, (v._window_start at time zone coalesce(s.timezone, 'UTC'))::date, v.user_id, v.state)
            v.*,
            (v._window_start at time zone coalesce(s.timezone, 'UTC'))::date as day
        from lexer.user_volume v
        left join tidegate.stream s on s.connection = v._connection and s.stream = 'user_volume'
        where not v.is_total
            and v.state in ('new', 'assigned', 'in_progress', 'awaiting_approval', 'redirected')
        order by
            v._connection,
            (v._window_start at time zone coalesce(s.timezone, 'UTC'))::date,
            v.user_id,
            v.state,
            v._window_start desc,
            v._loaded_at desc
    ) v
) d;

comment on view mart.backlog_days is
    'What was open at the end of a day (of today: now, of Lexer''s inbox: when the day was read last), by unit, state and agent. Key: day, source, connection, unit, state, agent_key. Lexer''s cases and its inbox hold the same messages: add up one unit only';
comment on column mart.backlog_days.day is 'Local date in the business time zone; for Lexer''s inbox the day that the vendor counted';
comment on column mart.backlog_days.source is 'Vendor: khoros or lexer; bot sessions of JAICP and Lynn are not a backlog';
comment on column mart.backlog_days.connection is 'Configured connection from which the figures were read';
comment on column mart.backlog_days.unit is 'What is counted: conversation (Khoros), case (Lexer), or message (Lexer''s inbox)';
comment on column mart.backlog_days.state is
    'open, pending or unknown (conversations and cases; the state of today, since no vendor reports past states), or inbox and Lexer''s state of a message';
comment on column mart.backlog_days.agent_key is 'The agent to whom it was assigned, as in mart.agents; null if nobody';
comment on column mart.backlog_days.open_count is 'Conversations, cases or messages that were open, as unit says. Lexer''s inbox is that of the time at which the day was read last, not of the end of the day: of a day that a backfill reads later, what is still open of its messages';
comment on column mart.backlog_days.age_seconds is 'Their average age in seconds. Null for Lexer''s inbox, which has counts only';
comment on column mart.backlog_days.oldest_seconds is 'Age of the oldest in seconds. Null for Lexer''s inbox';
