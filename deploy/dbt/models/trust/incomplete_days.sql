-- The days of the last six weeks before today that are not complete. One row per connection, table and day.
select d.source, d.connection, d.table_name, d.day, d.state, d.last_read_at
from {{ source('mart', 'day_status') }} d
join {{ source('mart', 'calendar') }} c using (day)
where d.state <> 'complete' and c.days_ago between 1 and 42
