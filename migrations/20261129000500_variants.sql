-- A value that does not fit its column goes into a variant of the column; the column keeps its type.

alter table tidegate.table_column
    add column variant text not null default '',
    drop constraint table_column_field_key,
    add constraint table_column_field_key unique (table_schema, table_name, field, variant);
comment on table tidegate.table_column is 'Columns that appeared with the data: which vendor field fills which column';
comment on column tidegate.table_column.kind is 'The type that the column was given last; its type now is in pg_attribute';
comment on column tidegate.table_column.variant is 'Empty for the field''s own column; else the type of the variant, which takes values that the column does not hold';

alter table tidegate.schema_change
    drop constraint schema_change_change_check,
    add constraint schema_change_change_check check (
        change in ('add_table', 'add_column', 'add_variant', 'widen_column')
    );
comment on table tidegate.schema_change is 'Every change that Tidegate made to a warehouse table: what the data asked for, and what was missing and was made again';
comment on column tidegate.schema_change.change is 'add_table, add_column, add_variant (a column for values that do not fit theirs) or widen_column';
comment on column tidegate.schema_change.old_type is 'Type before, if it was widened; for a variant, the type of the column whose values it takes';
comment on column tidegate.schema_change.new_type is 'Type since';
