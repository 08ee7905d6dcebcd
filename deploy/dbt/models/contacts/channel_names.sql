-- What each system calls a channel. One row per channel and system.
select channel, source, string_agg(channel_raw, ', ' order by channel_raw) as names
from {{ source('mart', 'channels') }}
group by channel, source
