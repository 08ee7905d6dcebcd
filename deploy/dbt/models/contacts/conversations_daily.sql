-- The volume of conversations. One row per day, connection, kind and channel.
select
    day,
    source,
    connection,
    kind,
    channel,
    count(*) as conversations,
    count(*) filter (where reached_agent) as reached_agent,
    count(*) filter (where status = 'closed') as closed,
    sum(messages) as messages
from {{ source('mart', 'conversations') }}
where day is not null
group by day, source, connection, kind, channel
