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
        c.wait_seconds,
        null::bigint as sla_breaches
    from (
        select
            _connection as connection,
            (sent_at at time zone {timezone})::date as day,
            'khoros:' || _connection || ':' || tidegate.agent_id(agent) as agent_key,
            count(*) as replies,
            count(distinct conversation_id) as conversations
        from {{khoros.response}} t
        where agent <> '' and sent_at is not null
        group by 1, 2, 3
    ) r
    full join (
        select
            connection,
            day,
            agent_key,
            count(*) filter (where status = 'closed') as handled,
            avg(first_response_seconds) as wait_seconds
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
        sum(tidegate.sane_seconds(u.avg_response_time) * u.total_responded_to) / nullif(sum(u.total_responded_to), 0),
        tidegate.numeric_as_count(sum(u.broke_sla))
    from lexer.user_summary u
    left join tidegate.stream s on s.connection = u._connection and s.stream = 'user_summary'
    group by 1, 2, 3, 4
),
jaicp as (
    select
        'jaicp',
        _connection,
        ("timestamp" at time zone {timezone})::date,
        'jaicp:' || _connection || ':' || tidegate.agent_id(operator_info_id),
        count(distinct project_short_name || '/' || session_id),
        count(*) filter (where text_answer <> ''),
        count(distinct project_short_name || '/' || session_id),
        null::double precision,
        null::bigint
    from jaicp.messages
    where operator_info_id <> ''
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
        avg(first_response_seconds),
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
    d.wait_seconds::double precision as wait_seconds,
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
comment on column mart.agent_days.wait_seconds is
    'Average wait of the customer for the first reply (Khoros, Lynn) or for each reply (Lexer), in seconds. Null for JAICP';
comment on column mart.agent_days.sla_breaches is
    'Replies (Lexer) or conversations (Lynn) that missed the service level. Null for Khoros and JAICP, which report none';
