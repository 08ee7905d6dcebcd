create or replace view mart.conversations as
with khoros as (
    select
        'khoros' as source,
        c._connection as connection,
        c.conversation_id as id,
        c.conversation_id as vendor_id,
        'conversation' as kind,
        c.known_channel as channel_raw,
        c.started_at,
        c.ended_at,
        c.status as status_raw,
        coalesce(c.agent <> '', false) or r.conversation_id is not null as reached_agent,
        coalesce(nullif(c.agent, ''), tidegate.without_time(r.last_agent)) as agent,
        case when r.agents > 0 then r.agents when c.agent <> '' then 1::bigint end as agents,
        c.known_customer as customer,
        r.first_at as first_response_at,
        c.first_response_seconds,
        c.messages,
        null::boolean as sla_met,
        c._loaded_at
    from {khoros_conversations} c
    left join (
        select
            _connection,
            conversation_id,
            min(tidegate.known_time(sent_at, _loaded_at)) as first_at,
            max(tidegate.with_time(sent_at, nullif(agent, '')) collate "C") as last_agent,
            count(distinct nullif(agent, '')) as agents
        from {{khoros.response}} t
        where conversation_id <> ''
        group by _connection, conversation_id
    ) r on r._connection = c._connection and r.conversation_id = c.conversation_id
),
jaicp as (
    select
        'jaicp',
        s._connection,
        s.project_short_name || '/' || tidegate.pseudonym(s.session_id),
        s.project_short_name || '/' || s.session_id,
        'bot session',
        lower(s.channel_type),
        s.start_time,
        tidegate.time_after(s.start_time, s.duration / 1000.0),
        case when s.session_result <> '' then 'ended' end,
        coalesce(s.is_livechat, false) or m.session_id is not null,
        tidegate.without_time(m.last_agent),
        m.agents,
        s.project_short_name || '/' || lower(coalesce(s.channel_type, '')) || '/' || coalesce(s.bot_id, '') || '/'
            || nullif(s.client_id, ''),
        m.first_agent_at,
        null::double precision,
        s.question_count::double precision,
        null::boolean,
        s._loaded_at
    from jaicp.sessions s
    left join (
        select
            _connection,
            project_short_name,
            session_id,
            min("timestamp") as first_agent_at,
            max(tidegate.with_time("timestamp", nullif(operator_info_id, '')) collate "C") as last_agent,
            count(distinct nullif(operator_info_id, '')) as agents
        from jaicp.messages
        where is_livechat or operator_info_id <> ''
        group by _connection, project_short_name, session_id
    ) m on m._connection = s._connection and m.project_short_name = s.project_short_name and m.session_id = s.session_id
),
lexer as (
    select distinct on (c._connection, coalesce(nullif(c.case_id, ''), c._row_key::text))
        'lexer',
        c._connection,
        coalesce(nullif(c.case_id, ''), tidegate.pseudonym(c._row_key::text)),
        c.case_id,
        'case',
        c.channel,
        c.started_at,
        coalesce(
            tidegate.known_time(c.ended_at, c._loaded_at), tidegate.time_after(c.started_at, c.resolution_seconds)
        ),
        c.status,
        c.first_response_seconds is not null,
        coalesce(u.id::text, nullif(lower(trim(c.agent)), '')),
        case when c.agent <> '' then 1::bigint end,
        nullif(c.customer, ''),
        tidegate.time_after(c.started_at, c.first_response_seconds),
        c.first_response_seconds,
        c.messages,
        null::boolean,
        c._loaded_at
    from {{lexer.case_details}} c
    left join {lexer_names} u on u._connection = c._connection and u.name = lower(trim(c.agent))
    order by
        c._connection,
        coalesce(nullif(c.case_id, ''), c._row_key::text),
        c._window_start desc,
        c._loaded_at desc,
        c._row_key
),
lynn as (
    select
        'lynn',
        coalesce(m._connection, i._connection),
        coalesce(m.session, i.session),
        coalesce(m.session, i.session),
        'bot session',
        coalesce(i.channel, m.channel),
        least(m.started_at, i.started_at),
        greatest(m.ended_at, i.ended_at),
        case when m.ended or i.ended_at is not null then 'ended' when m.session is not null then 'open or left' end,
        coalesce(i.reached_agent, false),
        tidegate.without_time(i.last_agent),
        i.agents,
        null::text,
        -- A session that no person took over has neither.
        case when i.reached_agent then i.first_response_at end,
        case when i.reached_agent then i.first_response_seconds end,
        m.marks,
        case when i.reached_agent then i.sla_met end,
        greatest(m._loaded_at, i._loaded_at)
    from (
        select
            _connection,
            session,
            min(channel_id) as channel,
            min(tidegate.known_time("timestamp", _loaded_at)) as started_at,
            max(tidegate.known_time("timestamp", _loaded_at)) as ended_at,
            bool_or(mark_name = 'END_SESSION') as ended,
            count(*)::double precision as marks,
            max(_loaded_at) as _loaded_at
        from lynn.navigation_marks
        where session <> ''
        group by _connection, session
    ) m
    full join (
        select
            _connection,
            session,
            min(channel) as channel,
            min(tidegate.known_time(started_at, _loaded_at)) as started_at,
            bool_or(agent_at is not null or agent <> '') as reached_agent,
            max(tidegate.with_time(coalesce(agent_at, started_at), nullif(agent, '')) collate "C") as last_agent,
            count(distinct nullif(agent, '')) as agents,
            min(tidegate.time_after(started_at, first_response_seconds)) filter (where first_response_seconds >= 0)
                as first_response_at,
            min(first_response_seconds) filter (where first_response_seconds >= 0) as first_response_seconds,
            max(tidegate.known_time(ended_at, _loaded_at)) as ended_at,
            bool_and(compliance >= 100) as sla_met,
            max(_loaded_at) as _loaded_at
        from (
            select *, tidegate.time_after(started_at, duration_seconds) as ended_at
            from {{lynn.current_interactions}} t
            where session <> ''
        ) t
        group by _connection, session
    ) i on i._connection = m._connection and i.session = m.session
)
select
    c.source::text as source,
    c.connection::text as connection,
    c.started_at::timestamptz as started_at,
    (k.started_at at time zone {timezone})::date as day,
    extract(hour from k.started_at at time zone {timezone})::integer as hour,
    k.ended_at::timestamptz as ended_at,
    (c.source || ':' || c.connection || ':' || c.id)::text as conversation_key,
    c.vendor_id::text as conversation_id,
    c.kind::text as kind,
    {channel of c}::text as channel,
    c.channel_raw::text as channel_raw,
    (case
        when lower(trim(c.status_raw)) in (
            'closed', 'ended', 'resolved', 'done', 'complete', 'completed', 'archived', 'cerrado', 'cerrada', 'resuelto',
            'resuelta', 'finalizado', 'finalizada'
        ) then 'closed'
        when lower(trim(c.status_raw)) in ('pending', 'waiting', 'on hold', 'pendiente') then 'pending'
        when c.kind = 'bot session' then
            case when coalesce(k.started_at, c._loaded_at) + interval '1 day' < now() then 'closed' else 'open' end
        when lower(trim(c.status_raw)) in (
            'open', 'opened', 'reopened', 'new', 'assigned', 'in progress', 'in_progress', 'abierto', 'abierta',
            'reabierto', 'reabierta'
        ) then 'open'
        when k.ended_at is not null then 'closed'
        when trim(c.status_raw) <> '' then 'unknown'
        else 'open'
    end)::text as status,
    coalesce(
        c.status_raw, case when c.source = 'lexer' then case when k.ended_at is null then 'open' else 'closed' end end
    )::text as status_raw,
    c.reached_agent::boolean as reached_agent,
    (c.source || ':' || c.connection || ':' || tidegate.agent_id(c.agent))::text as agent_key,
    (case when c.agents > 0 then c.agents when not c.reached_agent then 0 end)::bigint as agents,
    (c.source || ':' || c.connection || ':' || tidegate.pseudonym(c.customer))::text as customer_key,
    coalesce(
        case when c.first_response_seconds >= 0 then c.first_response_seconds end,
        case when k.first_response_at >= k.started_at then tidegate.seconds_between(k.started_at, k.first_response_at) end
    )::double precision as first_response_seconds,
    (case
        when c.first_response_seconds >= 0 then 'vendor'
        when k.first_response_at >= k.started_at then 'computed'
    end)::text as first_response_basis,
    (case when k.ended_at >= k.started_at then tidegate.seconds_between(k.started_at, k.ended_at) end)::double precision
        as resolution_seconds,
    tidegate.number_as_count(c.messages) as messages,
    c.sla_met::boolean as sla_met,
    c._loaded_at::timestamptz as loaded_at
