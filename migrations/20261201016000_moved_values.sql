-- A slice that was read while its table was locked is not read again: the values are moved from _extra to the columns.
comment on column tidegate.slice.lacks_columns_since is 'Since when values are in _extra because the table was locked and got no column for them: once it has the columns, a run moves the values there without reading the slice again; null when none are';
comment on column tidegate.task.values_extra is 'Values of the records read that are kept in _extra, for any reason: the field has no column, the value does not fit its column, or the record has the field more than once';
