(
    -- A conversation without a customer or channel of its own has those of its posts and of their author.
    select
        c.*,
        coalesce(nullif(c.customer, ''), p.author) as known_customer,
        coalesce(nullif(c.channel, ''), p.channel, a.channel) as known_channel
    from {{khoros.conversation}} c
    left join (
        select
            _connection,
            conversation_id,
            min(nullif(author, '')) as author,
            min(nullif(channel, '')) as channel
        from {{khoros.incoming_post}} t
        where conversation_id <> ''
        group by _connection, conversation_id
    ) p on p._connection = c._connection and p.conversation_id = c.conversation_id
    left join (
        select _connection, author, min(nullif(channel, '')) as channel
        from {{khoros.author}} t
        where author <> ''
        group by _connection, author
    ) a on a._connection = c._connection and a.author = coalesce(nullif(c.customer, ''), p.author)
)
