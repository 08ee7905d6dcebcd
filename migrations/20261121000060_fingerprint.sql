-- What the table holds of a slice, as short as can be: a slice that is read again is compared with this, and rows that did
-- not change never reach the table. Only slices of many rows have it; without it, rows are compared with the table itself.

alter table tidegate.slice
    add column fingerprinted boolean not null default false,
    add column reading_batches integer default 0;
comment on column tidegate.slice.fingerprinted is 'Whether tidegate.fingerprint knows every row that the table has of the slice';
comment on column tidegate.slice.reading_batches is 'Batches of this reading in tidegate.fingerprint; null when it keeps none';

create table tidegate.fingerprint (
    slice_id bigint not null,
    batch integer not null,
    shape bigint not null,
    row_keys uuid[] not null,
    digests bytea not null,
    gone uuid[] not null default '{}',
    constraint fingerprint_pkey primary key (slice_id, batch),
    constraint fingerprint_slice_fkey foreign key (slice_id) references tidegate.slice (id) on delete cascade
);
-- Hashes do not compress.
alter table tidegate.fingerprint
    alter column row_keys set storage external,
    alter column digests set storage external,
    alter column gone set storage external;
comment on table tidegate.fingerprint is 'Which rows the table has of a slice, batch by batch in the order in which the vendor reports them';
comment on column tidegate.fingerprint.slice_id is 'The slice';
comment on column tidegate.fingerprint.batch is 'Number of the batch within a reading, from 0';
comment on column tidegate.fingerprint.shape is 'Hash of how records were taken apart; digests of another shape say nothing';
comment on column tidegate.fingerprint.row_keys is '_row_key of each row';
comment on column tidegate.fingerprint.digests is 'Eight bytes for each row, a hash of its content; empty where the key is one already';
comment on column tidegate.fingerprint.gone is 'Rows that the reading under way no longer found here; at its end they are deleted unless another batch has them';
