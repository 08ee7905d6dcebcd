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
    (d.measured - d.met)::bigint as breached,
    d.unmeasured::bigint as unmeasured
from (
    select
        source,
        connection,
        day,
        'conversation' as unit,
        channel,
        agent_key,
        count(sla_met) as measured,
        count(*) filter (where sla_met) as met,
        count(*) - count(sla_met) as unmeasured
    from mart.conversations
    where source = 'lynn' and reached_agent and day is not null
    group by source, connection, day, channel, agent_key
    union all
    select 'lexer', l.connection, l.day, 'message', l.channel, l.agent_key, l.measured, l.met, l.unmeasured
    from (
        select
            *,
            -- Of the messages of a day and the agents' summaries of it, those count that measured more replies: one
            -- message must not stand for a day whose other messages were not read. The messages count if both are equal,
            -- since they have a channel. The day of a summary is the vendor's, that of the messages the business day.
            first_value(origin) over (partition by connection, day order by measured_of_origin desc, origin) as origin_of_day
        from (
            select *, coalesce(sum(measured) over (partition by connection, day, origin), 0) as measured_of_origin
            from (
                select
                    1 as origin,
                    connection,
                    day,
                    channel,
                    agent_key,
                    count(within_sla) as measured,
                    count(*) filter (where within_sla) as met,
                    count(*) - count(within_sla) as unmeasured
                from mart.messages
                where source = 'lexer' and day is not null
                group by connection, day, channel, agent_key
                union all
                -- Both count replies: a message without one is neither met nor breached.
                select
                    2,
                    u._connection,
                    (u._window_start at time zone coalesce(s.timezone, 'UTC'))::date,
                    'unknown',
                    'lexer:' || u._connection || ':' || tidegate.agent_id(u.user_id),
                    tidegate.numeric_as_count(sum(u.responded_to)),
                    tidegate.numeric_as_count(sum(u.responded_to::numeric - u.broke_sla)),
                    tidegate.numeric_as_count(
                        sum(greatest(u.mentions_assigned::numeric - u.responded_to, 0)) filter (where u.mentions_assigned is not null)
                    )
                from lexer.user_summary u
                left join tidegate.stream s on s.connection = u._connection and s.stream = 'user_summary'
                where u.responded_to >= u.broke_sla
                group by 2, 3, 5
            ) s
        ) o
    ) l
    where l.origin = l.origin_of_day
) d;

comment on view mart.service_levels is
    'Whether service levels were met: one row per day, unit, channel and agent. Key: day, source, connection, unit, channel, agent_key. Add the counts, and compute shares from the sums';
comment on column mart.service_levels.source is 'Vendor: lynn or lexer; Khoros and JAICP report no service level';
comment on column mart.service_levels.connection is 'Configured connection from which the figures were read';
comment on column mart.service_levels.day is
    'Local date in the business time zone (mart.timezone) on which the conversation began or the customer''s message was sent. Of figures of Lexer''s summaries, the day that the vendor counted';
comment on column mart.service_levels.unit is 'What is counted: conversation that reached an agent (Lynn) or message of a customer (Lexer)';
comment on column mart.service_levels.channel is
    'Channel in the vocabulary of mart.channels; unknown for days on which the summaries of Lexer''s agents measured more than its messages';
comment on column mart.service_levels.agent_key is 'The agent, as in mart.agents; null if the vendor names none';
comment on column mart.service_levels.measured is
    'Number of conversations or messages for which it is known whether the service level was met. Of Lexer only messages with a reply, as in its own count of breaches';
comment on column mart.service_levels.met is 'Number of those that met it';
comment on column mart.service_levels.breached is 'Number of those that did not';
comment on column mart.service_levels.unmeasured is
    'Number of those for which it is not known: messages without a reply (Lexer), conversations without a compliance (Lynn). They may have missed the service level already. Null if Lexer''s summaries do not say how many messages were assigned';