from (
    select * from khoros
    union all
    select * from jaicp
    union all
    select * from lexer
    union all
    select * from lynn
) c
cross join lateral (
    select
        tidegate.known_time(c.started_at, c._loaded_at) as started_at,
        tidegate.known_time(c.ended_at, c._loaded_at) as ended_at,
        tidegate.known_time(c.first_response_at, c._loaded_at) as first_response_at
) k;

comment on view mart.conversations is
    'One row per conversation (Khoros), case (Lexer) and bot session (JAICP, Lynn). Key: conversation_key';
comment on column mart.conversations.source is 'Vendor: khoros, lexer, jaicp or lynn';
comment on column mart.conversations.connection is 'Configured connection from which the row was read';
comment on column mart.conversations.started_at is
    'When the conversation began. Null if the vendor''s export has no such field: see tidegate mart';
comment on column mart.conversations.day is
    'Local date of started_at in the business time zone (mart.timezone). Null if started_at cannot be right: before 1990, or more than a day after the row was loaded';
comment on column mart.conversations.hour is 'Hour of started_at in the business time zone, 0 to 23. Null if day is null';
comment on column mart.conversations.ended_at is
    'When it was closed (Khoros, Lexer) or its last event (JAICP, Lynn). Null while a case is open, and if it cannot be right: before 1990, or more than a day after the row was loaded';
