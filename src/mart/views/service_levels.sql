create or replace view mart.service_levels as
select
    d.source::text as source,
    d.connection::text as connection,
    d.day::date as day,
    d.unit::text as unit,
    d.channel::text as channel,
    d.agent_key::text as agent_key,
    d.measured::bigint as measured,
    d.met::bigint as met,
    (d.measured - d.met)::bigint as breached
from (
    select
        source,
        connection,
        day,
        'conversation' as unit,
        channel,
        agent_key,
        count(*) as measured,
        count(*) filter (where sla_met) as met
    from mart.conversations
    where source = 'lynn' and sla_met is not null and day is not null
    group by source, connection, day, channel, agent_key
    union all
    select
        source,
        connection,
        day,
        'message',
        channel,
        agent_key,
        count(*),
        count(*) filter (where within_sla)
    from mart.messages
    where source = 'lexer' and within_sla is not null and day is not null
    group by source, connection, day, channel, agent_key
    union all
    -- A connection whose messages are not read has the agents' summaries.
    select
        'lexer',
        u._connection,
        (u._window_start at time zone coalesce(s.timezone, 'UTC'))::date,
        'message',
        'unknown',
        'lexer:' || u._connection || ':' || tidegate.agent_id(u.user_id),
        tidegate.numeric_as_count(sum(u.responded_to)),
        tidegate.numeric_as_count(sum(u.responded_to::numeric - u.broke_sla))
    from lexer.user_summary u
    left join tidegate.stream s on s.connection = u._connection and s.stream = 'user_summary'
    where u.responded_to >= u.broke_sla
        and not exists (select from lexer.mention_sla_export m where m._connection = u._connection)
    group by 1, 2, 3, 6
) d;

comment on view mart.service_levels is
    'Whether service levels were met: one row per day, unit, channel and agent. Key: day, source, connection, unit, channel, agent_key. Add the counts, and compute shares from the sums';
comment on column mart.service_levels.source is 'Vendor: lynn or lexer; Khoros and JAICP report no service level';
comment on column mart.service_levels.connection is 'Configured connection from which the figures were read';
comment on column mart.service_levels.day is
    'Local date in the business time zone (mart.timezone) on which the conversation began or the customer''s message was sent';
comment on column mart.service_levels.unit is 'What is counted: conversation (Lynn) or message (Lexer)';
comment on column mart.service_levels.channel is
    'Channel in the vocabulary of mart.channels; unknown for connections of Lexer that read only the summaries of agents';
comment on column mart.service_levels.agent_key is 'The agent, as in mart.agents; null if the vendor names none';
comment on column mart.service_levels.measured is 'Number of conversations or messages for which the vendor says whether the service level was met';
comment on column mart.service_levels.met is 'Number of those that met it';
comment on column mart.service_levels.breached is 'Number of those that did not';
