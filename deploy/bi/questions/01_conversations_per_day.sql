-- Conversations per day and channel, over all systems.
select day, channel, source, count(*) as conversations
from mart.conversations
where day >= current_date - 42
group by day, channel, source
order by day desc, conversations desc;
