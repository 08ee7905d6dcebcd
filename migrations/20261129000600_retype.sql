-- A column type that was changed outside Tidegate is recorded once.

alter table tidegate.schema_change
    drop constraint schema_change_change_check,
    add constraint schema_change_change_check check (
        change in ('add_table', 'add_column', 'add_variant', 'widen_column', 'retype_column')
    );
comment on table tidegate.schema_change is 'Every change that Tidegate made to a warehouse table, and every column type that was changed outside Tidegate';
comment on column tidegate.schema_change.change is 'add_table, add_column, add_variant (a column for values that do not fit theirs), widen_column, or retype_column (not by Tidegate)';
