-- The volume of messages. One row per day, connection, channel and direction; the direction may be null.
select
    day,
    source,
    connection,
    channel,
    direction,
    count(*) as messages,
    count(distinct conversation_key) as conversations,
    count(distinct customer_key) as customers
from {{ source('mart', 'messages') }}
where day is not null
group by day, source, connection, channel, direction
