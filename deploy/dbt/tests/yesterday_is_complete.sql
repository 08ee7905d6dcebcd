-- Yesterday was read to its end in every table of windows that a job still reads.
{{ config(severity='warn') }}
select d.source, d.connection, d.table_name, d.day, d.state
from {{ source('mart', 'day_status') }} d
join {{ source('mart', 'data_status') }} s using (connection, table_name)
join {{ source('mart', 'calendar') }} c using (day)
where c.days_ago = 1 and d.state <> 'complete' and s.state not in ('paused', 'retired')
