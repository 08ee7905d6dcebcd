-- The weeks of the calendar, to compare weeks of equal length. One row per week.
select
    week,
    min(day) as first_day,
    max(day) as last_day,
    count(*) as days,
    count(*) filter (where not is_weekend) as working_days,
    count(*) = 7 as is_complete
from {{ source('mart', 'calendar') }}
group by week
