-- What was open at the end of each day. One row per day, connection, unit and state. Lexer's cases and its inbox hold the same
-- messages: add up one unit only.
select
    day,
    source,
    connection,
    unit,
    state,
    sum(open_count) as open_count,
    sum(open_count * age_seconds) / nullif(sum(open_count) filter (where age_seconds is not null), 0) / 86400
        as average_age_days,
    max(oldest_seconds) / 86400 as oldest_days
from {{ source('mart', 'backlog_days') }}
group by day, source, connection, unit, state
