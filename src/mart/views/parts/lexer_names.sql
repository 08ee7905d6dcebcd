(
    -- The names by which facts refer to agents: the full name, or a first name that only one agent has.
    select distinct on (_connection, name) _connection, name, id
    from (
        select
            _connection,
            lower(trim(concat_ws(' ', nullif(trim(first_name), ''), nullif(trim(last_name), '')))) as name,
            id,
            true as is_full,
            _deleted_at is null and not coalesce(archived, false) as is_active
        from lexer.users
        union all
        select _connection, lower(trim(first_name)), min(id), false, true
        from lexer.users
        group by _connection, lower(trim(first_name))
        having count(*) = 1
    ) n
    where name <> ''
    order by _connection, name, is_full desc, is_active desc, id
)
