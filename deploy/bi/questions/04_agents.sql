-- The agents of the last four weeks: handled, replies, waiting time, breaches.
select
    a.name,
    d.source,
    sum(d.handled) as handled,
    sum(d.replies) as replies,
    sum(d.conversations) as conversations,
    sum(d.wait_seconds_total) / nullif(sum(d.waits), 0) / 60 as average_wait_minutes,
    sum(d.sla_breaches) as sla_breaches,
    count(distinct d.day) as days_at_work
from mart.agent_days d
join mart.agents a using (agent_key)
join mart.calendar c using (day)
where c.days_ago <= 28
group by d.agent_key, a.name, d.source
order by handled desc nulls last;
