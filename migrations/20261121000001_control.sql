-- The control schema: runs, tasks, slices and what a load leaves behind.
-- Times are timestamptz on the database's clock. Nothing here holds a credential; only rejected_record holds vendor data.

create schema tidegate;
comment on schema tidegate is 'Tidegate''s own state: runs, cursors, quota ledger, schema changes, refused records';

create table tidegate.setting (
    name text not null,
    value text not null,
    constraint setting_pkey primary key (name)
);
comment on table tidegate.setting is 'Values that belong to this database, made once';
comment on column tidegate.setting.name is 'Name of the value';
comment on column tidegate.setting.value is 'The value; ledger_salt keys the hash that names a credential''s quota ledger';

insert into tidegate.setting (name, value)
values ('ledger_salt', gen_random_uuid()::text || gen_random_uuid()::text);

create table tidegate.run (
    id bigint generated always as identity,
    job text not null,
    connection text not null,
    kind text not null,
    state text not null default 'queued',
    priority integer not null default 0,
    scheduled_for timestamptz,
    due_at timestamptz not null default now(),
    range_start timestamptz,
    range_end timestamptz,
    fence bigint not null default 0,
    owner text,
    lease_until timestamptz,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    error text,
    hint text,
    constraint run_pkey primary key (id),
    constraint run_firing_key unique (job, scheduled_for),
    constraint run_kind_check check (kind in ('schedule', 'manual', 'backfill')),
    constraint run_state_check check (state in ('queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled'))
);
create index run_claim_idx on tidegate.run (priority desc, due_at, id) where state in ('queued', 'waiting', 'running');
create index run_job_idx on tidegate.run (job, id desc);
comment on table tidegate.run is 'One firing of a job; one task per stream';
comment on column tidegate.run.id is 'Grows with time; rows of the warehouse point here with _run_id';
comment on column tidegate.run.job is 'Name of the job in the configuration';
comment on column tidegate.run.connection is 'Name of the connection in the configuration';
comment on column tidegate.run.kind is 'schedule: a firing; manual: sync; backfill: a past range read again';
comment on column tidegate.run.state is 'queued, running, waiting (until due_at), succeeded, failed or cancelled';
comment on column tidegate.run.priority is 'Higher goes first when a quota is scarce';
comment on column tidegate.run.scheduled_for is 'The firing this run answers; one run per job and firing, however many replicas';
comment on column tidegate.run.due_at is 'Not to be worked on before; also when a waiting run goes on';
comment on column tidegate.run.range_start is 'Backfill only: start of the range, inclusive';
comment on column tidegate.run.range_end is 'Backfill only: end of the range, exclusive';
comment on column tidegate.run.fence is 'Grows with every claim; a checkpoint of an older claim is refused';
comment on column tidegate.run.owner is 'The worker that holds the run';
comment on column tidegate.run.lease_until is 'Silent beyond this, the run is taken over';
comment on column tidegate.run.created_at is 'When the run was enqueued';
comment on column tidegate.run.started_at is 'When a worker first took it';
comment on column tidegate.run.finished_at is 'When it ended';
comment on column tidegate.run.error is 'What failed first, without vendor data or secrets';
comment on column tidegate.run.hint is 'What an operator can do about it';

