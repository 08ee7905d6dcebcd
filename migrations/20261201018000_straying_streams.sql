-- A stream leaves the problem of its connection when it fails for another reason at two checks in a row. One process at
-- a time builds indexes, and a build that was cut off counts as one that failed.

alter table tidegate.problem add column straying text[];
comment on column tidegate.problem.straying is 'The streams of it that failed for another reason at the last check; they leave it if they do at the next one';
comment on column tidegate.problem.muted_until is 'Until when no reminder of it is sent; it ends when a stream joins the problem without a muted one of its own';

alter table tidegate.lock add column held_until timestamptz;
comment on column tidegate.lock.held_until is 'Until when a process has it, for work that takes longer than a transaction should; prolonged while the work lasts';

comment on column tidegate.table_upkeep.failures is 'Builds of the index that were begun and have not succeeded since the last one that did';
comment on column tidegate.table_upkeep.next_attempt_at is 'After a build was begun that has not succeeded: not to be begun again before';
