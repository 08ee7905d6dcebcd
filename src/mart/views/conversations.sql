create or replace view mart.conversations as
with khoros as (
    select
        'khoros' as source,
        c._connection as connection,
        c.conversation_id as id,
        c.conversation_id as vendor_id,
        'conversation' as kind,
        c.channel as channel_raw,
        c.started_at,
        c.ended_at,
        c.status as status_raw,
        nullif(c.agent, '') is not null or r.first_at is not null as reached_agent,
        nullif(c.agent, '') as agent,
        coalesce(c.customer, p.customer) as customer,
        r.first_at as first_response_at,
        c.first_response_seconds,
        c.messages,
        null::boolean as sla_met,
        c._loaded_at
    from {{khoros.conversation}} c
    left join (
        select _connection, conversation_id, min(sent_at) as first_at
        from {{khoros.response}} t
        where conversation_id is not null
        group by _connection, conversation_id
    ) r on r._connection = c._connection and r.conversation_id = c.conversation_id
    left join (
        select _connection, conversation_id, min(author) as customer
        from {{khoros.incoming_post}} t
        where conversation_id is not null
        group by _connection, conversation_id
    ) p on p._connection = c._connection and p.conversation_id = c.conversation_id
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
        s.is_livechat or m.agent is not null,
        m.agent,
        s.project_short_name || '/' || lower(s.channel_type) || '/' || s.bot_id || '/' || s.client_id,
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
            min(nullif(operator_info_id, '')) as agent
        from jaicp.messages
        where is_livechat or operator_info_id <> ''
        group by _connection, project_short_name, session_id
    ) m on m._connection = s._connection and m.project_short_name = s.project_short_name and m.session_id = s.session_id
),
lexer as (
    select distinct on (c._connection, coalesce(nullif(c.case_id, ''), c._row_key::text))
        'lexer',
        c._connection,
        coalesce(nullif(c.case_id, ''), c._row_key::text),
        c.case_id,
        'case',
        c.channel,
        c.started_at,
        coalesce(c.ended_at, tidegate.time_after(c.started_at, c.resolution_seconds)),
        coalesce(c.status, case when c.ended_at is null and c.resolution_seconds is null then 'open' else 'closed' end),
        c.first_response_seconds is not null,
        u.id::text,
        c.customer,
        tidegate.time_after(c.started_at, c.first_response_seconds),
        c.first_response_seconds,
        c.messages,
        null::boolean,
        c._loaded_at
    from {{lexer.case_details}} c
    left join (
        select _connection, lower(first_name || ' ' || last_name) as name, min(id) as id
        from lexer.users
        group by _connection, lower(first_name || ' ' || last_name)
    ) u on u._connection = c._connection and u.name = lower(c.agent)
    order by c._connection, coalesce(nullif(c.case_id, ''), c._row_key::text), c._window_start desc
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
        i.agent_at is not null or i.agent is not null,
        i.agent,
        null::text,
        -- A session that no person took over has neither.
        case when i.agent_at is not null or i.agent is not null then i.first_response_at end,
        case when i.agent_at is not null or i.agent is not null then i.first_response_seconds end,
        m.marks,
        case when i.agent_at is not null or i.agent is not null then i.sla_met end,
        greatest(m._loaded_at, i._loaded_at)
    from (
        select
            _connection,
            session,
            min(channel_id) as channel,
            min("timestamp") as started_at,
            max("timestamp") as ended_at,
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
            min(started_at) as started_at,
            min(agent_at) as agent_at,
            min(agent) as agent,
            min(tidegate.time_after(started_at, first_response_seconds)) as first_response_at,
            min(first_response_seconds) as first_response_seconds,
            max(tidegate.time_after(started_at, duration_seconds)) as ended_at,
            bool_and(compliance >= 100) as sla_met,
            max(_loaded_at) as _loaded_at
        from {{lynn.current_interactions}} t
        where session <> ''
        group by _connection, session
    ) i on i._connection = m._connection and i.session = m.session
)
select
    c.source::text as source,
    c.connection::text as connection,
    c.started_at::timestamptz as started_at,
    (c.started_at at time zone {timezone})::date as day,
    c.ended_at::timestamptz as ended_at,
    (c.source || ':' || c.connection || ':' || c.id)::text as conversation_key,
    (case when c.source <> 'jaicp' or (select tidegate.may_read_contacts()) then c.vendor_id end)::text as conversation_id,
    c.kind::text as kind,
    coalesce(v.channel, lower(c.channel_raw), 'unknown')::text as channel,
    c.channel_raw::text as channel_raw,
    (case
        when lower(trim(c.status_raw)) in (
            'closed', 'ended', 'resolved', 'done', 'complete', 'completed', 'archived', 'cerrado', 'cerrada', 'resuelto',
            'resuelta', 'finalizado', 'finalizada'
        ) then 'closed'
        when lower(trim(c.status_raw)) in ('pending', 'waiting', 'on hold', 'pendiente') then 'pending'
        when c.kind = 'bot session' then
            case when c.started_at + interval '1 day' < now() then 'closed' else 'open' end
        when lower(trim(c.status_raw)) in (
            'open', 'opened', 'reopened', 'new', 'assigned', 'in progress', 'in_progress', 'abierto', 'abierta',
            'reabierto', 'reabierta'
        ) then 'open'
        when c.ended_at is not null then 'closed'
        when trim(c.status_raw) <> '' then 'unknown'
        else 'open'
    end)::text as status,
    c.status_raw::text as status_raw,
    c.reached_agent::boolean as reached_agent,
    (c.source || ':' || c.connection || ':' || tidegate.agent_id(c.agent))::text as agent_key,
    (c.source || ':' || c.connection || ':' || tidegate.pseudonym(c.customer))::text as customer_key,
    coalesce(
        c.first_response_seconds,
        case when c.first_response_at >= c.started_at then tidegate.seconds_between(c.started_at, c.first_response_at) end
    )::double precision as first_response_seconds,
    (case
        when c.first_response_seconds is not null then 'vendor'
        when c.first_response_at >= c.started_at then 'computed'
    end)::text as first_response_basis,
    (case when c.ended_at >= c.started_at then tidegate.seconds_between(c.started_at, c.ended_at) end)::double precision
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
left join mart.channels v on v.source = c.source and v.channel_raw = lower(c.channel_raw);

