-- Breaches of the service level by system and week. Lexer reports it by agent and day, Lynn by conversation.
select
    week,
    source,
    sum(sla_breaches) as breaches,
    sum(coalesce(replies, conversations)) as replies_or_conversations,
    100.0 * sum(sla_breaches) / nullif(sum(coalesce(replies, conversations)), 0) as percent
from mart.agent_days
join mart.calendar using (day)
where sla_breaches is not null
group by week, source
order by week desc, source;
