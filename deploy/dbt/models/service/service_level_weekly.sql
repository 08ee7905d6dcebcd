-- How often the service level was met. One row per week, connection, unit and channel.
select
    c.week,
    s.source,
    s.connection,
    s.unit,
    s.channel,
    sum(s.measured) as measured,
    sum(s.met) as met,
    sum(s.breached) as breached,
    100.0 * sum(s.met) / nullif(sum(s.measured), 0) as met_percent,
    sum(s.unmeasured) as unmeasured
from {{ source('mart', 'service_levels') }} s
join {{ source('mart', 'calendar') }} c using (day)
group by c.week, s.source, s.connection, s.unit, s.channel
