-- With `mart.materialize`, the rows of the mart's large views are stored in tables of the schema `tidegate`.

create table tidegate.mart_table (
    name text not null,
    relation text not null,
    refreshed_at timestamptz not null,
    took_seconds double precision not null,
    constraint mart_table_pkey primary key (name)
);
comment on table tidegate.mart_table is 'The tables that store rows of views of the schema mart';
comment on column tidegate.mart_table.name is 'Name of the table in the schema tidegate: the view''s name and a hash of the statement that selects its rows';
comment on column tidegate.mart_table.relation is 'Name of the view';
comment on column tidegate.mart_table.refreshed_at is 'Everything that was committed before is in the rows';
comment on column tidegate.mart_table.took_seconds is 'How long it took to compute and compare the rows';

create view mart.stored_relations as
select
    stored.relation,
    stored.refreshed_at,
    floor(extract(epoch from statement_timestamp() - stored.refreshed_at))::bigint as age_seconds
from tidegate.mart_table as stored
where
    -- A table that no view reads says nothing about what a query shows.
    exists (
        select
        from pg_catalog.pg_depend as depend
        inner join pg_catalog.pg_rewrite as rule on rule.oid = depend.objid
        inner join pg_catalog.pg_class as view on view.oid = rule.ev_class
        inner join pg_catalog.pg_class as source on source.oid = depend.refobjid
        where
            depend.refclassid = 'pg_catalog.pg_class'::regclass
            and depend.classid = 'pg_catalog.pg_rewrite'::regclass
            and view.relnamespace = 'mart'::regnamespace
            and source.relname = stored.name
            and source.relnamespace = 'tidegate'::regnamespace
    );
comment on view mart.stored_relations is
    'One row per relation of the mart whose rows are stored (mart.materialize); empty if all are computed when they are queried. Key: relation';
comment on column mart.stored_relations.relation is 'Name of the relation';
comment on column mart.stored_relations.refreshed_at is 'The relation shows what the tables had at this time';
comment on column mart.stored_relations.age_seconds is 'Seconds since then';

do $$
declare
    reader text;
begin
    foreach reader in array array['tidegate_reader', 'tidegate_analyst'] loop
        if exists (select from pg_catalog.pg_roles where rolname = reader) then
            execute format('grant select on mart.stored_relations to %I', reader);
        end if;
    end loop;
end
$$;

-- One process at a time stores rows.
insert into tidegate.lock (name)
values ('mart_table')
on conflict do nothing;
