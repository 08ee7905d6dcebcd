create or replace view mart.messages_text as
select
    t.source::text as source,
    t.connection::text as connection,
    t.sent_at::timestamptz as sent_at,
    (t.source || ':' || t.connection || ':' || t.id)::text as message_key,
    nullif(t.text, '')::text as text,
    nullif(t.reply, '')::text as reply_text,
    t._loaded_at::timestamptz as loaded_at
from (
    (select distinct on (_connection, coalesce(nullif(id, ''), _row_key::text))
        'khoros' as source,
        _connection as connection,
        sent_at,
        'post/' || coalesce(nullif(id, ''), tidegate.pseudonym(_row_key::text)) as id,
        text,
        null::text as reply,
        _loaded_at
    from {{khoros.incoming_post}} t
    order by _connection, coalesce(nullif(id, ''), _row_key::text), _loaded_at desc, _row_key)
    union all
    (select distinct on (_connection, coalesce(nullif(id, ''), _row_key::text))
        'khoros',
        _connection,
        sent_at,
        'response/' || coalesce(nullif(id, ''), tidegate.pseudonym(_row_key::text)),
        text,
        null,
        _loaded_at
    from {{khoros.response}} t
    order by _connection, coalesce(nullif(id, ''), _row_key::text), _loaded_at desc, _row_key)
    union all
    select
        'lexer',
        _connection,
        customer_publish_date_utc,
        tidegate.pseudonym(_row_key::text) || '/' || extract(epoch from _window_start)::bigint,
        customer_message,
        agent_response,
        _loaded_at
    from lexer.mention_sla_export
    union all
    select
        'jaicp',
        _connection,
        "timestamp",
        project_short_name || '/' || tidegate.pseudonym(session_id) || '/' || question_id,
        question,
        text_answer,
        _loaded_at
    from jaicp.messages
    union all
    select
        'lynn',
        _connection,
        sent_at,
        tidegate.pseudonym(_row_key::text) || '/' || extract(epoch from _window_start)::bigint,
        text,
        null,
        _loaded_at
    from {{lynn.show_dialogs}} t
) t;

comment on view mart.messages_text is
    'The texts of mart.messages, with the same key. Only tidegate_reader may read it';
comment on column mart.messages_text.source is 'Vendor: khoros, lexer, jaicp or lynn';
comment on column mart.messages_text.connection is 'Configured connection from which the row was read';
comment on column mart.messages_text.sent_at is 'When the message was sent, or the turn began';
comment on column mart.messages_text.message_key is 'Unique; as in mart.messages';
comment on column mart.messages_text.text is 'What was written. Personal data';
comment on column mart.messages_text.reply_text is
    'The reply, where the same row holds it (Lexer, JAICP). Personal data';
comment on column mart.messages_text.loaded_at is 'When Tidegate last changed the row';
