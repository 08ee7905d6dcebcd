-- Tables of many rows: which of them have their index by business time and their parameters of autovacuum
-- (src/load/upkeep.rs), and what the pruning of fingerprints looks up.

create table tidegate.table_upkeep (
    table_schema text not null,
    table_name text not null,
    table_oid bigint not null,
    parameters_at timestamptz,
    index_attribute smallint,
    index_at timestamptz,
    constraint table_upkeep_pkey primary key (table_schema, table_name)
);
comment on table tidegate.table_upkeep is 'What tables were given for many rows; each is given once, so what the operator changes later stays';
comment on column tidegate.table_upkeep.table_schema is 'Schema of the table';
comment on column tidegate.table_upkeep.table_name is 'The table';
comment on column tidegate.table_upkeep.table_oid is 'Its oid: a table that was created again under this name, or was divided, is given both again';
comment on column tidegate.table_upkeep.parameters_at is 'When its parameters of autovacuum were set, or found to be set by the operator';
comment on column tidegate.table_upkeep.index_attribute is 'Number (attnum) of the column with the business time; null while no index was created';
comment on column tidegate.table_upkeep.index_at is 'When the index of this column was created, or found';

-- These indexes have one range of time per range of blocks. Where several connections are loaded, most ranges contain
-- almost all times. The daemon builds better ones, without blocking loads. One that a long query reads stays: it takes
-- little, and this must not wait while others wait behind it.
do $$
declare
    former record;
    waits constant text := current_setting('lock_timeout');
begin
    for former in
        select index.indexrelid::regclass as name
        from (
            values
                ('jaicp.messages', 'timestamp'),
                ('jaicp.sessions', 'start_time'),
                ('lynn.navigation_marks', 'timestamp'),
                ('lexer.mention_sla_export', 'customer_publish_date_utc')
        ) as source (name, field)
        inner join pg_catalog.pg_index as index on index.indrelid = to_regclass(source.name) and index.indnatts = 1
        inner join pg_catalog.pg_attribute as attribute
            on
                attribute.attrelid = index.indrelid
                and attribute.attnum = index.indkey[0]
                and attribute.attname = source.field
        inner join pg_catalog.pg_class as class on class.oid = index.indexrelid
        inner join pg_catalog.pg_am as method on method.oid = class.relam and method.amname = 'brin'
        inner join pg_catalog.pg_opclass as opclass on opclass.oid = index.indclass[0] and opclass.opcdefault
        where
            class.reloptions = array['autosummarize=on']
            and index.indpred is null
            and not class.relispartition
            and pg_has_role(class.relowner, 'usage')
    loop
        begin
            perform set_config('lock_timeout', '1s', true);
            execute format('drop index %s', former.name);
        exception
            when lock_not_available then
                raise notice 'index % stays, because its table is in use', former.name;
        end;
    end loop;
    perform set_config('lock_timeout', waits, true);
end;
$$;

-- Fingerprints of slices that nothing reads any more are deleted, the oldest of a stream first.
create index slice_fingerprint_idx on tidegate.slice (connection, stream, finished_at) where fingerprinted;

-- Tables that change all the time, or from which the pruning deletes many rows at a time. Parameters that the operator
-- has set stay.
do $$
declare
    wanted record;
begin
    for wanted in
        select control.name, control.parameters
        from (
            values
                (
                    'quota_use',
                    'autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05'
                ),
                ('run', 'autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02'),
                ('task', 'autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02'),
                ('slice', 'autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02'),
                ('fingerprint', 'autovacuum_vacuum_scale_factor = 0.05'),
                ('rejected_record', 'autovacuum_vacuum_scale_factor = 0.05')
        ) as control (name, parameters)
        inner join pg_catalog.pg_class as class on class.oid = to_regclass('tidegate.' || control.name)
        where
            not exists (
                select
                from unnest(class.reloptions) as parameter (entry)
                where starts_with(parameter.entry, 'autovacuum_')
            )
    loop
        execute format('alter table tidegate.%I set (%s)', wanted.name, wanted.parameters);
    end loop;
end;
$$;
