-- Keys that jobs have chosen as primary keys. A key is chosen when the first rows of its table are loaded: a table that
-- has rows keeps its key.

create table tidegate.table_key (
    table_schema text not null,
    table_name text not null,
    fields text [] not null,
    columns text [] not null,
    chosen_at timestamptz not null default clock_timestamp(),
    constraint table_key_pkey primary key (table_schema, table_name)
);
comment on table tidegate.table_key is 'Tables whose primary key a job has chosen; other tables have a documented key or _row_key';
comment on column tidegate.table_key.table_schema is 'Schema of the table';
comment on column tidegate.table_key.table_name is 'The table';
comment on column tidegate.table_key.fields is 'Vendor fields that the job states as key';
comment on column tidegate.table_key.columns is 'Columns of the primary key that hold them';
comment on column tidegate.table_key.chosen_at is 'When it was chosen';
