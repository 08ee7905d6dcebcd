-- The days of the last six weeks before today that are not complete. One row per connection, table and day.
select d.source, d.connection, d.table_name, d.day, d.state, d.last_read_at
from {{ source('mart', 'day_status') }} d
where d.state <> 'complete'
    and d.day >= (select max(day) - 42 from {{ source('mart', 'calendar') }})
    and d.day < (select max(day) from {{ source('mart', 'calendar') }})
