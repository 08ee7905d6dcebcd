-- Conversations per day and channel, over all systems.
select day, channel, source, count(*) as conversations
from mart.conversations
join mart.calendar using (day)
where days_ago <= 42
group by day, channel, source
order by day desc, conversations desc;
