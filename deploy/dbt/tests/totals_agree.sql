-- The vendors' own totals equal our counts, wherever both are complete.
select source, connection, metric, bucket_start, vendor_total, our_count
from {{ source('mart', 'reconciliation') }}
where difference <> 0
