create or replace view mart.customers as
with customer as (
    (select distinct on (_connection, author)
        'khoros' as source,
        _connection as connection,
        author as id,
        name as handle,
        null::text as name,
        channel as channel_raw,
        _loaded_at
    from {{khoros.author}} t
    where author <> ''
    order by _connection, author, _loaded_at desc)
    union all
    select
        'lexer', _connection, customer_username, customer_username, max(customer_fullname), min(lower(source_type)), max(_loaded_at)
    from lexer.mention_sla_export
    where customer_username <> ''
    group by _connection, customer_username
    union all
    (select distinct on (_connection, project_short_name, lower(channel_type), bot_id, id)
        'jaicp',
        _connection,
        project_short_name || '/' || lower(channel_type) || '/' || bot_id || '/' || id,
        username,
        trim(concat_ws(' ', first_name, last_name)),
        lower(channel_type),
        _loaded_at
    from jaicp.clients
    order by _connection, project_short_name, lower(channel_type), bot_id, id, _loaded_at desc)
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
    coalesce(v.channel, lower(c.channel_raw), 'unknown')::text as channel,
    (case when (select tidegate.may_read_contacts()) then nullif(c.handle, '') end)::text as handle,
    (case when (select tidegate.may_read_contacts()) then nullif(c.name, '') end)::text as name,
    tidegate.person_key(coalesce(nullif(c.handle, ''), nullif(c.name, '')))::text as person_key,
    c._loaded_at::timestamptz as loaded_at
from customer c
left join mart.channels v on v.source = c.source and v.channel_raw = lower(c.channel_raw);

comment on view mart.customers is 'One row per customer of a connection. Key: customer_key';
comment on column mart.customers.source is 'Vendor: khoros, lexer, jaicp or lynn';
comment on column mart.customers.connection is 'Configured connection from which the row was read';
comment on column mart.customers.customer_key is 'Unique: source:connection:pseudonym of the id, which may be a user name or a telephone number';
comment on column mart.customers.channel is 'Channel in the vocabulary of mart.channels; unknown if not given';
comment on column mart.customers.handle is 'User name; null for tidegate_analyst and for Lynn, which gives none';
comment on column mart.customers.name is 'Name; null for tidegate_analyst and for Khoros, which gives only the user name';
comment on column mart.customers.person_key is
    'Equal for customers of one user name, or else of one name, in several systems. Null if the vendor gives neither';
comment on column mart.customers.loaded_at is 'When Tidegate last changed the row';
