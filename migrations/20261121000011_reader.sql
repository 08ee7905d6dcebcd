-- The role that BI tools read with. It cannot log in; grant it to those that can:
--     grant tidegate_reader to my_bi_user;
-- Roles belong to the server, not to the database: another database may have made it already, even at this moment.
do $$
begin
    create role tidegate_reader nologin;
exception
    when duplicate_object or unique_violation then null;
    when insufficient_privilege then
        raise warning 'role tidegate_reader was not made: ask an administrator for "create role tidegate_reader nologin"';
end
$$;

do $$
begin
    if exists (select from pg_roles where rolname = 'tidegate_reader') then
        grant usage on schema lynn to tidegate_reader;
        grant select on all tables in schema lynn to tidegate_reader;
        alter default privileges in schema lynn grant select on tables to tidegate_reader;
    end if;
end
$$;
