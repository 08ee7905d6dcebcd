-- What became of the records of each campaign. One row per campaign.
select
    source,
    connection,
    first_sent_at,
    campaign_key,
    name,
    type,
    sent,
    failed,
    unknown,
    blacklisted,
    answered,
    100.0 * failed / nullif(coalesce(sent, 0) + coalesce(failed, 0) + coalesce(unknown, 0), 0) as failed_percent,
    100.0 * answered / nullif(sent, 0) as answered_percent
from {{ source('mart', 'campaigns') }}
