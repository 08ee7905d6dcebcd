-- The agents as persons, over all systems. One row per person; an agent without a person_key is a person.
select
    coalesce(person_key, agent_key) as person_key,
    min(name) as name,
    count(*) as accounts,
    string_agg(distinct source, ', ') as sources,
    string_agg(distinct team, ', ') as teams,
    bool_or(active) as active
from {{ source('mart', 'agents') }}
group by coalesce(person_key, agent_key)
