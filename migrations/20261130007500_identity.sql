-- Rows with key columns get another identity in tidegate.seen_row and in fingerprints. An unfinished reading of such a
-- table that has noted old ones begins again.

with restarted as (
    select slice.id, slice.fingerprinted
    from tidegate.slice
    inner join tidegate.stream on stream.connection = slice.connection and stream.stream = slice.stream
    where
        slice.reading_run is not null
        and slice.reading_seen > 0
        and not exists (
            select
            from pg_catalog.pg_attribute
            where
                attrelid = to_regclass(format('%I.%I', stream.table_schema, stream.table_name))
                and attname = '_row_key'
                and not attisdropped
        )
),

seen as (
    delete from tidegate.seen_row
    using restarted
    where seen_row.slice_id = restarted.id
),

known as (
    delete from tidegate.fingerprint
    using restarted
    where fingerprint.slice_id = restarted.id and not restarted.fingerprinted
)

update tidegate.slice
set
    reading_run = null,
    reading_until = null,
    reading_fresh = false,
    reading_pages = 0,
    reading_rows = 0,
    reading_seen = 0,
    reading_bytes = 0,
    reading_present = null,
    reading_rejected = 0,
    reading_doubt = null,
    cursor = null,
    reading_batches = 0
from restarted
where slice.id = restarted.id;

comment on column tidegate.fingerprint.row_keys is 'Identity of each row: its _row_key, or a digest of the columns of its key';
comment on column tidegate.seen_row.row_key is 'Identity of a row that the vendor still reports: its _row_key, or a digest of the columns of its key';
