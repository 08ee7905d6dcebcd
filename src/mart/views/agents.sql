create or replace view mart.agents as
with agent as (
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
        'khoros', _connection, agent, name, email, team, _deleted_at is null, _loaded_at
    from {{khoros.user}} t
    where agent <> ''
    order by _connection, agent, _deleted_at desc nulls first, _loaded_at desc)
    union all
    select
        'jaicp',
        _connection,
        operator_info_id,
        nullif(trim(concat_ws(' ', max(operator_info_first_name), max(operator_info_last_name))), ''),
        null,
        null,
        null,
        max(_loaded_at)
    from jaicp.messages
    where operator_info_id <> ''
    group by _connection, operator_info_id
    union all
    select 'lynn', _connection, agent, agent, null, max(team), null, max(_loaded_at)
    from {{lynn.current_interactions}} t
    where agent <> ''
    group by _connection, agent
),
-- A name that belongs to one e-mail address only stands for the same person in systems that give no address.
known as (
    select lower(name) as name, min(lower(email)) as email
    from agent
    where email is not null
    group by lower(name)
    having count(distinct lower(email)) = 1
)
select
    a.source::text as source,
    a.connection::text as connection,
    (a.source || ':' || a.connection || ':' || tidegate.agent_id(a.id))::text as agent_key,
    (case when a.id not like '%@%' or (select tidegate.may_read_contacts()) then a.id end)::text as agent_id,
    (case
        when (select tidegate.may_read_contacts()) then coalesce(a.name, a.id)
        else split_part(coalesce(a.name, a.id), '@', 1)
    end)::text as name,
    (case when (select tidegate.may_read_contacts()) then a.email end)::text as email,
    a.team::text as team,
    a.active::boolean as active,
    tidegate.person_key(coalesce(a.email, k.email, a.name, a.id))::text as person_key,
    a._loaded_at::timestamptz as loaded_at
from agent a
left join known k on k.name = lower(a.name);

comment on view mart.agents is 'One row per agent of a connection. Key: agent_key. The same person in several systems has one person_key';
comment on column mart.agents.source is 'Vendor: khoros, lexer, jaicp or lynn';
comment on column mart.agents.connection is 'Configured connection from which the row was read';
comment on column mart.agents.agent_key is 'Unique: source:connection:agent_id; a pseudonym stands for an id that is an e-mail address';
comment on column mart.agents.agent_id is 'Id at the vendor; Lynn''s reports have only the name. An e-mail address is null for tidegate_analyst';
comment on column mart.agents.name is 'Name of the agent; of an e-mail address tidegate_analyst sees the part before the @';
comment on column mart.agents.email is 'E-mail address; null for tidegate_analyst, and for JAICP and Lynn, which give none';
comment on column mart.agents.team is 'Team (Khoros) or work group (Lynn). Null for Lexer and JAICP';
comment on column mart.agents.active is 'Whether the vendor still lists the agent. Null for JAICP and Lynn, which have no list of agents';
comment on column mart.agents.person_key is
    'Equal for the same person in several systems: by e-mail address, or by a name that has one address only';
comment on column mart.agents.loaded_at is 'When Tidegate last changed the row';
