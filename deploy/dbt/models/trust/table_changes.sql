-- What changed in the tables. One row per table, day, kind of change and column.
select
    source,
    table_name,
    changed_at::date as day,
    change,
    column_name,
    min(old_type) as old_type,
    min(new_type) as new_type,
    count(*) as changes
from {{ source('mart', 'schema_changes') }}
group by source, table_name, changed_at::date, change, column_name
