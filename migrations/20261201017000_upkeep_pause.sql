-- An index whose build fails, for example because the disk is full, is not begun anew every few minutes.
alter table tidegate.table_upkeep
add column failures integer not null default 0,
add column next_attempt_at timestamptz;

comment on column tidegate.table_upkeep.failures is 'Builds of the index that failed since the last one that succeeded';
comment on column tidegate.table_upkeep.next_attempt_at is 'After a failed build: not to be begun before';
