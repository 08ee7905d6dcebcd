create or replace view mart.messages as
with khoros as (
    select
        'khoros' as source,
        p._connection as connection,
        'post/' || coalesce(nullif(p.id, ''), p._row_key::text) as id,
        p.sent_at,
        'customer' as direction,
        null::text as reply_by,
        p.channel as channel_raw,
        nullif(p.conversation_id, '') as conversation,
        null::text as agent,
        nullif(p.author, '') as customer,
        null::double precision as wait_seconds,
        null::boolean as within_sla,
        null::text as delivery_status,
        p._loaded_at
    from {{khoros.incoming_post}} p
    union all
    select
        'khoros',
        r._connection,
        'response/' || coalesce(nullif(r.id, ''), r._row_key::text),
        r.sent_at,
        'agent',
        null,
        r.channel,
        nullif(r.conversation_id, ''),
        nullif(r.agent, ''),
        null,
        null,
        null,
        r.delivery_status,
        r._loaded_at
    from {{khoros.response}} r
),
lexer as (
    select
        'lexer',
        m._connection,
        m._row_key::text,
        m.customer_publish_date_utc,
        'customer',
        case when m.agent_reponse_date_utc is not null then 'agent' end,
        lower(m.source_type),
        null::text,
        u.id::text,
        nullif(m.customer_username, ''),
        tidegate.sane_seconds(m.customer_wait_time_min) * 60,
        m.within_customer_sla,
        null::text,
        m._loaded_at
    from lexer.mention_sla_export m
    left join (
        select _connection, lower(first_name) as first_name, lower(last_name) as last_name, min(id) as id
        from lexer.users
        group by _connection, lower(first_name), lower(last_name)
    ) u on u._connection = m._connection
        and u.first_name = lower(m.agent_first_name)
        and u.last_name = lower(m.agent_last_name)
),
jaicp as (
    select
        'jaicp',
        m._connection,
        m.project_short_name || '/' || tidegate.pseudonym(m.session_id) || '/' || m.question_id,
        m."timestamp",
        case
            when m.question <> '' then 'customer'
            when m.operator_info_id <> '' then 'agent'
            else 'bot'
        end,
        case
            when m.question is null or m.question = '' or m.text_answer is null or m.text_answer = '' then null
            when m.operator_info_id <> '' then 'agent'
            else 'bot'
        end,
        lower(m.channel_type),
        m.project_short_name || '/' || tidegate.pseudonym(m.session_id),
        nullif(m.operator_info_id, ''),
        m.project_short_name || '/' || lower(m.channel_type) || '/' || m.bot_id || '/' || m.client_id,
        m.processing_time / 1000.0,
        null::boolean,
        nullif(lower(m.status), ''),
        m._loaded_at
    from jaicp.messages m
),
lynn as (
    select
        'lynn',
        d._connection,
        d._row_key::text,
        d.sent_at,
        case
            when lower(d.sender) in ('client', 'customer', 'user', 'contact') then 'customer'
            when lower(d.sender) in ('agent', 'operator', 'executive') then 'agent'
            when lower(d.sender) in ('bot', 'lynn', 'system') then 'bot'
        end,
        null::text,
        d.channel,
        nullif(d.session, ''),
        case when lower(d.sender) in ('agent', 'operator', 'executive') then nullif(d.author, '') end,
        null::text,
        null::double precision,
        null::boolean,
        null::text,
        d._loaded_at
    from {{lynn.show_dialogs}} d
)
select
    m.source::text as source,
    m.connection::text as connection,
    m.sent_at::timestamptz as sent_at,
    (m.sent_at at time zone {timezone})::date as day,
    (m.source || ':' || m.connection || ':' || m.id)::text as message_key,
    (m.source || ':' || m.connection || ':' || m.conversation)::text as conversation_key,
    m.direction::text as direction,
    m.reply_by::text as reply_by,
    coalesce(v.channel, lower(m.channel_raw), 'unknown')::text as channel,
    (m.source || ':' || m.connection || ':' || tidegate.agent_id(m.agent))::text as agent_key,
    (m.source || ':' || m.connection || ':' || tidegate.pseudonym(m.customer))::text as customer_key,
    m.wait_seconds::double precision as wait_seconds,
    m.within_sla::boolean as within_sla,
    m.delivery_status::text as delivery_status,
    m._loaded_at::timestamptz as loaded_at
from (
    select * from khoros
    union all
    select * from lexer
    union all
    select * from jaicp
    union all
    select * from lynn
) m
left join mart.channels v on v.source = m.source and v.channel_raw = lower(m.channel_raw);

comment on view mart.messages is
    'One row per post and response (Khoros), message (Lynn), mention (Lexer) or turn (JAICP: question and answer). Key: message_key. Texts: mart.messages_text';
comment on column mart.messages.source is 'Vendor: khoros, lexer, jaicp or lynn';
comment on column mart.messages.connection is 'Configured connection from which the row was read';
comment on column mart.messages.sent_at is 'When the message was sent, or the turn began';
comment on column mart.messages.day is 'Local date of sent_at in the business time zone (mart.timezone)';
comment on column mart.messages.message_key is 'Unique: source:connection:id';
comment on column mart.messages.conversation_key is
    'The conversation, as in mart.conversations. Null for Lexer, whose mentions do not name a case';
comment on column mart.messages.direction is 'Who sent it: customer, bot or agent. Null if the vendor does not say';
comment on column mart.messages.reply_by is
    'Who replied, where the same row holds the reply (JAICP, Lexer): bot or agent';
comment on column mart.messages.channel is 'Channel in the vocabulary of mart.channels; unknown if not given';
comment on column mart.messages.agent_key is 'The agent who sent it or replied, as in mart.agents';
comment on column mart.messages.customer_key is 'The customer, as in mart.customers. Null for Lynn and for replies of Khoros';
comment on column mart.messages.wait_seconds is
    'Seconds that the customer waited for the reply: Lexer''s own figure, JAICP''s processing time. Null for Khoros and Lynn';
comment on column mart.messages.within_sla is 'Whether the reply met the customer''s service level. Only Lexer reports it';
comment on column mart.messages.delivery_status is 'Delivery as the vendor reports it, in lower case: sent, read … Only JAICP, if enabled';
comment on column mart.messages.loaded_at is 'When Tidegate last changed the row';
