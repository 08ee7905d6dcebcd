create or replace view mart.messages as
with khoros as (
    select
        'khoros' as source,
        m._connection as connection,
        m.direction || '/' || m.id as id,
        m.sent_at,
        case m.direction when 'post' then 'customer' else 'agent' end as direction,
        null::text as reply_by,
        case m.direction when 'post' then coalesce(m.channel, c.known_channel) else coalesce(c.known_channel, m.channel) end
            as channel_raw,
        m.conversation_id as conversation,
        m.agent,
        m.author as customer,
        null::double precision as wait_seconds,
        null::double precision as processing_seconds,
        null::boolean as within_sla,
        m.delivery_status,
        m._loaded_at
    from (
        -- The key of a row is a hash without a salt of what is in it, so a key of the mart has a pseudonym of it: with
        -- the hash itself, a list of names would tell the customer.
        -- An id may stand in several rows: under another name of the field, or of an earlier version.
        (select distinct on (_connection, coalesce(nullif(id, ''), _row_key::text))
            'post' as direction,
            _connection,
            coalesce(nullif(id, ''), tidegate.pseudonym(_row_key::text)) as id,
            sent_at,
            nullif(channel, '') as channel,
            nullif(conversation_id, '') as conversation_id,
            null::text as agent,
            nullif(author, '') as author,
            null::text as delivery_status,
            _loaded_at
        from {{khoros.incoming_post}} t
        order by _connection, coalesce(nullif(id, ''), _row_key::text), _loaded_at desc, _row_key)
        union all
        (select distinct on (_connection, coalesce(nullif(id, ''), _row_key::text))
            'response',
            _connection,
            coalesce(nullif(id, ''), tidegate.pseudonym(_row_key::text)),
            sent_at,
            nullif(channel, ''),
            nullif(conversation_id, ''),
            nullif(agent, ''),
            null,
            delivery_status,
            _loaded_at
        from {{khoros.response}} t
        order by _connection, coalesce(nullif(id, ''), _row_key::text), _loaded_at desc, _row_key)
    ) m
    left join {khoros_conversations} c on c._connection = m._connection and c.conversation_id = m.conversation_id
),
lexer as (
    select
        'lexer',
        m._connection,
        tidegate.pseudonym(m._row_key::text) || '/' || extract(epoch from m._window_start)::bigint,
        m.customer_publish_date_utc,
        'customer',
        case when m.agent_reponse_date_utc is not null or m.agent_response <> '' then 'agent' end,
        lower(m.source_type),
        null::text,
        coalesce(
            u.id::text,
            nullif(lower(trim(concat_ws(' ', nullif(trim(m.agent_first_name), ''), nullif(trim(m.agent_last_name), '')))), '')
        ),
        nullif(m.customer_username, ''),
        case when m.customer_wait_time_min >= 0 then tidegate.sane_seconds(m.customer_wait_time_min) * 60 end,
        null::double precision,
        -- What Lexer says before there is a reply is not final, and its reports count breaches of replies only.
        case when m.agent_reponse_date_utc is not null or m.agent_response <> '' then m.within_customer_sla end,
        null::text,
        m._loaded_at
    from lexer.mention_sla_export m
    left join {lexer_names} u on u._connection = m._connection
        and u.name = lower(trim(concat_ws(' ', nullif(trim(m.agent_first_name), ''), nullif(trim(m.agent_last_name), ''))))
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
        -- Of a session that is known, the client is the session's.
        case
            when s.session_id is not null then s.project_short_name || '/' || lower(coalesce(s.channel_type, '')) || '/' || coalesce(s.bot_id, '') || '/'
                || nullif(s.client_id, '')
            else m.project_short_name || '/' || lower(coalesce(m.channel_type, '')) || '/' || coalesce(m.bot_id, '') || '/'
                || nullif(m.client_id, '')
        end,
        null::double precision,
        case when m.processing_time >= 0 then (m.processing_time / 1000.0)::double precision end,
        null::boolean,
        nullif(lower(m.status), ''),
        m._loaded_at
    from jaicp.messages m
    left join jaicp.sessions s on s._connection = m._connection
        and s.project_short_name = m.project_short_name
        and s.session_id = m.session_id
),
lynn as (
    select
        'lynn',
        d._connection,
        tidegate.pseudonym(d._row_key::text) || '/' || extract(epoch from d._window_start)::bigint,
        d.sent_at,
        d.sender,
        null::text,
        d.channel,
        nullif(d.session, ''),
        case when d.sender = 'agent' then nullif(d.author, '') end,
        null::text,
        null::double precision,
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
    (k.sent_at at time zone {timezone})::date as day,
    extract(hour from k.sent_at at time zone {timezone})::integer as hour,
    (m.source || ':' || m.connection || ':' || m.id)::text as message_key,
    (m.source || ':' || m.connection || ':' || m.conversation)::text as conversation_key,
    m.direction::text as direction,
    m.reply_by::text as reply_by,
    {channel of m}::text as channel,
    (m.source || ':' || m.connection || ':' || tidegate.agent_id(m.agent))::text as agent_key,
    (m.source || ':' || m.connection || ':' || tidegate.pseudonym(m.customer))::text as customer_key,
    m.wait_seconds::double precision as wait_seconds,
    m.processing_seconds::double precision as processing_seconds,
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
cross join lateral (select tidegate.known_time(m.sent_at, m._loaded_at) as sent_at) k;

comment on view mart.messages is
    'One row per post and response (Khoros), message (Lynn), mention (Lexer) or turn (JAICP: question and answer). Key: message_key. Texts: mart.messages_text';
comment on column mart.messages.source is 'Vendor: khoros, lexer, jaicp or lynn';
comment on column mart.messages.connection is 'Configured connection from which the row was read';
comment on column mart.messages.sent_at is 'When the message was sent, or the turn began';
comment on column mart.messages.day is
    'Local date of sent_at in the business time zone (mart.timezone). Null if sent_at cannot be right: before 1990, or more than a day after the row was loaded';
comment on column mart.messages.hour is 'Hour of sent_at in the business time zone, 0 to 23. Null if day is null';
comment on column mart.messages.message_key is 'Unique: source:connection:id. A pseudonym of the row stands for the id that Lexer and Lynn do not give';
comment on column mart.messages.conversation_key is
    'The conversation, as in mart.conversations. Null for Lexer, whose mentions do not name a case';
comment on column mart.messages.direction is 'Who sent it: customer, bot or agent. Null if the vendor does not say, or in a word that is not known (Lynn; tidegate mart counts them)';
comment on column mart.messages.reply_by is
    'Who replied, where the same row holds the reply (JAICP, Lexer): bot or agent';
comment on column mart.messages.channel is
    'Channel in the vocabulary of mart.channels; of a response of Khoros that of its conversation or of the posts in it. unknown if not given';
comment on column mart.messages.agent_key is 'The agent who sent it or replied, as in mart.agents';
comment on column mart.messages.customer_key is 'The customer, as in mart.customers. Null for Lynn and for replies of Khoros';
comment on column mart.messages.wait_seconds is
    'Seconds that the customer waited for the reply: Lexer''s own figure. Null if negative, and for the others, which report none';
comment on column mart.messages.processing_seconds is
    'Seconds that the bot took for its answer. Only JAICP reports it; the unit is not documented and taken as milliseconds';
comment on column mart.messages.within_sla is 'Whether the reply met the customer''s service level. Only Lexer reports it; null while there is no reply, since Lexer does not say what its flag means then nor until when a reply is due';
comment on column mart.messages.delivery_status is 'Delivery as the vendor reports it, in lower case: sent, read … Only JAICP, if enabled';
comment on column mart.messages.loaded_at is 'When Tidegate last changed the row';
