-- The last comparison of the vendors' totals with our rows (mart.reconciliation), so that the status page and the metrics
-- show it without computing it.

create table tidegate.reconciliation (
    connection text not null,
    checked_at timestamptz not null,
    check_after timestamptz not null,
    compared bigint not null,
    differences bigint not null,
    constraint reconciliation_pkey primary key (connection)
);
comment on table tidegate.reconciliation is 'The last comparison of vendors'' totals with rows, by connection';
comment on column tidegate.reconciliation.connection is 'Connection whose vendor gives totals';
comment on column tidegate.reconciliation.checked_at is 'When the comparison began';
comment on column tidegate.reconciliation.check_after is 'The next comparison is not before this time, so that it takes little of the server''s time';
comment on column tidegate.reconciliation.compared is 'Totals that could be compared';
comment on column tidegate.reconciliation.differences is 'Totals that differ from the number of rows';

create table tidegate.reconciliation_difference (
    connection text not null,
    metric text not null,
    bucket_start timestamptz not null,
    bucket_end timestamptz,
    vendor_total double precision not null,
    our_count double precision not null,
    constraint reconciliation_difference_pkey primary key (connection, metric, bucket_start)
);
comment on table tidegate.reconciliation_difference is 'The newest differences that it found, at most 100 for each connection; mart.reconciliation has all';
comment on column tidegate.reconciliation_difference.connection is 'Connection';
comment on column tidegate.reconciliation_difference.metric is 'What is counted, as in mart.reconciliation';
comment on column tidegate.reconciliation_difference.bucket_start is 'Start of the bucket that the vendor counted';
comment on column tidegate.reconciliation_difference.bucket_end is 'Its end, exclusive';
comment on column tidegate.reconciliation_difference.vendor_total is 'What the vendor counted; 0 if it left the bucket out';
comment on column tidegate.reconciliation_difference.our_count is 'Rows in our tables';

-- One process at a time compares.
insert into tidegate.lock (name)
values ('reconciliation')
on conflict do nothing;
