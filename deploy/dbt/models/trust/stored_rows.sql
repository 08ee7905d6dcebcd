-- How old the stored rows of the mart are, if mart.materialize is on. One row per relation.
select relation, refreshed_at, age_seconds / 60.0 as age_minutes
from {{ source('mart', 'stored_relations') }}