comment on view mart.conversations is
    'One row per conversation (Khoros), case (Lexer) and bot session (JAICP, Lynn). Key: conversation_key';
comment on column mart.conversations.source is 'Vendor: khoros, lexer, jaicp or lynn';
comment on column mart.conversations.connection is 'Configured connection from which the row was read';
comment on column mart.conversations.started_at is
    'When the conversation began. Null if the vendor''s export has no such field: see tidegate mart';
comment on column mart.conversations.day is 'Local date of started_at in the business time zone (mart.timezone)';
comment on column mart.conversations.ended_at is
    'When it was closed (Khoros, Lexer) or its last event (JAICP, Lynn). Null while a case is open';
comment on column mart.conversations.conversation_key is
    'Unique: source:connection:id. For JAICP the project and a pseudonym of the session, whose id may hold a telephone number';
comment on column mart.conversations.conversation_id is
    'Id at the vendor; for JAICP the project and the session, and null for tidegate_analyst';
comment on column mart.conversations.kind is 'conversation, case or bot session';
comment on column mart.conversations.channel is
    'Channel in the vocabulary of mart.channels; unknown if the vendor gives none (Lexer cases)';
comment on column mart.conversations.channel_raw is 'Channel as the vendor names it. Null for Lexer cases';
comment on column mart.conversations.status is
    'open, pending, closed, or unknown if the vendor''s word is not known. Bot sessions without an end close after one day';
comment on column mart.conversations.status_raw is 'Status as the vendor names it; derived for JAICP, Lexer and Lynn';
comment on column mart.conversations.reached_agent is
    'Whether a person took part: an agent is named or has replied';
comment on column mart.conversations.agent_key is 'The agent, as in mart.agents. Null if no agent or not given';
comment on column mart.conversations.customer_key is
    'The customer, as in mart.customers. Null for Lynn, whose sessions do not name the contact';
comment on column mart.conversations.first_response_seconds is
    'Seconds from the start to the first reply of a person. Calendar time; business hours are not known to any vendor';
comment on column mart.conversations.first_response_basis is
    'vendor: the vendor''s own figure; computed: from the times of the replies; null: not known';
comment on column mart.conversations.resolution_seconds is
    'Seconds from the start to ended_at. Reopenings are not reported by any vendor';
comment on column mart.conversations.messages is
    'Messages (Khoros), interactions (Lexer), questions of the customer (JAICP), marks of the flow (Lynn)';
comment on column mart.conversations.sla_met is
    'Whether the service level was met. Only Lynn reports it by conversation; Lexer''s is in mart.messages';
comment on column mart.conversations.loaded_at is 'When Tidegate last changed the row or one that it is made of';
