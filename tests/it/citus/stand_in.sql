-- Stands in for the part of Citus's catalogue and functions that Tidegate uses: it records what is called, and every row
-- stays where it is.

set allow_system_table_mods = on;
insert into pg_catalog.pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
select 4000001, 'citus', 10, 'pg_catalog'::regnamespace, false, '13.2-1';
create table pg_catalog.pg_dist_local_group (groupid integer not null);
insert into pg_catalog.pg_dist_local_group values (0);
create table pg_catalog.pg_dist_node (nodeid integer, isactive boolean, noderole text, shouldhaveshards boolean);
insert into pg_catalog.pg_dist_node values (1, true, 'primary', false), (2, true, 'primary', true), (3, true, 'primary', true);
create table pg_catalog.pg_dist_partition (
    logicalrelid regclass not null, partmethod "char" not null, partkey text, colocationid integer not null
);
create table pg_catalog.pg_dist_truncated (logicalrelid regclass not null);
create function pg_catalog.column_to_column_name(table_name regclass, column_var_text text) returns text
language sql as 'select column_var_text';
create function pg_catalog.create_distributed_table(table_name regclass, distribution_column text, colocate_with text)
returns void language sql as $$
    insert into pg_catalog.pg_dist_partition
    select table_name, 'h', distribution_column, case colocate_with
        when 'none' then (select coalesce(max(colocationid), 0) + 1 from pg_catalog.pg_dist_partition)
        else (select colocationid from pg_catalog.pg_dist_partition where logicalrelid = colocate_with::regclass)
    end
$$;
create function pg_catalog.truncate_local_data_after_distributing_table(function_name regclass) returns void
language sql as 'insert into pg_catalog.pg_dist_truncated values (function_name)';
