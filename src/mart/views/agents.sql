create or replace view mart.agents as
with entry as (
    -- The vendors' lists of agents.
    select
        'lexer' as source,
        _connection as connection,
        id::text as id,
        nullif(trim(concat_ws(' ', first_name, last_name)), '') as name,
        nullif(email, '') as email,
        null::text as team,
        not coalesce(archived, false) and _deleted_at is null as active,
        _loaded_at
    from lexer.users
    union all
    (select distinct on (_connection, agent)
        'khoros', _connection, agent, nullif(name, ''), nullif(email, ''), nullif(team, ''), _deleted_at is null, _loaded_at
    from {{khoros.user}} t
    where agent <> ''
    order by _connection, agent, _deleted_at desc nulls first, _loaded_at desc, _row_key)
    union all
    -- Agents who are named elsewhere may be missing in the lists, and JAICP and Lynn have none.
    select 'khoros', _connection, agent, null, null, null, null, max(_loaded_at)
    from {{khoros.conversation}} t
    where agent <> ''
    group by _connection, agent
    union all
    select 'khoros', _connection, agent, null, null, null, null, max(_loaded_at)
    from {{khoros.response}} t
    where agent <> ''
    group by _connection, agent
    union all
    select
        'lexer',
        _connection,
        user_id,
        tidegate.without_time(
            max(tidegate.with_time(_window_start, nullif(trim(concat_ws(' ', first_name, last_name)), '')) collate "C")
        ),
        null,
        null,
        null,
        max(_loaded_at)
    from (
        select _connection, user_id, _window_start, first_name, last_name, _loaded_at from lexer.user_summary
        union all
        select _connection, user_id, _window_start, first_name, last_name, _loaded_at from lexer.user_volume
    ) t
    group by _connection, user_id
    union all
    -- Lexer's files name agents without an id.
    select 'lexer', t._connection, t.name, t.spelling, null, null, null, t._loaded_at
    from (
        select _connection, lower(spelling) as name, max(spelling) as spelling, max(_loaded_at) as _loaded_at
        from (
            select
                _connection,
                trim(concat_ws(' ', nullif(trim(agent_first_name), ''), nullif(trim(agent_last_name), ''))) as spelling,
                max(_loaded_at) as _loaded_at
            from lexer.mention_sla_export
            group by 1, 2
            union all
            select _connection, trim(agent), max(_loaded_at) from {{lexer.case_details}} t group by 1, 2
            union all
            select _connection, trim(agent), max(_loaded_at) from {{lexer.nps_submissions}} t group by 1, 2
        ) t
        where spelling <> ''
        group by _connection, lower(spelling)
    ) t
    left join {lexer_names} u on u._connection = t._connection and u.name = t.name
    where u.id is null
    union all
    select
        'jaicp',
        _connection,
        operator_info_id,
        tidegate.without_time(
            max(
                tidegate.with_time(
                    "timestamp", nullif(trim(concat_ws(' ', operator_info_first_name, operator_info_last_name)), '')
                ) collate "C"
            )
        ),
        null,
        null,
        null,
        max(_loaded_at)
    from jaicp.messages
    where operator_info_id <> ''
    group by _connection, operator_info_id
    union all
    select
        'lynn',
        _connection,
        agent,
        case when agent not like '%_@_%' then agent end,
        null,
        tidegate.without_time(
            max(tidegate.with_time(coalesce(agent_at, started_at), nullif(team, '')) collate "C")
        ),
        null,
        max(_loaded_at)
    from {{lynn.current_interactions}} t
    where agent <> ''
    group by _connection, agent
    union all
    select 'lynn', _connection, agent, case when agent not like '%_@_%' then agent end, null, null, null, max(_loaded_at)
    from {{lynn.survey_result}} t
    where agent <> ''
    group by _connection, agent
    union all
    select 'lynn', _connection, author, case when author not like '%_@_%' then author end, null, null, null, max(_loaded_at)
    from {{lynn.show_dialogs}} t
    where sender = 'agent' and author <> ''
    group by _connection, author
),
agent as (
    -- What the lists say comes first.
    select
        source,
        connection,
        id,
        coalesce(max(name) filter (where active is not null), max(name)) as name,
        -- Some vendors name agents by their address.
        coalesce(max(email), case when id like '%_@_%' then id end) as email,
        max(team) as team,
        bool_or(active) as active,
        coalesce(max(_loaded_at) filter (where active is not null), max(_loaded_at)) as _loaded_at
    from entry
    group by source, connection, id
),
-- A name that belongs to one e-mail address only stands for the same person in systems that give no address.
known as (
    select lower(trim(name)) as name, min(lower(email)) as email
    from agent
    where email is not null and tidegate.is_person(name)
    group by lower(trim(name))
    having count(distinct lower(email)) = 1
),
-- The name that the other systems give to an address, if they agree.
named as (
    select lower(email) as email, min(trim(name) collate "C") as name
    from agent
    where email is not null and name is not null
    group by lower(email)
    having count(distinct lower(trim(name))) = 1
)
-- Agents and customers have different keys, or else an agent's name would reveal a customer who has it too.
select
    a.source::text as source,
    a.connection::text as connection,
    (a.source || ':' || a.connection || ':' || tidegate.agent_id(a.id))::text as agent_key,
    a.id::text as agent_id,
    coalesce(a.name, n.name, case when a.id like '%_@_%' then split_part(a.id, '@', 1) else a.id end)::text as name,
    a.email::text as email,
    a.team::text as team,
    a.active::boolean as active,
    tidegate.person_key(
        'agent',
        coalesce(
            a.email,
            k.email,
            case when tidegate.is_person(a.name) then a.name end,
            a.source || ':' || a.connection || ':' || a.id
        )
    )::text as person_key,
    a._loaded_at::timestamptz as loaded_at
from agent a
left join known k on k.name = lower(trim(a.name))
left join named n on n.email = lower(a.email);

comment on view mart.agents is 'One row per agent of a connection, also if only other relations name the agent. Key: agent_key. The same person in several systems has one person_key';
comment on column mart.agents.source is 'Vendor: khoros, lexer, jaicp or lynn';
comment on column mart.agents.connection is 'Configured connection from which the row was read';
comment on column mart.agents.agent_key is 'Unique: source:connection:agent_id; a pseudonym stands for an id that is an e-mail address or a telephone number';
comment on column mart.agents.agent_id is 'Id at the vendor. Lynn''s reports have only a name or an address, and so have Lexer''s files, for agents whom the vendor''s list does not contain. An e-mail address or a telephone number is null for tidegate_analyst';
comment on column mart.agents.name is 'Name of the agent; if the vendor gives none, the name that other systems give to the e-mail address, or else the id, of an address the part before the @. Of a name that is an e-mail address tidegate_analyst sees that part, and a telephone number is null';
comment on column mart.agents.email is 'E-mail address; null for tidegate_analyst. JAICP gives none, and Lynn only where it names agents by their address';
comment on column mart.agents.team is 'Team (Khoros) or work group of the agent''s last session (Lynn). Null for Lexer and JAICP';
comment on column mart.agents.active is 'Whether the vendor still lists the agent. Null for agents whom the list does not contain, and for JAICP and Lynn, which have none';
comment on column mart.agents.person_key is
    'Equal for the same agent in several systems (customers have other keys): by e-mail address, by a name that has one address only, or else by a name of two words or more. An agent with none of them has a key that nobody shares';
comment on column mart.agents.loaded_at is 'When Tidegate last changed the row';
