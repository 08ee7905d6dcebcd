-- What `tidegate push` sent. One row per day, campaign and outcome.
select
    day,
    source,
    connection,
    campaign_key,
    outcome,
    count(*) as batches,
    sum(rows) as records
from {{ source('mart', 'campaign_pushes') }}
group by day, source, connection, campaign_key, outcome
