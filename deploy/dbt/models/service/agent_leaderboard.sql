-- The agents of the last four weeks. One row per agent of a connection.
select
    d.source,
    d.connection,
    d.agent_key,
    min(a.name) as name,
    sum(d.handled) as handled,
    sum(d.replies) as replies,
    sum(d.conversations) as conversations,
    sum(d.sla_breaches) as sla_breaches,
    count(distinct d.day) as days_at_work,
    rank() over (partition by d.source order by sum(d.handled) desc nulls last) as place
from {{ source('mart', 'agent_days') }} d
left join {{ source('mart', 'agents') }} a using (agent_key)
where d.day > (select max(day) - 28 from {{ source('mart', 'calendar') }})
group by d.source, d.connection, d.agent_key
