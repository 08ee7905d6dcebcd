-- A table that another session keeps locked cannot get columns for new fields, and their values go to _extra. The slices
-- that were read meanwhile are noted, and read again, so that no value stays there.

alter table tidegate.slice
    add column reading_lacks_columns boolean not null default false,
    add column lacks_columns_since timestamptz;
create index slice_lacking_idx on tidegate.slice (connection, stream) where lacks_columns_since is not null;
comment on column tidegate.slice.reading_lacks_columns is 'Whether values of the reading under way are in _extra because the table was locked and got no column for them';
comment on column tidegate.slice.lacks_columns_since is 'Since when values are in _extra because the table was locked and got no column for them: the slice is read again; null when none are';
