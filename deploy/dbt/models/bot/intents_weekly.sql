-- What people ask the bot. One row per week, connection and intent.
select
    c.week,
    t.source,
    t.connection,
    t.intent,
    count(*) as turns,
    count(distinct t.conversation_key) as sessions,
    count(*) filter (where t.fallback) as not_understood,
    avg(t.confidence) as average_confidence
from {{ source('mart', 'bot_turns') }} t
join {{ source('mart', 'calendar') }} c using (day)
where t.intent is not null
group by c.week, t.source, t.connection, t.intent
