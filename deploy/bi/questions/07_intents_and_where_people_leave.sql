-- Most frequent intents, and how many sessions ended with each of them.
select
    source,
    intent,
    count(distinct conversation_key) as sessions,
    count(*) filter (where is_last) as sessions_that_ended_here,
    avg(confidence) as average_confidence
from (
    select
        source,
        intent,
        conversation_key,
        confidence,
        row_number() over (partition by conversation_key order by occurred_at desc, turn_key desc) = 1 as is_last
    from mart.bot_turns
) t
where intent is not null
group by source, intent
order by sessions desc
limit 20;
