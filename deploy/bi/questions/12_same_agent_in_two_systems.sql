-- Agents who appear in more than one system.
select person_key, min(name) as name, string_agg(distinct source, ', ') as systems, count(*) as entries
from mart.agents
group by person_key
having count(distinct source) > 1
order by entries desc;
