-- Promise 10: a reading that is doubtful takes nothing away. Its slice is held until a later reading is in order, or until
-- the operator releases it.

alter table tidegate.slice
    add column reading_present bigint,
    add column reading_rejected bigint not null default 0,
    add column held_since timestamptz,
    add column held_reason text,
    add column held_rows_there bigint,
    add column held_rows_reported bigint,
    add column released boolean not null default false,
    add constraint slice_held_check check (
        (held_since is null) = (held_reason is null)
        and (held_since is null) = (held_rows_there is null)
        and (held_since is null) = (held_rows_reported is null)
    );
create index slice_held_idx on tidegate.slice (connection, stream) where held_since is not null or released;
comment on column tidegate.slice.reading_present is 'Rows that the table had of the slice when the reading under way began; null when it is not known';
comment on column tidegate.slice.reading_rejected is 'Records refused by the reading under way';
comment on column tidegate.slice.held_since is 'Since when rows that the vendor no longer reports are kept because the reading was doubtful; null when nothing is held';
comment on column tidegate.slice.held_reason is 'Why the last reading was doubtful';
comment on column tidegate.slice.held_rows_there is 'Rows that the table has of the held slice';
comment on column tidegate.slice.held_rows_reported is 'Rows that the doubtful reading reported';
comment on column tidegate.slice.released is 'Whether the operator lets the next reading delete what it does not report';

alter table tidegate.run
    drop constraint run_state_check,
    add constraint run_state_check check (
        state in ('queued', 'running', 'waiting', 'succeeded', 'held', 'failed', 'cancelled')
    );
comment on column tidegate.run.state is 'queued, running, waiting (until due_at), succeeded, held, failed or cancelled';
comment on column tidegate.run.error is 'What failed first or why slices are held, without vendor data or secrets';

alter table tidegate.task
    drop constraint task_state_check,
    add constraint task_state_check check (state in ('queued', 'running', 'waiting', 'succeeded', 'held', 'failed'));
comment on column tidegate.task.state is 'queued, running, waiting, succeeded, held or failed';
comment on column tidegate.task.error is 'Why it failed, waits or has slices held, without vendor data or secrets';

-- A connection stays with the account that it first read.
create table tidegate.connection (
    name text not null,
    vendor text not null,
    account jsonb not null,
    pinned_at timestamptz not null default now(),
    constraint connection_pkey primary key (name)
);
comment on table tidegate.connection is 'The account that each connection first read; another account under the same name is refused';
comment on column tidegate.connection.name is 'The connection';
comment on column tidegate.connection.vendor is 'Name of the vendor';
comment on column tidegate.connection.account is 'What the configuration says of the account apart from secrets: host, tenant, company key, project';
comment on column tidegate.connection.pinned_at is 'When it was first read';
