-- The vendors' own totals beside our counts, where both are complete. One row per connection, metric and week.
select
    r.source,
    r.connection,
    c.week,
    r.metric,
    sum(r.vendor_total) as vendor_total,
    sum(r.our_count) as our_count,
    count(*) filter (where r.difference <> 0) as buckets_that_differ
from {{ source('mart', 'reconciliation') }} r
join {{ source('mart', 'calendar') }} c using (day)
where r.comparable
group by r.source, r.connection, c.week, r.metric
