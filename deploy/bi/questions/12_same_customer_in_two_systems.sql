-- Customers who appear in more than one system. The names are null for tidegate_analyst.
select
    person_key,
    min(handle) as handle,
    min(name) as name,
    string_agg(distinct source, ', ') as systems,
    count(*) as entries
from mart.customers
where person_key is not null
group by person_key
having count(distinct source) > 1
order by entries desc;
