create or replace view mart.customers as
with khoros as (
    select distinct on (_connection, author) _connection, author, name, channel, _loaded_at
    from {{khoros.author}} t
    where author <> ''
    order by _connection, author, _loaded_at desc, _row_key
),
jaicp as (
    select distinct on (_connection, project_short_name, lower(channel_type), bot_id, id)
        _connection,
        project_short_name,
        lower(channel_type) as channel_type,
        bot_id,
        id,
        username,
        trim(concat_ws(' ', first_name, last_name)) as name,
        _loaded_at
    from (
        select * from jaicp.clients where bot_id <> ''
        union all
        -- The vendor may leave out the bot in the list. The client is then the one of its sessions.
        select c.*
        from jaicp.clients c
        left join jaicp.sessions s on s._connection = c._connection
            and s.project_short_name = c.project_short_name
            and lower(coalesce(s.channel_type, '')) = lower(c.channel_type)
            and s.bot_id <> ''
            and s.client_id = c.id
        where c.bot_id = '' and s.session_id is null
    ) c
    where id <> ''
    order by _connection, project_short_name, lower(channel_type), bot_id, id, _loaded_at desc
),
customer as (
    select
        'khoros' as source,
        _connection as connection,
        author as id,
        name as handle,
        null::text as name,
        channel as channel_raw,
        _loaded_at
    from khoros
    union all
    -- Customers whom other tables name and the list does not have.
    select 'khoros', f._connection, f.id, null, null, max(f.channel), max(f._loaded_at)
    from (
        select p._connection, p.author as id, nullif(p.channel, '') as channel, p._loaded_at
        from {{khoros.incoming_post}} p
        left join khoros k on k._connection = p._connection and k.author = p.author
        where p.author <> '' and k.author is null
        union all
        select c._connection, c.customer, nullif(c.channel, ''), c._loaded_at
        from {{khoros.conversation}} c
        left join khoros k on k._connection = c._connection and k.author = c.customer
        where c.customer <> '' and k.author is null
    ) f
    group by f._connection, f.id
    union all
    select 'lexer', f._connection, f.id, f.id, max(f.name), min(f.channel), max(f._loaded_at)
    from (
        select
            _connection, customer_username as id, customer_fullname as name, lower(source_type) as channel, _loaded_at
        from lexer.mention_sla_export
        union all
        select _connection, customer, null, nullif(lower(channel), ''), _loaded_at from {{lexer.case_details}} t
        union all
        select _connection, customer, null, null, _loaded_at from {{lexer.nps_submissions}} t
    ) f
    where f.id <> ''
    group by f._connection, f.id
    union all
    select
        'jaicp',
        _connection,
        project_short_name || '/' || channel_type || '/' || bot_id || '/' || id,
        username,
        name,
        channel_type,
        _loaded_at
    from jaicp
    union all
    select
        'jaicp',
        f._connection,
        f.project_short_name || '/' || f.channel_type || '/' || f.bot_id || '/' || f.id,
        max(f.username),
        max(f.name),
        f.channel_type,
        max(f._loaded_at)
    from (
        select
            s._connection,
            s.project_short_name,
            lower(coalesce(s.channel_type, '')) as channel_type,
            coalesce(s.bot_id, '') as bot_id,
            s.client_id as id,
            s.client_username as username,
            trim(concat_ws(' ', s.client_first_name, s.client_last_name)) as name,
            s._loaded_at
        from jaicp.sessions s
        union all
        select
            m._connection,
            m.project_short_name,
            lower(coalesce(m.channel_type, '')),
            coalesce(m.bot_id, ''),
            m.client_id,
            m.client_username,
            trim(concat_ws(' ', m.client_first_name, m.client_last_name)),
            m._loaded_at
        from (
            -- Of a session that is known, the client is the session's.
            select distinct m._connection, m.project_short_name, m.session_id
            from jaicp.messages m
            left join jaicp.sessions s on s._connection = m._connection
                and s.project_short_name = m.project_short_name
                and s.session_id = m.session_id
            where s.session_id is null
        ) o
        join jaicp.messages m on m._connection = o._connection
            and m.project_short_name = o.project_short_name
            and m.session_id = o.session_id
    ) f
    left join jaicp j on j._connection = f._connection
        and j.project_short_name = f.project_short_name
        and j.channel_type = f.channel_type
        and j.bot_id = f.bot_id
        and j.id = f.id
    where f.id <> '' and j.id is null
    group by f._connection, f.project_short_name, f.channel_type, f.bot_id, f.id
    union all
    (select distinct on (_connection, id)
        'lynn', _connection, id, null, name, channel, _loaded_at
    from {{lynn.contacts}} t
    where id <> ''
    order by _connection, id, _deleted_at desc nulls first, _loaded_at desc)
)
select
    c.source::text as source,
    c.connection::text as connection,
    (c.source || ':' || c.connection || ':' || tidegate.pseudonym(c.id))::text as customer_key,
    {channel of c}::text as channel,
    nullif(c.handle, '')::text as handle,
    nullif(c.name, '')::text as name,
    tidegate.person_key(
        'customer',
        case
            when tidegate.is_person(c.handle) then c.handle
            when tidegate.is_person(c.name) then c.name
            else c.source || ':' || c.connection || ':' || c.id
        end
    )::text as person_key,
    c._loaded_at::timestamptz as loaded_at
from customer c;

comment on view mart.customers is 'One row per customer of a connection, also if only other relations name the customer. Key: customer_key';
comment on column mart.customers.source is 'Vendor: khoros, lexer, jaicp or lynn';
comment on column mart.customers.connection is 'Configured connection from which the row was read';
comment on column mart.customers.customer_key is 'Unique: source:connection:pseudonym of the id, which may be a user name or a telephone number';
comment on column mart.customers.channel is 'Channel in the vocabulary of mart.channels; unknown if not given';
comment on column mart.customers.handle is 'User name. Null for tidegate_analyst, for Lynn, which gives none, and for customers of Khoros whom its list does not contain';
comment on column mart.customers.name is 'Name; null for tidegate_analyst and for Khoros, which gives only the user name';
comment on column mart.customers.person_key is
    'Equal for the same customer in several systems (agents have other keys): by a user name that is an e-mail address or has two words (joined by a blank, _, . or -), or else by a name of two words or more. A customer with neither has a key that nobody shares';
comment on column mart.customers.loaded_at is 'When Tidegate last changed the row';
