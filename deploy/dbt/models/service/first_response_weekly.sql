-- First response and resolution of the conversations that a person took part in. One row per week and source.
select
    c.week,
    v.source,
    count(*) as conversations,
    count(v.first_response_seconds) as with_first_response,
    percentile_cont(0.5) within group (order by v.first_response_seconds) / 60 as first_response_median_minutes,
    percentile_cont(0.9) within group (order by v.first_response_seconds) / 60 as first_response_p90_minutes,
    percentile_cont(0.5) within group (order by v.resolution_seconds) / 3600 as resolution_median_hours,
    percentile_cont(0.9) within group (order by v.resolution_seconds) / 3600 as resolution_p90_hours
from {{ source('mart', 'conversations') }} v
join {{ source('mart', 'calendar') }} c using (day)
where v.reached_agent
group by c.week, v.source
