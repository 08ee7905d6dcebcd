-- A stream leaves the problem of its connection when it fails for another reason at two checks in a row.

alter table tidegate.problem add column straying text[];
comment on column tidegate.problem.straying is 'The streams of it that failed for another reason at the last check; they leave it if they do at the next one';
comment on column tidegate.problem.muted_until is 'Until when no reminder of it is sent; it ends when a stream joins the problem without a muted one of its own';
