-- First response and resolution by week: median and 90th percentile, in minutes and hours.
select
    week,
    source,
    count(*) as conversations,
    count(first_response_seconds) as answered,
    percentile_cont(0.5) within group (order by first_response_seconds) / 60 as first_response_median_minutes,
    percentile_cont(0.9) within group (order by first_response_seconds) / 60 as first_response_p90_minutes,
    percentile_cont(0.5) within group (order by resolution_seconds) / 3600 as resolution_median_hours,
    percentile_cont(0.9) within group (order by resolution_seconds) / 3600 as resolution_p90_hours
from mart.conversations
join mart.calendar using (day)
where reached_agent
group by week, source
order by week desc, source;