create table tidegate.task (
    run_id bigint not null,
    stream text not null,
    state text not null default 'queued',
    waiting_for text,
    waiting_until timestamptz,
    slices_planned integer not null default 0,
    slices_done integer not null default 0,
    pages bigint not null default 0,
    calls bigint not null default 0,
    bytes bigint not null default 0,
    rows_read bigint not null default 0,
    rows_inserted bigint not null default 0,
    rows_updated bigint not null default 0,
    rows_deleted bigint not null default 0,
    rows_unchanged bigint not null default 0,
    rows_outside bigint not null default 0,
    values_extra bigint not null default 0,
    records_rejected bigint not null default 0,
    last_window_start timestamptz,
    last_window_end timestamptz,
    attempts integer not null default 0,
    started_at timestamptz,
    finished_at timestamptz,
    error text,
    hint text,
    constraint task_pkey primary key (run_id, stream),
    constraint task_run_fkey foreign key (run_id) references tidegate.run (id) on delete cascade,
    constraint task_state_check check (state in ('queued', 'running', 'waiting', 'succeeded', 'failed'))
);
comment on table tidegate.task is 'One stream of one run; tasks succeed or fail apart';
comment on column tidegate.task.run_id is 'The run';
comment on column tidegate.task.stream is 'The stream';
comment on column tidegate.task.state is 'queued, running, waiting, succeeded or failed';
comment on column tidegate.task.waiting_for is 'The limit or export that a waiting task waits for';
comment on column tidegate.task.waiting_until is 'When it goes on';
comment on column tidegate.task.slices_planned is 'Slices that this task has to read';
comment on column tidegate.task.slices_done is 'Slices finished so far';
comment on column tidegate.task.pages is 'Pages committed';
comment on column tidegate.task.calls is 'Calls sent, tokens and retries included';
comment on column tidegate.task.bytes is 'Bytes sent and received, uncompressed';
comment on column tidegate.task.rows_read is 'Records read, those outside their window and rejects included';
comment on column tidegate.task.rows_inserted is 'Rows that were new';
comment on column tidegate.task.rows_updated is 'Rows that changed';
comment on column tidegate.task.rows_deleted is 'Rows that the vendor no longer reports';
comment on column tidegate.task.rows_unchanged is 'Rows that were identical and not rewritten';
comment on column tidegate.task.rows_outside is 'Records outside their slice, left to the slice they belong to';
comment on column tidegate.task.values_extra is 'Values kept in _extra';
comment on column tidegate.task.records_rejected is 'Records kept in tidegate.rejected_record';
comment on column tidegate.task.last_window_start is 'Start of the slice read last';
comment on column tidegate.task.last_window_end is 'How far that slice has been read, exclusive';
comment on column tidegate.task.attempts is 'Times the task was put off after a passing fault';
comment on column tidegate.task.started_at is 'When the task began';
comment on column tidegate.task.finished_at is 'When it ended';
comment on column tidegate.task.error is 'Why it failed or waits, without vendor data or secrets';
comment on column tidegate.task.hint is 'What an operator can do about it';

create table tidegate.stream (
    connection text not null,
    stream text not null,
    table_schema text not null,
    table_name text not null,
    anchor date not null,
    timezone text not null,
    slice text not null,
    holder_run bigint,
    holder_fence bigint,
    page_bytes bigint,
    slice_bytes bigint,
    last_success_at timestamptz,
    constraint stream_pkey primary key (connection, stream)
);
comment on table tidegate.stream is 'One stream of a connection: its slice grid and who reads it now';
comment on column tidegate.stream.connection is 'The connection';
comment on column tidegate.stream.stream is 'The stream';
comment on column tidegate.stream.table_schema is 'Schema of the table it fills';
comment on column tidegate.stream.table_name is 'The table it fills';
comment on column tidegate.stream.anchor is 'The first start it ever had: the grid is counted from 00:00 of this day in timezone';
comment on column tidegate.stream.timezone is 'IANA zone of the grid';
comment on column tidegate.stream.slice is 'Length of a slice, as configured when the grid was made';
comment on column tidegate.stream.holder_run is 'The run that reads it; one at a time';
comment on column tidegate.stream.holder_fence is 'The fence that the holder must present';
comment on column tidegate.stream.page_bytes is 'Bytes of a recent full page, for quota estimates';
comment on column tidegate.stream.slice_bytes is 'Bytes of the slice read last, for quota estimates';
comment on column tidegate.stream.last_success_at is 'When a task of this stream last succeeded';

create table tidegate.slice (
    id bigint generated always as identity,
    connection text not null,
    stream text not null,
    window_start timestamptz not null,
    window_end timestamptz not null,
    read_until timestamptz,
    finished_run bigint,
    finished_at timestamptz,
    rows_total bigint not null default 0,
    reading_run bigint,
    reading_until timestamptz,
    reading_fresh boolean not null default false,
    reading_pages integer not null default 0,
    reading_rows bigint not null default 0,
    reading_seen bigint not null default 0,
    reading_bytes bigint not null default 0,
    cursor text,
    constraint slice_pkey primary key (id),
    constraint slice_window_key unique (connection, stream, window_start),
    constraint slice_window_check check (window_start < window_end)
);
create index slice_finished_idx on tidegate.slice (connection, stream, window_end);
comment on table tidegate.slice is 'The cursor: every slice that was begun, finished or not; lists have one slice without end';
comment on column tidegate.slice.id is 'Short name of the slice for tidegate.seen_row';
comment on column tidegate.slice.connection is 'The connection';
comment on column tidegate.slice.stream is 'The stream';
comment on column tidegate.slice.window_start is 'Start of the window, inclusive; _window_start of its rows';
comment on column tidegate.slice.window_end is 'End of the window, exclusive';
comment on column tidegate.slice.read_until is 'How far the last finished reading went; before window_end while the window is still open';
comment on column tidegate.slice.finished_run is 'The run that finished the last reading';
comment on column tidegate.slice.finished_at is 'When that was';
comment on column tidegate.slice.rows_total is 'Rows in the table after the last finished reading';
comment on column tidegate.slice.reading_run is 'The run that began the reading under way; null when none is';
comment on column tidegate.slice.reading_until is 'The end that every page of this reading is asked for with';
comment on column tidegate.slice.reading_fresh is 'Whether the table had no row of the slice when the reading began';
comment on column tidegate.slice.reading_pages is 'Pages committed in this reading';
comment on column tidegate.slice.reading_rows is 'Rows committed in this reading';
comment on column tidegate.slice.reading_seen is 'Rows of tidegate.seen_row that this reading must find again after a restart';
comment on column tidegate.slice.reading_bytes is 'Bytes of this reading so far';
comment on column tidegate.slice.cursor is 'The vendor''s position behind the last committed page, kept byte for byte';

