-- The keys of rows without a documented or stated key begin with the row's time, so that the index of a table grows at
-- its end. That is chosen while a table is empty: a table that has rows now gets no entry, and keeps its keys.

create table tidegate.row_time (
    table_schema text not null,
    table_name text not null,
    field text not null,
    chosen_at timestamptz not null default clock_timestamp(),
    constraint row_time_pkey primary key (table_schema, table_name)
);
comment on table tidegate.row_time is 'Tables whose _row_key begins with the time of the row; in other tables it is a hash from its first bit';
comment on column tidegate.row_time.table_schema is 'Schema of the table';
comment on column tidegate.row_time.table_name is 'The table';
comment on column tidegate.row_time.field is 'Vendor field with the time of a row';
comment on column tidegate.row_time.chosen_at is 'When it was chosen';
