-- A release covers what the operator saw: a later reading that is more doubtful is held again.

alter table tidegate.slice
    add column held_records_rejected bigint not null default 0;
comment on column tidegate.slice.held_records_rejected is 'Records that the doubtful reading refused';
