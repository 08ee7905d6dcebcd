-- The customers who appear in several systems. One row per person.
select
    person_key,
    count(*) as entries,
    count(distinct source) as systems,
    string_agg(distinct source, ', ') as sources,
    string_agg(distinct channel, ', ') as channels
from {{ source('mart', 'customers') }}
where person_key is not null
group by person_key
having count(distinct source) > 1
