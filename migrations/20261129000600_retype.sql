-- A column that someone gave another type is noted once, with the type that it has now.

alter table tidegate.schema_change
    drop constraint schema_change_change_check,
    add constraint schema_change_change_check check (
        change in ('add_table', 'add_column', 'add_variant', 'widen_column', 'retype_column')
    );
comment on table tidegate.schema_change is 'Every change that Tidegate made to a warehouse table, and every type that someone else gave a column: what the data asked for, and what was missing and was made again';
comment on column tidegate.schema_change.change is 'add_table, add_column, add_variant (a column for values that do not fit theirs), widen_column, or retype_column (not by Tidegate)';
