-- Share of bot sessions that never reached a person, by week.
select
    week,
    source,
    count(*) as sessions,
    count(*) filter (where not reached_agent) as contained,
    100.0 * count(*) filter (where not reached_agent) / count(*) as percent
from mart.conversations
join mart.calendar using (day)
where kind = 'bot session'
group by week, source
order by week desc, source;
