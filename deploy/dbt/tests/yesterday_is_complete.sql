-- Yesterday was read to its end in every table of windows that a job still reads.
{{ config(severity='warn') }}
select d.source, d.connection, d.table_name, d.day, d.state
from {{ source('mart', 'day_status') }} d
join {{ source('mart', 'data_status') }} s using (connection, table_name)
where d.day = (select max(day) - 1 from {{ source('mart', 'calendar') }})
    and d.state <> 'complete'
    and s.state not in ('paused', 'retired')
