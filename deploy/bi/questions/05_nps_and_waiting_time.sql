-- NPS by week beside the median wait for a reply of the same system.
select
    n.week,
    n.received as responses,
    100.0 * n.received / nullif(n.sent, 0) as response_rate_percent,
    100.0 * (n.promoters - n.detractors) / nullif(n.received, 0) as nps,
    w.median_wait_minutes
from (
    select
        week,
        sum(sent) as sent,
        sum(received) as received,
        sum(promoters) as promoters,
        sum(detractors) as detractors
    from mart.nps_days
    join mart.calendar using (day)
    group by week
) n
left join (
    select
        week,
        percentile_cont(0.5) within group (order by wait_seconds) / 60 as median_wait_minutes
    from mart.messages
    join mart.calendar using (day)
    where source = 'lexer'
    group by week
) w using (week)
order by n.week;
