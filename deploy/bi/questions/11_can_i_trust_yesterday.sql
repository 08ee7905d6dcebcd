-- Which tables are complete until when, how many of yesterday's are, and whether the vendors' own totals agree.
select
    s.source,
    s.table_name,
    s.complete_until,
    s.state,
    s.has_gap,
    s.held,
    s.last_error,
    y.state as yesterday,
    r.differences
from mart.data_status s
left join mart.calendar c on c.days_ago = 1
left join mart.day_status y
    on y.connection = s.connection and y.table_name = s.table_name and y.day = c.day
left join (
    select connection, count(*) filter (where difference <> 0) as differences
    from mart.reconciliation
    group by connection
) r on r.connection = s.connection
order by s.source, s.table_name;
