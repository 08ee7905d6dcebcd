-- The net promoter score by week, computed from the counts: averages of daily scores would be wrong. One row per week,
-- connection and form.
select
    c.week,
    n.source,
    n.connection,
    n.form_id,
    min(n.form) as form,
    sum(n.sent) as sent,
    sum(n.received) as received,
    100.0 * sum(n.received) / nullif(sum(n.sent), 0) as response_rate_percent,
    100.0 * (sum(n.promoters) - sum(n.detractors)) / nullif(sum(n.received), 0) as nps
from {{ source('mart', 'nps_days') }} n
join {{ source('mart', 'calendar') }} c using (day)
group by c.week, n.source, n.connection, n.form_id
