-- Each record counts once, also where a key comes twice.
comment on column tidegate.task.rows_read is 'Records read: the sum of rows_inserted, rows_updated, rows_unchanged, rows_outside and records_rejected';
comment on column tidegate.task.rows_inserted is 'Records that became a new row';
comment on column tidegate.task.rows_updated is 'Records that changed a row, which may be one that an earlier record of the same run wrote';
comment on column tidegate.task.rows_unchanged is 'Records that wrote nothing: their row had these values already, or a later record of the same batch (at most 10,000 records of one page) has their key';
comment on column tidegate.task.rows_outside is 'Records outside their slice, left to the slice to which they belong';
