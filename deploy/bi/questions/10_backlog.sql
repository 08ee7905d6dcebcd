-- What is open today, by system and state, and its age in days.
select
    source,
    state,
    sum(open_count) as open,
    sum(open_count * age_seconds) / nullif(sum(open_count), 0) / 86400 as average_age_days,
    max(oldest_seconds) / 86400 as oldest_days
from mart.backlog_days
where day = (select max(day) from mart.calendar)
group by source, state
order by open desc;
