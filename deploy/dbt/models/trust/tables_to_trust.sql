-- Which tables are complete, until when, and why the others are not. One row per connection and table.
select
    source,
    connection,
    table_name,
    state,
    state in ('on time', 'waiting', 'reading') and not has_gap and not held as is_trusted,
    covers_from,
    complete_until,
    age_seconds / 3600 as age_hours,
    last_success_at,
    last_error
from {{ source('mart', 'data_status') }}
where state <> 'retired'
