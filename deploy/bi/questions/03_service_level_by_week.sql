-- Breaches of the service level by system and week. Lexer reports it by message, Lynn by conversation. Of those that
-- are unmeasured (Lexer's messages without a reply), some may have missed it already.
select
    week,
    source,
    unit,
    sum(measured) as measured,
    sum(breached) as breached,
    100.0 * sum(breached) / nullif(sum(measured), 0) as percent,
    sum(unmeasured) as unmeasured
from mart.service_levels
join mart.calendar using (day)
group by week, source, unit
order by week desc, source;