-- Unlogged: worthless after the reading it belongs to. After a crash of Postgres it is empty, reading_seen tells so, and
-- the slice is read from its first page again.
create unlogged table tidegate.seen_row (
    slice_id bigint not null,
    row_key uuid not null,
    constraint seen_row_pkey primary key (slice_id, row_key)
);
comment on table tidegate.seen_row is 'Row keys met by a reading of several pages of a slice that had rows: what is not here at the end has vanished';
comment on column tidegate.seen_row.slice_id is 'The slice';
comment on column tidegate.seen_row.row_key is 'Key of a row that the vendor still reports';

create table tidegate.rejected_record (
    id bigint generated always as identity,
    run_id bigint not null,
    connection text not null,
    stream text not null,
    window_start timestamptz not null,
    reason text not null,
    record text not null,
    rejected_at timestamptz not null default now(),
    constraint rejected_record_pkey primary key (id)
);
create index rejected_record_slice_idx on tidegate.rejected_record (connection, stream, window_start);
comment on table tidegate.rejected_record is 'Records that could not become rows, as the vendor sent them; a slice that is read again replaces its own';
comment on column tidegate.rejected_record.id is 'Grows with time';
comment on column tidegate.rejected_record.run_id is 'The run that met it';
comment on column tidegate.rejected_record.connection is 'The connection';
comment on column tidegate.rejected_record.stream is 'The stream';
comment on column tidegate.rejected_record.window_start is 'Start of the slice it was read in';
comment on column tidegate.rejected_record.reason is 'Why it is no row';
comment on column tidegate.rejected_record.record is 'The record; characters that Postgres cannot hold are written as their JSON escapes';
comment on column tidegate.rejected_record.rejected_at is 'When it was met';

create table tidegate.table_column (
    table_schema text not null,
    table_name text not null,
    column_name text not null,
    field text not null,
    kind text not null,
    added_at timestamptz not null default now(),
    constraint table_column_pkey primary key (table_schema, table_name, column_name),
    constraint table_column_field_key unique (table_schema, table_name, field)
);
comment on table tidegate.table_column is 'Columns that appeared with the data: which vendor field fills which column';
comment on column tidegate.table_column.table_schema is 'Schema of the table';
comment on column tidegate.table_column.table_name is 'The table';
comment on column tidegate.table_column.column_name is 'The column';
comment on column tidegate.table_column.field is 'The vendor''s field name; nested fields are joined with a point';
comment on column tidegate.table_column.kind is 'The column''s type now';
comment on column tidegate.table_column.added_at is 'When the column was added';

create table tidegate.schema_change (
    id bigint generated always as identity,
    changed_at timestamptz not null default now(),
    run_id bigint,
    connection text,
    table_schema text not null,
    table_name text not null,
    column_name text,
    field text,
    change text not null,
    old_type text,
    new_type text,
    constraint schema_change_pkey primary key (id),
    constraint schema_change_change_check check (change in ('add_table', 'add_column', 'widen_column'))
);
comment on table tidegate.schema_change is 'Every change that the data made to a warehouse table';
comment on column tidegate.schema_change.id is 'Grows with time';
comment on column tidegate.schema_change.changed_at is 'When';
comment on column tidegate.schema_change.run_id is 'The run whose data asked for it';
comment on column tidegate.schema_change.connection is 'The connection whose data asked for it';
comment on column tidegate.schema_change.table_schema is 'Schema of the table';
comment on column tidegate.schema_change.table_name is 'The table';
comment on column tidegate.schema_change.column_name is 'The column; null for a new table';
comment on column tidegate.schema_change.field is 'The vendor''s field name';
comment on column tidegate.schema_change.change is 'add_table, add_column or widen_column';
comment on column tidegate.schema_change.old_type is 'Type before, if it was widened';
comment on column tidegate.schema_change.new_type is 'Type since';