comment on column mart.conversations.conversation_key is
    'Unique: source:connection:id. For JAICP the project and a pseudonym of the session, whose id may hold a telephone number; for a case without an id a pseudonym of its row';
comment on column mart.conversations.conversation_id is
    'Id at the vendor; for JAICP the project and the session, and null for tidegate_analyst';
comment on column mart.conversations.kind is 'conversation, case or bot session';
comment on column mart.conversations.channel is
    'Channel in the vocabulary of mart.channels; of Khoros that of the conversation, else of its posts, else of their author. unknown if the vendor gives none (Lexer cases)';
comment on column mart.conversations.channel_raw is 'Channel as the vendor names it. Null for Lexer cases';
comment on column mart.conversations.status is
    'open, pending, closed, or unknown if the vendor''s word is not known. Bot sessions without an end close after one day';
comment on column mart.conversations.status_raw is 'Status as the vendor names it; derived for JAICP, Lexer and Lynn';
comment on column mart.conversations.reached_agent is
    'Whether a person took part: an agent is named or has replied';
comment on column mart.conversations.agent_key is
    'The agent, as in mart.agents: the last one who took part; of Khoros the one to whom it is assigned, if any. Null if no agent or not given';
comment on column mart.conversations.agents is
    'Number of agents who took part (Khoros: who replied, or 1 if one is assigned and nobody has). Lexer names one at most. Null if one did, but none is named';
comment on column mart.conversations.customer_key is
    'The customer, as in mart.customers. Null for Lynn, whose sessions do not name the contact';
comment on column mart.conversations.first_response_seconds is
    'Seconds from the start to the first reply of a person. Calendar time; business hours are not known to any vendor. Null if negative';
comment on column mart.conversations.first_response_basis is
    'vendor: the vendor''s own figure; computed: from the times of the replies; null: not known';
comment on column mart.conversations.resolution_seconds is
    'Seconds from the start to ended_at. Reopenings are not reported by any vendor';
comment on column mart.conversations.messages is
    'Messages (Khoros), interactions (Lexer), questions of the customer (JAICP), marks of the flow (Lynn)';
comment on column mart.conversations.sla_met is
    'Whether the service level was met. Only Lynn reports it by conversation; Lexer''s is in mart.messages';
comment on column mart.conversations.loaded_at is 'When Tidegate last changed the row or one that it is made of';
