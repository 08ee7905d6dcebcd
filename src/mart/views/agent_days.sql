create or replace view mart.agent_days as
with khoros as (
    select
        'khoros' as source,
        coalesce(r.connection, c.connection) as connection,
        coalesce(r.day, c.day) as day,
        coalesce(r.agent_key, c.agent_key) as agent_key,
        coalesce(c.handled, 0) as handled,
        r.replies,
        r.conversations,
        c.wait_seconds_total,
        coalesce(c.waits, 0) as waits,
        null::bigint as sla_breaches
    from (
        select
            connection,
            day,
            agent_key,
            count(*) as replies,
            count(distinct conversation_key) as conversations
        from mart.messages
        where source = 'khoros' and direction = 'agent' and agent_key is not null and day is not null
        group by connection, day, agent_key
    ) r
    full join (
        select
            connection,
            day,
            agent_key,
            count(*) filter (where status = 'closed') as handled,
            sum(first_response_seconds) as wait_seconds_total,
            count(first_response_seconds) as waits
        from mart.conversations
        where source = 'khoros' and agent_key is not null and day is not null
        group by connection, day, agent_key
    ) c on c.connection = r.connection and c.day = r.day and c.agent_key = r.agent_key
),
lexer as (
    select
        'lexer',
        u._connection,
        (u._window_start at time zone coalesce(s.timezone, 'UTC'))::date,
        'lexer:' || u._connection || ':' || tidegate.agent_id(u.user_id),
        tidegate.numeric_as_count(sum(u.responded_to)),
        tidegate.numeric_as_count(sum(u.total_responded_to)),
        null::bigint,
        sum(tidegate.sane_seconds(u.avg_response_time) * u.total_responded_to) filter (where u.avg_response_time >= 0),
        tidegate.numeric_as_count(
            coalesce(sum(u.total_responded_to) filter (where tidegate.sane_seconds(u.avg_response_time) >= 0), 0)
        ),
        tidegate.numeric_as_count(sum(u.broke_sla))
    from lexer.user_summary u
    left join tidegate.stream s on s.connection = u._connection and s.stream = 'user_summary'
    group by 1, 2, 3, 4
),
jaicp as (
    select
        'jaicp',
        m._connection,
        (k.sent_at at time zone {timezone})::date,
        'jaicp:' || m._connection || ':' || tidegate.agent_id(m.operator_info_id),
        count(distinct m.project_short_name || '/' || m.session_id),
        count(*) filter (where m.text_answer <> ''),
        count(distinct m.project_short_name || '/' || m.session_id),
        null::double precision,
        null::bigint,
        null::bigint
    from jaicp.messages m
    cross join lateral (select tidegate.known_time(m."timestamp", m._loaded_at) as sent_at) k
    where m.operator_info_id <> '' and k.sent_at is not null
    group by 1, 2, 3, 4
),
lynn as (
    select
        'lynn',
        connection,
        day,
        agent_key,
        count(*) filter (where status = 'closed'),
        null::bigint,
        count(*),
        sum(first_response_seconds),
        count(first_response_seconds),
        count(*) filter (where not sla_met)
    from mart.conversations
    where source = 'lynn' and agent_key is not null and day is not null
    group by connection, day, agent_key
)
select
    d.source::text as source,
    d.connection::text as connection,
    d.day::date as day,
    d.agent_key::text as agent_key,
    d.handled::bigint as handled,
    d.replies::bigint as replies,
    d.conversations::bigint as conversations,
    d.wait_seconds_total::double precision as wait_seconds_total,
    d.waits::bigint as waits,
    (d.wait_seconds_total / nullif(d.waits, 0))::double precision as wait_seconds,
    d.sla_breaches::bigint as sla_breaches
from (
    select * from khoros
    union all
    select * from lexer
    union all
    select * from jaicp
    union all
    select * from lynn
) d;

comment on view mart.agent_days is 'One row per agent and day. Key: agent_key, day';
comment on column mart.agent_days.source is 'Vendor: khoros, lexer, jaicp or lynn';
comment on column mart.agent_days.connection is 'Configured connection from which the figures were read';
comment on column mart.agent_days.day is
    'Local date: of the replies or the start of the conversation in the business time zone; for Lexer the day that the vendor counted';
comment on column mart.agent_days.agent_key is 'The agent, as in mart.agents';
comment on column mart.agent_days.handled is
    'Conversations begun that day and closed since (Khoros, Lynn), messages responded to (Lexer), sessions replied to (JAICP)';
comment on column mart.agent_days.replies is 'Replies sent. Null for Lynn, whose reports do not count them by agent';
comment on column mart.agent_days.conversations is 'Conversations in which the agent took part. Null for Lexer, whose summary counts messages';
comment on column mart.agent_days.wait_seconds_total is
    'Seconds that customers waited for the first reply (Khoros, Lynn) or for each reply (Lexer), added up. Null for JAICP';
comment on column mart.agent_days.waits is
    'Number of waits in wait_seconds_total. The average over several days is the sum of wait_seconds_total divided by that of waits. Null for JAICP';
comment on column mart.agent_days.wait_seconds is
    'Average of the day, in seconds: wait_seconds_total divided by waits. Do not add it up. Null for JAICP';
comment on column mart.agent_days.sla_breaches is
    'Replies (Lexer) or conversations (Lynn) that missed the service level. Null for Khoros and JAICP, which report none';
