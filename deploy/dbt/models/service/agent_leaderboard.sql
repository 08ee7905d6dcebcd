-- The agents of the last four weeks. One row per agent of a connection.
select
    d.source,
    d.connection,
    d.agent_key,
    min(a.name) as name,
    sum(d.handled) as handled,
    sum(d.replies) as replies,
    sum(d.conversations) as conversations,
    sum(d.wait_seconds_total) / nullif(sum(d.waits), 0) / 60 as average_wait_minutes,
    sum(d.sla_breaches) as sla_breaches,
    count(distinct d.day) as days_at_work,
    rank() over (partition by d.source order by sum(d.handled) desc nulls last) as place
from {{ source('mart', 'agent_days') }} d
join {{ source('mart', 'calendar') }} c using (day)
left join {{ source('mart', 'agents') }} a using (agent_key)
where c.days_ago < 28
group by d.source, d.connection, d.agent_key
